"""Who may do what, when something is held, when reports hide an item: rules that are handed the time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from hub.domain.errors import Refused, TryLater
from hub.domain.limits import Rate
from hub.domain.notices import Scope
from hub.words import N_

DAY_MS = 86_400_000
MINUTE_MS = 60_000
URGENT_MAX_MS = 3 * DAY_MS
"""An urgent notice ends within 72 hours (product.md N5)."""
RETRACT_MARGIN_MS = 30 * DAY_MS
"""A retraction outlives the newest expiry of what it erases by this long (sync.md 2.4)."""


class Posting(StrEnum):
    """Whether notices are shown at once; set by the caretaker."""

    OPEN = "open"
    CHECKED = "checked"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class BoardPolicy:
    """The settings that decide about posting, as one value read at the moment of deciding."""

    posting: Posting = Posting.OPEN
    first_held: int = 0
    lifetime_days: int = 28
    max_days: int = 400
    undo_minutes: int = 30
    default_scope: Scope = Scope.NETWORK
    per_device: Rate = field(default=Rate(10, 600))
    per_address: Rate = field(default=Rate(100, 600))
    whole_hub: Rate = field(default=Rate(600, 600))
    new_devices: Rate = field(default=Rate(30, 60))
    phrase_tries: Rate = field(default=Rate(10, 600))
    urgent_per_day: int = 3
    report_days: int = 180
    audit_days: int = 90


@dataclass(frozen=True, slots=True)
class FilePolicy:
    """The settings that decide about files. Bytes, unless said otherwise; 0 means no limit of its own."""

    largest: int = 4_000_000_000
    per_device_day: int = 4_000_000_000
    files_per_day: int = 200
    """Files one device may put up in a day."""
    per_collection: int = 0
    upload_hours: int = 48
    """How long an upload that does not move is kept."""
    box_days: int = 90
    """How long files stay in the box that is open to everybody from the start."""


class Reason(StrEnum):
    """Why something is reported; each has a plain sentence on the form."""

    CHILD = "child"
    THREAT = "threat"
    UNLAWFUL = "unlawful"
    ABOUT_ME = "about-me"
    RULES = "rules"
    UNTRUE = "untrue"
    MY_WORK = "my-work"
    UNSURE = "unsure"


SEVERE = frozenset({Reason.CHILD, Reason.THREAT, Reason.UNLAWFUL})
"""Reports that hide an item until a person has looked."""
DEVICES_TO_HIDE = 3

REASON_WORDS = {
    Reason.CHILD: N_("A child may be at risk"),
    Reason.THREAT: N_("It threatens somebody or calls for violence"),
    Reason.UNLAWFUL: N_("I think it is against the law"),
    Reason.ABOUT_ME: N_("It is about me and I do not want it here"),
    Reason.RULES: N_("It breaks the house rules"),
    Reason.UNTRUE: N_("It is not true, or it is a trick"),
    Reason.MY_WORK: N_("It is my work and I did not allow it"),
    Reason.UNSURE: N_("Something is wrong, I am not sure what"),
}

DEFAULT_RULES = (
    N_("Be kind: no threats, no insults, no hatred."),
    N_("Nothing unlawful, and nothing that puts a child or anybody else at risk."),
    N_("Leave other people’s private matters private: no addresses, numbers or pictures without asking."),
    N_("Say what is true; no tricks, no adverts from far away."),
    N_("Only share what you made or may share."),
    N_("One notice for one thing; take it down when it is done."),
)


class PostingPaused(Refused):
    """The caretaker has paused posting."""

    code = "posting-paused"
    status = 403
    template = N_(
        "Putting things up is paused at the moment. What you typed is kept in this form; "
        "try again later or ask the person who looks after the hub."
    )


class DevicePaused(Refused):
    """This device may not write for a while, or at all."""

    code = "device-paused"
    status = 403
    template = N_(
        "This device cannot put things up at the moment. You can still read and report. "
        "If you think this is wrong, talk to the person who looks after the hub."
    )


class NotYours(Refused):
    """Neither the device nor a phrase shows that the object is the asker's."""

    code = "not-yours"
    status = 403
    template = N_("Type your take-down phrase: the four words you were given when you put this up.")


class WrongPhrase(NotYours):
    """A phrase was typed and does not fit."""

    code = "wrong-phrase"
    template = N_("Those four words do not belong to this. Nothing was changed. Check them and try again.")


class TooLate(Refused):
    """The time for putting back is over."""

    code = "too-late"
    status = 409
    template = N_("The time for putting this back is over, and it has been erased. You can put up a new one.")


class Gone(Refused):
    """It was taken down or has ended, so it cannot be changed or answered."""

    code = "gone"
    status = 410
    template = N_("This was taken down or has ended, so nothing more can be added to it.")


class UrgentEnough(TryLater):
    """Enough urgent notices for a day."""

    code = "urgent-enough"
    template = N_(
        "This hub takes only a few urgent notices a day. What you typed is kept: choose another kind, "
        "or talk to the person who looks after the hub."
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """Who is writing: what is known about the device at this moment."""

    shown: int = 0
    trusted: bool = False
    paused_until_ms: int | None = None
    banned_until_ms: int | None = None


def refuse_restrained(writer: Writer, now_ms: int) -> None:
    """Raise `DevicePaused` while the writer's device is paused or banned."""
    if max(writer.paused_until_ms or 0, writer.banned_until_ms or 0) > now_ms:
        raise DevicePaused


def must_be_held(policy: BoardPolicy, writer: Writer, now_ms: int) -> bool:
    """Whether what ``writer`` writes waits for a caretaker; raises when it may not be written at all."""
    if policy.posting is Posting.PAUSED:
        raise PostingPaused
    refuse_restrained(writer, now_ms)
    if writer.trusted:
        return False
    return policy.posting is Posting.CHECKED or writer.shown < policy.first_held


@dataclass(frozen=True, slots=True)
class Complaint:
    """One report, as far as hiding is concerned: ``device`` is any hashable name of who sent it."""

    reason: Reason
    device: bytes | None
    trusted: bool = False


def reports_hide(complaints: Collection[Complaint], *, official: bool) -> bool:
    """Whether the open ``complaints`` about one item hide it until a person has looked (J11).

    One trusted device or three distinct devices with a severe reason; never an official notice. A
    device counts once however often it reports, and a report without a device counts for nobody.
    """
    if official:
        return False
    severe = [item for item in complaints if item.reason in SEVERE and item.device is not None]
    return any(item.trusted for item in severe) or (len({item.device for item in severe}) >= DEVICES_TO_HIDE)


@dataclass(frozen=True, slots=True)
class Purge:
    """How much a run may purge: at most a share of all records without a caretaker's word (sync.md 2.2)."""

    share: float = 0.05
    at_least: int = 20

    def allowed(self, total: int) -> int:
        """How many of ``total`` objects one run may purge."""
        return max(self.at_least, int(total * self.share))


def leaves_at(exp_ms: int) -> int:
    """When an expired record leaves the set: the first Monday 03:00 UTC at least 7 days after ``exp_ms``.

    Computed from the record alone, so that every hub drops it in the same week (sync.md 2.4).
    """
    week = 7 * DAY_MS
    first_monday_0300 = 4 * DAY_MS + 3 * 3_600_000  # 1970-01-05T03:00Z
    earliest = exp_ms + week
    return first_monday_0300 + -(-(earliest - first_monday_0300) // week) * week
