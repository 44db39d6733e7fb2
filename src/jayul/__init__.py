"""Jayul runs an AI project on a production line from first connection to proven benefit.

`from jayul import Run` reads a run folder: `Run("runs/demo").history()`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Run", "__version__"]


def __getattr__(name: str) -> Any:
    """Load what is asked for, and nothing before."""
    if name == "Run":
        return import_module("jayul.project.api").Run
    raise AttributeError(name)
