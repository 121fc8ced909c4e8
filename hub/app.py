"""The composition root: the only place that builds the parts of a hub and joins them."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

from hub import __version__
from hub import settings as files
from hub.api.admin import AdminApi
from hub.api.advice import AdviceApi
from hub.api.courier import CourierApi
from hub.api.neighbours import NeighboursApi
from hub.api.problems import problem
from hub.api.public import PublicApi
from hub.api.socket import AdminSocket
from hub.discovery.announce import Announcement, Announcer
from hub.discovery.interfaces import interface_addresses
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.errors import HubError, NoRoom
from hub.domain.ids import Epoch, HubId
from hub.domain.naming import host_labels, host_name, printed_addresses, sure_label
from hub.domain.neighbours import Address
from hub.domain.timekeeping import ClockReading, Timekeeper
from hub.neighbourhood import Neighbourhood, bound_or_free
from hub.runtime import systemd
from hub.runtime.content import Ask
from hub.runtime.routing import Route
from hub.runtime.supervise import Fatal, Supervisor
from hub.runtime.system_clock import SystemClock
from hub.services.advising import Advising
from hub.services.authorship import Authorship
from hub.services.caretaking import Caretaking
from hub.services.checks.arrivals import ArrivalsCheck
from hub.services.checks.blobs import BlobsCheck
from hub.services.checks.copies import CopiesCheck
from hub.services.checks.desk import DeskCheck
from hub.services.checks.names import NamesCheck
from hub.services.checks.neighbours import NeighboursCheck
from hub.services.checks.room import RoomCheck
from hub.services.checks.time import TimeCheck
from hub.services.checks.traces import TracesCheck
from hub.services.checks.writing import WritingCheck
from hub.services.erasure import Eraser
from hub.services.fetching import Fetching
from hub.services.filekeeping import FileKeeping
from hub.services.fileshare import BOX_DESCRIPTION, BOX_TITLE, FileShare
from hub.services.finding import Finding
from hub.services.health import Health, Standing
from hub.services.housekeeping import Housekeeping
from hub.services.identity import Identity, KeyUnreadable, load_or_create
from hub.services.ingest import Ingest
from hub.services.limits import Gate
from hub.services.neighbours import Neighbours
from hub.services.noticeboard import Noticeboard
from hub.services.pictures import PictureLimits, PictureMaker
from hub.services.preferences import Preferences
from hub.services.proving import Prover
from hub.services.receipts import Receipts, SelfPortrait
from hub.services.reporting import Reporting
from hub.services.scrubbing import Scrubbing
from hub.services.upkeep import Upkeep
from hub.services.uploads import Uploads
from hub.settings import Settings
from hub.storage import decisions, journal
from hub.storage.ballast import START_BYTES, Ballast
from hub.storage.blobs import NOTICES, BlobStore, Reserve
from hub.storage.database import Connection, Database, is_full
from hub.storage.journal import Pen
from hub.storage.partials import Partials
from hub.sync.bundle import Bundles
from hub.sync.exchange import Self
from hub.sync.station import Station
from hub.web.connections import ConnectionLimits, GuardedServer, fast_parser_present
from hub.web.forms import FormLimits, Staging
from hub.web.house import Facts, House
from hub.web.pages.about import About, Introduction
from hub.web.pages.asking import Asking
from hub.web.pages.away import Away
from hub.web.pages.files import Files
from hub.web.pages.neighbours import NearBy
from hub.web.pages.posting import Posting
from hub.web.pages.reading import Reading
from hub.web.pages.slips import Slips
from hub.web.pages.telling import Telling
from hub.web.pages.uploads import Uploading
from hub.web.rendering import Renderer
from hub.web.richtext import RichText
from hub.web.server import PageHandler, Site, Visit
from hub.web.views import Banner
from hub.words import N_
from hub.words.catalogues import Catalogues, find_zone

_log = logging.getLogger(__name__)

STOP_S = 4.0
"""How long running requests may take to finish when the hub stops."""
AFTER_FAILURE_S = 60.0
"""After a failed commit the hub only reads for this long, then ends, so that its next start reads the
truth from the disk (reliability.md 7)."""
SWITCH_S = 0.0005
"""For which a thread keeps the interpreter while another wants it. Python's own 5 ms would be waited for
several times by each page while records of a neighbour are taken in."""
ROOM_AGE_S = 30.0


class AlreadyRunning(HubError):
    """Another hub has the data folder."""

    code = "already-running"
    status = 503
    template = N_("A hub is already running with the data folder {path}. Nothing was changed.")


class NoRoomToStart(HubError):
    """The disk of the data folder is full to the last byte."""

    code = "no-room-to-start"
    status = 507
    template = N_(
        "There is no room left on the disk of the data folder {path}, and the hub needs {megabytes} MB to "
        "start. Nothing was changed. Remove something else from that disk, then start again."
    )


class FolderUnusable(HubError):
    """The data folder is no folder, belongs to somebody else, or its disk is read-only."""

    code = "folder-unusable"
    status = 503
    template = N_(
        "The hub cannot use the data folder {path} ({reason}). Nothing was changed. "
        "Name another one, or let the hub's user write in it."
    )


class Clock(Protocol):
    """Both clocks of the machine, or of a test."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def monotonic(self) -> float:
        """Seconds that only run forward."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies in a data folder."""

    root: Path

    @property
    def settings(self) -> Path:
        """The one TOML file."""
        return self.root / "hub.toml"

    @property
    def key(self) -> Path:
        """The hub's Ed25519 private key."""
        return self.root / "key"

    @property
    def database(self) -> Path:
        """SQLite."""
        return self.root / "hub.db"

    @property
    def socket(self) -> Path:
        """The admin API."""
        return self.root / "run" / "admin.sock"

    @property
    def ballast(self) -> Path:
        """Room that is given up when the database has none left."""
        return self.root / "ballast"

    @property
    def uploads(self) -> Path:
        """Files on their way in."""
        return self.root / "uploads"

    @property
    def fetching(self) -> Path:
        """Blobs of other hubs that are here in part."""
        return self.root / "fetching"

    @property
    def lock(self) -> Path:
        """Held by the hub that runs."""
        return self.root / "lock"


@dataclass(slots=True)
class Foundation:
    """What is read or opened before anything runs; all of it blocking."""

    places: Places
    settings: Settings
    identity: Identity
    blobs: BlobStore
    ballast: Ballast
    database: Database
    catalogues: Catalogues
    renderer: Renderer
    changed: dict[str, str]
    last: Stamp
    lock: int


def lay_foundation(
    data: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    clock: Clock,
    chance: Callable[[int], bytes],
    committed: Callable[[], None],
) -> Foundation:
    """Open or create everything in the data folder. Blocking: call it in a thread.

    Raises a `HubError` that says what is wrong: settings, key, database, another hub, a full disk.
    """
    places = Places(data)
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderUnusable(path=data, reason=error.strerror) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise AlreadyRunning(path=data) from error
    try:
        settings = files.load(places.settings, environ, flags)
        if places.database.exists() and not places.key.exists():
            raise KeyUnreadable(path=places.key)  # a new key would make another hub of it
        identity = load_or_create(places.key, chance)
        blobs, ballast = BlobStore(data), Ballast(places.ballast)
        lent = blobs.free_bytes() < START_BYTES and ballast.free()
        blobs.open()
        database = Database.open(places.database, clock.now_ms(), __version__, committed, ballast)
        changed, last = database.prepare(lambda connection: _found(connection, identity.hub, chance))
        if lent:
            ballast.take_back()
        colour = changed.get("hub.house_colour", settings.hub.house_colour)
        return Foundation(
            places=places,
            settings=settings,
            identity=identity,
            blobs=blobs,
            ballast=ballast,
            database=database,
            catalogues=Catalogues.load(time_zone=settings.hub.time_zone),
            renderer=Renderer(colour),
            changed=changed,
            last=last,
            lock=lock,
        )
    except OSError as error:
        os.close(lock)
        raise FolderUnusable(path=data, reason=error.strerror) from error
    except NoRoom as error:
        os.close(lock)
        if not is_full(error):
            raise
        raise NoRoomToStart(path=data, megabytes=START_BYTES // 1024**2) from error
    except BaseException:
        os.close(lock)
        raise


def _found(
    connection: Connection, hub: HubId, chance: Callable[[int], bytes]
) -> tuple[dict[str, str], Stamp]:
    journal.found(connection, hub, Epoch(chance(8)))
    return decisions.settings(connection), journal.last_stamp(connection)


class Hub:
    """A hub, built and ready to start. `Hub.open`, then `serve` until cancelled."""

    def __init__(
        self,
        foundation: Foundation,
        clock: Clock,
        chance: Callable[[int], bytes],
        committed: list[Callable[[], None]],
    ) -> None:
        self._foundation = foundation
        self._clock = clock
        self._chance = chance
        self._settings = settings = foundation.settings
        self.database = database = foundation.database
        self.identity = identity = foundation.identity
        self.blobs = blobs = foundation.blobs
        self._time = Timekeeper(clock.now_ms, clock.monotonic, foundation.last)
        self._now_ms, self._quality = self._time.now_ms, self._time.quality
        self._started_ms = clock.now_ms()
        self._announcement = Announcement()
        self._hosts: frozenset[str] = frozenset()
        self._known_addresses: frozenset[str] = frozenset()
        self._port = settings.web.port
        self._free = (0, 1)
        self._free_at = -ROOM_AGE_S
        self._zone = find_zone(settings.hub.time_zone)
        self._failed = asyncio.Event()

        self.preferences = preferences = Preferences(settings, foundation.changed, self._forget)
        gate = Gate(clock.monotonic)
        reserve = Reserve(  # whatever the settings say, files leave room for words
            settings.storage.reserve_percent / 100,
            max(settings.storage.reserve_megabytes * 1_000_000, NOTICES.least * 3 // 2),
        )
        authorship = Authorship(identity, gate, self._pen, chance, preferences.policy)
        self.board = board = Noticeboard(
            database,
            authorship,
            identity.hub,
            self._pen,
            chance,
            preferences.policy,
            self._zone,
            blobs.exists,
            lambda: blobs.require_room(NOTICES),
        )
        self.reporting = Reporting(database, authorship, identity, self._now_ms, chance)
        self.finding = Finding(database, self._now_ms)
        self.uploads = Uploads(
            database,
            foundation.places.uploads,
            blobs,
            reserve,
            authorship,
            preferences.file_policy,
            self._now_ms,
            chance,
        )
        self._pictures = PictureMaker(blobs, blobs.staging, PictureLimits(reserve=reserve))
        self.share = FileShare(
            database,
            blobs,
            self.uploads,
            self._pictures,
            authorship,
            identity.hub,
            self._pen,
            chance,
            preferences.policy,
            preferences.file_policy,
            lambda: blobs.require_room(NOTICES),
        )
        rich = cache(RichText)  # made for the first notice that is opened: it costs as much as the board
        self._house = house = House(
            board,
            identity.hub,
            self._facts,
            preferences.current.hub.house_colour,
            self._now_ms,
            foundation.renderer,
            rich,
            self._zone,
        )
        partials = Partials(foundation.places.fetching)
        self.fetching = Fetching(
            database,
            blobs,
            partials,
            identity.hub,
            lambda: blobs.size_bytes() * settings.neighbours.files_percent // 100,
            reserve,
            self._now_ms,
        )
        eraser = Eraser(database, blobs, partials, house.forget_texts)
        self.caretaking = Caretaking(
            database, eraser, self._pen, chance, lambda: preferences.current.board.rules
        )
        self.housekeeping = Housekeeping(
            database,
            blobs,
            foundation.ballast,
            eraser,
            self.uploads,
            self.share,
            identity.hub,
            self._pen,
            preferences.policy,
        )
        self.filekeeping = FileKeeping(
            database,
            blobs,
            self.share,
            self.uploads,
            eraser,
            identity.hub,
            self._pen,
            chance,
            lambda: preferences.current.hub.language,
        )
        self._prover = Prover()
        self.ingest = Ingest(database, eraser, self._pen, chance, prove=self._prover.prove)
        self.neighbours = Neighbours(
            database, eraser, identity.hub, lambda: self.name, self._now_ms, self._heed_clock
        )
        self.advising = Advising(database, self.caretaking, self.neighbours, identity.hub, self._pen, chance)
        self.bundles = Bundles(
            database,
            blobs,
            self.fetching,
            identity.key,
            self.ingest,
            self._of_itself,
            self._now_ms,
            chance,
        )
        self.receipts = Receipts(database, identity.hub, self._pen, chance, self._portrait)
        self.upkeep = Upkeep(database, blobs)
        self.scrubbing = Scrubbing(database, blobs, self._pen)
        self.health = Health(
            [
                WritingCheck(database),
                RoomCheck(blobs, foundation.ballast, reserve, NOTICES.least),
                BlobsCheck(database, blobs),
                TracesCheck(database, self._now_ms),
                TimeCheck(self._quality),
                NamesCheck(lambda: self._announcement.sentence, lambda: list(self._announcement.names)),
                DeskCheck(database, self._now_ms),
                CopiesCheck(database),
                ArrivalsCheck(database),
                NeighboursCheck(self.neighbours, self._now_ms),
            ],
            self._standing,
        )
        site = self._build_site(house, board, chance, clock)
        self._site = site
        committed += [
            site.something_was_written,
            self.housekeeping.something_was_written,
            self.fetching.something_was_written,
            self.advising.something_was_written,
            self._news,
        ]
        database.when_failed(self._failed.set)
        self._server = GuardedServer(
            site.handle,
            ConnectionLimits(
                connections=settings.web.connections,
                heads_per_address=settings.web.heads_per_address,
                head_s=settings.web.head_seconds,
                idle_s=settings.web.idle_seconds,
            ),
        )
        admin = AdminApi(
            self.caretaking,
            self.health,
            preferences,
            self.upkeep,
            self.filekeeping,
            self.scrubbing,
            self.receipts,
            self._now_ms,
        )
        self._socket = AdminSocket(
            foundation.places.socket,
            [
                *admin.endpoints(),
                *NeighboursApi(self.neighbours, self.ingest).endpoints(),
                *CourierApi(self.bundles, self.neighbours).endpoints(),
                *AdviceApi(self.advising, self._now_ms).endpoints(),
            ],
        )
        self._announcer: Announcer | None = None
        self._neighbourhood: Neighbourhood | None = None

    @classmethod
    async def open(
        cls,
        data: Path,
        *,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> Hub:
        """Open (or found) the hub of a data folder. Raises `HubError` with what is wrong."""
        clock = clock or SystemClock()
        committed: list[Callable[[], None]] = []

        def tell() -> None:
            for each in committed:
                each()

        foundation = await asyncio.to_thread(
            lay_foundation, data, environ or {}, flags or {}, clock, chance, tell
        )
        hub = cls(foundation, clock, chance, committed)
        await hub.database.start()
        await hub.uploads.recover()
        await hub.fetching.begin()
        await hub.neighbours.finish_removals()
        return hub

    @property
    def name(self) -> str:
        """What people call it."""
        return self._settings.hub.name

    @property
    def port(self) -> int:
        """Where the pages are served."""
        return self._port

    def addresses(self) -> list[str]:
        """Addresses to open, the best for people first: by name, then by number."""
        port = "" if self._port == 80 else f":{self._port}"
        if self._loopback_only:
            return [f"http://{self._settings.web.listen}{port}"]
        names = list(self._announcement.names[:1])
        numbers = [f"[{ip}]" if ":" in ip else ip for ip in self._announcement.addresses]
        return [f"http://{host}{port}" for host in (*names, *numbers)] or [f"http://localhost{port}"]

    def expected_names(self) -> list[str]:
        """Addresses by name that will be announced in a moment, while none has been yet."""
        if self._announcer is None or not self._settings.discovery.announce or self._loopback_only:
            return []
        port = "" if self._port == 80 else f":{self._port}"
        return (
            [f"http://{host_name(host_labels(self.name)[0])}{port}"] if not self._announcement.names else []
        )

    async def start(self) -> None:
        """Listen for residents and caretakers."""
        sys.setswitchinterval(SWITCH_S)
        if not fast_parser_present():
            _log.warning("aiohttp has no C parser here; requests cost several times as much")
        bound = await asyncio.to_thread(_bind, self._settings.web.listen, self._settings.web.port)
        self._port = bound.getsockname()[1]
        await self._look_around()
        await self._found_share()
        await self._server.listen(bound)
        await self._socket.start()
        if self._settings.neighbours.listen:
            self._neighbourhood = Neighbourhood(
                self._build_station, self.identity.hub, self.neighbours, self._now_ms, self._clock.monotonic
            )
            await self._neighbourhood.station.begin()
        self._announcer = Announcer(
            name=self.name,
            hub=self.identity.hub,
            port=self._port,
            version=__version__,
            on_change=self._announced,
            sync_port=self._neighbourhood.station.port if self._neighbourhood else None,
            protocol=self._neighbourhood.protocol if self._neighbourhood else None,
            finder=self._neighbourhood.finder if self._neighbourhood else None,
            loopback_only=self._loopback_only or not self._settings.discovery.announce,
        )
        systemd.notify("READY=1")
        _log.info("started", extra={"port": self._port})

    async def serve(self) -> None:
        """Keep every long-running part going until cancelled, then stop in order. Raises `Fatal`."""
        supervisor = Supervisor(random.random, self._clock.monotonic)
        supervisor.add("index", self.housekeeping.index_in_batches)
        supervisor.add("housekeeping", self.housekeeping.keep_house)
        supervisor.add("scrub", self.scrubbing.run_monthly)
        supervisor.add("fetching", self.fetching.run)
        supervisor.add("status", self.receipts.keep_current)
        supervisor.add("arrivals", self.ingest.look_after)
        supervisor.add("advice", self.advising.run)
        supervisor.add("erasures", self.ingest.finish_erasures)
        supervisor.add("disk failure", self._end_after_failure)
        if self._announcer is not None:
            supervisor.add("announcing", self._announcer.run)
        if self._neighbourhood is not None:
            supervisor.add("neighbours", self._neighbourhood.station.run)
        if systemd.watchdog_seconds():
            supervisor.add("watchdog", self._feed_watchdog)
        try:
            await supervisor.run()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Accept nothing more, finish what runs, close. Under five seconds in all; a stage that fails or
        takes too long does not keep the next from its turn."""
        systemd.notify("STOPPING=1")
        for name, stage, seconds in (
            ("neighbours", self._leave_neighbours(), 1.0),
            ("pages", self._server.stop(STOP_S), STOP_S + 0.5),
            ("socket", self._socket.stop(), 0.3),
            ("data", self.close(), 10.0),
        ):
            try:
                async with asyncio.timeout(seconds):
                    await stage
            except Exception:
                _log.exception("stopping went wrong", extra={"task": name})
        _log.info("stopped")

    async def _leave_neighbours(self) -> None:
        if self._neighbourhood is not None:
            await self._neighbourhood.station.close()

    async def close(self) -> None:
        """Close the database and let the data folder go; for hubs that were opened and never started."""
        await self.uploads.close()
        await self._prover.close()
        await self.database.close()
        if await asyncio.to_thread(self.blobs.free_bytes) < 2 * START_BYTES:
            with suppress(NoRoom):  # a closed database needs less room, and the next start wants it back
                await asyncio.to_thread(self._foundation.ballast.take_back)
        os.close(self._foundation.lock)

    # --- building ---------------------------------------------------------------------------------

    def _build_site(
        self,
        house: House,
        board: Noticeboard,
        chance: Callable[[int], bytes],
        clock: Clock,
    ) -> Site:
        settings, preferences, blobs = self._settings, self.preferences, self.blobs
        slips = Slips(clock.monotonic, chance)
        away = Away(self.fetching, house)
        reading = Reading(board, self.share, self.finding, house, blobs, away, slips)
        largest = settings.limits.picture_megabytes * 1024 * 1024
        posting = Posting(
            board,
            self._pictures,
            house,
            reading,
            slips,
            Staging(blobs.staging, lambda: chance(16).hex()),
            FormLimits(file=largest, body=4 * largest + 1024 * 1024),
            preferences.policy,
            chance,
        )
        telling = Telling(board, self.share, self.reporting, self.caretaking, house, posting)
        sharing = Files(self.share, self.uploads, house, posting, blobs, away, slips, preferences.policy)
        asking = Asking(self.fetching, board, self.share, posting)
        uploading = Uploading(self.uploads, preferences.file_policy)
        near_by = NearBy(self.neighbours, house)
        about = About(house, preferences.policy, self._introduction, self._is_well)
        public = PublicApi(
            board,
            __version__,
            lambda: self.name,
            lambda: self.addresses()[0],
            lambda: preferences.current.hub.language,
            house.origin_names,
        )

        def page(call: Callable[[Ask], object]) -> PageHandler:
            async def handle(visit: Visit):  # type: ignore[no-untyped-def]
                try:
                    return await call(Ask(visit.names, visit.query))  # type: ignore[misc]
                except HubError as error:
                    return problem(error, visit.words.translate(error.template, **error.fields))

            return handle

        endpoints = [Route(item.method, item.path, page(item.call)) for item in public.endpoints()]
        return Site(
            [
                *endpoints,
                *posting.routes(),
                *telling.routes(),
                *asking.routes(),
                *sharing.routes(),
                *uploading.routes(),
                *about.routes(),
                *near_by.routes(),
                *reading.routes(),
            ],
            about,
            self._foundation.catalogues,
            lambda: self._hosts,
            self._now_ms,
            lambda: preferences.current.hub.language,
        )

    def _build_station(self, around: Neighbourhood) -> Station:
        settings = self._settings
        listen = settings.neighbours.address or settings.web.listen
        return Station(
            self.identity,
            self.database,
            self.blobs,
            self.neighbours,
            self.ingest,
            self.fetching,
            self._of_itself,
            around.places_of,
            lambda port: bound_or_free(lambda wanted: _bind(listen, wanted), port),
            (settings.neighbours.port, settings.neighbours.pairing_port),
            self._pairing_opened,
            self._now_ms,
            self._clock.monotonic,
            self._chance,
            settings.neighbours.sessions,
        )

    async def _found_share(self) -> None:
        """A new hub begins with one collection that is open to everybody."""
        lang = self.preferences.current.hub.language
        words = self._foundation.catalogues[lang]
        with suppress(NoRoom):  # a full card is no reason not to start; the next start tries again
            await self.share.found(words.gettext(BOX_TITLE), words.gettext(BOX_DESCRIPTION), lang)

    # --- facts ------------------------------------------------------------------------------------

    @property
    def _loopback_only(self) -> bool:
        listen = self._settings.web.listen
        return listen.startswith("127.") or listen in ("::1", "localhost")

    def _pen(self) -> Pen:
        return Pen(self.identity.sign, self._now_ms(), self._quality())

    def _heed_clock(self, hub: HubId, reading: ClockReading | None) -> int | None:
        before = self._quality()
        ahead_ms = self._time.heed(hub, reading)
        if self._quality() is not before:
            self._forget()  # pages say when something was, and whether the time is known
        return ahead_ms

    async def _facts(self) -> Facts:
        await self._measure_room()
        hub, addresses = self.preferences.current.hub, self.addresses()
        banners = []
        if self.preferences.current.board.posting == "paused":
            banners.append(Banner.PAUSED)
        if self._free[0] < NOTICES.of(self._free[1]) or self.database.failed is not None:
            banners.append(Banner.DISK_FULL)
        if self._quality() is TimeQuality.UNKNOWN:
            banners.append(Banner.TIME_UNCERTAIN)
        return Facts(
            name=self.name,
            colour=hub.house_colour,
            address=addresses[0],
            other_addresses=tuple(addresses[1:3]),
            caretaker=hub.caretaker,
            banners=tuple(banners),
            language=hub.language,
        )

    async def _measure_room(self) -> None:
        now = self._clock.monotonic()
        if now - self._free_at >= ROOM_AGE_S:
            self._free_at = now
            self._free = await asyncio.to_thread(lambda: (self.blobs.free_bytes(), self.blobs.size_bytes()))

    def _introduction(self) -> Introduction:
        hub, board = self.preferences.current.hub, self.preferences.current.board
        agreed = datetime.fromisoformat(board.rules_date).replace(hour=12, tzinfo=UTC)
        return Introduction(
            rules=board.rules,
            rules_version=board.rules_version,
            rules_ms=int(agreed.timestamp() * 1000),
            opening=hub.opening,
            contact=hub.contact,
            controller=hub.controller,
        )

    async def _standing(self) -> Standing:
        await self._measure_room()
        return Standing(
            name=self.name,
            hub=self.identity.public_id(),
            version=__version__,
            addresses=tuple(self.addresses()),
            posting=self.preferences.current.board.posting,
            started_ms=self._started_ms,
            free_bytes=self._free[0],
        )

    def _of_itself(self) -> Self:
        around = self._neighbourhood
        port = around.station.port if around else self._settings.neighbours.port
        hosts = (
            [self._settings.neighbours.address or self._settings.web.listen]
            if self._loopback_only
            else self._announcement.addresses
        )
        return Self(
            self.name,
            self.preferences.current.hub.house_colour,
            self._quality(),
            tuple(Address(host, port) for host in hosts),
        )

    def _portrait(self) -> SelfPortrait:
        return SelfPortrait(self.name, self.preferences.current.hub.house_colour, __version__)

    def _is_well(self) -> bool:
        return self.database.failed is None and self.blobs.failed is None

    def _news(self) -> None:
        if self._neighbourhood is not None:
            self._neighbourhood.station.exchange.something_was_written()

    def _forget(self) -> None:
        self._site.something_was_written()

    # --- network ----------------------------------------------------------------------------------

    async def _look_around(self) -> None:
        found = await interface_addresses()
        self._known_addresses = frozenset(each.ip for each in found)
        self._announcement = Announcement(addresses=printed_addresses(found))
        self._learn_hosts()

    def _announced(self, announcement: Announcement) -> None:
        self._announcement = announcement
        self._learn_hosts()
        self._site.something_was_written()
        if self._neighbourhood is not None:
            self._neighbourhood.station.exchange.network_changed()

    def _pairing_opened(self, port: int | None) -> None:
        if self._announcer is not None:
            self._announcer.open_pairing(port)

    def _learn_hosts(self) -> None:
        own = (host_name(host_labels(self.name)[0]), host_name(sure_label(self.identity.hub)))
        self._hosts = frozenset(
            host.lower().removesuffix(".")
            for host in (
                "localhost",
                "127.0.0.1",
                "::1",
                "hub.home.arpa",
                *own,
                *self._announcement.names,
                *self._announcement.addresses,
                *self._known_addresses,
                *self._settings.web.hosts,
            )
        )

    # --- jobs -------------------------------------------------------------------------------------

    async def _end_after_failure(self) -> None:
        """A disk that can be read only is read from for as long as it is so: a start would fail."""
        await self._failed.wait()
        _log.critical("writing failed; reading goes on for a minute, then the hub starts again")
        await asyncio.sleep(AFTER_FAILURE_S)
        while await asyncio.to_thread(self.blobs.is_read_only):  # noqa: ASYNC110 - no event tells of a mount
            await asyncio.sleep(AFTER_FAILURE_S)
        raise Fatal(75, "the disk reported an error")

    async def _feed_watchdog(self) -> None:
        seconds = systemd.watchdog_seconds() or 30.0
        while True:
            await self.database.touch()
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(seconds / 3)


def _bind(listen: str, port: int) -> socket.socket:
    """A TCP socket on ``listen`` (empty: every IPv4 and IPv6 address of the machine). Blocking."""
    if listen:
        family = socket.AF_INET6 if ":" in listen else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
    elif socket.has_dualstack_ipv6():
        bound = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listen = "::"
    else:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listen = "0.0.0.0"  # noqa: S104 - residents come from the local network
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listen, port))
    except OSError as error:
        bound.close()
        raise PortTaken(port=port, reason=error.strerror or "") from error
    return bound


class PortTaken(HubError):
    """The port cannot be listened on."""

    code = "port-taken"
    status = 503
    template = N_(
        "The hub cannot listen on port {port} ({reason}). Nothing was changed. Choose another with --port."
    )
