"""What each page is made of: one frozen dataclass for each template, filled by the handlers.

Views carry facts (notices, Unix milliseconds, addresses, ids); words and dates are made in the
templates with the reader's catalogue. Three kinds of string are the exception and arrive ready:
``errors`` and ``sentence`` (a translated :class:`~hub.domain.errors.HubError`), fields called
``html`` (output of :mod:`hub.web.richtext`, already safe), and what caretakers wrote themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Protocol
from urllib.parse import quote

from hub.domain import ledger
from hub.domain.files import Collection, Family, File, Licence, MayAdd, ending_of
from hub.domain.ledger import LedgerEntry
from hub.domain.notices import Kind, Notice, Picture, Reply, Scope
from hub.words import N_
from hub.words.catalogues import LANGUAGES, Language


class Words(Protocol):
    """The reader's language, as :class:`hub.words.catalogues.Catalogue` offers it."""

    @property
    def lang(self) -> str: ...
    @property
    def dir(self) -> str: ...
    def gettext(self, message: str) -> str: ...
    def ngettext(self, singular: str, plural: str, n: int) -> str: ...
    def day(self, ms: int, now_ms: int) -> str: ...
    def time(self, ms: int) -> str: ...
    def when(self, ms: int, now_ms: int) -> str: ...
    def date(self, ms: int) -> str: ...
    def size(self, count: int) -> str: ...


TEXT_LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        **LANGUAGES,
        "bn": Language("বাংলা", "ltr"),
        "pa": Language("ਪੰਜਾਬੀ", "ltr"),
        "ro": Language("Română", "ltr"),
        "so": Language("Soomaali", "ltr"),
    }
)
"""The languages a notice may say it is written in, for screen readers and fonts; by BCP 47 tag."""

KIND_WORDS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.NEWS: N_("News"),
        Kind.ASK: N_("Help wanted"),
        Kind.GIVE: N_("To give away"),
        Kind.LOST: N_("Lost and found"),
        Kind.WORK: N_("Skills and work"),
        Kind.QUESTION: N_("Question"),
        Kind.URGENT: N_("Urgent"),
    }
)
SCOPE_WORDS: Mapping[Scope, str] = MappingProxyType(
    {
        Scope.HUB: N_("Only people at this hub"),
        Scope.NEIGHBOURS: N_("Neighbouring hubs too"),
        Scope.NETWORK: N_("Every hub that is connected"),
    }
)

ACT_WORDS: Mapping[ledger.Act, str] = MappingProxyType(
    {
        ledger.Act.HIDE: N_("Hidden"),
        ledger.Act.AUTO_HIDE: N_("Hidden until a person has looked"),
        ledger.Act.RESTORE: N_("Shown again"),
        ledger.Act.REFUSE: N_("Not put up"),
        ledger.Act.ERASE: N_("Erased"),
        ledger.Act.PAUSE: N_("Paused"),
        ledger.Act.BAN: N_("Barred from writing"),
        ledger.Act.LIFT: N_("May write again"),
        ledger.Act.KEEP: N_("Looked at and kept"),
        ledger.Act.SETTING: N_("Setting changed"),
        ledger.Act.PAIR: N_("Paired with this hub"),
        ledger.Act.PART: N_("No longer paired with this hub"),
    }
)
ROLE_WORDS: Mapping[ledger.Role, str] = MappingProxyType(
    {
        ledger.Role.CARETAKER: N_("by a caretaker"),
        ledger.Role.REPORTS: N_("by reports from residents"),
        ledger.Role.ADVICE: N_("by the advice of a neighbouring hub"),
    }
)
SUBJECT_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "notice": N_("A notice"),
        "reply": N_("A reply"),
        "file": N_("A file"),
        "collection": N_("A collection"),
        "device": N_("A device"),
        "posting": N_("Putting up notices"),
        "setting": N_("A setting"),
        "hub": N_("A neighbouring hub"),
    }
)
"""Words for the subjects of ledger entries; a subject that is not here is shown as it stands."""

SLUG_LENGTH = 36
_ASCII_WORD = re.compile("[a-z0-9]+")


def slug(title: str) -> str:
    """``title`` as the readable end of an address: lower-case letters and digits of any script, joined by
    hyphens, at most 36 characters; may be empty."""
    if title.isascii():  # the same, at a tenth of the cost: a page has twenty of them
        return "-".join(_ASCII_WORD.findall(title.lower().replace("'", "")))[:SLUG_LENGTH].strip("-")
    bare = re.sub("[\u0300-\u036f'’]", "", unicodedata.normalize("NFKD", title.casefold()))
    signs = (
        sign if sign.isalnum() or unicodedata.category(sign)[0] == "M" else " "
        for sign in unicodedata.normalize("NFC", bare)
    )
    return "-".join("".join(signs).split())[:SLUG_LENGTH].strip("-")


def notice_path(public_id: str, title: str) -> str:
    """The address of a notice on this hub, ``/notices/{id}-{slug}``, not percent-encoded."""
    readable = slug(title)
    return f"/notices/{public_id}-{readable}" if readable else f"/notices/{public_id}"


def picture_path(sha256: str) -> str:
    """Where the hub serves a picture or thumbnail it holds."""
    return f"/pictures/{sha256}.jpg"


# --- parts that several pages share ---------------------------------------------------------------


class Banner(StrEnum):
    """A state of the whole hub that every page says at its top."""

    PAUSED = "paused"
    """The caretaker has paused posting."""
    DISK_FULL = "disk-full"
    TIME_UNCERTAIN = "time-uncertain"
    """The clock is not to be trusted, so times may be wrong and nothing expires."""


class Done(StrEnum):
    """What has just been done; the value of ``?done=`` after a redirect."""

    PUT_UP = "put-up"
    WAITING = "waiting"
    CHANGED = "changed"
    EXTENDED = "extended"
    TAKEN_DOWN = "taken-down"
    PUT_BACK = "put-back"
    REPLIED = "replied"
    REPLY_WAITING = "reply-waiting"
    REPLY_CHANGED = "reply-changed"
    REPLY_TAKEN_DOWN = "reply-taken-down"
    REPLY_PUT_BACK = "reply-put-back"
    FILES_ADDED = "files-added"
    FILES_WAITING = "files-waiting"
    FILE_CHANGED = "file-changed"
    FILE_WAITING = "file-waiting"
    FILE_EXTENDED = "file-extended"
    FILE_TAKEN_DOWN = "file-taken-down"
    FILE_PUT_BACK = "file-put-back"


@dataclass(frozen=True, slots=True)
class Message:
    """A line at the top of the page after an action. ``undo`` is the path "Put it back" is posted to."""

    done: Done
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A hub as the pages show it: its name and its colour (a name of ``rendering.HOUSE_COLOURS``).

    ``short`` stands for it in addresses (``/notices?from=…``).
    """

    name: str
    colour: str
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What every page needs.

    ``address`` is the hub's best address without a final slash (``http://tanyard-road.local``),
    ``other_addresses`` the ones to try when a phone does not find it (``http://192.168.4.1:8080``).
    ``here`` is this page's path and query without ``lang``, what the language links lead to; after
    a refused form it is the address the form is found at.
    """

    hub_name: str
    address: str
    other_addresses: tuple[str, ...] = ()
    here: str = "/"
    now_ms: int
    neighbours: tuple[Place, ...] = ()
    caretaker: str = ""
    """Who looks after the hub, in their own words ("Sam, on Tuesdays"); may be empty."""
    banners: tuple[Banner, ...] = ()
    message: Message | None = None
    away: frozenset[str] = frozenset()
    """Pictures of this page (SHA-256 in hex) that are not here yet: words stand for them."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What belongs to an item and is not here: ``arrived`` of ``size`` bytes are. ``origin`` is where it
    comes from, None for this hub's own that was lost.

    Once it is ``coming``, nobody has to ask for it by ``action`` any more; ``met``: a neighbour who may
    have it is connected.
    """

    action: str
    origin: Place | None
    size: int
    arrived: int
    coming: bool
    met: bool

    @property
    def percent(self) -> int:
        """How much of it is here, rounded down."""
        return self.arrived * 100 // max(self.size, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A page. ``template`` names its file, ``status`` the HTTP status it is usually sent with."""

    template: ClassVar[str]
    page: Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A notice in a list. ``origin`` is None for this hub's own notices."""

    notice: Notice
    excerpt: str
    origin: Place | None = None
    html: str = ""
    """The whole text, for the pages that print or show it; empty in lists."""

    @property
    def path(self) -> str:
        return notice_path(self.notice.public_id, self.notice.title)


@dataclass(frozen=True, slots=True)
class Day:
    """The notices of one day; ``ms`` is any moment of it."""

    ms: int
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One radio button: what is sent and what is read."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """A picture the hub already holds for a form: ``token`` is sent back as ``kept`` to keep it.

    ``path`` is where its thumbnail can be seen (empty if it cannot be shown yet).
    """

    token: str
    path: str
    width: int
    height: int
    alt: str = ""


NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Form(View):
    """A page with a form. ``values`` is what was typed, by field name; ``errors`` says what to put
    right, by field name, with ``""`` for what concerns no single field."""

    values: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    errors: Mapping[str, str] = field(default_factory=lambda: NOTHING)


# --- the board ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPage(View):
    """The noticeboard. ``first`` holds what is pinned or urgent; ``older`` is the next cursor.

    With ``kind`` or ``origin`` only notices of that kind, or of that hub.
    """

    template: ClassVar[str] = "board.html"
    first: tuple[Card, ...] = ()
    days: tuple[Day, ...] = ()
    kind: Kind | None = None
    origin: Place | None = None
    before: str = ""
    older: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A found notice; ``title_html`` and ``excerpt_html`` come from :func:`hub.web.richtext.marked`."""

    of: ClassVar[str] = "notice"
    card: Card
    title_html: str
    excerpt_html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage(View):
    """``query`` is what was typed, empty before the first search."""

    template: ClassVar[str] = "search.html"
    query: str = ""
    hits: tuple[AnyHit, ...] = ()
    older: str = ""


# --- one notice -----------------------------------------------------------------------------------


class Standing(StrEnum):
    """How a notice is to be read."""

    LIVE = "live"
    WAITING = "waiting"
    """Held until a caretaker has looked; only its author sees this page."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ReplyShown:
    """A reply. ``mine``: this device wrote it. ``waiting``: held, and only its author sees it."""

    reply: Reply
    html: str
    origin: Place | None = None
    mine: bool = False
    waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticePage(Form):
    """A notice in full. ``html`` is its rendered text, ``short`` its short address in full.

    ``mine``: this device put it up, so the actions need no phrase. ``phrase`` is the take-down
    phrase, given once, on the page after posting. The form on the page is the reply form: ``key``
    is its one-time key, and without ``replies_open`` it is not shown. ``ours``: this hub is the
    origin, so its author may change it here.
    """

    template: ClassVar[str] = "notice.html"
    notice: Notice
    html: str
    short: str
    origin: Place | None = None
    ours: bool = True
    standing: Standing = Standing.LIVE
    mine: bool = False
    phrase: str = ""
    replies: tuple[ReplyShown, ...] = ()
    replies_open: bool = True
    key: str = ""
    fetch: Fetch | None = None
    """Its pictures that are not here."""

    @property
    def path(self) -> str:
        return notice_path(self.notice.public_id, self.notice.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeFormPage(Form):
    """Put up a notice, or change one (``notice`` is then the one to change).

    Fields: key, kind, title, text, name, contact, lang, until (ISO date), scope, picture, alt1 to
    alt4 (of the files in ``picture``, in their order), kept (tokens), ``alt-{token}`` (of the kept
    ones), website (must stay empty), phrase (when ``needs_phrase``).

    ``kept`` are pictures the hub holds already: those of the notice, or those sent with a form that
    was refused. ``checked_first``: a person looks at it before it is shown.
    """

    template: ClassVar[str] = "notice-form.html"
    key: str = ""
    notice: Notice | None = None
    kept: tuple[KeptPicture, ...] = ()
    needs_phrase: bool = False
    checked_first: bool = False
    until_latest: str = ""
    """ISO date: the last day that may be chosen."""

    @property
    def action(self) -> str:
        return f"/notices/{self.notice.public_id}/edit" if self.notice else "/notices"

    @property
    def until_is_date(self) -> bool:
        """Whether a date field can show what was typed; if not, a text field keeps it."""
        return bool(re.fullmatch(r"(\d{4}-\d\d-\d\d)?", self.values.get("until", "")))


class Act(StrEnum):
    """What an author does with what they wrote; the last part of the address it is posted to."""

    REMOVE = "remove"
    RESTORE = "restore"
    EXTEND = "extend"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorPage(Form):
    """Take down, put back or extend; asks for the phrase when the device is not the author's.

    ``reply`` is the reply in question, or None for the notice itself. ``until_ms`` is the end date
    an extension leads to.
    """

    template: ClassVar[str] = "author.html"
    act: Act
    notice: Notice
    reply: Reply | None = None
    needs_phrase: bool = False
    until_ms: int = 0

    @property
    def path(self) -> str:
        return notice_path(self.notice.public_id, self.notice.title)

    @property
    def action(self) -> str:
        if self.reply:
            return f"/replies/{self.reply.public_id}/{self.act}"
        return f"/notices/{self.notice.public_id}/{self.act}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFormPage(Form):
    """A reply form on a page of its own: to change ``reply``, or (None) a new one that was refused."""

    template: ClassVar[str] = "reply-form.html"
    notice: Notice
    reply: Reply | None = None
    key: str = ""
    needs_phrase: bool = False

    @property
    def path(self) -> str:
        return notice_path(self.notice.public_id, self.notice.title)

    @property
    def action(self) -> str:
        if self.reply:
            return f"/replies/{self.reply.public_id}/edit"
        return f"/notices/{self.notice.public_id}/replies"


# --- reports and decisions ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage(Form):
    """Tell the caretakers about something. Fields: key, reason, text.

    ``title``, ``lang`` and ``excerpt`` are of what it is about, ``path`` leads back to it, ``action`` is
    where the form goes.
    """

    template: ClassVar[str] = "report.html"
    title: str
    lang: str
    excerpt: str
    path: str
    action: str
    reasons: tuple[Choice, ...]
    key: str = ""


class ReportState(StrEnum):
    """What became of a report."""

    WAITING = "waiting"
    WAITING_HIDDEN = "waiting-hidden"
    """Not looked at yet, and the item is hidden until then."""
    KEPT = "kept"
    """A person looked and the item stays."""
    HIDDEN = "hidden"
    """A person looked and the item is gone from the board."""


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """``received_ms`` and ``decided_ms`` (0 while waiting) are Unix ms; ``sentence`` is what the
    caretaker wrote to the reporter, ``rule`` the rule that was applied; both may be empty."""

    reference: str
    state: ReportState
    received_ms: int
    decided_ms: int = 0
    rule: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsPage(Form):
    """Look a report up by its reference (field: ref).

    ``thanks`` is set right after reporting: the page then leads with the new reference.
    """

    template: ClassVar[str] = "reports.html"
    outcome: ReportOutcome | None = None
    thanks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionsPage(View):
    """The public ledger, newest first. ``older`` is the next cursor."""

    template: ClassVar[str] = "decisions.html"
    entries: tuple[LedgerEntry, ...] = ()
    older: str = ""


# --- about this hub -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutPage(View):
    """Who looks after the hub, its rules, and what it shares.

    ``rules`` are the house rules in order, as the caretakers wrote them; ``opening`` says when
    somebody is there; ``contact`` how to reach them. All but ``rules`` may be empty.
    """

    template: ClassVar[str] = "about.html"
    rules: tuple[str, ...]
    rules_version: str
    rules_ms: int
    opening: str = ""
    contact: str = ""
    mode: PostingMode


class Swap(StrEnum):
    """What becomes of notices, or of files, between this hub and a neighbour."""

    BOTH_WAYS = "both"
    HELD = "held"
    """Theirs are shown here once somebody who looks after this hub has looked."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NeighbourShown:
    """A neighbour. ``swapped_ms`` is when both last held the same, ``minutes`` how long ago that is, None
    for an hour and more."""

    place: Place
    notices: Swap
    files: Swap
    paused: bool = False
    swapped_ms: int | None = None
    minutes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighboursPage(View):
    """Who this hub swaps with and what. ``further`` are hubs whose notices come through a neighbour."""

    template: ClassVar[str] = "neighbours.html"
    neighbours: tuple[NeighbourShown, ...] = ()
    further: tuple[Place, ...] = ()


class PostingMode(StrEnum):
    """Whether notices are shown at once."""

    OPEN = "open"
    CHECKED = "checked"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyFacts:
    """The numbers of this hub's settings that its privacy page states."""

    mode: PostingMode
    held_first: int
    """How many first notices of a new device are checked before they are shown."""
    default_days: int
    longest_days: int
    undo_minutes: int
    cookie_days: int
    limit_minutes: int
    """How long an address is kept in memory to count requests."""
    report_days: int
    """How long a decided report is kept."""
    controller: str = ""
    """Who answers for the data, as the caretakers wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPage(View):
    """ "What this hub keeps about you"."""

    template: ClassVar[str] = "privacy.html"
    facts: PrivacyFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class HelpPage(View):
    """How to read, put up, change, take down and report."""

    template: ClassVar[str] = "help.html"
    undo_minutes: int = 30
    default_days: int = 28


# --- paper and screen -----------------------------------------------------------------------------


_TALL_SCRIPTS = {"ur": 1.5, "ar": 1.2}
"""How much more room the same number of characters needs than in Latin letters, lines being higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterPage(View):
    """One notice on one A4. ``qr`` is an SVG of :func:`hub.web.qr.svg` for ``short``."""

    template: ClassVar[str] = "poster.html"
    notice: Notice
    html: str
    short: str
    qr: str
    origin: Place | None = None

    @property
    def size(self) -> str:
        """How large words may be to fit the sheet: ``huge``, ``big``, ``middling``, ``small`` or ``tiny``."""
        notice = self.notice
        room = len(notice.text) + 45 * notice.text.count("\n") + 6 * len(notice.title)
        room = int(room * _TALL_SCRIPTS.get(notice.lang, 1)) + 500 * bool(notice.pictures)
        sizes = {350: "huge", 800: "big", 1500: "middling", 2400: "small"}
        return next((size for most, size in sizes.items() if room < most), "tiny")

    @property
    def path(self) -> str:
        return notice_path(self.notice.public_id, self.notice.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintPage(View):
    """The whole board on A4. ``qr`` leads to the board; cards carry ``html``."""

    template: ClassVar[str] = "print.html"
    first: tuple[Card, ...] = ()
    days: tuple[Day, ...] = ()
    large: bool = False
    qr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenPage(View):
    """The television in the hall: ``cards`` (at most six) of leaf number ``leaf`` (from 1) of ``leaves``.

    Send :attr:`refresh` as the ``Refresh`` header: it turns the leaf as a meta element would, without
    a script. ``stay``: somebody asked for this leaf to stand still (WCAG 2.2.1), so there is none.
    """

    template: ClassVar[str] = "screen.html"
    cards: tuple[Card, ...] = ()
    leaf: int = 1
    leaves: int = 1
    seconds: int = 20
    stay: bool = False
    qr: str

    @property
    def refresh(self) -> str:
        """The value of the ``Refresh`` header; empty when the leaf stays."""
        if self.stay:
            return ""
        return f"{self.seconds};url=/screen?leaf={self.leaf % max(self.leaves, 1) + 1}"


# --- when something is not as hoped ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage(View):
    """An error in words. ``sentence`` is the translated error, or empty for the words of ``status``.

    ``changed_ms`` dates a 410: when the notice was taken down.
    """

    template: ClassVar[str] = "error.html"
    status: int
    sentence: str = ""
    changed_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomFeed(View):
    """``/notices.atom`` (RFC 4287). ``hub`` is the hub id; cards carry ``html``."""

    template: ClassVar[str] = "notices.atom"
    hub: bytes
    cards: tuple[Card, ...] = ()
    updated_ms: int


def thumb(notice: Notice) -> Picture | None:
    """The picture a list shows beside ``notice``, if it has one."""
    return notice.pictures[0] if notice.pictures else None


# --- files ----------------------------------------------------------------------------------------

FAMILY_WORDS: Mapping[Family, str] = MappingProxyType(
    {
        Family.PICTURE: N_("Picture"),
        Family.PDF: N_("Document"),
        Family.TEXT: N_("Text"),
        Family.SOUND: N_("Sound recording"),
        Family.FILM: N_("Film"),
        Family.OTHER: N_("File"),
    }
)
_ENDING_WORDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("doc", "docx", "odt", "rtf", "epub"), N_("Document")),
        **dict.fromkeys(("xls", "xlsx", "ods", "csv"), N_("Table")),
        **dict.fromkeys(("ppt", "pptx", "odp"), N_("Slides")),
        **dict.fromkeys(("zip", "7z", "rar", "tar", "gz", "xz"), N_("Packed files")),
        **dict.fromkeys(("heic", "heif", "tif", "tiff", "bmp", "svg", "avif"), N_("Picture")),
        **dict.fromkeys(("aac", "aif", "aiff", "wma", "mid"), N_("Sound recording")),
        **dict.fromkeys(("avi", "mkv", "wmv", "mpg", "mpeg", "3gp"), N_("Film")),
        **dict.fromkeys(("htm", "html"), N_("Web page")),
    }
)
"""What a file that can only be downloaded probably is, by its ending."""
_ENDING_ICONS: Mapping[str, str] = MappingProxyType(
    {
        FAMILY_WORDS[Family.PICTURE]: "picture",
        FAMILY_WORDS[Family.SOUND]: "sound",
        FAMILY_WORDS[Family.FILM]: "film",
        N_("Packed files"): "packed",
    }
)
MAY_ADD_WORDS: Mapping[MayAdd, str] = MappingProxyType(
    {
        MayAdd.EVERYONE: N_("Everybody may add files."),
        MayAdd.CHECKED: N_(
            "Everybody may add files. Somebody who looks after the hub looks at each before it is shown."
        ),
        MayAdd.CARETAKERS: N_("Only the people who look after the hub add files."),
    }
)
LICENCE_WORDS: Mapping[Licence, str] = MappingProxyType(
    {
        Licence.ASK: N_("They belong to whoever put them up: ask before you copy them."),
        Licence.SHARE: N_("You may copy them and pass them on, with the name of who made them."),
        Licence.FREE: N_("You may copy them, change them and use them for anything."),
        Licence.VARIES: N_("Whose they are differs from file to file. If in doubt, ask before you copy."),
    }
)


def collection_path(public_id: str, title: str) -> str:
    """The address of a collection on this hub, not percent-encoded."""
    readable = slug(title)
    return f"/collections/{public_id}-{readable}" if readable else f"/collections/{public_id}"


def archive_path(public_id: str, title: str) -> str:
    """Where a whole collection is downloaded; percent-encoded."""
    return f"/collections/{public_id}/{quote(slug(title) or 'files')}.zip"


def file_path(public_id: str, name: str) -> str:
    """The address of a file's page on this hub, not percent-encoded."""
    readable = slug(name.replace(".", " "))
    return f"/files/{public_id}-{readable}" if readable else f"/files/{public_id}"


def bytes_path(file: File) -> str:
    """Where the bytes of a file are; percent-encoded. Only the id counts, so a name that is also that of a
    page gets another ending."""
    name = f"{file.name}.file" if file.name in _FILE_PAGES else file.name
    return f"/files/{file.public_id}/{quote(name, safe='')}"


_FILE_PAGES = frozenset({"edit", "remove", "restore", "extend", "report"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCard:
    """A file in a list. ``origin`` is None for this hub's own; ``mine``: this device put it up."""

    file: File
    collection: Collection
    excerpt: str = ""
    origin: Place | None = None
    mine: bool = False

    @property
    def path(self) -> str:
        return file_path(self.file.public_id, self.file.name)

    @property
    def bytes_path(self) -> str:
        return bytes_path(self.file)

    @property
    def ends(self) -> bool:
        """Whether the files of its collection end by themselves."""
        return self.collection.lifetime_days > 0

    @property
    def words(self) -> str:
        """What kind of file it is: an English word to translate."""
        family = self.file.media.family
        if family is Family.OTHER:
            return _ENDING_WORDS.get(ending_of(self.file.name), FAMILY_WORDS[family])
        return FAMILY_WORDS[family]

    @property
    def icon(self) -> str:
        """The name of its icon."""
        return _ENDING_ICONS.get(self.words, "pages")

    @property
    def ending(self) -> str:
        """Its ending as people say it, ``PDF``; empty where there is none worth saying."""
        ending = ending_of(self.file.name)
        return ending.upper() if ending.isascii() and ending.isalnum() and len(ending) <= 5 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionCard:
    """A collection in a list; ``newest`` is its newest file, where that is known."""

    collection: Collection
    origin: Place | None = None
    newest: File | None = None

    @property
    def path(self) -> str:
        return collection_path(self.collection.public_id, self.collection.title)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHit:
    """A found file, as `SearchHit` is a found notice."""

    of: ClassVar[str] = "file"
    card: FileCard
    title_html: str
    excerpt_html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionHit:
    """A found collection, as `SearchHit` is a found notice."""

    of: ClassVar[str] = "collection"
    card: CollectionCard
    title_html: str
    excerpt_html: str


AnyHit = SearchHit | FileHit | CollectionHit


class Shortage(StrEnum):
    """What says how much may still be added."""

    NONE = ""
    """Nothing before the usual limits."""
    CARD = "card"
    DAY = "day"
    """What one device may add in a day."""
    COLLECTION = "collection"


@dataclass(frozen=True, slots=True)
class Left:
    """How much may still be added: ``size`` in all, ``largest`` in one file (bytes), and why not more."""

    size: int
    largest: int
    shortage: Shortage = Shortage.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPage(View):
    """The file share: its collections and newest files. ``room`` is what files may still fill, in bytes."""

    template: ClassVar[str] = "files.html"
    cards: tuple[CollectionCard, ...] = ()
    newest: tuple[FileCard, ...] = ()
    room: int | None = None


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """What became of one file: ``name`` it is called now, ``wanted`` it came with, ``path`` of its page.

    ``outcome`` is a value of `hub.services.fileshare.Outcome`.
    """

    name: str
    wanted: str
    path: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPage(View):
    """One collection. ``html`` is its rendered description.

    ``pictures`` have thumbnails, ``cards`` are the other files; both are in one order, the newest first.
    ``waiting`` are the asker's own files that nobody else sees yet. ``receipt`` and ``phrase`` are there
    once, after adding. ``older`` is the next cursor, ``before`` this page's. ``full``: there is no room to
    add anything, whoever asks.
    """

    template: ClassVar[str] = "collection.html"
    collection: Collection
    html: str = ""
    origin: Place | None = None
    cards: tuple[FileCard, ...] = ()
    pictures: tuple[FileCard, ...] = ()
    waiting: tuple[FileCard, ...] = ()
    receipt: tuple[ReceiptLine, ...] = ()
    phrase: str = ""
    full: bool = False
    before: str = ""
    older: str = ""

    @property
    def path(self) -> str:
        return collection_path(self.collection.public_id, self.collection.title)

    @property
    def archive(self) -> str:
        return archive_path(self.collection.public_id, self.collection.title)

    @property
    def open(self) -> bool:
        """Whether residents may add to it."""
        return self.collection.may_add is not MayAdd.CARETAKERS


@dataclass(frozen=True, slots=True)
class ArrivedFile:
    """A file that has arrived already with a form that was refused: ``token`` is sent back as ``upload``."""

    token: str
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFilesPage(Form):
    """Add files to a collection.

    Fields: key, description, name, lang, photo (``keep`` for originals), file (files), upload (tokens of
    files that have arrived), website (must stay empty).
    """

    template: ClassVar[str] = "add-files.html"
    collection: Collection
    left: Left
    key: str = ""
    arrived: tuple[ArrivedFile, ...] = ()
    checked_first: bool = False

    @property
    def path(self) -> str:
        return collection_path(self.collection.public_id, self.collection.title)

    @property
    def action(self) -> str:
        return f"/collections/{self.collection.public_id}/add"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage(View):
    """One file. ``html`` is its rendered description, ``newer`` and ``older`` its neighbours.

    ``ours``: this hub is the origin, so its owner may change it here; ``mine``: this device put it up.
    ``waiting``: held until a caretaker has looked; only its owner sees this page. ``here``: its bytes are
    whole on this hub's card; where a neighbour may have them, ``fetch`` says how they stand.
    """

    template: ClassVar[str] = "file.html"
    card: FileCard
    html: str = ""
    ours: bool = True
    mine: bool = False
    waiting: bool = False
    here: bool = True
    fetch: Fetch | None = None
    newer: File | None = None
    older: File | None = None

    @property
    def inline(self) -> bool:
        """Whether the picture itself is small enough to be shown; else its thumbnail stands for it."""
        return self.card.file.blob.size <= _SHOWN_WHOLE

    @property
    def collection_path(self) -> str:
        return collection_path(self.card.collection.public_id, self.card.collection.title)


_SHOWN_WHOLE = 3_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormPage(Form):
    """Change one's own file. Fields: name, description, lang, phrase (when ``needs_phrase``)."""

    template: ClassVar[str] = "file-form.html"
    file: File
    needs_phrase: bool = False

    @property
    def path(self) -> str:
        return file_path(self.file.public_id, self.file.name)

    @property
    def action(self) -> str:
        return f"/files/{self.file.public_id}/edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileActPage(Form):
    """Take down, put back or extend one's own file, as `AuthorPage` does for notices.

    ``name`` is the file's, empty where nobody may see it: to put it back, it has to be known already.
    """

    template: ClassVar[str] = "file-act.html"
    act: Act
    public_id: str
    name: str = ""
    needs_phrase: bool = False
    until_ms: int = 0

    @property
    def path(self) -> str:
        return file_path(self.public_id, self.name) if self.name else "/files"

    @property
    def action(self) -> str:
        return f"/files/{self.public_id}/{self.act}"
