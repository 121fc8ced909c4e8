"""Hubs that only a carried stick joins: what they share, erase and confirm, and what sticks do to them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.api.courier import CourierApi
from hub.api.socket import AdminSocket
from hub.app import Hub
from hub.cli import SOCKET, main
from hub.domain.admission import Outcome, Source
from hub.domain.certificates import certificate_of
from hub.domain.clock import TimeQuality
from hub.domain.hubcard import read_card, require_words, short_name, words_of
from hub.domain.ids import HubId, base32
from hub.domain.neighbours import Address, Card
from hub.domain.records import WireRecord, verify
from hub.domain.sharing import DEFAULT_CHOICES, Choice, SetKey
from hub.services.courier import (
    FOLDER,
    HubCopied,
    Load,
    NoStick,
    Packed,
    StickBusy,
    StickFull,
    StickTrouble,
    Unpacked,
)
from hub.services.filekeeping import Wanted
from hub.services.neighbours import NeighbourPaused, NoSuchNeighbour, NotPaired
from hub.storage import sets
from hub.sync import bundle
from hub.sync.bundle import Bundles
from hub.sync.exchange import Self
from hub.sync.protocol.bundle import LEAST_SEGMENT, SEGMENT, Manifest
from tests.integration.conftest import RULE, HallClock, Street, in_thread

pytestmark = pytest.mark.timeout(30)
FEW = LEAST_SEGMENT
"""Small segments, so that little makes many."""


@dataclass
class Parish:
    """A hub without a network, and its caretaker with a stick."""

    street: Street
    bundles: Bundles

    @property
    def hub(self) -> HubId:
        return self.street.hub.identity.hub

    def itself(self) -> Self:
        """What it says of itself."""
        addresses = (Address("10.0.0.7", 8448),)
        return Self(self.street.hub.name, "moss", TimeQuality.CARETAKER, addresses)

    def card(self) -> Card:
        """What it shows when pairing."""
        own = self.street.hub
        certificate = certificate_of(self.hub, own.identity.sign)
        return Card(self.hub, own.name, "moss", certificate, (Address("10.0.0.7", 8448),), DEFAULT_CHOICES)

    async def holds(self, *blobs: str) -> list[bool]:
        """Whether files (hex) are here."""
        return [await in_thread(partial(self.street.hub.blobs.exists, each)) for each in blobs]

    async def bytes_of(self, blob: str) -> bytes:
        """A file (hex)."""
        return bytes(await in_thread(partial(self.street.hub.blobs.read, blob)))

    async def pairs_with(self, *others: Parish) -> None:
        """Both caretakers have compared the words."""
        for other in others:
            await self.street.hub.neighbours.add(other.card())
            await other.street.hub.neighbours.add(self.card())

    async def writes(self, stick: Path, to: Parish | None = None, **load: Any) -> Packed:
        """Write a bundle."""
        return await self.bundles.write(stick, to.hub if to else None, Load(**load))

    async def reads(self, stick: Path) -> list[Unpacked]:
        """Read all bundles of others."""
        found = await self.bundles.read(stick)
        await self.street.hub.caretaking._eraser.wipe()  # which a running hub does soon after
        return found

    async def shares(self) -> list[tuple[SetKey, bytes]]:
        """The fingerprint of every set of what the network shares."""
        keys = await self.street.hub.database.read_with(sets.shared_sets)
        return [
            (key, (await self.street.hub.database.read_with(lambda c, key=key: sets.summary(c, key)))[0])  # type: ignore[misc]
            for key in keys
            if not key.origin
        ]

    async def obj_of(self, title: str) -> bytes:
        """The object id of the notice with that title."""
        for row in await self.street.rows(
            "SELECT notice.obj, body FROM notice JOIN record ON record.n = record"
        ):
            if row[1] is not None and title.encode() in row[1]:
                return bytes(row[0])
        raise AssertionError(title)


OpenParish = Callable[..., Awaitable[Parish]]


@pytest_asyncio.fixture
async def parish(tmp_path: Path, hall_clock: HallClock) -> AsyncIterator[OpenParish]:
    """Open a hub by its name."""
    async with AsyncExitStack() as stack:

        async def opened(name: str, segment: int = FEW) -> Parish:
            data = tmp_path / name
            chance = random.Random(name).randbytes
            flags = {"hub.name": name.replace("-", " ").title()}
            hub = await Hub.open(data, flags=flags, clock=hall_clock, chance=chance)
            stack.push_async_callback(hub.close)
            street = Street(hub, hall_clock, data)
            made: Parish
            made = Parish(
                street,
                Bundles(
                    hub.database,
                    hub.blobs,
                    hub.fetching,
                    hub.identity.key,
                    hub.ingest,
                    lambda: made.itself(),
                    hall_clock.now_ms,
                    chance,
                    segment,
                ),
            )
            return made

        yield opened


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A stick with somebody's holiday pictures on it."""
    folder = tmp_path / "stick"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"the beach")
    return folder


def bundles_on(stick: Path) -> list[Path]:
    """The bundle files that lie there."""
    return sorted((stick / FOLDER).glob("*.hub"))


def stands_in(folder: Path, marker: bytes) -> list[Path]:
    """The files below that hold it."""
    return [path for path in folder.rglob("*") if path.is_file() and marker in path.read_bytes()]


def totals(results: list[Unpacked]) -> tuple[int, int, int]:
    """New, known and lost, of all bundles."""
    return (
        sum(each.stored for each in results),
        sum(each.known for each in results),
        sum(each.lost for each in results),
    )


async def carry(stick: Path, *way: Parish) -> None:
    """From hub to hub with one stick, each writing for the next."""
    for giver, taker in pairwise(way):
        await giver.writes(stick, taker)
        await taker.reads(stick)


# --- what must work -------------------------------------------------------------------------------


async def test_three_hubs_that_only_a_stick_joins_come_to_share_the_same_and_confirm_an_erasure(
    parish: OpenParish, stick: Path
) -> None:
    tanyard, mill_lane, oakfield = [await parish(name) for name in ("tanyard-road", "mill-lane", "oakfield")]
    await tanyard.pairs_with(mill_lane, oakfield)
    await mill_lane.pairs_with(oakfield)
    gwen, ola = tanyard.street.person("Gwen"), oakfield.street.person("Ola")
    picture = await tanyard.street.picture(120)
    made = await gwen.puts_up("Marmalade swap", "Bring a XYZZYJAR.", pictures=(picture,), scope="network")
    await mill_lane.street.person("Mo").puts_up("Gate is broken", scope="network")
    await ola.puts_up("Choir practice", scope="network")
    await carry(stick, tanyard, mill_lane, oakfield, mill_lane, tanyard)
    titles = {"Marmalade swap", "Gate is broken", "Choir practice"}
    for each in (tanyard, mill_lane, oakfield):
        assert set(await each.street.board()) == titles
        assert await each.shares() == await tanyard.shares()
        assert await each.holds(picture.full.sha256, picture.thumb.sha256) == [True, True]

    obj = await tanyard.obj_of("Marmalade swap")
    await tanyard.street.hub.caretaking.erase(made.public_id, RULE, "gwen")
    for each in (tanyard, mill_lane, oakfield, mill_lane, tanyard):
        await each.street.hub.receipts.publish_when_due()
        await carry(stick, each, {tanyard.hub: mill_lane, oakfield.hub: mill_lane}.get(each.hub, oakfield))
    await carry(stick, oakfield, mill_lane, tanyard)
    assert await mill_lane.shares() == await oakfield.shares() == await tanyard.shares()
    receipts = await tanyard.street.hub.receipts.of(obj)  # type: ignore[arg-type]
    assert [bool(each.erased_ms) for each in receipts] == [True, True, True]
    for each in (tanyard, mill_lane, oakfield):
        assert "Marmalade swap" not in await each.street.board()
        assert await each.holds(picture.full.sha256) == [False]
        assert not stands_in(each.street.data, b"XYZZYJAR")
    assert not stands_in(stick, b"XYZZYJAR")
    assert (stick / "holiday.jpg").read_bytes() == b"the beach"


async def test_what_is_for_neighbours_is_sealed_to_the_one_it_is_carried_to(
    parish: OpenParish, stick: Path
) -> None:
    tanyard, mill_lane, oakfield = [await parish(name) for name in ("tanyard-road", "mill-lane", "oakfield")]
    await tanyard.pairs_with(mill_lane, oakfield)
    picture = await tanyard.street.picture(77)
    gwen = tanyard.street.person("Gwen")
    await gwen.puts_up("Key is with XYZZYSUE", scope="neighbours", pictures=(picture,))
    await gwen.puts_up("Jumble sale", "PLUGHTABLE", scope="network")
    await gwen.puts_up("Only here", scope="hub")
    await tanyard.writes(stick, mill_lane)
    [path] = bundles_on(stick)
    data = path.read_bytes()
    seen = await tanyard.bytes_of(picture.full.sha256)
    assert b"PLUGHTABLE" in data
    assert b"XYZZYSUE" not in data
    assert seen not in data
    assert b"Only here" not in data
    [result] = await oakfield.reads(stick)
    assert await oakfield.street.board() == ["Jumble sale"]
    assert result.sealed == 3
    assert await oakfield.holds(picture.full.sha256) == [False]
    [result] = await mill_lane.reads(stick)
    assert set(await mill_lane.street.board()) == {"Jumble sale", "Key is with XYZZYSUE"}
    assert (result.sealed, result.blobs, result.name) == (0, 2, "Tanyard Road")
    assert await mill_lane.bytes_of(picture.full.sha256) == seen


async def test_a_bundle_for_anybody_has_what_the_network_shares_and_nothing_else(
    parish: OpenParish, stick: Path
) -> None:
    tanyard, oakfield = await parish("tanyard-road"), await parish("oakfield")
    gwen = tanyard.street.person("Gwen")
    await gwen.puts_up("For all", scope="network")
    await gwen.puts_up("For the next hall", scope="neighbours")
    await gwen.puts_up("For this one", scope="hub")
    await tanyard.writes(stick)
    [result] = await oakfield.reads(stick)
    assert (result.hub, result.sealed, result.waiting) == (tanyard.hub, 0, 1)
    assert await oakfield.street.board() == [], "a hub that nobody here knows waits for the caretaker"
    await oakfield.bundles._ingest.let_in(tanyard.hub, "ola")
    assert await oakfield.street.board() == ["For all"]


async def test_reading_a_stick_again_changes_nothing(parish: OpenParish, stick: Path) -> None:
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    await tanyard.pairs_with(mill_lane)
    gwen = tanyard.street.person("Gwen")
    made = await gwen.puts_up("Ladder", scope="network")
    await gwen.puts_up("Rake", scope="network")
    await tanyard.writes(stick, mill_lane)
    old = stick.with_name("copy")
    shutil.copytree(stick, old)
    assert totals(await mill_lane.reads(stick)) == (2, 0, 0)
    assert totals(await mill_lane.reads(stick)) == (0, 2, 0)
    await tanyard.street.hub.caretaking.erase(made.public_id, RULE, "gwen")
    await carry(stick, tanyard, mill_lane)
    assert await mill_lane.street.board() == ["Rake"]
    assert totals(await mill_lane.reads(old)) == (0, 2, 0)
    assert await mill_lane.street.board() == ["Rake"], "an old bundle brought back what was erased"
    assert await tanyard.reads(stick) == [], "a hub reads its own bundle"


async def test_what_takes_something_down_comes_before_everything_else(
    parish: OpenParish, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    await tanyard.pairs_with(mill_lane)
    gwen = tanyard.street.person("Gwen")
    made = await gwen.puts_up("Old", scope="network")
    await tanyard.street.hub.caretaking.erase(made.public_id, RULE, "gwen")
    tanyard.street.clock.pass_time(days=100)
    await gwen.puts_up("New", scope="network")
    await gwen.puts_up("Flood", kind="urgent", scope="network")
    await tanyard.writes(stick, mill_lane)
    order: list[str] = []

    async def note(_: Source, records: Sequence[WireRecord]) -> Outcome:
        order.extend(verify(each.header, each.signature, each.body).header.type for each in records)
        return Outcome()

    monkeypatch.setattr(mill_lane.bundles._ingest, "take", note)
    await mill_lane.reads(stick)
    assert order == ["retract", "notice", "notice"], "older than 90 days go along only when they take down"


async def test_a_have_file_makes_the_next_bundle_small(parish: OpenParish, stick: Path) -> None:
    tanyard, mill_lane = await parish("tanyard-road", SEGMENT), await parish("mill-lane", SEGMENT)
    await tanyard.pairs_with(mill_lane)
    gwen = tanyard.street.person("Gwen")
    for number in range(60):
        tanyard.street.clock.pass_time(minutes=10)
        await gwen.puts_up(f"Notice {number}", "Words. " * 60, scope="network")
    first = await tanyard.writes(stick, mill_lane)
    await mill_lane.reads(stick)
    await mill_lane.writes(stick, tanyard)
    assert (stick / FOLDER / f"{short_name(mill_lane.hub)}.have").stat().st_size < 60 * 8 + 300
    await gwen.puts_up("The only new one", scope="network")
    second = await tanyard.writes(stick, mill_lane)
    assert (first.records, first.known, second.records, second.known) == (60, False, 1, True)
    assert (first.size, second.size) == (first.size, second.size)
    assert second.size < 1_600 < 40_000 < first.size
    await mill_lane.reads(stick)
    assert "The only new one" in await mill_lane.street.board()
    assert (await tanyard.writes(stick, mill_lane, days=90)).records == 61


async def test_nothing_new_leaves_no_bundle(parish: OpenParish, stick: Path) -> None:
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    await tanyard.pairs_with(mill_lane)
    await tanyard.street.person("Gwen").puts_up("Ladder", scope="network")
    await carry(stick, tanyard, mill_lane, tanyard)
    packed = await tanyard.writes(stick, mill_lane)
    assert (packed.files, packed.records, bundles_on(stick)) == ((), 0, [])


async def test_files_up_to_a_size_go_along_and_larger_ones_when_asked(
    parish: OpenParish, stick: Path
) -> None:
    tanyard, mill_lane = await parish("tanyard-road", SEGMENT), await parish("mill-lane", SEGMENT)
    await tanyard.pairs_with(mill_lane)
    small, large = random.Random(1).randbytes(700_000), random.Random(2).randbytes(5_000_000)
    shelf = await tanyard.street.hub.filekeeping.add_collection(
        Wanted(title="Films", scope="network"), "gwen"
    )
    await tanyard.street.person("Gwen").adds(shelf, ("small.mp4", small), ("large.mp4", large))
    packed = await tanyard.writes(stick, mill_lane, largest=1_000_000)
    assert (packed.blobs, packed.left_out) == (1, 1)
    [result] = await mill_lane.reads(stick)
    assert (result.blobs, result.stored) == (1, 3)
    names = [hashlib.sha256(each).hexdigest() for each in (small, large)]
    assert await mill_lane.holds(*names) == [True, False]
    await mill_lane.writes(stick, tanyard)
    packed = await tanyard.writes(stick, mill_lane, largest=None)
    assert (packed.records, packed.blobs, packed.left_out) == (0, 1, 0), "it had said what it lacks"
    assert packed.size < 1.002 * len(large) + 2_000
    [result] = await mill_lane.reads(stick)
    assert result.blobs == 1
    assert await mill_lane.bytes_of(names[1]) == large
    assert (await mill_lane.writes(stick, tanyard)).blobs == 0
    assert (await tanyard.writes(stick, mill_lane, largest=None)).blobs == 0


async def test_a_bundle_that_is_too_long_for_a_file_goes_on_in_the_next(
    parish: OpenParish, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MAX_SEGMENTS", 5)
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    await tanyard.pairs_with(mill_lane)
    gwen = tanyard.street.person("Gwen")
    for number in range(8):
        tanyard.street.clock.pass_time(minutes=10)
        await gwen.puts_up(f"Notice {number}", "é" * 3_900, scope="network")
    film = random.Random(3).randbytes(900_000)
    shelf = await tanyard.street.hub.filekeeping.add_collection(
        Wanted(title="Films", scope="network"), "gwen"
    )
    await gwen.adds(shelf, ("film.mp4", film))
    packed = await tanyard.writes(stick, mill_lane)
    paths = bundles_on(stick)
    assert len(paths) > 5
    assert [path.name for path in paths] == sorted(packed.files)
    assert all(path.stat().st_size < 6 * FEW for path in paths)
    results = await mill_lane.reads(stick)
    assert totals(results) == (10, 0, 0)
    assert sum(each.records for each in results) == 10
    assert sum(each.blobs for each in results) == 1
    assert await mill_lane.bytes_of(hashlib.sha256(film).hexdigest()) == film


async def test_only_what_both_caretakers_chose_is_carried(parish: OpenParish, stick: Path) -> None:
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    with pytest.raises(NoSuchNeighbour):
        await tanyard.writes(stick, mill_lane)
    await tanyard.pairs_with(mill_lane)
    await tanyard.street.person("Gwen").puts_up("Ladder", scope="network")
    roster, name = tanyard.street.hub.neighbours, base32(mill_lane.hub)[:8]
    await roster.choose(name, "notices", Choice.NONE, "gwen")
    assert (await tanyard.writes(stick, mill_lane)).records == 0
    await roster.choose(name, "notices", Choice.HOLD, "gwen")
    assert (await tanyard.writes(stick, mill_lane)).records == 1
    await roster.pause(name, "gwen")
    with pytest.raises(NeighbourPaused):
        await tanyard.writes(stick, mill_lane)
    await roster.part(name, "gwen", keep=True)
    with pytest.raises(NotPaired):
        await tanyard.writes(stick, mill_lane)


async def test_nothing_is_carried_while_a_copy_of_the_hub_may_be_running(
    parish: OpenParish, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tanyard = await parish("tanyard-road")

    async def copied() -> bool:
        return True

    monkeypatch.setattr(tanyard.bundles._ingest, "is_copied", copied)
    for act in (tanyard.writes, tanyard.reads):
        (stick / FOLDER).mkdir(exist_ok=True)
        with pytest.raises(HubCopied):
            await act(stick)
    assert list((stick / FOLDER).iterdir()) == []


async def test_two_couriers_may_cross(parish: OpenParish, stick: Path) -> None:
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    await tanyard.pairs_with(mill_lane)
    other = stick.with_name("other")
    other.mkdir()
    await tanyard.street.person("Gwen").puts_up("Ladder", scope="network")
    await mill_lane.street.person("Mo").puts_up("Gate", scope="network")
    await tanyard.writes(stick, mill_lane)
    await mill_lane.writes(other, tanyard)
    await mill_lane.reads(stick)
    await tanyard.reads(other)
    assert await tanyard.shares() == await mill_lane.shares()


async def test_a_card_goes_by_stick_and_is_known_by_its_words(parish: OpenParish, stick: Path) -> None:
    tanyard = await parish("tanyard-road")
    written = await tanyard.bundles.write_card(stick)
    assert written.path == stick / FOLDER / f"{short_name(tanyard.hub)}.hubcard"
    read = read_card(written.path.read_bytes())
    assert read.card == tanyard.card()
    require_words(read.card.hub, written.words)


# --- what sticks do -------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def two(parish: OpenParish, stick: Path) -> tuple[Parish, Parish, bytes, Path]:
    """A hub that wrote a bundle of several segments, one that is to read it, the bundle and its path."""
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    await tanyard.pairs_with(mill_lane)
    gwen = tanyard.street.person("Gwen")
    for number in range(14):
        tanyard.street.clock.pass_time(minutes=10)
        scope = "neighbours" if number % 3 == 0 else "network"
        await gwen.puts_up(f"Notice {number}", "é" * 3_500, scope=scope)
    await tanyard.writes(stick, mill_lane)
    [path] = bundles_on(stick)
    return tanyard, mill_lane, path.read_bytes(), path


@dataclass
class Counted:
    """What a reader would take, without keeping it."""

    records: int = 0

    async def take(self, source: Source, records: Sequence[WireRecord]) -> Outcome:
        for each in records:
            verify(each.header, each.signature, each.body)
        self.records += len(records)
        return Outcome(known=len(records))


async def read_counting(here: Parish, stick: Path) -> tuple[int, list[Unpacked]]:
    """How many sound records a stick brings."""
    counted = Counted()
    here.bundles._ingest.take = counted.take  # type: ignore[method-assign]
    results = await here.reads(stick)
    return counted.records, results


async def manifest_of(path: Path) -> Manifest | None:
    """What a bundle says of itself."""

    def look() -> Manifest | None:
        folder = bundle._Folder.open(path.parent, create=False)
        try:
            return folder.look(path.name)
        finally:
            folder.close()

    found: Manifest | None = await in_thread(look)
    return found


async def per_segment(here: Parish, stick: Path, path: Path, whole: bytes) -> list[int]:
    """How many records each segment has: by spoiling it."""
    manifest = await manifest_of(path)
    assert manifest is not None
    counts = []
    for place in range(len(manifest.digests)):
        offset, _ = manifest.segment(place)
        await in_thread(
            partial(path.write_bytes, whole[:offset] + bytes((whole[offset] ^ 1,)) + whole[offset + 1 :])
        )
        counts.append(14 - (await read_counting(here, stick))[0])
    return counts


async def test_a_spoilt_or_torn_bundle_loses_at_most_the_segment_it_is_spoilt_in(
    two: tuple[Parish, Parish, bytes, Path], stick: Path
) -> None:
    _, mill_lane, whole, path = two
    counts = await per_segment(mill_lane, stick, path, whole)
    assert sum(counts) == 14
    assert len(counts) == 4
    chance = random.Random(4)
    for _ in range(60):
        at = chance.randrange(8 * len(whole))
        spoilt = bytearray(whole)
        spoilt[at // 8] ^= 1 << at % 8
        path.write_bytes(spoilt)
        found, [result] = await read_counting(mill_lane, stick)
        assert found >= 14 - max(counts)
        assert found == 14 or result.lost == 1
    for at in {*range(0, len(whole), 3001), *range(len(whole) - 900, len(whole), 37), *range(0, 900, 31)}:
        path.write_bytes(whole[:at])
        found, [result] = await read_counting(mill_lane, stick)
        manifest = await manifest_of(path)
        if manifest is None:
            assert result.damaged
            assert at < 1_500
            continue
        kept = sum(at >= sum(manifest.segment(place)) for place in range(len(counts)))
        assert found == sum(counts[:kept])
        assert result.lost == len(counts) - kept


async def test_each_sixteenth_that_is_torn_off_is_had_again_from_a_sound_copy(
    two: tuple[Parish, Parish, bytes, Path], stick: Path
) -> None:
    tanyard, mill_lane, whole, path = two
    for sixteenth in range(1, 17):
        path.write_bytes(whole[: len(whole) * sixteenth // 16])
        await mill_lane.reads(stick)
    assert set(await mill_lane.street.board()) == set(await tanyard.street.board())
    path.write_bytes(whole)
    assert totals(await mill_lane.reads(stick)) == (0, 14, 0)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_nothing_that_lies_in_the_folder_makes_reading_fail(
    two: tuple[Parish, Parish, bytes, Path], stick: Path, data: st.DataObject
) -> None:
    _, mill_lane, whole, path = two
    cut = data.draw(st.integers(0, len(whole)))
    filling = data.draw(st.binary(max_size=300))
    path.write_bytes(whole[:cut] + filling + whole[cut + data.draw(st.integers(0, 2000)) :])
    found, [_] = await read_counting(mill_lane, stick)
    assert found <= 14


async def test_links_folders_and_pipes_are_no_bundles(
    two: tuple[Parish, Parish, bytes, Path], stick: Path, tmp_path: Path
) -> None:
    _, mill_lane, whole, path = two
    secret = tmp_path / "secret"
    secret.write_bytes(whole)
    path.unlink()
    name = path.name[:-5]
    (stick / FOLDER / f"{name}2.hub").symlink_to(secret)
    (stick / FOLDER / f"{name}3.hub").mkdir()
    os.mkfifo(stick / FOLDER / f"{name}4.hub")
    (stick / FOLDER / f"{name}5.hub").touch()
    (stick / FOLDER / f"{name}x.hub").write_bytes(whole)
    (stick / FOLDER / "autorun.inf").write_bytes(whole)
    results = await mill_lane.reads(stick)
    assert [(each.damaged, each.stored) for each in results] == [(True, 0)] * 4
    shutil.rmtree(stick / FOLDER)
    (tmp_path / "real").mkdir()
    (stick / FOLDER).symlink_to(tmp_path / "real")
    for act in (mill_lane.reads(stick), mill_lane.writes(stick)):
        with pytest.raises((NoStick, StickTrouble)):
            await act
    with pytest.raises(NoStick):
        await mill_lane.reads(tmp_path / "nowhere")
    with pytest.raises(NoStick):
        await mill_lane.writes(tmp_path / "nowhere")
    assert list((tmp_path / "real").iterdir()) == []


async def test_a_stick_that_is_pulled_out_while_it_is_read_is_read_on_later(
    two: tuple[Parish, Parish, bytes, Path], stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mill_lane, _, _ = two
    pread, reads = os.pread, 0

    def pulled(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads > 3:
            raise OSError(errno.EIO, "the stick is gone")
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pulled)
    [result] = await mill_lane.reads(stick)
    assert 0 < result.stored < 14
    assert result.lost == 3
    monkeypatch.undo()
    [again] = await mill_lane.reads(stick)
    assert (again.stored, again.known) == (14 - result.stored, result.stored)


async def test_a_power_cut_while_writing_leaves_no_half_bundle(
    parish: OpenParish, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tanyard, mill_lane = await parish("tanyard-road"), await parish("mill-lane")
    await tanyard.pairs_with(mill_lane)
    gwen = tanyard.street.person("Gwen")
    for number in range(6):
        tanyard.street.clock.pass_time(minutes=10)
        await gwen.puts_up(f"Notice {number}", "é" * 3_900, scope="network")
    real = {name: getattr(os, name) for name in ("write", "fsync", "rename", "unlink")}
    steps: list[str] = []
    stop_at = 10**9

    def watched(name: str) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            about = [str(each) for each in given if isinstance(each, str)]
            if name in ("rename", "unlink") and not more:
                return real[name](*given)
            if name in ("write", "fsync") and not _is_on(stick, given[0]):
                return real[name](*given)
            if len(steps) == stop_at:
                raise OSError(errno.EIO, "the stick is gone")
            done = real[name](*given, **more)
            steps.append(" ".join([name, *about]))
            for path in bundles_on(stick):
                assert _whole(stick, path), (path, steps)
            return done

        return call

    for name in real:
        monkeypatch.setattr(os, name, watched(name))
    await tanyard.writes(stick, mill_lane)
    every = list(steps)
    renamed = next(place for place, each in enumerate(every) if each.startswith("rename"))
    assert every[renamed - 1] == "fsync", "it had its name before its bytes were on the stick"
    assert "fsync" in every[renamed + 1 :], "its name was never made to stay"
    for cut in range(len(every)):
        stop_at = 10**9
        shutil.rmtree(stick / FOLDER)
        steps, stop_at = [], cut
        with pytest.raises(StickTrouble):
            await tanyard.writes(stick, mill_lane)
        for path in bundles_on(stick):
            assert _whole(stick, path)
    stop_at = 10**9
    await tanyard.writes(stick, mill_lane)
    assert not list((stick / FOLDER).glob("*.tmp"))
    assert len(bundles_on(stick)) == 1


def _is_on(stick: Path, descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").resolve().is_relative_to(stick)


def _whole(stick: Path, path: Path) -> bool:
    folder = bundle._Folder.open(stick, create=False)
    try:
        manifest = folder.look(path.name)
        if manifest is None:
            return False
        reader = bundle._Reader(folder, path.name, manifest, None)
        for place in range(len(manifest.digests)):
            reader.entries(place)
        reader.close()
    finally:
        folder.close()
    return True


async def test_what_a_power_cut_left_and_what_has_served_is_cleared_away_and_nothing_else(
    two: tuple[Parish, Parish, bytes, Path], stick: Path
) -> None:
    tanyard, mill_lane, _, path = two
    await mill_lane.writes(stick, tanyard)
    theirs = [each for each in bundles_on(stick) if each != path]
    await tanyard.writes(stick)
    left = path.with_name(path.name.replace("-1.hub", "-9.hub.tmp"))
    left.write_bytes(b"half")
    (stick / FOLDER / "shopping.txt").write_text("eggs")
    before = {each.name for each in bundles_on(stick)}
    packed = await tanyard.writes(stick, mill_lane, days=90)
    after = {each.name for each in bundles_on(stick)}
    assert after == before - {path.name} | set(packed.files)
    assert all(each.exists() for each in theirs)
    assert not left.exists()
    assert (stick / FOLDER / "shopping.txt").read_text() == "eggs"


async def test_a_stick_without_room_is_left_as_it_was(
    two: tuple[Parish, Parish, bytes, Path], stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tanyard, mill_lane, whole, path = two
    monkeypatch.setattr(bundle._Folder, "free_bytes", lambda _: 60_000)
    with pytest.raises(StickFull) as refused:
        await tanyard.writes(stick, mill_lane, days=90)
    assert refused.value.fields == {"needed": 2, "free": 0}
    assert [each.read_bytes() for each in bundles_on(stick)] == [whole]
    assert path.exists()


async def test_one_stick_is_served_at_a_time(two: tuple[Parish, Parish, bytes, Path], stick: Path) -> None:
    _, mill_lane, _, _ = two
    async with mill_lane.bundles._stick(stick, create=False):
        with pytest.raises(StickBusy):
            await mill_lane.reads(stick)


async def test_the_manifest_says_how_much_comes_and_of_what(
    two: tuple[Parish, Parish, bytes, Path], stick: Path
) -> None:
    tanyard, mill_lane, _, path = two
    manifest = await manifest_of(path)
    assert manifest is not None
    assert path.name == f"{base32(tanyard.hub)[:8]}-20261123-1.hub"
    assert (manifest.hub, manifest.to, manifest.records) == (tanyard.hub, mill_lane.hub, 14)
    assert manifest.sets == (SetKey("notices", b""), SetKey("notices", tanyard.hub))


# --- the caretaker's commands ---------------------------------------------------------------------


@pytest_asyncio.fixture
async def desks(parish: OpenParish, tmp_path: Path) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two hubs and the keyboards of their caretakers."""
    async with AsyncExitStack() as stack:
        made = []
        for name in ("tanyard-road", "mill-lane"):
            here = await parish(name)
            endpoints = CourierApi(here.bundles, here.street.hub.neighbours).endpoints()
            socket = AdminSocket(here.street.data / SOCKET, endpoints)
            await socket.start()
            stack.push_async_callback(socket.stop)
            made.append(Desk(here))
        yield made[0], made[1]


@dataclass
class Desk:
    """A caretaker at the keyboard."""

    parish: Parish

    async def types(self, *words: str | Path) -> tuple[int, str]:
        """A command's exit code, and what it prints."""
        given = [*map(str, words), "--data", str(self.parish.street.data)]
        said = io.StringIO()

        def run() -> int:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                try:
                    main(given)
                except SystemExit as end:
                    return int(end.code or 0)
            raise AssertionError("a command ends with its code")

        code = await in_thread(run)
        return code, said.getvalue()


async def test_two_caretakers_pair_by_cards_and_words_and_carry_bundles(
    desks: tuple[Desk, Desk], stick: Path
) -> None:
    tanyard, mill_lane = desks
    cards = {}
    for desk in desks:
        code, said = await desk.types("neighbours", "card", "write", stick)
        assert code == 0
        path = stick / FOLDER / f"{short_name(desk.parish.hub)}.hubcard"
        words = words_of(desk.parish.hub)
        assert str(path) in said
        assert words in said
        cards[desk.parish.hub] = path, words
    for desk, other in (desks, desks[::-1]):
        path, words = cards[other.parish.hub]
        code, said = await desk.types("neighbours", "card", "read", path)
        assert (code, words in said) == (0, True)
        wrong = " ".join(reversed(words.split()))
        code, said = await desk.types("neighbours", "card", "accept", path, "--words", wrong)
        assert (code, "not the words" in said) == (1, True)
        own, own_words = cards[desk.parish.hub]
        code, said = await desk.types("neighbours", "card", "accept", own, "--words", own_words)
        assert (code, "this hub itself" in said) == (1, True)
        code, said = await desk.types("neighbours", "card", "accept", path, "--words", words.upper())
        assert (code, "is a neighbour" in said) == (0, True)
        assert [known.neighbour.hub for known in await desk.parish.street.hub.neighbours.every()] == [
            other.parish.hub
        ]
    assert await tanyard.parish.street.acts() == ["pair"]
    code, said = await tanyard.types("neighbours", "card", "read", stick / "holiday.jpg")
    assert (code, "not a hub’s card" in said) == (1, True)

    await tanyard.parish.street.person("Gwen").puts_up("Ladder", scope="network")
    code, said = await tanyard.types("bundle", "write", stick, "--for", "Mill Lane", "--files", "all")
    assert (code, said.splitlines()[0].startswith("1 records and 0 files, ")) == (0, True)
    [path] = bundles_on(stick)
    assert path.name in said
    code, said = await mill_lane.types("bundle", "read", stick)
    assert (code, said.count("\n")) == (0, 1)
    assert said.startswith("OK    From Tanyard Road (1 records, made 2026-11-23")
    assert said.endswith("): 1 new, 0 known\n")
    code, said = await mill_lane.types("bundle", "write", stick, "--for", "tanyard road", "--files", "none")
    assert (code, said) == (0, "There is nothing new to carry. You can pull it out.\n")
    whole = path.read_bytes()
    path.write_bytes(whole[:-500])
    code, said = await mill_lane.types("bundle", "read", stick)
    assert code == 4
    assert "1 of 1 parts could not be read" in said
    path.write_bytes(b"")
    code, said = await mill_lane.types("bundle", "read", stick, "--json")
    assert (code, json.loads(said)[0]["hub"]) == (4, "")
    for verb, where, whom in (
        ("write", stick, ["--for", "Nobody"]),
        ("read", stick / "nowhere", []),
        ("write", stick / "nowhere", []),
    ):
        code, said = await tanyard.types("bundle", verb, where, *whom)
        assert (code, "Nothing was changed" in said) == (1, True)
