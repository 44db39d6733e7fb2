"""What guard and policies give as their reasons, as templates."""

from __future__ import annotations

from jayul.project.problem import N_

JUDGED = (
    # policies
    N_("block {number}: on"),
    N_("block {number}: off"),
    N_("move to the target"),
    # rules
    N_("asked value {value} is not a finite number"),
    N_("no tag '{tag}'"),
    N_("'{name}' may not write '{tag}'"),
    N_("'{tag}' belongs to the safety system"),
    N_("'{tag}' is not writable"),
    N_("'{tag}' lacks low, high, max_step, unit or stale_after"),
    N_("asked in {unit}, '{tag}' is in {other}"),
    N_("the limit '{tag}' is not fresh and good"),
    N_("'{tag}' is not fresh and good"),
    N_("'{tag}' is older than {most}, or not good"),
    N_("limits of the plant: {low} to {high}"),
    N_("range {low} to {high}"),
    N_("step {step} from {value}"),
    N_("the proposal is past its time"),
    N_("more than one proposal for '{tag}'"),
    N_("unknown how '{tag}' moved before"),
    N_("'{tag}' rests for {window} after a move"),
    N_("at most {number} moves in {window}"),
    N_("at most {most} of movement in {window}"),
    N_("at most {most} in {window}"),
    N_("{time} is outside the hours for moves"),
    N_("unknown in which state '{tag}' is"),
    N_("'{tag}' is locked by {person}"),
    N_("limits set by {people}: {low} to {high}"),
    N_("'{tag}' is not part of plan {plan}"),
    N_("plan {plan} has expired"),
    N_("unknown whether {text}"),
    N_("does not hold: {text}"),
    N_("'{tag}' was not seen for {window} in this state"),
    N_("'{tag}' is {value}, where it never stood: {low} to {high}"),
)
