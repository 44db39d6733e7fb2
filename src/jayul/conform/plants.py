"""Put a plant on a wire through the faults that plants on a wire meet, and award the tier that it has earned.

    python -m jayul.conform.plants opcua --long 20 --json
    python -m jayul.conform.plants opcua://127.0.0.1:4840 --tags tags.csv

A kind runs against a controllable server of our own, in a process of its own. A URL puts the proxy before that server and runs
only what needs no control of it and writes nothing: the rest is not tried, so that it earns no tier.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from jayul.conform import benches, bronze, gold, local, silver
from jayul.conform.benches import BENCHES, Bench, Make
from jayul.conform.check import Check, carry_out
from jayul.conform.evidence import Evidence, Result, sealed, show, table
from jayul.conform.peer import mosquitto
from jayul.conform.rig import Failed, Rig
from jayul.core.clock import monotonic, today
from jayul.plant.errors import Refused, Unreachable

__all__ = ["CHECKS", "conform", "show", "table"]
CHECKS: tuple[Check, ...] = (*bronze.CHECKS, *silver.CHECKS, *gold.CHECKS)
LOCAL = "it is on no wire: there is no network and no server to break"
Progress = Callable[[Result], None]


async def conform(
    kind_or_url: str, *, long: float = 20.0, progress: Progress = lambda result: None, tags: str = "",
    only: Sequence[str] = (), make: Make | None = None,
) -> Evidence:  # fmt: skip
    """Run the checks and return what they showed. `progress` is told each result at once.

    `long`: s that the long outage lasts; `tags`: the tag table, for a URL; `only`: names of checks (all others are not tried);
    `make`: another plant than the kind's own. Raises Refused for what cannot be run at all.
    """
    kind, url = _split(kind_or_url)
    if unknown := set(only) - {check.name for check in CHECKS} - {check.name for check in local.CHECKS}:
        raise Refused(f"there is no check '{min(unknown)}'; there is: {', '.join(check.name for check in CHECKS)}")
    if url and not tags:
        raise Refused(f"{url} needs a tag table: --tags FILE; write one with: jayul browse {url} --out FILE")
    began, clock = today(), monotonic()
    if kind not in BENCHES:
        results = await local.run(kind, benches.maker(kind), progress)
        named = {result.name for result in results}
        results += [Result(c.name, c.tier, c.proves, "not applicable", LOCAL) for c in CHECKS if c.name not in named]
        return sealed(kind, "itself", "", began, monotonic() - clock, results)
    bench = BENCHES[kind]
    why = _cannot(bench, url)
    if why:
        results = [_told(Result(c.name, c.tier, c.proves, "not tried", why), progress) for c in CHECKS]
    else:
        with tempfile.TemporaryDirectory() as folder:
            rig = Rig(bench, make or benches.maker(kind), Path(folder), long=long, url=url, tags=tags)
            results = await _run(rig, only, progress)
    return sealed(kind, url or "a controllable server", bench.library, began, monotonic() - clock, results)


def _split(kind_or_url: str) -> tuple[str, str]:
    """Return the kind, and the URL if one was given."""
    if "://" not in kind_or_url:
        return kind_or_url, ""
    scheme = kind_or_url.partition("://")[0]
    kind = {"opc.tcp": "opcua"}.get(scheme, scheme)
    if kind not in BENCHES:
        raise Refused(f"'{kind_or_url}': the kit knows {', '.join(f'{bench.scheme}://' for bench in BENCHES.values())}")
    return kind, kind_or_url


def _cannot(bench: Bench, url: str) -> str:
    """Say why nothing can be run; empty if it can."""
    if not benches.installed(bench.kind):
        return f"needs the extra '{bench.kind}': pip install 'jayul[{bench.kind}]'"
    if bench.broker and not url and not mosquitto():
        return "mosquitto is not installed"
    return ""


def _told(result: Result, progress: Progress) -> Result:
    progress(result)
    return result


async def _run(rig: Rig, only: Sequence[str], progress: Progress) -> list[Result]:
    results = list[Result]()
    try:
        try:
            await rig.start()
        except Unreachable as error:
            return [_told(Result(c.name, c.tier, c.proves, "not tried", str(error)), progress) for c in CHECKS]
        for check in CHECKS:
            if only and check.name not in only:
                absent = rig.bench.absent.get(check.name)
                said = "not applicable" if absent else "not tried"
                results.append(Result(check.name, check.tier, check.proves, said, absent or "not asked for"))  # type: ignore[arg-type]
                continue
            results.append(_told(await carry_out(check, rig), progress))
    finally:
        await _close(rig)
    return results


async def _close(rig: Rig) -> None:
    try:
        await rig.close()
    except Failed as failed:
        raise Refused(f"the plant under test could not be closed: {failed}") from None


def _silent(result: Result) -> None:
    del result


def _tell(result: Result) -> None:
    print(f"{result.tier:6} {result.result:14} {result.name:12} {result.why}".rstrip(), flush=True)


def main() -> None:
    """Run from the command line; exit 0 if a tier was earned, 1 if none, 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plant", help=f"a kind ({', '.join(BENCHES)}, tank, files, ...) or a URL")
    parser.add_argument("--tags", default="", help="tag table, for a URL")
    parser.add_argument("--long", type=float, default=20.0, help="length of the long outage, s")
    parser.add_argument("--only", nargs="+", default=[], metavar="CHECK")
    parser.add_argument("--out", type=Path, default=None, help="where the evidence goes (default: runs/conform-KIND.json)")
    parser.add_argument("--json", action="store_true", help="print the evidence as JSON instead of text")
    arguments = parser.parse_args()
    tell = _silent if arguments.json else _tell
    run = conform(arguments.plant, long=arguments.long, tags=arguments.tags, only=arguments.only, progress=tell)
    try:
        evidence = asyncio.run(run)
    except Refused as error:
        raise SystemExit(str(error)) from None
    evidence.write(arguments.out or Path("runs") / f"conform-{evidence.kind}.json")
    print(msgspec.json.encode(evidence).decode() if arguments.json else "\n" + show(evidence))
    raise SystemExit(0 if evidence.tier != "none" else 1)


if __name__ == "__main__":
    main()
