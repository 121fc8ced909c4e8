"""Getting pictures and files that neighbours' records name: what is wanted, from whom, what gives way.

Small ones come by themselves, previews first; larger ones when somebody asks. What the scrub found broken
is asked for as well, this hub's own too. What came from others fills no more than a quota: the longest
unused gives way, and can be asked for again.

The bytes are brought by whoever calls `next_errand` for a connected neighbour (`hub.sync.blobs`); here it
is decided what is asked of whom, and nothing that is brought is believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hub.domain.errors import NoRoom, NotFound, Refused, TryLater
from hub.domain.fetching import (
    ALWAYS,
    LONE_SPAN,
    PIECE,
    SHARED_SPAN,
    Bitmap,
    Foreign,
    Manners,
    Missing,
    Untrue,
    WrongBytes,
    list_of_one,
    pieces_in,
    to_let_go,
)
from hub.domain.ids import HubId
from hub.domain.notices import BlobRef
from hub.domain.policy import DAY_MS
from hub.storage import fetching, retention, scrubs
from hub.storage.blobs import BlobStore, Reserve
from hub.storage.database import Connection, Database
from hub.storage.notices import blob_is_named
from hub.storage.partials import Chunk, Partial, Partials
from hub.words import N_

_log = logging.getLogger(__name__)

LOOK_S = 600.0
"""How often it is looked for what is broken, unused or named no more."""
MOST_ASKED = 100
"""Blobs that people may wait for at a time."""
ASKED_MS = 7 * DAY_MS
"""After so long nobody waits any more; who does may ask again."""
_QUEUE = 5_000
_HUNGRY_S, _BUSY_S = 0.2, 5.0
"""How long what is wanted is believed while there is nothing to do, and while there is."""
_PAUSE_S = 60.0
"""After the card had no room."""


class EnoughAsked(TryLater):
    """So many blobs are on their way that no more can be asked for."""

    code = "enough-asked"
    template = N_("Many files are on their way already. Nothing was changed. Ask for this one again later.")


class TooLargeToFetch(Refused):
    """A blob is larger than all that may be kept of other hubs."""

    code = "too-large-to-fetch"
    status = 413
    template = N_(
        "This file is larger than all the room that this hub has for files of other hubs. Nothing was "
        "changed. Ask the person who looks after the hub, or get it at the hub it comes from."
    )


@dataclass(frozen=True, slots=True)
class Away:
    """A blob that is not here: its size, and how many bytes of it are. ``coming``: it is to be fetched;
    ``met``: a neighbour who may have it is connected."""

    size: int
    arrived: int
    coming: bool
    met: bool


@dataclass(frozen=True, slots=True)
class Errand:
    """What a neighbour is asked for next: the list of a blob's pieces, or a span of them."""

    ref: BlobRef
    span: range
    """Empty: the list is wanted."""


@dataclass(slots=True)
class _Download:
    """A blob on its way. ``partial`` is None for one of a single piece, which is kept in memory."""

    ref: BlobRef
    bitmap: Bitmap
    partial: Partial | None
    listed: bool
    brought_by: set[HubId] = field(default_factory=set)
    list_claimed: bool = False
    finishing: bool = False


@dataclass(frozen=True, slots=True)
class _Whole:
    path: Path
    ref: BlobRef


class Fetching:
    """`run` runs forever under the supervisor. Everything else is for the pages and for those who bring."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        partials: Partials,
        hub: HubId,
        quota: Callable[[], int],
        reserve: Reserve,
        now_ms: Callable[[], int],
    ) -> None:
        """``quota`` says how many bytes of other hubs' blobs may be kept; it may block."""
        self._database = database
        self._blobs = blobs
        self._partials = partials
        self._hub = hub
        self._quota = quota
        self._reserve = reserve
        self._now_ms = now_ms
        self._manners = Manners()
        self._met: Counter[HubId] = Counter()
        self._queue: list[Missing] = []
        self._downloads: dict[BlobRef, _Download] = {}
        self._opening: set[BlobRef] = set()
        self._not_now: dict[BlobRef, float] = {}
        """Blobs that there was no room for, and until when they are left alone."""
        self._paused_until = 0.0
        self._stale = True
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self._making_room = asyncio.Lock()
        self._news = asyncio.Event()
        self._used: dict[str, int] = {}

    # --- for pages --------------------------------------------------------------------------------

    async def away(self, blobs: Collection[str]) -> dict[str, Away]:
        """Which of ``blobs`` (hex) belong to other hubs' items, or were found broken, and are not here."""
        if not blobs:
            return {}
        noted = await self._database.read_with(lambda connection: fetching.missing(connection, set(blobs)))
        if not noted:
            return {}
        gone = await asyncio.to_thread(
            lambda: [each for each in noted if not self._blobs.exists(each.ref.sha256)]
        )
        return {each.ref.sha256: self._away(each) for each in gone}

    async def want(self, sha256: str) -> None:
        """Somebody asks for a blob that is not here.

        Raises `NotFound` when nobody says what it is, `EnoughAsked` and `TooLargeToFetch`.
        """
        now_ms, quota = self._now_ms(), await asyncio.to_thread(self._quota)

        def write(connection: Connection) -> None:
            noted = fetching.missing(connection, [sha256])
            if not noted:
                raise NotFound
            if any(each.asked_ms is not None for each in noted):
                return
            if min(each.ref.size for each in noted) > quota:
                raise TooLargeToFetch
            if fetching.asked(connection) >= MOST_ASKED:
                raise EnoughAsked(seconds=600)
            fetching.ask(connection, sha256, now_ms)

        await self._database.write(write)
        self.something_was_written()

    async def want_for_neighbour(self, sha256: str) -> None:
        """A neighbour that may have a blob asks for it, and it is not here: it is fetched, to be passed on.

        Only as long as nothing has to give way for it, and those who ask here keep half of the places.
        """
        now_ms, quota = self._now_ms(), await asyncio.to_thread(self._quota)
        coming = sum(ref.size for ref in self._downloads)

        def write(connection: Connection) -> bool:
            noted = fetching.missing(connection, [sha256])
            size = max((each.ref.size for each in noted), default=0)
            if not noted or any(each.wanted for each in noted):
                return False
            if fetching.kept_bytes(connection) + coming + size > quota:
                return False
            return fetching.asked(connection) < MOST_ASKED // 2 and fetching.ask(connection, sha256, now_ms)

        if await self._database.note(write):
            self.something_was_written()

    def used(self, sha256: str) -> None:
        """Somebody has looked at a blob: if it is another hub's, it stays for longer."""
        self._used[sha256] = self._now_ms()

    # --- for those who bring ----------------------------------------------------------------------

    def something_was_written(self) -> None:
        """A commit may have named new blobs."""
        self._stale = True
        self._wake()

    def meet(self, hub: HubId) -> None:
        """A neighbour is connected, and may be asked."""
        self._met[hub] += 1
        self._manners.greet(hub)
        self._wake()

    def part(self, hub: HubId) -> None:
        """It is no longer."""
        self._met[hub] -= 1
        if self._met[hub] <= 0:
            del self._met[hub]

    async def next_errand(self, hub: HubId) -> Errand:
        """What to ask ``hub`` for next; waits until there is something. The errand ends with `done`,
        `lacks`, `lied` or `broke_off`."""
        while True:
            news = self._news
            await self._read_queue(_BUSY_S)
            errand = await self._find_errand(hub)
            if errand is None and await self._read_queue(_HUNGRY_S):
                errand = await self._find_errand(hub)
            if errand is not None:
                return errand
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause(hub)):
                    await news.wait()

    async def offered(self, giver: HubId, sha256: str) -> Errand | None:
        """``giver``, a stick, has a blob (hex): the errand for whatever it brings of it, in any order.

        None when nobody here waits for it, or there is no room. Neighbours may bring the same meanwhile.
        """
        noted = await self._database.read_with(lambda connection: fetching.missing(connection, [sha256]))
        for ref in (each.ref for each in noted if each.asked_ms is not None or not each.let_go):
            download = self._downloads.get(ref)
            if download is None and ref not in self._opening:
                download = await self._open(ref)
            if download is not None and not download.finishing:
                download.brought_by.add(giver)
                return Errand(ref, range(0))
        return None

    async def take_list(self, errand: Errand, hashes: bytes) -> None:
        """The list that an errand was for. Raises `WrongBytes`, `NotFound` (it was erased), `NoRoom`."""
        download = self._require(errand)
        assert download.partial is not None  # noqa: S101 - of blobs of one piece nobody asks for a list
        with self._pausing():
            await asyncio.to_thread(download.partial.take_list, hashes)
        download.listed = True

    async def put(self, errand: Errand, pieces: Sequence[tuple[int, Sequence[Chunk]]]) -> None:
        """Pieces of an errand's span, by number. Raises as `take_list`; those before a wrong one are kept."""
        download = self._require(errand)
        partial, bitmap = download.partial, download.bitmap
        if partial is None:
            [(_, chunks)] = pieces
            data = b"".join(chunks)
            if hashlib.sha256(data).hexdigest() != download.ref.sha256:
                raise WrongBytes
            with self._pausing():
                await asyncio.to_thread(self._blobs.keep_bytes, data)
                await self._came(download.ref)
            return

        def write() -> None:
            for piece, chunks in pieces:
                partial.put(piece, chunks)
                bitmap.add(piece)

        def sum_up() -> None:
            for piece, chunks in pieces:
                partial.sum(piece, chunks)

        summing = asyncio.get_running_loop().run_in_executor(None, sum_up)
        try:
            with self._pausing():
                await asyncio.to_thread(write)
        except BaseException:
            await asyncio.wait([summing])
            await asyncio.to_thread(partial.sum_anew)
            raise
        await summing

    async def done(self, hub: HubId, errand: Errand) -> None:
        """All of an errand was put."""
        download = self._end(hub, errand)
        if download is not None and download.partial is not None and download.bitmap.whole:
            await self._finish(download)
        self._wake()

    async def lacks(self, hub: HubId, errand: Errand) -> None:
        """``hub`` does not have it, or does not give it to us."""
        self._manners.lacks(hub, errand.ref.sha256, _now())
        await self._break_off(hub, errand)

    async def lied(self, hub: HubId, errand: Errand) -> None:
        """``hub`` sent something else, and is not asked for this blob for hours."""
        _log.warning("a neighbour sent wrong bytes", extra={"neighbour": hub.hex()[:16]})
        self._manners.lied(hub, errand.ref.sha256, _now())
        await self._break_off(hub, errand)

    async def broke_off(self, hub: HubId, errand: Errand, *, stalled: bool = True) -> None:
        """The errand ends before its time; with ``stalled`` it is ``hub`` who was too slow or left off."""
        if stalled:
            self._manners.stalled(hub, errand.ref.sha256, _now())
        await self._break_off(hub, errand)

    # --- keeping house ----------------------------------------------------------------------------

    async def begin(self) -> None:
        """Make what lies here in part fit what is missing; once, after the database was started."""
        await self._tidy()

    async def run(self) -> None:
        """Every ten minutes: ask for what is broken, note what was used, forget what is named no more."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """One round of it."""
        now_ms = self._now_ms()

        def read(connection: Connection) -> tuple[list[str], set[str]]:
            return scrubs.noted(connection), fetching.names_missing(connection)

        noted, named = await self._database.read_with(read)
        here = await asyncio.to_thread(
            lambda: {name for name in {*noted, *named} if self._blobs.exists(name)}
        )

        def write(connection: Connection) -> int:
            fetching.forget_unnamed(connection)
            fetching.forget_asking(connection, now_ms - ASKED_MS)
            for each in fetching.missing(connection, here):
                fetching.came(connection, self._hub, each.ref, now_ms)
            return fetching.expect_lost(connection, set(noted) - here, now_ms)

        if noted or named:
            if await self._database.note(write):
                _log.info("asking neighbours for what is broken or missing here")
            self.something_was_written()
        await self._tidy()
        await self._note_use()
        now = _now()
        self._not_now = {ref: until for ref, until in self._not_now.items() if until > now}
        with suppress(NoRoom):  # it is said elsewhere that the card is full
            await self._make_room(0, lost=True)

    # --- inside -----------------------------------------------------------------------------------

    async def _tidy(self) -> None:
        """Remove what lies here in part and is not missing any more."""
        begun = await asyncio.to_thread(self._partials.begun)

        def over(connection: Connection) -> list[BlobRef]:
            return [ref for ref in begun if not fetching.is_missing(connection, ref)]

        for ref in await self._database.read_with(over) if begun else ():
            await asyncio.to_thread(self._partials.remove, ref)

    def _away(self, missing: Missing) -> Away:
        download = self._downloads.get(missing.ref)
        pieces = download.bitmap.count - download.bitmap.left if download is not None else 0
        arrived = min(missing.ref.size, pieces * PIECE)
        return Away(missing.ref.size, arrived, missing.wanted, bool(self._met))

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _read_queue(self, older_s: float) -> bool:
        """Read anew what is wanted, if it may have changed and was read so long ago; whether it was."""
        async with self._reading:
            now = _now()
            if not self._stale or (self._read_at and now - self._read_at < older_s):
                return False
            self._stale, self._read_at, now_ms = False, now, self._now_ms()
            self._queue = await self._database.read_with(
                lambda connection: fetching.wanted(connection, now_ms, ALWAYS, _QUEUE)
            )
            return True

    def _pause(self, hub: HubId) -> float:
        """Seconds until it is worth looking again for something to ask ``hub`` for."""
        if self._stale:
            return _HUNGRY_S
        now = _now()
        waits = [until - now for until in (self._paused_until, *self._not_now.values()) if until > now]
        chance = self._manners.next_chance(hub, (each.ref.sha256 for each in self._queue), now)
        return max(_HUNGRY_S, min([LOOK_S, *waits, *([chance] if chance is not None else [])]))

    async def _find_errand(self, hub: HubId) -> Errand | None:
        now = _now()
        if now < self._paused_until:
            return None
        for missing in self._queue:
            ref = missing.ref
            if not self._manners.may_ask(hub, ref.sha256, now) or ref in self._opening:
                continue
            download = self._downloads.get(ref)
            if download is None and self._not_now.get(ref, 0.0) <= now:
                download = await self._open(ref)
            if download is None:
                continue
            errand = self._claim(hub, download)
            if errand is not None:
                return errand
        return None

    def _claim(self, hub: HubId, download: _Download) -> Errand | None:
        if hub in download.brought_by or download.finishing:
            return None
        if not download.listed:
            if download.list_claimed:
                return None
            download.list_claimed = True
            span = range(0)
        else:
            claimed = download.bitmap.claim(LONE_SPAN if len(self._met) < 2 else SHARED_SPAN)
            if claimed is None:
                return None
            span = claimed
        download.brought_by.add(hub)
        return Errand(download.ref, span)

    async def _open(self, ref: BlobRef) -> _Download | None:
        """Get ready for fetching ``ref``; None when there is nothing to fetch, or no room just now."""
        self._opening.add(ref)
        now_ms = self._now_ms()

        def read(connection: Connection) -> tuple[bool, bool]:
            awaited = fetching.is_missing(connection, ref) and fetching.is_awaited(
                connection, ref.sha256, now_ms
            )
            return awaited, fetching.is_own(connection, self._hub, ref.sha256)

        try:
            awaited, own = await self._database.read_with(read)
            if not awaited:
                self._drop(ref)
                return None
            if await asyncio.to_thread(self._blobs.exists, ref.sha256):
                await self._came(ref)
                return None
            known = list_of_one(ref)
            await self._make_room(ref.size, lost=own)
            if known == b"":
                await asyncio.to_thread(self._blobs.keep_bytes, b"")
                await self._came(ref)
                return None
            if known is not None:
                download = _Download(ref, Bitmap(1), None, True)
            else:
                partial = self._partials.open(ref)
                listed, here = await asyncio.to_thread(partial.resume)
                download = _Download(ref, Bitmap(pieces_in(ref.size)), partial, listed)
                for piece in here:
                    download.bitmap.add(piece)
        except (NoRoom, TooLargeToFetch):
            self._not_now[ref] = _now() + _PAUSE_S
            return None
        except Untrue:
            await self._refuse(ref)
            return None
        except NotFound:
            self._drop(ref)
            return None
        finally:
            self._opening.discard(ref)
        self._not_now.pop(ref, None)
        self._downloads[ref] = download
        if download.bitmap.whole:
            await self._finish(download)
            return None
        return download

    def _require(self, errand: Errand) -> _Download:
        download = self._downloads.get(errand.ref)
        if download is None:
            raise NotFound
        return download

    @contextmanager
    def _pausing(self) -> Iterator[None]:
        """A card without room stops all fetching for a while."""
        try:
            yield
        except NoRoom:
            self._paused_until = _now() + _PAUSE_S
            raise

    def _end(self, hub: HubId, errand: Errand) -> _Download | None:
        download = self._downloads.get(errand.ref)
        if download is not None:
            download.brought_by.discard(hub)
            download.bitmap.release(errand.span)
            if not errand.span:
                download.list_claimed = False
        return download

    async def _break_off(self, hub: HubId, errand: Errand) -> None:
        """Others may bring the rest; a blob that nobody brings is closed and lies where it is."""
        download = self._end(hub, errand)
        if download is not None and not download.brought_by and not download.finishing:
            del self._downloads[errand.ref]
            if download.partial is not None:
                await asyncio.to_thread(self._partials.leave, download.partial)
        self._wake()

    async def _finish(self, download: _Download) -> None:
        """Make a blob of one whose pieces are all here."""
        if download.finishing or download.partial is None:
            return
        download.finishing = True
        partial, ref = download.partial, download.ref
        try:
            with self._pausing():
                await asyncio.to_thread(partial.finish)
                await asyncio.to_thread(self._blobs.settle, _Whole(partial.path, ref))
                await self._came(ref, partial.hashes)
        except Untrue:
            await self._refuse(ref)
        except (NotFound, FileNotFoundError):  # it was erased meanwhile
            self._drop(ref)
        except NoRoom:
            self._downloads.pop(ref, None)
            self._not_now[ref] = _now() + _PAUSE_S
            await asyncio.to_thread(self._partials.leave, partial)
        else:
            await asyncio.to_thread(self._partials.discard, ref.sha256)

    async def _came(self, ref: BlobRef, hashes: bytes = b"") -> None:
        """Note that a blob is here; remove it again if it was erased while it came."""
        now_ms = self._now_ms()

        def write(connection: Connection) -> bool:
            named = self._is_needed(connection, ref.sha256)
            if named:
                fetching.came(connection, self._hub, ref, now_ms, hashes)
            else:
                fetching.forget(connection, [ref.sha256])
            return named

        def remove(connection: Connection) -> None:
            if not self._is_needed(connection, ref.sha256):
                self._blobs.remove(ref.sha256)

        if not await self._database.write(write):
            await self._database.maintain(remove)
        self._drop(ref)

    async def _refuse(self, ref: BlobRef) -> None:
        await self._database.note(lambda connection: fetching.refuse(connection, ref))
        await asyncio.to_thread(self._partials.discard, ref.sha256)
        self._drop(ref)

    def _drop(self, ref: BlobRef) -> None:
        """It is not to be fetched any more."""
        self._downloads.pop(ref, None)
        self._not_now.pop(ref, None)
        self._queue = [each for each in self._queue if each.ref.sha256 != ref.sha256]

    def _is_needed(self, connection: Connection, sha256: str) -> bool:
        return blob_is_named(connection, sha256) or sha256 in retention.other_blobs(connection)

    # --- room -------------------------------------------------------------------------------------

    async def _make_room(self, size: int, *, lost: bool) -> None:
        """Let the longest unused go until ``size`` bytes more fit the quota and the card.

        ``lost``: they are this hub's own, which have no quota. Raises `TooLargeToFetch`, `NoRoom`.
        """
        async with self._making_room:
            quota = await asyncio.to_thread(self._quota)
            if size > quota and not lost:
                raise TooLargeToFetch
            await self._note_use()
            used = await self._database.read_with(fetching.kept_bytes)
            coming = 0 if lost else size + sum(ref.size for ref in self._downloads)
            short = max(used + coming - quota, await asyncio.to_thread(self._short_of, size))
            if short > 0:
                await self._let_go(used, used - short)
                await asyncio.to_thread(self._blobs.require_room, self._reserve, size)
                if await self._database.read_with(fetching.kept_bytes) + coming > quota:
                    raise NoRoom

    def _short_of(self, size: int) -> int:
        """Bytes that the card lacks for ``size`` more beside the reserve."""
        return self._reserve.of(self._blobs.size_bytes()) + size - self._blobs.free_bytes()

    async def _let_go(self, used: int, room: int) -> None:
        """Remove the longest unused of other hubs until they fill ``room`` bytes, in the writer's thread."""
        now_ms = self._now_ms()

        def work(connection: Connection) -> int:
            leaving: list[Foreign] = []
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                held = retention.other_blobs(connection)
                for each in to_let_go(fetching.kept(connection), used, room):
                    if each.sha256 in held or fetching.is_own(connection, self._hub, each.sha256):
                        fetching.keep(connection, each.sha256)
                    else:
                        fetching.let_go(connection, each.sha256, now_ms)
                        leaving.append(each)
            for each in leaving:
                self._blobs.remove(each.sha256)
            return len(leaving)

        if count := await self._database.maintain(work):
            _log.info("blobs of other hubs gave way", extra={"count": count})

    async def _note_use(self) -> None:
        used, self._used = self._used, {}
        if used:
            await self._database.note(lambda connection: fetching.use(connection, used.items()))


def _now() -> float:
    """Seconds of the loop's clock, which only runs forward."""
    return asyncio.get_running_loop().time()
