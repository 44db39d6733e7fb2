"""What is said when a project is set up and accounts are kept, as templates."""

from __future__ import annotations

from jayul.project.problem import N_

WEB = (
    # recordings
    N_("{path}: no column of time is found; the first row must name the columns, and one must hold times"),
    N_("{path}: is too large to be put in order here; use jayul import"),
    # plants
    N_("{url} does not answer within {number} s"),
    N_("{url}: a {kind} plant does not say what it has; give its tag table, too"),
    N_("{url}: this server shows no number and no switch"),
    # accounts
    N_("a name has letters, digits, spaces, '.', '-' and '_'"),
    N_("a password has at least 10 characters"),
)
