"""What residents do with files: put up, change, take down, put back, extend; and the collections they lie in.

The bytes have arrived before (hub/services/uploads.py) and become blobs before the records that name
them are written (decision 25). Caretakers make the collections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from hub.domain.bodies import FileBody, encode_file, read_file_body
from hub.domain.errors import HubError, NotFound, Refused
from hub.domain.files import (
    MAX_DESCRIPTION,
    Collection,
    CollectionDraft,
    File,
    FileDraft,
    Licence,
    MayAdd,
    file_name,
    free_name,
    name_key,
)
from hub.domain.ids import HubId, ObjectId, public_form
from hub.domain.notices import MAX_NAME, Picture, Scope, State
from hub.domain.policy import DAY_MS, BoardPolicy, FilePolicy, Gone, NotYours
from hub.domain.submission import FormRefused, TooLong, language, line
from hub.services.authorship import Asker, Authorship
from hub.services.pictures import PictureMaker
from hub.services.publishing import publish_collection, publish_file
from hub.services.uploads import Uploads
from hub.storage import authors, fetching, files, moderation
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database
from hub.storage.incoming import Arrived
from hub.storage.journal import Pen
from hub.words import N_

PAGE = 60
"""Files on one page of a collection."""
FOREVER_DAYS = 400
"""How long a record may last at most (decision 11); what has no end of its own is renewed before."""
RENEW_DAYS = 60
"""Before the end of what is meant to stay, it is renewed."""

BOX_TITLE = N_("The open box")
BOX_DESCRIPTION = N_("Anybody may put files here, and they end by themselves.")


class MayNotAdd(Refused):
    """Only caretakers put files into this collection."""

    code = "may-not-add"
    status = 403
    template = N_(
        "Only the people who look after the hub put files into this collection. Nothing was kept. "
        "Ask them, or choose another collection."
    )


class NoFiles(Refused):
    """A form without files."""

    code = "no-files"
    status = 422
    template = N_("Choose at least one file.")


class CollectionFull(Refused):
    """A collection holds as much as it may."""

    code = "collection-full"
    status = 413
    template = N_(
        "This collection has room for {megabytes} MB more. Nothing was kept. "
        "Choose smaller files, or ask the people who look after the hub for more room."
    )


class FileGone(Refused):
    """The bytes of a file of the form were erased meanwhile."""

    code = "file-gone"
    status = 422
    template = N_("A file of this form is no longer here. Choose it again; what you typed is kept.")


class Outcome(StrEnum):
    """What became of one file of a form."""

    ADDED = "added"
    RENAMED = "renamed"
    """Another file has that name, so this one got a number."""
    ALREADY_HERE = "already-here"
    """The very same file lies there."""
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class TypedFiles:
    """The text fields of the form that adds files, as they were typed."""

    description: str = ""
    name: str = ""
    lang: str = ""


@dataclass(frozen=True, slots=True)
class TypedFile:
    """The text fields of the form that changes one file; ``name`` is the file's."""

    name: str = ""
    description: str = ""
    lang: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One file of a form, whole and hashed. ``original``: photographs keep what the camera wrote.

    ``token`` is that of its resumable upload, if it came by one.
    """

    name: str
    arrived: Arrived
    original: bool = False
    token: str = ""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file as it will be kept: for a photograph without its device data, another than arrived."""

    arrival: Arrival
    arrived: Arrived
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one file: ``wanted`` is the name it came with."""

    name: str
    wanted: str
    public_id: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a form. ``phrase`` is given once; ``again``: the same form was sent before."""

    collection: Collection
    lines: tuple[Line, ...]
    phrase: str
    cookie: str
    held: bool
    again: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """One page of a collection; ``older`` is the key to go on before. ``waiting`` are the asker's own."""

    collection: Collection
    files: tuple[File, ...]
    older: int | None
    mine: frozenset[ObjectId]
    waiting: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A file with what belongs on its page. For a picture, ``newer`` and ``older`` are pictures too."""

    file: File
    collection: Collection
    mine: bool
    waiting: bool
    newer: File | None
    older: File | None


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a collection's ZIP; names are unique."""

    file: File
    name: str
    crc32: int


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that may still come: to the card, from this device today, into the collection (None: no
    limit of its own); and the largest file."""

    card: int
    today: int
    collection: int | None
    largest: int


class FileShare:
    """The file share of one hub. Who may see what is decided here, for pages, bytes and archives alike."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        uploads: Uploads,
        pictures: PictureMaker,
        authorship: Authorship,
        hub: HubId,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
        policy: Callable[[], BoardPolicy],
        file_policy: Callable[[], FilePolicy],
        require_room: Callable[[], None],
    ) -> None:
        """``require_room`` raises `NoRoom` when not even words fit; it runs in the writer's thread."""
        self._database = database
        self._blobs = blobs
        self._uploads = uploads
        self._pictures = pictures
        self._authorship = authorship
        self._hub = hub
        self._pen = pen
        self._chance = chance
        self._policy = policy
        self._file_policy = file_policy
        self._require_room = require_room

    # --- reading ----------------------------------------------------------------------------------

    async def collections(self) -> list[Collection]:
        """What anybody may see, those with the newest file first."""
        now = self._now()
        return await self._database.read_with(lambda connection: files.collections(connection, now))

    async def newest(self, limit: int) -> list[tuple[File, Collection]]:
        """The newest files anybody may see, with where they lie."""
        now = self._now()

        def read(connection: Connection) -> list[tuple[File, Collection]]:
            places = {item.obj: item for item in files.collections(connection, now)}
            found = files.newest(connection, now, limit)
            return [(file, places[file.collection]) for file in found]

        return await self._database.read_with(read)

    async def collection(self, name: str, cookie: str | None = None, before: int | None = None) -> Shelf:
        """A page of the collection called ``name`` (canonical public id). Raises `NotFound`, `Gone`."""
        now = self._now()

        def read(connection: Connection) -> Shelf:
            collection = self._shown_collection(connection, name, now)
            found = files.files_of(connection, now, collection.obj, before=before, limit=PAGE + 1)
            return Shelf(
                collection=collection,
                files=tuple(found[:PAGE]),
                older=found[PAGE - 1].key if len(found) > PAGE else None,
                mine=self._authorship.mine(connection, cookie),
                waiting=tuple(self._waiting(connection, cookie, collection.obj)),
            )

        return await self._database.read_with(read)

    async def file(self, name: str, cookie: str | None = None) -> Shown:
        """The file called ``name``, for its page. Raises `NotFound`, `Gone`."""
        now = self._now()

        def read(connection: Connection) -> Shown:
            file, waiting = self._shown_file(connection, name, cookie, now)
            collection = files.collection_by_object(connection, now, file.collection)
            if collection is None:
                raise NotFound
            pictures = file.picture is not None
            newer = older = None
            if not waiting:
                newer = files.neighbour(connection, now, file, newer=True, pictures=pictures)
                older = files.neighbour(connection, now, file, newer=False, pictures=pictures)
            mine = file.obj in self._authorship.mine(connection, cookie)
            return Shown(file, collection, mine, waiting, newer, older)

        return await self._database.read_with(read)

    async def bytes_of(self, name: str, cookie: str | None = None) -> File:
        """The file called ``name``, for its bytes. Raises `NotFound`, `Gone`."""
        now = self._now()

        def read(connection: Connection) -> File:
            return self._shown_file(connection, name, cookie, now)[0]

        return await self._database.read_with(read)

    async def members(self, name: str) -> tuple[Collection, list[Member]]:
        """Everything of a collection that anybody may see, for its ZIP, the oldest first."""
        now = self._now()

        def read(connection: Connection) -> tuple[Collection, list[File], dict[str, int]]:
            collection = self._shown_collection(connection, name, now)
            found = files.files_of(connection, now, collection.obj)[::-1]
            known = files.checksums(connection, {file.blob.sha256 for file in found})
            return collection, found, known

        collection, found, known = await self._database.read_with(read)
        missing = {file.blob.sha256 for file in found} - known.keys()
        if missing:
            known |= await self._checksums(missing)
        taken: set[str] = set()
        members = []
        for file in found:
            if file.blob.sha256 in known:  # one whose bytes are broken or away is left out
                own = free_name(file.name, taken.__contains__)
                taken.add(name_key(own))
                members.append(Member(file, own, known[file.blob.sha256]))
        return collection, members

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
        """Whether the blob is a thumbnail of a file that anybody may see."""
        now = self._now()
        return await self._database.read_with(
            lambda connection: files.picture_is_shown(connection, now, sha256)
        )

    async def room(self, name: str, cookie: str | None) -> Room:
        """How much may still be put into a collection, for the page that says so. Raises `NotFound`."""
        now, policy = self._now(), self._file_policy()
        device = self._authorship.device_hash(cookie)

        def read(connection: Connection) -> tuple[int | None, int]:
            collection = self._shown_collection(connection, name, now)
            left = None
            if policy.per_collection:
                left = max(0, policy.per_collection - files.bytes_in(connection, collection.obj))
            return left, self._uploads.left_today(connection, device, now)

        left, today = await self._database.read_with(read)
        card = await asyncio.to_thread(self._uploads.room_on_card)
        return Room(card=card, today=today, collection=left, largest=policy.largest)

    # --- putting up -------------------------------------------------------------------------------

    async def require_may_add(self, name: str, asker: Asker) -> Collection:
        """The collection, if the asker may put files into it now: asked before any byte is read.

        Raises `NotFound`, `Gone`, `MayNotAdd`, `PostingPaused`, `DevicePaused`.
        """
        now = self._now()

        def read(connection: Connection) -> Collection:
            collection = self._shown_collection(connection, name, now)
            self._require_open(collection)
            device = self._authorship.device_hash(asker.cookie)
            self._authorship.must_wait(authors.device(connection, device) if device else None)
            return collection

        return await self._database.read_with(read)

    async def put_up(
        self,
        name: str,
        typed: TypedFiles,
        arrivals: Sequence[Arrival],
        asker: Asker,
        form_key: str,
        fallback_lang: str,
    ) -> Receipt:
        """Put files into the collection called ``name``, or hold them. The same ``form_key`` again returns
        what it made the first time. What arrived is the share's from here on.

        Raises `FormRefused`, `MayNotAdd`, `CollectionFull`, `PostingPaused`, `DevicePaused`, `TryLater`,
        `NoRoom`, the quotas' errors, `NotFound`, `Gone`.
        """
        try:
            checked = _check(typed, arrivals, fallback_lang)
            cookie = self._authorship.admit(asker)
        except HubError:
            again = await self.sent_before(name, form_key, asker)
            if again is None:
                raise
            return again
        phrase = self._authorship.fresh_phrase()
        return await self._put_up(name, checked, arrivals, cookie, phrase, form_key, asker)

    async def put_up_for_caretaker(
        self, name: str, typed: TypedFiles, arrivals: Sequence[Arrival], lang: str
    ) -> Receipt:
        """Put files into any collection without limits or quotas, as caretakers do."""
        return await self._put_up(name, _check(typed, arrivals, lang), arrivals, None, "", "", Asker())

    async def _put_up(
        self,
        name: str,
        typed: TypedFiles,
        arrivals: Sequence[Arrival],
        cookie: str | None,
        phrase: str,
        form_key: str,
        asker: Asker,
    ) -> Receipt:
        now = self._now()
        prepared: list[_Prepared] = []
        try:
            for arrival in arrivals:
                prepared.append(await self._prepare(arrival))  # noqa: PERF401 - what came before a refusal counts
            receipt = await self._write_down(name, typed, prepared, cookie, phrase, form_key, asker, now)
        finally:  # what arrived is the caller's until it is kept, what was made of it never
            made = [item.arrived.path for item in prepared if item.arrived is not item.arrival.arrived]
            await asyncio.to_thread(_unlink, made)
        await asyncio.to_thread(_unlink, [arrival.arrived.path for arrival in arrivals])
        return receipt

    async def _prepare(self, arrival: Arrival) -> _Prepared:
        """Take location and device data out of a photograph, and make its thumbnail."""
        photo = await self._pictures.photo(
            arrival.arrived.path, name=file_name(arrival.name), original=arrival.original
        )
        if photo is None:
            return _Prepared(arrival, arrival.arrived)
        arrived = photo.arrived or arrival.arrived
        return _Prepared(arrival, arrived, photo.picture(arrived.ref))

    async def _write_down(
        self,
        name: str,
        typed: TypedFiles,
        prepared: Sequence[_Prepared],
        cookie: str | None,
        phrase: str,
        form_key: str,
        asker: Asker,
        now: int,
    ) -> Receipt:
        """Make blobs of what arrived, then the rows that name them (decision 25)."""
        await asyncio.to_thread(self._settle, prepared)

        def write(connection: Connection) -> Receipt:
            collection = self._shown_collection(connection, name, now)
            again = self._as_made(connection, collection, form_key, asker)
            if again is not None:
                return again
            self._require_room()
            device = None
            held = False
            if cookie is not None:
                self._require_open(collection)
                device = self._authorship.meet(connection, cookie)
                held = self._authorship.must_wait(device)
                held |= collection.may_add is MayAdd.CHECKED and not device.trusted
                for item in prepared:  # no upload any more
                    self._uploads.forget(connection, item.arrival.token)
                self._require_allowance(connection, collection, prepared, device, now)
            last = len(prepared) - 1
            lines = [
                self._add(
                    connection, collection, typed, item, device, phrase, key, now, last - place, held=held
                )
                for place, (item, key) in enumerate(zip(prepared, _keys(form_key), strict=False))
            ]
            made = {line.outcome for line in lines} != {Outcome.ALREADY_HERE}
            return Receipt(collection, tuple(lines), phrase if made else "", cookie or "", held and made)

        return await self._database.write(write)

    def _add(
        self,
        connection: Connection,
        collection: Collection,
        typed: TypedFiles,
        item: _Prepared,
        device: authors.Device | None,
        phrase: str,
        key: str,
        now: int,
        before_ms: int,
        *,
        held: bool,
    ) -> Line:
        """One file of a form, inside the form's transaction; ``before_ms`` keeps them in order."""
        ref, wanted = item.arrived.ref, file_name(item.arrival.name)
        same = files.same_in(connection, collection.obj, ref.sha256, name_key(wanted))
        if same is not None and not same.hidden:
            return Line(same.name, wanted, same.public_id, Outcome.ALREADY_HERE)
        needed = [ref, *([item.picture.thumb] if item.picture else [])]
        if not all(self._blobs.exists(blob.sha256) for blob in needed):
            raise FileGone
        obj, _ = self._authorship.object_of(connection, key)
        free = free_name(wanted, files.names_in(connection, collection.obj))
        draft = FileDraft(
            name=free,
            blob=ref,
            description=typed.description,
            lang=typed.lang,
            scope=collection.scope,
            expires_ms=now + (collection.lifetime_days or FOREVER_DAYS) * DAY_MS,
            author=typed.name,
            picture=item.picture,
            original=item.arrival.original,
        )
        files.note_checksum(connection, ref.sha256, item.arrived.crc32)
        fetching.note_list(connection, ref.sha256, item.arrived.hashes)
        if device is not None:
            self._authorship.own(connection, obj, device.hash, phrase)
            self._uploads.count(connection, device.hash, ref.size, now)
        if held:
            body = encode_file(FileBody(draft, now - before_ms), self._chance(16))
            moderation.hold(
                connection,
                moderation.Held(obj, collection.obj, "file", body, draft.expires_ms, draft.scope, now, False),
            )
            return Line(free, wanted, public_form(obj), Outcome.WAITING)
        publish_file(
            connection, self._pen(), obj, draft, collection.obj, self._chance(16), before_ms=before_ms
        )
        if device is not None:
            authors.count_shown(connection, device.hash)
        outcome = Outcome.ADDED if free == wanted else Outcome.RENAMED
        return Line(free, wanted, public_form(obj), outcome)

    # --- changing one's own -----------------------------------------------------------------------

    async def change(self, name: str, typed: TypedFile, asker: Asker, fallback_lang: str) -> bool:
        """Change the name and description of one's own file. True when that waits for a caretaker.

        Raises `NotFound`, `Gone`, `NotYours`, `FormRefused`, `PostingPaused`, `DevicePaused`, `TryLater`.
        """
        now = self._now()
        file = await self.bytes_of(name, asker.cookie)
        description = _description(typed.description)
        lang = language(typed.lang, fallback_lang)
        self._authorship.slow_down(asker)

        def write(connection: Connection) -> bool:
            self._require_room()
            waits = self._authorship.must_wait(self._authorship.require_owner(connection, file.obj, asker))
            held = moderation.held(connection, file.obj)
            current = files.file_by_object(connection, file.obj)
            if held is not None and held.notice is not None:
                body = read_file_body(held.body, held.scope, held.exp_ms)
                draft = self._renamed(connection, body.draft, held.notice, typed.name, description, lang)
                moderation.hold(
                    connection,
                    replace(held, body=encode_file(FileBody(draft, body.posted_ms), self._chance(16))),
                )
                return True
            if current is None or current.state is not State.LIVE or current.expires_ms <= now:
                raise Gone
            draft = self._renamed(
                connection, _draft_of(current), current.collection, typed.name, description, lang
            )
            if waits:
                body_bytes = encode_file(FileBody(draft, current.shown_ms, now), self._chance(16))
                moderation.hold(
                    connection,
                    moderation.Held(
                        current.obj,
                        current.collection,
                        "file",
                        body_bytes,
                        draft.expires_ms,
                        draft.scope,
                        now,
                        True,
                    ),
                )
                return True
            self._publish_again(connection, current, draft, edited_ms=now)
            return False

        return await self._database.write(write)

    async def extend(self, name: str, asker: Asker) -> int:
        """Let one's own file stay its collection's usual time again from now; the new end in Unix ms."""
        now = self._now()
        shown = await self.file(name, asker.cookie)
        self._authorship.slow_down(asker)
        until = now + (shown.collection.lifetime_days or FOREVER_DAYS) * DAY_MS

        def write(connection: Connection) -> int:
            self._authorship.require_writer(connection, shown.file.obj, asker)
            current = files.file_by_object(connection, shown.file.obj)
            if current is None or current.state is not State.LIVE:
                raise Gone
            draft = replace(_draft_of(current), expires_ms=max(until, current.expires_ms))
            self._publish_again(connection, current, draft, edited_ms=current.edited_ms)
            return draft.expires_ms

        return await self._database.write(write)

    async def take_down(self, name: str, asker: Asker) -> None:
        """Take one's own file down; it can be put back for a while. Raises `NotFound`, `NotYours`."""
        obj = await self._find(name, asker)
        await self._database.write(lambda connection: self._authorship.take_down(connection, obj, asker))

    async def put_back(self, name: str, asker: Asker) -> None:
        """Put one's own file back within the time for it. Raises `TooLate`, `NotYours`, `NotFound`."""
        obj = await self._find(name, asker)
        await self._database.write(lambda connection: self._authorship.put_back(connection, obj, asker))

    # --- collections ------------------------------------------------------------------------------

    async def found(self, title: str, description: str, lang: str) -> None:
        """Make the open box on a hub that never had a collection, with those words."""
        now, policy = self._now(), self._file_policy()

        def write(connection: Connection) -> None:
            if files.any_collection(connection):
                return
            draft = CollectionDraft(
                title=title,
                description=description,
                lang=lang,
                owner="",
                may_add=MayAdd.EVERYONE,
                licence=Licence.VARIES,
                lifetime_days=policy.box_days,
                scope=Scope.HUB,
                expires_ms=now + FOREVER_DAYS * DAY_MS,
            )
            obj = ObjectId(self._chance(16))
            publish_collection(connection, self._pen(), obj, draft, self._chance(16))

        if not await self._database.read_with(files.any_collection):
            await self._database.write(write)

    async def renew(self, at_most: int = 100) -> int:
        """Publish again what is meant to stay and would end within `RENEW_DAYS` (decision 11).

        Collections of this hub, and their files where the collection sets no end. Returns how many.
        """
        pen = self._pen()
        before, until = pen.now_ms + RENEW_DAYS * DAY_MS, pen.now_ms + FOREVER_DAYS * DAY_MS

        def due(connection: Connection) -> tuple[list[Collection], list[File]]:
            ours = [item for item in files.every_collection(connection, pen.now_ms) if self._stays(item)]
            lasting = {item.obj for item in ours if not item.lifetime_days}
            soon = files.expiring(connection, pen.now_ms, at_most)
            return (
                [item for item in ours if item.expires_ms < before][:at_most],
                [
                    file
                    for file in soon
                    if pen.now_ms < file.expires_ms < before
                    and file.collection in lasting
                    and self._stays(file)
                ],
            )

        def write(connection: Connection) -> int:
            collections, lasting = due(connection)
            for item in collections:
                publish_collection(
                    connection,
                    pen,
                    item.obj,
                    replace(collection_draft(item), expires_ms=until),
                    self._chance(16),
                    posted_ms=item.shown_ms,
                    edited_ms=item.edited_ms,
                )
            for file in lasting:
                draft = replace(_draft_of(file), expires_ms=until)
                self._publish_again(connection, file, draft, edited_ms=file.edited_ms)
            return len(collections) + len(lasting)

        if not any(await self._database.read_with(due)):
            return 0
        return await self._database.write(write)

    # --- inside -----------------------------------------------------------------------------------

    def _now(self) -> int:
        return self._pen().now_ms

    def _stays(self, item: Collection | File) -> bool:
        return item.hub == self._hub and item.state is State.LIVE

    def _shown_collection(self, connection: Connection, name: str, now: int) -> Collection:
        collection = files.collection_by_public_id(connection, now, name)
        if collection is None or collection.hidden:
            raise NotFound
        if collection.state is not State.LIVE or collection.expires_ms <= now:
            raise Gone
        return collection

    def _shown_file(
        self, connection: Connection, name: str, cookie: str | None, now: int
    ) -> tuple[File, bool]:
        """A file that the asker may see, and whether it waits for a caretaker."""
        file = files.file_by_public_id(connection, name)
        if file is None:
            device = self._authorship.device_hash(cookie)
            for obj in authors.objects_of_device(connection, device) if device else ():
                held = moderation.held(connection, obj) if public_form(obj, 26).startswith(name) else None
                if held is not None and held.of == "file":
                    return self._held_file(held), True
            raise NotFound
        collection = files.collection_by_object(connection, now, file.collection)
        if file.hidden or collection is None or collection.hidden:
            raise NotFound
        ended = collection.state is not State.LIVE or collection.expires_ms <= now
        if ended or file.state is not State.LIVE or file.expires_ms <= now:
            raise Gone
        return file, False

    def _waiting(self, connection: Connection, cookie: str | None, collection: ObjectId) -> list[File]:
        mine = self._authorship.mine(connection, cookie)
        if not mine:
            return []
        return [
            self._held_file(held)
            for held in moderation.held_replies(connection, collection)
            if held.of == "file" and held.obj in mine and not held.changes
        ]

    def _held_file(self, held: moderation.Held) -> File:
        assert held.notice is not None  # noqa: S101 - a held file names its collection
        draft = read_file_body(held.body, held.scope, held.exp_ms).draft
        return File(
            obj=held.obj,
            public_id=public_form(held.obj),
            hub=self._hub,
            collection=held.notice,
            name=draft.name,
            blob=draft.blob,
            description=draft.description,
            lang=draft.lang,
            author=draft.author,
            picture=draft.picture,
            original=draft.original,
            scope=draft.scope,
            shown_ms=held.held_ms,
            edited_ms=None,
            expires_ms=held.exp_ms,
            state=State.LIVE,
            changed_ms=held.held_ms,
            hidden=False,
            key=0,
        )

    def _require_open(self, collection: Collection) -> None:
        if collection.may_add is MayAdd.CARETAKERS or collection.hub != self._hub:
            raise MayNotAdd

    def _require_allowance(
        self,
        connection: Connection,
        collection: Collection,
        prepared: Sequence[_Prepared],
        device: authors.Device,
        now: int,
    ) -> None:
        size = sum(item.arrived.ref.size for item in prepared)
        most = self._file_policy().per_collection
        if most:
            left = max(0, most - files.bytes_in(connection, collection.obj))
            if size > left:
                raise CollectionFull(megabytes=left // 1_000_000)
        self._uploads.require_allowance(connection, device.hash, size, len(prepared), now)

    def _settle(self, prepared: Sequence[_Prepared]) -> None:
        for item in prepared:
            self._blobs.settle(item.arrived)

    def _publish_again(
        self, connection: Connection, current: File, draft: FileDraft, *, edited_ms: int | None
    ) -> None:
        moderation.release(connection, current.obj)
        publish_file(
            connection,
            self._pen(),
            current.obj,
            draft,
            current.collection,
            self._chance(16),
            posted_ms=current.shown_ms,
            edited_ms=edited_ms,
        )

    def _renamed(
        self,
        connection: Connection,
        draft: FileDraft,
        collection: ObjectId,
        wanted: str,
        description: str,
        lang: str,
    ) -> FileDraft:
        name = file_name(wanted) if wanted.strip() else draft.name
        if name_key(name) != name_key(draft.name):
            name = free_name(name, files.names_in(connection, collection))
        return replace(draft, name=name, description=description, lang=lang)

    async def sent_before(self, name: str, form_key: str, asker: Asker) -> Receipt | None:
        """What the form of this one-time key made, if it was sent before. Raises `NotFound`, `Gone`."""
        now = self._now()

        def read(connection: Connection) -> Receipt | None:
            collection = self._shown_collection(connection, name, now)
            return self._as_made(connection, collection, form_key, asker)

        return await self._database.read_with(read)

    def _as_made(
        self, connection: Connection, collection: Collection, form_key: str, asker: Asker
    ) -> Receipt | None:
        """What the form of this one-time key made when it was sent before."""
        lines = []
        for key in _keys(form_key):
            obj, made = self._authorship.object_of(connection, key)
            if not made:
                break
            file = files.file_by_object(connection, obj)
            waits = moderation.held(connection, obj)
            shown = self._held_file(waits) if waits is not None and file is None else file
            if shown is not None:
                outcome = Outcome.WAITING if file is None else Outcome.ADDED
                lines.append(Line(shown.name, shown.name, shown.public_id, outcome))
        if not lines:
            return None
        held = any(line.outcome is Outcome.WAITING for line in lines)
        return Receipt(collection, tuple(lines), "", asker.cookie or "", held, again=True)

    async def _find(self, name: str, asker: Asker) -> ObjectId:
        """The object id of a file in any state, or of the asker's own that waits; raises `NotFound`."""
        now = self._now()

        def read(connection: Connection) -> ObjectId:
            file = files.file_by_public_id(connection, name)
            return file.obj if file else self._shown_file(connection, name, asker.cookie, now)[0].obj

        return await self._database.read_with(read)

    async def _checksums(self, blobs: set[str]) -> dict[str, int]:
        """Work out, and keep, the CRC-32 of blobs that came without one; broken ones are left out."""
        found: dict[str, int] = {}
        for sha256 in blobs:
            with contextlib.suppress(NotFound):
                found[sha256] = await asyncio.to_thread(self._blobs.crc32, sha256)

        def write(connection: Connection) -> None:
            for sha256, crc32 in found.items():
                files.note_checksum(connection, sha256, crc32)

        if found:
            await self._database.write(write)
        return found


MAX_FILES = 100
"""Files of one form."""


def collection_draft(collection: Collection) -> CollectionDraft:
    """A collection as it would be written again."""
    return CollectionDraft(
        title=collection.title,
        description=collection.description,
        lang=collection.lang,
        owner=collection.owner,
        may_add=collection.may_add,
        licence=collection.licence,
        lifetime_days=collection.lifetime_days,
        scope=collection.scope,
        expires_ms=collection.expires_ms,
    )


def _draft_of(file: File) -> FileDraft:
    return FileDraft(
        name=file.name,
        blob=file.blob,
        description=file.description,
        lang=file.lang,
        scope=file.scope,
        expires_ms=file.expires_ms,
        author=file.author,
        picture=file.picture,
        original=file.original,
    )


def _keys(form_key: str) -> list[str]:
    """A key for each file that a form may have."""
    return [f"{form_key} {number}" if form_key else "" for number in range(MAX_FILES)]


def _check(typed: TypedFiles, arrivals: Sequence[Arrival], fallback_lang: str) -> TypedFiles:
    problems: dict[str, HubError] = {}
    name = line(typed.name)
    if len(name) > MAX_NAME:
        problems["name"] = TooLong(most=MAX_NAME, length=len(name))
    description = typed.description.strip()
    if len(description) > MAX_DESCRIPTION:
        problems["description"] = TooLong(most=MAX_DESCRIPTION, length=len(description))
    if not arrivals or len(arrivals) > MAX_FILES:
        problems["file"] = NoFiles()
    if problems:
        raise FormRefused(problems)
    return TypedFiles(description, name, language(typed.lang, fallback_lang))


def _description(typed: str) -> str:
    description = typed.strip()
    if len(description) > MAX_DESCRIPTION:
        raise FormRefused({"description": TooLong(most=MAX_DESCRIPTION, length=len(description))})
    return description


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
