"""Advice: telling neighbours what this hub would not show, and what becomes of what they tell (sync.md 2.4).

Advice forces nobody: it is listed for caretakers, and hides something here only where one of them chose
to follow a neighbour's block list. Nothing that is put up here is hidden by it, and nothing that it takes
back is shown again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from hub.domain.advice import (
    BLOCK_LIST_LASTS_MS,
    FLAG_LASTS_MS,
    MAX_RULE,
    Blocked,
    Entry,
    Flag,
    Following,
    block_list_object,
    encode_block_list,
    encode_flag,
    fitting,
)
from hub.domain.errors import NoRoom, NotFound, Refused
from hub.domain.ids import HubId, ObjectId, base32
from hub.domain.ledger import Act, Role
from hub.domain.neighbours import PINNED, Neighbour, told_apart
from hub.domain.notices import Scope
from hub.domain.policy import Reason
from hub.domain.records import RecordType
from hub.services.caretaking import Caretaking, Item
from hub.services.neighbours import Neighbours, NotPaired
from hub.services.publishing import retract
from hub.storage import advice, decisions, journal, moderation, neighbours, notices, sets
from hub.storage.advice import Shown
from hub.storage.database import Connection, Database
from hub.storage.journal import Pen
from hub.storage.projections import refresh
from hub.words import N_

GATHER_S = 2.0
"""Records come one batch after the other: what they bring is looked at together."""
MOST_LISTED = 200
HIDDEN_AT_ONCE = 200
"""In one transaction: what residents write meanwhile waits for no more than one."""


class OwnItem(Refused):
    """The item is this hub's own."""

    code = "own-item"
    status = 409
    template = N_("This was put up here, so nobody needs to be told. Nothing was changed. Hide or erase it.")


class NotFlagged(Refused):
    """There is no flag to take back."""

    code = "not-flagged"
    status = 409
    template = N_("This hub has not flagged that. Nothing was changed.")


class BadReason(Refused):
    """A reason or a rule that there is not."""

    code = "bad-reason"
    status = 422
    template = N_(
        "Say one of these reasons: {reasons}; and a house rule by its number, if you name one. "
        "Nothing was sent."
    )


@dataclass(frozen=True, slots=True)
class Advised:
    """What the neighbour that is called ``by`` advises about something that people see here.

    ``item`` is what it is about; None for a blocked hub that is called ``about``, of which ``count`` items
    are here. ``flag`` is why; None for an entry of a block list. ``at_ms`` is when the neighbour said so.
    """

    by: str
    item: Item | None
    flag: Flag | None
    at_ms: int
    about: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Advice:
    """``follows`` are the neighbours whose block lists hide things here, ``listed`` how many entries this
    hub's own list has."""

    advised: tuple[Advised, ...]
    follows: tuple[str, ...]
    listed: int


class Advising:
    """What caretakers do, and `run`, which runs forever under the supervisor."""

    def __init__(
        self,
        database: Database,
        caretaking: Caretaking,
        roster: Neighbours,
        hub: HubId,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._caretaking = caretaking
        self._roster = roster
        self._hub = hub
        self._pen = pen
        self._chance = chance
        self._written = asyncio.Event()
        self._written.set()
        self._looked: tuple[frozenset[Entry], int] = frozenset(), 0
        """For which entries of blocked hubs everything was looked through, and up to which record."""

    # --- telling neighbours -------------------------------------------------------------------------

    async def flag(self, name: str, reason: str, rule: str, actor: str) -> str:
        """Tell the neighbours why this hub's caretakers object to another hub's item; returns its id.

        ``rule`` is a number of the house rules, or empty; a later flag takes the place of an earlier one.
        Raises `BadReason`, `OwnItem`.
        """
        if reason not in set(Reason) or (rule and not (rule.isdecimal() and 1 <= int(rule[:3]) <= MAX_RULE)):
            raise BadReason(reasons=", ".join(Reason))
        item, flag = await self._foreign(name), Flag(Reason(reason), int(rule or 0))
        pen, new = self._pen(), ObjectId(self._chance(16))

        def write(connection: Connection) -> None:
            obj = advice.flag_on(connection, item.obj, self._hub) or new
            journal.publish(
                connection,
                pen,
                RecordType.FLAG,
                obj,
                pen.now_ms + FLAG_LASTS_MS,
                Scope.NEIGHBOURS,
                lambda _: encode_flag(flag, self._chance(16)),
                ref=item.obj,
            )
            refresh(connection, obj)
            decisions.note(connection, pen.now_ms, actor, f"flag {reason}", item.public_id)

        await self._database.write(write)
        return item.public_id

    async def unflag(self, name: str, actor: str) -> str:
        """Take a flag back, here and at the neighbours; returns the item's id. Raises `NotFlagged`."""
        item, pen = await self._foreign(name), self._pen()

        def write(connection: Connection) -> None:
            obj = advice.flag_on(connection, item.obj, self._hub)
            if obj is None:
                raise NotFlagged
            retract(connection, pen, obj)
            decisions.note(connection, pen.now_ms, actor, "unflag", item.public_id)

        await self._database.write(write)
        return item.public_id

    async def block(self, name: str, actor: str, *, bytes_too: bool = False, off: bool = False) -> str:
        """Put another hub's item on this hub's block list, or take it off; returns its id.

        ``bytes_too``: its file or pictures as well, in whatever else they stand; off the list, they always
        go with it. Raises `OwnItem`.
        """
        item = await self._foreign(name)

        def entries(connection: Connection) -> list[Entry]:
            blobs = (
                bytes.fromhex(blob) for blob in notices.blobs_of(connection, item.obj) if bytes_too or off
            )
            return [Entry(Blocked.OBJECT, item.obj), *(Entry(Blocked.BLOB, blob) for blob in blobs)]

        await self._list(entries, actor, item.public_id, off=off)
        return item.public_id

    async def block_hub(self, name: str, actor: str, *, off: bool = False) -> Neighbour:
        """Put a neighbour, or one that was, on this hub's block list, or take it off."""
        found = (await self._roster.show(name)).neighbour
        entry = Entry(Blocked.HUB, found.hub)
        await self._list(lambda _: [entry], actor, base32(found.hub)[:26], off=off)
        return found

    async def _foreign(self, name: str) -> Item:
        item = await self._caretaking.item(name)
        shown = item.notice or item.reply or item.file or item.collection
        if shown is None or shown.hub == self._hub:
            raise OwnItem
        return item

    async def _list(
        self, entries: Callable[[Connection], Sequence[Entry]], actor: str, subject: str, *, off: bool
    ) -> None:
        pen = self._pen()

        def write(connection: Connection) -> None:
            advice.block(connection, entries(connection), pen.now_ms, off=off)
            self._publish_list(connection, pen)
            decisions.note(connection, pen.now_ms, actor, "unblock" if off else "block", subject)

        await self._database.write(write)

    def _publish_list(self, connection: Connection, pen: Pen) -> None:
        obj, entries = block_list_object(self._hub), fitting(advice.blocked(connection))
        journal.publish(
            connection,
            pen,
            RecordType.BLOCK_LIST,
            obj,
            pen.now_ms + BLOCK_LIST_LASTS_MS,
            Scope.NEIGHBOURS,
            lambda _: encode_block_list(entries, self._chance(16)),
        )
        refresh(connection, obj)

    # --- what neighbours tell -----------------------------------------------------------------------

    async def advised(self) -> Advice:
        """What the neighbours advise about anything that people see here, the newest 200; and whose block
        lists are followed."""
        now = self._pen().now_ms

        def read(connection: Connection) -> tuple[Advice, list[tuple[Advised, str]]]:
            roster, names = self._paired(connection), self._names(connection)
            found = [
                (Advised(names[each.by], None, each.flag, each.at_ms), each.shown.public_id)
                for each in advice.flags(connection, now)
                if each.by in roster
            ]
            for by, listed in advice.entries(connection, now).items():
                if by in roster:
                    found += self._of_list(connection, names, by, listed, now)
            follows = tuple(sorted(names[hub] for hub in advice.followed(connection) & roster))
            own = len(fitting(advice.blocked(connection)))
            found.sort(key=lambda each: -each[0].at_ms)
            return Advice((), follows, own), found[:MOST_LISTED]

        told, found = await self._database.read_with(read)
        advised = []
        for each, public_id in found:
            with suppress(NotFound):  # it may have gone meanwhile
                item = await self._caretaking.item(public_id) if public_id else None
                advised.append(replace(each, item=item))
        return replace(told, advised=tuple(advised))

    def _of_list(
        self,
        connection: Connection,
        names: Mapping[HubId, str],
        by: HubId,
        listed: Mapping[Entry, int],
        now_ms: int,
    ) -> list[tuple[Advised, str]]:
        found = []
        for entry, at_ms in listed.items():
            if entry.kind is Blocked.HUB and entry.what != self._hub:
                count = len(advice.named(connection, now_ms, [entry]))
                about = names.get(HubId(entry.what), "")
                if count:
                    found.append((Advised(names[by], None, None, at_ms, about, count), ""))
        single = [entry for entry in listed if entry.kind is not Blocked.HUB]
        at_ms = max(listed.values(), default=0)
        found += [
            (Advised(names[by], None, None, at_ms), shown.public_id)
            for shown in advice.named(connection, now_ms, single)
        ]
        return found

    async def follow(self, name: str, following: Following, actor: str) -> Neighbour:
        """What becomes of a neighbour's block list here. Raises `NotPaired`."""
        found, now = (await self._roster.show(name)).neighbour, self._pen().now_ms
        if found.tie not in PINNED:
            raise NotPaired(hub=found.name)

        def write(connection: Connection) -> None:
            advice.follow(connection, found.hub, apply=following is Following.APPLY)
            decisions.note(connection, now, actor, f"advice {following}", base32(found.hub)[:26])

        await self._database.write(write)
        return found

    def something_was_written(self) -> None:
        """Told after each commit."""
        self._written.set()

    async def run(self) -> None:
        """Hide what followed block lists name, as it comes; write this hub's own list anew in time."""
        while True:
            await self._written.wait()
            await asyncio.sleep(GATHER_S)
            self._written.clear()
            with suppress(NoRoom):  # a full card is told elsewhere
                await self.apply()
                await self.renew()

    async def apply(self) -> int:
        """Hide what the block lists that are followed name and nobody has shown again; returns how much.

        The ledger gets a line for each neighbour and kind of thing. What was put up here stays.
        """
        now, looked = self._pen().now_ms, self._looked

        def look(connection: Connection) -> tuple[tuple[frozenset[Entry], int], list[tuple[HubId, Shown]]]:
            roster, everything = self._paired(connection), advice.entries(connection, now)
            lists = {by: everything.get(by, {}) for by in sorted(advice.followed(connection) & roster)}
            hubs = frozenset(
                entry for listed in lists.values() for entry in listed if entry.kind is Blocked.HUB
            )
            after = looked[1] if hubs == looked[0] else 0
            until = sets.newest(connection)
            found: dict[ObjectId, tuple[HubId, Shown]] = {}
            for by, listed in lists.items():
                for shown in advice.named(connection, now, listed, after):
                    if shown.hub != self._hub and not advice.was_taken(connection, shown.obj):
                        found.setdefault(shown.obj, (by, shown))
            return (hubs, until), list(found.values())

        looking, found = await self._database.read_with(look)
        for at in range(0, len(found), HIDDEN_AT_ONCE):
            await self._database.write(partial(self._hide, found[at : at + HIDDEN_AT_ONCE], now))
        self._looked = looking
        return len(found)

    def _hide(self, found: Sequence[tuple[HubId, Shown]], now_ms: int, connection: Connection) -> None:
        names, counts = self._names(connection), Counter[tuple[HubId, str]]()
        for by, shown in found:
            if advice.take(connection, shown.obj) and moderation.hidden(connection, shown.obj) is None:
                moderation.hide(connection, shown.obj, shown.thread, now_ms, names[by], by_reports=False)
                counts[by, shown.of] += 1
        for (by, of), count in counts.items():
            outcome = str(count) if count > 1 else ""
            decisions.decide(connection, now_ms, Act.HIDE, names[by], Role.ADVICE, of, outcome)

    async def renew(self) -> bool:
        """Write this hub's block list anew when half its time is over; whether it was."""
        pen = self._pen()
        ends_ms = await self._database.read_with(lambda connection: advice.ends(connection, self._hub))
        if not pen.quality or ends_ms is None or ends_ms - pen.now_ms > BLOCK_LIST_LASTS_MS // 2:
            return False
        await self._database.write(lambda connection: self._publish_list(connection, pen))
        return True

    # --- inside -------------------------------------------------------------------------------------

    def _paired(self, connection: Connection) -> frozenset[HubId]:
        return frozenset(each.hub for each in neighbours.every(connection) if each.tie in PINNED)

    def _names(self, connection: Connection) -> dict[HubId, str]:
        names = {hub: origin.name for hub, origin in decisions.origins(connection).items()}
        for each in neighbours.every(connection):
            names.setdefault(each.hub, each.name)
        return told_apart(names)
