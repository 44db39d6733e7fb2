"""Our side of `historian.py`: a process that takes samples into a history over loopback, one that answers queries, and the feeder.

    python historian_ours.py receive FOLDER TAGS      python historian_ours.py serve FOLDER

Receiving: batches come as `length u64 | cursor i64 | Arrow stream`; an acknowledgement is the cursor, sent when everything up to it
is on disk. The first thing sent is the cursor that the history stopped at. Length 0: close, seal, acknowledge once more.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from historian_data import SECOND, Feed, arrow, grid
from jayul.record.batch import Batch, Count
from jayul.record.history import History, Reader

HEAD = struct.Struct("<Qq")
HOUR = 3600 * SECOND
SILENT = 0.02  # seconds without a batch after which what is pending is made durable


# the processes ---------------------------------------------------------------------------------------------------------


def receive(folder: Path, tags: int) -> None:
    """Take batches from one connection until it says close."""
    names = Feed(np.empty((0, tags)), np.empty(0)).names
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as aside:
        print(server.getsockname()[1], flush=True)
        peer, _ = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        history = History(folder, names, aside=aside, acknowledge=lambda cursor: peer.sendall(HEAD.pack(0, cursor)))
        peer.sendall(HEAD.pack(0, history.cursor))
        waiting: queue.Queue[tuple[int, bytearray] | None] = queue.Queue(4)
        threading.Thread(target=take, args=(peer, waiting), daemon=True).start()
        while True:
            try:
                found = waiting.get(timeout=SILENT)
            except queue.Empty:
                history.commit()
                continue
            if found is None:
                break
            batch = decoded(found[1])
            history.append(batch, received(batch), known_at=time.time_ns(), cursor=found[0])
        history.close()
        peer.sendall(HEAD.pack(0, history.cursor))


def take(peer: socket.socket, into: queue.Queue[tuple[int, bytearray] | None]) -> None:
    """Read batches from the socket."""
    while True:
        length, cursor = HEAD.unpack(exactly(peer, HEAD.size))
        if not length:
            into.put(None)
            return
        into.put((cursor, exactly(peer, length)))


def exactly(peer: socket.socket, length: int) -> bytearray:
    """Return so many bytes. Raises ConnectionError if the other side has gone."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        n = peer.recv_into(view)
        if not n:
            raise ConnectionError("the other side has gone")
        view = view[n:]
    return data


def decoded(data: bytearray) -> Batch:
    """Return the samples of an Arrow stream."""
    columns = [column.to_numpy() for column in pa.ipc.open_stream(pa.py_buffer(data)).read_next_batch().columns]
    return Batch(*columns, columns[1])


def received(batch: Batch) -> list[Count]:
    """Return what the ledger adds: how many values of each tag came, by hour of source time."""
    hour = batch.source_at // HOUR
    found = []
    for each in np.unique(hour).tolist():
        n = np.bincount(batch.tag[hour == each])
        found += [Count(tag, each * HOUR, "received", count) for tag, count in enumerate(n.tolist()) if count]
    return found


def serve(folder: Path) -> None:
    """Answer queries of one connection: `length u64 | 0 | JSON` in, `length u64 | 0 | Arrow stream` out."""
    reader = Reader(folder)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        peer, _ = server.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            while True:
                length, _ = HEAD.unpack(exactly(peer, HEAD.size))
                asked = json.loads(exactly(peer, length))
                whole = asked["what"] == "points"
                table = (
                    points(reader, asked["tag"]) if whole else shrunk(reader, asked["tag"], asked["seconds"], asked["width"])
                )
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, table.schema) as stream:
                    stream.write_table(table)
                body = sink.getvalue()
                peer.sendall(HEAD.pack(body.size, 0))
                peer.sendall(body)


# queries ---------------------------------------------------------------------------------------------------------------


def points(reader: Reader, tag: str) -> pa.Table:
    """Return all samples of a tag."""
    return reader.samples([tag])


def shrunk(reader: Reader, tag: str, seconds: int, width: int) -> pa.Table:
    """Return min, max and mean of buckets of `width` s of a tag."""
    first, count = grid(seconds, width)
    begin, step = first * SECOND, width * SECOND
    return reader.downsample([tag], begin, begin + count * step, step=step).select(["min", "max", "mean"])


class Client:
    """Asks the process that serves."""

    def __init__(self, port: int) -> None:
        self._peer = socket.create_connection(("127.0.0.1", port))
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, **asked: Any) -> pa.Table:
        body = json.dumps(asked).encode()
        self._peer.sendall(HEAD.pack(len(body), 0) + body)
        length, _ = HEAD.unpack(exactly(self._peer, HEAD.size))
        return pa.ipc.open_stream(pa.py_buffer(exactly(self._peer, length))).read_all()

    def close(self) -> None:
        self._peer.close()


# the feeder ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def process(what: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start one of the processes above; yield it and its port; end it."""
    made = subprocess.Popen([sys.executable, __file__, what, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield made, int(made.stdout.readline())
    finally:
        if made.poll() is None:
            made.kill()
        made.wait()
        made.stdout.close()


class Link:
    """A connection to the receiving process; `acked` is the last cursor that it said is on disk."""

    def __init__(self, port: int) -> None:
        self._peer = socket.create_connection(("127.0.0.1", port))
        self.begun = self.acked = HEAD.unpack(exactly(self._peer, HEAD.size))[1]
        self.acks = 0
        self._changed = threading.Condition()
        self._gone = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                cursor = HEAD.unpack(exactly(self._peer, HEAD.size))[1]
                with self._changed:
                    self.acked, self.acks = cursor, self.acks + 1
                    self._changed.notify_all()
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def send(self, cursor: int, body: bytes) -> None:
        self._peer.sendall(HEAD.pack(len(body), cursor))
        self._peer.sendall(body)

    def until(self, done: Callable[[], bool]) -> None:
        """Wait for an acknowledgement. Raises ConnectionError if the process has gone."""
        with self._changed:
            self._changed.wait_for(lambda: done() or self._gone)
            if not done():
                raise ConnectionError("the receiving process has gone")

    def close(self) -> None:
        """Close the history; return when it is sealed."""
        acks = self.acks
        self._peer.sendall(HEAD.pack(0, -1))
        self.until(lambda: self.acks > acks)

    def hang_up(self) -> None:
        """Return when every acknowledgement that came in has been read."""
        self._thread.join()
        self._peer.close()


def ingest(folder: Path, tags: int, bodies: Sequence[bytes]) -> tuple[float, float]:
    """Feed everything; return seconds until all was durable and until all was sealed."""
    with process("receive", str(folder), str(tags)) as (made, port):
        link = Link(port)
        begun = time.perf_counter()
        for cursor, body in enumerate(bodies):
            link.send(cursor, body)
        link.until(lambda: link.acked == len(bodies) - 1)
        durable = time.perf_counter() - begun
        link.close()
        sealed = time.perf_counter() - begun
        made.wait()
        link.hang_up()
    return durable, sealed


def killed(folder: Path, feed: Feed, kills: int, rng: random.Random, values: int = 20_000) -> dict[str, int]:
    """Feed while the receiving process is killed at random moments; return acknowledged values, lost and doubled ones."""
    parts = feed.batches(values)
    bodies = [arrow(part) for part in parts]
    counts = np.cumsum([part.values.size for part in parts])
    found = {"acknowledged": 0, "lost": 0, "kills": 0}
    acked = -1
    for k in range(kills + 1):
        with process("receive", str(folder), str(feed.tags)) as (made, port):
            link = Link(port)
            if link.begun < acked:
                found["lost"] += int(counts[acked] - (counts[link.begun] if link.begun >= 0 else 0))
            timer = threading.Timer(rng.uniform(0.01, 0.3), made.kill)
            if k < kills:
                timer.start()
            try:
                for cursor in range(link.begun + 1, len(bodies)):
                    link.send(cursor, bodies[cursor])
                link.until(lambda link=link: link.acked == len(bodies) - 1)
                if k == kills:
                    link.close()
            except OSError:
                pass
            timer.cancel()
            made.kill()
            made.wait()
            link.hang_up()
            acked = max(acked, link.acked)
            found["kills"] += acked < len(bodies) - 1
            found["acknowledged"] = int(counts[acked]) if acked >= 0 else 0
    return found | compared(folder, feed, found["lost"])


def compared(folder: Path, feed: Feed, lost: int) -> dict[str, int]:
    """Count what is not there, what is there twice, and what is there but not as it was sent."""
    table = Reader(folder).samples(versions=True)
    code = table["tag"].combine_chunks()
    names = {name: i for i, name in enumerate(feed.names)}
    tag = np.array([names[name] for name in code.dictionary.to_pylist()])[code.indices.to_numpy()]
    at = np.searchsorted(feed.at, table["source_at"].cast(pa.int64()).to_numpy())
    times = np.bincount(at * feed.tags + tag, minlength=feed.values.size)
    other = feed.values[at, tag] != table["value"].to_numpy()
    return {"lost": lost + int((times == 0).sum()), "doubled": int((times - 1).clip(0).sum()), "changed": int(other.sum())}


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        serve(Path(sys.argv[2]))
