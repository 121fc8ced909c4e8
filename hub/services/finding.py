"""Search over everything on the hub: notices with their replies, collections, files; newest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hub.domain.files import Collection, File
from hub.domain.ids import ObjectId
from hub.domain.notices import Notice, State
from hub.storage import files, moderation, notices, search
from hub.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Match:
    """A notice found: in its own words or not, and the texts of its replies in which it was found."""

    notice: Notice
    itself: bool
    replies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileMatch:
    """A file found, and the collection it lies in."""

    file: File
    collection: Collection


@dataclass(frozen=True, slots=True)
class CollectionMatch:
    """A collection found."""

    collection: Collection


AnyMatch = Match | FileMatch | CollectionMatch


@dataclass(frozen=True, slots=True)
class Results:
    """A page of search results; ``older`` is where the next one begins."""

    matches: tuple[AnyMatch, ...]
    older: search.Place | None


class Finding:
    """The one search of pages and API."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def search(self, query: str, before: search.Place | None, limit: int = 10) -> Results:
        """What anybody may see and in which every word of ``query`` begins a word.

        A reply counts for its notice: a notice appears once.
        """
        now = self._now_ms()

        def read(connection: Connection) -> Results:
            look = _Look(connection, now)
            found = search.find(connection, query, limit=limit, before=before, visible=look.visible)
            return Results(tuple(look.match(hit) for hit in found.hits), found.older)

        return await self._database.read_with(read)


class _Look:
    """One search, with what it has read already."""

    def __init__(self, connection: Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._threads: dict[ObjectId, Notice | FileMatch | CollectionMatch | None] = {}

    def visible(self, thread: ObjectId, obj: ObjectId) -> bool:
        """Whether the document ``obj`` of ``thread`` (a notice for its replies, else itself) may be shown."""
        if thread not in self._threads:
            self._threads[thread] = self._thread(thread)
        if self._threads[thread] is None:
            return False
        return obj == thread or moderation.hidden(self._connection, obj) is None

    def match(self, hit: search.Hit) -> AnyMatch:
        """What `search.find` found, with everything its line says."""
        thread = self._threads[hit.notice]
        assert thread is not None  # noqa: S101 - `visible` said so
        if not isinstance(thread, Notice):
            return thread
        answers = [
            notices.reply_by_object(self._connection, obj) for obj in hit.documents if obj != hit.notice
        ]
        texts = tuple(answer.reply.text for answer in answers if answer is not None)
        return Match(thread, thread.obj in hit.documents, texts)

    def _thread(self, obj: ObjectId) -> Notice | FileMatch | CollectionMatch | None:
        notice = notices.by_object(self._connection, self._now, obj)
        if notice is not None:
            return notice if _shown(notice, self._now) else None
        file = files.file_by_object(self._connection, obj)
        collection = files.collection_by_object(
            self._connection, self._now, obj if file is None else file.collection
        )
        if collection is None or not _shown(collection, self._now):
            return None
        if file is None:
            return CollectionMatch(collection)
        return FileMatch(file, collection) if _shown(file, self._now) else None


def _shown(item: Notice | Collection | File, now: int) -> bool:
    return item.state is State.LIVE and item.expires_ms > now and not item.hidden
