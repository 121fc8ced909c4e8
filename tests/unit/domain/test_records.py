"""Records: what was signed is what is read, and nothing else passes."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st

from hub.domain import cbor, notices
from hub.domain.bodies import (
    NoticeBody,
    ReplyBody,
    decode_notice,
    decode_reply,
    encode_notice,
    encode_reply,
    read_notice_body,
    read_reply_body,
)
from hub.domain.clock import MAX_MS, Stamp, TimeQuality
from hub.domain.errors import Refused
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import BlobRef, Kind, NoticeDraft, Picture, ReplyDraft, Scope
from hub.domain.records import (
    MAX_BODY,
    MAX_HEADER,
    NEWER,
    BadRecord,
    Header,
    RecordType,
    decode_header,
    encode_header,
    seal,
    verify,
)

SALT = bytes(range(16))
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
HUB = HubId(KEY.public_key().public_bytes_raw())

numbers = st.integers(0, MAX_MS)
hashes = st.binary(min_size=32, max_size=32)
blobs = st.builds(BlobRef, hashes.map(bytes.hex), numbers, hashes.map(bytes.hex))
pictures = st.builds(Picture, blobs, numbers, numbers, blobs, numbers, numbers, st.text(max_size=20))
texts = st.text(max_size=60)
drafts = st.builds(
    NoticeDraft,
    kind=st.sampled_from(Kind),
    title=texts,
    text=texts,
    lang=st.sampled_from(["en", "cy", "ar"]),
    scope=st.sampled_from(Scope),
    expires_ms=numbers,
    name=texts,
    contact=texts,
    pictures=st.lists(pictures, max_size=4).map(tuple),
)
notice_bodies = st.builds(NoticeBody, drafts, numbers, st.none() | numbers)
reply_bodies = st.builds(
    ReplyBody, st.builds(ReplyDraft, texts, st.just("pl"), texts), numbers, st.none() | numbers
)
headers = st.builds(
    Header,
    hub=st.just(HUB),
    epoch=st.binary(min_size=8, max_size=8).map(Epoch),
    seq=numbers,
    type=st.sampled_from([*map(str, RecordType), "something newer"]),
    obj=st.binary(min_size=16, max_size=16).map(ObjectId),
    stamp=st.builds(Stamp, numbers, numbers),
    quality=st.sampled_from(TimeQuality),
    exp=numbers,
    scope=st.sampled_from(Scope),
    ref=st.none() | st.binary(min_size=16, max_size=16).map(ObjectId),
    unknown=st.dictionaries(st.integers(64, 70), st.integers(0, 9), max_size=3),
)

RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_signatures_are_those_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    from hub.services.identity import identity_of

    identity = identity_of(bytes.fromhex(seed))
    assert identity.hub.hex() == public
    assert identity.sign(bytes.fromhex(message)).hex() == signature
    Ed25519PublicKey.from_public_bytes(identity.hub).verify(bytes.fromhex(signature), bytes.fromhex(message))


@given(headers)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    assert decode_header(encode_header(header)) == header


@given(headers, st.dictionaries(st.integers(16, 63), st.integers(0, 9), min_size=1, max_size=3))
def test_a_header_that_has_to_be_understood_and_is_not_is_of_a_type_nobody_shows(
    header: Header, newer: dict[int, int]
) -> None:
    unknown = {**header.unknown, **newer}
    written = encode_header(replace(header, type=f"{NEWER}{header.type}", unknown=unknown))
    read = decode_header(written)
    assert read.type == f"{NEWER}{header.type}"
    assert read.type not in set(RecordType)
    assert encode_header(read) == written


@given(headers)
def test_a_header_has_at_most_23_fields(header: Header) -> None:
    crowded = replace(header, unknown=dict.fromkeys(range(100, 113), 0))
    with pytest.raises(BadRecord):
        decode_header(encode_header(crowded))


@given(headers, st.data())
def test_a_header_with_one_byte_changed_is_refused_or_says_something_else(
    header: Header, data: st.DataObject
) -> None:
    written = bytearray(encode_header(header))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    try:
        read = decode_header(bytes(written))
    except Refused:
        return
    assert read != header
    assert encode_header(read) == bytes(written)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_header_or_a_body_and_never_a_fault(noise: bytes) -> None:
    for read in (decode_header, read_reply_body, lambda data: read_notice_body(data, Scope.HUB, 1)):
        with pytest.raises(Refused):
            read(noise)


strange: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.binary(max_size=3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.integers(0, 8), inner, max_size=4),
    max_leaves=10,
)


@given(st.integers(1, 9) | st.just(7), strange)
@example(7, ["x"])
@example(7, [[]])
@example(7, [{1: [b"", 1, b""]}])
def test_a_body_with_a_field_of_another_kind_is_refused_and_never_a_fault(key: int, value: object) -> None:
    draft = NoticeDraft(Kind.NEWS, "Title", "Text", "en", Scope.HUB, 1)
    body = cbor.decode(encode_notice(NoticeBody(draft, 1), SALT))
    for read in (read_reply_body, lambda data: read_notice_body(data, Scope.HUB, 1)):
        with contextlib.suppress(Refused):
            read(cbor.encode({**body, key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (0, 1),
        (1, True),
        (1, 2),
        (2, b"short"),
        (4, -1),
        (4, 2**53),
        (9, 4),
        (11, "street"),
        (15, 1),
        (15, "notices"),
    ],
)
def test_a_header_that_says_what_no_field_can_say_is_refused(key: int, value: object) -> None:
    fields = cbor.decode(encode_header(a_header()))
    with pytest.raises(BadRecord):
        decode_header(cbor.encode({**fields, key: value}))


@pytest.mark.parametrize("key", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
def test_a_header_that_lacks_a_field_is_refused(key: int) -> None:
    fields = cbor.decode(encode_header(a_header()))
    del fields[key]
    with pytest.raises(BadRecord):
        decode_header(cbor.encode(fields))


@pytest.mark.parametrize("key", [12, 13])
def test_a_body_hash_and_a_body_length_come_together(key: int) -> None:
    fields = cbor.decode(seal(a_header(), b"body", KEY.sign).header_bytes)
    del fields[key]
    with pytest.raises(BadRecord):
        decode_header(cbor.encode(fields))


@given(notice_bodies)
def test_a_notice_comes_back_from_its_record_as_it_was(body: NoticeBody) -> None:
    header = a_header(scope=body.draft.scope, exp=body.draft.expires_ms)
    record = seal(header, encode_notice(body, SALT), KEY.sign)
    assert decode_notice(verify(record.header_bytes, record.signature, record.body)) == body


@given(reply_bodies)
def test_a_reply_comes_back_from_its_record_as_it_was(body: ReplyBody) -> None:
    record = seal(a_header(type=RecordType.REPLY), encode_reply(body, SALT), KEY.sign)
    assert decode_reply(verify(record.header_bytes, record.signature, record.body)) == body


@given(st.data())
def test_one_changed_byte_anywhere_in_a_record_is_noticed(data: st.DataObject) -> None:
    record = seal(a_header(), encode_reply(ReplyBody(ReplyDraft("Yes.", "en"), 1), SALT), KEY.sign)
    assert record.body is not None
    parts = [bytearray(record.header_bytes), bytearray(record.signature), bytearray(record.body)]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refused):
        verify(*map(bytes, parts))


def test_a_record_without_its_body_still_verifies_and_has_the_same_id() -> None:
    record = seal(a_header(), b"body", KEY.sign)
    erased = verify(record.header_bytes, record.signature, None)
    assert (erased.id, erased.header) == (record.id, record.header)
    assert record.id == hashlib.sha256(record.header_bytes + record.signature).digest()


def test_a_body_under_a_header_that_has_none_is_refused() -> None:
    record = seal(a_header(type=RecordType.WITHDRAW), None, KEY.sign)
    with pytest.raises(BadRecord):
        verify(record.header_bytes, record.signature, b"")


def test_a_signature_by_another_hub_is_refused() -> None:
    record = seal(a_header(), b"body", Ed25519PrivateKey.from_private_bytes(SALT * 2).sign)
    with pytest.raises(BadRecord):
        verify(record.header_bytes, record.signature, record.body)


def test_a_signature_over_the_header_alone_is_refused() -> None:
    """What is signed names its purpose, so no other use of the key can be passed off as a record."""
    data = encode_header(a_header())
    with pytest.raises(BadRecord):
        verify(data, KEY.sign(data), None)


def test_a_hub_id_that_is_no_key_is_refused() -> None:
    record = seal(a_header(hub=HubId(b"\xff" * 32)), None, KEY.sign)
    with pytest.raises(BadRecord):
        verify(record.header_bytes, record.signature, None)


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(BadRecord):
        seal(a_header(), bytes(MAX_BODY + 1), KEY.sign)
    with pytest.raises(BadRecord):
        seal(a_header(type="x" * MAX_HEADER), None, KEY.sign)
    with pytest.raises(BadRecord):
        decode_header(bytes(MAX_HEADER + 1))


def test_the_header_of_an_ordinary_notice_is_small() -> None:
    assert len(seal(a_header(), bytes(400), KEY.sign).header_bytes) <= 160


def test_the_longest_notice_fits_into_a_body() -> None:
    blob = BlobRef("ff" * 32, 16 * 1024 * 1024, "ff" * 32)
    picture = Picture(blob, 1600, 1600, blob, 320, 320, "א" * notices.MAX_ALT)
    draft = NoticeDraft(
        Kind.QUESTION,
        "א" * notices.MAX_TITLE,
        "x" * notices.MAX_TEXT_BYTES,
        "en-GB",
        Scope.NEIGHBOURS,
        MAX_MS,
        "א" * notices.MAX_NAME,
        "א" * notices.MAX_CONTACT,
        (picture,) * notices.MAX_PICTURES,
    )
    assert len(encode_notice(NoticeBody(draft, MAX_MS, MAX_MS), SALT)) <= MAX_BODY


def test_a_body_without_its_salt_is_refused() -> None:
    with pytest.raises(BadRecord):
        read_reply_body(encode_reply(ReplyBody(ReplyDraft("Yes.", "en"), 1), SALT[:15]))


def test_the_salt_makes_the_hash_of_a_short_body_unguessable() -> None:
    body = ReplyBody(ReplyDraft("07700 900123", "en"), 1)
    assert encode_reply(body, SALT) != encode_reply(body, SALT[::-1])


def a_header(**changes: Any) -> Header:
    """A notice's header, with ``changes``."""
    header = Header(
        HUB,
        Epoch(bytes(8)),
        1,
        RecordType.NOTICE,
        ObjectId(bytes(16)),
        Stamp(1_795_426_860_000, 0),
        TimeQuality.CARETAKER,
        1_797_846_060_000,
        Scope.NETWORK,
    )
    return replace(header, **changes)
