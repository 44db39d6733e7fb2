"""How fast is the control room: a long history drawn and zoomed, many who follow a live run, what axe-core finds.

    python benchmarks/web.py --json --seed 0 --points 10000000

A history of 20 tags with `--points` samples each, one a second, is made once and kept in the temporary folder by seed and size.
The server is a process of its own. Reported, each as a user would feel it:

    first_paint_s     page opened until the curve of 12 tags over the whole history is drawn; median of 5, Chromium, server running
    zoom_p95_ms       100 ranges drawn by chance (ten minutes to everything, 12 tags): question to last byte of the answer
    peer_zoom_ms      ten of the ranges with pyarrow.dataset over the same files, no summaries; peer_ratio: median of the ratios
    sse_clients       streams of a live run, half of the page Now, half of trends; each is cut and comes back by its Last-Event-ID
    sse_cpu           share of one core that the server took meanwhile; sse_lost: samples that some follower did not get
    open_us           a run of `--ticks` ticks read from its first tick, for each tick; fold_us: what alarms and moves take besides
    open_mb           memory that the server keeps for it
    axe_serious       findings of axe-core, serious or critical, over all pages in both languages

The last line of output is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jayul.app.web.view import PAGES
from jayul.conform.crash import make_project
from jayul.core.clock import monotonic
from jayul.core.types import SECOND
from jayul.project.curves import round_step
from jayul.record.batch import Batch
from jayul.record.files import OsFiles
from jayul.record.history import History, Reader
from jayul.record.history.catalogue import Catalogue
from jayul.record.history.upkeep import rebuild

NAMES = (
    "TIC1.PV", "TIC1.SP", "TIC2.PV", "LIC1.PV", "FI2.PV", "JI1.PV", "JI2.PV", "PRICE1", "PRICE2", "kpi", "FI1.PV", "GRADE",
    "LIC1.SP", "LIC2.PV", "TI3.PV", "TI4.PV", "TIC1.MODE", "TIC2.SP", "WATCHDOG", "frozen.age",
)  # fmt: skip
SHOWN, ZOOMS, PEERS, WIDTH = 12, 100, 10, 1200
CHUNK = 25_000  # s, of all tags
TICK = os.sysconf("SC_CLK_TCK")
CHROMIUM = "/usr/bin/chromium"
SERVE = """
import sys, socket, pathlib, uvicorn
from jayul.app.web.server import Config, create
listening = socket.socket(); listening.bind(("127.0.0.1", 0)); listening.listen(128)
print("http://127.0.0.1:%d" % listening.getsockname()[1], flush=True)
app = create(Config((pathlib.Path(sys.argv[1]),)))
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
"""
OPEN = """
import json, pathlib, sys
from jayul.app.web.folds import Fold
from jayul.core.clock import monotonic
from jayul.project.timeline import Timeline
def kept():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096
begun, before = monotonic(), kept()
timeline = Timeline(pathlib.Path(sys.argv[1]))
while len(timeline) < timeline.refresh():
    pass
read, fold = monotonic(), Fold(timeline)
ticks, grown = len(timeline), kept() - before
fold.upto(ticks)
us = [1e6 * seconds / ticks for seconds in (read - begun, monotonic() - read)]
print(json.dumps({"ticks": ticks, "open_us": round(us[0], 1), "fold_us": round(us[1], 1), "open_mb": round(grown / 1e6, 1)}))
"""


def jayul(keys: Path, *words: object) -> list[str]:
    """Return a command line."""
    os.environ["JAYUL_KEYS"] = str(keys)
    return [sys.executable, "-m", "jayul", *map(str, words)]


def built(folder: Path, points: int, seed: int) -> dict[str, float]:
    """Make a run with a long history, unless it is there; return what making it took."""
    done = folder / "built.json"
    if done.exists():
        found: dict[str, float] = json.loads(done.read_text())
        return found
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out = folder / "runs" / "long"
    subprocess.run(
        jayul(folder / "keys", "run", make_project(folder / "p", 1.0, "group"), "--out", out), check=True, capture_output=True
    )
    shutil.rmtree(out / "history")
    end = 1_767_225_600 + 3600  # where the run ends
    begun, rng = monotonic(), np.random.default_rng(seed)
    level = np.linspace(20, 300, len(NAMES))
    with ThreadPoolExecutor(1) as aside:
        history = History(out / "history", NAMES, aside=aside)
        for first in range(0, points, CHUNK):
            n = min(CHUNK, points - first)
            walk = (
                np.cumsum(rng.normal(0, 0.05, (len(NAMES), n)), axis=1) - rng.normal(0, 0.2, (len(NAMES), n)) + level[:, None]
            )
            level += (walk[:, -1] - level) * 0.9
            at = (end - points + first + np.arange(n)) * SECOND
            tag = np.repeat(np.arange(len(NAMES)), n)
            zeros = np.zeros(len(tag))
            batch = Batch.of(tag, np.tile(at, len(NAMES)), np.round(walk, 2).ravel(), zeros, zeros)
            history.append(batch, known_at=int(at[-1]))
        history.close()
    took = {"build_s": round(monotonic() - begun, 1)}
    files, begun = OsFiles(out / "history", create=False), monotonic()
    rebuild(files, Catalogue(files))
    took["pyramid_build_s"] = round(monotonic() - begun, 1)
    took["mb"] = round(sum(path.stat().st_size for path in (out / "history").iterdir()) / 1e6, 1)
    done.write_text(json.dumps(took))
    return took


@contextlib.contextmanager
def serving(roots: Path) -> Iterator[tuple[str, int]]:
    """Serve run folders; yield address and process id."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(roots)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.kill()
        process.communicate()


def ranges(points: int, seed: int) -> list[tuple[int, int, tuple[str, ...]]]:
    """Draw what is zoomed into: times (ns) and tags."""
    rng, end = np.random.default_rng([seed, 1]), 1_767_225_600 + 3600
    found = []
    for _ in range(ZOOMS):
        span = int(np.exp(rng.uniform(np.log(min(600, points / 2)), np.log(points))))
        begin = end - points + int(rng.integers(0, points - span + 1))
        tags = tuple(NAMES[i] for i in rng.permutation(len(NAMES))[:SHOWN])
        found.append((begin * SECOND, (begin + span) * SECOND, tags))
    return found


def zoomed(url: str, asked: list[tuple[int, int, tuple[str, ...]]]) -> tuple[list[float], int]:
    """Ask the server for each range; return ms for each, and the most points that any curve had."""
    host = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    took, most = [], 0
    for low, high, tags in asked:
        query = urlencode([*(("tags", tag) for tag in tags), ("from", low), ("to", high), ("width", WIDTH)])
        begun = monotonic()
        host.request("GET", f"/r/long/trends/data?{query}")
        body = host.getresponse().read()
        took.append(1000 * (monotonic() - begun))
        curves = json.loads(body)["curves"]
        most = max(most, *(len(c.get("value", ())) + len(c.get("min", ())) + len(c.get("max", ())) for c in curves))
        assert all(len(c["at"]) for c in curves)
    return took, most


def naive(history: Path, low: int, high: int, tags: tuple[str, ...]) -> float:
    """Do the same with the Parquet files alone; return ms."""
    begun = monotonic()
    data = ds.dataset([path for path in sorted(history.glob("*.parquet")) if path.name[0] != "_"], format="parquet")
    times = [pa.scalar(t, pa.timestamp("ns", "UTC")) for t in (low, high)]
    where = ds.field("tag").isin(tags) & (ds.field("source_at") >= times[0]) & (ds.field("source_at") < times[1])
    table = data.to_table(columns=["tag", "source_at", "value", "mantissa", "decimals"], filter=where).unify_dictionaries()
    power = pa.array(10.0 ** np.arange(10)).take(pc.fill_null(table["decimals"], 0).combine_chunks())
    value = pc.coalesce(table["value"], pc.divide(table["mantissa"].cast("double"), power))
    step = round_step(high - low, WIDTH)
    column = pc.divide(table["source_at"].cast("int64"), step)
    pa.table({"tag": table["tag"], "column": column, "value": value}).group_by(["tag", "column"]).aggregate(
        [("value", "min"), ("value", "max")]
    )
    return 1000 * (monotonic() - begun)


@contextlib.contextmanager
def chromium(**more: Any) -> Iterator[Any]:
    """Open a page in Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_context(viewport={"width": 1366, "height": 768}, **more).new_page()
        browser.close()


def painted(url: str) -> tuple[float, float]:
    """Open the page of 12 tags over the whole history; return s until something, and until the curve was seen."""
    with chromium() as page:
        query = urlencode([*(("tags", tag) for tag in NAMES[:SHOWN]), ("last", "all")])
        page.goto(f"{url}/r/long/trends?{query}", wait_until="commit")
        page.wait_for_function("() => performance.getEntriesByName('jayul-curve-drawn').length", timeout=120_000)
        drawn = page.evaluate("() => performance.getEntriesByName('jayul-curve-drawn')[0].startTime")
        first = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
    return first / 1000, drawn / 1000


class Follower:
    """Follows one stream, is cut now and then, and comes back with the number of the last event that it has."""

    def __init__(self, url: str, path: str, rng: np.random.Generator) -> None:
        self.at, self.path, self.rng = urlsplit(url), path, rng
        self.last = ""
        self.events = self.cuts = self.back = 0
        self.seen: dict[tuple[str, int], int] = {}

    async def follow(self, until: float) -> None:
        while (left := until - monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, float(self.rng.uniform(2, 8)))):
                    await self._read()
            self.cuts += 1

    async def _read(self) -> None:
        reader, writer = await asyncio.open_connection(self.at.hostname, self.at.port, limit=1 << 24)
        try:
            last = f"Last-Event-ID: {self.last}\r\n" if self.last else ""
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.at.netloc}\r\n{last}\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            text = b""
            while True:
                size = int((await reader.readline()).strip() or b"0", 16)
                text += (await reader.readexactly(size + 2))[:-2]
                *whole, text = text.split(b"\n\n")
                for event in whole:
                    self._take(event.decode())
        finally:
            writer.close()

    def _take(self, event: str) -> None:
        fields = dict(line.partition(": ")[::2] for line in event.split("\n") if not line.startswith("data"))
        if "id" not in fields:
            return
        self.back += place(fields["id"]) < place(self.last)
        self.last, self.events = fields["id"], self.events + 1
        if fields["event"] == "trend":
            body = json.loads("".join(line[6:] for line in event.split("\n") if line.startswith("data")))
            for tag, (at, *_) in body["tags"].items():
                for t in at:
                    self.seen[tag, t] = self.seen.get((tag, t), 0) + 1


def place(id: str) -> int:  # noqa: A002 - as server-sent events call it
    """Return how far an id says that somebody has come: a tick, or a time (ms) with what tells batches of one time apart."""
    return int(id.partition(".")[0] or -1)


def cpu(pid: int) -> float:
    """Return the seconds of processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def streamed(url: str, pid: int, out: Path, clients: int, seconds: float, seed: int) -> dict[str, Any]:
    """Follow a live run with many streams; return what the server took, and what somebody missed."""
    tags = ("TIC1.PV", "TIC1.SP", "TIC2.PV", "JI1.PV")
    query = urlencode([("tags", tag) for tag in tags])
    with urlopen(
        f"{url}/r/live/trends/data?{query}"
    ) as answer:  # as the page does: what is newer than this comes by the stream
        since = json.load(answer)["known"]
    query += f"&since={since}"
    paths = [f"/r/live/trends/stream?{query}" if i % 2 else "/r/live/now/stream" for i in range(clients)]
    everyone = [Follower(url, path, np.random.default_rng([seed, 2, i])) for i, path in enumerate(paths)]

    async def follow() -> None:
        until = monotonic() + seconds
        await asyncio.gather(*(one.follow(until) for one in everyone))

    before, begun = cpu(pid), monotonic()
    asyncio.run(follow())
    share = (cpu(pid) - before) / (monotonic() - begun)
    table = Reader(out / "history").samples(tags)
    known = table["known_at"].cast(pa.int64()).to_numpy()
    rows = list(zip(table["tag"].to_pylist(), table["source_at"].cast(pa.int64()).to_pylist(), strict=True))
    lost = twice = told = 0
    for one in everyone[1::2]:
        due = [row for row, k in zip(rows, known.tolist(), strict=True) if place(since) < k < place(one.last)]
        lost += sum(row not in one.seen for row in due)
        twice += sum(n > 1 for n in one.seen.values())
        told += len(one.seen)
    return {
        "sse_clients": clients, "sse_cpu": round(share, 3), "sse_events": sum(one.events for one in everyone),
        "sse_cuts": sum(one.cuts for one in everyone), "sse_samples": told, "sse_lost": lost, "sse_twice": twice,
        "sse_gone_back": sum(one.back for one in everyone),
    }  # fmt: skip


def opened(folder: Path, ticks: int) -> dict[str, float]:
    """Make a run of so many ticks and read it in a process of its own; return what that took."""
    project = make_project(folder / "ticks", ticks * 30 / 3600, "group")
    subprocess.run(jayul(folder / "keys", "run", project, "--out", folder / "read"), check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", OPEN, folder / "read"], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def live(folder: Path, speed: float) -> Iterator[Path]:
    """Let a run go on against a simulated plant on OPC UA; yield its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    keys, project, out = folder / "keys", make_project(folder / "line", 400.0, "group"), folder / "runs" / "live"
    subprocess.run(jayul(keys, "simulate", project, "--tags", project), check=True, capture_output=True)
    plant = subprocess.Popen(
        jayul(keys, "simulate", project, "--opcua", 0, "--speed", speed), stdout=subprocess.PIPE, text=True
    )
    try:
        assert plant.stdout is not None
        found = re.search(r"opcua://\S+", plant.stdout.readline())
        assert found
        run = subprocess.Popen(
            jayul(keys, "run", project, "--plant", found[0], "--speed", speed, "--out", out), stdout=subprocess.DEVNULL
        )
        try:
            reader = Reader(out / "history")
            while not (out / "history").is_dir() or not reader.tags():
                asyncio.run(asyncio.sleep(0.2))
            yield out
        finally:
            run.terminate()
            run.wait(60)
    finally:
        plant.kill()
        plant.communicate()


def axe_serious(url: str, run: str, script: Path) -> dict[str, list[str]]:
    """Return what axe-core finds serious or critical, by page."""
    found = {}
    text = script.read_text(encoding="utf-8")
    pages = ["/", "/signin", *(f"/r/{run}/{key}" for key, _ in PAGES)]
    for language, scheme in (("en-US", "light"), ("ko-KR", "dark")):
        with chromium(locale=language, color_scheme=scheme, bypass_csp=True) as page:
            for path in pages:
                answer = page.goto(url + path)
                if answer.status == 404:
                    continue  # not built yet
                page.wait_for_timeout(1000)
                page.evaluate(f"() => {{ {text} }}")
                hits = page.evaluate("async () => (await axe.run()).violations")
                found[f"{path} {language} {scheme}"] = [
                    f"{hit['id']}: {hit['nodes'][0]['html'][:120]}" for hit in hits if hit["impact"] in ("serious", "critical")
                ]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the last line alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=10_000_000, help="of each of 20 tags")
    parser.add_argument("--ticks", type=int, default=100_000, help="of a run that is opened")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--axe", type=Path, default=Path(".peers/node_modules/axe-core/axe.min.js"))
    args = parser.parse_args()
    say = (lambda *words: None) if args.json else print
    cache = Path(tempfile.gettempdir()) / f"jayul-web-bench-{args.seed}-{args.points}"
    found: dict[str, Any] = {"tags": len(NAMES), "points": args.points, "shown": SHOWN, **built(cache, args.points, args.seed)}
    say(f"history: {found}")
    with serving(cache / "runs") as (url, _):
        first = painted(url)
        loads = [painted(url) for _ in range(5)]
        found |= {"first_paint_s": round(statistics.median(d for _, d in loads), 3), "cold_paint_s": round(first[1], 3)}
        found["first_contentful_paint_s"] = round(statistics.median(f for f, _ in loads), 3)
        say(f"paint: {loads}")
        asked = ranges(args.points, args.seed)
        took, most = zoomed(url, asked)
        found |= {"zoom_p95_ms": round(float(np.percentile(took, 95)), 1), "zoom_ms": round(statistics.median(took), 1)}
        found |= {"zoom_worst_ms": round(max(took), 1), "most_points": most, "width": WIDTH}
        say(f"zoom: {sorted(took)[-10:]}")
        peers = [naive(cache / "runs" / "long" / "history", *one) for one in asked[:PEERS]]
        found["peer_zoom_ms"] = round(statistics.median(peers), 1)
        found["peer_ratio"] = round(statistics.median(p / t for p, t in zip(peers, took, strict=False)), 1)
    folder = Path(tempfile.mkdtemp(prefix="jayul-web-live-"))
    try:
        found |= opened(folder, args.ticks)
        with live(folder / "x", 60) as out, serving(out.parent) as (url, pid):
            found |= streamed(url, pid, out, args.clients, args.seconds, args.seed)
            say(f"streams: {found}")
            if args.axe.exists():
                hits = axe_serious(url, "live", args.axe)
                found |= {"axe_serious": sum(map(len, hits.values())), "axe_pages": len(hits)}
                say(json.dumps(hits, indent=1))
            else:
                found |= {"axe_serious": None, "axe_pages": 0}
                say(f"{args.axe} is not there: npm install axe-core")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
