"""Writing records: the verbs that put something up, change it, take it down and erase it.

Each runs inside the caller's transaction, appends to the log and brings the projections in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hub.domain.bodies import (
    CollectionBody,
    FileBody,
    NoticeBody,
    ReplyBody,
    decode_notice,
    encode_collection,
    encode_file,
    encode_notice,
    encode_reply,
)
from hub.domain.files import CollectionDraft, FileDraft
from hub.domain.ids import ObjectId
from hub.domain.notices import Kind, Notice, NoticeDraft, ReplyDraft, Scope, State
from hub.domain.policy import DAY_MS, RETRACT_MARGIN_MS, URGENT_MAX_MS, BoardPolicy, Gone
from hub.domain.projection import Logged
from hub.domain.records import RecordType, Stream
from hub.storage import authors, journal, moderation, notices, retention, traces
from hub.storage.database import Connection
from hub.storage.journal import Pen
from hub.storage.projections import refresh


def publish_notice(
    connection: Connection,
    pen: Pen,
    obj: ObjectId,
    draft: NoticeDraft,
    salt: bytes,
    *,
    posted_ms: int | None = None,
    edited_ms: int | None = None,
) -> None:
    """Write a notice, or a further version of it; the version before loses its body.

    ``posted_ms`` is when the first version was written (None: this is it), ``edited_ms`` when its
    author last changed it.
    """
    logged = journal.publish(
        connection,
        pen,
        RecordType.NOTICE,
        obj,
        draft.expires_ms,
        draft.scope,
        lambda stamp: encode_notice(
            NoticeBody(draft, stamp.ms if posted_ms is None else posted_ms, edited_ms), salt
        ),
    )
    refresh(connection, obj, [logged] if posted_ms is None else None)


def publish_reply(
    connection: Connection,
    pen: Pen,
    obj: ObjectId,
    draft: ReplyDraft,
    notice: Notice,
    salt: bytes,
    *,
    posted_ms: int | None = None,
    edited_ms: int | None = None,
) -> None:
    """Write a reply, or a further version of it: it ends with its notice and whoever sees that sees it."""
    logged = journal.publish(
        connection,
        pen,
        RecordType.REPLY,
        obj,
        notice.expires_ms,
        notice.scope,
        lambda stamp: encode_reply(
            ReplyBody(draft, stamp.ms if posted_ms is None else posted_ms, edited_ms), salt
        ),
        ref=notice.obj,
    )
    refresh(connection, obj, [logged] if posted_ms is None else None)


def publish_collection(
    connection: Connection,
    pen: Pen,
    obj: ObjectId,
    draft: CollectionDraft,
    salt: bytes,
    *,
    posted_ms: int | None = None,
    edited_ms: int | None = None,
) -> None:
    """Write a collection, or a further version of it."""
    logged = journal.publish(
        connection,
        pen,
        RecordType.COLLECTION,
        obj,
        draft.expires_ms,
        draft.scope,
        lambda stamp: encode_collection(
            CollectionBody(draft, stamp.ms if posted_ms is None else posted_ms, edited_ms), salt
        ),
        stream=Stream.FILES,
    )
    refresh(connection, obj, [logged] if posted_ms is None else None)


def publish_file(
    connection: Connection,
    pen: Pen,
    obj: ObjectId,
    draft: FileDraft,
    collection: ObjectId,
    salt: bytes,
    *,
    posted_ms: int | None = None,
    edited_ms: int | None = None,
    before_ms: int = 0,
) -> None:
    """Write a file of a collection, or a further version of it; its blobs are kept already.

    Several files that are put up together keep their order by ``before_ms``: how long before this moment
    a first version counts as posted.
    """
    logged = journal.publish(
        connection,
        pen,
        RecordType.FILE,
        obj,
        draft.expires_ms,
        draft.scope,
        lambda stamp: encode_file(
            FileBody(draft, stamp.ms - before_ms if posted_ms is None else posted_ms, edited_ms), salt
        ),
        ref=collection,
        stream=Stream.FILES,
    )
    refresh(connection, obj, [logged] if posted_ms is None else None)


def extend_notice(
    connection: Connection, pen: Pen, obj: ObjectId, policy: BoardPolicy, now: int, salt: bytes
) -> int:
    """Let a live notice stand its usual time again from ``now``, an urgent one its three days.

    Never shortens it. Raises `Gone`.
    """
    current = notices.by_object(connection, now, obj)
    if current is None or current.state is not State.LIVE:
        raise Gone
    newest = max(
        (logged for logged in _ours(connection, obj) if logged.record.body is not None),
        key=lambda logged: logged.record.header.stamp,
    )
    body = decode_notice(newest.record)
    usual_ms = URGENT_MAX_MS if body.draft.kind is Kind.URGENT else policy.lifetime_days * DAY_MS
    until = max(current.expires_ms, now + usual_ms)
    draft = replace(body.draft, expires_ms=until)
    publish_notice(connection, pen, obj, draft, salt, posted_ms=body.posted_ms, edited_ms=body.edited_ms)
    return until


def withdraw(connection: Connection, pen: Pen, obj: ObjectId) -> None:
    """Publish that ``obj`` is taken down; every hub hides it and keeps the body for now (decision 16a)."""
    standing = refresh(connection, obj)
    if standing is None or standing.state is not State.LIVE:
        return
    header, reach = standing.content.record.header, _reach(_ours(connection, obj))
    journal.publish(
        connection,
        pen,
        RecordType.WITHDRAW,
        obj,
        header.exp,
        reach,
        ref=header.ref,
        stream=header.stream,
    )
    refresh(connection, obj)


def restore(connection: Connection, pen: Pen, obj: ObjectId) -> None:
    """Publish that ``obj`` is put back (decision 16a)."""
    versions = _ours(connection, obj)
    header = versions[0].record.header
    exp_ms = max(logged.record.header.exp for logged in versions)
    journal.publish(
        connection,
        pen,
        RecordType.RESTORE,
        obj,
        exp_ms,
        _reach(versions),
        ref=header.ref,
        stream=header.stream,
    )
    refresh(connection, obj)


def retract(connection: Connection, pen: Pen, obj: ObjectId) -> None:
    """Erase ``obj``: bodies, projections and local truth go, signed headers stay.

    What another hub wrote is erased here only, for nobody but that hub can erase it everywhere; later
    versions of it come without their words. The caller lets `Eraser.wipe` follow, which removes the blobs
    and every other trace.
    """
    versions = _ours(connection, obj)
    if not versions and journal.has(connection, obj):
        retention.strip(connection, obj)
        moderation.keep_away(connection, obj, pen.now_ms, "erased")
        return
    traces.leave(connection, traces.NOW, notices.blobs_of(connection, obj))
    if versions and not any(item.record.header.type == RecordType.RETRACT for item in versions):
        header = versions[0].record.header
        exp_ms = max(logged.record.header.exp for logged in versions) + RETRACT_MARGIN_MS
        journal.publish(
            connection,
            pen,
            RecordType.RETRACT,
            obj,
            exp_ms,
            _reach(versions),
            ref=header.ref,
            stream=header.stream,
        )
        refresh(connection, obj)
    moderation.forget(connection, obj)
    authors.disown(connection, obj)


def _ours(connection: Connection, obj: ObjectId) -> list[Logged]:
    """This hub's records of ``obj``: others may have signed some, too, which mean nothing."""
    own = journal.own(connection)
    return [logged for logged in journal.versions(connection, obj) if logged.record.header.hub == own]


def _reach(versions: Sequence[Logged]) -> Scope:
    """The widest scope of any version: whoever may have heard of the object hears what became of it."""
    widening = list(Scope)
    return max((logged.record.header.scope for logged in versions), key=widening.index)
