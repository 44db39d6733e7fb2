"""The envelope: all that the gateway believes. What a brain says about tags, bounds, units or time counts for nothing.

It is pinned at the first start. Another one is taken only with a change that a person of the pinned envelope has signed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from jayul.core.loop import Fallback
from jayul.core.types import Tag
from jayul.plant.errors import Refused
from jayul.plant.table import Loop
from jayul.record.files import write_whole
from jayul.record.sign import Signer, genuine


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be written, by whom, how far, and where tags go when the brain is gone.

    `run`: public key of the run (hexadecimal); `writers`: policy -> tags that it may write, FALLBACK included; `rules`: kind and
    options of the portable rules; `period` in ns of plant time; `watchdog`: tag that is counted up while in charge, or empty;
    `people`: public keys of those who may sign a change of the envelope; `options` are the plant's, without secrets.
    """

    project: str
    run: str
    plant: str
    options: dict[str, Any]
    tags: tuple[Tag, ...]
    loops: dict[str, Loop]
    writers: dict[str, tuple[str, ...]]
    rules: tuple[tuple[str, dict[str, Any]], ...]
    fallback: dict[str, Fallback]
    period: int
    speed: float = 1.0
    watchdog: str = ""
    people: dict[str, str] = {}
    simulated: bool = False

    def canonical(self) -> bytes:
        """Return the bytes that the digest is of: the same after reading as before writing (2 and 2.0 are one number)."""
        typed = msgspec.convert(msgspec.to_builtins(self, str_keys=True), Envelope, str_keys=True)
        return msgspec.json.encode(msgspec.to_builtins(typed, str_keys=True), order="sorted")

    def digest(self) -> bytes:
        """Return the SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.canonical()).digest()

    @property
    def written(self) -> tuple[str, ...]:
        """The tags that any policy may write, sorted."""
        return tuple(sorted({tag for tags in self.writers.values() for tag in tags}))

    @property
    def modes(self) -> tuple[str, ...]:
        """The mode tags of those tags, sorted."""
        return tuple(sorted({self.loops[tag].mode for tag in self.written if tag in self.loops}))

    def check(self) -> None:
        """Raise Refused for an envelope that contradicts itself."""
        names = [tag.name for tag in self.tags]
        twice = [name for name in names if names.count(name) > 1]
        unknown = {*self.written, *self.modes, *self.fallback, *self.loops, *filter(None, [self.watchdog])} - set(names)
        safety = {tag.name for tag in self.tags if tag.safety} & {*self.written, *self.modes, self.watchdog}
        both = {*self.modes, *filter(None, [self.watchdog])} & set(self.written)
        moved = [t.name for t in self.tags if t.name == self.watchdog and t.kind in ("set-point", "manipulated", "mode")]
        for what, found in (("stands there twice", twice), ("is not among its tags", unknown), ("is a safety tag", safety),
                            ("moves the plant, and is no watchdog", moved),
                            ("is written by a policy and by the gateway itself", both)):  # fmt: skip
            if found:
                raise Refused(f"envelope: '{min(found)}' {what}; make it anew from the manifest")
        if self.period <= 0 or not self.speed > 0:
            raise Refused("envelope: 'period' and 'speed' must be above 0")


def read(path: Path) -> Envelope:
    """Read an envelope. Raises Refused."""
    try:
        envelope = msgspec.json.decode(path.read_bytes(), type=Envelope)
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(f"{path}: no envelope can be read here: {error}") from None
    envelope.check()
    return envelope


def write(envelope: Envelope, path: Path) -> None:
    """Put an envelope in place, all at once."""
    write_whole(path, msgspec.json.format(envelope.canonical(), indent=1) + b"\n", mode=0o644)


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person's word that one envelope (its digest, hexadecimal) may follow another. `at`: UTC ns."""

    before: str
    after: str
    by: str
    at: int
    signature: str = ""

    def message(self) -> bytes:
        """Return what the signature covers."""
        body = msgspec.json.encode(msgspec.structs.asdict(replace(self, signature="")), order="sorted")
        return b"jayul envelope change 1 " + body


def change_path(path: Path) -> Path:
    """Return where the signed change to an envelope lies: `envelope.change.json` beside `envelope.json`."""
    return path.with_name(f"{path.stem}.change.json")


def sign_change(before: Envelope, after: Envelope, by: str, signer: Signer, at: int) -> Change:
    """Return the signed change from one envelope to another, in the name of a person."""
    change = Change(before.digest().hex(), after.digest().hex(), by, at)
    return replace(change, signature=signer.sign(change.message()).hex())


def write_change(change: Change, path: Path) -> None:
    """Lay a change beside the envelope at `path`."""
    write_whole(change_path(path), msgspec.json.encode(change) + b"\n", mode=0o644)


def read_change(path: Path) -> Change | None:
    """Return the change that lies beside the envelope at `path`, if one does that can be read."""
    try:
        return msgspec.json.decode(change_path(path).read_bytes(), type=Change)
    except (OSError, msgspec.MsgspecError):
        return None


def genuine_change(change: Change, pinned: Envelope, after: Envelope) -> bool:
    """Say whether a change leads from the pinned envelope to the other one, signed by a person of the pinned one."""
    try:
        signature = bytes.fromhex(change.signature)
    except ValueError:
        return False
    fits = change.before == pinned.digest().hex() and change.after == after.digest().hex()
    return fits and change.by in pinned.people and genuine(pinned.people[change.by], change.message(), signature)
