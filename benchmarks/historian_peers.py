"""The peers of `historian.py`: VictoriaMetrics and InfluxDB, each a process with a folder of its own, on loopback only.

VictoriaMetrics answers when samples are in memory and does not sync. InfluxDB syncs its write-ahead log before it answers
(`wal-fsync-delay = "0s"`). Both are told nothing else about speed. Times of a query include HTTP and decoding the answer.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import urlencode

import msgspec
import numpy as np

from historian_data import BEGIN, SECOND, Feed, grid, lines, rows, series, size_of

LONG = 120  # seconds that a peer may take to start, to merge or to compact

INFLUX = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
wal-fsync-delay = "0s"
cache-snapshot-write-cold-duration = "{cold}"
compact-full-write-cold-duration = "{cold}"
series-id-set-cache-size = 100
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
[monitor]
store-enabled = false
[subscriber]
enabled = false
[ifql]
enabled = false
[logging]
level = "error"
"""


class Export(msgspec.Struct):
    """A line of /api/v1/export."""

    values: list[float]
    timestamps: list[int]


class Row(msgspec.Struct):
    """A series in an answer of /api/v1/query_range."""

    metric: dict[str, str]
    values: list[tuple[float, str]]


class Rows(msgspec.Struct):
    """All series of such an answer."""

    result: list[Row]


class Matrix(msgspec.Struct):
    """An answer of /api/v1/query_range."""

    data: Rows


class Series(msgspec.Struct):
    """A series in an answer of InfluxDB."""

    values: list[list[float | None]]


class Result(msgspec.Struct):
    """What one statement gave."""

    series: list[Series] = []


class Influx(msgspec.Struct):
    """An answer of /query of InfluxDB."""

    results: list[Result]


class Peer:
    """A database process. `formats`: how it can be fed, name -> (path, connections)."""

    name = ""
    program = ""
    formats: ClassVar[Mapping[str, tuple[str, int]]] = MappingProxyType({})

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free()
        self._process: subprocess.Popen[bytes] | None = None
        self._local = threading.local()

    @classmethod
    def there(cls) -> bool:
        """Return whether the program is installed."""
        return shutil.which(cls.program) is not None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Return when it answers. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        for _ in range(LONG * 50):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._ask("GET", self.health)[0] in (200, 204):
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise OSError(f"{self.name} does not start: {(self.folder / 'log.txt').read_text()[-400:]}")

    health = "/"

    def stop(self) -> None:
        """End it as it wishes to be ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(LONG)
        self._process = None

    def kill(self) -> None:
        """End it with kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Return status and body of a request; each thread has its own connection, which is kept."""
        link = getattr(self._local, "link", None)
        if link is None:
            link = self._local.link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
            link.connect()
            link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            link.request(method, path, body or None)
            answer = link.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._local.link = None
            raise

    def get(self, path: str, **query: object) -> bytes:
        status, body = self._ask("GET", f"{path}?{urlencode(query)}" if query else path)
        if status not in (200, 204):
            raise OSError(f"{self.name} answers {status}: {body[:200]!r}")
        return body

    def post(self, path: str, body: bytes) -> None:
        status, answer = self._ask("POST", path, body)
        if status not in (200, 204):
            raise OSError(f"{self.name} answers {status}: {answer[:200]!r}")

    def feed(self, bodies: Sequence[bytes], how: str) -> float:
        """Send all; return seconds until the last was answered."""
        path, connections = self.formats[how]
        with ThreadPoolExecutor(connections) as pool:
            begun = time.perf_counter()
            list(pool.map(lambda body: self.post(path, body), bodies))
            return time.perf_counter() - begun

    def encoded(self, feed: Feed, how: str, values: int = 100_000) -> list[bytes]:
        """Return a feed as the bodies of requests."""
        encode = rows if how == "json" else lines
        return [encode(part) for part in feed.batches(values)]

    def settle(self) -> None:
        """Return when all that was sent can be queried; may cost time."""

    def count(self, feed: Feed) -> int:
        """Return how many values lie in the time of a feed."""
        raise NotImplementedError

    def packed(self) -> int:
        """Let it merge all it has and stop it; return the bytes on disk."""
        raise NotImplementedError

    def points(self, tag: int, seconds: int) -> np.ndarray:
        """Return all values of a tag."""
        raise NotImplementedError

    def shrunk(self, tag: int, seconds: int, width: int) -> np.ndarray:
        """Return min, max, mean of buckets of `width` s of a tag (rows: buckets)."""
        raise NotImplementedError


class VictoriaMetrics(Peer):
    """Single-node VictoriaMetrics."""

    name, program, health = "VictoriaMetrics", "victoria-metrics", "/health"
    formats: ClassVar = {
        "line, 1 connection": ("/write", 1),
        "line, 4 connections": ("/write", 4),
        "json": ("/api/v1/import", 1),
    }

    def command(self) -> list[str]:
        return [
            self.program, f"-storageDataPath={self.folder}/vm", f"-httpListenAddr=127.0.0.1:{self.port}", "-retentionPeriod=100y",
            "-loggerLevel=ERROR", "-search.latencyOffset=0s",
        ]  # fmt: skip

    def settle(self) -> None:
        self.get("/internal/force_flush")

    def count(self, feed: Feed) -> int:
        first, last = int(feed.at.min()) // SECOND, -(-int(feed.at.max()) // SECOND)
        query = f'sum(count_over_time({{__name__=~"m_.*"}}[{last - first + 2}s]))'
        found = msgspec.json.decode(self.get("/api/v1/query", query=query, time=last))["data"]["result"]
        return int(found[0]["value"][1]) if found else 0

    def packed(self) -> int:
        self.stop()  # what is in memory goes to disk
        first = self._size()
        self.start()
        self.get("/internal/force_merge")
        sizes: list[int] = []
        for _ in range(LONG):
            time.sleep(0.5)
            sizes.append(self._size())
            if len(sizes) > 8 and len(set(sizes[-6:])) == 1:
                break
        self.stop()
        return min(first, self._size())

    def _size(self) -> int:
        for _ in range(20):
            with contextlib.suppress(FileNotFoundError):  # parts come and go while they are merged
                return size_of(self.folder / "vm" / "data") + size_of(self.folder / "vm" / "indexdb")
        raise OSError("files come and go all the time")

    def points(self, tag: int, seconds: int) -> np.ndarray:
        body = self.get("/api/v1/export", **{"match[]": _selector(tag)}, start=BEGIN // SECOND, end=BEGIN // SECOND + seconds)
        found = msgspec.json.decode(body, type=Export)
        return np.array([found.timestamps, found.values])[1]

    def points_range(self, tag: int, seconds: int) -> np.ndarray:
        begin = BEGIN // SECOND
        found = self._range(_selector(tag), begin, begin + seconds - 1, 1)
        return np.array(found.data.result[0].values, dtype=float)[:, 1]

    def shrunk(self, tag: int, seconds: int, width: int) -> np.ndarray:
        first, count = grid(seconds, width)
        begin = first - 1  # a window is (t - width, t]
        found = self._range(f"rollup({_selector(tag)}[{width}s])", begin + width, begin + count * width, width)
        columns = {row.metric["rollup"]: np.array(row.values, dtype=float)[:, 1] for row in found.data.result}
        return np.column_stack([columns["min"], columns["max"], columns["avg"]])

    def _range(self, query: str, start: int, end: int, step: int) -> Matrix:
        body = self.get("/api/v1/query_range", query=query, start=start, end=end, step=step, nocache=1)
        return msgspec.json.decode(body, type=Matrix)

    def inside(self) -> dict[str, tuple[float, int]]:
        """Return seconds that it says it spent on requests of each path, and how many there were."""
        time.sleep(2)  # it renews what it says once a second
        found: dict[str, list[float]] = {}
        for line in self.get("/metrics").decode().splitlines():
            for part in ("sum", "count"):
                head = f'vm_request_duration_seconds_{part}{{path="'
                if line.startswith(head):
                    found.setdefault(line[len(head) :].split('"')[0], []).append(float(line.rsplit(" ", 1)[1]))
        return {path: (both[0], int(both[1])) for path, both in found.items() if len(both) == 2}

    def version(self) -> str:
        return _package("victoria-metrics")


class InfluxDb(Peer):
    """InfluxDB 1."""

    name, program, health = "InfluxDB", "influxd", "/ping"
    formats: ClassVar = {"line": ("/write?db=bench", 4)}
    cold = "10m"

    def command(self) -> list[str]:
        config = self.folder / "influxdb.conf"
        config.write_text(INFLUX.format(folder=self.folder, port=self.port, rpc=_free(), cold=self.cold))
        return [self.program, "run", "-config", str(config)]

    def start(self) -> None:
        super().start()
        self.post("/query?" + urlencode({"q": "CREATE DATABASE bench WITH DURATION INF SHARD DURATION 5200w"}), b"")

    def _rows(self, query: str) -> list[list[float | None]]:
        found = msgspec.json.decode(self.get("/query", db="bench", epoch="ms", q=query), type=Influx).results[0].series
        return found[0].values if found else []

    def count(self, feed: Feed) -> int:
        found = self._rows(f"SELECT count(*) FROM m WHERE time >= {feed.at.min()} AND time <= {feed.at.max()}")
        return sum(int(n or 0) for n in found[0][1:]) if found else 0

    def packed(self) -> int:
        self.stop()
        self.cold = "1s"
        self.start()
        sizes: list[int] = []
        for _ in range(LONG):
            time.sleep(1)
            with contextlib.suppress(FileNotFoundError):
                sizes.append(size_of(self.folder / "data") + size_of(self.folder / "wal"))
            if len(sizes) > 10 and len(set(sizes[-8:])) == 1:
                break
        self.stop()
        return size_of(self.folder / "data") + size_of(self.folder / "wal")

    def points(self, tag: int, seconds: int) -> np.ndarray:
        group, field = series(tag)
        end = BEGIN + seconds * SECOND
        query = f"SELECT {field} FROM m WHERE g = '{group}' AND time >= {BEGIN} AND time < {end}"
        return np.array(self._rows(query), dtype=float)[:, 1]

    def shrunk(self, tag: int, seconds: int, width: int) -> np.ndarray:
        group, field = series(tag)
        query = (
            f"SELECT min({field}), max({field}), mean({field}) FROM m WHERE g = '{group}' AND time >= {BEGIN} "
            f"AND time < {BEGIN + seconds * SECOND} GROUP BY time({width}s)"
        )
        return np.array(self._rows(query), dtype=float)[:, 1:]

    def version(self) -> str:
        return _package("influxdb")


def _selector(tag: int) -> str:
    group, field = series(tag)
    return f'm_{field}{{g="{group}"}}'


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _package(name: str) -> str:
    """Return the version of a Debian package."""
    command = ["dpkg-query", "-W", "-f", "${Version}", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout or "unknown"


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[Peer]:
    """Start a peer; stop it in the end."""
    peer.start()
    try:
        yield peer
    finally:
        peer.stop()
