"""What lies on a carried stick: manifests, segments, ``.have`` files, sealed parts, cards and their words."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.certificates import certificate_of
from hub.domain.hubcard import (
    MAGIC as CARD_MAGIC,
)
from hub.domain.hubcard import (
    BadCardFile,
    OtherWords,
    encode_card,
    read_card,
    require_words,
    words_of,
)
from hub.domain.ids import HubId
from hub.domain.neighbours import Address, Card
from hub.domain.records import WireRecord
from hub.domain.sealing import (
    Box,
    CannotSeal,
    NotForUs,
    box_for,
    box_from,
    exchange_key_of,
    exchange_secret_of,
)
from hub.domain.sharing import DEFAULT_CHOICES, SetKey
from hub.sync.protocol.bundle import (
    FRAME,
    HAVE_MAGIC,
    LEAST_SEGMENT,
    MAX_CHUNK,
    MAX_SEGMENTS,
    SEGMENT,
    BadBundle,
    Chunk,
    Closed,
    Entry,
    Have,
    HeldSet,
    Manifest,
    Packer,
    back,
    back_length,
    decode_have,
    decode_manifest,
    encode_have,
    encode_manifest,
    entries,
    front,
    front_length,
    front_room,
)
from hub.words.phrases import WORDS


def key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def id_of(key: Ed25519PrivateKey) -> HubId:
    return HubId(key.public_key().public_bytes_raw())


MILL_LANE, OAKFIELD, STRANGER = key_of("mill-lane"), key_of("oakfield"), key_of("stranger")
SECRET = bytes(range(32))
NOTICES = SetKey("notices", b"")

keys = st.binary(min_size=32, max_size=32).map(Ed25519PrivateKey.from_private_bytes)
wire_records = st.builds(
    WireRecord,
    st.binary(min_size=1, max_size=200),
    st.binary(min_size=64, max_size=64),
    st.none() | st.binary(max_size=4000),
)
chunks = st.builds(
    Chunk,
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63),
    st.binary(min_size=1, max_size=9000),
    st.booleans(),
)
contents = st.lists(st.tuples(wire_records | chunks, st.booleans()), max_size=30)
manifests = st.builds(
    lambda size, length, to, sets, made_ms, number: Manifest(
        id_of(MILL_LANE),
        to,
        made_ms,
        number,
        tuple(sets),
        7,
        size,
        600,
        tuple(hashlib.sha256(bytes((place,))).digest() for place in range(-(-size // length))),
        length=length,
    ),
    st.integers(0, 8 * LEAST_SEGMENT),
    st.integers(LEAST_SEGMENT, 2 * LEAST_SEGMENT),
    st.none() | st.binary(min_size=32, max_size=32).map(HubId),
    st.lists(
        st.builds(SetKey, st.sampled_from(["notices", "files", "status"]), st.just(b"") | st.just(bytes(32))),
        max_size=6,
    ),
    st.integers(0, 2**53 - 1),
    st.integers(0, 999),
)


def pack(items: list[tuple[WireRecord | Chunk, bool]], box: Box | None) -> list[bytes]:
    """The segments of ``items``; each with whether it is sealed."""
    packer = Packer(box, LEAST_SEGMENT)
    segments = []
    for item, sealed in items:
        closed = sealed and box is not None
        if isinstance(item, Chunk):
            segments.append(packer.chunk(item, sealed=closed))
        else:
            segments.append(packer.record(item, sealed=closed))
    return [each for each in (*segments, packer.rest()) if each]


def unpack(segments: list[bytes], box: Box | None) -> list[Entry]:
    """Everything in the segments."""
    return [entry for each in segments for entry in entries(each, hashlib.sha256(each).digest(), box)]


# --- segments -------------------------------------------------------------------------------------


@given(contents)
def test_what_is_packed_is_unpacked_in_order_by_whom_it_is_meant_for(
    items: list[tuple[WireRecord | Chunk, bool]],
) -> None:
    sealed = box_for(id_of(OAKFIELD), SECRET)
    segments = pack(items, sealed.box)
    assert unpack(segments, box_from(OAKFIELD, sealed.public)) == [item for item, _ in items]
    assert all(len(each) == LEAST_SEGMENT for each in segments[:-1])


@given(contents)
def test_nobody_else_opens_what_is_sealed_and_everybody_reads_the_rest(
    items: list[tuple[WireRecord | Chunk, bool]],
) -> None:
    sealed = box_for(id_of(OAKFIELD), SECRET)
    expected = [Closed() if closed else item for item, closed in items]
    for box in (None, box_from(STRANGER, sealed.public)):
        assert unpack(pack(items, sealed.box), box) == expected


@given(contents, st.data())
def test_a_spoilt_segment_costs_what_is_in_it_and_nothing_else(
    items: list[tuple[WireRecord | Chunk, bool]], data: st.DataObject
) -> None:
    segments = pack(items, None)
    digests = [hashlib.sha256(each).digest() for each in segments]
    if not segments:
        return
    hit = data.draw(st.integers(0, len(segments) - 1))
    at = data.draw(st.integers(0, 8 * len(segments[hit]) - 1))
    spoilt = bytearray(segments[hit])
    spoilt[at // 8] ^= 1 << at % 8
    with pytest.raises(BadBundle):
        entries(bytes(spoilt), digests[hit], None)
    found = [entry for place, each in enumerate(segments) if place != hit for entry in unpack([each], None)]
    missing = len(items) - len(found)
    assert missing == len(unpack([segments[hit]], None))


@given(st.binary(max_size=600))
def test_no_segment_that_its_writer_vouches_for_does_harm(segment: bytes) -> None:
    for box in (None, Box(SECRET)):
        try:
            found = entries(segment, hashlib.sha256(segment).digest(), box)
        except BadBundle:
            continue
        assert all(isinstance(entry, WireRecord | Chunk | Closed) for entry in found)


@given(st.integers(0, 4), st.binary(max_size=300))
def test_no_entry_that_its_writer_vouches_for_does_harm(kind: int, content: bytes) -> None:
    box = Box(SECRET)
    inner = bytes(12) + box.close(0, bytes((kind,)) + content)
    for each in (
        bytes((kind,)) + len(content).to_bytes(4, "big") + content,
        b"\3" + len(inner).to_bytes(4, "big") + inner,
    ):
        try:
            found = entries(each, hashlib.sha256(each).digest(), box)
        except BadBundle:
            continue
        assert len(found) <= 1


def test_a_kind_of_a_newer_release_is_passed_over() -> None:
    record = WireRecord(b"header", bytes(64), None)
    [segment] = pack([(record, False)], None)
    assert unpack([b"\x63\0\0\0\2ab" + segment], None) == [record]


def test_a_body_of_no_bytes_is_not_an_erased_one() -> None:
    records = [WireRecord(b"header", bytes(64), b""), WireRecord(b"header", bytes(64), None)]
    assert unpack(pack([(each, False) for each in records], None), None) == records


def test_a_file_of_many_pieces_leaves_little_of_a_segment_empty() -> None:
    packer, written, segments = Packer(box_for(id_of(OAKFIELD), SECRET).box), 0, 0
    while segments < 4:
        room = packer.room
        assert 0 < room <= MAX_CHUNK
        segments += packer.chunk(Chunk(bytes(32), written, bytes(room)), sealed=True) is not None
        written += room
    assert written > 0.995 * 4 * SEGMENT


# --- manifests ------------------------------------------------------------------------------------


@given(manifests)
def test_a_manifest_is_read_from_either_end_as_it_was_written(manifest: Manifest) -> None:
    signed = encode_manifest(manifest, MILL_LANE.sign)
    file = front(signed) + b"what is between" + back(signed)
    length = front_length(file[:FRAME])
    assert decode_manifest(file[FRAME : FRAME + length]) == manifest
    length = back_length(file[-FRAME:])
    assert decode_manifest(file[-FRAME - length : -FRAME]) == manifest
    assert len(front(signed)) <= front_room(manifest.sets, len(manifest.digests))
    assert [manifest.segment(place)[1] for place in range(len(manifest.digests))] == [
        manifest.length for _ in manifest.digests[:-1]
    ] + [manifest.size - manifest.length * (len(manifest.digests) - 1) for _ in manifest.digests[-1:]]


@given(manifests, st.data())
def test_no_bit_of_a_manifest_can_be_changed(manifest: Manifest, data: st.DataObject) -> None:
    signed = bytearray(encode_manifest(manifest, MILL_LANE.sign))
    at = data.draw(st.integers(0, 8 * len(signed) - 1))
    signed[at // 8] ^= 1 << at % 8
    with pytest.raises(BadBundle):
        decode_manifest(bytes(signed))


@given(st.binary(max_size=400))
def test_no_garbage_is_a_manifest_a_have_file_or_a_card(data: bytes) -> None:
    with pytest.raises(BadBundle):
        decode_manifest(data)
    for begin in (b"", HAVE_MAGIC):
        with pytest.raises(BadBundle):
            decode_have(begin + data, id_of(OAKFIELD))
    for begin in (b"", CARD_MAGIC):
        with pytest.raises(BadCardFile):
            read_card(begin + data)
    for read in (front_length, back_length):
        with pytest.raises(BadBundle):
            read(data[:FRAME])


SOUND = Manifest(id_of(MILL_LANE), None, 1, 1, (NOTICES,), 1, 10, 600, (bytes(32),))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SOUND, size=SEGMENT + 1),
        replace(SOUND, digests=()),
        replace(SOUND, length=LEAST_SEGMENT - 1),
        replace(SOUND, length=SEGMENT + 1),
        replace(SOUND, first=SEGMENT + 1),
        replace(SOUND, sets=(SetKey("notices", b"short"),)),
        replace(SOUND, sets=(SetKey("n" * 41, b""),)),
        replace(SOUND, sets=(NOTICES,) * 257),
        replace(SOUND, to=HubId(b"short")),
        replace(SOUND, public=b"short"),
        replace(SOUND, size=(MAX_SEGMENTS + 1) * SEGMENT, digests=(bytes(32),) * (MAX_SEGMENTS + 1)),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused_although_it_is_signed(wrong: Manifest) -> None:
    assert decode_manifest(encode_manifest(SOUND, MILL_LANE.sign)) == SOUND
    with pytest.raises(BadBundle):
        decode_manifest(encode_manifest(wrong, MILL_LANE.sign))


def test_a_manifest_in_anothers_name_is_refused() -> None:
    with pytest.raises(BadBundle):
        decode_manifest(encode_manifest(SOUND, STRANGER.sign))


def test_the_largest_bundle_stays_under_2_gib() -> None:
    room = front_room((NOTICES,) * 256, MAX_SEGMENTS)
    assert 2 * room + MAX_SEGMENTS * SEGMENT < 2**31


# --- have files -----------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.builds(SetKey, st.sampled_from(["notices", "files"]), st.just(b"") | st.just(bytes(32))),
        st.lists(st.binary(min_size=32, max_size=32), max_size=40),
        max_size=4,
    ),
    st.lists(st.binary(min_size=32, max_size=32), max_size=5),
)
def test_a_have_file_knows_what_its_hub_has(sets: dict[SetKey, list[bytes]], wanted: list[bytes]) -> None:
    held = {key: HeldSet.of(bytes(16), ids) for key, ids in sets.items()}
    have = Have(id_of(OAKFIELD), 5, held, tuple(wanted))
    read = decode_have(encode_have(have, OAKFIELD.sign), have.hub)
    assert read == have
    for key, ids in sets.items():
        assert all(each in read.sets[key] for each in ids)
        assert hashlib.sha256(b"".join(ids)).digest() not in read.sets[key]


def test_a_have_file_takes_eight_bytes_for_a_record() -> None:
    ids = [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(100_000)]
    have = Have(id_of(OAKFIELD), 5, {NOTICES: HeldSet.of(bytes(16), ids)})
    assert len(encode_have(have, OAKFIELD.sign)) < 800_000 + 250


def test_a_have_file_of_another_hub_or_in_disorder_counts_for_nothing() -> None:
    have = Have(id_of(OAKFIELD), 5, {NOTICES: HeldSet.of(bytes(16), [bytes(32), b"\1" * 32])})
    data = encode_have(have, OAKFIELD.sign)
    with pytest.raises(BadBundle):
        decode_have(data, id_of(MILL_LANE))
    with pytest.raises(BadBundle):
        decode_have(encode_have(have, MILL_LANE.sign), id_of(OAKFIELD))
    have.sets[NOTICES].ids.reverse()
    with pytest.raises(BadBundle):
        decode_have(encode_have(have, OAKFIELD.sign), id_of(OAKFIELD))


# --- sealing --------------------------------------------------------------------------------------


@given(keys)
def test_a_hub_id_says_the_exchange_key_whose_secret_half_its_hub_has(key: Ed25519PrivateKey) -> None:
    assert exchange_key_of(id_of(key)) == exchange_secret_of(key).public_key().public_bytes_raw()


def test_the_base_points_of_the_two_curves_are_one_point() -> None:
    """RFC 8032 5.1 (y = 4/5) and RFC 7748 4.1 (u = 9)."""
    y = 4 * pow(5, -1, 2**255 - 19) % (2**255 - 19)
    assert exchange_key_of(HubId(y.to_bytes(32, "little"))) == (9).to_bytes(32, "little")


def test_keys_are_exchanged_as_libsodium_does() -> None:
    """The key pair of libsodium's test ed25519_convert."""
    seed = "421151a459faeade3d247115f94aedae42318124095afabe4d1451a559faedee"
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    public = "f1814f0e8ff1043d8a44d25babff3cedcae6c22c3edaa48f857ae70de2baae50"
    assert exchange_key_of(id_of(key)).hex() == public


@given(keys, st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.integers(0, 2**96 - 1))
def test_a_box_is_opened_by_whom_it_is_for_under_its_number(
    key: Ed25519PrivateKey, chance: bytes, data: bytes, number: int
) -> None:
    box, public = box_for(id_of(key), chance)
    closed = box.close(number, data)
    opener = box_from(key, public)
    assert opener.open(number, closed) == data
    for wrong, under, changed in (
        (opener, number ^ 1, closed),
        (opener, number, bytes((closed[0] ^ 1,)) + closed[1:]),
        (opener, 2**96, closed),
        (box_from(STRANGER, public), number, closed),
    ):
        with pytest.raises(NotForUs):
            wrong.open(under, changed)


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 1, 2**255 - 19])
def test_nothing_is_sealed_to_a_key_that_gives_the_secret_away(y: int) -> None:
    with pytest.raises(CannotSeal):
        box_for(HubId(y.to_bytes(32, "little")), SECRET)
    with pytest.raises(CannotSeal):
        box_from(OAKFIELD, bytes(32))


def test_the_thrown_away_key_is_not_the_hubs() -> None:
    public = X25519PrivateKey.from_private_bytes(SECRET).public_key().public_bytes_raw()
    assert box_for(id_of(OAKFIELD), SECRET).public == public


# --- cards ----------------------------------------------------------------------------------------


def card_of_mill_lane(name: str = "Mill Lane Hall") -> Card:
    hub = id_of(MILL_LANE)
    return Card(
        hub,
        name,
        "harbour",
        certificate_of(hub, MILL_LANE.sign),
        (Address("192.168.7.2", 8448), Address("mill-lane.local", 8448)),
        DEFAULT_CHOICES,
    )


def test_a_card_is_read_as_it_was_written() -> None:
    read = read_card(encode_card(card_of_mill_lane(), 1_795_426_860_000, MILL_LANE.sign))
    assert read == (card_of_mill_lane(), 1_795_426_860_000)


def test_no_bit_of_a_card_can_be_changed() -> None:
    data = encode_card(card_of_mill_lane(), 1, MILL_LANE.sign)
    for at in range(8 * len(data)):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(BadCardFile):
            read_card(bytes(changed))


def test_no_part_of_a_card_is_a_card() -> None:
    data = encode_card(card_of_mill_lane(), 1, MILL_LANE.sign)
    for size in range(len(data)):
        with pytest.raises(BadCardFile):
            read_card(data[:size])


def test_a_card_with_anothers_certificate_is_refused_and_its_words_are_cleaned() -> None:
    stolen = replace(card_of_mill_lane(), certificate=certificate_of(id_of(STRANGER), STRANGER.sign))
    with pytest.raises(BadCardFile):
        read_card(encode_card(stolen, 1, MILL_LANE.sign))
    loud = replace(card_of_mill_lane("Mill\x1b[2J Lane"), colour="blinking")
    read = read_card(encode_card(loud, 1, MILL_LANE.sign)).card
    assert "\x1b" not in read.name
    assert read.colour == "slate"


@given(keys)
def test_nine_words_stand_for_a_hub_however_they_are_typed(key: Ed25519PrivateKey) -> None:
    hub = id_of(key)
    words = words_of(hub).split()
    assert len(words) == 9
    assert set(words) <= set(WORDS)
    require_words(hub, " - ".join(words).upper())
    with pytest.raises(OtherWords):
        require_words(hub, " ".join(reversed(words)))
    with pytest.raises(OtherWords):
        require_words(hub, words_of(id_of(STRANGER)))


def test_words_never_change() -> None:
    assert words_of(id_of(MILL_LANE)) == "lilac bramble pliers printer plank fanfare hotel coupon joke"
