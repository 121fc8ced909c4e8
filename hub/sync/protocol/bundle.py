"""Bundles: files by which a carried stick brings one hub's records and files to another (sync.md 2.9).

A bundle is a signed manifest, segments of 4 MiB, and the manifest again. The manifest has the hash of each
segment, and no entry goes over the end of one: what is torn off or spoilt costs the segments it is in,
and whichever manifest is left says where the others lie. ``.have`` files say what a hub has already.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import le
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.domain import cbor
from hub.domain.clock import MAX_MS
from hub.domain.errors import Refused
from hub.domain.ids import HubId
from hub.domain.records import MAX_BODY, MAX_HEADER, WireRecord
from hub.domain.sealing import KEY_BYTES, NONCE_BYTES, TAG_BYTES, Box, NotForUs
from hub.domain.sharing import SetKey
from hub.words import N_

FORMAT = 1
MAGIC = b"COMMHUB\x01"
END_MAGIC = b"\x01BUHMMOC"
HAVE_MAGIC = b"COMMHAVE"
SEGMENT = 4 * 1024 * 1024
LEAST_SEGMENT = 32 * 1024
"""In which the largest entry that is not cut has room."""
MAX_SEGMENTS = 511
"""So that a file with both manifests stays under 2 GiB, which every FAT takes."""
MAX_MANIFEST = 64 * 1024
MAX_HAVE = 16 * 1024 * 1024
MAX_SETS = 256
_MAX_STREAM = 40
SHORT = 8
"""Bytes of a record's id in a ``.have`` file."""
MAX_WANTED = 4096
MAX_CHUNK = 256 * 1024
"""Bytes of a file in one entry; shorter ones fill a segment up."""
LEAST_CHUNK = 4096
"""But what would be shorter than this goes into the next segment."""

_MANIFEST_CONTEXT = b"commhub-bundle-1\0"
_HAVE_CONTEXT = b"commhub-have-1\0"
_SIGNATURE_BYTES = 64
_DIGEST_BYTES = 32
_LENGTH_BYTES = 4
_ENTRY_HEAD = 1 + _LENGTH_BYTES
_RECORD_HEAD = 2 + 1
_CHUNK_HEAD = _DIGEST_BYTES + 8
_SEALED_EXTRA = NONCE_BYTES + 1 + TAG_BYTES
ENTRY_EXTRA = _ENTRY_HEAD + _SEALED_EXTRA + _CHUNK_HEAD
"""The most bytes that an entry has besides its record or stretch of a file."""
_FRAME = len(MAGIC) + _LENGTH_BYTES


class BadBundle(Refused):
    """A manifest, segment or ``.have`` file that is not what its hub wrote."""

    code = "bad-bundle"
    template = N_("A file on the stick is damaged. Nothing was taken from it. Carry a new one.")


class _Kind(IntEnum):
    END = 0
    """The rest of the segment is empty."""
    RECORD = 1
    CHUNK = 2
    SEALED = 3
    LIST = 4


class Chunk(NamedTuple):
    """A stretch, from ``offset`` on, of the file named ``sha256`` (32 bytes), or of the list of the hashes
    of its pieces. A file's list goes before it, and both go in order."""

    sha256: bytes
    offset: int
    data: bytes
    of_list: bool = False


class Closed(NamedTuple):
    """An entry that is sealed to another hub."""


Entry = WireRecord | Chunk | Closed
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself. ``hub`` wrote it for ``to`` (None: for any hub).

    ``made_ms`` is Unix ms by the writer's clock, ``number`` counts its bundles of a day; ``records`` and
    ``sets`` are what it brings; ``size`` is the bytes of all segments together, the first of which begins
    at ``first``; ``digests`` are their SHA-256, and all but the last are ``length`` bytes long. ``public``
    belongs to the box of what is sealed.
    """

    hub: HubId
    to: HubId | None
    made_ms: int
    number: int
    sets: tuple[SetKey, ...]
    records: int
    size: int
    first: int
    digests: tuple[bytes, ...]
    public: bytes = bytes(KEY_BYTES)
    length: int = SEGMENT

    def segment(self, place: int) -> tuple[int, int]:
        """Offset and length of a segment, counted from 0."""
        return self.first + place * self.length, min(self.length, self.size - place * self.length)

    @property
    def end(self) -> int:
        """Where the last segment ends and the second manifest begins."""
        return self.first + self.size


def encode_manifest(manifest: Manifest, sign: Sign) -> bytes:
    """The signed manifest without the frame that either end of the file has."""
    data = cbor.encode(
        {
            1: FORMAT,
            2: manifest.hub,
            3: manifest.to or b"",
            4: manifest.made_ms,
            5: manifest.number,
            6: [list(key) for key in manifest.sets],
            7: manifest.records,
            8: manifest.size,
            9: manifest.first,
            10: b"".join(manifest.digests),
            11: manifest.public,
            12: manifest.length,
        }
    )
    return data + sign(_MANIFEST_CONTEXT + data)


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in what `encode_manifest` gave, its signature checked; raises `BadBundle`."""
    fields = _signed(data, _MANIFEST_CONTEXT)
    try:
        to = fields[3]
        manifest = Manifest(
            hub=HubId(cbor.octets(fields[2], 32)),
            to=HubId(cbor.octets(to, 32)) if to != b"" else None,
            made_ms=cbor.whole(fields[4]),
            number=cbor.whole(fields[5]),
            sets=tuple(_set_key(*each) for each in _some(fields[6], MAX_SETS)),
            records=cbor.whole(fields[7]),
            size=cbor.whole(fields[8]),
            first=cbor.whole(fields[9]),
            digests=tuple(_split(fields[10], _DIGEST_BYTES)),
            public=cbor.octets(fields[11], KEY_BYTES),
            length=cbor.whole(fields[12]),
        )
    except (LookupError, ValueError, TypeError) as error:
        raise BadBundle from error
    if not LEAST_SEGMENT <= manifest.length <= SEGMENT or manifest.first > SEGMENT:
        raise BadBundle
    if len(manifest.digests) != -(-manifest.size // manifest.length) or len(manifest.digests) > MAX_SEGMENTS:
        raise BadBundle
    return manifest


def front_room(sets: Sequence[SetKey], segments: int) -> int:
    """Bytes to leave free before the first segment for the manifest of at most so many segments."""
    likeness = Manifest(
        HubId(bytes(32)),
        HubId(bytes(32)),
        MAX_MS,
        MAX_MS,
        tuple(sets),
        MAX_MS,
        MAX_MS,
        MAX_MS,
        (bytes(_DIGEST_BYTES),) * segments,
        length=MAX_MS,
    )
    return _FRAME + len(encode_manifest(likeness, lambda _: bytes(_SIGNATURE_BYTES)))


def front(signed: bytes) -> bytes:
    """How a file begins whose manifest is ``signed``."""
    return MAGIC + len(signed).to_bytes(_LENGTH_BYTES, "big") + signed


def back(signed: bytes) -> bytes:
    """How it ends."""
    return signed + len(signed).to_bytes(_LENGTH_BYTES, "big") + END_MAGIC


FRAME = _FRAME
"""Bytes at either end of a file that say how long the manifest there is."""


def front_length(data: bytes) -> int:
    """How long the manifest after the first `FRAME` bytes of a file is; raises `BadBundle`."""
    return _length(data[: len(MAGIC)] == MAGIC, data[len(MAGIC) : _FRAME])


def back_length(data: bytes) -> int:
    """How long the manifest before the last `FRAME` bytes of a file is; raises `BadBundle`."""
    return _length(data[_LENGTH_BYTES:] == END_MAGIC, data[:_LENGTH_BYTES])


class Packer:
    """Puts entries into segments, one after the other. An entry that does not fit begins the next."""

    def __init__(self, box: Box | None = None, length: int = SEGMENT) -> None:
        """``box`` takes what is sealed; ``length`` bytes make a segment."""
        self._box = box
        self._length = length
        self._sealed = 0
        self._segment = bytearray()

    @property
    def room(self) -> int:
        """How many bytes of a file the next chunk should have, sealed or not, to fill this segment or the
        next one well."""
        room = self._length - len(self._segment) - ENTRY_EXTRA
        return min(MAX_CHUNK, room if room >= LEAST_CHUNK else self._length - ENTRY_EXTRA)

    def record(self, record: WireRecord, *, sealed: bool) -> bytes | None:
        """Put ``record`` in; returns the segment before it if that is full now."""
        body = record.body
        content = b"".join(
            (
                len(record.header).to_bytes(2, "big"),
                bytes((body is not None,)),
                record.header,
                record.signature,
                body or b"",
            )
        )
        return self._put(_Kind.RECORD, content, sealed)

    def chunk(self, chunk: Chunk, *, sealed: bool) -> bytes | None:
        """Put a stretch of a file in; returns the segment before it if that is full now."""
        kind = _Kind.LIST if chunk.of_list else _Kind.CHUNK
        return self._put(kind, chunk.sha256 + chunk.offset.to_bytes(8, "big") + chunk.data, sealed)

    def rest(self) -> bytes:
        """The last segment, which is as long as what is in it; empty when nothing is."""
        segment = bytes(self._segment)
        self._segment.clear()
        return segment

    def _put(self, kind: _Kind, content: bytes, sealed: bool) -> bytes | None:
        if sealed:
            assert self._box is not None  # noqa: S101 - nothing is sealed without a recipient
            number, self._sealed = self._sealed, self._sealed + 1
            closed = self._box.close(number, bytes((kind,)) + content)
            kind, content = _Kind.SEALED, number.to_bytes(NONCE_BYTES, "big") + closed
        entry = bytes((kind,)) + len(content).to_bytes(_LENGTH_BYTES, "big") + content
        full = None
        if len(self._segment) + len(entry) > self._length:
            full = bytes(self._segment.ljust(self._length, b"\0"))
            self._segment.clear()
        self._segment += entry
        return full


def entries(segment: bytes, digest: bytes, box: Box | None) -> list[Entry]:
    """What is in a segment whose SHA-256 has to be ``digest``; raises `BadBundle`.

    ``box`` opens what is sealed; without it those entries are `Closed`. Kinds of newer releases are left out.
    """
    if hashlib.sha256(segment).digest() != digest:
        raise BadBundle
    found = (_entry(kind, content, box) for kind, content in _split_entries(segment))
    return [entry for entry in found if entry is not None]


def _split_entries(segment: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(segment) - at >= _ENTRY_HEAD and (kind := segment[at]) != _Kind.END:
        begin = at + _ENTRY_HEAD
        at = begin + int.from_bytes(segment[at + 1 : begin], "big")
        if at > len(segment):
            raise BadBundle
        yield kind, segment[begin:at]


def _entry(kind: int, content: bytes, box: Box | None) -> Entry | None:
    match kind:
        case _Kind.RECORD:
            return _record(content)
        case _Kind.CHUNK | _Kind.LIST:
            if not _CHUNK_HEAD < len(content) <= _CHUNK_HEAD + MAX_CHUNK:
                raise BadBundle
            offset = int.from_bytes(content[_DIGEST_BYTES:_CHUNK_HEAD], "big")
            return Chunk(content[:_DIGEST_BYTES], offset, content[_CHUNK_HEAD:], kind == _Kind.LIST)
        case _Kind.SEALED:
            return _opened(content, box)
    return None


def _opened(content: bytes, box: Box | None) -> Entry | None:
    if len(content) < _SEALED_EXTRA:
        raise BadBundle
    if box is None:
        return Closed()
    try:
        inner = box.open(int.from_bytes(content[:NONCE_BYTES], "big"), content[NONCE_BYTES:])
    except NotForUs:
        return Closed()
    return None if inner[0] == _Kind.SEALED else _entry(inner[0], inner[1:], None)


def _record(content: bytes) -> WireRecord:
    length = int.from_bytes(content[:2], "big")
    header_end = _RECORD_HEAD + length
    body_begin = header_end + _SIGNATURE_BYTES
    body = content[body_begin:]
    if (
        length > MAX_HEADER
        or len(content) < body_begin
        or len(body) > MAX_BODY
        or content[2] > 1
        or (body and not content[2])
    ):
        raise BadBundle
    return WireRecord(
        content[_RECORD_HEAD:header_end], content[header_end:body_begin], body if content[2] else None
    )


# --- what a hub has already -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeldSet:
    """A set as its hub holds it: its fingerprint, and the first 8 bytes of each id."""

    fingerprint: bytes
    ids: array[int]
    """In ascending order, as big-endian numbers."""

    @classmethod
    def of(cls, fingerprint: bytes, ids: Iterable[bytes]) -> HeldSet:
        """The set of the records with these ids (32 bytes each), in any order."""
        return cls(fingerprint, array("Q", sorted(_short(each) for each in ids)))

    def __contains__(self, record_id: object) -> bool:
        """Whether a record with this id is (as good as certainly) there."""
        if not isinstance(record_id, bytes):
            return False
        short = _short(record_id)
        place = bisect_left(self.ids, short)
        return place < len(self.ids) and self.ids[place] == short


@dataclass(frozen=True, slots=True)
class Have:
    """What ``hub`` had at ``made_ms``: ids by set, and the files (32-byte SHA-256) it lacks."""

    hub: HubId
    made_ms: int
    sets: Mapping[SetKey, HeldSet]
    wanted: tuple[bytes, ...] = ()


def encode_have(have: Have, sign: Sign) -> bytes:
    """The content of a ``.have`` file."""
    data = cbor.encode(
        {
            1: FORMAT,
            2: have.hub,
            4: have.made_ms,
            6: [[*key, held.fingerprint, _packed(held.ids)] for key, held in sorted(have.sets.items())],
            12: b"".join(have.wanted),
        }
    )
    return HAVE_MAGIC + data + sign(_HAVE_CONTEXT + data)


def decode_have(data: bytes, hub: HubId) -> Have:
    """What ``hub`` wrote with `encode_have`; raises `BadBundle` for everything else."""
    if data[: len(HAVE_MAGIC)] != HAVE_MAGIC or len(data) > MAX_HAVE:
        raise BadBundle
    fields = _signed(data[len(HAVE_MAGIC) :], _HAVE_CONTEXT, hub)
    try:
        sets = {}
        for stream, origin, fingerprint, ids in _some(fields[6], MAX_SETS):
            sets[_set_key(stream, origin)] = HeldSet(cbor.octets(fingerprint, 16), _unpacked(ids))
        wanted = _split(fields[12], _DIGEST_BYTES)
        if len(wanted) > MAX_WANTED:
            raise ValueError(len(wanted))
        return Have(hub, cbor.whole(fields[4]), sets, tuple(wanted))
    except (LookupError, ValueError, TypeError) as error:
        raise BadBundle from error


def _short(record_id: bytes) -> int:
    return int.from_bytes(record_id[:SHORT], "big")


def _packed(ids: array[int]) -> bytes:
    return _big_endian(array("Q", ids)).tobytes()


def _unpacked(data: Any) -> array[int]:
    ids = array("Q")
    ids.frombytes(data)
    _big_endian(ids)
    if not all(map(le, ids, ids[1:])):
        raise ValueError("not in order")
    return ids


def _big_endian(ids: array[int]) -> array[int]:
    """``ids`` turned, in place, into or back from numbers that lie in memory with the highest byte first."""
    if sys.byteorder == "little":
        ids.byteswap()
    return ids


# --- inside ---------------------------------------------------------------------------------------


def _signed(data: bytes, context: bytes, hub: HubId | None = None) -> dict[int, Any]:
    """The fields of ``data``, a map that the hub under 2 signed (``hub``, if given); raises `BadBundle`."""
    stated, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    try:
        if hub is not None:  # before reading what may be long
            Ed25519PublicKey.from_public_bytes(hub).verify(signature, context + stated)
        fields = cbor.decode(stated)
        if not isinstance(fields, dict) or cbor.whole(fields[1]) != FORMAT:
            raise BadBundle
        if hub is None:
            signer = cbor.octets(fields[2], 32)
            Ed25519PublicKey.from_public_bytes(signer).verify(signature, context + stated)
        elif fields[2] != hub:
            raise BadBundle
    except (InvalidSignature, KeyError, ValueError, cbor.NotCanonical) as error:
        raise BadBundle from error
    return fields


def _set_key(stream: Any, origin: Any) -> SetKey:
    if not isinstance(origin, bytes) or len(origin) not in (0, 32) or len(cbor.label(stream)) > _MAX_STREAM:
        raise ValueError(origin)
    return SetKey(stream, origin)


def _some(items: Any, most: int) -> list[Any]:
    if not isinstance(items, list) or len(items) > most:
        raise ValueError(items)
    return items


def _split(data: Any, width: int) -> list[bytes]:
    if not isinstance(data, bytes) or len(data) % width:
        raise ValueError(data)
    return [data[at : at + width] for at in range(0, len(data), width)]


def _length(is_ours: bool, data: bytes) -> int:
    length = int.from_bytes(data, "big")
    if not is_ours or len(data) != _LENGTH_BYTES or not _SIGNATURE_BYTES < length <= MAX_MANIFEST:
        raise BadBundle
    return length
