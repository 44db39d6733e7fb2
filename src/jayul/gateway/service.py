"""The gateway at work: one brain at a time is heard, judged and written for; when it falls silent its loops are handed back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket as sockets
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from jayul.core.clock import Clock, monotonic
from jayul.core.types import SECOND, Frame, Proposal, Receipt, Verdict
from jayul.gateway.charge import Charge
from jayul.gateway.envelope import Envelope
from jayul.gateway.journal import Chain, Ended, Entry, Handback, Judged, Refused, Released, Session, Stop, Wrote
from jayul.gateway.judge import Judge
from jayul.plant import protocol
from jayul.plant.link import Linked, pause
from jayul.plant.protocol import LIMIT, Answer, Hello, Proof, Said, Signed
from jayul.record.sign import genuine

AT_ONCE = 8  # connections that may be open
LOOKS = 8  # a period: how often silence is looked for
GIVE_UP = 30.0  # s at the end: a hand-back that the plant does not take goes on at the next start
CHANGED = "the envelope was changed; one of its people signs it with: jayul-gateway --sign-change; then start the gateway anew"
SAME = 1.0  # s: refusals of one code within are one record


class Peer(NamedTuple):
    """Who is at the other end of a Unix socket, as the kernel says."""

    pid: int
    uid: int
    gid: int


class No(Exception):
    """A reason code, and what is wrong: the answer to somebody who is refused."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Unwritable(Exception):
    """The gateway's journal cannot be written: nothing may be sent any more."""


class Talk:
    """A session with a brain that has proved its key."""

    def __init__(self, writer: asyncio.StreamWriter, nonce: bytes, peer: Peer, now: int) -> None:
        self.writer, self.nonce, self.peer = writer, nonce, peer
        self.seq, self.beats, self.heard = 0, 0, now


class Service:
    """See the module. `plant` is read and written by nobody else here; `charge` may hold what an earlier process wrote.

    `uids`: users who may speak. `parent`: when this process is gone, and all is handed back, the service ends (0: never).
    `patience`: s that a hand-back is tried for at the end.
    """

    def __init__(
        self, envelope: Envelope, plant: Linked, clock: Clock, chain: Chain, charge: Charge, *, uids: Sequence[int],
        parent: int = 0, patience: float = GIVE_UP,
    ) -> None:  # fmt: skip
        self._envelope, self._plant, self._clock, self._chain, self._charge = envelope, plant, clock, chain, charge
        self._judge, self._digest, self._uids = Judge(envelope), envelope.digest().hex(), frozenset(uids)
        table = self._judge.table
        self._take = np.array([plant.tags.index[name] for name in table.names], dtype=np.int64)
        self._put = np.arange(len(table.tags))
        self._parent, self._patience, self._until = parent, patience, 0.0
        period, second = envelope.period, int(envelope.speed * SECOND) if envelope.speed != 1 else 0
        self._silence = max(3 * period // 2, second)  # a peer is played faster, sockets and disks are not: a second at least
        self._skew, self._play = max(2 * period, second), max(period // 2, second // 4)
        self._lock = asyncio.Lock()  # whoever touches the plant, the session or the charge
        self._talk: Talk | None = None
        self._giving = "restart" if charge.held else ""  # why loops are being handed back
        self._giving_at, self._said = clock.now(), ""  # since when; what the last attempt came to
        self._write_due = self._counted_at = -(1 << 62)  # the next write may come half a period earlier
        self._count = 0
        self._over = asyncio.Event()
        self._failed: Unwritable | None = None
        self._tasks = set[asyncio.Task[None]]()
        self._refusals: dict[str, tuple[float, int, Refused]] = {}

    async def serve(self, socket: sockets.socket, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until stopped, then hand back. Raises OSError if the journal cannot be written."""
        server = await asyncio.start_unix_server(self._client, sock=socket)
        stopping = asyncio.create_task(self._stopped(stop))
        try:
            ready()
            await self._watch()
        except Unwritable as error:
            self._failed = error
        finally:
            self._over.set()
            server.close()
            stopping.cancel()
            async with self._lock:  # nobody is in the middle of a write
                for task in self._tasks:
                    task.cancel()
            await asyncio.gather(stopping, *self._tasks, return_exceptions=True)
            await self._finish()
        if self._failed:
            raise OSError(str(self._failed))

    async def _stopped(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._over.set()

    async def _finish(self) -> None:
        reason = "failed" if self._failed else "stop"
        async with self._lock:
            await self._end(reason)
            until = self._until or monotonic() + self._patience
            while self._giving and monotonic() < until:
                await pause(asyncio.Event(), 0.1)
                await self._give_back()
            with contextlib.suppress(Unwritable):
                self._flush(monotonic() + SAME)
                self._note(Stop(self._clock.now(), reason))
        with contextlib.suppress(OSError):
            self._chain.close()
        await self._plant.close()

    def _note(self, entry: Entry) -> None:
        try:
            self._chain.append(entry)
        except OSError as error:
            raise Unwritable(f"the gateway's journal cannot be written: {error}") from error

    # ---- in its own time

    async def _watch(self) -> None:
        period = self._envelope.period
        speed = self._envelope.speed
        read_at = self._clock.now()
        while not self._over.is_set():
            async with self._lock:
                now = self._clock.now()
                self._flush(monotonic())
                if self._parent and os.getppid() != self._parent and not self._talk:
                    self._until = self._until or monotonic() + self._patience
                    if not self._giving or monotonic() > self._until:
                        return
                if self._talk and now - self._talk.heard > self._silence:
                    await self._end("silent")
                elif self._giving:
                    await self._give_back()
                elif now >= read_at:
                    read_at = now + period // 2
                    self._look(await self._frame())
                if self._charge.held and not self._giving and now - self._counted_at >= period:
                    await self._count_up(now)
            await pause(self._over, period / LOOKS / speed / SECOND)

    async def _frame(self) -> Frame:
        return (await self._plant.read()).spread(self._judge.table, self._take, self._put)

    def _look(self, frame: Frame) -> None:
        for tag, reason in self._charge.look(frame):
            self._note(Released(frame.at, tag, reason))

    async def _count_up(self, now: int) -> None:
        self._counted_at = now
        if self._envelope.watchdog:
            self._count = self._count % 32767 + 1
            await self._set({self._envelope.watchdog: float(self._count)}, "in charge")

    async def _set(self, values: Mapping[str, float], why: str) -> tuple[Receipt, ...]:
        verdicts = [Verdict(Proposal(tag, value, why, "gateway"), value, "") for tag, value in values.items()]
        return await self._send(verdicts) if verdicts else ()

    async def _send(self, verdicts: Sequence[Verdict]) -> tuple[Receipt, ...]:
        try:
            return tuple(await self._plant.write(verdicts))
        except OSError:
            now = self._clock.now()
            return tuple(Receipt(v.proposal.tag, v.allowed or 0.0, None, now, "unknown") for v in verdicts)

    # ---- hand-back

    async def _end(self, reason: str) -> None:
        """End the session, if there is one, and begin to hand back what is held. The lock is held."""
        talk, self._talk = self._talk, None
        if talk:
            with contextlib.suppress(Unwritable):
                self._note(Ended(self._clock.now(), reason, talk.beats))
        if self._charge.held and not self._giving:
            self._giving, self._giving_at, self._said = reason, self._clock.now(), ""
            await self._give_back()
        if talk:  # it hears the head after what was handed back
            with contextlib.suppress(OSError, RuntimeError):
                talk.writer.write(protocol.pack(Answer(0, "ended", reason, (), self._chain.head)))
                talk.writer.close()

    async def _give_back(self) -> None:
        """Try to hand back all that is held: values in one write, then the modes. It is done when the plant has said so."""
        frame = await self._frame()
        with contextlib.suppress(Unwritable):
            self._look(frame)
        some, alone = self._charge.blind(frame)
        if some and self._clock.now() - self._giving_at < self._envelope.period // 4:
            return  # another hand might be there: a little later we shall see
        tags, values, modes = tuple(sorted(self._charge.held)), self._charge.back(frame), self._charge.modes(frame)
        receipts: tuple[Receipt, ...] = ()
        if left := self._judge.back(frame, values):
            values = {}  # it stays where it is
        if not alone:
            receipts = await self._set(values, f"hand-back: {self._giving}")
        known = not alone and all(receipt.state != "unknown" for receipt in receipts)
        if known:  # a value that was refused does not keep the mode back
            receipts += await self._set(modes, f"hand-back: {self._giving}")
        found = {receipt.tag: receipt.state for receipt in receipts}
        done = known and all(found.get(mode) in ("settled", "pending") for mode in modes)
        if (said := f"{done} {found}") != self._said:
            self._said = said
            with contextlib.suppress(Unwritable):
                self._note(Handback(self._clock.now(), self._giving, tags, values | modes, receipts, done, left))
                self._chain.sign()
        if done:
            self._charge.held.clear()
            self._giving = ""

    # ---- who speaks

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        peer = Peer(
            *struct.unpack("iII", writer.get_extra_info("socket").getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, 12))
        )
        talk: Talk | None = None
        try:
            talk = await self._greet(reader, writer, peer)
            await self._converse(talk, reader)
        except Unwritable as error:
            self._failed = error
            self._over.set()
        except No as no:
            await self._refuse(no, peer, writer)
        except (OSError, EOFError):
            pass  # it has gone
        finally:
            self._tasks.discard(task)
            writer.close()
            if talk and not self._over.is_set():
                async with self._lock:
                    if self._talk is talk:
                        await self._end("closed")

    async def _refuse(self, no: No, peer: Peer, writer: asyncio.StreamWriter) -> None:
        self._count_refusal(no, peer)
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(protocol.pack(Answer(0, no.code, no.detail, (), self._chain.head)))
            await asyncio.wait_for(writer.drain(), LIMIT)

    def _count_refusal(self, no: No, peer: Peer) -> None:
        """Keep a refusal; those of one code within a second become one record, so that nobody fills the disk."""
        entry = Refused(self._clock.now(), no.code, no.detail, peer.uid, peer.pid)
        noted, times, _ = self._refusals.get(no.code, (-SAME, 0, entry))
        self._refusals[no.code] = noted, times + 1, entry
        try:
            self._flush(monotonic())
        except Unwritable as error:
            self._failed = error
            self._over.set()

    def _flush(self, now: float) -> None:
        for code, (noted, times, entry) in self._refusals.items():
            if times and now - noted >= SAME:
                self._note(msgspec.structs.replace(entry, times=times))
                self._refusals[code] = now, 0, entry

    async def _hear(self, reader: asyncio.StreamReader, kind: type[protocol.T], patience: float | None = LIMIT) -> protocol.T:
        try:
            return await protocol.receive(reader, kind, patience=patience)
        except protocol.TooLarge as error:
            raise No("too-large", str(error)) from None
        except TimeoutError:
            raise No("slow", f"a message takes longer than {LIMIT:g} s") from None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise No("garbage", f"not a message: {error}") from None

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Peer) -> Talk:
        if peer.uid not in self._uids:
            raise No("uid", f"user {peer.uid} may not speak here")
        if len(self._tasks) > AT_ONCE:
            raise No("busy", "too many connections")
        hello = await self._hear(reader, Hello)
        self._free()
        if hello.run != self._envelope.run:
            raise No("unknown-signer", "the envelope names another run's key")
        if hello.envelope != self._digest:
            raise No("changed-envelope", CHANGED)
        nonce, head = os.urandom(protocol.NONCE), self._chain.head
        writer.write(protocol.pack(Answer(0, head=head, nonce=nonce)))
        proof = await self._hear(reader, Proof)
        if not genuine(self._envelope.run, protocol.greeting(nonce, head), proof.signature):
            raise No("forged", "the greeting is not signed with the run's key")
        async with self._lock:
            self._free()
            talk = self._talk = Talk(writer, nonce, peer, self._clock.now())
            self._note(Session(talk.heard, hello.run, peer.uid, peer.pid, nonce))
            writer.write(protocol.pack(Answer(0, head=self._chain.head)))
        return talk

    def _free(self) -> None:
        if self._talk:
            raise No("busy", f"process {self._talk.peer.pid} speaks already")
        if self._giving:
            raise No("handing-back", f"loops are being handed back: {self._giving}")

    # ---- what is said

    async def _converse(self, talk: Talk, reader: asyncio.StreamReader) -> None:
        try:
            while self._talk is talk:
                signed = await self._hear(reader, Signed, None)
                async with self._lock:
                    if self._talk is not talk:
                        return
                    answer = await self._take_in(talk, signed)
                    if answer is None:
                        await self._end("bye")
                        return
                talk.writer.write(protocol.pack(answer))
                async with asyncio.timeout(LIMIT):
                    await talk.writer.drain()
        except (No, TimeoutError) as error:
            no = error if isinstance(error, No) else No("slow", "answers are not read")
            self._count_refusal(no, talk.peer)
            with contextlib.suppress(OSError):
                talk.writer.write(protocol.pack(Answer(0, no.code, no.detail, (), self._chain.head)))
            async with self._lock:
                if self._talk is talk:
                    await self._end(no.code)

    async def _take_in(self, talk: Talk, signed: Signed) -> Answer | None:
        """Check one message and do what it says; None at a bye. Raises No if the session must end."""
        if not genuine(self._envelope.run, protocol.sealed(signed.body), signed.signature):
            raise No("forged", "a message is not signed with the run's key")
        try:
            said = msgspec.msgpack.decode(signed.body, type=Said)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise No("garbage", f"not a message: {error}") from None
        now = self._clock.now()
        if said.nonce != talk.nonce or said.seq <= talk.seq:
            return self._no(talk, said, "replayed", f"message {said.seq} of this session or another one was heard before")
        talk.seq = said.seq
        if abs(said.at - now) > self._skew:
            return self._no(talk, said, "out-of-date", f"said {(now - said.at) / SECOND:g} s before our time")
        talk.heard, talk.beats = now, talk.beats + 1
        if said.kind == "bye":
            return None
        answer = (
            await self._write(talk, said) if said.kind == "write" and said.verdicts else Answer(said.seq, head=self._chain.head)
        )
        talk.heard = self._clock.now()  # what the plant took to answer is not the brain's silence
        return answer

    def _no(self, talk: Talk, said: Said, code: str, detail: str) -> Answer:
        self._count_refusal(No(code, detail), talk.peer)
        return Answer(said.seq, code, detail, self._rejected(said), self._chain.head)

    def _rejected(self, said: Said) -> tuple[Receipt, ...]:
        now = self._clock.now()
        return tuple(Receipt(v.proposal.tag, v.allowed or 0.0, None, now, "rejected") for v in said.verdicts)

    async def _write(self, talk: Talk, said: Said) -> Answer:
        now = self._clock.now()
        if now < self._write_due - self._play:
            return self._no(talk, said, "too-often", "one write a period, with half a period of play")
        if len(said.verdicts) > len(self._envelope.written):
            return self._no(talk, said, "too-many", "more values than there are tags to write")
        self._write_due = max(now, self._write_due) + self._envelope.period
        frame = await self._frame()
        self._look(frame)
        found = self._judge(frame, self._charge.last(frame), said.verdicts)
        origin = {} if found.code else self._charge.origins(found.verdicts, frame)
        self._note(Judged(frame.at, said.tick, said.frame, said.verdicts, found.verdicts, found.code, found.detail, origin))
        if found.code:
            return Answer(said.seq, found.code, found.detail, self._rejected(said), self._chain.head)
        receipts = await self._send(found.verdicts)
        self._charge.took(found.verdicts, origin, receipts, self._clock.now())
        self._note(Wrote(self._clock.now(), receipts))
        return Answer(said.seq, "", "", receipts, self._chain.head)
