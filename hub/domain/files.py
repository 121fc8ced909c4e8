"""The file share's words: collections, files, who may add, what kind of file it is, what it may be called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from hub.domain.ids import HubId, ObjectId
from hub.domain.notices import BlobRef, Picture, Scope, State

MAX_NAME = 120
"""Characters of a file's name, its ending included."""
MAX_DESCRIPTION = 1_000
MAX_COLLECTION_DESCRIPTION = 2_000
MAX_LIFETIME_DAYS = 400


class MayAdd(StrEnum):
    """Who may put files into a collection."""

    EVERYONE = "everyone"
    CHECKED = "checked"
    """Everyone, and a caretaker looks first."""
    CARETAKERS = "caretakers"


class Licence(StrEnum):
    """Whose the files of a collection are and whether others may copy them, in four plain choices."""

    ASK = "ask"
    """They belong to whoever put them up: ask before copying."""
    SHARE = "share"
    """May be copied and passed on, with the name of who made them."""
    FREE = "free"
    """May be copied, changed and used for anything."""
    VARIES = "varies"
    """Differs from file to file, or nobody has said."""


class Family(StrEnum):
    """What a browser can do with a file."""

    PICTURE = "picture"
    PDF = "pdf"
    TEXT = "text"
    SOUND = "sound"
    FILM = "film"
    OTHER = "other"
    """Only to be downloaded."""


class Media(NamedTuple):
    """A type of the list that may be shown inline, and what it is for the browser."""

    type: str
    family: Family


OTHER = Media("application/octet-stream", Family.OTHER)

_MEDIA: Mapping[str, Media] = MappingProxyType(
    {
        "jpg": Media("image/jpeg", Family.PICTURE),
        "jpeg": Media("image/jpeg", Family.PICTURE),
        "png": Media("image/png", Family.PICTURE),
        "webp": Media("image/webp", Family.PICTURE),
        "gif": Media("image/gif", Family.PICTURE),
        "pdf": Media("application/pdf", Family.PDF),
        "txt": Media("text/plain; charset=utf-8", Family.TEXT),
        "mp3": Media("audio/mpeg", Family.SOUND),
        "m4a": Media("audio/mp4", Family.SOUND),
        "ogg": Media("audio/ogg", Family.SOUND),
        "oga": Media("audio/ogg", Family.SOUND),
        "opus": Media("audio/ogg", Family.SOUND),
        "flac": Media("audio/flac", Family.SOUND),
        "wav": Media("audio/wav", Family.SOUND),
        "mp4": Media("video/mp4", Family.FILM),
        "m4v": Media("video/mp4", Family.FILM),
        "webm": Media("video/webm", Family.FILM),
        "mov": Media("video/quicktime", Family.FILM),
    }
)
"""What may be shown inline, by the ending of the name. Nothing here can run in a page of the hub."""

_HIDDEN = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)}
    | {0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF}
)
"""What has no place in a file's name: it breaks lines or turns the direction, which hides the true ending."""
_NOT_EVERYWHERE = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
"""Characters that Windows and FAT take for something else."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)
"""Names that are devices on Windows, with any ending."""
_LONGEST_ENDING = 10


@dataclass(frozen=True, slots=True)
class CollectionDraft:
    """A checked collection that is not a record yet. ``lifetime_days`` is 0 where its files do not end."""

    title: str
    description: str
    lang: str
    owner: str
    may_add: MayAdd
    licence: Licence
    lifetime_days: int
    scope: Scope
    expires_ms: int


@dataclass(frozen=True, slots=True)
class FileDraft:
    """A checked file that is not a record yet; its bytes are a blob already.

    ``picture`` is there for pictures that have a thumbnail; its ``full`` is ``blob``. ``original`` says
    that the uploader asked for the bytes to be kept as they came, with whatever the camera wrote.
    """

    name: str
    blob: BlobRef
    description: str
    lang: str
    scope: Scope
    expires_ms: int
    author: str = ""
    picture: Picture | None = None
    original: bool = False


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as pages show it; ``files`` and ``size`` (bytes) count what anybody may see in it."""

    obj: ObjectId
    public_id: str
    hub: HubId
    title: str
    description: str
    lang: str
    owner: str
    may_add: MayAdd
    licence: Licence
    lifetime_days: int
    scope: Scope
    shown_ms: int
    edited_ms: int | None
    expires_ms: int
    state: State
    changed_ms: int
    hidden: bool
    files: int
    size: int
    version: bytes = field(repr=False, default=b"")
    """Record id of the newest content."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as pages show it. ``collection`` is the collection's object."""

    obj: ObjectId
    public_id: str
    hub: HubId
    collection: ObjectId
    name: str
    blob: BlobRef
    description: str
    lang: str
    author: str
    picture: Picture | None
    original: bool
    scope: Scope
    shown_ms: int
    edited_ms: int | None
    expires_ms: int
    state: State
    changed_ms: int
    hidden: bool
    key: int
    """Orders the files of a collection, the newest with the highest; 0 for one that waits for a caretaker."""

    @property
    def media(self) -> Media:
        """How it may be shown."""
        return media_of(self.name)


def media_of(name: str) -> Media:
    """What a file called ``name`` may be shown as: from a list of what cannot run, else a download."""
    return _MEDIA.get(ending_of(name), OTHER)


def ending_of(name: str) -> str:
    """What stands after the last full stop, in lower case; may be empty."""
    stem, _, ending = name.rpartition(".")
    return ending.lower() if stem else ""


def file_name(typed: str) -> str:
    """``typed`` as a name that every system can store and every reader can trust; never empty.

    Its last part after slashes, in NFC, without control and direction characters, at most `MAX_NAME`
    characters, the ending kept; not a name that Windows reserves.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", typed)[-1].translate(_HIDDEN))
    name = " ".join(name.translate(_NOT_EVERYWHERE).split()).strip(". ")
    if _RESERVED.match(name):
        name = f"_{name}"
    return _shortened(name, "") or "file"


def free_name(name: str, taken: Callable[[str], bool]) -> str:
    """``name``, or "Menu (2).pdf" and so on, where `taken` says of its `name_key` that somebody has it."""
    number, free = 1, name
    while taken(name_key(free)):
        number += 1
        free = _shortened(name, f" ({number})")
    return free


def name_key(name: str) -> str:
    """``name`` as names are compared: what only differs in case is one name to most systems."""
    return unicodedata.normalize("NFC", name.casefold())


def _shortened(name: str, mark: str) -> str:
    """``name`` with ``mark`` before its ending, cut to `MAX_NAME` characters in all."""
    stem, dot, ending = name.rpartition(".")
    tail = dot + ending if stem and len(ending) <= _LONGEST_ENDING else ""
    stem = name[: len(name) - len(tail)] if tail else name
    room = MAX_NAME - len(mark) - len(tail)
    return (stem if len(stem) <= room else stem[: room - 1] + "…") + mark + tail
