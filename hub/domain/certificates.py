"""The certificate of a hub's key: what TLS needs to be told a hub id (sync.md 2.8).

It says nothing that the key does not: every byte of it but the signature follows from the key, so it is
checked by making it again, and no parser reads what strangers send. No date in it matters, because
a hall's clock may have no battery. Trust comes from pairing, never from what a certificate says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.domain.errors import Refused
from hub.domain.ids import HubId, base32
from hub.words import N_

_SERIAL_CONTEXT = b"commhub-certificate-1\0"
_SIGNATURE_BYTES = 64


class BadCertificate(Refused):
    """A certificate that is not the one a hub makes of its own key."""

    code = "bad-certificate"
    status = 422
    template = N_("The other side did not show a hub’s certificate. Nothing was changed. Is it really a hub?")


def certificate_of(hub: HubId, sign: Callable[[bytes], bytes]) -> bytes:
    """The certificate (DER) of ``hub``, whose Ed25519 signature ``sign`` gives: equal each time."""
    stated = _statement(hub)
    return _whole(stated, sign(stated))


def hub_of(certificate: bytes) -> HubId:
    """Whose certificate (DER) it is; raises `BadCertificate` unless a hub made it of its own key.

    So it can issue no others, and bears no other hub's name: with every neighbour's certificate trusted,
    one that did might let in others, or be taken for another neighbour's.
    """
    if len(certificate) != _LENGTH:
        raise BadCertificate
    hub = HubId(certificate[_KEY])
    stated, signature = _statement(hub), certificate[-_SIGNATURE_BYTES:]
    if certificate != _whole(stated, signature):
        raise BadCertificate
    try:
        Ed25519PublicKey.from_public_bytes(hub).verify(signature, stated)
    except (InvalidSignature, ValueError) as error:
        raise BadCertificate from error
    return hub


# Distinguished encoding (X.690) of the few types that a certificate (RFC 5280 4.1) needs.


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes(-(-size.bit_length() // 8), "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _der(0x30, *parts)


_ED25519 = _sequence(_der(0x06, b"\x2b\x65\x70"))
"""1.3.101.112 (RFC 8410)."""
_VERSION_3 = _der(0xA0, _der(0x02, b"\x02"))
_VALIDITY = _sequence(_der(0x17, b"000101000000Z"), _der(0x18, b"99991231235959Z"))
"""2000 to the end that RFC 5280 4.1.2.5 sets where none is known."""
_ISSUES_NOTHING = _der(
    0xA3,
    _sequence(_sequence(_der(0x06, b"\x55\x1d\x13"), _der(0x01, b"\xff"), _der(0x04, _sequence()))),
)
"""basicConstraints, critical, CA:FALSE."""


def _statement(hub: HubId) -> bytes:
    """What is signed: the TBSCertificate."""
    serial = bytearray(hashlib.sha256(_SERIAL_CONTEXT + hub).digest()[:16])
    serial[0] = serial[0] & 0x3F | 0x40  # positive, and always of 16 bytes
    common_name = _sequence(_der(0x06, b"\x55\x04\x03"), _der(0x0C, base32(hub).encode()))
    name = _sequence(_der(0x31, common_name))
    key = _sequence(_ED25519, _der(0x03, b"\0", hub))
    return _sequence(
        _VERSION_3, _der(0x02, bytes(serial)), _ED25519, name, _VALIDITY, name, key, _ISSUES_NOTHING
    )


def _whole(stated: bytes, signature: bytes) -> bytes:
    return _sequence(stated, _ED25519, _der(0x03, b"\0", signature))


_MARK = HubId(bytes(range(0x80, 0xA0)))
_EXAMPLE = _whole(_statement(_MARK), bytes(_SIGNATURE_BYTES))
_LENGTH = len(_EXAMPLE)
_KEY = slice(_EXAMPLE.index(_MARK), _EXAMPLE.index(_MARK) + len(_MARK))
"""Where the key stands: in every certificate at the same place."""
