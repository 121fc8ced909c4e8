"""Sealing to a hub: whoever knows its id can close a box that only its key opens (sync.md 2.9).

A hub id is an Ed25519 key, and the curve of Ed25519 is that of X25519 in other coordinates (RFC 7748
section 4.1): so an id says which X25519 key to seal to, and no further key is published or exchanged.
The box's key comes from a Diffie-Hellman exchange with a key that is made for this box and thrown away.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hub.domain.errors import Refused
from hub.domain.ids import HubId
from hub.words import N_

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_P = 2**255 - 19
_CONTEXT = b"commhub-seal-1\0"


class CannotSeal(Refused):
    """A hub id, or a key that was made for a box, is no usable point of the curve."""

    code = "cannot-seal"
    template = N_("That hub’s key cannot be used to close anything. Nothing was changed. Pair with it again.")


class NotForUs(Refused):
    """A box that this key does not open, or whose content was changed."""

    code = "not-for-us"
    template = N_("A sealed part could not be opened: it is meant for another hub, or was changed.")


def exchange_key_of(hub: HubId) -> bytes:
    """The X25519 public key (32 bytes) that belongs to the Ed25519 key ``hub``; raises `CannotSeal`."""
    y = int.from_bytes(hub, "little") & (1 << 255) - 1
    if y >= _P or y == 1:
        raise CannotSeal
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    return u.to_bytes(KEY_BYTES, "little")


def exchange_secret_of(key: Ed25519PrivateKey) -> X25519PrivateKey:
    """The X25519 key whose public half is `exchange_key_of` the hub with ``key`` (RFC 8032, 5.1.5)."""
    return X25519PrivateKey.from_private_bytes(hashlib.sha512(key.private_bytes_raw()).digest()[:32])


class Box:
    """What goes through one key, closed or opened: each piece under a number of its own."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)

    def close(self, number: int, data: bytes) -> bytes:
        """``data`` sealed, `TAG_BYTES` longer. ``number`` is never used again with this box."""
        return self._cipher.encrypt(number.to_bytes(NONCE_BYTES, "big"), data, None)

    def open(self, number: int, data: bytes) -> bytes:
        """What was closed under ``number``; raises `NotForUs`."""
        try:
            return self._cipher.decrypt(number.to_bytes(NONCE_BYTES, "big"), data, None)
        except (InvalidTag, OverflowError) as error:
            raise NotForUs from error


class Sealed(NamedTuple):
    """A box to put pieces into, and the public key (32 bytes) that travels with them."""

    box: Box
    public: bytes


def box_for(to: HubId, chance: bytes) -> Sealed:
    """A box that only ``to`` opens, from 32 random bytes that nobody keeps; raises `CannotSeal`."""
    secret = X25519PrivateKey.from_private_bytes(chance)
    public = secret.public_key().public_bytes_raw()
    return Sealed(Box(_agree(secret, exchange_key_of(to), public, to)), public)


def box_from(key: Ed25519PrivateKey, public: bytes) -> Box:
    """The box that was made for the hub with ``key`` and came with ``public``; raises `CannotSeal`."""
    hub = HubId(key.public_key().public_bytes_raw())
    return Box(_agree(exchange_secret_of(key), public, public, hub))


def _agree(secret: X25519PrivateKey, other: bytes, public: bytes, to: HubId) -> bytes:
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError as error:  # a point of small order: everybody would know the key
        raise CannotSeal from error
    return HKDF(SHA256(), KEY_BYTES, salt=public + to, info=_CONTEXT).derive(shared)
