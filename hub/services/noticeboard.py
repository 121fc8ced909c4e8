"""What residents do with notices: put up, answer, change, take down, put back, extend, report.

One verb, one transaction. Reading functions return what anybody may see; who is asking matters only
where something is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from hub.domain import cbor
from hub.domain.bodies import (
    NoticeBody,
    ReplyBody,
    encode_notice,
    encode_reply,
    read_notice_body,
    read_picture,
    read_reply_body,
    write_picture,
)
from hub.domain.errors import HubError, NotFound, Refused
from hub.domain.ids import HubId, ObjectId, public_form
from hub.domain.notices import Kind, Notice, NoticeDraft, Picture, Reply, State
from hub.domain.policy import (
    DAY_MS,
    BoardPolicy,
    Gone,
    NotYours,
    UrgentEnough,
)
from hub.domain.submission import FormRefused, Typed, check_notice, check_reply
from hub.services.authorship import Asker, Authorship
from hub.services.publishing import extend_notice, publish_notice, publish_reply
from hub.storage import authors, decisions, moderation, notices
from hub.storage.database import Connection, Database
from hub.storage.decisions import Origin
from hub.storage.journal import Pen
from hub.words import N_


class PictureGone(Refused):
    """A picture of the form was erased meanwhile."""

    code = "picture-gone"
    status = 422
    template = N_("A picture is no longer here. Choose it again; the rest of what you typed is kept.")


@dataclass(frozen=True, slots=True)
class PutUp:
    """What came of a form. ``phrase`` is given once; ``cookie`` is the device's from now on.

    ``held`` says that a caretaker looks first; ``again`` that the same form was sent before, and
    this is what it made then.
    """

    public_id: str
    title: str
    phrase: str
    cookie: str
    held: bool
    again: bool = False


@dataclass(frozen=True, slots=True)
class Thread:
    """A notice with what belongs on its page. ``held`` is the asker's own version that waits."""

    notice: Notice
    replies: tuple[Reply, ...]
    mine: bool
    my_replies: frozenset[ObjectId]
    waiting: bool = False
    waiting_replies: tuple[Reply, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture of a refused form: ``token`` brings it back."""

    token: str
    picture: Picture


class Noticeboard:
    """The board of one hub."""

    def __init__(
        self,
        database: Database,
        authorship: Authorship,
        hub: HubId,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
        policy: Callable[[], BoardPolicy],
        zone: tzinfo,
        has_blob: Callable[[str], bool],
        require_room: Callable[[], None],
    ) -> None:
        """``has_blob`` and ``require_room`` (raises `NoRoom`) look at the disk, in the writer's thread."""
        self._database = database
        self._authorship = authorship
        self._hub = hub
        self._pen = pen
        self._chance = chance
        self._policy = policy
        self._zone = zone
        self._has_blob = has_blob
        self._require_room = require_room

    # --- reading ----------------------------------------------------------------------------------

    async def board(
        self, kind: Kind | None = None, before: int | None = None, origin: HubId | None = None
    ) -> notices.Board:
        """One page of the board; of one ``kind`` only, or of what one hub wrote."""
        now = self._now()
        return await self._database.read_with(
            lambda connection: notices.board(connection, now, kind=kind, origin=origin, before=before)
        )

    async def newest(self, limit: int) -> list[Notice]:
        """The newest notices anybody may see."""
        now = self._now()
        return await self._database.read_with(lambda connection: notices.shown(connection, now, limit))

    async def leading(self) -> list[Notice]:
        """What is pinned or urgent now."""
        now = self._now()
        return await self._database.read_with(lambda connection: notices.first(connection, now))

    async def next_change(self, listed: Sequence[Notice]) -> int:
        """When a list of these notices changes by itself next, in Unix ms."""
        now = self._now()
        return await self._database.read_with(lambda connection: notices.next_change(connection, now, listed))

    async def origins(self) -> dict[HubId, Origin]:
        """The hubs that are known here."""
        return await self._database.read_with(decisions.origins)

    async def thread(self, name: str, cookie: str | None = None) -> Thread:
        """The notice called ``name`` (canonical public id) in any state, with its replies.

        What waits for a caretaker is found by its own device only; what is hidden, by nobody. Raises
        `NotFound`.
        """
        now, device = self._now(), self._authorship.device_hash(cookie)

        def read(connection: Connection) -> Thread:
            notice = notices.by_public_id(connection, now, name)
            if notice is None:
                return self._held_thread(connection, name, device)
            if notice.hidden:
                raise NotFound
            mine = self._authorship.mine(connection, cookie)
            waiting = tuple(
                self._as_reply(connection, held)
                for held in moderation.held_replies(connection, notice.obj)
                if held.obj in mine and not held.changes
            )
            return Thread(
                notice=notice,
                replies=tuple(notices.replies(connection, notice.obj)),
                mine=notice.obj in mine,
                my_replies=mine,
                waiting_replies=waiting,
            )

        return await self._database.read_with(read)

    async def reply(self, name: str) -> tuple[Reply, Notice, State]:
        """The reply called ``name`` and its notice; raises `NotFound` for what nobody may see."""
        now = self._now()

        def read(connection: Connection) -> tuple[Reply, Notice, State]:
            answer = notices.reply_by_public_id(connection, name)
            notice = notices.by_object(connection, now, answer.notice) if answer else None
            if answer is None or notice is None or answer.reply.hidden or notice.hidden:
                raise NotFound
            return answer.reply, notice, answer.state

        return await self._database.read_with(read)

    async def owns(self, obj: ObjectId, asker: Asker) -> bool:
        """Whether the asker's device or phrase shows that ``obj`` is theirs; a wrong phrase is just no."""
        try:
            await self._database.read_with(
                lambda connection: self._authorship.require_owner(connection, obj, asker)
            )
        except NotYours:
            return False
        return True

    async def picture_is_shown(self, sha256: str) -> bool:
        """Whether the blob belongs to something anybody may see."""
        return await self._database.read_with(lambda connection: notices.picture_is_shown(connection, sha256))

    # --- putting up and answering -----------------------------------------------------------------

    async def put_up(
        self, typed: Typed, pictures: Sequence[Picture], asker: Asker, form_key: str, fallback_lang: str
    ) -> PutUp:
        """Put up a notice, or hold it. The same ``form_key`` again returns what it made the first time.

        Raises `FormRefused`, `PostingPaused`, `DevicePaused`, `TryLater`, `NoRoom`.
        """
        policy, now = self._policy(), self._now()
        try:
            draft = self._check(typed, tuple(pictures), policy, now, fallback_lang)
            cookie = self._authorship.admit(asker)
        except HubError:
            again = await self._sent_before(form_key, asker)
            if again is None:
                raise
            return again
        phrase = self._authorship.fresh_phrase()

        def write(connection: Connection) -> PutUp:
            obj, made = self._authorship.object_of(connection, form_key)
            if made:
                return self._as_made(connection, obj, asker)
            self._require_room()
            device = self._authorship.meet(connection, cookie)
            held = self._authorship.must_wait(device)
            if draft.kind is Kind.URGENT:
                self._require_few_urgent(connection, policy, now)
            self._require_pictures(draft)
            self._authorship.own(connection, obj, device.hash, phrase)
            if held:
                body = encode_notice(NoticeBody(draft, now), self._chance(16))
                moderation.hold(
                    connection,
                    moderation.Held(obj, None, "notice", body, draft.expires_ms, draft.scope, now, False),
                )
            else:
                publish_notice(connection, self._pen(), obj, draft, self._chance(16))
                authors.count_shown(connection, device.hash)
            return PutUp(public_form(obj), draft.title, phrase, cookie, held)

        return await self._database.write(write)

    async def answer(self, name: str, typed: Typed, asker: Asker, form_key: str, fallback_lang: str) -> PutUp:
        """Answer the notice called ``name``; otherwise as `put_up`, and raises `Gone`."""
        now = self._now()
        try:
            draft = check_reply(typed, fallback_lang)
            notice = (await self.thread(name)).notice
            cookie = self._authorship.admit(asker)
        except HubError:
            again = await self._sent_before(form_key, asker)
            if again is None:
                raise
            return again
        phrase = self._authorship.fresh_phrase()

        def write(connection: Connection) -> PutUp:
            obj, made = self._authorship.object_of(connection, form_key)
            if made:
                return self._as_made(connection, obj, asker)
            self._require_room()
            current = notices.by_object(connection, now, notice.obj)
            if current is None or current.hidden:
                raise NotFound
            if current.state is not State.LIVE or current.expires_ms <= now:
                raise Gone
            device = self._authorship.meet(connection, cookie)
            held = self._authorship.must_wait(device)
            self._authorship.own(connection, obj, device.hash, phrase)
            if held:
                body = encode_reply(ReplyBody(draft, now), self._chance(16))
                moderation.hold(
                    connection,
                    moderation.Held(
                        obj, notice.obj, "reply", body, current.expires_ms, current.scope, now, False
                    ),
                )
            else:
                publish_reply(connection, self._pen(), obj, draft, current, self._chance(16))
            return PutUp(public_form(obj), notice.title, phrase, cookie, held)

        return await self._database.write(write)

    # --- changing one's own -----------------------------------------------------------------------

    async def change(
        self, name: str, typed: Typed, pictures: Sequence[Picture], asker: Asker, fallback_lang: str
    ) -> bool:
        """Change one's own notice; True if the change waits for a caretaker.

        Raises `NotFound`, `Gone`, `NotYours`, `FormRefused`, `PostingPaused`, `DevicePaused`, `TryLater`.
        """
        policy, now = self._policy(), self._now()
        thread = await self.thread(name, asker.cookie)
        notice = thread.notice
        draft = self._check(typed, tuple(pictures), policy, now, fallback_lang)
        if not typed.until.strip():
            urgent = draft.kind is Kind.URGENT
            ends_ms = min(notice.expires_ms, draft.expires_ms) if urgent else notice.expires_ms
            draft = replace(draft, expires_ms=ends_ms)
        self._authorship.slow_down(asker)

        def write(connection: Connection) -> bool:
            self._require_room()
            device = self._authorship.require_owner(connection, notice.obj, asker)
            held = self._authorship.must_wait(device)
            waiting = moderation.held(connection, notice.obj)
            current = notices.by_object(connection, now, notice.obj)
            if current is None and waiting is None:
                raise NotFound
            if current is not None and (current.state is not State.LIVE or current.expires_ms <= now):
                raise Gone
            if draft.kind is Kind.URGENT and (current is None or current.kind is not Kind.URGENT):
                self._require_few_urgent(connection, policy, now)
            self._require_pictures(draft)
            body = NoticeBody(draft, notice.shown_ms, now if current is not None else None)
            if held or current is None:
                moderation.hold(
                    connection,
                    moderation.Held(
                        notice.obj,
                        None,
                        "notice",
                        encode_notice(body, self._chance(16)),
                        draft.expires_ms,
                        draft.scope,
                        waiting.held_ms if waiting else now,
                        current is not None,
                    ),
                )
                return True
            moderation.release(connection, notice.obj)
            publish_notice(
                connection,
                self._pen(),
                notice.obj,
                draft,
                self._chance(16),
                posted_ms=body.posted_ms,
                edited_ms=body.edited_ms,
            )
            return False

        return await self._database.write(write)

    async def change_reply(self, name: str, typed: Typed, asker: Asker, fallback_lang: str) -> bool:
        """Change one's own reply; True if the change waits. Raises as `change`."""
        now = self._now()
        reply, notice, _ = await self.reply(name)
        draft = check_reply(typed, fallback_lang)
        self._authorship.slow_down(asker)

        def write(connection: Connection) -> bool:
            self._require_room()
            device = self._authorship.require_owner(connection, reply.obj, asker)
            held = self._authorship.must_wait(device)
            current = notices.reply_by_object(connection, reply.obj)
            if current is None or current.state is not State.LIVE:
                raise Gone
            body = ReplyBody(draft, reply.shown_ms, now)
            if held:
                encoded = encode_reply(body, self._chance(16))
                moderation.hold(
                    connection,
                    moderation.Held(
                        reply.obj, notice.obj, "reply", encoded, notice.expires_ms, notice.scope, now, True
                    ),
                )
                return True
            moderation.release(connection, reply.obj)
            publish_reply(
                connection,
                self._pen(),
                reply.obj,
                draft,
                notice,
                self._chance(16),
                posted_ms=body.posted_ms,
                edited_ms=body.edited_ms,
            )
            return False

        return await self._database.write(write)

    async def extend(self, name: str, asker: Asker) -> int:
        """Let one's own notice stand its usual time again from now; returns the new end in Unix ms."""
        policy, now = self._policy(), self._now()
        notice = (await self.thread(name, asker.cookie)).notice
        self._authorship.slow_down(asker)

        def write(connection: Connection) -> int:
            self._authorship.require_writer(connection, notice.obj, asker)
            return extend_notice(connection, self._pen(), notice.obj, policy, now, self._chance(16))

        return await self._database.write(write)

    async def take_down(self, name: str, asker: Asker) -> None:
        """Take one's own notice or reply (any public id) down; it can be put back for a while.

        What still waits for a caretaker is simply dropped. Raises `NotFound`, `NotYours`.
        """
        obj = await self._find(name, asker)

        await self._database.write(lambda connection: self._authorship.take_down(connection, obj, asker))

    async def put_back(self, name: str, asker: Asker) -> None:
        """Put back what was taken down within the last ``undo_minutes``. Raises `TooLate`, `NotYours`."""
        obj = await self._find(name, asker)
        await self._database.write(lambda connection: self._authorship.put_back(connection, obj, asker))

    # --- pictures of refused forms ----------------------------------------------------------------

    async def keep_pictures(self, pictures: Sequence[Picture]) -> list[Kept]:
        """Keep pictures that came with a refused form, for a day."""
        kept = [Kept(self._chance(12).hex(), picture) for picture in pictures]
        now = self._now()

        def write(connection: Connection) -> None:
            for item in kept:
                authors.keep_picture(connection, item.token, cbor.encode(write_picture(item.picture)), now)

        if kept:
            await self._database.write(write)
        return kept

    async def kept_pictures(
        self, tokens: Sequence[str], of: str | None = None, asker: Asker | None = None
    ) -> list[Kept]:
        """The pictures of ``tokens`` that are still kept, or stand in the notice ``of``, in that order."""
        if not tokens:
            return []
        own = (await self.thread(of, asker.cookie if asker else None)).notice.pictures if of else ()
        standing = {picture.full.sha256[:24]: picture for picture in own}

        def read(connection: Connection) -> list[Kept]:
            found = []
            for token in dict.fromkeys(tokens):
                data = authors.kept_picture(connection, token)
                picture = read_picture(cbor.decode(data)) if data else standing.get(token)
                if picture is not None:
                    found.append(Kept(token, picture))
            return found

        return await self._database.read_with(read)

    # --- inside -----------------------------------------------------------------------------------

    def _now(self) -> int:
        return self._pen().now_ms

    def _check(
        self, typed: Typed, pictures: tuple[Picture, ...], policy: BoardPolicy, now: int, fallback: str
    ) -> NoticeDraft:
        local = datetime.fromtimestamp(now / 1000, self._zone)
        offset = local.utcoffset()
        offset_ms = int(offset.total_seconds() * 1000) if offset else 0
        return check_notice(typed, pictures, policy, local.date(), now, offset_ms, fallback)

    def _require_pictures(self, draft: NoticeDraft) -> None:
        """In the writer's thread, where no erasure runs: the pictures a row will name are there."""
        for picture in draft.pictures:
            if not (self._has_blob(picture.full.sha256) and self._has_blob(picture.thumb.sha256)):
                raise FormRefused({"picture": PictureGone()})

    async def _sent_before(self, form_key: str, asker: Asker) -> PutUp | None:
        """What the form made when it was sent before; asked when the form is refused.

        A form that did its work is not refused for being sent again: its limit may be full of itself.
        """

        def read(connection: Connection) -> PutUp | None:
            obj, made = self._authorship.object_of(connection, form_key)
            return self._as_made(connection, obj, asker) if made else None

        return await self._database.read_with(read)

    def _as_made(self, connection: Connection, obj: ObjectId, asker: Asker) -> PutUp:
        """What a form made when it was sent before."""
        now = self._now()
        notice = notices.by_object(connection, now, obj)
        answer = notices.reply_by_object(connection, obj) if notice is None else None
        if answer is not None:
            notice = notices.by_object(connection, now, answer.notice)
        title = notice.title if notice else ""
        held = moderation.held(connection, obj) is not None
        return PutUp(public_form(obj), title, "", asker.cookie or "", held, again=True)

    async def _find(self, name: str, asker: Asker) -> ObjectId:
        """The object id behind a public id: a notice, a reply, or the asker's own held item."""
        now, device = self._now(), self._authorship.device_hash(asker.cookie)

        def read(connection: Connection) -> ObjectId:
            notice = notices.by_public_id(connection, now, name)
            if notice is not None:
                return notice.obj
            answer = notices.reply_by_public_id(connection, name)
            if answer is not None:
                return answer.reply.obj
            for obj in authors.objects_of_device(connection, device) if device else ():
                if public_form(obj).startswith(name) and moderation.held(connection, obj):
                    return obj
            raise NotFound

        return await self._database.read_with(read)

    def _require_few_urgent(self, connection: Connection, policy: BoardPolicy, now: int) -> None:
        leading = notices.first(connection, now)
        today = sum(notice.kind is Kind.URGENT and notice.shown_ms > now - DAY_MS for notice in leading)
        if today >= policy.urgent_per_day:
            raise UrgentEnough(seconds=3600)

    def _held_thread(self, connection: Connection, name: str, device: bytes | None) -> Thread:
        for obj in authors.objects_of_device(connection, device) if device else ():
            held = moderation.held(connection, obj) if public_form(obj, 26).startswith(name) else None
            if held is not None and held.of == "notice":
                body = read_notice_body(held.body, held.scope, held.exp_ms)
                notice = _held_notice(self._hub, held, body.draft)
                return Thread(notice, (), True, frozenset([obj]), waiting=True)
        raise NotFound

    def _as_reply(self, connection: Connection, held: moderation.Held) -> Reply:
        draft = read_reply_body(held.body).draft
        return Reply(
            obj=held.obj,
            public_id=public_form(held.obj),
            hub=self._hub,
            text=draft.text,
            lang=draft.lang,
            name=draft.name,
            shown_ms=held.held_ms,
            edited_ms=None,
            hidden=False,
        )


def _held_notice(hub: HubId, held: moderation.Held, draft: NoticeDraft) -> Notice:
    return Notice(
        obj=held.obj,
        public_id=public_form(held.obj),
        hub=hub,
        kind=draft.kind,
        title=draft.title,
        text=draft.text,
        lang=draft.lang,
        scope=draft.scope,
        name=draft.name,
        contact=draft.contact,
        pictures=draft.pictures,
        shown_ms=held.held_ms,
        edited_ms=None,
        expires_ms=held.exp_ms,
        state=State.LIVE,
        changed_ms=held.held_ms,
        reply_count=0,
        hidden=False,
        pinned=False,
        official=False,
    )
