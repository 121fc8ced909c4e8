"""What caretakers do: approve, hide, restore, erase, mark, decide reports, pause devices, change settings.

Every act leaves one line in the private audit log (the local user who asked); one that takes something
from residents, or gives it back, leaves one in the public ledger too (role and rule only).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hub.domain.bodies import read_file_body, read_notice_body, read_reply_body
from hub.domain.errors import NotFound, Refused
from hub.domain.files import Collection, File, free_name, name_key
from hub.domain.ids import ObjectId, parse_public, public_form
from hub.domain.ledger import Act, LedgerEntry, Role
from hub.domain.notices import Notice, Reply, State
from hub.domain.policy import DAY_MS
from hub.services.erasure import Eraser
from hub.services.publishing import publish_file, publish_notice, publish_reply, retract
from hub.services.reporting import normal_reference
from hub.storage import authors, decisions, files, journal, moderation, notices, retention, traces
from hub.storage.database import Connection, Database
from hub.storage.journal import Pen
from hub.storage.notices import Counts
from hub.words import N_

MAX_PINS = 3


class TooManyPins(Refused):
    """Three notices are pinned already."""

    code = "too-many-pins"
    status = 409
    template = N_("Three notices are pinned already. Unpin one of them first.")


class NameTheRule(Refused):
    """A decision without a rule."""

    code = "name-the-rule"
    status = 422
    template = N_("Name the house rule this follows, by its number (1 to {rules}) or in your own words.")


class NothingHeld(Refused):
    """The item does not wait for anybody."""

    code = "nothing-held"
    status = 409
    template = N_("This does not wait for approval. Nothing was changed.")


class NotHidden(Refused):
    """The item can be seen."""

    code = "not-hidden"
    status = 409
    template = N_("This is not hidden. Nothing was changed.")


class AlreadyErased(Refused):
    """What was erased cannot come back."""

    code = "already-erased"
    status = 410
    template = N_("This has been erased and cannot be brought back.")


class AmbiguousItem(Refused):
    """More than one item begins with what was typed."""

    code = "ambiguous-item"
    status = 409
    template = N_("More than one item begins like that. Type more of its id.")


@dataclass(frozen=True, slots=True)
class Item:
    """Anything residents put up, as a caretaker sees it, hidden or not; ``held`` if a version waits, and
    ``hide.awaiting`` if it waits because it came from another hub.

    At most one of ``notice``, ``reply``, ``file`` and ``collection`` is there; none of them while the
    first version waits.
    """

    of: str
    obj: ObjectId
    public_id: str
    notice: Notice | None
    reply: Reply | None
    file: File | None
    collection: Collection | None
    state: State
    hide: moderation.Hide | None
    held: moderation.Held | None
    reports: tuple[moderation.Report, ...]
    device: str


class Caretaking:
    """The caretakers' acts. ``actor`` is the local user's name, for the private audit log only."""

    def __init__(
        self,
        database: Database,
        eraser: Eraser,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
        rules: Callable[[], tuple[str, ...]],
    ) -> None:
        self._database = database
        self._eraser = eraser
        self._pen = pen
        self._chance = chance
        self._rules = rules

    # --- looking ----------------------------------------------------------------------------------

    async def notices(self, where: str) -> list[Notice]:
        """Notices, newest first: ``where`` is all, board, hidden or gone."""
        now = self._pen().now_ms
        return await self._database.read_with(lambda connection: notices.every(connection, now, where=where))

    async def waiting(self) -> list[Item]:
        """What waits for approval, the oldest first."""

        def read(connection: Connection) -> list[Item]:
            waiting = [(held.held_ms, held.obj) for held in moderation.all_held(connection)]
            for obj in moderation.awaiting(connection):
                hide = moderation.hidden(connection, obj)
                waiting.append((hide.at_ms if hide else 0, obj))
            return [self._item(connection, obj) for _, obj in sorted(waiting)]

        return await self._database.read_with(read)

    async def item(self, name: str) -> Item:
        """What has, or waits under, the public id that is or begins with ``name``."""
        return await self._database.read_with(
            lambda connection: self._item(connection, self._find(connection, name))
        )

    async def reports(self, *, decided: bool = False) -> list[tuple[moderation.Report, Item]]:
        """Open reports, the oldest first; or the latest decided ones."""

        def read(connection: Connection) -> list[tuple[moderation.Report, Item]]:
            found = (
                moderation.decided_reports(connection, 100)
                if decided
                else moderation.open_reports(connection)
            )
            return [(report, self._item(connection, report.obj)) for report in found]

        return await self._database.read_with(read)

    async def devices(self) -> list[authors.Device]:
        """Devices that have written something."""
        return await self._database.read_with(authors.devices)

    async def ledger(self, before: int | None = None, limit: int = 50) -> list[LedgerEntry]:
        """The public ledger, newest first."""
        return await self._database.read_with(
            lambda connection: decisions.lines(connection, before=before, limit=limit)
        )

    async def counts(self) -> Counts:
        """How much there is of everything."""
        now = self._pen().now_ms
        return await self._database.read_with(lambda connection: notices.counts(connection, now))

    # --- deciding about items ---------------------------------------------------------------------

    async def approve(self, name: str, actor: str) -> str:
        """Put up, or show of another hub, what waits; returns its public id. Raises `NothingHeld`."""
        pen = self._pen()

        def write(connection: Connection) -> str:
            obj = self._find(connection, name)
            held, hide = moderation.held(connection, obj), moderation.hidden(connection, obj)
            if held is not None:
                approve = {"notice": self._approve_notice, "reply": self._approve_reply}
                approve.get(held.of, self._approve_file)(connection, pen, held)
                moderation.release(connection, obj)
            elif hide is not None and hide.awaiting:
                moderation.unhide(connection, obj)
            else:
                raise NothingHeld
            decisions.note(connection, pen.now_ms, actor, "approve", public_form(obj))
            return public_form(obj)

        return await self._database.write(write)

    async def refuse(self, name: str, rule: str, actor: str) -> None:
        """Do not put up what waits: it is erased, and the ledger says by which rule."""
        pen, sentence = self._pen(), self._rule(rule)

        def write(connection: Connection) -> None:
            obj = self._find(connection, name)
            held, hide = moderation.held(connection, obj), moderation.hidden(connection, obj)
            of = self._item(connection, obj).of
            if held is not None:
                moderation.release(connection, obj)
                traces.leave(connection, traces.NOW, retention.blobs_held(held))
                if not held.changes:
                    authors.disown(connection, obj)
            elif hide is not None and hide.awaiting:
                retract(connection, pen, obj)
            else:
                raise NothingHeld
            self._decided(connection, pen.now_ms, Act.REFUSE, sentence, held.of if held else of, actor, obj)

        await self._database.write(write)
        await self._eraser.wipe()

    async def hide(self, name: str, rule: str, actor: str) -> bool:
        """Show an item to nobody, from the next request on; that also decides its reports.

        Whether it came from another hub, whose neighbours can be told as well (`hub.services.advising`).
        """
        pen, sentence = self._pen(), self._rule(rule)

        def write(connection: Connection) -> bool:
            item = self._item(connection, self._find(connection, name))
            self._hide(connection, item, pen.now_ms, sentence, actor)
            moderation.decide_reports(connection, item.obj, pen.now_ms, "hidden", sentence, "")
            shown = item.notice or item.reply or item.file or item.collection
            return shown is not None and shown.hub != journal.own(connection)

        return await self._database.write(write)

    async def restore(self, name: str, rule: str, actor: str) -> None:
        """Show a hidden item again; whoever reported it reads that it stays."""
        pen, sentence = self._pen(), self._rule(rule)

        def write(connection: Connection) -> None:
            item = self._item(connection, self._find(connection, name))
            if item.hide is None and item.state is not State.ERASED:
                raise NotHidden
            self._unhide(connection, item, pen.now_ms, sentence, actor)
            moderation.decide_reports(connection, item.obj, pen.now_ms, "kept", sentence, "")

        await self._database.write(write)

    async def erase(self, name: str, rule: str, actor: str) -> None:
        """Erase an item for good: body, bytes, pictures, search entries, from every file (decision 6).

        With a collection go the files of this hub that lie in it.
        """
        pen, sentence = self._pen(), self._rule(rule)

        def write(connection: Connection) -> None:
            item = self._item(connection, self._find(connection, name))
            self._erase(connection, pen, item)
            moderation.decide_reports(connection, item.obj, pen.now_ms, "erased", sentence, "")
            self._decided(connection, pen.now_ms, Act.ERASE, sentence, item.of, actor, item.obj)

        await self._database.write(write)
        await self._eraser.wipe()

    async def pin(self, name: str, until_ms: int, actor: str) -> None:
        """Pin a notice to the top until a time (0 unpins); at most three at once."""
        pen = self._pen()

        def write(connection: Connection) -> None:
            item = self._item(connection, self._find(connection, name))
            if item.notice is None:
                raise NotFound
            if until_ms and not item.notice.pinned and moderation.pinned(connection, pen.now_ms) >= MAX_PINS:
                raise TooManyPins
            moderation.mark(connection, item.obj, pinned_until_ms=until_ms)
            act = "pin" if until_ms else "unpin"
            decisions.note(connection, pen.now_ms, actor, act, item.public_id)

        await self._database.write(write)

    async def urgent(self, name: str, until_ms: int, actor: str) -> None:
        """Make a notice an official urgent one until a time (0 ends it): it leads the board, and
        reports alone can not hide it."""
        pen = self._pen()

        def write(connection: Connection) -> None:
            item = self._item(connection, self._find(connection, name))
            if item.notice is None:
                raise NotFound
            moderation.mark(connection, item.obj, official_until_ms=until_ms)
            act = "urgent" if until_ms else "not-urgent"
            decisions.note(connection, pen.now_ms, actor, act, item.public_id)

        await self._database.write(write)

    # --- deciding reports -------------------------------------------------------------------------

    async def decide(self, reference: str, outcome: str, rule: str, answer: str, actor: str) -> str:
        """Decide every open report of the item that ``reference`` is about.

        ``outcome`` is hide, keep or erase; ``answer`` is a sentence for those who reported. Keeping
        shows again what reports had hidden. Returns the item's public id.
        """
        pen, sentence = self._pen(), self._rule(rule)

        def write(connection: Connection) -> str:
            report = moderation.report(connection, normal_reference(reference))
            if report is None:
                raise NotFound
            item = self._item(connection, report.obj)
            if outcome == "hide":
                self._hide(connection, item, pen.now_ms, sentence, actor)
            elif outcome == "erase":
                self._erase(connection, pen, item)
                self._decided(connection, pen.now_ms, Act.ERASE, sentence, item.of, actor, item.obj)
            elif item.hide is not None:
                self._unhide(connection, item, pen.now_ms, sentence, actor)
            else:
                self._decided(connection, pen.now_ms, Act.KEEP, sentence, item.of, actor, item.obj)
            word = {"hide": "hidden", "erase": "erased"}.get(outcome, "kept")
            moderation.decide_reports(connection, item.obj, pen.now_ms, word, sentence, answer[:500])
            return item.public_id

        public_id = await self._database.write(write)
        if outcome == "erase":
            await self._eraser.wipe()
        return public_id

    # --- devices ----------------------------------------------------------------------------------

    async def pause_device(self, mark: str, until_ms: int, rule: str, actor: str) -> None:
        """Let a device write nothing until a time; 0 lifts the pause and a ban."""
        await self._restrain(mark, Act.PAUSE if until_ms else Act.LIFT, until_ms, rule, actor)

    async def ban_device(self, mark: str, until_ms: int, rule: str, actor: str) -> None:
        """Let a device write nothing until a time, nor change what it wrote; 0 lifts a pause and the ban."""
        await self._restrain(mark, Act.BAN if until_ms else Act.LIFT, until_ms, rule, actor)

    async def trust_device(self, mark: str, trusted: bool, actor: str) -> None:
        """Let one severe report by this device hide an item until a caretaker has looked (J11)."""
        pen = self._pen()

        def write(connection: Connection) -> None:
            device = self._device(connection, mark)
            authors.set_device(connection, device.hash, trusted=trusted)
            decisions.note(connection, pen.now_ms, actor, "trust" if trusted else "distrust", device.mark)

        await self._database.write(write)

    async def _restrain(self, mark: str, act: Act, until_ms: int, rule: str, actor: str) -> None:
        pen, sentence = self._pen(), self._rule(rule)

        def write(connection: Connection) -> None:
            device = self._device(connection, mark)
            if act is Act.BAN:
                authors.set_device(connection, device.hash, banned_until_ms=until_ms)
            elif act is Act.PAUSE:
                authors.set_device(connection, device.hash, paused_until_ms=until_ms)
            else:
                authors.set_device(connection, device.hash, paused_until_ms=0, banned_until_ms=0)
            days = -(-(until_ms - pen.now_ms) // DAY_MS) if until_ms else 0
            outcome = f"{days} days" if days else ""
            decisions.decide(connection, pen.now_ms, act, sentence, Role.CARETAKER, "device", outcome)
            decisions.note(connection, pen.now_ms, actor, str(act), device.mark)

        await self._database.write(write)

    # --- settings ---------------------------------------------------------------------------------

    async def change_setting(self, key: str, value: str, public_value: str, actor: str) -> None:
        """Note a changed setting (already checked); the ledger says what it is now."""
        now = self._pen().now_ms

        def write(connection: Connection) -> None:
            decisions.change_setting(connection, key, value, now)
            decisions.decide(connection, now, Act.SETTING, key, Role.CARETAKER, "setting", public_value[:120])
            decisions.note(connection, now, actor, "setting", key)

        await self._database.write(write)

    # --- inside -----------------------------------------------------------------------------------

    def _rule(self, rule: str) -> str:
        """The sentence for the ledger: the numbered house rule, or the caretaker's own words."""
        rules, rule = self._rules(), " ".join(rule.split())
        if rule.isdecimal():
            if not 1 <= int(rule) <= len(rules):
                raise NameTheRule(rules=len(rules))
            return rules[int(rule) - 1]
        if not rule:
            raise NameTheRule(rules=len(rules))
        return rule[:200]

    def _find(self, connection: Connection, name: str) -> ObjectId:
        canonical = parse_public(name.strip())
        if canonical is not None:
            found = self._known(connection, canonical)
            if found is not None:
                return found
        waiting = [
            held.obj
            for held in moderation.all_held(connection)
            if canonical and public_form(held.obj, 26).startswith(canonical)
        ]
        if len(waiting) > 1:
            raise AmbiguousItem
        if not waiting:
            raise NotFound
        return waiting[0]

    def _item(self, connection: Connection, obj: ObjectId, held: moderation.Held | None = None) -> Item:
        held = held or moderation.held(connection, obj)
        now = self._pen().now_ms
        notice = notices.by_object(connection, now, obj)
        answer = notices.reply_by_object(connection, obj) if notice is None else None
        file = files.file_by_object(connection, obj)
        collection = files.collection_by_object(connection, now, obj)
        owner = authors.owner(connection, obj)
        device = authors.device(connection, owner.device) if owner and owner.device else None
        reply = answer.reply if answer is not None else None
        kinds = {"notice": notice, "reply": reply, "file": file, "collection": collection}
        of = next((of for of, item in kinds.items() if item is not None), held.of if held else "notice")
        shown, state = kinds[of], State.LIVE
        if answer is not None:
            state = answer.state
        elif isinstance(shown, Notice | File | Collection):
            state = shown.state
        return Item(
            of=of,
            obj=obj,
            public_id=shown.public_id if shown is not None else public_form(obj),
            notice=notice,
            reply=reply,
            file=file,
            collection=collection,
            state=state,
            hide=moderation.hidden(connection, obj),
            held=held,
            reports=tuple(moderation.reports_of(connection, obj)),
            device=device.mark if device else "",
        )

    def _known(self, connection: Connection, name: str) -> ObjectId | None:
        """The object of that public id in any state, whatever it is."""
        now = self._pen().now_ms
        answer = notices.reply_by_public_id(connection, name)
        found = (
            notices.by_public_id(connection, now, name)
            or (answer.reply if answer else None)
            or files.file_by_public_id(connection, name)
            or files.collection_by_public_id(connection, now, name)
        )
        return found.obj if found else None

    def _erase(self, connection: Connection, pen: Pen, item: Item) -> None:
        if item.collection is not None:
            for obj in files.objects_in(connection, item.obj):
                file = files.file_by_object(connection, obj)
                if file is not None and file.hub == item.collection.hub:
                    retract(connection, pen, obj)
        retract(connection, pen, item.obj)

    def _hide(self, connection: Connection, item: Item, now: int, sentence: str, actor: str) -> None:
        answer = notices.reply_by_object(connection, item.obj) if item.of == "reply" else None
        thread = answer.notice if answer else None
        moderation.hide(connection, item.obj, thread, now, sentence, by_reports=False)
        self._decided(connection, now, Act.HIDE, sentence, item.of, actor, item.obj)

    def _unhide(self, connection: Connection, item: Item, now: int, sentence: str, actor: str) -> None:
        if item.state is State.ERASED:
            raise AlreadyErased
        moderation.unhide(connection, item.obj)
        self._decided(connection, now, Act.RESTORE, sentence, item.of, actor, item.obj)

    def _decided(
        self,
        connection: Connection,
        now: int,
        act: Act,
        sentence: str,
        of: str,
        actor: str,
        obj: ObjectId,
    ) -> None:
        decisions.decide(connection, now, act, sentence, Role.CARETAKER, of)
        decisions.note(connection, now, actor, str(act), public_form(obj))

    def _approve_notice(self, connection: Connection, pen: Pen, held: moderation.Held) -> None:
        body = read_notice_body(held.body, held.scope, held.exp_ms)
        publish_notice(
            connection,
            pen,
            held.obj,
            body.draft,
            self._chance(16),
            posted_ms=body.posted_ms if held.changes else None,
            edited_ms=body.edited_ms,
        )
        if not held.changes:
            owner = authors.owner(connection, held.obj)
            authors.count_shown(connection, owner.device if owner else None)

    def _approve_reply(self, connection: Connection, pen: Pen, held: moderation.Held) -> None:
        notice = notices.by_object(connection, pen.now_ms, held.notice) if held.notice else None
        if notice is None or notice.state is not State.LIVE:
            raise AlreadyErased
        body = read_reply_body(held.body)
        publish_reply(
            connection,
            pen,
            held.obj,
            body.draft,
            notice,
            self._chance(16),
            posted_ms=body.posted_ms if held.changes else None,
            edited_ms=body.edited_ms,
        )

    def _approve_file(self, connection: Connection, pen: Pen, held: moderation.Held) -> None:
        """A name that was taken meanwhile gets a number, as at putting up."""
        assert held.notice is not None  # noqa: S101 - a held file names its collection
        collection = files.collection_by_object(connection, pen.now_ms, held.notice)
        if collection is None or collection.state is not State.LIVE:
            raise AlreadyErased
        body = read_file_body(held.body, held.scope, held.exp_ms)
        current = files.file_by_object(connection, held.obj)
        draft = body.draft
        if current is None or name_key(current.name) != name_key(draft.name):
            draft = replace(draft, name=free_name(draft.name, files.names_in(connection, held.notice)))
        publish_file(
            connection,
            pen,
            held.obj,
            draft,
            held.notice,
            self._chance(16),
            posted_ms=body.posted_ms if held.changes else None,
            edited_ms=body.edited_ms,
        )
        if not held.changes:
            owner = authors.owner(connection, held.obj)
            authors.count_shown(connection, owner.device if owner else None)

    def _device(self, connection: Connection, mark: str) -> authors.Device:
        device = authors.device_by_mark(connection, mark.strip().lower().replace(" ", "-"))
        if device is None:
            raise NotFound
        return device
