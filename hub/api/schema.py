"""Message shapes of both APIs, all that a client needs of the hub. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

PublicId = Annotated[str, Meta(description="Stable public id: ten or more characters of Crockford base32.")]
MAX_MS = 2**53 - 1
Ms = Annotated[int, Meta(description="Unix time in milliseconds.")]


class Problem(Struct, kw_only=True, omit_defaults=True):
    """An error (RFC 9457). ``code`` is stable; ``detail`` says what happened, what is safe, what next."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


# --- public ---------------------------------------------------------------------------------------


class PictureOut(Struct, kw_only=True):
    """A picture of a notice; the addresses are paths on this hub."""

    url: str
    width: int
    height: int
    thumb_url: str
    alt: str


class ReplyOut(Struct, kw_only=True, omit_defaults=True):
    """A reply, oldest first in its notice."""

    id: PublicId
    content_text: str
    language: str
    author: str = ""
    date_published: str
    date_modified: str = ""
    origin: str


class AuthorOut(Struct, kw_only=True):
    """Who wrote a notice, as they call themselves."""

    name: str


class NoticeOut(Struct, kw_only=True, omit_defaults=True):
    """A notice, in the terms of JSON Feed 1.1 (items) with what a noticeboard adds."""

    id: PublicId
    url: str
    title: str
    content_text: str
    language: str
    date_published: str
    date_modified: str = ""
    kind: str
    expires: str
    origin: str
    authors: list[AuthorOut] = []
    contact: str = ""
    pinned: bool = False
    urgent: bool = False
    pictures: list[PictureOut] = []
    reply_count: int = 0
    replies: list[ReplyOut] | None = None


class NoticesOut(Struct, kw_only=True, omit_defaults=True):
    """The board as a JSON Feed 1.1 (jsonfeed.org)."""

    version: str
    title: str
    home_page_url: str
    feed_url: str
    language: str
    next_url: str = ""
    items: list[NoticeOut]


# --- for caretakers -------------------------------------------------------------------------------


class Status(Struct, kw_only=True):
    """How the hub is: ``state`` is OK, LOOK or STOP, and ``lines`` say why."""

    state: str
    lines: list[StatusLine]
    name: str
    hub: str
    version: str
    addresses: list[str]
    posting: str
    notices: int
    replies: int
    waiting: int
    reports: int
    hidden: int
    records: int
    devices: int
    free_bytes: int
    started_ms: Ms


class StatusLine(Struct, kw_only=True):
    """One fact: OK, LOOK or STOP, a stable code, a sentence, and what to do about it."""

    state: str
    code: str
    sentence: str
    remedy: str = ""


class ItemOut(Struct, kw_only=True):
    """A notice, reply, file or collection as its caretakers see it. ``state``: waiting, live, hidden,
    withdrawn, erased, expired. A file's name is its ``title``."""

    id: PublicId
    of: str
    state: str
    kind: str
    title: str
    text: str
    name: str
    contact: str
    language: str
    scope: str
    posted_ms: Ms
    expires_ms: Ms
    pictures: int
    replies: int
    pinned: bool
    urgent: bool
    hidden_by: str
    reports: int
    device: str
    waiting_change: str
    receipts: list[ReceiptOut] = []
    """Of an erased item: which hubs have erased it. Empty in lists, and for what never left this hub."""


class ReceiptOut(Struct, kw_only=True):
    """Whether a hub has erased an item (``erased_ms``), and when it was last heard of. Null: not as far as
    is known here. ``parted``: it is no longer paired with this hub, and may never hear of it."""

    hub: str
    name: str
    erased_ms: int | None
    heard_ms: int | None
    parted: bool


class ReportOut(Struct, kw_only=True):
    """A report and the item it is about."""

    reference: str
    reason: str
    words: str
    at_ms: Ms
    item: ItemOut
    outcome: str
    rule: str
    answer: str


class DeviceOut(Struct, kw_only=True):
    """A device by the mark caretakers know it by."""

    mark: str
    since: str
    shown: int
    trusted: bool
    paused_until_ms: int | None
    banned_until_ms: int | None


class SettingOut(Struct, kw_only=True):
    """One setting: ``source`` is default, file or caretaker; ``live`` ones can be set while running."""

    key: str
    value: str
    default: str
    source: str
    live: bool
    sentence: str


class LedgerOut(Struct, kw_only=True):
    """A line of the public ledger; ``digest`` is hex and chains it to the line before."""

    number: int
    at_ms: Ms
    act: str
    rule: str
    role: str
    subject: str
    outcome: str
    digest: str


class Decision(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a caretaker decided. ``rule`` is a number of the house rules or a sentence; ``until_ms`` is an
    end (0: none); the rest only where the act asks for it."""

    rule: str = ""
    until_ms: Annotated[int, Meta(ge=0, le=MAX_MS, description="Unix time in milliseconds.")] = 0
    outcome: str = ""
    answer: str = ""
    value: str = ""
    yes: bool = True


class CollectionIn(Struct, kw_only=True, forbid_unknown_fields=True):
    """A collection as a caretaker wants it; what is None stays as it is, or takes its default.

    ``may_add``: everyone, checked, caretakers. ``licence``: ask, share, free, varies. ``scope``: hub,
    neighbours, network; it cannot be changed later. ``lifetime_days``: 0 for files that stay.
    """

    title: str | None = None
    description: str | None = None
    owner: str | None = None
    language: str | None = None
    may_add: str | None = None
    licence: str | None = None
    scope: str | None = None
    lifetime_days: int | None = None


class CollectionOut(Struct, kw_only=True):
    """A collection as its caretakers see it; ``size`` in bytes."""

    id: PublicId
    state: str
    title: str
    description: str
    owner: str
    language: str
    may_add: str
    licence: str
    scope: str
    lifetime_days: int
    files: int
    size: int
    posted_ms: Ms


class FileOut(Struct, kw_only=True):
    """A file as its caretakers see it; ``size`` in bytes, ``sha256`` in hex."""

    id: PublicId
    state: str
    name: str
    size: int
    sha256: str
    author: str
    collection: str
    collection_id: PublicId
    posted_ms: Ms
    expires_ms: Ms


class AddedOut(Struct, kw_only=True):
    """What became of a file: added, renamed, already-here."""

    id: PublicId
    name: str
    outcome: str


class FreedOut(Struct, kw_only=True):
    """What was, or with ``done`` false could be, freed: files that ended, uploads nobody finished, and
    bytes that nothing names; ``size`` in bytes, ``free_bytes`` of the card now."""

    files: int
    uploads: int
    blobs: int
    size: int
    free_bytes: int
    done: bool


class StreamOut(Struct, kw_only=True):
    """What this hub and a neighbour chose for a stream (exchange, hold, none), and what comes of it."""

    stream: str
    ours: str
    theirs: str
    sentence: str


class AddressOut(Struct, kw_only=True):
    """Where a neighbour can be called; ``learnt``: typed, heard, told, met. ``good_ms``: it last worked."""

    address: str
    learnt: str
    good_ms: int | None


class NeighbourOut(Struct, kw_only=True):
    """A hub that is or was paired. ``state``: paired, paused, parted, removing, removed; ``id`` the
    beginning of its id in base32, ``hub`` all of it in hex; ``trouble`` what went wrong last, in words;
    ``offset_ms`` its clock less ours."""

    id: str
    hub: str
    name: str
    colour: str
    state: str
    connected: bool
    to_go: int
    trouble: str
    paired_ms: Ms
    heard_ms: int | None
    swapped_ms: int | None
    version: str
    protocol: int
    offset_ms: int | None
    streams: list[StreamOut]
    addresses: list[AddressOut]


class AdvisedOut(Struct, kw_only=True):
    """What the neighbour called ``by`` advises: ``what`` is a flag, with its ``reason`` and the number of one
    of its house ``rule``s (0: none), or block. ``item`` is what it is about; null for a blocked hub, which is
    called ``about`` and of which ``count`` items are seen here."""

    by: str
    what: str
    reason: str
    rule: int
    at_ms: Ms
    item: ItemOut | None
    about: str
    count: int


class AdviceOut(Struct, kw_only=True):
    """What neighbours advise about anything that is seen here; whose block lists hide things here
    (``follows``), and how many entries this hub's own list has (``listed``)."""

    advised: list[AdvisedOut]
    follows: list[str]
    listed: int


class SeenOut(Struct, kw_only=True):
    """A hub on this network as it says of itself; nothing of it is proved. ``state``: that of the neighbour
    whose id it claims, else unknown. ``namesake``: another hub has the same name."""

    id: str
    name: str
    version: str
    addresses: list[str]
    seen_ms: Ms
    how: str
    state: str
    namesake: bool


class ForkOut(Struct, kw_only=True):
    """A hub with whose key two hubs write; ``id`` is the beginning of its id in base32."""

    id: str
    name: str
    seen_ms: Ms


class HeldOut(Struct, kw_only=True):
    """What waits of one hub, brought by one neighbour (``by`` is empty: a stick): how many records and bytes,
    ``why`` (future, quota, stranger, fork), the same in a ``sentence``, and what to do (``remedy``)."""

    id: str
    name: str
    by: str
    why: str
    records: int
    size: int
    since_ms: Ms
    sentence: str
    remedy: str


class PairingIn(Struct, kw_only=True, forbid_unknown_fields=True):
    """How to pair: an ``address`` to call, or for how many ``minutes`` to let another hub call; when
    accepting, ``choices`` (exchange, hold, none) for streams (notices, files) that are not just exchanged."""

    address: str = ""
    minutes: Annotated[int, Meta(ge=1, le=60, description="How long others may call.")] = 10
    choices: dict[str, str] = {}


class PairingOut(Struct, kw_only=True):
    """How pairing stands: ``state`` is closed, open, calling, comparing, accepted, paired, failed; ``digits``
    are six while they are to be compared; ``next`` says what to do, ``agreement`` what pairing means."""

    state: str
    digits: str
    name: str
    hub: str
    until_ms: Ms
    trouble: str
    next: str
    agreement: list[str]


class StickIn(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to do with a stick: its ``directory``; for which neighbour (``to``; empty: any hub) to write,
    with files up to ``largest_mb`` (-1: all, 0: none), of how many ``days`` (0: what the other hub lacks).
    ``card`` is a card's file and ``words`` are what its caretaker read out."""

    directory: str = ""
    to: str = ""
    largest_mb: Annotated[int, Meta(ge=-1)] = 64
    days: Annotated[int, Meta(ge=0, le=4000)] = 0
    card: bytes = b""
    words: str = ""


class PackedOut(Struct, kw_only=True):
    """Bundles that were written: the names of their ``files``, their ``size``, and what is in them.
    ``left_out`` files were too large."""

    files: list[str]
    size: int
    records: int
    blobs: int
    left_out: int
    known: bool


class UnpackedOut(Struct, kw_only=True):
    """A bundle that was read: from which hub (empty: it was damaged as a whole), and what became of its
    ``records``: ``stored`` here now, ``known`` before, ``waiting`` for a caretaker, ``refused``, or sealed
    (``sealed``) to another hub. ``blobs`` are files that came; ``lost`` of its ``segments`` were bad."""

    file: str
    hub: str
    name: str
    made_ms: Ms
    records: int
    stored: int
    known: int
    waiting: int
    refused: int
    sealed: int
    blobs: int
    segments: int
    lost: int


class CardOut(Struct, kw_only=True):
    """A card that was written: its ``path``, and the nine ``words`` to read out."""

    path: str
    words: str


class Done(Struct, kw_only=True):
    """It was done; ``sentence`` says what."""

    sentence: str
    id: str = ""


class FindingOut(Struct, kw_only=True):
    """Something a check found wrong."""

    what: str
    sentence: str


class Findings(Struct, kw_only=True):
    """The result of a check; empty when all is well. ``counted`` says how much was looked at."""

    findings: list[FindingOut]
    counted: str
