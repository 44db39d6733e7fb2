"""Who may speak: people of the manifest, their roles, competence and signatures; the proof monitor in this process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from jayul.core.types import Event
from jayul.plant.sim.people import NAME as SIMULATED
from jayul.project import monitor
from jayul.project.manifest import Manifest, utc
from jayul.project.problem import N_
from jayul.record.sign import genuine
from jayul.rules.orders import sound


def check_people(manifest: Manifest, *, harmless: bool) -> None:
    """Check `[people]`; `harmless`: simulated signatures can do no harm on this plant. Raises ManifestError."""
    if manifest.people.simulated and not harmless:
        message = N_("simulated signatures are accepted with a simulated plant or a recording; name people with keys instead")
        manifest.fail(["people", "simulated"], message)
    for i, person in enumerate(manifest.people.person):
        if [p.name for p in manifest.people.person].count(person.name) > 1 or person.name in (SIMULATED, monitor.NAME):
            manifest.fail(["people", "person", i, "name"], N_("the name '{name}' is taken"), name=person.name)
        if person.key and not _is_key(person.key):
            message = N_("not a public key of 64 hexadecimal digits; make one with: jayul sign --new-key {name}")
            manifest.fail(["people", "person", i, "key"], message, name=person.name)


def _is_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32
    except ValueError:
        return False


COMMISSIONED = "commissioned"  # evidence that clamps, watchdog and shedding were seen in the plant's own controller
ROLES: Mapping[str, tuple[str, ...]] = {  # event -> roles, one of which its sender must hold; other events need none
    "approval": ("operator", "engineer"),
    "rejection": ("operator", "engineer"),
    "signature": ("engineer",),
    "evidence": ("engineer",),
    "limit": ("operator", "engineer"),
    "configuration": ("engineer",),
}
UNSIGNED = ("note", "demotion")  # the safe way needs nobody's leave


def begun_on(manifest: Manifest, start: int) -> dict[str, Any]:
    """Return what a commissioning test names: the plant, and the run (by its first tick, ns) for which it was done."""
    return {"plant": str(manifest.plant.options.get("url", "")), "start": start}


def admission(manifest: Manifest, start: int = 0) -> Callable[[Event, int], str]:
    """Make the check of an event: role, competence and signature of its sender. Simulated people, where accepted, need no key.

    `start`: plant time of the run's first tick; a commissioning test of another run or plant says nothing here.
    """
    public = {person.name: person.key for person in manifest.people.person}
    roles: dict[str, tuple[str, ...]] = {person.name: person.roles for person in manifest.people.person}
    if manifest.people.simulated:
        roles[SIMULATED] = ("engineer", "operator")

    until = {
        person.name: utc(dt.datetime.combine(person.until, dt.time.max)) for person in manifest.people.person if person.until
    }

    written = {tag for policy in manifest.policies for tag in policy.writes}

    def admit(event: Event, at: int) -> str:
        if event.kind in UNSIGNED or (event.by == monitor.NAME and event.id.startswith(monitor.ID)):
            return ""
        if event.kind in ROLES and not set(ROLES[event.kind]) & set(roles.get(event.by, ())):
            return "not-authorised"
        if at > until.get(event.by, at):
            return "competence-expired"
        simulated = manifest.people.simulated and event.by == SIMULATED
        if not simulated and not genuine(public.get(event.by, ""), event.message(), event.signature):
            return "signature-invalid"
        if event.kind == "limit":
            if not sound(event.body) or event.body["tag"] not in written:
                return "order-malformed"
            if event.body.get("of", event.by) != event.by and "engineer" not in roles.get(event.by, ()):
                return "not-authorised"
        if event.kind == "evidence" and event.body.get("name") == COMMISSIONED:
            here = begun_on(manifest, start)
            if event.body.get("passed") is True and any(event.body.get(key) != value for key, value in here.items()):
                return "commissioned-elsewhere"
        if event.kind == "configuration" and not _names(event.body):
            return "change-malformed"
        return ""

    return admit


def _names(body: Mapping[str, Any]) -> bool:
    """Say whether a change names what it touches (tags, models, policies) and why."""
    names = body.get("names")
    return isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names) and bool(body.get("reason"))
