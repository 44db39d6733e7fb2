"""Ed25519 signatures: of journal heads by the run's key, of events by people. Private keys live outside the run folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jayul.core.types import Event
from jayul.record.files import write_whole


def key_folder() -> Path:
    """Return where private keys live: `JAYUL_KEYS`, or `jayul/keys` under the user's configuration folder."""
    if named := os.environ.get("JAYUL_KEYS"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "jayul" / "keys"


class Signer:
    """A private key. `public` is the 64-digit hexadecimal public key that others verify with."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""
        return self._key.sign(message)

    @staticmethod
    def open(name: str) -> Signer:
        """Read the key of that name from the key folder; a first use makes it (readable by its owner alone).

        Raises ValueError if the key file is damaged, OSError if the folder cannot be used.
        """
        if "/" in name or "\0" in name or name.startswith("."):
            raise ValueError(f"'{name}' cannot be the name of a key")
        path = key_folder() / f"{name}.key"
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            own = path.with_name(f"{path.name}.{os.getpid()}")
            write_whole(own, os.urandom(32).hex().encode() + b"\n", mode=0o600)
            with contextlib.suppress(FileExistsError):  # another process was quicker: its key counts
                path.hardlink_to(own)
            own.unlink()
        try:
            return Signer(bytes.fromhex(path.read_text().strip()))
        except ValueError as error:
            raise ValueError(f"{path}: not a private key of 64 hexadecimal digits") from error


def genuine(public: str, message: bytes, signature: bytes) -> bool:
    """Say whether a signature was made over this message with the private half of a public key (hexadecimal)."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signed(event: Event, signer: Signer) -> Event:
    """Return the event with its sender's signature."""
    return Event(event.kind, event.by, event.at, event.body, event.id, signer.sign(event.message()))


def new_id() -> str:
    """Return an id that no other event has."""
    return os.urandom(12).hex()
