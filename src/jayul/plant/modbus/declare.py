"""How a simulated peer declares itself over Modbus: 14 holding registers of unit 1 that no real device is likely to fill so.

65000  "JAYL"   2 registers     65002  speed     float64     65006  plant time  int64 ns     65010  wall time  int64 ns
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from jayul.plant.link import Simulated

UNIT, START, COUNT = 1, 65000, 14
_MAGIC, _FORMAT = b"JAYL", ">4sdqq"


def pack(declared: Simulated) -> list[int]:
    """Return the registers of a declaration."""
    data = struct.pack(_FORMAT, _MAGIC, declared.speed, declared.plant_ns, declared.wall_ns)
    return list(struct.unpack(f">{COUNT}H", data))


def unpack(registers: Sequence[int]) -> Simulated | None:
    """Read a declaration; None if it is none."""
    magic, speed, plant_ns, wall_ns = struct.unpack(_FORMAT, struct.pack(f">{COUNT}H", *registers))
    return Simulated(speed, plant_ns, wall_ns) if magic == _MAGIC and math.isfinite(speed) and speed > 0 else None
