"""Local accounts: name, role, Argon2id hash of the password, and the person's signing key, sealed with that password.

A JSON file that its owner alone can read. The key never lies open on disk and is in memory only while its owner is signed in: the
web app cannot sign for anybody who has not come in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jayul.record.files import write_whole
from jayul.record.sign import Signer, key_folder

Role = Literal["viewer", "operator", "engineer"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "engineer")  # each may do what those before it may
LEAST = 10  # characters of a password
_HASHER = PasswordHasher()


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One person. `sealed` is salt (16 bytes), nonce (12) and the encrypted key, hexadecimal; `public` its public half."""

    name: str
    role: Role
    password: str
    public: str
    sealed: str


class Refused(Exception):
    """It cannot be done; the text says why, in one line of English (a template of the catalogue)."""


class Accounts:
    """The file. It is read anew whenever it is asked, so that another process may change it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or key_folder() / "accounts.json"

    def all(self) -> dict[str, Account]:
        """Return the accounts by name. Raises OSError, msgspec.MsgspecError for a damaged file."""
        if not self.path.exists():
            return {}
        return {account.name: account for account in msgspec.json.decode(self.path.read_bytes(), type=list[Account])}

    def add(self, name: str, role: Role, password: str) -> Account:
        """Make an account with a new signing key, or give one a new password (and so a new key). Raises Refused."""
        if not name.replace("-", "").replace("_", "").replace(" ", "").replace(".", "").isalnum():
            raise Refused("a name has letters, digits, spaces, '.', '-' and '_'")
        if len(password) < LEAST:
            raise Refused("a password has at least 10 characters")
        seed, salt, nonce = os.urandom(32), os.urandom(16), os.urandom(12)
        sealed = AESGCM(_key(password, salt)).encrypt(nonce, seed, name.encode())
        account = Account(name, role, _HASHER.hash(password), Signer(seed).public, (salt + nonce + sealed).hex())
        self._write(self.all() | {name: account})
        return account

    def remove(self, name: str) -> None:
        """Take an account away."""
        self._write({other: account for other, account in self.all().items() if other != name})

    def _write(self, accounts: dict[str, Account]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self.path, msgspec.json.format(msgspec.json.encode(list(accounts.values())), indent=1), mode=0o600)

    def enter(self, name: str, password: str) -> tuple[Account, Signer] | None:
        """Return the account and its open key if the password is right. It takes as long for a name that does not exist."""
        account = self.all().get(name)
        try:
            _HASHER.verify(account.password if account else _NOBODY, password)
        except (Argon2Error, InvalidHashError):
            return None
        if account is None:
            return None
        data = bytes.fromhex(account.sealed)
        try:
            seed = AESGCM(_key(password, data[:16])).decrypt(data[16:28], data[28:], name.encode())
        except InvalidTag:
            return None
        return account, Signer(seed)


def _key(password: str, salt: bytes) -> bytes:
    return hash_secret_raw(password.encode(), salt, time_cost=3, memory_cost=65_536, parallelism=4, hash_len=32, type=Type.ID)


_NOBODY = _HASHER.hash(os.urandom(16).hex())


def may(role: str, least: Role) -> bool:
    """Say whether a role reaches at least another."""
    return role in ROLES and ROLES.index(role) >= ROLES.index(least)
