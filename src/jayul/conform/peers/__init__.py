"""Servers that can be told to misbehave, one process each: JSON lines in, JSON lines out."""
