"""The doors: the only place that renders text for people."""
