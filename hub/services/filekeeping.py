"""What caretakers do with the file share: make collections, add files, and make room on a full card."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from hub.domain.errors import NotFound, Refused
from hub.domain.files import (
    MAX_COLLECTION_DESCRIPTION,
    MAX_LIFETIME_DAYS,
    Collection,
    CollectionDraft,
    File,
    Licence,
    MayAdd,
)
from hub.domain.ids import HubId, ObjectId, parse_public, public_form
from hub.domain.notices import MAX_NAME, MAX_TITLE, Scope, State
from hub.domain.policy import DAY_MS
from hub.domain.submission import language, line
from hub.services.erasure import Eraser
from hub.services.fileshare import (
    FOREVER_DAYS,
    Arrival,
    FileShare,
    Line,
    TypedFiles,
    collection_draft,
)
from hub.services.publishing import publish_collection, retract
from hub.services.uploads import Uploads
from hub.storage import decisions, files, retention
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database
from hub.storage.journal import Pen
from hub.words import N_

LISTED = 50
_Option = TypeVar("_Option", MayAdd, Licence, Scope)


class BadCollection(Refused):
    """Something about a collection is not as it has to be."""

    code = "bad-collection"
    status = 422
    template = N_("{field}: {reason} Nothing was changed.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A collection as a caretaker wants it; None leaves what stands, or takes the default."""

    title: str | None = None
    description: str | None = None
    owner: str | None = None
    language: str | None = None
    may_add: str | None = None
    licence: str | None = None
    scope: str | None = None
    lifetime_days: int | None = None


@dataclass(frozen=True, slots=True)
class Freed:
    """What can be freed, or was: files that have ended, uploads nobody finished, blobs nothing names."""

    files: int
    uploads: int
    blobs: int
    size: int
    free_bytes: int


class FileKeeping:
    """``actor`` is the local user's name, for the private audit log only."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        share: FileShare,
        uploads: Uploads,
        eraser: Eraser,
        hub: HubId,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
        lang: Callable[[], str],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._share = share
        self._uploads = uploads
        self._eraser = eraser
        self._hub = hub
        self._pen = pen
        self._chance = chance
        self._lang = lang

    # --- collections ------------------------------------------------------------------------------

    async def collections(self) -> list[Collection]:
        """All that are not erased, hidden ones too, the newest first."""
        now = self._pen().now_ms
        return await self._database.read_with(lambda connection: files.every_collection(connection, now))

    async def add_collection(self, wanted: Wanted, actor: str) -> Collection:
        """Make a collection. Raises `BadCollection`."""
        pen = self._pen()
        blank = CollectionDraft(
            title="",
            description="",
            lang=self._lang(),
            owner="",
            may_add=MayAdd.EVERYONE,
            licence=Licence.ASK,
            lifetime_days=0,
            scope=Scope.HUB,
            expires_ms=pen.now_ms + FOREVER_DAYS * DAY_MS,
        )
        scope = _choice("scope", Scope, wanted.scope or blank.scope)
        draft = replace(_changed(blank, wanted), scope=scope)
        obj = ObjectId(self._chance(16))

        def write(connection: Connection) -> Collection:
            publish_collection(connection, pen, obj, draft, self._chance(16))
            decisions.note(connection, pen.now_ms, actor, "add-collection", public_form(obj))
            made = files.collection_by_object(connection, pen.now_ms, obj)
            assert made is not None  # noqa: S101 - it was just written
            return made

        return await self._database.write(write)

    async def change_collection(self, name: str, wanted: Wanted, actor: str) -> Collection:
        """Change a collection of this hub. Raises `NotFound`, `BadCollection`."""
        pen = self._pen()

        def write(connection: Connection) -> Collection:
            collection = self._collection(connection, name)
            if collection.hub != self._hub or collection.state is not State.LIVE:
                raise NotFound
            if wanted.scope is not None and wanted.scope != collection.scope:
                reason = "who may see a collection is decided when it is made."
                raise BadCollection(field="scope", reason=reason)
            draft = _changed(collection_draft(collection), wanted)
            publish_collection(
                connection,
                pen,
                collection.obj,
                draft,
                self._chance(16),
                posted_ms=collection.shown_ms,
                edited_ms=pen.now_ms,
            )
            decisions.note(connection, pen.now_ms, actor, "change-collection", collection.public_id)
            return self._collection(connection, name)

        return await self._database.write(write)

    # --- files ------------------------------------------------------------------------------------

    async def files(self, where: str, name: str = "") -> list[tuple[File, Collection | None]]:
        """Files with where they lie: ``where`` is newest, largest or expiring; only those of the collection
        ``name`` if one is given (then all of them). Raises `NotFound`."""
        now = self._pen().now_ms

        def read(connection: Connection) -> list[tuple[File, Collection | None]]:
            if name:
                collection = self._collection(connection, name)
                found = [
                    files.file_by_object(connection, obj)
                    for obj in files.objects_in(connection, collection.obj)
                ]
                every = [file for file in found if file is not None]
                order = {"largest": lambda file: -file.blob.size, "expiring": lambda file: file.expires_ms}
                every.sort(key=order.get(where, lambda file: -file.key))
            else:
                look = {"largest": files.largest, "expiring": files.expiring}.get(where, files.newest)
                every = look(connection, now, LISTED)
            places = {item.obj: item for item in files.every_collection(connection, now)}
            return [(file, places.get(file.collection)) for file in every]

        return await self._database.read_with(read)

    async def add(
        self,
        collection: str,
        name: str,
        typed: TypedFiles,
        body: AsyncIterable[bytes],
        length: int | None,
        *,
        original: bool,
        actor: str,
    ) -> Line:
        """Put a file that a caretaker sends into a collection; photos lose their place as residents' do.

        Raises `NotFound`, `NoRoom`, and what pictures raise.
        """
        pen = self._pen()
        found = await self._database.read_with(lambda connection: self._collection(connection, collection))
        arrived = await self._uploads.receive(body, length)
        try:
            arrival = Arrival(name, arrived, original=original)
            receipt = await self._share.put_up_for_caretaker(found.public_id, typed, [arrival], self._lang())
        finally:
            await asyncio.to_thread(arrived.path.unlink, missing_ok=True)
        [added] = receipt.lines
        await self._database.write(
            lambda connection: decisions.note(connection, pen.now_ms, actor, "add-file", added.public_id)
        )
        return added

    # --- a full card ------------------------------------------------------------------------------

    async def free(self, *, carry_out: bool, actor: str) -> Freed:
        """Free what nobody misses: our files that have ended, stopped uploads, blobs that nothing names.

        Without ``carry_out`` it only says how much that is. Works on a card with no byte left.
        """
        pen = self._pen()

        def ended(connection: Connection) -> list[File]:
            soon = files.expiring(connection, pen.now_ms, 1_000)
            return [file for file in soon if file.expires_ms <= pen.now_ms and file.hub == self._hub]

        def erase(connection: Connection) -> None:
            for file in ended(connection):
                retract(connection, pen, file.obj)
            decisions.note(connection, pen.now_ms, actor, "free", "")

        gone = await self._database.read_with(ended)
        stopped = await self._uploads.stopped()
        size = sum(file.blob.size for file in gone) + sum(each.size for each in stopped)
        blobs: list[str] = []
        if carry_out:
            before = await asyncio.to_thread(self._blobs.free_bytes)
            await self._uploads.drop(stopped)
            await self._database.write(erase)
            await self._eraser.wipe()
            named = await self._database.read_with(retention.referenced_blobs)
            blobs = await asyncio.to_thread(
                self._blobs.collect, named, older_than_ms=3_600_000, now_ms=pen.now_ms
            )
            size = max(0, await asyncio.to_thread(self._blobs.free_bytes) - before)
        free_bytes = await asyncio.to_thread(self._blobs.free_bytes)
        return Freed(len(gone), len(stopped), len(blobs), size, free_bytes)

    # --- inside -----------------------------------------------------------------------------------

    def _collection(self, connection: Connection, name: str) -> Collection:
        canonical = parse_public(name.strip())
        now = self._pen().now_ms
        found = files.collection_by_public_id(connection, now, canonical) if canonical else None
        if found is None:
            wanted = line(name).casefold()
            titled = [
                item
                for item in files.every_collection(connection, now)
                if item.title.casefold() == wanted and item.state is State.LIVE
            ]
            found = titled[0] if len(titled) == 1 else None
        if found is None:
            raise NotFound
        return found


def _changed(draft: CollectionDraft, wanted: Wanted) -> CollectionDraft:
    """``draft`` with what is wanted of it, scope aside; raises `BadCollection`."""
    title = draft.title if wanted.title is None else line(wanted.title)
    owner = draft.owner if wanted.owner is None else line(wanted.owner)
    description = draft.description if wanted.description is None else wanted.description.strip()
    days = draft.lifetime_days if wanted.lifetime_days is None else wanted.lifetime_days
    for field, text, most in (
        ("title", title, MAX_TITLE),
        ("owner", owner, MAX_NAME),
        ("description", description, MAX_COLLECTION_DESCRIPTION),
    ):
        if len(text) > most:
            raise BadCollection(field=field, reason=f"at most {most} characters.")
    if not title:
        raise BadCollection(field="title", reason="give the collection a title.")
    if not 0 <= days <= MAX_LIFETIME_DAYS:
        reason = f"0 for files that stay, or 1 to {MAX_LIFETIME_DAYS} days."
        raise BadCollection(field="lifetime_days", reason=reason)
    return replace(
        draft,
        title=title,
        owner=owner,
        description=description,
        lang=language(wanted.language or draft.lang, draft.lang),
        may_add=_choice("may_add", MayAdd, wanted.may_add or draft.may_add),
        licence=_choice("licence", Licence, wanted.licence or draft.licence),
        lifetime_days=days,
    )


def _choice(field: str, options: type[_Option], value: str) -> _Option:
    try:
        return options(value)
    except ValueError:
        choices = ", ".join(options)
        raise BadCollection(field=field, reason=f"choose one of {choices}.") from None
