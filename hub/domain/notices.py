"""What stands on the board: kinds, scopes, drafts and notices as every part of the hub sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hub.domain.ids import HubId, ObjectId

MAX_TITLE = 120
MAX_TEXT = 4_000
MAX_REPLY = 2_000
MAX_NAME = 60
MAX_CONTACT = 120
MAX_ALT = 200
MAX_PICTURES = 4
"""Characters, and pictures of one notice."""
MAX_TEXT_BYTES = 12 * 1024
"""UTF-8 bytes of a text, so that a body with every other field stays under 16 KiB (sync.md 2.1)."""


class Kind(StrEnum):
    """What a notice is about; shown as an icon and a word, never by colour."""

    NEWS = "news"
    ASK = "ask"
    GIVE = "give"
    LOST = "lost"
    WORK = "work"
    QUESTION = "question"
    URGENT = "urgent"


class Scope(StrEnum):
    """Who may see an item (sync.md 2.3)."""

    HUB = "hub"
    NEIGHBOURS = "neighbours"
    NETWORK = "network"


class State(StrEnum):
    """The life of a notice. Being hidden is the caretakers' (or reporters') act, not a state of content."""

    LIVE = "live"
    WITHDRAWN = "withdrawn"
    """Taken down by its author; can be put back for 30 minutes."""
    ERASED = "erased"
    """Body and pictures are gone; only signed headers remain."""


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Content-addressed bytes: ``sha256`` and ``pieces`` in lower-case hex, ``size`` in bytes.

    ``pieces`` is the SHA-256 of the concatenated SHA-256 hashes of the blob's 256 KiB pieces
    (decision 26), so that the list, and then each piece, can be verified and fetched from anyone.
    """

    sha256: str
    size: int
    pieces: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A re-encoded JPEG without device data, its thumbnail, and the words that stand for it."""

    full: BlobRef
    width: int
    height: int
    thumb: BlobRef
    thumb_width: int
    thumb_height: int
    alt: str = ""


@dataclass(frozen=True, slots=True)
class NoticeDraft:
    """A checked notice that is not a record yet. ``expires_ms`` is Unix milliseconds."""

    kind: Kind
    title: str
    text: str
    lang: str
    scope: Scope
    expires_ms: int
    name: str = ""
    contact: str = ""
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplyDraft:
    """A checked reply that is not a record yet."""

    text: str
    lang: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as pages show it. ``shown_ms`` is when it was written or first seen, the earlier."""

    obj: ObjectId
    public_id: str
    hub: HubId
    text: str
    lang: str
    name: str
    shown_ms: int
    edited_ms: int | None
    hidden: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as pages show it: content from the log, marks from local truth.

    ``shown_ms`` (Unix ms) orders the board; ``pinned`` and ``official`` are already evaluated for
    the moment of reading; ``hidden`` means it must be shown to nobody but its caretakers.
    """

    obj: ObjectId
    public_id: str
    hub: HubId
    kind: Kind
    title: str
    text: str
    lang: str
    scope: Scope
    name: str
    contact: str
    pictures: tuple[Picture, ...]
    shown_ms: int
    edited_ms: int | None
    expires_ms: int
    state: State
    changed_ms: int
    """When it came into its present state: for "taken down on Sunday"."""
    reply_count: int
    hidden: bool
    pinned: bool
    official: bool
    version: bytes = field(repr=False, default=b"")
    """Record id of the newest content: the key under which rendered text is kept."""
