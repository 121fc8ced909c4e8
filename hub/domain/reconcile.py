"""Range-based set reconciliation, the arithmetic: items in order, bounds, sums, fingerprints, splitting.

The source is "Negentropy Protocol V1" (docs/negentropy-protocol-v1.md of hoytech/negentropy). A set is a
sequence of items ordered by (timestamp, id). A range of it is known by two bounds and summed up by a
fingerprint; where two hubs' fingerprints differ, the range is split and asked about again
(`hub.sync.protocol.negentropy`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import ClassVar, NamedTuple, Protocol

from hub.domain.clock import MAX_MS
from hub.domain.errors import Refused
from hub.words import N_

ID_BYTES = 32
FINGERPRINT_BYTES = 16
MAX_VARINT_BYTES = 8
"""Enough for 2**53, one more than the highest timestamp: the largest number a message holds."""
_MODULUS = 1 << 8 * ID_BYTES


class BadMessage(Refused):
    """A message of a neighbour that breaks the protocol or a limit of ours; ``code`` says which rule."""

    code: ClassVar[str] = "bad-message"
    template = N_(
        "A neighbouring hub sent a message this hub does not accept ({reason}). "
        "Nothing was changed. The hubs try again later."
    )

    def __init__(self) -> None:
        super().__init__(reason=self.code)


class BadVarint(BadMessage):
    """A number written with leading zeros, or in more than `MAX_VARINT_BYTES`."""

    code = "bad-varint"


class Truncated(BadMessage):
    """The message ends in the middle of a range."""

    code = "truncated-message"


class Item(NamedTuple):
    """One record as reconciliation sees it: Unix milliseconds below 2**53, and its 32-byte id."""

    timestamp: int
    id: bytes


class Bound(NamedTuple):
    """A place between items, after every item below it and before the others.

    ``prefix`` (0 to 32 bytes) stands for an id that goes on with zero bytes, and does not end in one:
    so bounds and items compare as the tuples they are.
    """

    timestamp: int
    prefix: bytes = b""


ZERO = Bound(0)
"""Where the first range of every message begins."""
INFINITY = Bound(2**64 - 1)
"""Behind every item."""


class SetView(Protocol):
    """A set to read, the same from the beginning of a call of the protocol to its end.

    Places count items from 0 in the order of (timestamp, id). Between two messages the set may change:
    the protocol keeps bounds, not places.
    """

    def size(self) -> int:
        """How many items there are."""
        ...

    def items(self, begin: int, end: int) -> Sequence[Item]:
        """The items from place ``begin`` to before place ``end``, in order; 0 <= begin <= end <= size."""
        ...

    def find_lower_bound(self, bound: Bound) -> int:
        """The place of the first item that is not below ``bound``; the size when there is none."""
        ...

    def sum(self, begin: int, end: int) -> int:
        """The `sum_of` the ids from place ``begin`` to before place ``end``."""
        ...


class Vector:
    """A set in memory that does not change, with running sums: every question costs O(log n)."""

    def __init__(self, items: Iterable[Item]) -> None:
        """``items`` in any order; raises ValueError for one that cannot be in a set, or is twice."""
        self._items = sorted(items)
        for item in self._items:
            if len(item.id) != ID_BYTES or not 0 <= item.timestamp <= MAX_MS:
                raise ValueError(item)
        if any(one == other for one, other in pairwise(self._items)):
            raise ValueError("an item is there twice")
        numbers = (int.from_bytes(item.id, "little") for item in self._items)
        self._sums = list(accumulate(numbers, initial=0))

    def size(self) -> int:
        """How many items there are."""
        return len(self._items)

    def items(self, begin: int, end: int) -> Sequence[Item]:
        """The items from place ``begin`` to before place ``end``."""
        return self._items[begin:end]

    def find_lower_bound(self, bound: Bound) -> int:
        """The place of the first item that is not below ``bound``."""
        return bisect_left(self._items, Item(*bound))

    def sum(self, begin: int, end: int) -> int:
        """The `sum_of` the ids from place ``begin`` to before place ``end``."""
        return (self._sums[end] - self._sums[begin]) % _MODULUS


def sum_of(ids: Iterable[bytes]) -> int:
    """The ids added up as 32-byte little-endian numbers, modulo 2**256.

    Sums of neighbouring ranges add up (modulo 2**256) to the sum of both, see `add`.
    """
    return sum(int.from_bytes(each, "little") for each in ids) % _MODULUS


def add(one: int, other: int) -> int:
    """The sum of two ranges that have no item in common, from the sums of each."""
    return (one + other) % _MODULUS


def fingerprint(total: int, count: int) -> bytes:
    """16 bytes that stand for ``count`` items whose ids add up to ``total``.

    SHA-256 of the 32-byte little-endian sum and the count as a varint, cut off ("Fingerprint Algorithm").
    """
    return sha256(total.to_bytes(ID_BYTES, "little") + encode_varint(count)).digest()[:FINGERPRINT_BYTES]


def fingerprint_of(view: SetView) -> tuple[bytes, int]:
    """Fingerprint and size of the whole set: equal on both hubs means there is nothing to exchange."""
    count = view.size()
    return fingerprint(view.sum(0, count), count), count


def encode_varint(number: int) -> bytes:
    """``number`` (>= 0) in the fewest base-128 digits, highest first, bit 8 on in all but the last."""
    if number < 0x80:
        return bytes((number,))
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at offset ``at`` and the offset after it; raises `BadVarint` or `Truncated`."""
    number = 0
    for place in range(at, min(at + MAX_VARINT_BYTES, len(data))):
        digit = data[place]
        if digit == 0x80 and number == 0:
            raise BadVarint
        number = number << 7 | digit & 0x7F
        if digit < 0x80:
            return number, place + 1
    if at + MAX_VARINT_BYTES <= len(data):
        raise BadVarint
    raise Truncated


def minimal_bound(before: Item, after: Item) -> Bound:
    """The shortest bound that parts two neighbouring items: ``before`` is below it, ``after`` is not."""
    if before.timestamp != after.timestamp:
        return Bound(after.timestamp)
    shared = 0
    while before.id[shared] == after.id[shared]:
        shared += 1
    return Bound(after.timestamp, after.id[: shared + 1])


def exact_bound(item: Item) -> Bound:
    """The bound right before ``item``, whatever is before it."""
    return Bound(item.timestamp, item.id.rstrip(b"\0"))


class Splitting(NamedTuple):
    """How a range that differs is asked about again.

    Fewer than ``list_below`` items (at least 2: one item splits no further) are listed by id; others go
    into ``fan_out`` buckets (2 to 64). Each side may choose its own. 16 and 32 are the reference's: best
    for what is new. 8 and 8 send half the bytes for old, scattered differences, in one round trip more.
    """

    fan_out: int = 16
    list_below: int = 32


def bucket_ends(begin: int, end: int, fan_out: int) -> list[int]:
    """Where the buckets of the places ``begin`` to before ``end`` end, the fuller ones first.

    There are never more buckets than items, so none is empty.
    """
    count = end - begin
    buckets = min(fan_out, count)
    if not buckets:
        return []
    each, fuller = divmod(count, buckets)
    return [begin + each * number + min(number, fuller) for number in range(1, buckets + 1)]
