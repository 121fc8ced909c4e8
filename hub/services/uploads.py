"""Files on their way in: by a form in one go, or in pieces that survive a dark screen and a power cut.

Everything lies in one folder until it is put up (hub/services/fileshare.py) or given up. What a device
is told has arrived is on the card and in a committed row; whatever goes wrong after that is cut off again.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

from hub.domain.errors import HubError, NotFound, Refused
from hub.domain.files import file_name
from hub.domain.policy import FilePolicy
from hub.services.authorship import Authorship
from hub.storage import traces
from hub.storage import uploads as rows
from hub.storage.blobs import BlobStore, Reserve
from hub.storage.database import Connection, Database
from hub.storage.incoming import Arrived, Incoming, Promised, agree
from hub.storage.uploads import Upload
from hub.words import N_

BATCH = 1024 * 1024
"""Bytes that go to a thread at once: it hashes and writes them while the next ones come."""
_SMALLEST_BATCH = 64 * 1024
_IN_MEMORY = 32 * 1024 * 1024
"""What all that come at once may take together; a crowd gets smaller batches."""
_COPIES = 4
"""Batches of each: one in the thread, one that is collected, two that wait to be read."""
ACKNOWLEDGE_S = 5.0
"""How often a long stretch without a checksum is promised on its way: what a cut may cost."""
THREADS = 4
NICENESS = 10
OPEN_FILES = 64
"""Uploads that are kept open between two pieces; others are read again from their start."""
STOPPED_MS = 3_600_000
"""An upload that has not moved for so long has stopped: its room may be freed."""
_HOUR_MS = 3_600_000
_MB = 1_000_000
_UNLIMITED = sys.maxsize

T = TypeVar("T")


class UploadGone(NotFound):
    """No upload has this token, or another device has it."""

    code = "upload-gone"
    template = N_("What had arrived of this file is no longer here. Choose the file again.")


class UploadBusy(Refused):
    """Another request is still adding to this upload."""

    code = "upload-busy"
    status = 409
    template = N_(
        "This file is still arriving over another connection. Nothing was changed. Go on in a moment."
    )


class OffsetDiffers(Refused):
    """The piece does not begin where the upload ends; ``offset`` is where it does."""

    code = "offset-differs"
    status = 409
    template = N_("The hub has {offset} bytes of this file. Nothing was changed. Go on from there.")


class PieceDamaged(Refused):
    """The piece has another CRC-32 than it was sent with."""

    code = "piece-damaged"
    status = 400
    template = N_("This piece of the file was damaged on its way and was not kept. Send it again.")


class LengthDiffers(Refused):
    """What comes is longer, or what is said to be complete is shorter, than was said at the beginning."""

    code = "length-differs"
    status = 400
    template = N_(
        "What was sent is not as long as was said at the beginning, which was {size} bytes. "
        "Choose the file again; perhaps it was changed meanwhile."
    )


class FileTooLarge(Refused):
    """One file is larger than the hub takes."""

    code = "file-too-large"
    status = 413
    template = N_("The hub takes files of up to {megabytes} MB. Nothing was put up. Choose a smaller one.")


class Unfinished(Refused):
    """A file that is to be put up has not arrived in full."""

    code = "upload-unfinished"
    status = 409
    template = N_("“{name}” has not arrived in full. Choose the same file again, and it goes on from there.")


class BrokenOff(Refused):
    """The connection ended before its request did; raised by what hands bytes to `Uploads.append`."""

    code = "broken-off"
    status = 400
    template = N_("The connection broke. What has arrived is kept. Choose the same file again to go on.")


@dataclass(frozen=True, slots=True)
class Begun:
    """A new upload, and the device's cookie from now on."""

    upload: Upload
    cookie: str


@dataclass(frozen=True, slots=True)
class Taken:
    """An upload that is whole, to be put up under ``name``."""

    token: str
    name: str
    arrived: Arrived


@dataclass(frozen=True, slots=True)
class Stopped:
    """An upload nobody goes on with, and how many bytes of the card it takes."""

    token: str
    size: int


class Receiving:
    """One file, or a piece of one, while it comes: batches go to a thread, the next is collected meanwhile.

    Use `write`, then `complete`, or at any moment `discard`; from one task.
    """

    def __init__(self, uploads: Uploads, path: Path, incoming: Incoming | None = None) -> None:
        self.path = path
        self.size = 0
        """Bytes that were handed to `write`."""
        self.crc32 = 0
        """Of these bytes, once `flush` has returned; only where ``checked`` is set."""
        self.checked = False
        self.arrived: Arrived | None = None
        """Set by `complete`."""
        self._uploads = uploads
        self._incoming = incoming
        self._batch: list[bytes] = []
        self._waiting = 0
        self._at_work: asyncio.Future[Incoming] | asyncio.Future[Arrived] | None = None

    async def write(self, data: bytes) -> None:
        """Append ``data``. Raises NoRoom for this or an earlier call."""
        if data:
            self._batch.append(data)
            self._waiting += len(data)
            self.size += len(data)
        if self._waiting >= self._uploads.batch():
            await self._hand_over()

    async def flush(self) -> None:
        """Return once everything is written. Raises NoRoom."""
        if self._batch:
            await self._hand_over()
        await self._wait()

    async def complete(self) -> Arrived:
        """The whole file, once it is on the card. Raises NoRoom."""
        await self._wait()
        batch = self._collected()
        self._at_work = finishing = self._uploads.start(lambda: self._finish(batch))
        self.arrived = await asyncio.shield(finishing)
        return self.arrived

    async def discard(self) -> None:
        """Close and remove the file, also while it is being written."""
        await self.stop()
        await self._uploads.in_thread(self._throw_away)

    async def stop(self) -> None:
        """Return once no thread is at work on it any more, whatever came of that."""
        self._collected()
        if self._at_work is not None:
            await asyncio.wait([self._at_work])
            self._at_work.exception()
            self._at_work = None

    async def _hand_over(self) -> None:
        await self._wait()
        batch = self._collected()
        self._at_work = self._uploads.start(lambda: self._work(batch))

    def _collected(self) -> list[bytes]:
        batch, self._batch, self._waiting = self._batch, [], 0
        return batch

    async def _wait(self) -> None:
        # A cancelled request must not leave a thread behind that writes after the file was removed.
        if self._at_work is not None:
            await asyncio.shield(self._at_work)
            self._at_work = None

    def _work(self, batch: list[bytes]) -> Incoming:
        self._uploads.require_room(sum(map(len, batch)))
        incoming = self._incoming
        if incoming is None:
            incoming = self._incoming = Incoming.begin(self.path)
        incoming.write(batch)
        if self.checked:
            for data in batch:
                self.crc32 = zlib.crc32(data, self.crc32)
        return incoming

    def _finish(self, batch: list[bytes]) -> Arrived:
        incoming = self._work(batch)
        arrived = incoming.finish()
        incoming.close()
        return arrived

    def _throw_away(self) -> None:
        if self._incoming is not None:
            self._incoming.discard()


def _step_back() -> None:
    """Let this thread, which sums and writes large files, wait for the one that answers pages."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Uploads:
    """Call `recover` before anything else, and `close` at the end."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        blobs: BlobStore,
        reserve: Reserve,
        authorship: Authorship,
        policy: Callable[[], FilePolicy],
        now_ms: Callable[[], int],
        chance: Callable[[int], bytes],
    ) -> None:
        """``folder`` lies on the file system of ``blobs`` and is the hub's own; its parent exists."""
        self._database = database
        self._folder = folder
        self._blobs = blobs
        self._reserve = reserve
        self._authorship = authorship
        self._policy = policy
        self._now_ms = now_ms
        self._chance = chance
        self._busy: set[str] = set()
        self._open: OrderedDict[str, Incoming] = OrderedDict()
        self._receiving: WeakSet[Receiving] = WeakSet()
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, "hub-uploads", _step_back)
        """Its own: a slow card must not keep pages from the threads that they need."""

    # --- from start to end ------------------------------------------------------------------------

    async def recover(self) -> None:
        """Make rows and files agree again after whatever ended the hub. Raises NoRoom.

        A file is cut to what was promised. Files without rows are removed, rows without their bytes too.
        """
        known = await self._database.read_with(rows.every)
        promised = {each.token: Promised(each.offset, whole=each.ref is not None) for each in known}
        lost = await self.in_thread(lambda: agree(self._folder, promised))
        if lost:
            await self._database.write(lambda connection: _drop(connection, lost))

    async def close(self) -> None:
        """Let all files go. Nothing may be receiving any more."""
        self._closing.set()
        for incoming in self._open.values():
            await self.in_thread(incoming.close)
        self._open.clear()
        await asyncio.to_thread(self._pool.shutdown)

    async def forget_stale(self, now_ms: int) -> int:
        """Drop uploads that have not moved for the policy's hours; answers how many those were."""
        stale = await self._unmoved(now_ms - self._policy().upload_hours * _HOUR_MS)
        await self.drop(stale)
        if await self._database.read_with(lambda connection: rows.brought_before(connection, now_ms)):
            await self._database.write(lambda connection: rows.forget_brought(connection, now_ms))
        return len(stale)

    async def stopped(self) -> list[Stopped]:
        """Uploads nobody goes on with, whose room may be freed."""
        return await self._unmoved(self._now_ms() - STOPPED_MS)

    async def drop(self, stopped: Sequence[Stopped]) -> None:
        """Remove ``stopped`` uploads."""
        await self._remove([each.token for each in stopped])

    # --- what may come ----------------------------------------------------------------------------

    def require_room(self, size: int = 0) -> None:
        """Raise NoRoom unless ``size`` bytes more leave the reserve free. Blocking."""
        self._blobs.require_room(self._reserve, size)

    def room_on_card(self) -> int:
        """Bytes that uploads may still fill. Blocking."""
        return max(0, self._blobs.free_bytes() - self._reserve.of(self._blobs.size_bytes()))

    def left_today(self, connection: Connection, device: bytes | None, now_ms: int) -> int:
        """Bytes that the device may still bring today, what it has begun taken off."""
        left = rows.left_today(connection, self._policy(), device, now_ms, begun=True).bytes
        return _UNLIMITED if left is None else left

    def require_allowance(
        self, connection: Connection, device: bytes | None, size: int, files: int, now_ms: int
    ) -> None:
        """Raise unless the device may put up ``files`` files of ``size`` bytes together today.

        Raises EnoughBytesToday, EnoughFilesToday. For the transaction that puts them up, where uploads
        that have only begun do not count.
        """
        left = rows.left_today(connection, self._policy(), device, now_ms, begun=False)
        rows.require_allowance(left, size, files, now_ms)

    def count(self, connection: Connection, device: bytes, size: int, now_ms: int) -> None:
        """A file of ``size`` bytes was put up by the device; once for each file, in its transaction."""
        rows.count(connection, device, size, now_ms)

    def forget(self, connection: Connection, token: str) -> None:
        """An upload was put up, in this transaction; its file is the caller's to unlink after it."""
        rows.drop(connection, token)

    async def expect(self, cookie: str | None, size: int) -> None:
        """Raise unless a form with files of ``size`` bytes may come from the device, before it is read.

        Raises NoRoom, EnoughBytesToday, EnoughFilesToday.
        """
        now, device = self._now_ms(), self._authorship.device_hash(cookie)
        policy = self._policy()
        left = await self._database.read_with(
            lambda connection: rows.left_today(connection, policy, device, now, begun=True)
        )
        rows.require_allowance(left, size, 1, now)
        await asyncio.to_thread(self.require_room, size)

    # --- in one go --------------------------------------------------------------------------------

    def new_file(self) -> Receiving:
        """A new file that comes in one go, say with a form. It is the caller's, and gone after a restart."""
        return self._received(Receiving(self, self._folder / self._chance(16).hex()))

    async def receive(self, body: AsyncIterable[bytes], length: int | None = None) -> Arrived:
        """The whole of ``body``, a file that is the caller's.

        Raises NoRoom (before the first byte where ``length`` says that it is too much), LengthDiffers, and
        what ``body`` raises.
        """
        await asyncio.to_thread(self.require_room, length or 0)
        receiving = self.new_file()
        try:
            async for data in body:
                await receiving.write(data)
            if length is not None and receiving.size != length:
                raise LengthDiffers(size=length)
            return await receiving.complete()
        except BaseException:
            await receiving.discard()
            raise

    def read_ahead(self) -> int:
        """Bytes that are worth having at hand before they are asked for."""
        return self.batch()

    # --- in pieces --------------------------------------------------------------------------------

    async def begin(self, cookie: str | None, name: str, size: int) -> Begun:
        """An upload of ``size`` bytes that have yet to come; the name is cleaned.

        Raises FileTooLarge, NoRoom, EnoughBytesToday, EnoughFilesToday, PostingPaused, DevicePaused,
        TryLater (many new devices).
        """
        policy, now = self._policy(), self._now_ms()
        if policy.largest and size > policy.largest:
            raise FileTooLarge(megabytes=policy.largest // _MB)
        await asyncio.to_thread(self.require_room, size)
        token, owner = self._chance(16).hex(), cookie or self._authorship.fresh_cookie()
        incoming = await self.in_thread(lambda: Incoming.begin(self._path(token), lasting=True))

        def write(connection: Connection) -> Upload:
            device = self._authorship.meet(connection, owner)
            self._authorship.must_wait(device)
            left = rows.left_today(connection, policy, device.hash, now, begun=True)
            rows.require_allowance(left, size, 1, now)
            upload = Upload(token, device.hash, file_name(name), size, 0, now)
            rows.add(connection, upload)
            return upload

        try:
            upload = await self._database.write(write)
            if size == 0:
                upload = await self._acknowledge(upload, incoming)
            else:
                await self._keep_open(token, incoming)
        except BaseException:
            await self.in_thread(incoming.discard)
            raise
        return Begun(upload, owner)

    async def standing(self, token: str, cookie: str | None) -> Upload:
        """How an upload stands; to whoever has no cookie, the token is enough. Raises UploadGone."""
        device = self._authorship.device_hash(cookie)
        upload = await self._database.read_with(lambda connection: rows.find(connection, token))
        if upload is None or (device and upload.device and upload.device != device):
            raise UploadGone
        return upload

    async def append(
        self,
        token: str,
        cookie: str | None,
        offset: int,
        read: Callable[[], Awaitable[bytes]],
        *,
        length: int | None = None,
        complete: bool = False,
        crc32: int | None = None,
    ) -> Upload:
        """Append what ``read`` gives until ``b""``, and return how the upload stands, which is promised.

        ``offset`` is where the piece begins; ``length`` its bytes, if known; ``complete`` says that the
        file ends with it; ``crc32`` is checked before any of it counts. ``read`` raises a `Refused` when
        its client is gone: without ``crc32`` what came until then is kept and promised.

        Raises UploadGone, UploadBusy, OffsetDiffers, LengthDiffers, PieceDamaged, NoRoom, and what
        ``read`` raises.
        """
        if token in self._busy:
            await self.standing(token, cookie)
            raise UploadBusy
        self._busy.add(token)
        try:
            upload = await self.standing(token, cookie)
            if offset != upload.offset:
                raise OffsetDiffers(offset=upload.offset)
            end = upload.offset + (length or 0)
            if end > upload.size or (complete and length is not None and end != upload.size):
                raise LengthDiffers(size=upload.size)
            if upload.ref is not None:
                return upload
            await asyncio.to_thread(self.require_room, length or 0)
            return await self._append(upload, read, complete, crc32)
        finally:
            self._busy.discard(token)

    async def cancel(self, token: str, cookie: str | None) -> None:
        """Give an upload up. Raises UploadGone."""
        await self.standing(token, cookie)
        await self._remove([token])

    async def take(self, tokens: Sequence[str], cookie: str | None) -> list[Taken]:
        """The whole uploads of ``tokens``, each once, in that order, to be put up.

        They stay until `forget` is committed, so that a form that is refused can be sent again.
        Raises UploadGone, Unfinished.
        """
        taken = []
        for token in dict.fromkeys(tokens):
            upload = await self.standing(token, cookie)
            if upload.ref is None:
                raise Unfinished(name=upload.name)
            path = self._path(token)
            if not await asyncio.to_thread(path.is_file):
                raise UploadGone
            taken.append(Taken(token, upload.name, Arrived(path, upload.ref, upload.crc32)))
        return taken

    async def keep(self, arrived: Arrived, name: str, cookie: str | None) -> Taken:
        """Make a whole upload of a `new_file` of a form that was refused, so that it need not come again."""
        token, now = arrived.path.name, self._now_ms()
        device = self._authorship.device_hash(cookie)
        upload = Upload(token, device, file_name(name), arrived.ref.size, 0, now)

        def write(connection: Connection) -> None:
            rows.add(connection, upload)
            rows.finish(connection, token, arrived.ref, arrived.crc32, now)

        await self._database.write(write)
        return Taken(token, upload.name, arrived)

    # --- inside -----------------------------------------------------------------------------------

    def batch(self) -> int:
        """Bytes that each of those that come now may collect before it hands them over."""
        return max(_SMALLEST_BATCH, min(BATCH, _IN_MEMORY // (_COPIES * (len(self._receiving) or 1))))

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Begin ``work`` in a thread for uploads."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """What ``work`` gives; it runs to its end even if nobody waits for it any more."""
        return await asyncio.shield(self.start(work))

    async def _append(
        self, upload: Upload, read: Callable[[], Awaitable[bytes]], complete: bool, crc32: int | None
    ) -> Upload:
        incoming = await self._opened(upload)
        receiving = self._received(Receiving(self, incoming.path, incoming))
        receiving.checked = crc32 is not None
        try:
            return await self._pour(upload, incoming, receiving, read, complete, crc32)
        except HubError:
            await receiving.stop()
            await self._rewind(upload.token, incoming)
            raise
        except BaseException:
            await receiving.stop()
            self._open.pop(upload.token, None)
            await self.in_thread(incoming.close)
            raise

    async def _pour(
        self,
        upload: Upload,
        incoming: Incoming,
        receiving: Receiving,
        read: Callable[[], Awaitable[bytes]],
        complete: bool,
        crc32: int | None,
    ) -> Upload:
        clock = asyncio.get_running_loop().time
        promised, begun = clock(), upload.offset
        stopped: Refused | None = None
        while True:
            try:
                data = await read()
            except Refused as error:
                stopped = error
                break
            if not data:
                break
            if begun + receiving.size + len(data) > upload.size:
                raise LengthDiffers(size=upload.size)
            await receiving.write(data)
            if crc32 is None and clock() - promised >= ACKNOWLEDGE_S:
                await receiving.flush()
                upload = await self._acknowledge(upload, incoming)
                promised = clock()
        await receiving.flush()
        if crc32 is not None and (stopped or receiving.crc32 != crc32):
            raise stopped or PieceDamaged
        upload = await self._acknowledge(upload, incoming)
        if stopped:
            raise stopped
        if complete and upload.ref is None:
            raise LengthDiffers(size=upload.size)
        return upload

    async def _acknowledge(self, upload: Upload, incoming: Incoming) -> Upload:
        """Put on the card what was written, then the row that says so; the whole file with its names."""
        now, token, offset = self._now_ms(), upload.token, incoming.offset
        if upload.ref is not None:
            return upload
        if offset == upload.size:
            arrived = await self.in_thread(incoming.finish)
            upload = replace(upload, offset=offset, at_ms=now, ref=arrived.ref, crc32=arrived.crc32)
            kept = await self._database.note(
                lambda connection: rows.finish(connection, token, arrived.ref, arrived.crc32, now)
            )
        elif offset > upload.offset:
            await self.in_thread(incoming.sync)
            upload = replace(upload, offset=offset, at_ms=now)
            kept = await self._database.note(lambda connection: rows.advance(connection, token, offset, now))
        else:
            return upload
        if not kept:
            self._open.pop(token, None)
            await self.in_thread(incoming.discard)
            raise UploadGone
        incoming.hold()
        if upload.ref is not None:
            self._open.pop(token, None)
            await self.in_thread(incoming.close)
        return upload

    async def _rewind(self, token: str, incoming: Incoming) -> None:
        """Take back what was not promised; let go of what cannot be taken back, or trusted."""
        if self._open.get(token) is not incoming:
            return
        try:
            await self.in_thread(incoming.rewind)
        except (HubError, OSError):
            del self._open[token]
            await self.in_thread(incoming.close)
            if incoming.failed:
                with suppress(HubError):
                    await self._remove([token])

    async def _opened(self, upload: Upload) -> Incoming:
        """The file as far as it was promised, open: kept so, or read again from its start."""
        token = upload.token
        incoming = self._open.pop(token, None)
        if incoming is None:
            path = self._path(token)
            opening = self.start(lambda: Incoming.resume(path, upload.offset, self._closing))
            try:
                incoming = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close)
                raise
            except NotFound:
                await self._remove([token])
                raise UploadGone from None
        await self._keep_open(token, incoming)
        return incoming

    async def _keep_open(self, token: str, incoming: Incoming) -> None:
        self._open[token] = incoming
        for other in list(self._open):
            if len(self._open) <= OPEN_FILES:
                break
            if other not in self._busy and other != token:
                await self.in_thread(self._open.pop(other).close)

    def _received(self, receiving: Receiving) -> Receiving:
        self._receiving.add(receiving)
        return receiving

    def _path(self, token: str) -> Path:
        return self._folder / token

    async def _unmoved(self, before_ms: int) -> list[Stopped]:
        found = await self._database.read_with(lambda connection: rows.unmoved(connection, before_ms))
        return [Stopped(each.token, each.offset) for each in found if each.token not in self._busy]

    async def _remove(self, tokens: Sequence[str]) -> None:
        """Rows first, then files; one that is being added to goes when its request finds the row gone."""
        if not tokens:
            return
        await self._database.write(lambda connection: _drop(connection, tokens))
        for token in tokens:
            incoming = self._open.get(token)
            if token in self._busy and incoming is not None:
                continue
            if incoming is not None:
                del self._open[token]
                await self.in_thread(incoming.close)
            await self.in_thread(partial(self._path(token).unlink, missing_ok=True))


def _drop(connection: Connection, tokens: Sequence[str]) -> None:
    traces.leave(connection)
    for token in tokens:
        rows.drop(connection, token)


def _close(opening: asyncio.Future[Incoming]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
