"""The file share: collections, their files, adding to them, and what people do with their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

from hub.domain.errors import HubError, NoRoom, NotFound, Refused, TryLater
from hub.domain.files import Collection, File, MayAdd, file_name
from hub.domain.ids import ObjectId
from hub.domain.policy import DAY_MS, BoardPolicy, NotYours
from hub.domain.policy import Posting as Mode
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.services.fileshare import (
    MAX_FILES,
    Arrival,
    FileShare,
    MayNotAdd,
    Receipt,
    Room,
    Shown,
    TypedFile,
    TypedFiles,
)
from hub.services.pictures import PhotoNotCleaned
from hub.services.uploads import Taken, Uploads
from hub.storage.blobs import BlobStore
from hub.web import views
from hub.web.downloads import Archive, FileBytes, Packed
from hub.web.forms import FormError, FormLimits, FormTooLarge, PostedForm, read_form
from hub.web.house import House, message_of
from hub.web.pages.away import Away, refreshed
from hub.web.pages.posting import LooksAutomatic, Posting, asker, said, when_to_try_again
from hub.web.pages.reading import EXCERPT, cursor, name_of
from hub.web.pages.slips import Slips
from hub.web.richtext import excerpt
from hub.web.server import Answer, PageHandler, Redirect, Visit
from hub.words import N_
from hub.words.catalogues import guess_language

_NEWEST = 6
_LOOKED_AT = 60
"""How many of the newest files are asked for, to find the newest of each collection among them."""
_FRESH_MS = 600_000
"""How long a page may say how much room there is: the card also fills without a commit."""
_FIELDS = ("description", "name", "lang", "photo")
_FILE_FIELDS = ("name", "description", "lang")
_ABOUT_FILES = ("collection-full", "enough-", "file", "form-", "no-", "photo-", "upload-")
"""How the codes of errors begin that are said beside the files."""
_WORDS_ONLY = FormLimits(body=0, files=0)
"""To read what was typed from a form whose files are not taken."""


class FilesTooLarge(Refused):
    """A file, or the number of files, is over what one form may bring; ``size`` is in words."""

    code = "files-too-large"
    status = 413
    template = N_(
        "That is more than the hub takes at once. What you typed is kept. "
        "Choose at most {files} files of up to {size} each, and send it again."
    )


class Files:
    """Handlers of the file share."""

    def __init__(
        self,
        share: FileShare,
        uploads: Uploads,
        house: House,
        posting: Posting,
        blobs: BlobStore,
        away: Away,
        slips: Slips,
        policy: Callable[[], BoardPolicy],
    ) -> None:
        self._share = share
        self._uploads = uploads
        self._house = house
        self._posting = posting
        self._blobs = blobs
        self._away = away
        self._slips = slips
        self._policy = policy

    def routes(self) -> list[Route[PageHandler]]:
        """The table. It comes after the table of reports, whose patterns are narrower."""
        return [
            Route("GET", "/files", self.overview),
            Route("GET", "/collections/{id}/add", self.add_form),
            Route("POST", "/collections/{id}/add", self.add),
            Route("GET", "/collections/{id}/{name}.zip", self.archive),
            Route("GET", "/collections/{id}", self.collection),
            Route("GET", "/files/{id}/edit", self.edit_form),
            Route("POST", "/files/{id}/edit", self.change),
            *(Route("GET", f"/files/{{id}}/{act}", self._act_form(act)) for act in views.Act),
            *(Route("POST", f"/files/{{id}}/{act}", self._act(act)) for act in views.Act),
            Route("GET", "/files/{id}/{name}", self.bytes),
            Route("GET", "/files/{id}", self.file),
        ]

    # --- reading ----------------------------------------------------------------------------------

    async def overview(self, visit: Visit) -> Answer:
        """All collections and the newest files."""
        collections = await self._share.collections()
        newest = await self._share.newest(_LOOKED_AT)
        latest: dict[ObjectId, File] = {}
        for file, collection in newest:
            latest.setdefault(collection.obj, file)
        room = await self._share.room(collections[0].public_id, None) if collections else None
        page = await self._house.page(visit)
        view = views.FilesPage(
            page=await self._marked(page, [file for file, _ in newest[:_NEWEST]]),
            cards=tuple(
                views.CollectionCard(
                    collection=item, origin=self._house.origin(item.hub), newest=latest.get(item.obj)
                )
                for item in collections
            ),
            newest=tuple(self._card(file, collection) for file, collection in newest[:_NEWEST]),
            room=room.card if room else None,
        )
        until_ms = min([page.now_ms + _FRESH_MS, *(file.expires_ms for file, _ in newest)])
        return self._house.content(visit, view, until_ms=until_ms, shared=True)

    async def collection(self, visit: Visit) -> Answer:
        """One collection, with what became of the files that were just added to it."""
        before = cursor(visit.query.get("before", ""))
        shelf = await self._share.collection(name_of(visit.names["id"]), visit.device, before)
        collection = shelf.collection
        slip = self._slips.read(visit.query.get("slip", ""), visit.device)
        message = message_of(visit)
        page = await self._house.page(visit, message=message)
        cards = [self._card(file, collection, mine=file.obj in shelf.mine) for file in shelf.files]
        view = views.CollectionPage(
            page=await self._marked(page, shelf.files),
            collection=collection,
            html=self._house.html(collection.version, collection.description),
            origin=self._house.origin(collection.hub),
            cards=tuple(card for card in cards if card.file.picture is None),
            pictures=tuple(card for card in cards if card.file.picture is not None),
            waiting=tuple(self._card(file, collection, mine=True) for file in shelf.waiting),
            receipt=tuple(
                views.ReceiptLine(
                    line.name, line.wanted, views.file_path(line.public_id, line.name), str(line.outcome)
                )
                for line in slip.lines
            ),
            phrase=slip.phrase,
            full=await self._is_full(collection),
            before=str(before or ""),
            older=str(shelf.older or ""),
        )
        ends = (file.expires_ms for file in shelf.files)
        until_ms = min([page.now_ms + _FRESH_MS, collection.expires_ms, *ends])
        keep = message is None and not shelf.waiting and not slip.lines
        return self._house.content(visit, view, until_ms=until_ms, keep=keep)

    async def file(self, visit: Visit) -> Answer:
        """One file."""
        shown = await self._share.file(name_of(visit.names["id"]), visit.device)
        file, collection = shown.file, shown.collection
        here = await asyncio.to_thread(self._blobs.exists, file.blob.sha256)
        message = message_of(visit)
        page = await self._house.page(visit, message=message)
        fetch = None
        if not here and not shown.waiting:
            action = f"/files/{file.public_id}/fetch"
            fetch = await self._away.offer([file.blob.sha256], file.hub, action)
        view = views.FilePage(
            page=await self._marked(page, [file]),
            card=self._card(file, collection, mine=shown.mine),
            html=self._house.html(b"", file.description) if file.description else "",
            ours=file.hub == self._house.hub,
            mine=shown.mine,
            waiting=shown.waiting,
            here=here,
            fetch=fetch,
            newer=shown.newer,
            older=shown.older,
        )
        keep = message is None and here and not shown.waiting
        until_ms = min(file.expires_ms, collection.expires_ms)
        return refreshed(self._house.content(visit, view, until_ms=until_ms, keep=keep), fetch)

    async def _marked(self, page: views.Page, shown: Iterable[File]) -> views.Page:
        """``page``, which knows which thumbnails of the files it shows are not here."""
        return await self._away.marked(page, [file.picture for file in shown if file.picture is not None])

    def _card(self, file: File, collection: Collection, *, mine: bool = False) -> views.FileCard:
        return views.FileCard(
            file=file,
            collection=collection,
            excerpt=excerpt(file.description, EXCERPT),
            origin=self._house.origin(file.hub),
            mine=mine,
        )

    async def _is_full(self, collection: Collection) -> bool:
        if collection.may_add is MayAdd.CARETAKERS:
            return False
        room = await self._share.room(collection.public_id, None)
        return room.card <= 0 or room.collection == 0

    # --- bytes ------------------------------------------------------------------------------------

    async def bytes(self, visit: Visit) -> Answer:
        """A file itself: shown by the browser if it can be, saved with ``?download=1``."""
        file = await self._share.bytes_of(name_of(visit.names["id"]), visit.device)
        everybody = file.key > 0
        self._away.used(file.blob.sha256)
        return FileBytes(
            path=self._blobs.path(file.blob.sha256),
            size=file.blob.size,
            sha256=file.blob.sha256,
            name=file.name,
            media=file.media,
            inline="download" not in visit.query,
            until_ms=file.expires_ms,
            keep=everybody,
            shared=everybody,
        )

    async def archive(self, visit: Visit) -> Answer:
        """All files of a collection in one; those whose bytes are damaged are left out."""
        collection, members = await self._share.members(name_of(visit.names["id"]))
        packed = [
            Packed(
                path=self._blobs.path(member.file.blob.sha256),
                size=member.file.blob.size,
                sha256=member.file.blob.sha256,
                crc32=member.crc32,
                name=member.name,
                modified_ms=member.file.shown_ms,
            )
            for member in members
        ]
        here = await asyncio.to_thread(lambda: tuple(each for each in packed if each.path.is_file()))
        if not here:
            raise NotFound
        return Archive(here, file_name(f"{collection.title}.zip"), self._house.zone)

    # --- adding -----------------------------------------------------------------------------------

    async def add_form(self, visit: Visit) -> Answer:
        """An empty form for files."""
        collection = await self._share.require_may_add(name_of(visit.names["id"]), asker(visit))
        return await self._form(visit, collection, {"lang": visit.words.lang})

    async def add(self, visit: Visit) -> Answer:
        """Take files, first their words, then their bytes: nothing is read that cannot be kept."""
        collection = (await self._share.collection(name_of(visit.names["id"]))).collection
        if collection.may_add is MayAdd.CARETAKERS:
            raise MayNotAdd
        try:
            await self._share.require_may_add(collection.public_id, asker(visit))
            length = visit.request.content_length or 0
            if length > _WORDS_ONLY.texts:  # a shorter one may bring words only, for files that have arrived
                await self._uploads.expect(visit.device, length)
        except HubError as error:
            form = await self._words_of(visit)
            again = await self._share.sent_before(collection.public_id, form.first("key")[:64], asker(visit))
            return (
                _added(self._slips, again) if again else await self._refused(visit, collection, form, error)
            )
        room = await self._share.room(collection.public_id, visit.device)
        limits = FormLimits(
            body=min(room.today, room.card) + _WORDS_ONLY.texts,
            file=room.largest or sys.maxsize,
            files=MAX_FILES,
            parts=MAX_FILES + _OTHER_PARTS,
        )
        try:
            form = await read_form(visit.request, limits, self._uploads)
        except FormError as error:
            why: HubError = error
            if isinstance(error, FormTooLarge):
                largest = visit.words.size(min(limits.file, limits.body))
                why = FilesTooLarge(files=MAX_FILES, size=largest)
            return await self._refused(visit, collection, error.form, why)
        async with form:
            try:
                return await self._put_up(visit, collection, form)
            except HubError as error:  # perhaps of a form that has done its work: its uploads are gone then
                key = form.first("key")[:64]
                again = await self._share.sent_before(collection.public_id, key, asker(visit))
                if again:
                    return _added(self._slips, again)
                return await self._refused(visit, collection, form, error)

    async def _put_up(self, visit: Visit, collection: Collection, form: PostedForm) -> Answer:
        if form.first("website"):
            raise LooksAutomatic
        original = form.first("photo") == "keep"
        taken = await self._uploads.take(form.all("upload"), visit.device)
        arrivals = [Arrival(each.name, each.arrived, original, each.token) for each in taken]
        arrivals += [
            Arrival(file.name, file.arrived, original)
            for file in form.files_of("file")
            if file.arrived is not None
        ]
        typed = TypedFiles(*(form.first(name) for name in ("description", "name", "lang")))
        spoken = guess_language(typed.description) or visit.words.lang
        if typed.lang == visit.words.lang:
            typed = replace(typed, lang=spoken)  # the form's own suggestion, which few people change
        receipt = await self._share.put_up(
            collection.public_id, typed, arrivals, asker(visit), form.first("key")[:64], spoken
        )
        return _added(self._slips, receipt)

    async def _words_of(self, visit: Visit) -> PostedForm:
        """What was typed into a form whose files are not taken, as far as it came before them."""
        try:
            return await read_form(visit.request, _WORDS_ONLY, self._uploads)
        except FormError as error:
            return error.form

    async def _refused(
        self, visit: Visit, collection: Collection, form: PostedForm, error: HubError
    ) -> Content:
        arrived: list[Taken] = []
        for token in form.all("upload"):
            with suppress(HubError):
                arrived += await self._uploads.take([token], visit.device)
        if isinstance(error, PhotoNotCleaned):  # a tick in the form may put that right: keep what came
            arrived += await self._keep(visit, form)
        return await self._form(
            visit,
            collection,
            {name: form.first(name) for name in _FIELDS},
            arrived=tuple(
                views.ArrivedFile(each.token, each.name, each.arrived.ref.size) for each in arrived
            ),
            key=form.first("key")[:64],
            error=error,
        )

    async def _keep(self, visit: Visit, form: PostedForm) -> list[Taken]:
        """The files of a refused form, as uploads that have arrived."""
        kept = []
        for file in form.files_of("file"):
            if file.arrived is not None:
                with suppress(NoRoom):  # it has to be chosen again
                    kept.append(await self._uploads.keep(file.arrived, file.name, visit.device))
                    form.files.remove(file)
        return kept

    async def _form(
        self,
        visit: Visit,
        collection: Collection,
        values: dict[str, str],
        *,
        arrived: tuple[views.ArrivedFile, ...] = (),
        key: str = "",
        error: HubError | None = None,
    ) -> Content:
        page = await self._house.page(visit, here=f"/collections/{collection.public_id}/add")
        checked = collection.may_add is MayAdd.CHECKED or self._policy().posting is Mode.CHECKED
        field = "file" if error and error.code.startswith(_ABOUT_FILES) else ""
        view = views.AddFilesPage(
            page=page,
            collection=collection,
            left=_left(await self._share.room(collection.public_id, visit.device)),
            key=key or self._posting.fresh_key(),
            values=values,
            errors=said(visit, error, field) if error else {},
            arrived=arrived,
            checked_first=checked,
        )
        content = self._house.content(visit, view, status=error.status if error else 200, keep=False)
        return when_to_try_again(content, error)

    # --- one's own --------------------------------------------------------------------------------

    async def edit_form(self, visit: Visit) -> Answer:
        """One's own file, to change."""
        file = await self._share.bytes_of(name_of(visit.names["id"]), visit.device)
        values = {"name": file.name, "description": file.description, "lang": file.lang}
        return await self._file_form(visit, file, values)

    async def change(self, visit: Visit) -> Answer:
        """Change one's own file."""
        file = await self._share.bytes_of(name_of(visit.names["id"]), visit.device)
        async with self._posting.form(visit) as form:
            values = {name: form.first(name) for name in (*_FILE_FIELDS, "phrase")}
            typed = TypedFile(*(values[name] for name in _FILE_FIELDS))
            spoken = guess_language(typed.description) or visit.words.lang
            try:
                waits = await self._share.change(file.public_id, typed, asker(visit, form), spoken)
            except HubError as error:
                return await self._file_form(visit, file, values, error)
        done = views.Done.FILE_WAITING if waits else views.Done.FILE_CHANGED
        return Redirect(f"{quote(views.file_path(file.public_id, file.name))}?done={done}")

    async def _file_form(
        self, visit: Visit, file: File, values: dict[str, str], error: HubError | None = None
    ) -> Content:
        page = await self._house.page(visit, here=f"/files/{file.public_id}/edit")
        needs = isinstance(error, NotYours) or not await self._share.owns(file.obj, asker(visit))
        view = views.FileFormPage(
            page=page,
            file=file,
            values=values,
            errors=said(visit, error) if error else {},
            needs_phrase=needs,
        )
        content = self._house.content(visit, view, status=error.status if error else 200, keep=False)
        return when_to_try_again(content, error)

    def _act_form(self, act: views.Act) -> PageHandler:
        async def show(visit: Visit) -> Answer:
            return await self._act_page(visit, act, await self._acted_on(visit, act))

        return show

    def _act(self, act: views.Act) -> PageHandler:
        async def carry_out(visit: Visit) -> Answer:
            name = name_of(visit.names["id"])
            shown = await self._acted_on(visit, act)
            async with self._posting.form(visit) as form:
                who = asker(visit, form)
                try:
                    if act is views.Act.REMOVE:
                        await self._share.take_down(name, who)
                    elif act is views.Act.RESTORE:
                        await self._share.put_back(name, who)
                    else:
                        await self._share.extend(name, who)
                except HubError as error:
                    if not isinstance(error, (NotYours, TryLater)):
                        raise
                    return await self._act_page(visit, act, shown, error, form.first("phrase"))
            if act is views.Act.REMOVE and shown is not None:
                return Redirect(_after_taking_down(shown))
            done = views.Done.FILE_PUT_BACK if act is views.Act.RESTORE else views.Done.FILE_EXTENDED
            file = (await self._share.file(name, visit.device)).file
            return Redirect(f"{quote(views.file_path(file.public_id, file.name))}?done={done}")

        return carry_out

    async def _acted_on(self, visit: Visit, act: views.Act) -> Shown | None:
        """The file; None for one that is to be put back, which nobody may see."""
        if act is views.Act.RESTORE:
            return None
        return await self._share.file(name_of(visit.names["id"]), visit.device)

    async def _act_page(
        self,
        visit: Visit,
        act: views.Act,
        shown: Shown | None,
        error: HubError | None = None,
        phrase: str = "",
    ) -> Content:
        page = await self._house.page(visit, here=visit.request.path)
        needs = isinstance(error, NotYours)
        until_ms = 0
        if shown is not None:
            needs = needs or not await self._share.owns(shown.file.obj, asker(visit))
            days = shown.collection.lifetime_days
            until_ms = max(page.now_ms + days * DAY_MS, shown.file.expires_ms) if days else 0
        view = views.FileActPage(
            page=page,
            act=act,
            public_id=name_of(visit.names["id"]),
            name=shown.file.name if shown else "",
            needs_phrase=needs,
            until_ms=until_ms,
            values={"phrase": phrase},
            errors=said(visit, error, "phrase") if error and phrase else {},
        )
        content = self._house.content(visit, view, status=error.status if error else 200, keep=False)
        return when_to_try_again(content, error)


_OTHER_PARTS = 20
"""Fields of the form that are no files, and then some."""


def _added(slips: Slips, receipt: Receipt) -> Redirect:
    """The collection, with what became of each file."""
    done = views.Done.FILES_WAITING if receipt.held else views.Done.FILES_ADDED
    slip = slips.write(receipt.phrase, receipt.cookie, receipt.lines)
    path = quote(views.collection_path(receipt.collection.public_id, receipt.collection.title))
    return Redirect(f"{path}?done={done}&slip={slip}", receipt.cookie or None)


def _after_taking_down(shown: Shown) -> str:
    """The collection; what only waited for a caretaker was dropped and cannot be put back."""
    path = quote(views.collection_path(shown.collection.public_id, shown.collection.title))
    undo = "" if shown.waiting else f"&undo={shown.file.public_id}"
    return f"{path}?done={views.Done.FILE_TAKEN_DOWN}{undo}"


def _left(room: Room) -> views.Left:
    """What the form says may still be added."""
    size, shortage = room.today, views.Shortage.NONE
    if room.collection is not None and room.collection < size:
        size, shortage = room.collection, views.Shortage.COLLECTION
    if room.card < size:
        size, shortage = room.card, views.Shortage.CARD
    if size <= 0 and shortage is views.Shortage.NONE:
        shortage = views.Shortage.DAY
    return views.Left(max(0, size), min(room.largest, max(0, size)), shortage)
