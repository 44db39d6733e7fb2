"""The record: journal (what was decided and done), history (every sample), inbox (the way in for people), keys."""
