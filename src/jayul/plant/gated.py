"""The brain's side of the gateway: a plant that is read over a link of its own, and written through the gateway alone.

A lost gateway never keeps anybody from reading. What was refused, or never sent, is rejected; what was sent and not answered is
unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from jayul.core.clock import Clock
from jayul.core.types import Frame, Receipt, TagTable, Verdict
from jayul.plant import protocol
from jayul.plant.link import RETRY, Health, Linked, Simulated, pause
from jayul.plant.newest import Losses
from jayul.plant.protocol import LIMIT, Answer, Hello, Kind, Proof, Said, Signed
from jayul.plant.table import Loop
from jayul.record.batch import Batch
from jayul.record.sign import Signer

PATIENCE = 2 * LIMIT  # s that a write may wait for its answer
LATE, LOST = 3, 100  # signs of life without an answer: the gateway is in trouble, or gone
_GONE = (OSError, EOFError, msgspec.MsgspecError, ValueError)  # TimeoutError is an OSError


class Session:
    """A session that was begun. `over` says why it has ended, if it has; `head`, `trouble`: of the newest answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nonce: bytes, head: str) -> None:
        self._writer, self.nonce, self.head = writer, nonce, head
        self.seq = self.heard = 0  # our newest message; the newest that was answered
        self.over = self.trouble = ""
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        self._listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while not self.over:
                answer = await protocol.receive(reader, Answer, patience=None)
                self.head, self.trouble = answer.head or self.head, f"{answer.code}: {answer.detail}" if answer.code else ""
                if not answer.seq:  # what the gateway ended by itself it had not heard before
                    self.over, self.heard = f"the gateway ended the session: {self.trouble}", self.seq
                for seq in [*self._waiting] if not answer.seq else [answer.seq]:
                    if seq in self._waiting and not self._waiting[seq].done():
                        self._waiting.pop(seq).set_result(answer)
                self.heard = max(self.heard, answer.seq)
        except _GONE as error:
            self.end(f"the gateway is gone: {error or type(error).__name__}")

    def say(self, said: Said, signer: Signer) -> bool:
        """Send a message, signed. Return False if it is too large to be sent."""
        body = msgspec.msgpack.encode(said)
        if len(body) > protocol.LARGEST - 1024:
            return False
        self.seq = said.seq
        self._writer.write(protocol.pack(Signed(body, signer.sign(protocol.sealed(body)))))
        return True

    async def answer(self) -> Answer | None:
        """Return the answer to the newest message; None if there is none: then the session is over."""
        waiting = self._waiting[self.seq] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(waiting, PATIENCE)
        except TimeoutError:
            self.end("the gateway does not answer")
            return None

    def end(self, why: str) -> None:
        """Give it up: nothing that was not answered yet will be."""
        self.over = self.over or why
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)
        self._writer.close()

    async def ended(self) -> None:
        """Return when it is over and let go of."""
        try:
            await asyncio.wait([self._listening])
        finally:
            self.end("closed")
            self._listening.cancel()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()


class Gated:
    """A plant behind a gateway; it implements Linked. `signer` holds the run's key, `envelope_digest` that of the envelope we know.

    `gateway_head`: newest chain head of the gateway, `seq:digest`; `trouble`: what keeps us from it, in words, else empty;
    `refused`: its last refusal of a write, code and reason;
    `simulated`: what the peer declared.
    """

    def __init__(self, inner: Linked, socket: Path, signer: Signer, envelope_digest: bytes, clock: Clock) -> None:
        self._inner, self._socket, self._signer, self._digest, self._clock = inner, socket, signer, envelope_digest, clock
        self._session: Session | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._tried, self._closed = asyncio.Event(), asyncio.Event()
        self._tick, self._frame = -1, b""
        self.tags: TagTable = inner.tags
        self.loops: dict[str, Loop] = inner.loops
        self.simulated = bool(getattr(inner, "simulated", False))
        self.gateway_head, self.trouble, self.refused = "", "not connected to the gateway yet", ""

    async def declared(self) -> Simulated | None:
        """Ask the peer whether it is simulated. Raises Unreachable."""
        found = await self._inner.declared()
        self.simulated = found is not None
        return found

    def decided(self, tick: int, frame: bytes) -> None:
        """Say to which Decision the next write belongs: its tick and frame hash. For the gateway's record."""
        self._tick, self._frame = tick, frame

    async def read(self) -> Frame:
        """Give a sign of life, and return the newest of each tag."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._tried.wait(), LIMIT)
        self._say("beat")
        frame = await self._inner.read()
        self._frame = frame.digest()
        return frame

    async def write(self, verdicts: Sequence[Verdict]) -> Sequence[Receipt]:
        """Ask the gateway to write allowed values, all or none; an empty write is a sign of life."""
        asked = tuple(v for v in verdicts if v.allowed is not None)
        if not asked:
            self._say("beat")
            return ()
        session = self._say("write", asked)
        answer = await session.answer() if session else None
        if session:
            self._note(session)
        if answer and not answer.code and sorted(r.tag for r in answer.receipts) == sorted(v.proposal.tag for v in asked):
            receipts = answer.receipts
        else:
            if answer and answer.code:
                self.refused = f"{answer.code}: {answer.detail}"
            certain = session is None or bool(answer and answer.code)  # it was not heard, or it was refused
            now = self._clock.now()
            state: Literal["rejected", "unknown"] = "rejected" if certain else "unknown"
            receipts = tuple(Receipt(v.proposal.tag, v.allowed or 0.0, None, now, state) for v in asked)
        self._inner.took(receipts)
        return receipts

    def _say(self, kind: Kind, verdicts: tuple[Verdict, ...] = ()) -> Session | None:
        """Send a message; return the session in which it was sent, if there is one."""
        session = self._session
        if session is None or session.over:
            return None
        said = Said(session.nonce, session.seq + 1, self._clock.now(), kind, self._tick, self._frame, verdicts)
        if not session.say(said, self._signer):
            self.trouble = "too many proposals for one message"
            return None
        if kind == "beat":
            self._note(session)
            if session.seq - session.heard > LOST:
                session.end("the gateway does not answer")
        return session

    def _note(self, session: Session) -> None:
        late = "the gateway does not answer" if session.seq - session.heard > LATE else ""
        self.gateway_head, self.trouble = session.head, session.over or late or session.trouble

    async def _keep(self) -> None:
        """Say hello until it is answered, and again whenever a session is over."""
        attempt = 0
        while not self._closed.is_set():
            try:
                async with asyncio.timeout(LIMIT):
                    self._session = await self._hello()
            except _GONE as error:
                self.trouble = f"no gateway at {self._socket}: {error or type(error).__name__}"
            self._tried.set()
            if self._session is not None:
                attempt = 0
                try:
                    await self._session.ended()
                finally:
                    self._note(self._session)
                    self._session = None
            await pause(self._closed, RETRY[min(attempt, len(RETRY) - 1)])
            attempt += 1

    async def _hello(self) -> Session | None:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        session: Session | None = None
        try:
            writer.write(protocol.pack(Hello(self._signer.public, self._digest.hex())))
            answer = first = await protocol.receive(reader, Answer)
            if not first.code:
                writer.write(protocol.pack(Proof(self._signer.sign(protocol.greeting(first.nonce, first.head)))))
                answer = await protocol.receive(reader, Answer)
            self.trouble = f"{answer.code}: {answer.detail}" if answer.code else ""
            if not answer.code:
                session = Session(reader, writer, first.nonce, answer.head)
                self.gateway_head = answer.head
        finally:
            if session is None:
                writer.close()
        return session

    def hand_back(self) -> None:
        """Let the gateway hand back all that it holds, now: it does so at a bye, after which we say hello anew."""
        self._say("bye")

    def took(self, receipts: Sequence[Receipt]) -> None:
        """Take in what another connection has written."""
        self._inner.took(receipts)

    def samples(self) -> Batch:
        """Return every sample since the last call."""
        return self._inner.samples()

    def losses(self) -> Losses:
        """Return what was lost since the last call, by tag."""
        return self._inner.losses()

    def health(self) -> Health:
        """Return how the link fares; the trouble of the gateway comes first."""
        health = self._inner.health()
        return replace(health, trouble=f"gateway: {self.trouble}") if self.trouble else health

    async def close(self) -> None:
        """Say bye (the gateway hands back what it holds) and let go of everything."""
        self._closed.set()
        if session := self._say("bye"):
            await session.answer()
            self.gateway_head = session.head
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._inner.close()
