"""The project: manifest (TOML) -> typed structs -> wired objects; the only place that knows entry points."""
