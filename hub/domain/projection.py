"""What the records of one object add up to: a pure function of the set, whatever order they came in.

Object ids are drawn by the hub that makes the object, and nothing keeps another hub from signing records
with the same id. So an object is what *one* hub's records say of it: those of the others are carried and
mean nothing here (docs/adr/0013-whose-object.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.domain import legible
from hub.domain.bodies import Body
from hub.domain.ids import HubId, ObjectId
from hub.domain.notices import State
from hub.domain.records import CONTENT_TYPES, Record, RecordType

_KEYS_SINCE_MS = 1_577_836_800_000
"""2020-01-01: keys count from here, to stay small."""
_TIE_BITS = 10


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as it stands in this hub's log: place in the log, and when it was first seen here."""

    n: int
    record: Record
    seen_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The present state of an object. ``content`` is its newest version, bodiless once erased."""

    content: Logged
    state: State
    shown_ms: int
    edited_ms: int | None
    changed_ms: int
    exp_ms: int
    body: Body | None
    """What its content says; None once erased."""


def owner(versions: Sequence[Logged], own: HubId | None = None) -> HubId | None:
    """Whose object ``versions`` (all records of one object) are of; None while no content has arrived.

    This hub's (``own``) if it has content among them; otherwise that of the hub whose content stands
    first in the log: with it, what residents have seen and answered does not change hands.
    """
    first: Logged | None = None
    for logged in versions:
        if logged.record.header.type in CONTENT_TYPES:
            if logged.record.header.hub == own:
                return own
            if first is None or logged.n < first.n:
                first = logged
    return first.record.header.hub if first is not None else None


def of_owner(versions: Sequence[Logged], own: HubId | None = None) -> list[Logged]:
    """The records that count: those of the `owner`, or all while there is none."""
    hub = owner(versions, own)
    return [logged for logged in versions if hub in (None, logged.record.header.hub)]


def spent(versions: Sequence[Logged]) -> list[Logged]:
    """Those of ``versions`` that have a body and may not keep it: superseded, or retracted.

    Each hub's records are judged by themselves.
    """
    if len(versions) == 1 and versions[0].record.header.type != RecordType.RETRACT:
        return []
    found = []
    for hub in {logged.record.header.hub for logged in versions}:
        theirs = [logged for logged in versions if logged.record.header.hub == hub]
        contents = [logged for logged in theirs if logged.record.header.type in CONTENT_TYPES]
        if any(logged.record.header.type == RecordType.RETRACT for logged in theirs):
            found += theirs
        elif contents:
            contents.remove(max(contents, key=_order))
            found += contents
    return [logged for logged in found if logged.record.body is not None]


def stand(versions: Sequence[Logged], own: HubId | None = None) -> Standing | None:
    """What ``versions`` (all records of one object) add up to; None while there is nothing to show.

    Of the `owner`'s records the newest content by (stamp, id) counts; its retraction beats everything;
    otherwise the newest of withdraw and restore decides. An object is shown under the earliest of its
    first version's stamp, the time its newest body names, and the moment this hub first saw it, so that
    a wrong clock can not pin a notice to the top (sync.md 2.2). Content in a form that pages cannot show
    is None; content without its body is erased.
    """
    ordered = sorted(of_owner(versions, own), key=_order) if len(versions) > 1 else list(versions)
    contents = [logged for logged in ordered if logged.record.header.type in CONTENT_TYPES]
    if not contents or not legible.has_its_place(contents[-1].record.header):
        return None
    content = contents[-1]
    body = None
    erased = any(logged.record.header.type == RecordType.RETRACT for logged in ordered)
    if content.record.body is not None and not erased:  # else a rebuild, without it, would differ
        body = legible.read(content.record)
        if body is None:
            return None
    shown_ms = min(
        contents[0].record.header.stamp.ms,
        min(logged.seen_ms for logged in ordered),
        body.posted_ms if body is not None else contents[0].record.header.stamp.ms,
    )
    state, changed_ms = State.LIVE, shown_ms
    for logged in ordered:
        header = logged.record.header
        if header.type == RecordType.RETRACT:
            state, changed_ms = State.ERASED, header.stamp.ms
            break
        if header.type == RecordType.WITHDRAW:
            state, changed_ms = State.WITHDRAWN, header.stamp.ms
        elif header.type == RecordType.RESTORE:
            state, changed_ms = State.LIVE, header.stamp.ms
    if body is None:
        state = State.ERASED
    return Standing(
        content=content,
        state=state,
        shown_ms=shown_ms,
        edited_ms=_edited(content, body),
        changed_ms=changed_ms,
        exp_ms=content.record.header.exp,
        body=body,
    )


def _edited(content: Logged, body: Body | None) -> int | None:
    """When its author last changed it; nobody can have done that after it was signed."""
    if body is None or body.edited_ms is None:
        return None
    return min(body.edited_ms, content.record.header.stamp.ms)


def _order(logged: Logged) -> tuple[object, ...]:
    return logged.record.header.stamp, logged.record.id


def display_key(shown_ms: int, obj: ObjectId) -> int:
    """An integer that orders objects by display time; ties are told apart by the object id.

    Two objects can still share a key: whoever stores it takes the next free one.
    """
    since = max(0, shown_ms - _KEYS_SINCE_MS)
    return since << _TIE_BITS | int.from_bytes(obj[:2], "big") & ((1 << _TIE_BITS) - 1)
