"""What a person does to a run: make a key, sign, approve, reject, demote, limit, lock. It all goes through the inbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jayul.core.clock import today
from jayul.core.types import Ask, Event
from jayul.project.look import Status, header_of, ladder, status
from jayul.project.manifest import parse_canonical
from jayul.project.problem import N_
from jayul.project.run import read_summary, refuse
from jayul.record.files import OsFiles
from jayul.record.inbox import SqliteInbox
from jayul.record.journal import Header
from jayul.record.sign import Signer, new_id, signed
from jayul.rules.orders import sound


def new_key(name: str) -> str:
    """Make (or find) the key of a person and return its public half. Raises ManifestError."""
    if not name.replace("-", "").replace("_", "").replace(" ", "").isalnum():
        raise refuse("--new-key", N_("a name has letters, digits, spaces, '-' and '_'"))
    try:
        return Signer.open(f"person-{name}").public
    except ValueError as error:
        raise refuse("--new-key", "{text}", text=error) from None


def hand_in(
    out: Path, ask: str | None, *, by: str, reject: bool = False, demote: str | None = None, reason: str = "",
    signer: Signer | None = None, known: tuple[Header, Sequence[Ask]] | None = None,
) -> Event:  # fmt: skip
    """Put a person's act on a level or a plan into a run's inbox. `signer`: the person's key (else that of the key folder).

    `known`: header and what waits for a person, if the caller has followed the journal; else it is read from the beginning.
    Raises ManifestError for what could never be accepted.
    """
    if known is not None:
        _still_open(out, by)
    else:
        now = _open_run(out, by)
        known = now.header, now.asks
    header, asks = known
    body: dict[str, Any] = {"reason": reason} if reason else {}
    if demote is not None:
        if demote not in header.policies:
            raise refuse(
                "--demote", N_("unknown policy '{name}'; there are {known}"), name=demote, known=", ".join(header.policies)
            )
        return hand_over(out, "demotion", by, {**body, "policy": demote}, sign=False)
    waiting = {f"{found.policy}:{found.subject}": found for found in asks}
    if ask not in waiting:
        if any(f.kind == "approval" and ask and ask.startswith(f"{f.policy}:") for f in asks):
            raise refuse(out, N_("that move is no longer on the table, another has taken its place; look at it, then decide"))
        there = ", ".join(waiting) or "-"
        raise refuse(out, N_("'{ask}' does not wait for a person now; there waits: {known}"), ask=ask or "", known=there)
    found = waiting[ask]
    if reject and found.kind == "signature":
        raise refuse("--reject", N_("only a plan is rejected; leave a level unsigned, or take the policy down with --demote"))
    body |= {"policy": found.policy}
    body |= {"level": found.subject, "since": found.since} if found.kind == "signature" else {"plan": found.subject}
    known_person(header, by)
    return hand_over(out, "rejection" if reject else found.kind, by, body, signer=signer)


def hand_back(out: Path, header: Header | None = None, *, by: str, reason: str = "") -> list[Event]:
    """Demote every policy of a run and have the gateway put what it holds to the plant's own control. Raises ManifestError."""
    header = header or header_of(out, OsFiles(out / "journal", create=False))
    _still_open(out, by)
    body = {"hand_back": True, **({"reason": reason} if reason else {})}
    return [hand_over(out, "demotion", by, {**body, "policy": name}, sign=False) for name in header.policies]


def note(out: Path, header: Header, body: Mapping[str, Any], *, by: str, signer: Signer | None = None) -> Event:
    """Put a person's signed note into a run's inbox. Raises ManifestError for a person whom the run does not know."""
    _still_open(out, by)
    people = parse_canonical(header.manifest).people
    keys = {person.name: person.key for person in people.person}
    if by not in keys and not people.simulated:
        message = N_("'{name}' is not in [people] of this run; there are: {known}")
        raise refuse("--by", message, name=by, known=", ".join(keys) or "-")
    if signer is not None and keys.get(by, signer.public) != signer.public:
        raise refuse(by, N_("the key of this account is not the one in [people] of this run"))
    return hand_over(out, "note", by, dict(body), signer=signer)


def order(
    out: Path, tag: str, body: dict[str, Any], *, by: str, signer: Signer | None = None,
    known: tuple[Header, Sequence[Event]] | None = None,
) -> Event:  # fmt: skip
    """Put a person's order about a tag (limits, lock, clear) into a run's inbox. Raises ManifestError.

    `known`: header and orders in force, if the caller has followed the journal; else it is read from the beginning.
    """
    if known is not None:
        _still_open(out, by)
    header = known[0] if known is not None else _open_run(out, by).header
    tags = {found.name: found for found in header.tags}
    if tag not in tags or not tags[tag].writable:
        writable = ", ".join(name for name, found in tags.items() if found.writable) or "-"
        raise refuse(out, N_("'{tag}' is nothing that is written here; there are: {known}"), tag=tag, known=writable)
    body = {"tag": tag, **body}
    if not sound(body):
        raise refuse("limit", N_("say exactly one of: limits (--low, --high, in order), --lock, --clear (with --of NAME)"))
    known_person(header, by)
    people = {person.name: person.roles for person in parse_canonical(header.manifest).people.person}
    if body.get("of", by) not in people:
        raise refuse(
            "--of", N_("'{name}' is not in [people] of this run; there are: {known}"), name=body["of"], known=", ".join(people)
        )
    if body.get("of", by) != by and "engineer" not in people[by]:
        raise refuse("--of", N_("only an engineer ends another's order"))
    whose = (tag, body.get("of", by))
    orders = known[1] if known is not None else ladder(out).orders
    standing = [event.at for event in orders if (event.body["tag"], event.body.get("of", event.by)) == whose]
    return hand_over(
        out, "limit", by, body, signer=signer, at=max([today(), *(at + 1 for at in standing)])
    )  # over one from a clock that was ahead, too


def _open_run(out: Path, by: str) -> Status:
    now = status(out)
    if not by:
        raise refuse("--by", N_("say who you are, as in [people]"))
    if now.complete:
        raise refuse(out, N_("this run is complete; nobody takes the act any more"))
    return now


def _still_open(out: Path, by: str) -> None:
    done = read_summary(out)
    if not by:
        raise refuse("--by", N_("say who you are, as in [people]"))
    if done is not None and done.complete:
        raise refuse(out, N_("this run is complete; nobody takes the act any more"))


def known_person(header: Header, by: str) -> None:
    """Raise ManifestError if nobody of that name is in the run's [people]."""
    if not by:
        raise refuse("--by", N_("say who you are, as in [people]"))
    known = [person.name for person in parse_canonical(header.manifest).people.person]
    if by not in known:
        message = N_("'{name}' is not in [people] of this run; there are: {known}")
        raise refuse("--by", message, name=by, known=", ".join(known) or "-")


def _put(path: Path, event: Event) -> None:
    try:
        inbox = SqliteInbox(path, renew=False)
        try:
            inbox.put(event)
        finally:
            inbox.close()
    except sqlite3.OperationalError as error:
        raise OSError(0, str(error), str(path)) from error
    except sqlite3.DatabaseError as error:
        raise refuse(
            path, N_("is damaged ({error}); the run makes it anew when it looks next: try again"), error=error
        ) from error


def hand_over(
    out: Path,
    kind: Any,
    by: str,
    body: dict[str, Any],
    *,
    sign: bool = True,
    at: int = 0,
    put: bool = True,
    signer: Signer | None = None,
) -> Event:
    """Make an event, sign it with the person's key, and (`put`) lay it into the run's inbox."""
    event = Event(kind, by, at or today(), body, new_id())
    if sign:
        event = signed(event, signer or Signer.open(f"person-{by}"))
    if put:
        _put(out / "state.db", event)
    return event
