"""Where plant time does not wait, the proof is judged beside the ticks: it says the same, a little later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from jayul.core.types import TagTable
from jayul.project.manifest import load
from jayul.project.monitor import ProofMonitor
from jayul.project.run import Options, execute, read_header, ticks_of
from jayul.project.wire import wire
from jayul.prove.plan import Plan
from jayul.record.files import OsFiles

EXAMPLE = Path(__file__).parents[2] / "examples" / "tank"


def test_it_says_the_same_a_little_later(tmp_path: Path) -> None:
    execute(EXAMPLE, tmp_path / "run", Options(history=False))
    files = OsFiles(tmp_path / "run" / "journal", create=False)
    header, said = read_header(files), {}
    assert header is not None
    plan, period = msgspec.json.decode(header.proof, type=Plan), wire(load(EXAMPLE), EXAMPLE, 0).line.period
    with ThreadPoolExecutor(1) as pool:
        for name, aside in (("within", None), ("beside", pool)):
            monitor, last, events = ProofMonitor(plan, TagTable(header.tags), period, aside), None, []
            for tick in ticks_of(files):
                events += monitor.drain(tick.decision.at, last)
                if aside and monitor._job is not None:
                    monitor._job.result()  # ticks of a recording do not wait: let it be done by the next one
                last = msgspec.structs.replace(tick.decision, events=())  # what it said in the recording is not heard here
                monitor.add(last)
            said[name] = events
    assert said["within"], "nothing was said at all"
    assert [(e.id, e.kind, e.body) for e in said["within"]] == [(e.id, e.kind, e.body) for e in said["beside"]]
    assert all(b.at - a.at == period for a, b in zip(said["within"], said["beside"], strict=True))
