"""Pages to write: put up, change, answer, take down, put back, extend.

Whatever is refused comes back filled in, pictures included; whatever is done answers with "see other",
so that a refreshed page sends nothing again.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from hub.domain.errors import HubError, NotFound, Refused, TryLater
from hub.domain.ids import ObjectId
from hub.domain.notices import MAX_PICTURES, Kind, Notice, Picture, Reply, State
from hub.domain.policy import DAY_MS, BoardPolicy, Gone, NotYours
from hub.domain.policy import Posting as Mode
from hub.domain.submission import FormRefused, Typed
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.services.authorship import Asker
from hub.services.noticeboard import Kept, Noticeboard
from hub.services.pictures import PictureMaker
from hub.web import views
from hub.web.forms import FormError, FormLimits, PostedForm, Staging, read_form
from hub.web.house import House
from hub.web.pages.reading import Reading, TakenDown, name_of
from hub.web.pages.slips import Slips
from hub.web.server import Answer, PageHandler, Redirect, Visit
from hub.words import N_
from hub.words.catalogues import guess_language

_NOTICE_FIELDS = ("kind", "title", "text", "name", "contact", "lang", "until", "scope")
_REPLY_FIELDS = ("text", "name")
_ABOUT_PICTURES = ("picture-", "form-too-large")
"""How the codes of errors begin that are said beside the pictures."""
_SHORT_FORM = FormLimits(body=256 * 1024, files=0)
"""For forms without pictures."""


class TooManyPictures(Refused):
    """More pictures than a notice may have."""

    code = "too-many-pictures"
    status = 422
    template = N_("A notice can have four pictures. Choose fewer.")


class LooksAutomatic(Refused):
    """The field that people do not see was filled in."""

    code = "looks-automatic"
    status = 422
    template = N_("A hidden field was filled in, as programs do. Leave it empty and send the form again.")


class Posting:
    """Handlers that write."""

    def __init__(
        self,
        board: Noticeboard,
        pictures: PictureMaker,
        house: House,
        reading: Reading,
        slips: Slips,
        staging: Staging,
        limits: FormLimits,
        policy: Callable[[], BoardPolicy],
        chance: Callable[[int], bytes],
    ) -> None:
        self._board = board
        self._pictures = pictures
        self._house = house
        self._reading = reading
        self._slips = slips
        self._staging = staging
        self._limits = limits
        self._policy = policy
        self._chance = chance
        self._salt = chance(16)

    def routes(self) -> list[Route[PageHandler]]:
        """The table. It comes before the table of pages to read, whose patterns are wider."""
        return [
            Route("GET", "/notices/new", self.new_form),
            Route("POST", "/notices", self.put_up),
            Route("GET", "/notices/{id}/edit", self.edit_form),
            Route("POST", "/notices/{id}/edit", self.change),
            Route("POST", "/notices/{id}/replies", self.answer),
            Route("GET", "/replies/{id}/edit", self.reply_form),
            Route("POST", "/replies/{id}/edit", self.change_reply),
            *(
                Route("GET", f"/{kind}/{{id}}/{act}", self._author_form(kind, act))
                for kind, act in _AUTHOR_PAGES
            ),
            *(
                Route("POST", f"/{kind}/{{id}}/{act}", self._author_act(kind, act))
                for kind, act in _AUTHOR_PAGES
            ),
        ]

    def fresh_key(self) -> str:
        """A one-time key for a form."""
        return self._chance(12).hex()

    @asynccontextmanager
    async def form(self, visit: Visit) -> AsyncIterator[PostedForm]:
        """A posted form without files; raises `FormError`."""
        form = await read_form(visit.request, _SHORT_FORM, self._staging)
        async with form:
            yield form

    # --- putting up -------------------------------------------------------------------------------

    async def new_form(self, visit: Visit) -> Answer:
        """An empty form, or one begun by a link (``?kind=&title=``)."""
        values = {name: visit.query.get(name, "") for name in ("kind", "title")}
        return await self._notice_form(visit, None, values={**self._defaults(visit), **values})

    async def put_up(self, visit: Visit) -> Answer:
        """Put up a notice."""
        return await self._with_pictures(visit, None)

    async def edit_form(self, visit: Visit) -> Answer:
        """One's own notice, to change."""
        notice = await self._own_notice(visit)
        return await self._notice_form(
            visit, notice, values=self._values_of(notice), kept=_standing_pictures(notice)
        )

    async def change(self, visit: Visit) -> Answer:
        """Change one's own notice."""
        return await self._with_pictures(visit, await self._own_notice(visit))

    async def _with_pictures(self, visit: Visit, notice: Notice | None) -> Answer:
        """Read the form, make its pictures, and put up or change; refuse with everything kept."""
        try:
            form = await read_form(visit.request, self._limits, self._staging)
        except FormError as error:
            kept = await self._kept(visit, notice, error.form)
            return await self._refused(visit, notice, error.form, kept, error)
        async with form:
            kept = []
            fresh: Sequence[Picture] = ()
            try:
                if form.first("website"):
                    raise LooksAutomatic
                who = asker(visit, form)
                kept = await self._kept(visit, notice, form)
                files = [file for file in form.files_of("picture") if file.size]
                if len(kept) + len(files) > MAX_PICTURES:
                    raise FormRefused({"picture": TooManyPictures()})
                if files:
                    fresh = _described(await self._pictures.make([file.path for file in files]), form)
                return await self._write(visit, notice, form, kept, fresh, who)
            except HubError as error:
                with suppress(HubError):  # no room, say: they have to be chosen again
                    kept += await self._board.keep_pictures(fresh)
                return await self._refused(visit, notice, form, kept, error)

    async def _kept(self, visit: Visit, notice: Notice | None, form: PostedForm) -> list[Kept]:
        """The pictures that came with the form before, or stand in the notice, and are to stay."""
        of = notice.public_id if notice else None
        return await self._board.kept_pictures(form.all("kept"), of, asker(visit, form))

    async def _write(
        self,
        visit: Visit,
        notice: Notice | None,
        form: PostedForm,
        kept: list[Kept],
        fresh: Sequence[Picture],
        who: Asker,
    ) -> Answer:
        pictures = [*(item.picture for item in kept), *fresh]
        alts = (
            *(form.first(f"alt-{item.token}", item.picture.alt) for item in kept),
            *(picture.alt for picture in fresh),
        )
        typed = _typed(form, alts)
        spoken = guess_language(f"{typed.title}\n{typed.text}") or visit.words.lang
        if notice is None and typed.lang == visit.words.lang:
            typed = replace(typed, lang=spoken)  # the form's own suggestion, which few people change
        if typed.kind == Kind.URGENT and typed.until == self._defaults(visit)["until"]:
            typed = replace(typed, until="")  # likewise: an urgent notice has a shorter usual time
        if notice is not None:
            waits = await self._board.change(notice.public_id, typed, pictures, who, spoken)
            done = views.Done.WAITING if waits else views.Done.CHANGED
            return Redirect(_page_of(notice.public_id, typed.title, done))
        made = await self._board.put_up(typed, pictures, who, form.first("key")[:64], spoken)
        done = views.Done.WAITING if made.held else views.Done.PUT_UP
        slip = self._slips.write(made.phrase, made.cookie) if made.phrase else ""
        return Redirect(_page_of(made.public_id, made.title, done, slip), made.cookie or None)

    async def _refused(
        self, visit: Visit, notice: Notice | None, form: PostedForm, kept: list[Kept], error: HubError
    ) -> Content:
        values = {name: form.first(name) for name in (*_NOTICE_FIELDS, "phrase")}
        values |= {f"alt{number}": form.first(f"alt{number}") for number in range(1, MAX_PICTURES + 1)}
        values |= {f"alt-{item.token}": form.first(f"alt-{item.token}", item.picture.alt) for item in kept}
        if kept:  # what was chosen now stands among the kept ones, with its words
            values |= {f"alt{number}": "" for number in range(1, MAX_PICTURES + 1)}
        return await self._notice_form(
            visit,
            notice,
            values=values,
            errors=said(visit, error, "picture" if error.code.startswith(_ABOUT_PICTURES) else ""),
            kept=[_shown(item) for item in kept],
            key=form.first("key")[:64],
            status=error.status,
            refused=error,
            needs_phrase=isinstance(error, NotYours),
        )

    async def _notice_form(
        self,
        visit: Visit,
        notice: Notice | None,
        *,
        values: dict[str, str],
        errors: dict[str, str] | None = None,
        kept: Sequence[views.KeptPicture] = (),
        key: str = "",
        status: int = 200,
        refused: HubError | None = None,
        needs_phrase: bool = False,
    ) -> Content:
        here = f"/notices/{notice.public_id}/edit" if notice else "/notices/new"
        page = await self._house.page(visit, here=here)
        policy = self._policy()
        if notice is not None and not needs_phrase:
            needs_phrase = not await self._board.owns(notice.obj, asker(visit))
        latest = self._today(page.now_ms) + timedelta(days=policy.max_days)
        view = views.NoticeFormPage(
            page=page,
            notice=notice,
            key=(key or self.fresh_key()) if notice is None else "",
            values=values,
            errors=errors or {},
            kept=tuple(kept),
            needs_phrase=needs_phrase,
            checked_first=policy.posting is Mode.CHECKED,
            until_latest=latest.date().isoformat(),
        )
        content = self._house.content(visit, view, status=status, keep=False)
        return when_to_try_again(content, refused)

    # --- answering --------------------------------------------------------------------------------

    async def answer(self, visit: Visit) -> Answer:
        """Answer a notice."""
        async with self.form(visit) as form:
            values = {name: form.first(name) for name in _REPLY_FIELDS}
            typed = Typed(text=values["text"], name=values["name"])
            try:
                if form.first("website"):
                    raise LooksAutomatic
                spoken = guess_language(typed.text) or visit.words.lang
                key = form.first("key")[:64] or self._reply_key(visit, values)
                made = await self._board.answer(
                    name_of(visit.names["id"]), typed, asker(visit, form), key, spoken
                )
            except HubError as error:
                if error.status in (404, 410):
                    raise
                content = await self._reading.notice_page(
                    visit, visit.names["id"], status=error.status, values=values, errors=said(visit, error)
                )
                return when_to_try_again(content, error)
        done = views.Done.REPLY_WAITING if made.held else views.Done.REPLIED
        slip = self._slips.write(made.phrase, made.cookie) if made.phrase else ""
        notice = (await self._board.thread(name_of(visit.names["id"]))).notice
        return Redirect(
            f"{_page_of(notice.public_id, notice.title, done, slip)}#replies", made.cookie or None
        )

    async def reply_form(self, visit: Visit) -> Answer:
        """One's own reply, to change."""
        reply, notice = await self._own_reply(visit)
        return await self._reply_page(visit, reply, notice, {"text": reply.text, "name": reply.name})

    async def change_reply(self, visit: Visit) -> Answer:
        """Change one's own reply."""
        reply, notice = await self._own_reply(visit)
        async with self.form(visit) as form:
            values = {name: form.first(name) for name in (*_REPLY_FIELDS, "phrase")}
            try:
                typed = Typed(text=values["text"], name=values["name"])
                spoken = guess_language(typed.text) or visit.words.lang
                waits = await self._board.change_reply(reply.public_id, typed, asker(visit, form), spoken)
            except HubError as error:
                return await self._reply_page(visit, reply, notice, values, error)
        done = views.Done.REPLY_WAITING if waits else views.Done.REPLY_CHANGED
        return Redirect(f"{_page_of(notice.public_id, notice.title, done)}#r-{reply.public_id}")

    async def _reply_page(
        self,
        visit: Visit,
        reply: Reply,
        notice: Notice,
        values: dict[str, str],
        error: HubError | None = None,
    ) -> Content:
        page = await self._house.page(visit, here=f"/replies/{reply.public_id}/edit")
        needs = isinstance(error, NotYours) or not await self._board.owns(reply.obj, asker(visit))
        view = views.ReplyFormPage(
            page=page,
            notice=notice,
            reply=reply,
            values=values,
            errors=said(visit, error) if error else {},
            needs_phrase=needs,
        )
        content = self._house.content(visit, view, status=error.status if error else 200, keep=False)
        return when_to_try_again(content, error)

    # --- taking down, putting back, extending -----------------------------------------------------

    def _author_form(self, kind: str, act: str) -> PageHandler:
        async def show(visit: Visit) -> Answer:
            notice, reply = await self._author_item(visit, kind, act)
            return await self._author_page(visit, act, notice, reply)

        return show

    def _author_act(self, kind: str, act: str) -> PageHandler:
        async def carry_out(visit: Visit) -> Answer:
            notice, reply = await self._author_item(visit, kind, act)
            name = (reply or notice).public_id
            async with self.form(visit) as form:
                who = asker(visit, form)
                try:
                    if act == views.Act.REMOVE:
                        await self._board.take_down(name, who)
                    elif act == views.Act.RESTORE:
                        await self._board.put_back(name, who)
                    else:
                        await self._board.extend(name, who)
                except HubError as error:
                    if not isinstance(error, (NotYours, TryLater)):
                        raise
                    return await self._author_page(visit, act, notice, reply, error, form.first("phrase"))
            return Redirect(_after(act, notice, reply, can_be_undone=await self._can_be_put_back(name)))

        return carry_out

    async def _can_be_put_back(self, name: str) -> bool:
        """False for what was only waiting for a caretaker: taking it down dropped it."""
        try:
            await self._board.thread(name)
        except NotFound:
            try:
                await self._board.reply(name)
            except NotFound:
                return False
        return True

    async def _author_page(
        self,
        visit: Visit,
        act: str,
        notice: Notice,
        reply: Reply | None,
        error: HubError | None = None,
        phrase: str = "",
    ) -> Content:
        page = await self._house.page(visit, here=visit.request.path)
        obj: ObjectId = (reply or notice).obj
        needs = isinstance(error, NotYours) or not await self._board.owns(obj, asker(visit))
        view = views.AuthorPage(
            page=page,
            act=views.Act(act),
            notice=notice,
            reply=reply,
            needs_phrase=needs,
            until_ms=page.now_ms + self._policy().lifetime_days * DAY_MS,
            values={"phrase": phrase},
            errors=said(visit, error, "phrase") if error and phrase else {},
        )
        content = self._house.content(visit, view, status=error.status if error else 200, keep=False)
        return when_to_try_again(content, error)

    async def _author_item(self, visit: Visit, kind: str, act: str) -> tuple[Notice, Reply | None]:
        name = name_of(visit.names["id"])
        if kind == "replies":
            reply, notice, state = await self._board.reply(name)
            if state is State.ERASED or (state is not State.LIVE and act != views.Act.RESTORE):
                raise Gone
            return notice, reply
        thread = await self._board.thread(name, visit.device)
        if thread.notice.state is State.ERASED:
            raise TakenDown(thread.notice)
        if thread.notice.state is not State.LIVE and act != views.Act.RESTORE:
            raise TakenDown(thread.notice)
        return thread.notice, None

    # --- inside -----------------------------------------------------------------------------------

    async def _own_notice(self, visit: Visit) -> Notice:
        notice = (await self._board.thread(name_of(visit.names["id"]), visit.device)).notice
        if notice.state is not State.LIVE:
            raise TakenDown(notice)
        return notice

    async def _own_reply(self, visit: Visit) -> tuple[Reply, Notice]:
        reply, notice, state = await self._board.reply(name_of(visit.names["id"]))
        if state is not State.LIVE or notice.state is not State.LIVE:
            raise Gone
        return reply, notice

    def _defaults(self, visit: Visit) -> dict[str, str]:
        policy = self._policy()
        last = self._today(self._house.now_ms()) + timedelta(days=policy.lifetime_days)
        return {
            "lang": visit.words.lang,
            "scope": str(policy.default_scope),
            "until": last.date().isoformat(),
        }

    def _values_of(self, notice: Notice) -> dict[str, str]:
        last = datetime.fromtimestamp((notice.expires_ms - 1) / 1000, self._house.zone)
        return {
            "kind": str(notice.kind),
            "title": notice.title,
            "text": notice.text,
            "name": notice.name,
            "contact": notice.contact,
            "lang": notice.lang,
            "scope": str(notice.scope),
            "until": last.date().isoformat(),
        }

    def _today(self, now_ms: int) -> datetime:
        return datetime.fromtimestamp(now_ms / 1000, self._house.zone)

    def _reply_key(self, visit: Visit, values: dict[str, str]) -> str:
        """The page of a notice is the same for everybody and carries no key: the same words to the same
        notice by the same device (or by a new one at the same address) on one day are the same reply.

        The salt lives as long as the process, so that no address can be worked out from a stored key."""
        day = datetime.fromtimestamp(self._house.now_ms() / 1000, UTC).date().isoformat()
        who = visit.device or visit.address
        parts = (visit.names["id"].partition("-")[0], who, day, *values.values())
        return hashlib.sha256(self._salt + "\0".join(parts).encode()).hexdigest()


_AUTHOR_PAGES = tuple(
    (kind, str(act))
    for kind, acts in (
        ("notices", (views.Act.REMOVE, views.Act.RESTORE, views.Act.EXTEND)),
        ("replies", (views.Act.REMOVE, views.Act.RESTORE)),
    )
    for act in acts
)


def asker(visit: Visit, form: PostedForm | None = None) -> Asker:
    """Who is asking, as the services want to know it."""
    return Asker(visit.device, visit.address, form.first("phrase")[:200] if form else "")


def said(visit: Visit, error: HubError, field: str = "") -> dict[str, str]:
    """An error as the page says it: by field where it is about fields."""
    if isinstance(error, FormRefused):
        return {
            name: visit.words.translate(problem.template, **problem.fields)
            for name, problem in error.problems.items()
        }
    if isinstance(error, NotYours):
        field = "phrase"
    return {field: visit.words.translate(error.template, **error.fields)}


def _typed(form: PostedForm, alts: tuple[str, ...]) -> Typed:
    kind, title, text, name, contact, lang, until, scope = (form.first(name) for name in _NOTICE_FIELDS)
    return Typed(kind, title, text, name, contact, lang, until, scope, alts)


def _described(pictures: Sequence[Picture], form: PostedForm) -> list[Picture]:
    """The pictures with the words typed for them, as far as they are not too long to keep."""
    return [
        Picture(
            picture.full,
            picture.width,
            picture.height,
            picture.thumb,
            picture.thumb_width,
            picture.thumb_height,
            form.first(f"alt{number}")[:1000],
        )
        for number, picture in enumerate(pictures, 1)
    ]


def _shown(kept: Kept) -> views.KeptPicture:
    picture = kept.picture
    return views.KeptPicture(kept.token, "", picture.thumb_width, picture.thumb_height, picture.alt)


def _standing_pictures(notice: Notice) -> list[views.KeptPicture]:
    return [
        views.KeptPicture(
            picture.full.sha256[:24],
            views.picture_path(picture.thumb.sha256),
            picture.thumb_width,
            picture.thumb_height,
            picture.alt,
        )
        for picture in notice.pictures
    ]


def _page_of(public_id: str, title: str, done: views.Done, slip: str = "") -> str:
    path = quote(views.notice_path(public_id, title))
    return f"{path}?done={done}&slip={slip}" if slip else f"{path}?done={done}"


def _after(act: str, notice: Notice, reply: Reply | None, *, can_be_undone: bool) -> str:
    path = quote(views.notice_path(notice.public_id, notice.title))
    if act == views.Act.REMOVE and not can_be_undone:
        return f"/?done={views.Done.TAKEN_DOWN}"
    if act == views.Act.REMOVE and reply is not None:
        return f"{path}?done={views.Done.REPLY_TAKEN_DOWN}&undo={reply.public_id}"
    if act == views.Act.REMOVE:
        return f"/?done={views.Done.TAKEN_DOWN}&undo={notice.public_id}"
    if act == views.Act.RESTORE:
        done = views.Done.REPLY_PUT_BACK if reply else views.Done.PUT_BACK
        return f"{path}?done={done}"
    return f"{path}?done={views.Done.EXTENDED}"


def when_to_try_again(content: Content, error: HubError | None) -> Content:
    """A refused form's page, with the seconds of a limit that was reached."""
    if not isinstance(error, TryLater):
        return content
    headers = {"Retry-After": str(error.seconds)}
    return Content(content.body, content.type, content.status, keep=False, headers=headers)
