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
