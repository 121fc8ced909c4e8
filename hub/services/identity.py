"""Who this hub is: its Ed25519 key in the data folder, and the secrets derived from it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.domain.errors import HubError
from hub.domain.ids import HubId
from hub.runtime.atomic import write_atomically
from hub.words import N_


class KeyUnreadable(HubError):
    """The key file is there but holds no key."""

    code = "key-unreadable"
    status = 503
    template = N_(
        "The hub's key in {path} cannot be read. Nothing was changed. Restore the file from a backup; "
        "without it this hub cannot prove who it is."
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """The hub's public id, its signature, and keyed hashes for what must not be readable from the card."""

    hub: HubId
    sign: Callable[[bytes], bytes]
    _secret: bytes
    key: Ed25519PrivateKey
    """For what needs the key itself: its certificate and TLS with neighbours."""

    def veil(self, purpose: str, value: bytes) -> bytes:
        """A keyed hash of ``value`` (16 bytes): the same each time, meaningless without the key file.

        The purposes (device, phrase, object, form) never give equal hashes for equal values.
        """
        return hmac.digest(self._secret, purpose.encode() + b"\0" + value, "sha256")[:16]

    def public_id(self) -> str:
        """The hub id in hex."""
        return self.hub.hex()


def load_or_create(path: Path, chance: Callable[[int], bytes]) -> Identity:
    """The identity kept in ``path`` (32 raw bytes, mode 0600), made from ``chance`` on the first start.

    Blocking. Raises `KeyUnreadable`.
    """
    try:
        seed = path.read_bytes()
    except FileNotFoundError:
        seed = chance(32)
        write_atomically(path, seed, 0o600)
    if len(seed) != 32:
        raise KeyUnreadable(path=path)
    return identity_of(seed)


def identity_of(seed: bytes) -> Identity:
    """The identity whose Ed25519 private key is ``seed`` (RFC 8032, 32 bytes)."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    secret = hashlib.sha256(b"commhub-local-1\0" + seed).digest()
    return Identity(HubId(key.public_key().public_bytes_raw()), key.sign, secret, key)
