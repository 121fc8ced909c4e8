"""What residents and caretakers write, by the verbs of `hub.services.publishing`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hub.domain.files import CollectionDraft, FileDraft, Licence, MayAdd
from hub.domain.ids import ObjectId
from hub.domain.notices import BlobRef, Kind, Notice, NoticeDraft, ReplyDraft, Scope, State
from hub.domain.policy import DAY_MS
from hub.services import publishing
from hub.storage import files, journal, notices
from hub.storage.database import Connection

if TYPE_CHECKING:
    from tests.simulation.hall import Hall
    from tests.simulation.town import Town

_SCOPES = (Scope.NETWORK, Scope.NEIGHBOURS, Scope.HUB)
_SHARES = (60, 25, 15)


def act(town: Town, hall: Hall) -> None:
    """Somebody does something at ``hall``; it may be that there is nothing to do."""
    chance, pen = town.chance, hall.pen()

    def bytes_of(number: int) -> bytes:
        return chance.randbytes(number)

    def word() -> str:
        return f"w{chance.getrandbits(48):x}"

    def work(connection: Connection) -> str:
        own, foreign = _notices(connection, hall, pen.now_ms)
        deed = chance.choices(
            ("post", "edit", "reply", "withdraw", "restore", "erase", "erase theirs", "shelf", "file"),
            (40, 14, 10, 8, 4, 9, 1, 2, 5),
        )[0]
        obj = ObjectId(bytes_of(16))
        if deed in ("edit", "withdraw", "erase", "restore") and own:
            notice = chance.choice(own)
            if deed == "edit" and notice.state is State.LIVE:
                draft = _draft(town, pen.now_ms, word(), _no_narrower(town, notice.scope))
                # One that ended sooner than the version before would leave the network before that does.
                draft = replace(draft, expires_ms=max(draft.expires_ms, notice.expires_ms))
                publishing.publish_notice(
                    connection,
                    pen,
                    notice.obj,
                    draft,
                    bytes_of(16),
                    posted_ms=notice.shown_ms,
                    edited_ms=pen.now_ms,
                )
            elif deed == "withdraw":
                publishing.withdraw(connection, pen, notice.obj)
            elif deed == "restore" and notice.state is State.WITHDRAWN:
                publishing.restore(connection, pen, notice.obj)
            elif deed == "erase":
                publishing.retract(connection, pen, notice.obj)
        elif deed == "reply" and (own or foreign):
            notice = chance.choice(own + foreign)
            if notice.state is State.LIVE:
                publishing.publish_reply(
                    connection, pen, obj, ReplyDraft(word(), "en", "Ola"), notice, bytes_of(16)
                )
        elif deed == "erase theirs" and foreign:
            notice = chance.choice(foreign)
            town.ledger.touched.add(notice.obj)
            publishing.retract(connection, pen, notice.obj)
        elif deed == "shelf":
            scope = chance.choices(_SCOPES, _SHARES)[0]
            ends = pen.now_ms + chance.randint(2, 60) * DAY_MS
            draft_of = CollectionDraft(word(), "", "en", "", MayAdd.EVERYONE, Licence.ASK, 0, scope, ends)
            publishing.publish_collection(connection, pen, obj, draft_of, bytes_of(16))
        elif deed == "file":
            shelves = files.every_collection(connection, pen.now_ms)
            if shelves:
                shelf = chance.choice(shelves)
                blob = BlobRef(bytes_of(32).hex(), chance.randint(1, 9_000), bytes_of(32).hex())
                ends = pen.now_ms + chance.randint(2, 60) * DAY_MS
                file = FileDraft(f"{word()}.pdf", blob, "", "en", Scope.NETWORK, ends)
                publishing.publish_file(connection, pen, obj, file, shelf.obj, bytes_of(16))
        else:
            deed = "post"
            publishing.publish_notice(
                connection, pen, obj, _draft(town, pen.now_ms, word(), None), bytes_of(16)
            )
        return deed

    town.tell(f"{hall.name}: {hall.card.transact(work)}")


def _no_narrower(town: Town, scope: Scope) -> Scope:
    """Who has the version before has to hear of the next."""
    widening = list(Scope)
    return max(scope, town.chance.choices(_SCOPES, _SHARES)[0], key=widening.index)


def _draft(town: Town, now_ms: int, word: str, scope: Scope | None) -> NoticeDraft:
    chance = town.chance
    kind = Kind.URGENT if chance.random() < 0.1 else Kind.GIVE
    days = chance.uniform(0.1, 3) if kind is Kind.URGENT else chance.choice((1, 4, 14, 28, 60))
    return NoticeDraft(
        kind,
        word,
        f"All about {word}.",
        "en",
        scope or chance.choices(_SCOPES, _SHARES)[0],
        now_ms + round(days * DAY_MS),
        "Ola",
    )


def _notices(connection: Connection, hall: Hall, now_ms: int) -> tuple[list[Notice], list[Notice]]:
    """Notices that are not erased: this hub's, and those of others; the newest of each."""
    rows = connection.execute("SELECT obj FROM notice WHERE state != 2 ORDER BY key DESC LIMIT 12").fetchall()
    found = [notices.by_object(connection, now_ms, ObjectId(obj)) for (obj,) in rows]
    known = [notice for notice in found if notice is not None]
    own = journal.own(connection)
    return (
        [notice for notice in known if notice.hub == own],
        [notice for notice in known if notice.hub != own],
    )
