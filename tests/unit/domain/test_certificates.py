"""Certificates that say nothing their key does not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.certificates import BadCertificate, certificate_of, hub_of
from hub.domain.ids import HubId, base32

GOLDEN = (
    "3082014e30820100a003020102021075d9edb4849365d3114a2f096677019f300506032b6570303f313d303b06035504"
    "030c343065676766667a6b7372386277376267766d6365656a79306b356b79396e68676b656a6774717278766a333638"
    "346a6e363677303020170d3030303130313030303030305a180f39393939313233313233353935395a303f313d303b06"
    "035504030c343065676766667a6b7372386277376267766d6365656a79306b356b79396e68676b656a6774717278766a"
    "333638346a6e36367730302a300506032b657003210003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc"
    "8664125531b8a310300e300c0603551d130101ff04023000300506032b657003410080929af12e2aa9ca9253306be128"
    "8d0eb91c226560308339f9c379bc533e5f34b5448e384da11398b1439812516b617c35d91d20e4fbe01e659379e8bd47"
    "4a08"
)
"""Of the key whose seed is the bytes 0 to 31."""


def hub_and_key(seed: bytes) -> tuple[HubId, Ed25519PrivateKey]:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return HubId(key.public_key().public_bytes_raw()), key


def certificate(seed: bytes) -> bytes:
    hub, key = hub_and_key(seed)
    return certificate_of(hub, key.sign)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_has_one_certificate_and_it_is_known_by_it(seed: bytes) -> None:
    hub, _ = hub_and_key(seed)
    assert certificate(seed) == certificate(seed)
    assert hub_of(certificate(seed)) == hub


@given(st.binary(min_size=32, max_size=32))
def test_a_library_for_certificates_would_have_made_the_same_bytes(seed: bytes) -> None:
    hub, key = hub_and_key(seed)
    made = x509.load_der_x509_certificate(certificate(seed))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, base32(hub))])
    again = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(made.serial_number)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )
    assert again.public_bytes(Encoding.DER) == certificate(seed)
    made.verify_directly_issued_by(made)
    assert 0 < made.serial_number < 1 << 127


def test_the_certificate_of_a_known_key_never_changes() -> None:
    assert certificate(bytes(range(32))).hex() == GOLDEN


@given(st.binary(max_size=400))
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    with pytest.raises(BadCertificate):
        hub_of(data)


@given(st.data())
def test_a_certificate_with_any_bit_changed_or_cut_short_is_refused(data: st.DataObject) -> None:
    whole = certificate(b"\x07" * 32)
    place = data.draw(st.integers(0, len(whole) * 8 - 1))
    changed = bytearray(whole)
    changed[place // 8] ^= 1 << place % 8
    for other in (bytes(changed), whole[: place // 8], whole + b"\0", b"\0" + whole):
        with pytest.raises(BadCertificate):
            hub_of(other)


def test_certificates_of_other_kinds_of_keys_or_by_others_are_refused() -> None:
    hub, key = hub_and_key(b"\x01" * 32)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, base32(hub))])
    other = generate_private_key(SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(5)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    )
    issuing = x509.BasicConstraints(ca=True, path_length=None)
    for made in (
        builder.public_key(other.public_key()).sign(other, SHA256()),
        builder.public_key(key.public_key()).sign(other, SHA256()),
        builder.public_key(key.public_key()).sign(key, None),
        builder.public_key(key.public_key()).add_extension(issuing, critical=True).sign(key, None),
    ):
        with pytest.raises(BadCertificate):
            hub_of(made.public_bytes(Encoding.DER))
