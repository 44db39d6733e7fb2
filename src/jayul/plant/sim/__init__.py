"""Simulated plants: the same contract, seeded, driven by the given clock."""
