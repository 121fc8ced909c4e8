"""Hubs that look alive: ``python -m tests.demo --port 8080`` runs three, each filled with its street.

They are paired and swap, and their residents go on writing (`tests.three_hubs`). Each has notices of the
last weeks with replies, pictures made by the hub's own picture worker, and the first one files and a few
decisions as well. ``--alone`` runs one hub that has its neighbours' notices without talking to them. All
is in a temporary folder that goes when the hubs stop, or in ``--data DIR``, which stays and is filled
only once.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hub import cli
from hub.app import Hub
from hub.domain.bodies import NoticeBody, ReplyBody, encode_notice, encode_reply
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, ObjectId, base32
from hub.domain.ledger import Act, Role
from hub.domain.notices import Kind, NoticeDraft, Picture, Scope
from hub.domain.policy import DEFAULT_RULES, Reason
from hub.domain.records import Header, RecordType, seal
from hub.runtime.system_clock import SystemClock
from hub.services.filekeeping import Wanted
from hub.services.fileshare import TypedFiles
from hub.services.identity import Identity, identity_of
from hub.services.pictures import PictureLimits, PictureMaker
from hub.services.publishing import publish_notice, publish_reply, retract
from hub.storage import decisions, journal, moderation, notices
from hub.storage.journal import Pen
from hub.storage.projections import refresh
from tests import three_hubs, world
from tests.three_hubs import say
from tests.world import DAY_MS, HOUR_MS, StreetNotice, StreetReply
from tests.world_content.pictures import photograph

MANY = 320
WEEKS = 5.0
"""Longer than notices last, so that some have ended."""
SEED = 1
STREETS = {world.OWN: (140, 1), "mill-lane": (150, 2), "oakfield": (120, 3)}
"""The three hubs that swap: how many notices each has of its own, and the seed they are made up with."""
PICTURE_WIDTH = 1400
_TRAVEL_MS = 20 * 60_000
"""How long after it was written a neighbour's record arrives here."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What there is now: every object by the notice or reply it was made from, oldest first."""

    notices: Mapping[ObjectId, StreetNotice]
    replies: int
    pictures: int
    decisions: int
    files: int


def settings_file(key: str = world.OWN) -> str:
    """The ``hub.toml`` of the hub ``key``."""
    [hub] = [each for each in (world.own_hub(), *world.neighbours()) if each.key == key]
    told = f'[hub]\nname = "{hub.name}"\nhouse_colour = "{hub.colour}"\n'
    if key != world.OWN:
        return told
    return (
        f'{told}caretaker = "{world.looked_after_by()}"\n'
        'opening = "The hall is open on weekdays from 9 to 5, and whenever the light is on."\n'
        'contact = "A note through the hall’s letter box finds us."\n'
        'controller = "Tanyard Road Residents’ Group, at the hall."\n'
    )


async def fill(
    data: Path,
    now_ms: int,
    *,
    many: int = MANY,
    weeks: float = WEEKS,
    pictures: bool = True,
) -> Filled:
    """Found a hub in the empty folder ``data`` and fill it with the street as it is at ``now_ms``.

    Its neighbours' notices are there as if they had been swapped.
    """
    street = [*world.hand_written(), *world.many(many, SEED, now_ms, weeks=weeks)]
    return await _fill(data, settings_file(), street, SEED, now_ms, pictures=pictures, ours=True)


async def fill_one(data: Path, key: str, now_ms: int, *, more_settings: str = "") -> Filled:
    """Found the hub ``key`` in the empty folder ``data``, with what its own residents put up."""
    count, seed = STREETS[key]
    street = world.own_notices(key, count, seed, now_ms, weeks=WEEKS)
    settings = settings_file(key) + more_settings
    return await _fill(data, settings, street, seed, now_ms, pictures=True, ours=key == world.OWN)


async def _fill(
    data: Path,
    settings: str,
    street: Sequence[StreetNotice],
    seed: int,
    now_ms: int,
    *,
    pictures: bool,
    ours: bool,
) -> Filled:
    """``ours``: it is our own hub, which has a file share and decisions as well."""
    await asyncio.to_thread(_write_settings, data, settings)
    hub = await Hub.open(data)
    try:
        made = await _pictures(hub, street) if pictures else {}
        filling = _Filling(hub.identity, now_ms, made, ours, random.Random(seed))
        await hub.database.write(lambda connection: filling.write(connection, street))
        files = await _shelve(hub) if pictures and ours else 0
        await hub.housekeeping.index_all()
        return Filled(filling.made, filling.replies, len(made), filling.decided, files)
    finally:
        await hub.close()


def _write_settings(data: Path, settings: str) -> None:
    data.mkdir(parents=True, exist_ok=True)
    (data / "hub.toml").write_text(settings, encoding="utf-8")


async def _pictures(hub: Hub, street: Iterable[StreetNotice]) -> dict[str, Picture]:
    """Each scene that somebody shows, as the hub's picture worker makes it."""
    scenes = sorted({picture.scene for notice in street for picture in notice.pictures})
    maker = PictureMaker(hub.blobs, hub.blobs.staging, PictureLimits())
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{scene}.jpg" for scene in scenes]
        await asyncio.to_thread(_photograph, paths)
        return dict(zip(scenes, await maker.make(paths), strict=True))


async def _shelve(hub: Hub) -> int:
    """Put the street's papers, tunes and photographs into collections, as its caretakers would."""
    count = 0
    for shelf in world.shelves():
        wanted = Wanted(
            title=shelf.title,
            description=shelf.description,
            owner=shelf.owner,
            language=shelf.lang,
            may_add=shelf.may_add,
            licence=shelf.licence,
            scope=str(Scope.NETWORK),
        )
        collection = await hub.filekeeping.add_collection(wanted, "demo")
        for file in shelf.files:
            typed = TypedFiles(file.description, file.by)
            await hub.filekeeping.add(
                collection.public_id,
                file.name,
                typed,
                _pieces(file.data),
                len(file.data),
                original=False,
                actor="demo",
            )
            count += 1
    return count


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 65_536):
        yield data[at : at + 65_536]


def _photograph(paths: Iterable[Path]) -> None:
    for path in paths:
        path.write_bytes(photograph(path.stem, width=PICTURE_WIDTH, location=True))


@dataclass(slots=True)
class _Hand:
    """A neighbour's hub writing its own records: its key, and the next number of its log."""

    identity: Identity
    epoch: Epoch
    seq: int = 0

    def record(
        self,
        connection: sqlite3.Connection,
        kind: RecordType,
        obj: ObjectId,
        at_ms: int,
        exp_ms: int,
        scope: Scope,
        body: bytes,
        ref: ObjectId | None = None,
    ) -> None:
        """Sign a record as written at ``at_ms`` and take it into the log of ``connection``."""
        self.seq += 1
        stamp = Stamp(at_ms, self.seq)
        header = Header(
            self.identity.hub, self.epoch, self.seq, kind, obj, stamp, TimeQuality.CARETAKER, exp_ms, scope,
            ref=ref,
        )  # fmt: skip
        journal.append(connection, seal(header, body, self.identity.sign), at_ms + _TRAVEL_MS)
        refresh(connection, obj)


@dataclass(slots=True)
class _Filling:
    """One transaction's worth of a street."""

    identity: Identity
    now_ms: int
    pictures: Mapping[str, Picture]
    ours: bool
    """Whether it is our own hub's, with its neighbours' notices and what its caretakers decided."""
    chance: random.Random
    """Makes the ids of what is put up as well: no two hubs may share one."""
    made: dict[ObjectId, StreetNotice] = field(default_factory=dict)
    replies: int = 0
    decided: int = 0

    def write(self, connection: sqlite3.Connection, street: Sequence[StreetNotice]) -> None:
        """Write everything in the order it happened, as the hub would have over those weeks."""
        near = {notice.hub for notice in street} if self.ours else set()
        hands = {hub.key: self._meet(connection, hub) for hub in world.neighbours() if hub.key in near}
        for at_ms, act in sorted(self._acts(connection, street, hands), key=lambda each: each[0]):
            if at_ms <= self.now_ms:
                act(at_ms)

    def _meet(self, connection: sqlite3.Connection, hub: world.StreetHub) -> _Hand:
        identity = identity_of(hashlib.sha256(hub.key.encode()).digest())
        decisions.know_origin(connection, decisions.Origin(identity.hub, hub.name, hub.colour))
        return _Hand(identity, Epoch(self.chance.randbytes(8)))

    def _acts(
        self, connection: sqlite3.Connection, street: Sequence[StreetNotice], hands: Mapping[str, _Hand]
    ) -> Iterator[tuple[int, Callable[[int], None]]]:
        for notice in street:
            obj, hand = ObjectId(self.chance.randbytes(16)), hands.get(notice.hub)
            written_ms = notice.written_ms(self.now_ms)
            yield written_ms, partial(self._put_up, connection, notice, obj, hand)
            for reply in notice.replies:
                yield written_ms + reply.after_ms, partial(self._answer, connection, reply, notice, obj, hand)
        if self.ours:
            yield from self._decisions(connection)

    def _pen(self, at_ms: int) -> Pen:
        return Pen(self.identity.sign, at_ms, TimeQuality.CARETAKER)

    def _put_up(
        self,
        connection: sqlite3.Connection,
        notice: StreetNotice,
        obj: ObjectId,
        hand: _Hand | None,
        at_ms: int,
    ) -> None:
        shown = [
            replace(self.pictures[each.scene], alt=each.alt)
            for each in notice.pictures
            if each.scene in self.pictures
        ]
        draft, salt = notice.draft(self.now_ms, shown), self.chance.randbytes(16)
        if draft.kind is Kind.URGENT and not notice.pinned and draft.lang != "en":
            draft = replace(draft, kind=Kind.NEWS)  # one warning in five languages would fill a phone
        self.made[obj] = notice
        if hand is None:
            publish_notice(connection, self._pen(at_ms), obj, draft, salt)
        else:
            body = encode_notice(NoticeBody(draft, at_ms), salt)
            hand.record(connection, RecordType.NOTICE, obj, at_ms, draft.expires_ms, draft.scope, body)
        if notice.pinned:
            week = self.now_ms + 7 * DAY_MS
            moderation.mark(connection, obj, pinned_until_ms=week, official_until_ms=week)

    def _answer(
        self,
        connection: sqlite3.Connection,
        reply: StreetReply,
        notice: StreetNotice,
        obj: ObjectId,
        hand: _Hand | None,
        at_ms: int,
    ) -> None:
        """Answers come from where the notice is, one in three of a neighbour's from our own street."""
        self.replies += 1
        answer, salt = ObjectId(self.chance.randbytes(16)), self.chance.randbytes(16)
        draft = reply.draft()
        standing = notices.by_object(connection, at_ms, obj)
        if standing is None:
            return
        if hand is None or self.chance.random() < 1 / 3:
            publish_reply(connection, self._pen(at_ms), answer, draft, standing, salt)
        else:
            body = encode_reply(ReplyBody(draft, at_ms), salt)
            hand.record(
                connection, RecordType.REPLY, answer, at_ms, standing.expires_ms, standing.scope, body, obj
            )

    # --- what the caretakers had to do --------------------------------------------------------------

    def _decisions(self, connection: sqlite3.Connection) -> Iterator[tuple[int, Callable[[int], None]]]:
        """An advert erased, a quarrel hidden, one thing looked at and kept; two things still wait."""

        def decide(act: Act, rule: int, role: Role, at_ms: int, outcome: str = "") -> None:
            self.decided += 1
            decisions.decide(connection, at_ms, act, DEFAULT_RULES[rule - 1], role, "notice", outcome)

        def write(kind: Kind, title: str, text: str, at_ms: int) -> ObjectId:
            obj = ObjectId(self.chance.randbytes(16))
            draft = NoticeDraft(kind, title, text, "en", Scope.HUB, at_ms + 28 * DAY_MS)
            publish_notice(connection, self._pen(at_ms), obj, draft, self.chance.randbytes(16))
            return obj

        def advert(at_ms: int) -> None:
            obj = write(Kind.WORK, "EARN £900 A DAY FROM HOME", "Ask me how. Places are going fast.", at_ms)
            later = at_ms + 3 * HOUR_MS
            retract(connection, self._pen(later), obj)
            decide(Act.ERASE, 4, Role.CARETAKER, later)

        def quarrel(at_ms: int) -> None:
            text = "You know who you are, you know which hedge, and I know where you park."
            obj = write(Kind.NEWS, "To whoever cut my hedge", text, at_ms)
            moderation.hide(connection, obj, None, at_ms + HOUR_MS, "reports", by_reports=True)
            decide(Act.AUTO_HIDE, 1, Role.REPORTS, at_ms + HOUR_MS, "waiting")
            decide(Act.HIDE, 1, Role.CARETAKER, at_ms + 9 * HOUR_MS)

        def kept(at_ms: int) -> None:
            decide(Act.KEEP, 4, Role.CARETAKER, at_ms)

        def reported(at_ms: int) -> None:
            newest = notices.shown(connection, at_ms, MANY)
            offer = next(notice for notice in newest if notice.lang == "en" and notice.kind is Kind.WORK)
            report = moderation.Report(
                base32(self.chance.randbytes(5)), offer.obj, "notice", str(Reason.UNTRUE),
                "I rang, and nobody there knows anything about it.", None, at_ms, None, None, "", "",
            )  # fmt: skip
            moderation.file_report(connection, report, None)

        def waiting(at_ms: int) -> None:
            draft = NoticeDraft(
                Kind.GIVE, "Cockerel, early riser", "Free to anyone with no neighbours.", "en", Scope.HUB,
                at_ms + 28 * DAY_MS,
            )  # fmt: skip
            body = encode_notice(NoticeBody(draft, at_ms), self.chance.randbytes(16))
            obj = ObjectId(self.chance.randbytes(16))
            moderation.hold(
                connection,
                moderation.Held(obj, None, "notice", body, draft.expires_ms, draft.scope, at_ms, False),
            )

        yield self.now_ms - 19 * DAY_MS, advert
        yield self.now_ms - 8 * DAY_MS, quarrel
        yield self.now_ms - 3 * DAY_MS, kept
        yield self.now_ms - 5 * HOUR_MS, reported
        yield self.now_ms - 2 * HOUR_MS, waiting


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill hubs and run them until they are stopped."""
    parser = argparse.ArgumentParser(
        prog="tests.demo", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--port", default="8080", help="port of the first hub's pages (default 8080)")
    parser.add_argument("--listen", help="address to listen on (default: all of this machine)")
    parser.add_argument("--data", type=Path, help="a folder to keep; filled if there is no hub in it yet")
    parser.add_argument("--alone", action="store_true", help="one hub that talks to no other")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two things that happen")
    parser.add_argument("--only", choices=STREETS, help=argparse.SUPPRESS)
    parser.add_argument("--settings", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="hub-demo-") as folder:
        data = given.data or Path(folder, "data")
        if given.alone or given.only or (data / "hub.db").exists():
            _run_one(data, given)
        else:
            three_hubs.run(data, tuple(STREETS), int(given.port), given.listen, given.every, keep=given.data)


def _run_one(data: Path, given: argparse.Namespace) -> None:
    if (data / "hub.db").exists():
        say(f"{data} holds a hub already: it is started as it is.")
    else:
        _fill_one(data, given.only, given.settings)
    if given.data is None:
        say("It is thrown away when the hub stops; --data DIR keeps one.")
    say(f"Caretakers' commands for it: hub status --data {data}")
    listen = ["--listen", given.listen] if given.listen else []
    cli.main(["run", "--data", str(data), "--port", given.port, *listen])


def _fill_one(data: Path, only: str | None, settings: str) -> None:
    began, now_ms = time.monotonic(), SystemClock().now_ms()
    if only is None:
        filled = asyncio.run(fill(data, now_ms))
        name, about = world.own_hub().name, " from five hubs"
    else:
        filled = asyncio.run(fill_one(data, only, now_ms, more_settings=settings))
        [name] = [hub.name for hub in (world.own_hub(), *world.neighbours()) if hub.key == only]
        about = ""
    say(
        f"Made {name} with {len(filled.notices)} notices{about}, {filled.replies} replies and "
        f"{filled.pictures} pictures of five weeks, {filled.files} files and {filled.decisions} decisions "
        f"({time.monotonic() - began:.1f} s)."
    )


if __name__ == "__main__":
    main()
