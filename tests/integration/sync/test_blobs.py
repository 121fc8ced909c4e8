"""Pictures and files come from neighbours piece by piece, and only to those who may have them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from hub.app import Hub
from hub.domain.errors import NoRoom
from hub.domain.fetching import PIECE
from hub.domain.files import Collection as Shelf
from hub.domain.files import File
from hub.domain.ids import HubId, ObjectId
from hub.domain.notices import BlobRef, Kind, NoticeDraft, Picture, Scope
from hub.domain.records import Stream, verify
from hub.domain.sharing import DEFAULT_CHOICES, Choice, Choices, SetKey, sets_between
from hub.runtime.routing import Match, Router
from hub.services import fetching as service
from hub.services.fetching import EnoughAsked, TooLargeToFetch
from hub.services.publishing import publish_notice, retract
from hub.storage import journal, notices, projections, traces
from hub.storage.database import Connection
from hub.storage.partials import Partial
from hub.sync.blobs import Fetcher, Giving, over
from hub.sync.listener import Call
from hub.sync.transport import Caller
from tests.integration.conftest import HallClock, Street
from tests.integration.sync.halls import Hall, open_hall
from tests.integration.web.test_file_pages import Phone

MB = 1024 * 1024
DAY_MS = 86_400_000
TANYARD_ROAD = HubId(b"t" * 32)


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that compress to nothing less."""
    return random.Random(seed).randbytes(size)


def list_of(data: bytes) -> bytes:
    """The hashes of its pieces."""
    return b"".join(hashlib.sha256(data[at : at + PIECE]).digest() for at in range(0, len(data), PIECE))


@dataclass(slots=True)
class Place:
    """A hub that others ask for blobs, over plain HTTP; ``lie`` may answer in its stead.

    ``sent`` counts the bytes of ranges that were asked for, by blob, ``asked`` the requests.
    """

    street: Street
    giving: Giving
    choices: Choices = field(default_factory=lambda: dict(DEFAULT_CHOICES))
    url: str = ""
    lie: Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse | None]] | None = None
    asked: list[str] = field(default_factory=list)
    askers: HubId = TANYARD_ROAD
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end: for lies that leave others waiting."""

    @property
    def hub(self) -> HubId:
        return self.street.hub.identity.hub

    async def exchanged(self, hub: HubId) -> Collection[SetKey]:
        return sets_between(self.hub, hub, self.choices, DEFAULT_CHOICES)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.lie is not None:
            lie = await self.lie(request, request.path)
            if lie is not None:
                return lie
        found = Router(self.giving.routes()).find(request.method, request.path)
        assert isinstance(found, Match)
        return await found.handler(Call(self.askers, "", found.names, request))

    async def offers(
        self, name: str, data: bytes, *, scope: str = "network", shelf: Shelf | None = None
    ) -> File:
        """A file that the hub shares."""
        street = self.street
        shelf = shelf or await street.shelf(f"Shelf of {name}", scope=scope, may_add="everyone")
        receipt = await street.person("Ann").adds(shelf, (name, data))
        return await street.hub.share.bytes_of(receipt.lines[0].public_id)

    async def shows(self, title: str, *pictures: bytes) -> ObjectId:
        """A notice with pictures (their thumbnails are the first 300 bytes of each)."""
        hub, made = self.street.hub, []
        for data in pictures:
            full = await asyncio.to_thread(hub.blobs.keep_bytes, data)
            thumb = await asyncio.to_thread(hub.blobs.keep_bytes, data[:300])
            made.append(Picture(full, 800, 600, thumb, 80, 60, f"What {title} shows"))
        now = self.street.clock.ms
        draft = NoticeDraft(
            Kind.NEWS, title, "Look.", "en", Scope.NETWORK, now + 9 * DAY_MS, pictures=tuple(made)
        )
        obj = ObjectId(hashlib.sha256(title.encode()).digest()[:16])
        await hub.database.write(
            lambda connection: publish_notice(connection, hub._pen(), obj, draft, bytes(16))
        )
        return obj


async def tell(there: Street, here: Street) -> None:
    """All that one hub's log has comes to another."""
    rows = await there.rows("SELECT header, signature, body FROM record ORDER BY n")

    def learn(connection: Connection) -> None:
        for row in rows:
            logged = journal.append(connection, verify(*row), here.clock.ms)
            projections.refresh(connection, logged.record.header.obj)

    await here.hub.database.write(learn)


@asynccontextmanager
async def served(place: Place) -> AsyncIterator[None]:
    """``place`` on a port of loopback."""
    server = web.Server(place.answer, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        place.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield
    finally:
        place.closing.set()
        await runner.cleanup()


def place_of(street: Street) -> Place:
    """A street's hub as others ask it."""
    hub = street.hub
    place = Place(street, None)  # type: ignore[arg-type]
    place.giving = Giving(
        hub.database, hub.blobs, place.exchanged, street.clock.now_ms, hub.fetching.want_for_neighbour
    )
    return place


Open = Callable[..., Awaitable[Place]]


@pytest_asyncio.fixture
async def places(
    tmp_path: Path, hall_clock: HallClock, random_bytes: Callable[[int], bytes]
) -> AsyncIterator[Open]:
    """``await places("mill-lane")``: a hub of that name that others can ask."""
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Place:
            hub = await Hub.open(tmp_path / name, clock=hall_clock, chance=random_bytes)
            stack.push_async_callback(hub.close)
            street = Street(hub, hall_clock, tmp_path / name)
            place = place_of(street)
            await stack.enter_async_context(served(place))
            return place

        yield opened


@pytest_asyncio.fixture
async def mill_lane(places: Open) -> Place:
    """A neighbour."""
    return await places("mill-lane")


@asynccontextmanager
async def fetching(
    street: Street, *places: Place, patience_s: float = 5.0, lanes: int = 4
) -> AsyncIterator[Fetcher]:
    """The street's hub fetches from ``places`` meanwhile."""
    fetcher = Fetcher(street.hub.fetching, patience_s=patience_s, lanes=lanes)
    timeout = aiohttp.ClientTimeout(None)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(fetcher.run_with(place.hub, over(session, place.url))) for place in places]
        yield fetcher
        for task in tasks:
            task.cancel()


async def until(true: Callable[[], bool | Awaitable[object]], within_s: float = 8.0) -> None:
    """Return once what ``true`` says, or what it waits for gives, is true."""
    async with asyncio.timeout(within_s):
        while not (said if isinstance(said := true(), bool) else await said):  # noqa: ASYNC110 - as a page asks
            await asyncio.sleep(0.01)


async def here(street: Street, *blobs: str, within_s: float = 8.0) -> None:
    """Return once all of ``blobs`` are in the street's store, and noted."""

    def all_here() -> bool:
        return all(street.hub.blobs.exists(blob) for blob in blobs)

    async def nothing_away() -> bool:
        return await asyncio.to_thread(all_here) and not await street.hub.fetching.away(blobs)

    await until(nothing_away, within_s)


async def content(street: Street, blob: str) -> bytes:
    """The bytes of a blob."""
    return await asyncio.to_thread(street.hub.blobs.read, blob)


def first_byte(request: web.BaseRequest) -> int:
    """Where the range that is asked for begins."""
    found = re.fullmatch(r"bytes=(\d+)-\d+", request.headers["Range"])
    assert found
    return int(found[1])


# --- what comes, and when ----------------------------------------------------------------------------


async def test_pictures_come_by_themselves_and_large_files_when_somebody_asks(
    street: Street, mill_lane: Place
) -> None:
    await mill_lane.shows("The fete", noise(900_000), noise(80_000, 2))
    film = await mill_lane.offers("film.mp4", noise(3 * MB))
    leaflet = await mill_lane.offers("leaflet.pdf", noise(300_000, 3))
    await tell(mill_lane.street, street)
    pictures = [row[0].hex() for row in await street.rows("SELECT sha256 FROM blob_use WHERE own = 0")]
    away = await street.hub.fetching.away([*pictures, film.blob.sha256, leaflet.blob.sha256])
    assert {blob for blob, each in away.items() if not each.coming} == {film.blob.sha256}
    async with fetching(street, mill_lane):
        await here(street, *pictures, leaflet.blob.sha256)
        assert not any(film.blob.sha256 in path for path in mill_lane.asked)
        await street.hub.fetching.want(film.blob.sha256)
        await here(street, film.blob.sha256)
    assert await content(street, film.blob.sha256) == noise(3 * MB)
    kept = {row[0].hex() for row in await street.rows("SELECT sha256 FROM foreign_blob")}
    assert kept == {*pictures, film.blob.sha256, leaflet.blob.sha256}
    assert await street.table("missing_blob") == []
    assert list((street.data / "fetching").iterdir()) == []


async def test_previews_come_before_everything_else(street: Street, mill_lane: Place) -> None:
    leaflet = await mill_lane.offers("leaflet.pdf", noise(700_000, 3))
    await mill_lane.shows("The fete", noise(200_000))
    await tell(mill_lane.street, street)
    async with fetching(street, mill_lane, lanes=1):
        await here(street, leaflet.blob.sha256, hashlib.sha256(noise(200_000)).hexdigest())
    thumb = hashlib.sha256(noise(200_000)[:300]).hexdigest()
    assert mill_lane.asked[0] == f"/v1/blobs/{thumb}"


async def test_a_blob_of_one_piece_costs_one_request_and_a_longer_one_two(
    street: Street, mill_lane: Place
) -> None:
    small = await mill_lane.offers("small.txt", noise(PIECE))
    large = await mill_lane.offers("large.txt", noise(4 * PIECE))
    await tell(mill_lane.street, street)
    async with fetching(street, mill_lane) as fetcher:
        await here(street, small.blob.sha256, large.blob.sha256)
        assert Counter(mill_lane.asked) == {
            f"/v1/blobs/{small.blob.sha256}": 1,
            f"/v1/blobs/{large.blob.sha256}/pieces": 1,
            f"/v1/blobs/{large.blob.sha256}": 1,
        }
        assert fetcher.traffic.bytes == 5 * PIECE + 4 * 32
        assert fetcher.traffic.requests == 3


async def test_what_a_commit_names_later_is_fetched_at_once(street: Street, mill_lane: Place) -> None:
    async with fetching(street, mill_lane):
        file = await mill_lane.offers("rota.txt", b"Monday: Ann")
        await tell(mill_lane.street, street)
        await here(street, file.blob.sha256, within_s=3)


async def test_a_blob_that_is_here_already_is_not_asked_for(street: Street, mill_lane: Place) -> None:
    await street.person("Bo").adds(await street.shelf(may_add="everyone"), ("mine.txt", noise(5000)))
    theirs = await mill_lane.offers("theirs.txt", noise(5000))
    other = await mill_lane.offers("other.txt", noise(6000))
    await tell(mill_lane.street, street)
    assert await street.hub.fetching.away([theirs.blob.sha256]) == {}
    async with fetching(street, mill_lane):
        await here(street, other.blob.sha256)
    assert not any(theirs.blob.sha256 in path for path in mill_lane.asked)
    await street.hub.fetching.look()
    kept = [row[0].hex() for row in await street.rows("SELECT sha256 FROM foreign_blob")]
    assert kept == [other.blob.sha256]


async def test_an_empty_file_of_another_hub_is_here_without_asking(street: Street, mill_lane: Place) -> None:
    file = await mill_lane.offers("empty.txt", b"")
    await tell(mill_lane.street, street)
    async with fetching(street, mill_lane):
        await here(street, file.blob.sha256)
    assert mill_lane.asked == []


async def test_only_so_many_blobs_may_be_waited_for(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_ASKED", 1)
    one, two = [await mill_lane.offers(f"{n}.mp4", noise(2 * MB, n)) for n in (1, 2)]
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(one.blob.sha256)
    await street.hub.fetching.want(one.blob.sha256)
    with pytest.raises(EnoughAsked):
        await street.hub.fetching.want(two.blob.sha256)


async def test_after_a_week_nobody_waits_any_more(street: Street, mill_lane: Place) -> None:
    film = await mill_lane.offers("film.mp4", noise(2 * MB))
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    street.clock.pass_time(days=6)
    await street.hub.fetching.look()
    [away] = (await street.hub.fetching.away([film.blob.sha256])).values()
    assert away.coming
    street.clock.pass_time(days=2)
    await street.hub.fetching.look()
    [away] = (await street.hub.fetching.away([film.blob.sha256])).values()
    assert not away.coming


# --- being cut off -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_after_a_kill_at_most_one_piece_is_fetched_again(street: Street, mill_lane: Place) -> None:
    data = noise(8 * MB)
    film = await mill_lane.offers("film.mp4", data)
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    folder = street.data.with_name("killed")
    await asyncio.to_thread(_copy, street.data, folder)
    half, reached = 5 * MB + 1000, asyncio.Event()
    ranges: list[tuple[int, int]] = []

    async def stop_half_way(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        if path.endswith("/pieces"):
            return None
        start = first_byte(request)
        ranges.append((start, len(data)))
        if reached.is_set():
            return None
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        )
        response.content_length = len(data) - start
        await response.prepare(request)
        await response.write(data[start:half])
        reached.set()
        await mill_lane.closing.wait()
        return response

    mill_lane.lie = stop_half_way
    command = [sys.executable, "-m", "tests.integration.sync.fetching_hub"]
    arguments = [str(folder), mill_lane.url, film.blob.sha256]
    child = await asyncio.create_subprocess_exec(*command, *arguments, stdout=asyncio.subprocess.PIPE)
    await reached.wait()
    whole = half // PIECE
    await until(lambda: asyncio.to_thread(lambda: _begun(folder) >= whole * PIECE))
    child.kill()
    await child.wait()
    child = await asyncio.create_subprocess_exec(*command, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await child.communicate()
    assert said == b"here\n"
    again = half - ranges[1][0]
    assert 0 <= again <= PIECE
    assert ranges[1:] == [(whole * PIECE, len(data))]
    assert mill_lane.asked.count(f"/v1/blobs/{film.blob.sha256}/pieces") == 1
    kept = folder / "blobs" / film.blob.sha256[:2] / film.blob.sha256
    assert await asyncio.to_thread(kept.read_bytes) == data


def _copy(there: Path, copy: Path) -> None:
    shutil.copytree(there, copy, ignore=shutil.ignore_patterns("lock", "run"))


def _begun(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "fetching").iterdir() if path.suffix != ".list")


async def test_what_was_damaged_in_a_power_cut_is_fetched_again_and_nothing_else(
    street: Street, mill_lane: Place
) -> None:
    data = noise(8 * PIECE)
    film = await mill_lane.offers("film.mp4", data)
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    partial = street.hub.fetching._partials.open(film.blob)

    def lay_out() -> None:
        partial.take_list(list_of(data))
        for piece in range(6):
            partial.put(piece, [data[piece * PIECE : (piece + 1) * PIECE]])
        partial.close()
        spoilt = bytearray(partial.path.read_bytes())
        spoilt[2 * PIECE + 5] ^= 1
        spoilt[4 * PIECE : 5 * PIECE] = bytes(PIECE)
        partial.path.write_bytes(spoilt)
        street.hub.fetching._partials.leave(partial)

    await asyncio.to_thread(lay_out)
    async with fetching(street, mill_lane) as fetcher:
        await here(street, film.blob.sha256)
        assert fetcher.traffic.bytes == 4 * PIECE
    assert await content(street, film.blob.sha256) == data


async def test_a_neighbour_that_goes_away_leaves_the_rest_to_another(
    street: Street, mill_lane: Place, places: Open
) -> None:
    data = noise(4 * PIECE)
    film = await mill_lane.offers("film.mp4", data)
    oakfield = await places("oakfield")
    await copied(mill_lane, oakfield, film)

    async def cut(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        if path.endswith("/pieces"):
            return None
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
        )
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: 2 * PIECE + 7])
        assert request.transport is not None
        request.transport.close()
        return response

    mill_lane.lie = cut
    await tell(mill_lane.street, street)
    async with fetching(street, mill_lane):
        await until(lambda: not street.hub.fetching._downloads and len(mill_lane.asked) >= 2)
    async with fetching(street, oakfield) as fetcher:
        await here(street, film.blob.sha256)
        assert fetcher.traffic.bytes == 2 * PIECE
    assert await content(street, film.blob.sha256) == data


async def test_what_came_before_a_session_ended_is_kept(
    street: Street, mill_lane: Place, places: Open
) -> None:
    data = noise(20 * PIECE)
    film = await mill_lane.offers("film.mp4", data)
    oakfield = await places("oakfield")
    await copied(mill_lane, oakfield, film)
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)

    async def stall(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        if path.endswith("/pieces"):
            return None
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
        )
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: 15 * PIECE + 7])
        await mill_lane.closing.wait()
        return response

    mill_lane.lie = stall
    async with fetching(street, mill_lane) as fetcher:
        await until(lambda: fetcher.traffic.bytes >= 15 * PIECE)
    async with fetching(street, oakfield) as fetcher:
        await here(street, film.blob.sha256)
        assert fetcher.traffic.bytes == 5 * PIECE
    assert await content(street, film.blob.sha256) == data


async def test_a_large_file_comes_over_a_hub_in_between_that_nobody_asked(
    street: Street, mill_lane: Place, places: Open
) -> None:
    film = await mill_lane.offers("film.mp4", noise(2 * MB))
    oakfield, between = await places("oakfield"), place_of(street)
    for other in (street, oakfield.street):
        await tell(mill_lane.street, other)
    await oakfield.street.hub.fetching.want(film.blob.sha256)
    async with served(between):
        async with fetching(oakfield.street, between):
            await until(lambda: bool(between.asked))
            async with fetching(street, mill_lane):
                await here(street, film.blob.sha256)
        async with fetching(oakfield.street, between):
            await here(oakfield.street, film.blob.sha256)
    assert await content(oakfield.street, film.blob.sha256) == noise(2 * MB)


async def test_what_neighbours_ask_for_makes_nothing_give_way(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = await mill_lane.offers("film.mp4", noise(2 * MB))
    await tell(mill_lane.street, street)
    monkeypatch.setattr(street.hub.fetching, "_quota", lambda: 2 * MB - 1)
    await street.hub.fetching.want_for_neighbour(film.blob.sha256)
    assert [row[0] for row in await street.rows("SELECT asked_ms FROM missing_blob")] == [None]
    monkeypatch.setattr(service, "MOST_ASKED", 1)
    monkeypatch.setattr(street.hub.fetching, "_quota", lambda: 2 * MB)
    await street.hub.fetching.want_for_neighbour(film.blob.sha256)
    assert [row[0] for row in await street.rows("SELECT asked_ms FROM missing_blob")] == [None]
    monkeypatch.setattr(service, "MOST_ASKED", 2)
    await street.hub.fetching.want_for_neighbour(film.blob.sha256)
    await street.hub.fetching.want_for_neighbour("ab" * 32)
    assert len(await street.rows("SELECT 1 FROM missing_blob WHERE asked_ms IS NOT NULL")) == 1


# --- neighbours who lie ------------------------------------------------------------------------------


async def copied(there: Place, also: Place, *files: File) -> None:
    """Another place has the records and these files of a place as well."""
    await tell(there.street, also.street)
    for file in files:
        data = await content(there.street, file.blob.sha256)
        await asyncio.to_thread(also.street.hub.blobs.keep_bytes, data)


@pytest_asyncio.fixture
async def film(street: Street, mill_lane: Place, oakfield_: Place) -> File:
    """A film that two neighbours have and the street's hub wants."""
    film = await mill_lane.offers("film.mp4", noise(12 * PIECE + 99))
    await copied(mill_lane, oakfield_, film)
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    return film


@pytest_asyncio.fixture
async def oakfield_(places: Open) -> Place:
    """Another neighbour."""
    return await places("oakfield")


def sends(status: int, body: Callable[[int], bytes], **headers: str) -> Any:
    """A lie about the bytes of blobs: ``body`` of the first byte that is asked for."""

    async def lie(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        if path.endswith("/pieces"):
            return None
        start = first_byte(request)
        size = 12 * PIECE + 99
        told = {"Content-Range": f"bytes {start}-{size - 1}/{size}", **headers}
        return web.Response(status=status, body=body(start), headers=told)

    return lie


def wrong_from(piece: int) -> Callable[[int], bytes]:
    """The film with one bit wrong in a piece."""

    def body(start: int) -> bytes:
        data = bytearray(noise(12 * PIECE + 99))
        data[piece * PIECE + 17] ^= 4
        return bytes(data[start:])

    return body


@pytest.mark.parametrize(
    ("lie", "kept"),
    [
        (sends(206, wrong_from(3)), 3),
        (sends(206, wrong_from(0)), 0),
        (sends(206, wrong_from(12)), 12),
        (sends(206, lambda start: bytes(12 * PIECE + 99 - start)), 0),
        (sends(206, lambda start: noise(12 * PIECE + 100)[start:]), 0),
        (sends(206, lambda start: noise(12 * PIECE + 98)[start:]), 0),
        (sends(200, lambda start: noise(12 * PIECE + 99)), 0),
        (sends(206, lambda start: noise(12 * PIECE + 99)[start:], **{"Content-Encoding": "gzip"}), 0),
        (sends(206, lambda start: b"", **{"Content-Range": "bytes 0-9/10"}), 0),
        (sends(302, lambda start: b"", Location="http://127.0.0.1:1/"), 0),
        (sends(500, lambda start: b""), 0),
    ],
)
async def test_who_sends_something_else_is_left_and_another_neighbour_used(
    street: Street, mill_lane: Place, oakfield_: Place, film: File, lie: Any, kept: int
) -> None:
    mill_lane.lie = lie
    async with fetching(street, mill_lane):
        await until(lambda: not street.hub.fetching._downloads and len(mill_lane.asked) >= 2)
        before = len(mill_lane.asked)
        async with fetching(street, oakfield_) as other:
            await here(street, film.blob.sha256)
            assert other.traffic.bytes == (13 - kept) * PIECE - PIECE + 99
        assert len(mill_lane.asked) == before
    assert await content(street, film.blob.sha256) == noise(12 * PIECE + 99)


@pytest.mark.parametrize("hashes", [bytes(13 * 32), b"", bytes(5), bytes(14 * 32)])
async def test_who_sends_a_wrong_list_is_left_before_any_piece_is_asked_for(
    street: Street, mill_lane: Place, oakfield_: Place, film: File, hashes: bytes
) -> None:
    async def lie(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        return web.Response(body=hashes) if path.endswith("/pieces") else None

    mill_lane.lie = lie
    async with fetching(street, mill_lane):
        await until(lambda: not street.hub.fetching._downloads and bool(mill_lane.asked))
        async with fetching(street, oakfield_):
            await here(street, film.blob.sha256)
    assert mill_lane.asked == [f"/v1/blobs/{film.blob.sha256}/pieces"]


async def test_who_is_too_slow_over_a_piece_is_left(
    street: Street, mill_lane: Place, oakfield_: Place, film: File
) -> None:
    async def drip(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes 0-{12 * PIECE + 98}/{12 * PIECE + 99}"}
        )
        response.content_length = 12 * PIECE + 99
        if path.endswith("/pieces"):
            return None
        await response.prepare(request)
        for byte in noise(12 * PIECE):
            await response.write(bytes([byte]))
            await asyncio.sleep(0.02)
        return response

    mill_lane.lie = drip
    async with fetching(street, mill_lane, patience_s=0.3):
        await until(lambda: not street.hub.fetching._downloads and len(mill_lane.asked) >= 2)
        async with fetching(street, oakfield_):
            await here(street, film.blob.sha256)


async def test_one_wrong_piece_and_then_silence_is_a_lie_and_not_patience(
    street: Street, mill_lane: Place, film: File
) -> None:
    async def lie(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        if path.endswith("/pieces"):
            return None
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes 0-{12 * PIECE + 98}/{12 * PIECE + 99}"}
        )
        response.content_length = 12 * PIECE + 99
        await response.prepare(request)
        await response.write(bytes(PIECE))
        await mill_lane.closing.wait()
        return response

    mill_lane.lie = lie
    async with fetching(street, mill_lane, patience_s=30):
        await until(lambda: not street.hub.fetching._downloads and len(mill_lane.asked) >= 2)
    memory = street.hub.fetching._manners._known[mill_lane.hub]
    assert memory.lies == 1


async def test_two_neighbours_bring_one_blob_together(
    street: Street, mill_lane: Place, oakfield_: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SHARED_SPAN", 2)
    film = await mill_lane.offers("film.mp4", noise(16 * PIECE))
    await copied(mill_lane, oakfield_, film)
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    async with fetching(street, mill_lane, oakfield_) as fetcher:
        await here(street, film.blob.sha256)
        assert fetcher.traffic.bytes == 16 * PIECE + 16 * 32
    assert f"/v1/blobs/{film.blob.sha256}" in mill_lane.asked
    assert f"/v1/blobs/{film.blob.sha256}" in oakfield_.asked
    assert await content(street, film.blob.sha256) == noise(16 * PIECE)


async def test_a_record_that_lies_about_a_blob_spoils_no_other_and_is_not_believed_twice(
    street: Street, mill_lane: Place, oakfield_: Place
) -> None:
    true = await mill_lane.offers("film.mp4", noise(4 * PIECE))
    wrong = noise(4 * PIECE, 9)
    other = await asyncio.to_thread(oakfield_.street.hub.blobs.keep_bytes, wrong)
    lie = BlobRef(true.blob.sha256, other.size, other.pieces)
    await _publishes(oakfield_, "A lie", Picture(lie, 8, 6, lie, 8, 6, ""))

    async def serve_wrong(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        body = list_of(wrong)
        if not path.endswith("/pieces"):
            body = wrong[first_byte(request) :]
        told = {"Content-Range": f"bytes {len(wrong) - len(body)}-{len(wrong) - 1}/{len(wrong)}"}
        return web.Response(body=body, status=200 if path.endswith("/pieces") else 206, headers=told)

    oakfield_.lie = serve_wrong
    await tell(oakfield_.street, street)
    async with fetching(street, oakfield_):
        await until(lambda: street.rows("SELECT 1 FROM missing_blob WHERE state = 2"))
        assert not await asyncio.to_thread(street.hub.blobs.exists, true.blob.sha256)
        asked = len(oakfield_.asked)
        await tell(mill_lane.street, street)
        async with fetching(street, mill_lane):
            await here(street, true.blob.sha256)
    assert await content(street, true.blob.sha256) == noise(4 * PIECE)
    assert asked == 2


async def _publishes(place: Place, title: str, picture: Picture) -> ObjectId:
    hub, now = place.street.hub, place.street.clock.ms
    obj = ObjectId(hashlib.sha256(title.encode()).digest()[:16])
    draft = NoticeDraft(Kind.NEWS, title, "Look.", "en", Scope.NETWORK, now + 9 * DAY_MS, pictures=(picture,))
    await hub.database.write(lambda connection: publish_notice(connection, hub._pen(), obj, draft, bytes(16)))
    return obj


async def test_pictures_that_are_too_large_to_be_any_are_never_expected(
    street: Street, mill_lane: Place
) -> None:
    huge = BlobRef("ab" * 32, 2**40, "cd" * 32)
    small = await asyncio.to_thread(mill_lane.street.hub.blobs.keep_bytes, b"small")
    await _publishes(mill_lane, "Huge", Picture(huge, 8, 6, small, 8, 6, ""))
    await tell(mill_lane.street, street)
    assert [row[0] for row in await street.rows("SELECT size FROM missing_blob")] == [5]


# --- who may have what -------------------------------------------------------------------------------


async def status(place: Place, blob: str, *, pieces: bool = False, **headers: str) -> int:
    """What a neighbour is answered."""
    path = f"/v1/blobs/{blob}/pieces" if pieces else f"/v1/blobs/{blob}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{place.url}{path}", headers=headers) as answer,
    ):
        await answer.read()
        return answer.status


async def statuses(place: Place, blob: str) -> tuple[int, int]:
    """For the bytes and for the list."""
    return await status(place, blob), await status(place, blob, pieces=True)


async def test_only_what_is_exchanged_with_a_neighbour_is_given(mill_lane: Place, places: Open) -> None:
    shared = await mill_lane.offers("shared.txt", noise(500, 1))
    near = await mill_lane.offers("near.txt", noise(500, 2), scope="neighbours")
    own = await mill_lane.offers("own.txt", noise(500, 3), scope="hub")
    assert await statuses(mill_lane, shared.blob.sha256) == (200, 200)
    assert await statuses(mill_lane, near.blob.sha256) == (200, 200)
    assert await statuses(mill_lane, own.blob.sha256) == (404, 404)
    assert await statuses(mill_lane, "ab" * 32) == (404, 404)
    assert await status(mill_lane, "AB" * 32) == 404
    mill_lane.choices = {**DEFAULT_CHOICES, Stream.FILES: Choice.NONE}
    assert await statuses(mill_lane, shared.blob.sha256) == (404, 404)


async def test_what_a_hub_told_its_neighbours_is_not_passed_on_to_theirs(
    mill_lane: Place, places: Open
) -> None:
    near = await mill_lane.offers("near.txt", noise(500, 2), scope="neighbours")
    oakfield = await places("oakfield")
    await copied(mill_lane, oakfield, near)
    assert await statuses(oakfield, near.blob.sha256) == (404, 404)
    oakfield.askers = mill_lane.hub
    assert await statuses(oakfield, near.blob.sha256) == (200, 200)


async def test_what_is_hidden_or_taken_down_here_is_not_given(mill_lane: Place) -> None:
    hidden = await mill_lane.offers("hidden.txt", noise(500, 1))
    gone = await mill_lane.offers("gone.txt", noise(500, 2))
    on_hidden_shelf = await mill_lane.offers("shelved.txt", noise(500, 3))
    hub, ann = mill_lane.street.hub, mill_lane.street.person("Ann")
    await hub.caretaking.hide(hidden.public_id, "1", "gwen")
    [(shelf,)] = await mill_lane.street.rows(
        "SELECT public_id FROM collection WHERE obj = ?", on_hidden_shelf.collection
    )
    await hub.caretaking.hide(shelf, "1", "gwen")
    await hub.share.take_down(gone.public_id, ann.asker())
    for file in (hidden, gone, on_hidden_shelf):
        assert await statuses(mill_lane, file.blob.sha256) == (404, 404)


async def test_ranges_that_cannot_be_are_refused(mill_lane: Place) -> None:
    file = await mill_lane.offers("shared.txt", noise(500))
    for wanted in ("bytes=500-500", "bytes=5-4", "bytes=0-500", "bytes=-5", "bytes=5-", "bytes=0-1,3-4", "x"):
        assert await status(mill_lane, file.blob.sha256, Range=wanted) == 416
    assert await status(mill_lane, file.blob.sha256, Range="bytes=0-499") == 206


async def test_a_neighbour_is_answered_so_many_requests_at_a_time(mill_lane: Place) -> None:
    file = await mill_lane.offers("film.mp4", noise(6 * MB))
    url = f"{mill_lane.url}/v1/blobs/{file.blob.sha256}"
    async with aiohttp.ClientSession(read_bufsize=1024) as session, AsyncExitStack() as stack:
        answers = [await stack.enter_async_context(session.get(url)) for _ in range(7)]
        assert Counter(answer.status for answer in answers) == {200: 6, 503: 1}


async def test_the_list_is_made_once_and_kept(mill_lane: Place) -> None:
    file = await mill_lane.offers("film.mp4", noise(6 * MB))
    street = mill_lane.street
    [(_, known)] = await street.table("piece_list")
    assert hashlib.sha256(known).hexdigest() == file.blob.pieces
    await street.tamper("DELETE FROM piece_list")
    for _ in range(2):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{mill_lane.url}/v1/blobs/{file.blob.sha256}/pieces") as answer,
        ):
            assert await answer.read() == known
    assert [row[1] for row in await street.table("piece_list")] == [known]


async def test_who_has_a_blob_half_does_not_get_the_rest_once_it_is_erased(mill_lane: Place) -> None:
    file = await mill_lane.offers("film.mp4", noise(16 * MB))
    url = f"{mill_lane.url}/v1/blobs/{file.blob.sha256}"
    async with aiohttp.ClientSession(read_bufsize=1024) as session, session.get(url) as answer:
        await answer.content.readexactly(PIECE)
        await mill_lane.street.hub.caretaking.erase(file.public_id, "1", "gwen")
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.readexactly(15 * MB)


# --- room --------------------------------------------------------------------------------------------


async def test_the_longest_unused_gives_way_and_can_be_asked_for_again(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(street.hub.fetching, "_quota", lambda: 1_000_000)
    files = [await mill_lane.offers(f"{n}.pdf", noise(400_000, n)) for n in range(2)]
    await tell(mill_lane.street, street)
    first, second = (file.blob.sha256 for file in files)
    async with fetching(street, mill_lane):
        await here(street, first, second)
        street.clock.pass_time(days=2)
        street.hub.fetching.used(first)
        street.clock.pass_time(days=1)
        third = (await mill_lane.offers("third.pdf", noise(400_000, 7))).blob.sha256
        await tell(mill_lane.street, street)
        await here(street, third)
        assert not await asyncio.to_thread(street.hub.blobs.exists, second)
        assert await asyncio.to_thread(street.hub.blobs.exists, first)
        [away] = (await street.hub.fetching.away([second])).values()
        assert not away.coming
        await street.hub.fetching.want(second)
        street.hub.fetching.used(first)
        street.clock.pass_time(days=1)
        street.hub.fetching.used(first)
        await here(street, second)
        assert not await asyncio.to_thread(street.hub.blobs.exists, third)
    [(size,)] = await street.rows("SELECT sum(size) FROM foreign_blob")
    assert size <= 1_000_000


async def test_what_this_hub_shares_itself_never_gives_way(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = await mill_lane.offers("theirs.pdf", noise(400_000))
    await tell(mill_lane.street, street)
    async with fetching(street, mill_lane):
        await here(street, theirs.blob.sha256)
    await street.person("Bo").adds(await street.shelf(may_add="everyone"), ("mine.pdf", noise(400_000)))
    monkeypatch.setattr(street.hub.fetching, "_quota", lambda: 0)
    await street.hub.fetching.look()
    assert await asyncio.to_thread(street.hub.blobs.exists, theirs.blob.sha256)
    assert await street.table("foreign_blob") == []


async def test_what_is_larger_than_the_quota_cannot_be_asked_for(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(street.hub.fetching, "_quota", lambda: 1_000_000)
    film = await mill_lane.offers("film.mp4", noise(2 * MB))
    await tell(mill_lane.street, street)
    with pytest.raises(TooLargeToFetch):
        await street.hub.fetching.want(film.blob.sha256)


async def test_on_a_full_card_nothing_is_fetched_until_there_is_room(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PAUSE_S", 0.2)
    file = await mill_lane.offers("rota.pdf", noise(400_000))
    await tell(mill_lane.street, street)
    free, asked = 10**11, asyncio.Event()
    loop = asyncio.get_running_loop()

    def full() -> int:
        loop.call_soon_threadsafe(asked.set)
        return 0

    monkeypatch.setattr(street.hub.blobs, "free_bytes", full)
    async with fetching(street, mill_lane):
        await asked.wait()
        await asyncio.sleep(0.05)
        assert mill_lane.asked == []
        monkeypatch.setattr(street.hub.blobs, "free_bytes", lambda: free)
        await here(street, file.blob.sha256)


async def test_a_card_that_fills_up_in_the_middle_costs_nothing_that_came_before(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PAUSE_S", 0.1)
    file = await mill_lane.offers("film.mp4", noise(4 * PIECE))
    await tell(mill_lane.street, street)
    put, full = Partial.put, [True]

    def put_until_full(self: Partial, piece: int, chunks: Any) -> None:
        if piece == 2 and full:
            full.clear()
            raise NoRoom
        put(self, piece, chunks)

    monkeypatch.setattr(Partial, "put", put_until_full)
    async with fetching(street, mill_lane):
        await here(street, file.blob.sha256)
    assert await content(street, file.blob.sha256) == noise(4 * PIECE)
    assert not full
    assert street.hub.fetching._manners._known[mill_lane.hub].refusals == {}


async def test_blobs_of_others_make_room_when_the_card_is_short(
    street: Street, mill_lane: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await mill_lane.offers("rota.pdf", noise(400_000))
    await tell(mill_lane.street, street)
    async with fetching(street, mill_lane):
        await here(street, file.blob.sha256)
    monkeypatch.setattr(street.hub.blobs, "free_bytes", lambda: 0)
    await street.hub.fetching.look()
    assert not await asyncio.to_thread(street.hub.blobs.exists, file.blob.sha256)
    [away] = (await street.hub.fetching.away([file.blob.sha256])).values()
    assert not away.coming


# --- what is broken here, and what is erased ---------------------------------------------------------


async def test_a_blob_of_our_own_that_the_scrub_found_broken_is_fetched_again(
    street: Street, places: Open
) -> None:
    oakfield = await places("oakfield")
    shelf = await street.shelf("Ours", scope="network", may_add="everyone")
    receipt = await street.person("Bo").adds(shelf, ("ours.pdf", noise(2 * MB)))
    file = await street.hub.share.bytes_of(receipt.lines[0].public_id)
    await tell(street, oakfield.street)
    await asyncio.to_thread(oakfield.street.hub.blobs.keep_bytes, noise(2 * MB))
    path = street.hub.blobs.path(file.blob.sha256)
    await asyncio.to_thread(path.write_bytes, noise(2 * MB, 5))
    done = await street.hub.scrubbing.all()
    assert done.broken == (file.blob.sha256,)
    await street.hub.fetching.look()
    [away] = (await street.hub.fetching.away([file.blob.sha256])).values()
    assert away.coming
    async with fetching(street, oakfield):
        await here(street, file.blob.sha256)
    assert await content(street, file.blob.sha256) == noise(2 * MB)
    assert await street.table("foreign_blob") == []
    await street.hub.scrubbing.tidy()
    assert await street.table("quarantine") == []


async def test_what_is_not_here_yet_is_neither_damaged_nor_missing(street: Street, mill_lane: Place) -> None:
    await mill_lane.offers("film.mp4", noise(2 * MB))
    await tell(mill_lane.street, street)
    done = await street.hub.scrubbing.all()
    assert done.missing == ()
    result = await street.hub.upkeep.check()
    assert [finding for finding in result.findings if finding.what == "blob"] == []


async def test_the_blobs_that_are_missing_are_the_same_after_a_rebuild(
    street: Street, mill_lane: Place
) -> None:
    small = await mill_lane.offers("small.pdf", noise(5000))
    film = await mill_lane.offers("film.mp4", noise(2 * MB))
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    async with fetching(street, mill_lane):
        await here(street, small.blob.sha256, film.blob.sha256)
    await street.hub.upkeep.rebuild()
    assert await street.table("missing_blob") == []
    assert len(await street.table("foreign_blob")) == 2


async def test_erasing_an_item_removes_what_was_fetched_of_it_in_part(
    street: Street, mill_lane: Place
) -> None:
    data = noise(4 * MB)
    film = await mill_lane.offers("film.mp4", data)
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    half = asyncio.Event()

    async def stall(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        if path.endswith("/pieces"):
            return None
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
        )
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: 2 * MB])
        half.set()
        await mill_lane.closing.wait()
        return response

    mill_lane.lie = stall
    marker = data[PIECE : PIECE + 64]
    async with fetching(street, mill_lane, patience_s=30):
        await half.wait()
        await until(lambda: asyncio.to_thread(_found, street.data, marker))
        there = mill_lane.street.hub
        await there.database.write(lambda connection: retract(connection, there._pen(), film.obj))
        await street.hub.database.write(
            lambda connection: traces.leave(connection, traces.NOW, notices.blobs_of(connection, film.obj))
        )
        await tell(mill_lane.street, street)
        await street.hub.housekeeping._eraser.wipe()
        assert not await asyncio.to_thread(_found, street.data, marker)
        assert await street.table("missing_blob") == []
        assert list((street.data / "fetching").iterdir()) == []
    assert not await asyncio.to_thread(_found, street.data, bytes.fromhex(film.blob.pieces))


def _found(folder: Path, needle: bytes) -> list[Path]:
    """The files that have ``needle`` in them."""
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


async def test_what_is_named_no_more_is_forgotten_with_what_was_fetched_of_it(
    street: Street, mill_lane: Place
) -> None:
    film = await mill_lane.offers("film.mp4", noise(2 * MB))
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    stray = street.data / "fetching" / f"{film.blob.sha256}-{film.blob.size}-{film.blob.pieces}"
    other = street.data / "fetching" / "something else"

    def lay_out() -> None:
        stray.write_bytes(b"half of it")
        other.write_bytes(b"?")

    await asyncio.to_thread(lay_out)
    await street.hub.fetching.look()
    assert [path.name for path in (street.data / "fetching").iterdir()] == [stray.name]
    await street.tamper("DELETE FROM blob_use WHERE obj = ?", film.obj)
    await street.hub.fetching.look()
    assert await street.table("missing_blob") == []
    assert list((street.data / "fetching").iterdir()) == []


# --- pages -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def phone(listening: Street) -> AsyncIterator[Phone]:
    """A browser at the street's hub."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Phone(f"http://127.0.0.1:{listening.hub.port}", session)


async def test_a_resident_fetches_a_file_that_is_not_here(
    listening: Street, mill_lane: Place, phone: Phone
) -> None:
    film = await mill_lane.offers("film.mp4", noise(2 * MB))
    await tell(mill_lane.street, listening)
    page = await phone.get(f"/files/{film.public_id}")
    assert page.status == 200
    assert "Not here yet" in page.text
    assert "Fetch it from" in page.text
    assert f'action="/files/{film.public_id}/fetch"' in page.text
    assert "Download (" not in page.text
    assert "Refresh" not in page.headers
    asked = await phone.post(f"/files/{film.public_id}/fetch")
    assert asked.status == 303
    coming = await phone.get(asked.location)
    assert coming.headers["Refresh"] == "60"
    assert "as soon as a neighbouring hub that has it can be reached" in coming.text
    async with fetching(listening, mill_lane):
        await here(listening, film.blob.sha256)
    page = await phone.get(f"/files/{film.public_id}")
    assert "Not here yet" not in page.text
    assert "Refresh" not in page.headers
    assert (await phone.get(f"/files/{film.public_id}/film.mp4")).body == noise(2 * MB)


async def test_the_page_says_how_much_of_a_file_is_here(
    listening: Street, mill_lane: Place, phone: Phone
) -> None:
    data = noise(4 * MB)
    film = await mill_lane.offers("film.mp4", data)
    await tell(mill_lane.street, listening)
    await listening.hub.fetching.want(film.blob.sha256)

    async def stall(request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        if path.endswith("/pieces"):
            return None
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
        )
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: 2 * MB])
        await mill_lane.closing.wait()
        return response

    mill_lane.lie = stall

    async def says_half() -> bool:
        return "50 % of" in (await phone.get(f"/files/{film.public_id}")).text

    async with fetching(listening, mill_lane, patience_s=30):
        await until(says_half)
        page = await phone.get(f"/files/{film.public_id}")
        assert page.headers["Refresh"] == "5"
        assert '<progress max="100" value="50">' in page.text


async def test_words_stand_for_pictures_that_are_not_here(
    listening: Street, mill_lane: Place, phone: Phone
) -> None:
    obj = await mill_lane.shows("The fete", noise(50_000))
    await tell(mill_lane.street, listening)
    [(name,)] = await listening.rows("SELECT public_id FROM notice WHERE obj = ?", obj)
    full = hashlib.sha256(noise(50_000)).hexdigest()
    thumb = hashlib.sha256(noise(50_000)[:300]).hexdigest()
    for path in ("/", f"/notices/{name}", "/search?q=fete", "/screen", f"/notices/{name}/poster"):
        page = await phone.get(path)
        assert page.status == 200
        assert "What The fete shows" in page.text, path
        assert full not in page.text
        assert thumb not in page.text
    assert (await phone.get(f"/pictures/{full}.jpg")).status == 404
    async with fetching(listening, mill_lane):
        await here(listening, full, thumb)
    assert f"/pictures/{thumb}.jpg" in (await phone.get("/")).text
    assert f"/pictures/{full}.jpg" in (await phone.get(f"/notices/{name}")).text
    assert (await phone.get(f"/pictures/{full}.jpg")).body == noise(50_000)


async def test_pictures_that_gave_way_are_asked_for_from_their_notice(
    listening: Street, mill_lane: Place, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    obj = await mill_lane.shows("The fete", noise(50_000))
    await tell(mill_lane.street, listening)
    [(name,)] = await listening.rows("SELECT public_id FROM notice WHERE obj = ?", obj)
    full = hashlib.sha256(noise(50_000)).hexdigest()
    async with fetching(listening, mill_lane):
        await here(listening, full)
        quota = listening.hub.fetching._quota
        monkeypatch.setattr(listening.hub.fetching, "_quota", lambda: 0)
        await listening.hub.fetching.look()
        monkeypatch.setattr(listening.hub.fetching, "_quota", quota)
        page = await phone.get(f"/notices/{name}")
        assert f'action="/notices/{name}/fetch"' in page.text
        await phone.post(f"/notices/{name}/fetch")
        await here(listening, full)


async def test_a_foreign_picture_that_is_larger_than_any_is_not_sent_from_memory(
    listening: Street, mill_lane: Place, phone: Phone
) -> None:
    big = await asyncio.to_thread(listening.hub.blobs.keep_bytes, bytes(17 * MB))
    await _publishes(mill_lane, "Huge", Picture(big, 8, 6, big, 8, 6, ""))
    await tell(mill_lane.street, listening)
    assert (await phone.get(f"/pictures/{big.sha256}.jpg")).status == 404


# --- over TLS, with the hub's own listener -----------------------------------------------------------


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Hall]:
    """A hall that calls."""
    async with open_hall("tanyard-road") as hall:
        yield hall


async def test_blobs_come_over_the_connections_of_hubs(street: Street, mill_lane: Place, hall: Hall) -> None:
    film = await mill_lane.offers("film.mp4", noise(3 * MB))
    await tell(mill_lane.street, street)
    await street.hub.fetching.want(film.blob.sha256)
    async with open_hall("mill-lane") as giver:
        giver.pairs_with(hall)
        giver.listener._router = Router(mill_lane.giving.routes())
        caller: Caller = hall.caller
        fetcher = Fetcher(street.hub.fetching)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(
                fetcher.run_with(
                    giver.hub, lambda path, fields: caller.get(giver.hub, giver.address, path, fields)
                )
            )
            await here(street, film.blob.sha256)
            task.cancel()
    assert await content(street, film.blob.sha256) == noise(3 * MB)


async def test_fetching_ends_where_nobody_answers(street: Street, mill_lane: Place, hall: Hall) -> None:
    await mill_lane.offers("rota.pdf", noise(5000))
    await tell(mill_lane.street, street)
    async with open_hall("mill-lane") as giver:
        giver.pairs_with(hall)
        address = giver.address
    fetcher = Fetcher(street.hub.fetching)
    async with asyncio.timeout(8):
        await fetcher.run_with(
            giver.hub, lambda path, fields: hall.caller.get(giver.hub, address, path, fields)
        )
    assert street.hub.fetching._downloads == {}
