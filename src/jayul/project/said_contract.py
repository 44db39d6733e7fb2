"""What the contract of a project's samples says when it is refused, as templates."""

from __future__ import annotations

from jayul.project.problem import N_

CONTRACT = (N_("'{key}' is not a number"), N_("'low' must lie below 'high'"))
