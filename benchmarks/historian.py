"""Ten million values into our history, VictoriaMetrics and InfluxDB: how fast, how small, how soon back, and what a kill loses.

    python benchmarks/historian.py --json --seed 0
    python benchmarks/historian.py --full --work DIR      a year of 2,000 tags at 1 minute, resumable (historian_year.py)

1,000 tags x 10,000 s, 3 decimals, AR(1) and noise, from one producer over loopback; server and producer share the cores. All
encodings are made before the clock starts. Ours: Arrow over TCP to a process that appends to a history with ledger counts; the
clock stops when the last batch is acknowledged, which is when it is synced. VictoriaMetrics: line protocol (50 fields a line, 1 and
4 connections) and its JSON, the best of them counts; its clock stops at the last 204, which is before anything is on disk.
InfluxDB: line protocol, 4 connections; it syncs its log before each 204. They run one after another, in an order that turns with
round and seed.

ratio_ingest_victoriametrics: our durable values/s over those of its best format in the same round; the median of rounds.
bytes_per_value: files of a closed history, with source time, status, known-at and ledger; of the peers after they have merged all
and stopped, with source time.
query_ms, downsample_ms: p50 and p99 of 200 tags, each asked once of all in turn, after others were: all 10,000 points, and min,
max, mean of buckets of 2 minutes, of which we keep summaries. downsample_odd_ms: of 100 s, of which nobody does. Ours in process;
`..._loopback` from another process, Arrow over TCP. The peers over HTTP with decoding; `server_...`: what VictoriaMetrics itself
says it took. lost_after_kill: acknowledged values that are not there after
kill -9, and doubled ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from historian_data import ODD, ROUND, Feed, arrow, buckets, data_folder, jittered, percentiles, size_of, synthetic, tep
from historian_ours import Client, ingest, killed, points, process, shrunk
from historian_peers import InfluxDb, Peer, VictoriaMetrics, running
from historian_year import year
from jayul.record.history import Reader

Row = dict[str, Any]
PEERS: tuple[type[Peer], ...] = (VictoriaMetrics, InfluxDb)


# how fast --------------------------------------------------------------------------------------------------------------


def ingest_ours(work: Path, feed: Feed, bodies: list[bytes]) -> Row:
    """Feed our history once: values/s durable, and until all is in Parquet."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        durable, sealed = ingest(Path(name) / "history", feed.tags, bodies)
    return {"values_per_s": feed.values.size / durable, "until_sealed": feed.values.size / sealed}


def ingest_peer(work: Path, feed: Feed, peer: type[Peer], how: str, bodies: list[bytes]) -> Row:
    """Feed a peer once: values/s until the last answer, and until all can be queried; all values must be there."""
    with tempfile.TemporaryDirectory(dir=work) as name, running(peer(Path(name))) as there:
        seconds = there.feed(bodies, how)
        begun = time.perf_counter()
        there.settle()
        settled = seconds + time.perf_counter() - begun
        if (count := there.count(feed)) != feed.values.size:
            raise SystemExit(f"{peer.name} holds {count} of {feed.values.size} values")
    return {"values_per_s": feed.values.size / seconds, "until_flushed": feed.values.size / settled}


def speeds(work: Path, feed: Feed, rounds: int, seed: int) -> dict[str, Row]:
    """Return values/s of each way to feed: medians, and the smallest and largest of rounds."""
    runs: dict[str, Callable[[], Row]] = {}
    bodies = [arrow(part) for part in feed.batches()]
    runs["jayul"] = lambda: ingest_ours(work, feed, bodies)
    for peer in PEERS:
        encoded: dict[str, list[bytes]] = {}
        for how in peer.formats if peer.there() else ():
            made = encoded.setdefault(how.split(",")[0], []) or encoded[how.split(",")[0]]
            made.extend([] if made else peer(work).encoded(feed, how))
            runs[f"{peer.name}, {how}"] = lambda peer=peer, how=how, made=made: ingest_peer(work, feed, peer, how, made)
    found: dict[str, list[Row]] = {name: [] for name in runs}
    for k in range(rounds):
        names = list(runs)
        turn = (seed + k) % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(runs[name]())
            print(f"  round {k + 1} {name:38s} {found[name][-1]['values_per_s'] / 1e6:6.2f} M values/s", flush=True)
    return {name: spread(each) for name, each in found.items()}


def spread(found: list[Row]) -> Row:
    """Return medians, and from where to where the first figure went."""
    middle = {key: round(statistics.median(row[key] for row in found)) for key in found[0]}
    first = [round(row["values_per_s"]) for row in found]
    return middle | {"min": min(first), "max": max(first), "rounds": first}


# how small, how soon back ----------------------------------------------------------------------------------------------


def kept_ours(folder: Path, feed: Feed) -> float:
    """Feed and close a history; return bytes per value."""
    ingest(folder, feed.tags, [arrow(part) for part in feed.batches()])
    return size_of(folder) / feed.values.size


def kept_peer(there: Peer, feed: Feed, how: str) -> float:
    """Feed a peer that was just started; return bytes per value after it has merged all. It is stopped then."""
    there.feed(there.encoded(feed, how), how)
    there.settle()
    if (count := there.count(feed)) != feed.values.size:
        raise SystemExit(f"{there.name} holds {count} of {feed.values.size} values")
    return there.packed() / feed.values.size


def sizes(work: Path, feed: Feed) -> Row:
    """Return bytes per value of all."""
    found: Row = {}
    with tempfile.TemporaryDirectory(dir=work) as name:
        found["jayul"] = round(kept_ours(Path(name) / "history", feed), 3)
    for peer in PEERS:
        found[peer.name] = None
        if peer.there():
            how = "json" if "json" in peer.formats else next(iter(peer.formats))
            with tempfile.TemporaryDirectory(dir=work) as name, running(peer(Path(name))) as there:
                found[peer.name] = round(kept_peer(there, feed, how), 3)
    return found


Ask = Callable[[int], np.ndarray]


class Askers(NamedTuple):
    """How to ask one of them: for all points of a tag, for its buckets of a width, and for other things beside."""

    points: Ask
    buckets: Callable[[int, int], np.ndarray]  # tag, width in s
    more: dict[str, Ask]


def queries(work: Path, feed: Feed, count: int, seed: int) -> dict[str, Row]:
    """Ask all for the same tags in turn, all of them running; return their times, and the bytes of what they were asked of."""
    seconds = len(feed.values)
    picked = np.random.default_rng([seed, 2]).permutation(feed.tags).tolist()
    tags, warm = picked[:count], picked[count : 2 * count] or picked
    rows: dict[str, Row] = {}
    asks: dict[tuple[str, str], Ask] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=work)))
        found = {"jayul": stack.enter_context(open_ours(folder / "jayul", feed, tags[0], rows))}
        for peer in PEERS:
            if peer.there():
                found[peer.name] = stack.enter_context(open_peer(peer(folder / peer.name), feed, seconds, rows))
        for name, how in found.items():
            check(name, feed, how, tags[0])
            asks[name, "query_ms"] = how.points
            asks[name, "downsample_ms"] = lambda tag, how=how: how.buckets(tag, ROUND)
            asks[name, "downsample_odd_ms"] = lambda tag, how=how: how.buckets(tag, ODD)
            asks |= {(name, key): ask for key, ask in how.more.items()}
        for (name, key), times in timed(asks, tags, warm).items():
            rows[name][key] = percentiles(times)
    return rows


def timed(asks: dict[tuple[str, str], Ask], tags: list[int], warm: list[int]) -> dict[tuple[str, str], list[float]]:
    """Return the times in ms of asking for each tag once, after others were asked for; each tag is asked of all in turn."""
    for ask in asks.values():
        for tag in warm:
            ask(tag)
    found: dict[tuple[str, str], list[float]] = {key: [] for key in asks}
    names = list(asks)
    for k, tag in enumerate(tags):
        for key in names[k % len(names) :] + names[: k % len(names)]:
            begun = time.perf_counter()
            asks[key](tag)
            found[key].append(1e3 * (time.perf_counter() - begun))
    return found


@contextlib.contextmanager
def open_ours(folder: Path, feed: Feed, tag: int, rows: dict[str, Row]) -> Iterator[Askers]:
    """Feed a history and close it; yield how to ask it."""
    seconds, names = len(feed.values), feed.names
    row: Row = {"bytes_per_value": round(kept_ours(folder, feed), 3)}
    begun = time.perf_counter()
    reader = Reader(folder)
    points(reader, names[tag])
    row["first_query_ms"] = round(1e3 * (time.perf_counter() - begun), 2)
    rows["jayul"] = row
    with process("serve", str(folder)) as (_, port):
        client = Client(port)
        more: dict[str, Ask] = {
            "query_ms_loopback": lambda tag: client.ask(what="points", tag=names[tag])["value"].to_numpy(),
            "downsample_ms_loopback": lambda tag: matrix(
                client.ask(what="shrunk", tag=names[tag], seconds=seconds, width=ROUND)
            ),
        }
        yield Askers(
            lambda tag: points(reader, names[tag])["value"].to_numpy(),
            lambda tag, width: matrix(shrunk(reader, names[tag], seconds, width)), more,
        )  # fmt: skip
        client.close()


@contextlib.contextmanager
def open_peer(peer: Peer, feed: Feed, seconds: int, rows: dict[str, Row]) -> Iterator[Askers]:
    """Feed a peer and have it merge all, as most of a history is; yield how to ask it."""
    how = "json" if "json" in peer.formats else next(iter(peer.formats))
    with running(peer):
        row = rows[peer.name] = {"bytes_per_value": round(kept_peer(peer, feed, how), 3)}
        peer.start()
        more: dict[str, Ask] = {}
        if isinstance(peer, VictoriaMetrics):
            more["query_range_ms"] = lambda tag: peer.points_range(tag, seconds)
            row["server_query_ms"] = inside(peer, "/api/v1/export", lambda tag: peer.points(tag, seconds), feed.tags)
            row["server_downsample_ms"] = inside(
                peer, "/api/v1/query_range", lambda tag: peer.shrunk(tag, seconds, ROUND), feed.tags
            )
        yield Askers(lambda tag: peer.points(tag, seconds), lambda tag, width: peer.shrunk(tag, seconds, width), more)


def inside(peer: VictoriaMetrics, path: str, ask: Ask, tags: int) -> float:
    """Return the mean ms that VictoriaMetrics says it spent on a request, of up to 200 after as many others."""
    for tag in range(0, tags, max(1, tags // 200)):
        ask(tag)
    before = peer.inside()[path]
    for tag in range(0, tags, max(1, tags // 200)):
        ask(tag)
    after = peer.inside()[path]
    return round(1e3 * (after[0] - before[0]) / (after[1] - before[1]), 3)


def matrix(table: Any) -> np.ndarray:
    """Return min, max, mean of buckets as rows."""
    return np.column_stack([table[name].to_numpy() for name in ("min", "max", "mean")])


def check(name: str, feed: Feed, how: Askers, tag: int) -> None:
    """Stop if an answer is not what was fed."""
    values = feed.values[:, tag]
    if not np.array_equal(how.points(tag), values):
        raise SystemExit(f"{name}: the points of a tag are not what was fed")
    for width in (ROUND, ODD):
        right = buckets(feed.at, values, len(values), width)
        if (found := how.buckets(tag, width)).shape != right.shape or not np.allclose(found, right, rtol=1e-12, atol=1e-9):
            raise SystemExit(f"{name}: the buckets of {width} s are not those of what was fed")


# what a kill loses -----------------------------------------------------------------------------------------------------


def kills_ours(work: Path, feed: Feed, folders: int, seed: int) -> Row:
    """Feed several histories, each killed four times on the way and taken up again; return the sums."""
    total: Row = {}
    for k in range(folders):
        with tempfile.TemporaryDirectory(dir=work) as name:
            found = killed(Path(name) / "history", feed, 4, random.Random(f"{seed} {k}"))
        total = {key: total.get(key, 0) + n for key, n in found.items()}
    return total


def kills_peer(work: Path, feed: Feed, peer: type[Peer], times: int, seed: int, seconds: float) -> Row:
    """Kill a peer at random moments of a feed that takes `seconds` at its best, here longer; count acknowledged values it lost."""
    total: Row = {"acknowledged": 0, "lost": 0, "kills": 0}
    rows = len(feed.batches(20_000)[0].values)
    bodies = peer(work).encoded(feed, "line", 20_000)
    path = next(path for path, _ in peer.formats.values())
    for k in range(times):
        with tempfile.TemporaryDirectory(dir=work) as name, running(peer(Path(name))) as there:
            timer = threading.Timer(random.Random(f"{seed} {k}").uniform(0.1, 2.0) * seconds, there.kill)
            timer.start()
            acked = 0
            try:
                for body in bodies:
                    there.post(path, body)
                    acked += 1
            except Exception as error:  # noqa: BLE001 - the link breaks in one of many ways
                print(f"  {peer.name} killed after {acked} of {len(bodies)} batches ({type(error).__name__})", flush=True)
            timer.cancel()
            there.kill()
            there.start()
            there.settle()
            if acked:
                sent = Feed(feed.values[: acked * rows], feed.at[: acked * rows])
                total["acknowledged"] += sent.values.size
                total["lost"] += max(0, sent.values.size - there.count(sent))
            total["kills"] += 1  # at the end of the feed, if it came first
    return total


# all -------------------------------------------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace, work: Path) -> Row:
    """Measure everything; return the result."""
    seed, load = arguments.seed, os.getloadavg()[0]
    feed = synthetic(arguments.tags, arguments.seconds, seed)
    part = feed._replace(values=feed.values[:1000], at=feed.at[:1000])
    print(
        f"{feed.values.size / 1e6:.1f} M values, {arguments.rounds} rounds; load of the machine before: {load:.2f}", flush=True
    )
    speed = speeds(work, feed, arguments.rounds, seed)
    asked = queries(work, feed, min(200, feed.tags), seed)
    print(f"  queries {json.dumps(asked)}", flush=True)
    small = {"jittered": sizes(work, jittered(part, seed))}
    plant = tep(data_folder())
    small["tep"] = sizes(work, plant) if plant else {}
    print(f"  bytes per value {json.dumps(small)}", flush=True)
    part = feed._replace(values=feed.values[:3000], at=feed.at[:3000])
    kills: Row = {"jayul": kills_ours(work, part, arguments.kills, seed)}
    print(f"  kills {json.dumps(kills)}", flush=True)
    for peer in PEERS:
        if peer.there():
            rate = max(row["values_per_s"] for name, row in speed.items() if name.startswith(peer.name))
            kills[peer.name] = kills_peer(work, feed, peer, arguments.kills, seed, feed.values.size / rate)
    return summed(speed, asked, small, kills) | {"load_before": round(load, 2), "rounds": arguments.rounds, "seed": seed}


def summed(speed: dict[str, Row], asked: dict[str, Row], small: dict[str, Row], kills: Row) -> Row:
    """Return the result: what a peer has not measured is null."""
    ours, best, ratios = speed["jayul"], {}, {}
    for peer in PEERS:
        rows = [row for name, row in speed.items() if name.startswith(peer.name)]
        best[peer.name] = max((row["values_per_s"] for row in rows), default=None)
        rounds = zip(ours["rounds"], *(row["rounds"] for row in rows), strict=True)
        ratios[peer.name] = [round(first / max(others), 2) for first, *others in rounds] if rows else []
    victoria, influx = asked.get("VictoriaMetrics", {}), asked.get("InfluxDB", {})
    lost = kills["jayul"]
    result: Row = {
        "ratio_ingest_victoriametrics": middle(ratios["VictoriaMetrics"]),
        "ratio_ingest_influxdb": middle(ratios["InfluxDB"]),
        "ratio_ingest_rounds": ratios,
        "values_per_s": ours["values_per_s"],
        "values_per_s_until_sealed": ours["until_sealed"],
        "values_per_s_victoriametrics": best["VictoriaMetrics"],
        "values_per_s_influxdb": best["InfluxDB"],
    }
    for key in ("bytes_per_value", "query_ms", "downsample_ms", "downsample_odd_ms"):
        result |= {key: asked["jayul"][key], f"{key}_victoriametrics": victoria.get(key), f"{key}_influxdb": influx.get(key)}
    for key in ("query_ms_loopback", "downsample_ms_loopback", "first_query_ms"):
        result[key] = asked["jayul"][key]
    for key in ("query_range_ms", "server_query_ms", "server_downsample_ms"):
        result[f"{key}_victoriametrics"] = victoria.get(key)
    for kind, row in small.items():
        result[f"bytes_per_value_{kind}"] = row.get("jayul")
        result |= {f"bytes_per_value_{kind}_{peer.name.lower()}": row.get(peer.name) for peer in PEERS}
    result["lost_after_kill"] = lost["lost"] + lost["doubled"] + lost["changed"]
    result |= {f"lost_after_kill_{peer.name.lower()}": kills.get(peer.name, {}).get("lost") for peer in PEERS}
    return result | {
        "kills": kills,
        "ingest": speed,
        "synced": {"jayul": "each group before its acknowledgement", "VictoriaMetrics": "no", "InfluxDB": "each write"},
        "versions": {peer.name: peer(Path()).version() if peer.there() else None for peer in PEERS},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}",
    }


def middle(ratios: list[float]) -> float | None:
    """Return the median, if there are any."""
    return round(statistics.median(ratios), 2) if ratios else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=5, help="of each peer; so many of our histories, four times each")
    parser.add_argument("--tags", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=10_000, help="of data, at one value a second and tag; a multiple of 100")
    parser.add_argument("--work", type=Path, help="where files are made; with --full they stay, and a second start goes on")
    parser.add_argument("--full", action="store_true", help="build and query a year of 2,000 tags at 1 minute instead")
    parser.add_argument("--full-days", type=int, default=365)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that peers are stopped and files taken away
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        if arguments.full:
            result = year(arguments.work or Path(name), arguments.full_days, arguments.seed)
        else:
            result = measure(arguments, Path(name))
    for key, value in result.items():
        print(f"{key:40s} {value}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
