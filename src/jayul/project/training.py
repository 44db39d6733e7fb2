"""What a model learned from, made again from the history as it was known then, and held against the digest on its card."""

from __future__ import annotations

import msgspec
import numpy as np

from jayul.core.expr import duration
from jayul.learn import Fitted, digest_of
from jayul.project.api import Run
from jayul.project.manifest import parse_canonical
from jayul.project.problem import N_
from jayul.project.run import refuse


class Rebuilt(msgspec.Struct, frozen=True):
    """One fit: when its data begins (UTC ns), rows, its digest, and that of the rows found again (empty: too few were)."""

    begin: int
    rows: int
    digest: str
    again: str

    @property
    def same(self) -> bool:
        """Say whether the history gives the very rows that were learned from."""
        return self.digest == self.again


def rebuild(run: Run, name: str) -> list[Rebuilt]:
    """Make the training rows of each fit of a model again. Raises ManifestError where there are none, or the kind has no rows.

    `pca` and `softsensor` learn from whole rows: the values of their tags at ticks at which all were fresh.
    """
    summary, header = run.summary, run.header
    if summary is None or header is None or name not in summary.models:
        known = ", ".join(summary.models) if summary else "-"
        raise refuse(run.folder, N_("no model '{name}' has a card here; there is: {known}"), name=name, known=known)
    manifest = parse_canonical(header.manifest)
    options = next(model.options for model in manifest.models if model.name == name)
    card = summary.models[name]
    if card.kind not in ("pca", "softsensor"):
        raise refuse(
            name, N_("is a '{kind}', whose training rows cannot be made again; pca and softsensor can"), kind=card.kind
        )
    columns = [*options["tags"], *([options["target"]] if card.kind == "softsensor" else [])]
    period = duration(manifest.run.period)
    last = header.start + summary.ticks * period
    found = []
    for fit in card.fits:
        rows = _rows(run, card.reads, fit, header.start, last, period)
        matrix = np.column_stack([rows[column] for column in columns])
        again = digest_of(columns, matrix) if len(matrix) == fit.rows else ""
        found.append(Rebuilt(fit.begin, fit.rows, fit.digest, again))
    return found


def _rows(run: Run, reads: tuple[str, ...], fit: Fitted, start: int, last: int, period: int) -> dict[str, np.ndarray]:
    """Return the first `fit.rows` ticks from its beginning on at which all that the model reads was fresh, by tag."""
    begin = start + max(0, -((start - fit.begin) // period)) * period
    count = fit.rows
    while True:
        end = min(begin + count * period, last)
        table = run.wide(reads, period, begin, end, as_known=True)
        values = {name: table[name].to_numpy() for name in reads}
        complete = np.flatnonzero(np.all([np.isfinite(column) for column in values.values()], axis=0))
        if len(complete) >= fit.rows or end >= last:
            return {name: column[complete[: fit.rows]] for name, column in values.items()}
        count *= 2
