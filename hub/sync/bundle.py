"""The carried stick: bundles and ``.have`` files in a folder COMMHUB, written and read (sync.md 2.9).

A stick is as hostile as a neighbour. Nothing of it is run or followed: names are matched and opened in the
folder itself, never through a link, and sizes have bounds before anything is read. What it brings goes the
way of everything that comes from neighbours, with the same quotas. Who carried it does not matter: only
what the hub that wrote it signed is believed to be that hub's.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.domain.admission import Source
from hub.domain.bodies import FileBody, NoticeBody, decode
from hub.domain.certificates import certificate_of
from hub.domain.errors import NoRoom, NotFound, Refused
from hub.domain.fetching import PIECE, WrongBytes, length_of, pieces_in
from hub.domain.hubcard import SUFFIX, encode_card, short_name, words_of
from hub.domain.ids import HubId
from hub.domain.neighbours import PINNED, Card, Neighbour, Tie, shown_name
from hub.domain.policy import DAY_MS
from hub.domain.records import Record, RecordType, WireRecord, decode_header
from hub.domain.sealing import Box, CannotSeal, box_for, box_from
from hub.domain.sharing import DEFAULT_CHOICES, ERASURES, SetKey, set_of, sets_between
from hub.services.courier import (
    FIRST_DAYS,
    FOLDER,
    HubCopied,
    Load,
    NoStick,
    Packed,
    StickBusy,
    StickFull,
    StickTrouble,
    Unpacked,
    Written,
)
from hub.services.fetching import Errand, Fetching
from hub.services.ingest import Ingest
from hub.services.neighbours import NeighbourPaused, NoSuchNeighbour, NotPaired
from hub.storage import fetching as blob_notes
from hub.storage import neighbours, sets
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database
from hub.sync.exchange import Self
from hub.sync.protocol.bundle import (
    ENTRY_EXTRA,
    FRAME,
    MAX_HAVE,
    MAX_SEGMENTS,
    MAX_SETS,
    MAX_WANTED,
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

_T = TypeVar("_T")
STICK = HubId(b"")
"""Who gives a file that lies on a stick."""

_MANY = 10_000
"""Names of the folder that are looked at, and of these so many bundles."""
_MOST_BUNDLES = 256
_READ = 500
"""Records read in one transaction: erasures wait for nobody who reads for long."""
_BATCH, _BATCH_BYTES = 100, 256 * 1024
_GIVE_UP = 3
"""Segments in a row that the stick cannot read: it is not there any more."""
_RECORD_ROOM = 20 * 1024
"""What a segment may leave empty because the next record does not fit."""
_SPARE = 1024 * 1024
_BUNDLE = re.compile(r"(?P<short>[0-9a-z]{8})-(?P<day>[0-9]{8})-(?P<number>[0-9]{1,6})\.hub", re.IGNORECASE)


class _Folder:
    """COMMHUB of a directory, by a descriptor: nothing outside is reached by what lies in it. Blocking.

    Raises `StickTrouble` for whatever the stick answers.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, directory: Path, *, create: bool) -> _Folder:
        """The folder in ``directory``, or the directory if it is that folder; raises `NoStick`."""
        path = directory if directory.name == FOLDER else directory / FOLDER
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with _stick_trouble():
            try:
                if create and path.parent.is_dir():
                    path.mkdir(exist_ok=True)
                return cls(path, os.open(path, flags))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise NoStick(path=directory) from error

    def close(self) -> None:
        """Let the stick go."""
        os.close(self._descriptor)

    def free_bytes(self) -> int:
        """What can still be written."""
        with _stick_trouble():
            stick = os.fstatvfs(self._descriptor)
        return stick.f_bavail * stick.f_frsize

    def names(self) -> list[str]:
        """The names in the folder, in order."""
        with _stick_trouble(), os.scandir(self._descriptor) as found:
            return sorted(entry.name for entry in islice(found, _MANY))

    def open_file(self, name: str) -> int:
        """A descriptor of a regular file, for reading; raises OSError for everything else."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file")

    def read(self, name: str, most: int) -> bytes | None:
        """All of a small file; None when it is not there, is larger, or cannot be read."""
        try:
            descriptor = self.open_file(name)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            try:
                data = file.read(most + 1)
            except OSError:
                return None
        return data if len(data) <= most else None

    def create(self, name: str) -> int:
        """A descriptor of a new file; an old one of that name is replaced."""
        with _stick_trouble():
            self.remove(name)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(name, flags, 0o644, dir_fd=self._descriptor)

    def rename(self, name: str, to: str) -> None:
        """Give a file that is whole and fsynced its name; return once the name is on the stick."""
        with _stick_trouble():
            os.rename(name, to, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            self.sync()

    def remove(self, name: str) -> None:
        """Unlink a file if it is there."""
        with _stick_trouble(), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        """Return once all names are on the stick."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that does not know this for folders
                raise

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file, which is there whole or not at all."""
        descriptor = self.create(f"{name}.tmp")
        with _stick_trouble(), os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.rename(f"{name}.tmp", name)

    def look(self, name: str) -> Manifest | None:
        """The manifest of a bundle, whichever of its two is whole; None when neither is."""
        try:
            descriptor = self.open_file(name)
        except OSError:
            return None
        try:
            return _either_manifest(descriptor)
        finally:
            os.close(descriptor)

    def bundles(self) -> list[tuple[str, Manifest | None]]:
        """The bundles that lie here with their manifests, in the order they were written."""
        names = [name for name in self.names() if _BUNDLE.fullmatch(name)]
        found = [(name, self.look(name)) for name in names[:_MOST_BUNDLES]]
        return sorted(found, key=lambda each: (each[1].made_ms, each[1].number) if each[1] else (0, 0))

    def have_of(self, hub: HubId) -> Have | None:
        """What ``hub`` said it has, if it left a sound file."""
        data = self.read(_have_name(hub), MAX_HAVE)
        try:
            return decode_have(data, hub) if data is not None else None
        except BadBundle:
            return None


def _either_manifest(descriptor: int) -> Manifest | None:
    size = os.fstat(descriptor).st_size
    for read in (_front_manifest, _back_manifest):
        try:
            return read(descriptor, size)
        except (BadBundle, OSError):
            continue
    return None


def _front_manifest(descriptor: int, _: int) -> Manifest:
    length = front_length(os.pread(descriptor, FRAME, 0))
    return decode_manifest(os.pread(descriptor, length, FRAME))


def _back_manifest(descriptor: int, size: int) -> Manifest:
    end = max(size - FRAME, 0)
    length = back_length(os.pread(descriptor, FRAME, end))
    return decode_manifest(os.pread(descriptor, length, max(end - length, 0)))


@contextmanager
def _stick_trouble() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StickTrouble(reason=error.strerror or str(error)) from error


def _have_name(hub: HubId) -> str:
    return f"{short_name(hub)}.have"


# --- writing --------------------------------------------------------------------------------------


class _Planned(NamedTuple):
    """A record that goes along, in the order in which it goes."""

    urgency: int
    ts: int
    id: bytes
    n: int
    key: SetKey
    size: int


class _PlannedFile(NamedTuple):
    sha256: str
    size: int
    sealed: bool


@dataclass(slots=True)
class _Part:
    """One bundle file while it is written, under another name."""

    descriptor: int
    name: str
    manifest: Manifest
    packer: Packer
    digests: list[bytes] = field(default_factory=list)
    sets: set[SetKey] = field(default_factory=set)
    records: int = 0
    size: int = 0


class _Writer:
    """Bundle files of a folder, one after the other, each whole before it has its name. Blocking.

    What `abandon` finds unfinished is removed.
    """

    def __init__(
        self,
        folder: _Folder,
        likeness: Manifest,
        sign: Callable[[bytes], bytes],
        chance: Callable[[int], bytes],
        segments: int,
    ) -> None:
        """``likeness`` has what all files have in common; they have ``segments`` at most, together."""
        self._folder = folder
        self._likeness = likeness
        self._sign = sign
        self._chance = chance
        self._most = min(segments, MAX_SEGMENTS - 1)
        day = datetime.fromtimestamp(likeness.made_ms / 1000, UTC).strftime("%Y%m%d")
        self._stem = f"{short_name(likeness.hub)}-{day}"
        self._part: _Part | None = None
        self.files: list[str] = []
        self.size = 0

    def records(self, records: Iterable[tuple[SetKey, WireRecord]]) -> None:
        """Put records in."""
        for key, record in records:
            part = self._open()
            part.sets.add(key)
            part.records += 1
            self._full(part, part.packer.record(record, sealed=bool(key.origin)))

    def room(self) -> int:
        """How many bytes the next chunk should have."""
        return self._open().packer.room

    def chunk(self, chunk: Chunk, *, sealed: bool) -> None:
        """Put a stretch of a file in."""
        part = self._open()
        self._full(part, part.packer.chunk(chunk, sealed=sealed))

    def finish(self) -> None:
        """Give the last file its name."""
        if self._part is not None:
            self._close(self._part)

    def abandon(self) -> None:
        """Leave no half file; those that are whole stay."""
        if self._part is not None:
            os.close(self._part.descriptor)
            with suppress(StickTrouble):
                self._folder.remove(f"{self._part.name}.tmp")

    def _open(self) -> _Part:
        if self._part is None:
            number = self._free_number()
            name = f"{self._stem}-{number}.hub"
            to = self._likeness.to
            sealed = box_for(to, self._chance(32)) if to is not None else None
            manifest = replace(
                self._likeness,
                number=number,
                first=front_room(self._likeness.sets, self._most + 1),
                public=sealed.public if sealed else self._likeness.public,
            )
            descriptor = self._folder.create(f"{name}.tmp")
            packer = Packer(sealed.box if sealed else None, manifest.length)
            self._part = _Part(descriptor, name, manifest, packer)
            with _stick_trouble():
                os.lseek(descriptor, manifest.first, os.SEEK_SET)
        return self._part

    def _free_number(self) -> int:
        taken = [found for name in self._folder.names() if (found := _BUNDLE.match(name))]
        stem = f"{self._stem}-"
        return max((int(each["number"]) for each in taken if each[0].lower().startswith(stem)), default=0) + 1

    def _full(self, part: _Part, segment: bytes | None) -> None:
        if segment is None:
            return
        self._put(part, segment)
        if len(part.digests) == self._most:
            self._close(part)

    def _put(self, part: _Part, segment: bytes) -> None:
        with _stick_trouble():
            _write_all(part.descriptor, segment)
        part.digests.append(hashlib.sha256(segment).digest())
        part.size += len(segment)

    def _close(self, part: _Part) -> None:
        rest = part.packer.rest()
        if rest:
            self._put(part, rest)
        manifest = replace(
            part.manifest,
            sets=tuple(sorted(part.sets))[:MAX_SETS],
            records=part.records,
            size=part.size,
            digests=tuple(part.digests),
        )
        signed = encode_manifest(manifest, self._sign)
        with _stick_trouble():
            _write_all(part.descriptor, back(signed))
            self.size += os.lseek(part.descriptor, 0, os.SEEK_CUR)
            os.lseek(part.descriptor, 0, os.SEEK_SET)
            _write_all(part.descriptor, front(signed))
            os.fsync(part.descriptor)
        self._part = None
        os.close(part.descriptor)
        self._folder.rename(f"{part.name}.tmp", part.name)
        self.files.append(part.name)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


# --- reading --------------------------------------------------------------------------------------


class _Reader:
    """The segments of one bundle. Blocking."""

    def __init__(self, folder: _Folder, name: str, manifest: Manifest, box: Box | None) -> None:
        """Raises OSError when it is not there any more."""
        self._manifest = manifest
        self._box = box
        self._descriptor = folder.open_file(name)

    def close(self) -> None:
        """Let it go."""
        os.close(self._descriptor)

    def entries(self, place: int) -> list[Entry]:
        """What is in a segment; raises `BadBundle` when it is damaged, OSError when it cannot be read."""
        offset, length = self._manifest.segment(place)
        segment = os.pread(self._descriptor, length, offset)
        return entries(segment, self._manifest.digests[place], self._box)


class _Parcels:
    """Files that a bundle brings, put together from its chunks, piece by piece as from any neighbour."""

    def __init__(self, fetching: Fetching, blobs: BlobStore) -> None:
        self._fetching = fetching
        self._blobs = blobs
        self._sha256 = b""
        self._errand: Errand | None = None
        self._list = bytearray()
        self._piece = bytearray()
        """What has come of a piece, from its first byte on."""
        self._at = 0
        self.arrived = 0
        """Files that are here now and were not."""

    async def take(self, chunk: Chunk) -> None:
        """The next chunk of the bundle. What nobody here waits for is passed over."""
        if chunk.sha256 != self._sha256:
            await self.end()
            self._sha256 = chunk.sha256
            self._errand = await self._fetching.offered(STICK, chunk.sha256.hex())
        if self._errand is None:
            return
        try:
            await (self._take_list if chunk.of_list else self._take_bytes)(self._errand, chunk)
        except (NotFound, WrongBytes, NoRoom):  # erased meanwhile; a lie; a card that is full
            await self._fetching.broke_off(STICK, self._errand, stalled=False)
            self._errand = None

    async def end(self) -> None:
        """No more comes of the file that came last."""
        errand, self._errand = self._errand, None
        self._sha256 = b""
        self._list.clear()
        self._piece.clear()
        self._at = 0
        if errand is None:
            return
        await self._fetching.done(STICK, errand)
        if await asyncio.to_thread(self._blobs.exists, errand.ref.sha256):
            self.arrived += 1
        else:
            await self._fetching.broke_off(STICK, errand, stalled=False)

    async def _take_list(self, errand: Errand, chunk: Chunk) -> None:
        if chunk.offset == len(self._list):
            self._list += chunk.data
        if len(self._list) >= 32 * pieces_in(errand.ref.size):
            hashes = bytes(self._list)
            self._list.clear()
            await self._fetching.take_list(errand, hashes)

    async def _take_bytes(self, errand: Errand, chunk: Chunk) -> None:
        data, size = chunk.data, errand.ref.size
        if chunk.offset != self._at:
            self._piece.clear()  # what lies between was lost
        if not self._piece:
            data = data[-chunk.offset % PIECE :]
        self._at = chunk.offset + len(chunk.data)
        self._piece += data
        number = (self._at - len(self._piece)) // PIECE
        whole = []
        while number < pieces_in(size) and len(self._piece) >= (length := length_of(size, number)):
            whole.append((number, [bytes(self._piece[:length])]))
            del self._piece[:length]
            number += 1
        if whole:
            await self._fetching.put(errand, whole)
        if number == pieces_in(size):
            await self.end()


# --- both -----------------------------------------------------------------------------------------


class Bundles:
    """`hub.services.courier.Courier`: one stick is written or read at a time."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        fetching: Fetching,
        key: Ed25519PrivateKey,
        ingest: Ingest,
        of_itself: Callable[[], Self],
        now_ms: Callable[[], int],
        chance: Callable[[int], bytes],
        segment: int = SEGMENT,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._fetching = fetching
        self._key = key
        self._hub = HubId(key.public_key().public_bytes_raw())
        self._ingest = ingest
        self._of_itself = of_itself
        self._now_ms = now_ms
        self._chance = chance
        self._segment = segment
        self._busy = asyncio.Lock()

    async def write(self, directory: Path, to: HubId | None, load: Load) -> Packed:
        """Write what ``to`` lacks, or what any hub may have, and what this hub has.

        This hub's earlier bundles for the same are replaced. Raises `NoSuchNeighbour`, `NotPaired`,
        `NeighbourPaused`, `StickFull`, and as every `Courier` does.
        """
        async with self._stick(directory, create=True) as folder:
            await self._require_no_copy()
            keys = await self._sets(to)
            have = None
            if to is not None and load.days is None:
                have = await asyncio.to_thread(folder.have_of, to)
            now_ms = self._now_ms()
            days = FIRST_DAYS if load.days is None else load.days
            since_ms = 0 if have is not None else now_ms - days * DAY_MS
            records, named = await self._plan_records(keys, have, since_ms)
            files, left_out = await self._plan_files(keys, named, have, load.largest)
            own = await self._own_have()
            segments = _segments(records, files, self._segment)
            needed = sum(each.size for each in records) + segments * _RECORD_ROOM + len(own) + _SPARE
            needed += sum(_carried(each.size) for each in files)
            free = await asyncio.to_thread(folder.free_bytes)
            if needed > free:
                raise StickFull(needed=-(-needed // 10**6), free=free // 10**6)
            likeness = Manifest(
                self._hub, to, now_ms, 0, tuple(keys)[:MAX_SETS], 0, 0, 0, (), length=self._segment
            )
            writer = _Writer(folder, likeness, self._key.sign, self._chance, segments)
            try:
                for batch in _batches(records, _READ):
                    found = await self._database.read_with(partial(_records, batch=batch))
                    await asyncio.to_thread(writer.records, found)
                carried = 0
                for each in files:
                    carried += await asyncio.to_thread(self._put_file, writer, each)
                await asyncio.to_thread(writer.finish)
            except BaseException:
                await asyncio.to_thread(writer.abandon)
                raise
            await asyncio.to_thread(self._tidy, folder, to, writer.files)
            if own:
                await asyncio.to_thread(folder.write, _have_name(self._hub), own)
            return Packed(tuple(writer.files), writer.size, len(records), carried, left_out, have is not None)

    async def read(self, directory: Path) -> list[Unpacked]:
        """Take what others' bundles bring, the oldest first."""
        async with self._stick(directory, create=False) as folder:
            await self._require_no_copy()
            found = await asyncio.to_thread(folder.bundles)
            parcels = _Parcels(self._fetching, self._blobs)  # a large file may go on in the next bundle
            try:
                return [
                    await self._read_one(folder, name, manifest, parcels)
                    for name, manifest in found
                    if manifest is None or manifest.hub != self._hub
                ]
            finally:
                await parcels.end()

    async def write_card(self, directory: Path) -> Written:
        """Write this hub's card."""
        async with self._stick(directory, create=True) as folder:
            name = short_name(self._hub) + SUFFIX
            itself, certificate = self._of_itself(), certificate_of(self._hub, self._key.sign)
            card = Card(self._hub, itself.name, itself.colour, certificate, itself.addresses, DEFAULT_CHOICES)
            data = encode_card(card, self._now_ms(), self._key.sign)
            await asyncio.to_thread(folder.write, name, data)
            return Written(folder.path / name, words_of(self._hub))

    @asynccontextmanager
    async def _stick(self, directory: Path, *, create: bool) -> AsyncIterator[_Folder]:
        if self._busy.locked():
            raise StickBusy
        async with self._busy:
            folder = await asyncio.to_thread(_Folder.open, directory, create=create)
            try:
                yield folder
            finally:
                await asyncio.to_thread(folder.close)

    async def _require_no_copy(self) -> None:
        if await self._ingest.is_copied():
            raise HubCopied

    # --- writing ----------------------------------------------------------------------------------

    async def _sets(self, to: HubId | None) -> list[SetKey]:
        """What may go to ``to``; for any hub, what the network shares."""
        if to is None:
            known = await self._database.read_with(sets.shared_sets)
            return [key for key in known if not key.origin]
        neighbour = await self._neighbour(to)
        if neighbour is None:
            raise NoSuchNeighbour(typed=short_name(to))
        if neighbour.tie not in PINNED:
            raise NotPaired(hub=neighbour.name)
        if neighbour.tie is Tie.PAUSED:
            raise NeighbourPaused(hub=neighbour.name)
        return sets_between(self._hub, to, neighbour.choices, neighbour.theirs)

    async def _neighbour(self, hub: HubId) -> Neighbour | None:
        return await self._database.read_with(lambda connection: neighbours.find(connection, hub))

    async def _plan_records(
        self, keys: Sequence[SetKey], have: Have | None, since_ms: int
    ) -> tuple[list[_Planned], set[str]]:
        """What is written since then and is not in ``have``, in order; and the files it names.

        What takes something down goes along however old it is: the other hub may still show it.
        """
        planned: list[_Planned] = []
        named: set[str] = set()
        for key in keys:
            lacking = await self._database.read_with(partial(_lacking, key=key, have=have))
            for batch in _batches(lacking, _READ):
                more, files = await self._database.read_with(
                    partial(_weigh, key=key, batch=batch, since_ms=since_ms)
                )
                planned += more
                named |= files
        return sorted(planned), named

    async def _plan_files(
        self, keys: Sequence[SetKey], named: set[str], have: Have | None, largest: int | None
    ) -> tuple[list[_PlannedFile], int]:
        """Those of the files that are here and that the hub may have, the smallest first; and how many more
        were larger than ``largest``."""
        named = named | {sha256.hex() for sha256 in (have.wanted if have else ())}
        here = await asyncio.to_thread(self._sizes, named)
        public = [key for key in keys if not key.origin]
        now_ms = self._now_ms()

        def look(connection: Connection) -> list[_PlannedFile]:
            return [
                _PlannedFile(sha256, size, not blob_notes.may_have(connection, sha256, public, now_ms))
                for sha256, size in here.items()
                if blob_notes.may_have(connection, sha256, keys, now_ms)
            ]

        files = sorted(await self._database.read_with(look), key=lambda each: (each.size, each.sha256))
        fitting = [each for each in files if largest is None or each.size <= largest]
        return fitting, len(files) - len(fitting)

    def _sizes(self, names: Iterable[str]) -> dict[str, int]:
        return {name: self._blobs.path(name).stat().st_size for name in names if self._blobs.exists(name)}

    def _put_file(self, writer: _Writer, file: _PlannedFile) -> bool:
        """Put a file in, its list first; False when it has gone meanwhile, or cannot be read."""
        name = bytes.fromhex(file.sha256)
        try:
            if pieces_in(file.size) > 1:
                hashes, at = self._blobs.pieces(file.sha256), 0
                while at < len(hashes):
                    data = hashes[at : at + writer.room()]
                    writer.chunk(Chunk(name, at, data, of_list=True), sealed=file.sealed)
                    at += len(data)
            with self._blobs.path(file.sha256).open("rb") as source:
                at = 0
                while at < file.size and (data := source.read(min(writer.room(), file.size - at))):
                    writer.chunk(Chunk(name, at, data), sealed=file.sealed)
                    at += len(data)
        except (NotFound, OSError):  # of the card; the stick's are StickTrouble
            return False
        return at == file.size

    async def _own_have(self) -> bytes:
        """This hub's ``.have`` file; empty if it would be too large for anybody to read."""
        now_ms = self._now_ms()

        def wanted(connection: Connection) -> tuple[bytes, ...]:
            found = blob_notes.wanted(connection, now_ms, _ANY_SIZE, MAX_WANTED)
            return tuple(dict.fromkeys(bytes.fromhex(each.ref.sha256) for each in found))

        held = {}
        keys = await self._database.read_with(sets.shared_sets)
        for key in keys[:MAX_SETS]:
            held[key] = await self._database.read_with(partial(_held, key=key))
        have = Have(self._hub, now_ms, held, await self._database.read_with(wanted))
        data = await asyncio.to_thread(encode_have, have, self._key.sign)
        return data if len(data) <= MAX_HAVE else b""

    def _tidy(self, folder: _Folder, to: HubId | None, new: Sequence[str]) -> None:
        """Remove what this hub left earlier: bundles for the same, whose place the new ones take, and what
        a power cut left unfinished."""
        own = f"{short_name(self._hub)}-"
        for name in folder.names():
            if not name.lower().startswith(own) or name in new:
                continue
            if _BUNDLE.fullmatch(name):
                manifest = folder.look(name)
                if manifest is not None and (manifest.hub, manifest.to) == (self._hub, to):
                    folder.remove(name)
            elif name.endswith(".tmp") and _BUNDLE.fullmatch(name.removesuffix(".tmp")):
                folder.remove(name)
        with _stick_trouble():
            folder.sync()

    # --- reading ----------------------------------------------------------------------------------

    async def _read_one(
        self, folder: _Folder, name: str, manifest: Manifest | None, parcels: _Parcels
    ) -> Unpacked:
        if manifest is None:
            return Unpacked(name, None)
        neighbour = await self._neighbour(manifest.hub)
        source = Source(manifest.hub, stick=True)
        done = Unpacked(
            name,
            manifest.hub,
            neighbour.name if neighbour else shown_name(manifest.hub, ""),
            manifest.made_ms,
            manifest.records,
            segments=len(manifest.digests),
        )
        waiting: list[WireRecord] = []
        unreadable, arrived = 0, parcels.arrived
        try:
            reader = await asyncio.to_thread(_Reader, folder, name, manifest, self._box(manifest))
        except OSError:
            return replace(done, lost=done.segments)
        try:
            for place in range(done.segments):
                try:
                    found = await asyncio.to_thread(reader.entries, place)
                except (BadBundle, OSError) as error:
                    unreadable = unreadable + 1 if isinstance(error, OSError) else 0
                    done = replace(done, lost=done.lost + 1)
                    if unreadable == _GIVE_UP:
                        done = replace(done, lost=done.lost + done.segments - place - 1)
                        break
                    continue
                unreadable = 0
                for entry in found:
                    match entry:
                        case WireRecord():
                            waiting.append(entry)
                            if len(waiting) == _BATCH or sum(each.size for each in waiting) > _BATCH_BYTES:
                                done = await self._hand_in(done, source, waiting)
                        case Closed():
                            done = replace(done, sealed=done.sealed + 1)
                        case Chunk():
                            done = await self._hand_in(done, source, waiting)
                            await parcels.take(entry)
            done = await self._hand_in(done, source, waiting)
        finally:
            await asyncio.to_thread(reader.close)
        return replace(done, blobs=parcels.arrived - arrived)

    async def _hand_in(self, done: Unpacked, source: Source, waiting: list[WireRecord]) -> Unpacked:
        """Let the records that wait go the way of all that come from others."""
        if not waiting:
            return done
        records = tuple(waiting)
        waiting.clear()
        outcome = await self._ingest.take(source, records)
        return replace(
            done,
            stored=done.stored + len(outcome.stored),
            known=done.known + outcome.known,
            waiting=done.waiting + outcome.waiting,
            refused=done.refused + len(outcome.refused),
        )

    def _box(self, manifest: Manifest) -> Box | None:
        if manifest.to != self._hub:
            return None
        try:
            return box_from(self._key, manifest.public)
        except CannotSeal:
            return None


_ANY_SIZE = 2**62


def _lacking(connection: Connection, key: SetKey, have: Have | None) -> list[tuple[bytes, int]]:
    """The records of a set, by id and place in the log, that ``have`` lacks."""
    held = have.sets.get(key) if have is not None else None
    if held is None:
        return [(item.id, n) for item, n in sets.items_since(connection, key)]
    if held.fingerprint == sets.summary(connection, key)[0]:
        return []
    return [(item.id, n) for item, n in sets.items_since(connection, key) if item.id not in held]


def _weigh(
    connection: Connection, key: SetKey, batch: Sequence[tuple[bytes, int]], since_ms: int
) -> tuple[list[_Planned], set[str]]:
    """Which records of ``batch`` go along, and the files (hex) they name."""
    planned, named = [], set()
    for record_id, n in batch:
        record = _stored(connection, key, record_id, n)
        if record is None:
            continue
        header = record.header
        if header.stamp.ms < since_ms and header.type not in ERASURES:
            continue
        size = len(record.header_bytes) + len(record.signature) + len(record.body or b"") + ENTRY_EXTRA
        planned.append(_Planned(sets.urgency_of(record), header.stamp.ms, record_id, n, key, size))
        named |= _names(record)
    return planned, named


def _records(connection: Connection, batch: Sequence[_Planned]) -> list[tuple[SetKey, WireRecord]]:
    """The records as they are now: what was erased since it was planned goes without its body."""
    found = []
    for each in batch:
        record = _stored(connection, each.key, each.id, each.n)
        if record is not None:
            found.append((each.key, WireRecord(record.header_bytes, record.signature, record.body)))
    return found


def _stored(connection: Connection, key: SetKey, record_id: bytes, n: int) -> Record | None:
    """The record at ``n`` if it is still the one with that id, and in that set."""
    wire = sets.wire(connection, n)
    if wire is None:
        return None
    record = Record(decode_header(wire.header, stored=True), wire.header, wire.signature, wire.body)
    return record if record.id == record_id and set_of(record.header) == key else None


def _names(record: Record) -> set[str]:
    """The files (hex) that a record's body names."""
    if record.body is None or record.header.type not in (RecordType.NOTICE, RecordType.FILE):
        return set()
    try:
        body = decode(record, stored=True)
    except Refused:  # of a form that only newer hubs know
        return set()
    if isinstance(body, NoticeBody):
        return {blob.sha256 for shown in body.draft.pictures for blob in (shown.full, shown.thumb)}
    if isinstance(body, FileBody):
        thumb = {body.draft.picture.thumb.sha256} if body.draft.picture else set()
        return {body.draft.blob.sha256} | thumb
    return set()


def _held(connection: Connection, key: SetKey) -> HeldSet:
    fingerprint, _ = sets.summary(connection, key)
    return HeldSet.of(fingerprint, (item.id for item, _ in sets.items_since(connection, key)))


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _carried(size: int) -> int:
    """Bytes that a file takes on a stick, with its list and all that stands around its chunks."""
    return size + 32 * pieces_in(size) + (2 * pieces_in(size) + 4) * ENTRY_EXTRA


def _segments(records: Sequence[_Planned], files: Sequence[_PlannedFile], length: int) -> int:
    """How many segments it takes at most."""
    total = sum(each.size for each in records) + sum(_carried(each.size) for each in files)
    return -(-total // max(length - _RECORD_ROOM, length // 4)) + 1
