"""The core: types, clock, expr, guard, ladder, loop. It imports nothing else of the house."""
