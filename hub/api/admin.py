"""The caretakers' API: what the commands and the terminal UI call, over the local socket."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hub.api.endpoints import Endpoint, in_path, in_query
from hub.api.schema import (
    AddedOut,
    CollectionIn,
    CollectionOut,
    Decision,
    DeviceOut,
    Done,
    FileOut,
    FindingOut,
    Findings,
    FreedOut,
    ItemOut,
    LedgerOut,
    PairingIn,
    ReceiptOut,
    ReportOut,
    SettingOut,
    Status,
    StatusLine,
    StickIn,
)
from hub.domain.bodies import read_file_body, read_notice_body, read_reply_body
from hub.domain.errors import Refused
from hub.domain.files import Collection, File, media_of
from hub.domain.ids import public_form
from hub.domain.ledger import LedgerEntry
from hub.domain.notices import Notice, State
from hub.services.caretaking import Caretaking, Item
from hub.services.filekeeping import FileKeeping, Wanted
from hub.services.fileshare import TypedFiles
from hub.services.health import Health
from hub.services.preferences import Preferences
from hub.services.receipts import Receipt, Receipts
from hub.services.scrubbing import Scrubbing
from hub.services.upkeep import Upkeep
from hub.storage.moderation import Report
from hub.words import N_


class BadChoice(Refused):
    """A word that is not one of the choices."""

    code = "bad-choice"
    status = 422
    template = N_("Choose one of: {choices}.")


@dataclass(frozen=True, slots=True)
class Order:
    """A caretaker's call: ``actor`` is the local user behind the socket, from the kernel.

    ``body`` is what was decided, ``wanted`` the collection that is asked for, ``pairing`` how to pair,
    ``stick`` what to do with a stick, ``stream`` the bytes of a file and ``length`` how many were announced:
    each where the endpoint takes it.
    """

    actor: str
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Decision = field(default_factory=Decision)
    wanted: CollectionIn = field(default_factory=CollectionIn)
    pairing: PairingIn = field(default_factory=PairingIn)
    stick: StickIn = field(default_factory=StickIn)
    stream: AsyncIterable[bytes] | None = None
    length: int | None = None


AdminEndpoint = Endpoint[Callable[[Order], Awaitable[Any]]]

_WHERE = ("waiting", "board", "hidden", "gone", "all")
_OUTCOMES = ("hide", "keep", "erase")
_FILES = ("newest", "largest", "expiring")


class AdminApi:
    """Shapes in, services called, shapes out: who may do what is decided below."""

    def __init__(
        self,
        caretaking: Caretaking,
        health: Health,
        preferences: Preferences,
        upkeep: Upkeep,
        filekeeping: FileKeeping,
        scrubbing: Scrubbing,
        receipts: Receipts,
        now_ms: Callable[[], int],
    ) -> None:
        self._caretaking = caretaking
        self._filekeeping = filekeeping
        self._scrubbing = scrubbing
        self._receipts = receipts
        self._health = health
        self._preferences = preferences
        self._upkeep = upkeep
        self._now_ms = now_ms

    def endpoints(self) -> list[AdminEndpoint]:
        """The table."""
        item = in_path("id", "Public id of a notice, reply, file, collection or something that waits.")
        mark = in_path("mark", "The device's two words.")
        collection = in_path("id", "Public id or title of a collection.")

        def act(verb: str, sentence: str, call: Callable[[Order], Awaitable[Done]]) -> AdminEndpoint:
            return Endpoint(
                method="POST",
                path=f"/items/{{id}}/{verb}",
                name=f"{verb}Item",
                sentence=sentence,
                call=call,
                answer=Done,
                body=Decision,
                parameters=(item,),
                errors=(404, 409, 410, 422),
            )

        def device(verb: str, sentence: str, call: Callable[[Order], Awaitable[Done]]) -> AdminEndpoint:
            return Endpoint(
                method="POST",
                path=f"/devices/{{mark}}/{verb}",
                name=f"{verb}Device",
                sentence=sentence,
                call=call,
                answer=Done,
                body=Decision,
                parameters=(mark,),
                errors=(404, 422),
            )

        def get(path: str, name: str, sentence: str, call: Any, answer: Any, *more: Any) -> AdminEndpoint:
            return Endpoint(
                method="GET",
                path=path,
                name=name,
                sentence=sentence,
                call=call,
                answer=answer,
                parameters=more,
                errors=(404,) if "{" in path else (),
            )

        where = in_query("where", "Which notices.", enum=list(_WHERE), default="board")
        return [
            get("/status", "status", "How the hub is.", self.status, Status),
            get("/notices", "listItems", "Notices, newest first.", self.list_items, list[ItemOut], where),
            get("/items/{id}", "showItem", "One item, hidden or not.", self.show_item, ItemOut, item),
            act("approve", "Put up what waits.", self.approve),
            act("refuse", "Do not put up what waits.", self.refuse),
            act("hide", "Show an item to nobody.", self.hide),
            act("restore", "Show a hidden item again.", self.restore),
            act("erase", "Erase an item for good.", self.erase),
            act("pin", "Pin a notice until a time, or unpin it.", self.pin),
            act("urgent", "Make a notice officially urgent until a time.", self.urgent),
            get(
                "/reports",
                "listReports",
                "Reports, open or decided.",
                self.reports,
                list[ReportOut],
                in_query("decided", "1 for the decided ones.", enum=["0", "1"]),
            ),
            Endpoint(
                method="POST",
                path="/reports/{reference}/decide",
                name="decideReport",
                sentence="Decide the reports of an item.",
                call=self.decide,
                answer=Done,
                body=Decision,
                parameters=(in_path("reference", "The report's reference."),),
                errors=(404, 410, 422),
            ),
            get("/devices", "listDevices", "Devices that wrote.", self.devices, list[DeviceOut]),
            device("pause", "Let a device write nothing until a time; 0 lifts it.", self.pause_device),
            device("ban", "Ban a device until a time.", self.ban_device),
            device("trust", "Trust a device's reports, or no longer.", self.trust_device),
            get("/collections", "listCollections", "Collections.", self.collections, list[CollectionOut]),
            Endpoint(
                method="POST",
                path="/collections",
                name="addCollection",
                sentence="Make a collection.",
                call=self.add_collection,
                answer=CollectionOut,
                body=CollectionIn,
                errors=(422,),
            ),
            Endpoint(
                method="PUT",
                path="/collections/{id}",
                name="changeCollection",
                sentence="Change a collection.",
                call=self.change_collection,
                answer=CollectionOut,
                body=CollectionIn,
                parameters=(collection,),
                errors=(404, 422),
            ),
            Endpoint(
                method="PUT",
                path="/collections/{id}/files/{name}",
                name="addFile",
                sentence="Put a file, the bytes of the body, into a collection.",
                call=self.add_file,
                answer=AddedOut,
                parameters=(
                    collection,
                    in_path("name", "The file's name, percent-encoded."),
                    in_query("by", "Who made it."),
                    in_query("description", "What it is."),
                    in_query("original", "1 to keep what a camera wrote into it.", enum=["0", "1"]),
                ),
                errors=(404, 413, 422, 507),
                raw=True,
            ),
            get(
                "/files",
                "listFiles",
                "Files.",
                self.files,
                list[FileOut],
                in_query("where", "In which order.", enum=list(_FILES), default="newest"),
                in_query("in", "Only those of this collection."),
            ),
            Endpoint(
                method="POST",
                path="/files/free",
                name="freeFiles",
                sentence="Free what nobody misses, or (yes: false) only say how much that is.",
                call=self.free,
                answer=FreedOut,
                body=Decision,
            ),
            Endpoint(
                method="POST",
                path="/scrub",
                name="scrub",
                sentence="Verify the bytes of every file and picture now.",
                call=self.scrub,
                answer=Findings,
                body=Decision,
            ),
            get("/settings", "listSettings", "Every setting.", self.settings, list[SettingOut]),
            Endpoint(
                method="PUT",
                path="/settings/{key}",
                name="changeSetting",
                sentence="Change a setting that can be changed while the hub runs.",
                call=self.change_setting,
                answer=Done,
                body=Decision,
                parameters=(in_path("key", "The dotted key."),),
                errors=(404, 409, 422),
            ),
            get(
                "/ledger",
                "listLedger",
                "The public ledger, newest first.",
                self.ledger,
                list[LedgerOut],
                in_query("before", "Below this number.", pattern="^[0-9]{1,15}$"),
            ),
            Endpoint(
                method="POST",
                path="/check",
                name="check",
                sentence="Verify everything the hub keeps.",
                call=self.check,
                answer=Findings,
                body=Decision,
            ),
            Endpoint(
                method="POST",
                path="/rebuild",
                name="rebuild",
                sentence="Make every projection again from the log.",
                call=self.rebuild,
                answer=Done,
                body=Decision,
            ),
        ]

    # --- looking ----------------------------------------------------------------------------------

    async def status(self, _: Order) -> Status:
        """How the hub is, in one glance."""
        report = await self._health.report()
        counts = await self._caretaking.counts()
        return Status(
            state=str(report.state),
            lines=[
                StatusLine(state=str(line.state), code=line.code, sentence=line.sentence, remedy=line.remedy)
                for line in report.lines
            ],
            name=report.standing.name,
            hub=report.standing.hub,
            version=report.standing.version,
            addresses=list(report.standing.addresses),
            posting=report.standing.posting,
            notices=counts.notices,
            replies=counts.replies,
            waiting=counts.waiting,
            reports=counts.reports,
            hidden=counts.hidden,
            records=counts.records,
            devices=counts.devices,
            free_bytes=report.standing.free_bytes,
            started_ms=report.standing.started_ms,
        )

    async def list_items(self, order: Order) -> list[ItemOut]:
        """Notices of one of the lists, or what waits."""
        where = order.query.get("where", "board")
        if where not in _WHERE:
            raise BadChoice(choices=", ".join(_WHERE))
        if where == "waiting":
            return [item_out(item, self._now_ms()) for item in await self._caretaking.waiting()]
        now_ms = self._now_ms()
        return [notice_out(notice, now_ms) for notice in await self._caretaking.notices(where)]

    async def show_item(self, order: Order) -> ItemOut:
        """One item; of an erased one also which hubs have erased it."""
        item = await self._caretaking.item(order.names["id"])
        out = item_out(item, self._now_ms())
        if item.state is State.ERASED:
            out.receipts = [_receipt_out(receipt) for receipt in await self._receipts.of(item.obj)]
        return out

    async def reports(self, order: Order) -> list[ReportOut]:
        """Reports with their items."""
        found = await self._caretaking.reports(decided=order.query.get("decided") == "1")
        now_ms = self._now_ms()
        return [_report_out(report, item, now_ms) for report, item in found]

    async def devices(self, _: Order) -> list[DeviceOut]:
        """Devices by mark."""
        return [
            DeviceOut(
                mark=device.mark,
                since=datetime.fromtimestamp(device.since_day * 86_400, UTC).date().isoformat(),
                shown=device.shown,
                trusted=device.trusted,
                paused_until_ms=device.paused_until_ms,
                banned_until_ms=device.banned_until_ms,
            )
            for device in await self._caretaking.devices()
        ]

    async def settings(self, _: Order) -> list[SettingOut]:
        """Every setting with its source."""
        return [
            SettingOut(
                key=line.key,
                value=line.value,
                default=line.default,
                source=line.source,
                live=line.live,
                sentence=line.sentence,
            )
            for line in self._preferences.lines()
        ]

    async def ledger(self, order: Order) -> list[LedgerOut]:
        """Lines of the ledger."""
        before = order.query.get("before", "")
        known = before.isdecimal() and len(before) < 16
        entries = await self._caretaking.ledger(int(before) if known else None)
        return [ledger_out(entry) for entry in entries]

    # --- deciding ---------------------------------------------------------------------------------

    async def approve(self, order: Order) -> Done:
        """Put up what waits."""
        name = await self._caretaking.approve(order.names["id"], order.actor)
        return Done(sentence="It is on the board now.", id=name)

    async def refuse(self, order: Order) -> Done:
        """Erase what waits."""
        await self._caretaking.refuse(order.names["id"], order.body.rule, order.actor)
        return Done(sentence="It was not put up and has been erased.")

    async def hide(self, order: Order) -> Done:
        """Hide."""
        name = order.names["id"]
        foreign = await self._caretaking.hide(name, order.body.rule, order.actor)
        told = f" To tell the neighbours why: hub notices flag {name} --reason REASON" if foreign else ""
        return Done(sentence=f"It is hidden from the next page view on.{told}", id=name)

    async def restore(self, order: Order) -> Done:
        """Show again."""
        await self._caretaking.restore(order.names["id"], order.body.rule, order.actor)
        return Done(sentence="It can be seen again.", id=order.names["id"])

    async def erase(self, order: Order) -> Done:
        """Erase."""
        await self._caretaking.erase(order.names["id"], order.body.rule, order.actor)
        return Done(sentence="Its text and pictures are erased from this hub's files.")

    async def pin(self, order: Order) -> Done:
        """Pin or unpin."""
        await self._caretaking.pin(order.names["id"], order.body.until_ms, order.actor)
        pinned = bool(order.body.until_ms)
        return Done(sentence="It leads the board now." if pinned else "It is no longer pinned.")

    async def urgent(self, order: Order) -> Done:
        """Make official."""
        await self._caretaking.urgent(order.names["id"], order.body.until_ms, order.actor)
        urgent = bool(order.body.until_ms)
        return Done(
            sentence="It is an official urgent notice now." if urgent else "It is a plain notice again."
        )

    async def decide(self, order: Order) -> Done:
        """Decide the reports of an item."""
        if order.body.outcome not in _OUTCOMES:
            raise BadChoice(choices=", ".join(_OUTCOMES))
        name = await self._caretaking.decide(
            order.names["reference"], order.body.outcome, order.body.rule, order.body.answer, order.actor
        )
        return Done(
            sentence="Decided. Those who reported can read the outcome with their reference.", id=name
        )

    async def pause_device(self, order: Order) -> Done:
        """Pause or lift."""
        await self._caretaking.pause_device(
            order.names["mark"], order.body.until_ms, order.body.rule, order.actor
        )
        paused = bool(order.body.until_ms)
        return Done(sentence="It can read and report, but not write." if paused else "It may write again.")

    async def ban_device(self, order: Order) -> Done:
        """Ban."""
        await self._caretaking.ban_device(
            order.names["mark"], order.body.until_ms, order.body.rule, order.actor
        )
        banned = bool(order.body.until_ms)
        return Done(
            sentence="It can neither write nor change what it wrote." if banned else "It may write again."
        )

    async def trust_device(self, order: Order) -> Done:
        """Trust."""
        await self._caretaking.trust_device(order.names["mark"], order.body.yes, order.actor)
        if order.body.yes:
            return Done(sentence="One serious report from it hides an item until somebody has looked.")
        return Done(sentence="Its reports count like everybody's.")

    async def change_setting(self, order: Order) -> Done:
        """Change a live setting."""
        line = await self._preferences.change(
            order.names["key"], order.body.value, order.actor, self._caretaking
        )
        return Done(sentence=f"{line.key} is {line.value} now.")

    # --- files ------------------------------------------------------------------------------------

    async def collections(self, _: Order) -> list[CollectionOut]:
        """Collections, hidden ones too."""
        now_ms = self._now_ms()
        return [collection_out(item, now_ms) for item in await self._filekeeping.collections()]

    async def add_collection(self, order: Order) -> CollectionOut:
        """Make one."""
        made = await self._filekeeping.add_collection(_wanted(order.wanted), order.actor)
        return collection_out(made, self._now_ms())

    async def change_collection(self, order: Order) -> CollectionOut:
        """Change one."""
        wanted = _wanted(order.wanted)
        changed = await self._filekeeping.change_collection(order.names["id"], wanted, order.actor)
        return collection_out(changed, self._now_ms())

    async def add_file(self, order: Order) -> AddedOut:
        """Put a file into a collection."""
        assert order.stream is not None  # noqa: S101 - the endpoint is a raw one
        query = order.query
        added = await self._filekeeping.add(
            order.names["id"],
            order.names["name"],
            TypedFiles(query.get("description", ""), query.get("by", "")),
            order.stream,
            order.length,
            original=query.get("original") == "1",
            actor=order.actor,
        )
        return AddedOut(id=added.public_id, name=added.name, outcome=str(added.outcome))

    async def files(self, order: Order) -> list[FileOut]:
        """Files of one of the lists."""
        where = order.query.get("where", "newest")
        if where not in _FILES:
            raise BadChoice(choices=", ".join(_FILES))
        found = await self._filekeeping.files(where, order.query.get("in", ""))
        now_ms = self._now_ms()
        return [file_out(file, collection, now_ms) for file, collection in found]

    async def free(self, order: Order) -> FreedOut:
        """Make room."""
        freed = await self._filekeeping.free(carry_out=order.body.yes, actor=order.actor)
        return FreedOut(
            files=freed.files,
            uploads=freed.uploads,
            blobs=freed.blobs,
            size=freed.size,
            free_bytes=freed.free_bytes,
            done=order.body.yes,
        )

    # --- upkeep -----------------------------------------------------------------------------------

    async def check(self, _: Order) -> Findings:
        """Verify everything."""
        result = await self._upkeep.check()
        found = [FindingOut(what=finding.what, sentence=finding.sentence) for finding in result.findings]
        return Findings(findings=found, counted=result.counted)

    async def scrub(self, _: Order) -> Findings:
        """Read every file and picture through."""
        result = await self._scrubbing.all()
        sentences = {
            "broken": "its bytes are not what they were; it was set aside",
            "missing": "it is not here",
        }
        found = [
            FindingOut(what="blob", sentence=f"{sha256[:16]}…: {sentences[what]}")
            for what, blobs in (("broken", result.broken), ("missing", result.missing))
            for sha256 in blobs
        ]
        healed = f", {len(result.healed)} of them healed" if result.healed else ""
        counted = f"{result.looked} files and pictures, {result.bytes // 1_000_000:,} MB{healed}"
        return Findings(findings=found, counted=counted)

    async def rebuild(self, _: Order) -> Done:
        """Make the projections again."""
        count = await self._upkeep.rebuild()
        return Done(sentence=f"{count} items were made again from the log.")


def notice_out(notice: Notice, now_ms: int) -> ItemOut:
    """A notice of a list, without what only a single look finds out."""
    return ItemOut(
        id=notice.public_id,
        of="notice",
        state=_state_of(notice, now_ms),
        kind=str(notice.kind),
        title=notice.title,
        text=notice.text,
        name=notice.name,
        contact=notice.contact,
        language=notice.lang,
        scope=str(notice.scope),
        posted_ms=notice.shown_ms,
        expires_ms=notice.expires_ms,
        pictures=len(notice.pictures),
        replies=notice.reply_count,
        pinned=notice.pinned,
        urgent=notice.official,
        hidden_by="",
        reports=0,
        device="",
        waiting_change="",
    )


def collection_out(collection: Collection, now_ms: int) -> CollectionOut:
    """A collection as caretakers see it."""
    return CollectionOut(
        id=collection.public_id,
        state=_state_of(collection, now_ms),
        title=collection.title,
        description=collection.description,
        owner=collection.owner,
        language=collection.lang,
        may_add=str(collection.may_add),
        licence=str(collection.licence),
        scope=str(collection.scope),
        lifetime_days=collection.lifetime_days,
        files=collection.files,
        size=collection.size,
        posted_ms=collection.shown_ms,
    )


def file_out(file: File, collection: Collection | None, now_ms: int) -> FileOut:
    """A file as caretakers see it."""
    return FileOut(
        id=file.public_id,
        state=_state_of(file, now_ms),
        name=file.name,
        size=file.blob.size,
        sha256=file.blob.sha256,
        author=file.author,
        collection=collection.title if collection else "",
        collection_id=collection.public_id if collection else "",
        posted_ms=file.shown_ms,
        expires_ms=file.expires_ms,
    )


def _state_of(item: Notice | File | Collection, now_ms: int) -> str:
    if item.hidden:
        return "hidden"
    return "expired" if item.state is State.LIVE and item.expires_ms <= now_ms else str(item.state)


def _wanted(given: CollectionIn) -> Wanted:
    return Wanted(
        given.title,
        given.description,
        given.owner,
        given.language,
        given.may_add,
        given.licence,
        given.scope,
        given.lifetime_days,
    )


def item_out(item: Item, now_ms: int) -> ItemOut:
    """An item in full, with the version that waits if there is one."""
    open_reports = sum(report.decided_ms is None for report in item.reports)
    waiting = _waiting_text(item) if item.held else ""
    if item.notice is not None:
        out = notice_out(item.notice, now_ms)
    elif item.reply is not None:
        out = _bare(item, "live", item.reply.text, item.reply.name, item.reply.lang, item.reply.shown_ms)
    elif item.file is not None:
        file = item.file
        out = _bare(item, "live", file.description, file.author, file.lang, file.shown_ms)
        out.title, out.kind, out.expires_ms = file.name, str(file.media.family), file.expires_ms
        out.scope = str(file.scope)
    elif item.collection is not None:
        shelf = item.collection
        out = _bare(item, "live", shelf.description, shelf.owner, shelf.lang, shelf.shown_ms)
        out.title, out.expires_ms, out.scope = shelf.title, shelf.expires_ms, str(shelf.scope)
    elif item.held is not None and item.held.of == "file":
        waits = read_file_body(item.held.body, item.held.scope, item.held.exp_ms).draft
        out = _bare(item, "waiting", waits.description, waits.author, waits.lang, item.held.held_ms)
        out.title, out.kind, out.expires_ms = waits.name, str(media_of(waits.name).family), waits.expires_ms
        out.scope, waiting = str(waits.scope), ""
    elif item.held is not None and item.held.of == "notice":
        draft = read_notice_body(item.held.body, item.held.scope, item.held.exp_ms).draft
        out = _bare(item, "waiting", draft.text, draft.name, draft.lang, item.held.held_ms)
        out.title, out.kind, out.contact = draft.title, str(draft.kind), draft.contact
        out.scope, out.expires_ms, out.pictures = str(draft.scope), draft.expires_ms, len(draft.pictures)
        waiting = ""
    elif item.held is not None:
        answer = read_reply_body(item.held.body).draft
        out = _bare(item, "waiting", answer.text, answer.name, answer.lang, item.held.held_ms)
        waiting = ""
    else:
        out = _bare(item, str(item.state), "", "", "", 0)
    out.of, out.device, out.reports, out.waiting_change = item.of, item.device, open_reports, waiting
    if item.state is not State.LIVE:
        out.state = str(item.state)
    elif item.hide is not None:
        out.state, out.hidden_by = "hidden", item.hide.rule
    return out


def _receipt_out(receipt: Receipt) -> ReceiptOut:
    return ReceiptOut(
        hub=receipt.hub.hex(),
        name=receipt.name,
        erased_ms=receipt.erased_ms,
        heard_ms=receipt.heard_ms,
        parted=receipt.parted,
    )


def ledger_out(entry: LedgerEntry) -> LedgerOut:
    """A ledger line."""
    return LedgerOut(
        number=entry.number,
        at_ms=entry.at_ms,
        act=str(entry.act),
        rule=entry.rule,
        role=str(entry.role),
        subject=entry.subject,
        outcome=entry.outcome,
        digest=entry.digest.hex(),
    )


def _report_out(report: Report, item: Item, now_ms: int) -> ReportOut:
    return ReportOut(
        reference=report.reference,
        reason=report.reason,
        words=report.words,
        at_ms=report.at_ms,
        item=item_out(item, now_ms),
        outcome=report.outcome or "",
        rule=report.rule,
        answer=report.answer,
    )


def _waiting_text(item: Item) -> str:
    assert item.held is not None  # noqa: S101 - the caller looked
    if item.held.of == "notice":
        draft = read_notice_body(item.held.body, item.held.scope, item.held.exp_ms).draft
        return f"{draft.title}\n{draft.text}"
    if item.held.of == "file":
        file = read_file_body(item.held.body, item.held.scope, item.held.exp_ms).draft
        return f"{file.name}\n{file.description}"
    return read_reply_body(item.held.body).draft.text


def _bare(item: Item, state: str, text: str, name: str, language: str, posted_ms: int) -> ItemOut:
    return ItemOut(
        id=item.public_id or public_form(item.obj),
        of=item.of,
        state=state,
        kind="",
        title="",
        text=text,
        name=name,
        contact="",
        language=language,
        scope="",
        posted_ms=posted_ms,
        expires_ms=0,
        pictures=0,
        replies=0,
        pinned=False,
        urgent=False,
        hidden_by="",
        reports=0,
        device="",
        waiting_change="",
    )
