"""The exact layout of a ZIP archive, known before a byte of its files is read.

Entries are stored as they are (films and photos hardly shrink), and their sizes and CRC-32 are known
beforehand, so the length of the archive and the bytes at any place of it can be told from a list: it
is sent without a copy, with its length, and goes on where it was cut off. The format is PKWARE's
APPNOTE 6.3.10; sections of it are named where they rule.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

_LOCAL = struct.Struct("<4s5H3I2H")
"""4.3.7: signature, version, flags, method, time, date, CRC-32, sizes, lengths of name and extra."""
_LOCAL_EXTRA = struct.Struct("<2H2Q")
"""4.5.3: tag, length, both sizes. In a local header there are always both."""
_CENTRAL = struct.Struct("<4s6H3I5H2I")
"""4.3.12: as above with the version that made it first, then comment, disk, attributes, offset."""
_END_64 = struct.Struct("<4sQ2H2I4Q")
"""4.3.14"""
_LOCATOR_64 = struct.Struct("<4sIQI")
"""4.3.15"""
_END = struct.Struct("<4s4H2IH")
"""4.3.16"""

_UTF8 = 1 << 11
"""4.4.4: the name is UTF-8."""
_STORED = 0
_PLAIN, _ZIP64 = 20, 45
"""4.4.3.2: versions needed to extract."""
_MADE_BY_UNIX = 3 << 8 | _ZIP64
_RW_R_R = 0o100644 << 16
"""A plain file that its owner may write, as Unix has it."""
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFF_FFFF
"""4.4.1.4: a field that says "see the ZIP64 one"."""
_FIRST = datetime(1980, 1, 1, tzinfo=UTC)
_LAST = datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)


class Entry(NamedTuple):
    """A file in an archive: ``name`` is a file's name without a path; ``size`` in bytes; Unix ms."""

    name: str
    size: int
    crc32: int
    modified_ms: int


class Slice(NamedTuple):
    """``length`` bytes (never 0) from ``offset`` of the file of ``entries[entry]``."""

    entry: int
    offset: int
    length: int


class ZipLayout:
    """Where everything lies in an archive of ``entries``; the same entries give the same bytes.

    DOS times have no zone (4.4.6), so they are told as clocks in ``zone`` show them. Raises ValueError
    for a name that is no plain file's (empty, a path, ``.``, ``..``, over 65,535 bytes of UTF-8), and
    for sizes and sums that cannot be. Names that repeat are the caller's to change.
    """

    def __init__(self, entries: Iterable[Entry], zone: tzinfo) -> None:
        self._entries = tuple(entries)
        self._zone = zone
        self._locals: list[int] = []
        self._centrals: list[int] = []
        at = 0
        for entry in self._entries:
            named = len(_name(entry))
            self._locals.append(at)
            at += _LOCAL.size + named + (_LOCAL_EXTRA.size if _is_long(entry) else 0) + entry.size
        self._directory = at
        for entry, begins in zip(self._entries, self._locals, strict=True):
            self._centrals.append(at)
            at += _CENTRAL.size + len(_name(entry)) + len(_central_extra(entry, begins))
        self._end = at
        self._tail = self._ending()
        self.length = at + len(self._tail)
        """Bytes of the whole archive."""

    def segments(self, start: int = 0, stop: int | None = None) -> Iterator[bytes | Slice]:
        """What lies in bytes ``start`` to ``stop`` (exclusive; the end by default), in order.

        ``bytes`` are the archive's own, never empty; a `Slice` is to be taken from a file.
        """
        stop = self.length if stop is None else min(stop, self.length)
        start = max(start, 0)
        first = max(bisect_right(self._locals, start) - 1, 0)
        for index in range(first, len(self._entries)):
            if self._locals[index] >= stop:
                return
            yield from self._entry(index, start, stop)
        first = max(bisect_right(self._centrals, start) - 1, 0)
        for index in range(first, len(self._entries)):
            if self._centrals[index] >= stop:
                return
            yield from _cut(self._central(index), self._centrals[index], start, stop)
        yield from _cut(self._tail, self._end, start, stop)

    def _entry(self, index: int, start: int, stop: int) -> Iterator[bytes | Slice]:
        entry, begins = self._entries[index], self._locals[index]
        header = self._local(index)
        yield from _cut(header, begins, start, stop)
        data = begins + len(header)
        first, last = max(start, data), min(stop, data + entry.size)
        if first < last:
            yield Slice(index, first - data, last - first)

    def _local(self, index: int) -> bytes:
        entry = self._entries[index]
        name, long = _name(entry), _is_long(entry)
        size = _FULL_32 if long else entry.size
        extra = _LOCAL_EXTRA.pack(1, 16, entry.size, entry.size) if long else b""
        fields = (_ZIP64 if long else _PLAIN, _UTF8, _STORED, *self._time(entry), entry.crc32, size, size)
        return _LOCAL.pack(b"PK\3\4", *fields, len(name), len(extra)) + name + extra

    def _central(self, index: int) -> bytes:
        entry, begins = self._entries[index], self._locals[index]
        name, extra = _name(entry), _central_extra(entry, begins)
        size = _FULL_32 if _is_long(entry) else entry.size
        fields = (_ZIP64 if extra else _PLAIN, _UTF8, _STORED, *self._time(entry), entry.crc32, size, size)
        rest = (len(name), len(extra), 0, 0, 0, _RW_R_R, min(begins, _FULL_32))
        return _CENTRAL.pack(b"PK\1\2", _MADE_BY_UNIX, *fields, *rest) + name + extra

    def _ending(self) -> bytes:
        count, begins, size = len(self._entries), self._directory, self._end - self._directory
        long = b""
        if count >= _FULL_16 or begins >= _FULL_32 or size >= _FULL_32:
            fields = (_END_64.size - 12, _MADE_BY_UNIX, _ZIP64, 0, 0, count, count, size, begins)
            long = _END_64.pack(b"PK\6\6", *fields) + _LOCATOR_64.pack(b"PK\6\7", 0, self._end, 1)
        entries = min(count, _FULL_16)
        places = (min(size, _FULL_32), min(begins, _FULL_32))
        return long + _END.pack(b"PK\5\6", 0, 0, entries, entries, *places, 0)

    def _time(self, entry: Entry) -> tuple[int, int]:
        """DOS time and date (4.4.6), in steps of two seconds; the nearest that there is."""
        try:
            local = datetime.fromtimestamp(entry.modified_ms / 1000, self._zone).replace(tzinfo=UTC)
        except (OverflowError, ValueError, OSError):
            local = _LAST if entry.modified_ms > 0 else _FIRST
        local = min(max(local, _FIRST), _LAST)
        time = local.hour << 11 | local.minute << 5 | local.second // 2
        return time, (local.year - 1980) << 9 | local.month << 5 | local.day


def _name(entry: Entry) -> bytes:
    name = entry.name.encode()
    if not name or len(name) > _FULL_16 or entry.name in (".", "..") or not _PATHS.isdisjoint(entry.name):
        raise ValueError("not a plain file's name")
    if entry.size < 0 or not 0 <= entry.crc32 <= _FULL_32:
        raise ValueError("a size or sum that cannot be")
    return name


_PATHS = frozenset("/\\\0")


def _is_long(entry: Entry) -> bool:
    return entry.size >= _FULL_32


def _central_extra(entry: Entry, begins: int) -> bytes:
    """4.5.3: of the sizes and the offset those that do not fit, in this order."""
    fields = ([entry.size, entry.size] if _is_long(entry) else []) + ([begins] if begins >= _FULL_32 else [])
    return struct.pack(f"<2H{len(fields)}Q", 1, 8 * len(fields), *fields) if fields else b""


def _cut(piece: bytes, begins: int, start: int, stop: int) -> Iterator[bytes]:
    """The part of ``piece``, which lies at ``begins``, that is within ``start`` to ``stop``."""
    part = piece[max(start - begins, 0) : max(stop - begins, 0)]
    if part:
        yield part
