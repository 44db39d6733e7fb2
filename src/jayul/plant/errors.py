"""The errors at the rim: what a plant raises when it cannot be used at all. Bad data never raises: it marks the reading."""


class Unreachable(OSError):
    """The plant does not answer; trying again may help."""


class Refused(Exception):
    """Configuration or permission is wrong; stop and change what the message says."""
