"""Put records of any layout in order: one table with a column of time (UTC) and one for each tag, as Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jayul.plant.errors import Refused
from jayul.plant.imports.cells import UNCERTAIN
from jayul.plant.imports.options import Options
from jayul.plant.imports.read import Understood, batches, understand

CELLS = 100_000_000  # that a table may have
TIME = "time"


def put_in_order(path: Path, options: Options, to: Path) -> Understood:
    """Write the records of a file as one table; a value that is not good stays empty. Raises Refused, OSError."""
    found = understand(path, options)
    parts = list(batches(found, 0))
    tag, at = (np.concatenate([getattr(part, name) for part in parts]) for name in ("tag", "source_at"))
    value, status = (np.concatenate([getattr(part, name) for part in parts]) for name in ("value", "status"))
    times, row = np.unique(at, return_inverse=True)
    if len(times) * len(found.names) > CELLS:
        raise Refused(f"{path}: is too large to be put in order here; use jayul import")
    values = np.full((len(times), len(found.names)), np.nan)
    good = status < UNCERTAIN
    values[row[good], tag[good]] = value[good]
    stamps = pa.array(times).cast(pa.timestamp("ns", "UTC"))
    names = [f"{name}_" if name == TIME else name for name in found.names]
    pq.write_table(pa.table([stamps, *(pa.array(values[:, i]) for i in range(len(names)))], [TIME, *names]), to)
    return found.understood
