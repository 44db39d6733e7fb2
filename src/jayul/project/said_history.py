"""What the verification of a history says is wrong with a file, as templates."""

from __future__ import annotations

from jayul.project.problem import N_

HISTORY = (
    N_("is missing"),
    N_("is not in the catalogue"),
    N_("is signed with another key than the run's"),
    N_("its signature is not good"),
    N_("is not what was written: {size} bytes, SHA-256 differs ({written} bytes were written)"),
    N_("holds {count} samples, {written} were written"),
    N_("is not sorted by tag and time"),
    N_("says another place in the chain of segments than the catalogue"),
    N_("counts {count} samples as stored, {written} are there"),
    N_("does not sum up the samples beside it"),
    N_("was not put here by the history; tools that read *.parquet would take it in"),
    N_("does not follow segment {number}: what lay between is missing"),
    N_("ends inside a record"),
    N_("segments {first} to {last} were signed and are missing"),
    N_("segments {first} to {last} are missing"),
    N_("segment {number} is not the one that was signed"),
)
