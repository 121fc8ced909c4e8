"""Picture files by their bytes: what a file is, and a copy of it without what the device wrote into it.

Nothing is decoded here and no pixel changes. A copy is made of the parts that a list names as needed to
show the picture; all others (EXIF, XMP, IPTC, comments, previews, second pictures, whatever comes after
the end) are left behind because they are not on the list, known or not. Of EXIF only the orientation
comes along, of a colour profile only the numbers. Memory stays small whatever the size of the picture.

The formats: ITU T.81 and JFIF 1.02, PNG third edition, RFC 9649 (WebP), GIF89a, ICC.1:2022, TIFF 6.0.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import BinaryIO

HEAD = 32
"""Bytes of a file's start that tell what it is."""
LARGEST_PROFILE = 1024 * 1024
"""Bytes of a colour profile that comes along."""

_BLOCK = 64 * 1024
_MOST_TABLES = 1024 * 1024
"""Bytes that may come before the first scan of a JPEG and are kept; real ones have a few thousand."""
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_FURTHER_BRANDS = frozenset({b"avif", b"avis", b"crx ", b"jxl "})
_CAMERA_FILES = (
    b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILM",
    b"\0\0\0\x0cJXL ",
)  # fmt: skip
"""TIFF (which most raw pictures are), BigTIFF, Panasonic, Olympus and Fujifilm raw pictures, JPEG XL."""


class Trouble(Exception):
    """Why a picture is not usable: one of the codes that hub.services.pictures turns into sentences."""


def format_of(head: bytes) -> str:
    """Pillow's name of the format that a file's first `HEAD` bytes promise. Raises Trouble for all others."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head:
        raise Trouble("heic")
    raise Trouble("not-a-picture")


def is_camera_file(head: bytes) -> bool:
    """Whether a file of none of the four formats is of a kind that cameras write places into."""
    if head[4:8] == b"ftyp":
        return head[8:12] in _HEIF_BRANDS | _FURTHER_BRANDS
    return head.startswith(_CAMERA_FILES)


def clean(source: BinaryIO, sink: BinaryIO) -> None:
    """Copy the picture ``source`` to ``sink`` without what is not needed to show it.

    Both are binary files that can seek and stand at their start. The pixels, an animation's frames,
    their timing, the orientation and the meaning of the colours stay. Raises Trouble ("broken",
    "heic" or "not-a-picture") where the parts are not what the format says.
    """
    format = format_of(source.read(HEAD))
    source.seek(0)
    _CLEANERS[format](source, sink)


def webp_pixels(head: bytes) -> int:
    """Width times height as the first `HEAD` bytes of a WebP file say it; 0 where they do not."""
    kind, at = head[12:16], head[20:30]
    if kind == b"VP8X":
        return (int.from_bytes(at[4:7], "little") + 1) * (int.from_bytes(at[7:10], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(at[1:5], "little")
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        return (int.from_bytes(at[6:8], "little") & 0x3FFF) * (int.from_bytes(at[8:10], "little") & 0x3FFF)
    return 0


def _exactly(source: BinaryIO, count: int) -> bytes:
    data = source.read(count)
    if len(data) < count:
        raise Trouble("broken")
    return data


def _copy(source: BinaryIO, sink: BinaryIO, count: int, crc: int = 0) -> int:
    """Copy ``count`` bytes, return their CRC-32 (of bytes before them, too, if that is ``crc``)."""
    while count:
        block = _exactly(source, min(count, _BLOCK))
        sink.write(block)
        crc = zlib.crc32(block, crc)
        count -= len(block)
    return crc


# --- JPEG -------------------------------------------------------------------------------------------------

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
_BARE = frozenset({0x01, 0xD8})
"""Markers without a length behind them that may turn up and mean nothing (TEM, a second SOI)."""
_TABLES = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD}) - {0xC8}
"""Frames, Huffman, arithmetic and quantisation tables, DNL and DRI (T.81 table B.1)."""
_APP0, _APP1, _APP2, _APP14, _SOS, _EOI = 0xE0, 0xE1, 0xE2, 0xEE, 0xDA, 0xD9


def _clean_jpeg(source: BinaryIO, sink: BinaryIO) -> None:
    """Tables and scans, and what JFIF, EXIF, Adobe and ICC segments say of colours and orientation."""
    front: dict[int, bytes] = {}
    profile: dict[int, bytes] = {}
    tables, size = list[bytes](), 0
    source.seek(2)
    while (marker := _to_marker(source, None)) != _SOS:
        if marker == _EOI:
            raise Trouble("broken")
        if marker in _BARE:
            continue
        data = _segment(source)
        if marker in _TABLES:
            size += len(data)
            if size > _MOST_TABLES:
                raise Trouble("broken")
            tables.append(_as_segment(marker, data))
        elif marker == _APP2 and data.startswith(b"ICC_PROFILE\0") and len(data) > 14:
            profile.setdefault(data[12], data[14:])
        elif needed := _needed(marker, data):
            front.setdefault(marker, needed)
    sink.write(b"\xff\xd8")
    for marker in (_APP0, _APP1, _APP14):
        if marker in front:
            sink.write(_as_segment(marker, front[marker]))
    colours = clean_profile(b"".join(profile[number] for number in sorted(profile)))
    parts = [colours[at : at + 65_000] for at in range(0, len(colours), 65_000)]
    sink.writelines(
        _as_segment(_APP2, b"ICC_PROFILE\0" + bytes((number, len(parts))) + part)
        for number, part in enumerate(parts, start=1)
    )
    sink.writelines(tables)
    _copy_scans(source, sink)


def _copy_scans(source: BinaryIO, sink: BinaryIO) -> None:
    """From behind the first SOS marker to the end of the picture; what comes after it stays behind."""
    marker = _SOS
    while marker != _EOI:
        if marker == _SOS:
            sink.write(_as_segment(_SOS, _segment(source)))
            marker = _to_marker(source, sink)
            continue
        if marker in _TABLES:
            sink.write(_as_segment(marker, _segment(source)))
        elif marker not in _BARE:
            _segment(source)
        marker = _to_marker(source, None)
    sink.write(b"\xff\xd9")


def _to_marker(source: BinaryIO, sink: BinaryIO | None) -> int:
    """Go on to behind the next marker and return it; what lies before it goes to ``sink``, if any."""
    left = source.read(2)  # mostly a segment follows a segment
    if _MARKER.match(left):
        return left[1]
    while block := source.read(_BLOCK):
        data = left + block
        found = _MARKER.search(data)
        if found:
            source.seek(found.end() - len(data), os.SEEK_CUR)
            if sink:
                sink.write(data[: found.start()])
            return found[1][0]
        left = data[-1:] if data.endswith(b"\xff") else b""
        if sink:
            sink.write(data[: len(data) - len(left)])
    raise Trouble("broken")


def _segment(source: BinaryIO) -> bytes:
    length = int.from_bytes(_exactly(source, 2), "big")
    if length < 2:
        raise Trouble("broken")
    return _exactly(source, length - 2)


def _as_segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data


def _needed(marker: int, data: bytes) -> bytes:
    """What of an application segment is needed to show the picture; mostly nothing."""
    if marker == _APP0 and data.startswith(b"JFIF\0") and len(data) >= 14:
        return data[:12] + b"\0\0"  # without its thumbnail
    if marker == _APP14 and data.startswith(b"Adobe") and len(data) >= 12:
        return data[:12]
    if marker == _APP1 and data.startswith(b"Exif\0"):
        turn = _orientation(data[6:])
        return b"Exif\0\0" + _exif(turn) if turn != 1 else b""
    return b""


# --- EXIF -------------------------------------------------------------------------------------------------

_ORIENTATION = 0x0112


def _orientation(tiff: bytes) -> int:
    """The orientation, 1 to 8, in a TIFF structure's first directory; 1 where there is none that is valid."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == _ORIENTATION:
            return value if (kind, values) == (3, 1) and 1 <= value <= 8 else 1
    return 1


def _exif(turn: int) -> bytes:
    """A TIFF structure that says the orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, turn, 0, 0)


# --- PNG --------------------------------------------------------------------------------------------------

_CHUNKS: Mapping[bytes, int] = MappingProxyType(
    {
        b"IHDR": 13, b"PLTE": 768, b"tRNS": 256, b"bKGD": 6, b"sBIT": 4, b"pHYs": 9,
        b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8,
        b"acTL": 8, b"fcTL": 26,
    }
)  # fmt: skip
"""Chunks that come along, with the most bytes each may have; besides the pixels, IEND, iCCP and eXIf."""


def _clean_png(source: BinaryIO, sink: BinaryIO) -> None:
    """Chunks of the list with right checksums, the profile without its name, the orientation."""
    sink.write(source.read(8))
    turned = False
    while True:
        length, kind = struct.unpack(">I4s", _exactly(source, 8))
        if kind == b"IEND":
            sink.write(_as_chunk(kind, b""))
            return
        if kind in (b"IDAT", b"fdAT"):
            sink.write(struct.pack(">I4s", length, kind))
            crc = _copy(source, sink, length, zlib.crc32(kind))
            if _exactly(source, 4) != crc.to_bytes(4, "big"):
                raise Trouble("broken")
            sink.write(crc.to_bytes(4, "big"))
        elif length <= _CHUNKS.get(kind, -1):
            data = _exactly(source, length)
            chunk = _as_chunk(kind, data)
            if _exactly(source, 4) != chunk[-4:]:
                raise Trouble("broken")
            sink.write(chunk)
        elif kind == b"iCCP" and length <= LARGEST_PROFILE:
            colours = clean_profile(_inflated(_exactly(source, length).partition(b"\0")[2][1:]))
            source.seek(4, os.SEEK_CUR)
            if colours:
                sink.write(_as_chunk(kind, b"colours\0\0" + zlib.compress(colours)))
        elif kind == b"eXIf" and length <= LARGEST_PROFILE:
            turn = _orientation(_exactly(source, length))
            source.seek(4, os.SEEK_CUR)
            if turn != 1 and not turned:
                turned = True
                sink.write(_as_chunk(kind, _exif(turn)))
        else:
            source.seek(length + 4, os.SEEK_CUR)


def _as_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _inflated(data: bytes) -> bytes:
    """``data`` unpacked, or nothing where it is broken or larger than a profile may be."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, LARGEST_PROFILE)
    except zlib.error:
        return b""
    return plain if unpacker.eof else b""


# --- WebP -------------------------------------------------------------------------------------------------

_FRAME_PARTS = frozenset({b"ALPH", b"VP8 ", b"VP8L"})
_EXIF_FLAG, _XMP_FLAG, _ICC_FLAG = 0x08, 0x04, 0x20


def _clean_webp(source: BinaryIO, sink: BinaryIO) -> None:
    """The picture, its animation, the profile, the orientation; sizes and flags are put right."""
    length = struct.unpack("<4sI4s", _exactly(source, 12))[1]
    end = 8 + length
    sink.write(b"RIFF\0\0\0\0WEBP")
    flags, kept = None, 0
    while source.tell() + 8 <= end:
        kind, length = struct.unpack("<4sI", _exactly(source, 8))
        follows = source.tell() + length + length % 2
        if kind == b"VP8X" and length == 10 and flags is None:
            flags = sink.tell() + 8
            data = _exactly(source, length)
            kept = data[0] & ~(_EXIF_FLAG | _XMP_FLAG | _ICC_FLAG)
            sink.write(_as_part(kind, data[:1] + bytes(3) + data[4:]))
        elif kind == b"ICCP" and length <= LARGEST_PROFILE:
            colours = clean_profile(_exactly(source, length))
            if colours and flags:
                kept |= _ICC_FLAG
                sink.write(_as_part(kind, colours))
        elif kind == b"EXIF" and length <= LARGEST_PROFILE:
            turn = _orientation(_exactly(source, length).removeprefix(b"Exif\0\0"))
            if turn != 1 and flags and not kept & _EXIF_FLAG:
                kept |= _EXIF_FLAG
                sink.write(_as_part(kind, _exif(turn)))
        elif kind == b"ANIM" and length == 6:
            sink.write(_as_part(kind, _exactly(source, length)))
        elif kind == b"ANMF" and length >= 16:
            _copy_frame(source, sink, source.tell() + length)
        elif kind in _FRAME_PARTS:
            _copy_part(source, sink, kind, length)
        source.seek(follows)
    size = sink.tell()
    sink.seek(4)
    sink.write((size - 8).to_bytes(4, "little"))
    if flags:
        sink.seek(flags)
        sink.write(bytes((kept,)))


def _copy_frame(source: BinaryIO, sink: BinaryIO, end: int) -> None:
    """One frame of an animation: its place and timing, and the parts of its picture."""
    begins = sink.tell()
    sink.write(b"ANMF\0\0\0\0" + _exactly(source, 16))
    while source.tell() + 8 <= end:
        kind, length = struct.unpack("<4sI", _exactly(source, 8))
        follows = source.tell() + length + length % 2
        if kind in _FRAME_PARTS and source.tell() + length <= end:
            _copy_part(source, sink, kind, length)
        source.seek(follows)
    size = sink.tell()
    sink.seek(begins + 4)
    sink.write((size - begins - 8).to_bytes(4, "little"))
    sink.seek(size)


def _copy_part(source: BinaryIO, sink: BinaryIO, kind: bytes, length: int) -> None:
    sink.write(struct.pack("<4sI", kind, length))
    _copy(source, sink, length)
    sink.write(b"\0" * (length % 2))


def _as_part(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2)


# --- GIF --------------------------------------------------------------------------------------------------

_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_CONTROL, _APPLICATION = 0xF9, 0xFF


def _clean_gif(source: BinaryIO, sink: BinaryIO) -> None:
    """Palettes, pictures, their timing and how often they repeat."""
    sink.write(_exactly(source, 10))
    _copy_palette(source, sink, _exactly(source, 3))
    while kind := source.read(1):
        if kind == b",":
            place = _exactly(source, 9)
            sink.write(kind + place[:8])
            _copy_palette(source, sink, place[8:])
            sink.write(_exactly(source, 1))
            while block := _sub_block(source):
                sink.write(bytes((len(block),)) + block)
            sink.write(b"\0")
        elif kind == b"!":
            _copy_extension(source, sink)
        elif kind == b";":
            break
        elif kind != b"\0":
            raise Trouble("broken")
    sink.write(b";")


def _copy_palette(source: BinaryIO, sink: BinaryIO, fields: bytes) -> None:
    """Write ``fields``, the end of a descriptor, and the palette that follows if their flags say so."""
    sink.write(fields)
    if fields[0] & 0x80:
        _copy(source, sink, 3 << (fields[0] & 7) + 1)


def _copy_extension(source: BinaryIO, sink: BinaryIO) -> None:
    """An extension, if it is one of timing or repeating; all others are skipped."""
    label = _exactly(source, 1)[0]
    first = _sub_block(source)
    if label == _CONTROL and len(first) == 4:
        sink.write(bytes((0x21, label, 4)) + first + b"\0")
    loops = label == _APPLICATION and first in _LOOPS
    while first and (block := _sub_block(source)):
        if loops and len(block) == 3 and block[0] == 1:
            loops = False
            sink.write(b"!\xff\x0b" + first + b"\x03" + block + b"\0")


def _sub_block(source: BinaryIO) -> bytes:
    return _exactly(source, _exactly(source, 1)[0])


# --- colour profiles --------------------------------------------------------------------------------------

_COLOUR_TAGS = frozenset(
    {
        b"wtpt", b"bkpt", b"chad", b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC",
        b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2", b"gamt", b"cicp",
    }
)  # fmt: skip
_COLOUR_TYPES = frozenset({b"XYZ ", b"curv", b"para", b"sf32", b"mft1", b"mft2", b"mAB ", b"mBA ", b"cicp"})
_MADE = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
"""When every profile says it was made."""


def clean_profile(profile: bytes) -> bytes:
    """An ICC profile with the numbers of ``profile`` and without names, serial numbers and dates.

    A screen's profile holds its maker, model and serial number. Empty where ``profile`` is no profile,
    is larger than `LARGEST_PROFILE`, or would have nothing left.
    """
    if not 132 <= len(profile) <= LARGEST_PROFILE or profile[36:40] != b"acsp":
        return b""
    tags: list[tuple[bytes, bytes]] = []
    (count,) = struct.unpack_from(">I", profile, 128)
    for entry in range(132, min(132 + 12 * min(count, 100), len(profile) - 11), 12):
        name, at, size = struct.unpack_from(">4sII", profile, entry)
        data = profile[at : at + size]
        if name in _COLOUR_TAGS and data[:4] in _COLOUR_TYPES and len(data) == size:
            tags.append((name, data))
    if not tags:
        return b""
    # Readers ask for a name and a line on copying; both are one letter.
    tags = [(b"desc", _profile_name(profile[8])), (b"cprt", _profile_line(profile[8])), *tags]
    body, places, index = bytearray(), dict[bytes, int](), b""
    begins = 132 + 12 * len(tags)
    for name, data in tags:
        if data not in places:
            places[data] = begins + len(body)
            body += data + b"\0" * (-len(data) % 4)
        index += struct.pack(">4sII", name, places[data], len(data))
    head = bytearray(128)
    head[0:4] = struct.pack(">I", begins + len(body))
    head[24:36] = _MADE
    head[36:40] = b"acsp"
    for begin, end in ((8, 24), (64, 80)):  # version, class, colour spaces; intent, illuminant
        head[begin:end] = profile[begin:end]
    whole = bytes(head) + struct.pack(">I", len(tags)) + index + bytes(body)
    return whole if len(whole) <= LARGEST_PROFILE else b""


def _profile_name(version: int) -> bytes:
    if version >= 4:
        return _profile_line(version)
    return b"desc" + struct.pack(">II", 0, 2) + b"c\0" + bytes(4 + 4 + 2 + 1 + 67)


def _profile_line(version: int) -> bytes:
    if version >= 4:
        return b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"GB", 2, 28) + b"\0c"
    return b"text" + bytes(4) + b"c\0"


_CLEANERS: Mapping[str, Callable[[BinaryIO, BinaryIO], None]] = MappingProxyType(
    {"JPEG": _clean_jpeg, "PNG": _clean_png, "WEBP": _clean_webp, "GIF": _clean_gif}
)
