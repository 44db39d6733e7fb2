"""Jayul: one manifest describes an AI project on a line; one command runs it from first connection to proven benefit."""

__version__ = "0.1.0"
