"""Whom this hub lets in and whom it calls: TLS contexts made of the certificates of paired hubs.

TLS 1.3 both ways, each side with the certificate of its own key. Trusted is each paired hub's
certificate itself, never whoever it may have issued; what was shown is compared with the pins once more
when a connection is made, since a context may be older than a parting. Dates and names in certificates
do not count (`hub.domain.certificates`).
"""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Callable, Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hub.domain.certificates import certificate_of, hub_of
from hub.domain.ids import HubId

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of openssl/x509_vfy.h, which the ssl module does not name."""


class Credentials:
    """The hub's certificate and key in the form that contexts load: a file in memory, never on the card."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self.hub = HubId(key.public_key().public_bytes_raw())
        self.sign = key.sign
        self.certificate = certificate_of(self.hub, key.sign)
        pem = ssl.DER_cert_to_PEM_cert(self.certificate).encode() + key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        self._file = os.memfd_create("credentials", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        os.truncate(self._file, len(pem))
        os.pwrite(self._file, pem, 0)

    def show(self, context: ssl.SSLContext) -> None:
        """Let ``context`` show the certificate to whoever is at the other end."""
        context.load_cert_chain(f"/proc/self/fd/{self._file}")


class Trust:
    """The pins of paired hubs, and the contexts made of them."""

    def __init__(self, credentials: Credentials, certificates: Iterable[bytes] = ()) -> None:
        """``certificates`` (DER) are those of paired hubs. Raises `BadCertificate`."""
        self._credentials = credentials
        self._pins = {hub_of(certificate): certificate for certificate in certificates}
        self._context: ssl.SSLContext | None = None
        self.when_unpinned: list[Callable[[HubId], None]] = []
        """Called at once with each hub that is no longer let in."""

    @property
    def hub(self) -> HubId:
        """This hub."""
        return self._credentials.hub

    @property
    def hubs(self) -> frozenset[HubId]:
        """Those that are pinned."""
        return frozenset(self._pins)

    @property
    def context(self) -> ssl.SSLContext:
        """For connections that come in: only pinned hubs finish the handshake."""
        if self._context is None:
            self._context = self._made(ssl.PROTOCOL_TLS_SERVER, self._pins.values())
        return self._context

    def calling(self, hub: HubId) -> ssl.SSLContext:
        """For calling ``hub`` and nobody else; raises `KeyError` unless it is pinned."""
        return self._made(ssl.PROTOCOL_TLS_CLIENT, [self._pins[hub]])

    def who(self, certificate: bytes | None) -> HubId | None:
        """The pinned hub that showed ``certificate`` (DER), or None."""
        if certificate is None:
            return None
        return next((hub for hub, pinned in self._pins.items() if pinned == certificate), None)

    def pin(self, certificate: bytes) -> HubId:
        """Let the hub of ``certificate`` (DER) in from now on; raises `BadCertificate`."""
        hub = hub_of(certificate)
        self._pins[hub] = certificate
        self._context = None
        return hub

    def unpin(self, hub: HubId) -> None:
        """Let ``hub`` in no more, and have its connections closed; nothing happens if it is not pinned."""
        if self._pins.pop(hub, None) is None:
            return
        self._context = None
        for closed in self.when_unpinned:
            closed(hub)

    def _made(self, side: int, trusted: Iterable[bytes]) -> ssl.SSLContext:
        context = tls_context(side)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _NO_CHECK_TIME
        known = b"".join(trusted)
        if known:
            context.load_verify_locations(cadata=known)
        self._credentials.show(context)
        return context


def tls_context(side: int) -> ssl.SSLContext:
    """A context for ``side`` (`ssl.PROTOCOL_TLS_SERVER` or ``_CLIENT``) that trusts and shows nothing yet.

    Sessions are never resumed: a resumed one would pass for a certificate that is no longer pinned.
    """
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if side == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    return context
