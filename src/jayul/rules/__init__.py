"""The guard's further rules, one file each, pure: `(context, proposal) -> Verdict | None`, narrow or refuse, never widen."""
