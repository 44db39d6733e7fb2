"""The gateway's journal: durable when it says so, rotated, cut where it was torn, and damaged nowhere without being noticed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from jayul.conform.power import LossyFiles, PowerCut
from jayul.core.types import Tag
from jayul.gateway import envelope as envelopes
from jayul.gateway.envelope import Envelope, genuine_change, sign_change
from jayul.gateway.journal import Chain, Damaged, Handback, Scan, Start, Stop
from jayul.plant.errors import Refused
from jayul.plant.table import Loop
from jayul.record.files import OsFiles
from jayul.record.journal import Segment, segments
from jayul.record.sign import Signer

SIGNER = Signer(bytes(range(32)))


def chain(files, **options) -> Chain:
    scan = Scan(files, SIGNER.public)
    for _ in scan:
        pass
    return Chain(files, SIGNER, scan, **options)


def stops(files) -> list[int]:
    return [entry.at for entry in Scan(files, SIGNER.public) if isinstance(entry, Stop)]


def begin(files, **options) -> Chain:
    made = chain(files, **options)
    if made.head.startswith("-1:"):
        made.append(Start("0", 0, 1, "d", "{}"))
    return made


def test_it_goes_on_where_it_was_and_rotates(tmp_path: Path):
    files = OsFiles(tmp_path)
    for k in range(4):
        made = begin(files, segment_bytes=600)
        for i in range(10):
            made.append(Stop(10 * k + i, "x" * 40))
        made.close()
    assert stops(files) == list(range(40))
    assert len(segments(files)) > 3
    entries = list(Scan(files, SIGNER.public))
    assert sum(isinstance(entry, Segment) for entry in entries) == len(segments(files)) - 1
    with pytest.raises(Damaged, match="signature of head"):
        list(Scan(files, Signer(bytes(32)).public))
    (tmp_path / segments(files)[1]).unlink()
    with pytest.raises(Damaged, match="segment is missing"):
        list(Scan(files, SIGNER.public))


def test_what_was_appended_survives_a_power_cut():
    """Any cut, at any operation on the disk: what `append` returned for is there, and it goes on."""
    for cut in range(1, 60):
        files, kept = LossyFiles(np.random.default_rng(cut), cut), []
        try:
            made = begin(files, segment_bytes=300)
            for i in range(20):
                made.append(Stop(i, "stop"))
                kept.append(i)
        except PowerCut:
            pass
        after = files.survivor()
        found = stops(after)
        assert found[: len(kept)] == kept, f"cut {cut}"
        made = begin(after, segment_bytes=300)
        made.append(Stop(99, "again"))
        assert stops(after) == [*found, 99]


def test_a_full_disk_is_said_and_nothing_more_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = OsFiles(tmp_path)
    made = begin(files)

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made._file, "write", full)
    with pytest.raises(OSError, match="No space"):
        made.append(Stop(1, "x"))
    monkeypatch.undo()
    with pytest.raises(OSError, match="could not be written before"):
        made.append(Stop(2, "x"))
    made.close()
    assert stops(files) == []
    assert begin(files).head.startswith("0:")


def test_records_out_of_order_are_damage(tmp_path: Path):
    made = chain(OsFiles(tmp_path))
    made.append(Handback(0, "stop", (), {}, (), done=True))
    with pytest.raises(Damaged, match="out of order"):
        list(Scan(OsFiles(tmp_path), SIGNER.public))


def an_envelope(**changes) -> Envelope:
    tags = (Tag(name="A", unit="K", low=1, high=2.5, max_step=1, writable=True, states={2: "b", 1: "a"}), Tag(name="M"))
    base = {"project": "p", "run": SIGNER.public, "plant": "x", "options": {"url": "u"}, "tags": tags, "rules": (),
            "loops": {"A": Loop("M", 2, 1)}, "writers": {"p": ("A",)}, "fallback": {}, "period": 10,
            "people": {"ada": SIGNER.public}}  # fmt: skip
    return Envelope(**base | changes)


def test_an_envelope_is_the_same_after_reading(tmp_path: Path):
    envelopes.write(an_envelope(), tmp_path / "e.json")
    again = envelopes.read(tmp_path / "e.json")
    assert again.digest() == an_envelope().digest()
    assert again.digest() != an_envelope(period=11).digest()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"writers": {"p": ("B",)}}, "'B' is not among its tags"),
        ({"loops": {"A": Loop("X", 2, 1)}}, "'X' is not among its tags"),
        ({"tags": (Tag(name="A"), Tag(name="A"), Tag(name="M"))}, "'A' stands there twice"),
        ({"tags": (Tag(name="A", safety=True), Tag(name="M"))}, "'A' is a safety tag"),
        ({"writers": {"p": ("A", "M")}}, "'M' is written by a policy and by the gateway itself"),
        ({"period": 0}, "'period' and 'speed' must be above 0"),
    ],
)
def test_an_envelope_that_contradicts_itself_is_refused(tmp_path: Path, changes, said):
    envelopes.write(an_envelope(**changes), tmp_path / "e.json")
    with pytest.raises(Refused, match=said):
        envelopes.read(tmp_path / "e.json")
    (tmp_path / "e.json").write_text("{}")
    with pytest.raises(Refused, match="no envelope can be read here"):
        envelopes.read(tmp_path / "e.json")


def test_a_change_is_bound_to_both_envelopes_and_to_a_person():
    before, after, other = an_envelope(), an_envelope(period=11), an_envelope(period=12)
    change = sign_change(before, after, "ada", SIGNER, 7)
    assert genuine_change(change, before, after)
    replaced = msgspec.structs.replace
    eve = Signer(bytes(32))
    for wrong, pinned, new in (
        (change, before, other), (change, other, after), (replaced(change, by="eve"), before, after),
        (replaced(change, at=8), before, after), (replaced(change, signature="no"), before, after),
        (sign_change(before, after, "ada", eve, 7), before, after),
        (sign_change(before, an_envelope(people={"eve": eve.public}), "eve", eve, 7), before, an_envelope(people={"eve": eve.public})),
    ):  # fmt: skip
        assert not genuine_change(wrong, pinned, new)


def test_a_tail_that_a_signed_head_vouches_for_cannot_be_cut(tmp_path: Path):
    files = OsFiles(tmp_path)
    made = begin(files)
    sizes = []
    for i in range(3):
        made.append(Stop(i, "x"))
        sizes.append((tmp_path / "000001.jnl").stat().st_size)
    made.close()
    data = (tmp_path / "000001.jnl").read_bytes()
    for end in (sizes[1], sizes[1] + 5):
        (tmp_path / "000001.jnl").write_bytes(data[:end])
        with pytest.raises(Damaged, match="a head vouches for record 3: tail cut"):
            stops(files)
