"""Projections: the same rows whatever order records came in, and the same again after a rebuild."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.domain.bodies import NoticeBody, ReplyBody, encode_notice, encode_reply
from hub.domain.clock import Stamp, TimeQuality
from hub.domain.ids import Epoch, HubId, ObjectId
from hub.domain.notices import BlobRef, Kind, NoticeDraft, Picture, ReplyDraft, Scope
from hub.domain.records import Header, Record, RecordType, seal
from hub.storage import journal, search
from hub.storage.migrate import migrate
from hub.storage.projections import rebuild, refresh

NOW_MS = 1_795_426_860_000
NOTICES = [ObjectId(bytes([number]) * 16) for number in (1, 2)]
REPLIES = [ObjectId(bytes([number]) * 16) for number in (8, 9)]
BLOB = BlobRef("ab" * 32, 5, "cd" * 32)
PICTURE = Picture(BLOB, 8, 8, BLOB, 4, 4, "a heron")

ITEMS = {**dict.fromkeys(NOTICES, "notice"), **dict.fromkeys(REPLIES, "reply")}
tellings = st.lists(
    st.tuples(
        st.sampled_from(list(ITEMS)),
        st.sampled_from(["content", "content", "withdraw", "restore", "retract"]),
        st.integers(0, 6),
        st.sampled_from(["otter", "heron", "badger"]),
    ),
    min_size=1,
    max_size=10,
)


def record(place: int, told: tuple[ObjectId, str, int, str]) -> Record:
    """A record of another hub; stamps of one moment differ by their counter."""
    obj, act, ms, word = told
    is_notice = ITEMS[obj] == "notice"
    body = None
    kind: str = act
    at_ms = NOW_MS + ms * 1000
    if act == "content" and is_notice:
        kind = RecordType.NOTICE
        pictures = (PICTURE,) if word == "heron" else ()
        draft = NoticeDraft(
            Kind.LOST, f"Lost {word}", f"A {word}.", "en", Scope.NETWORK, 0, pictures=pictures
        )
        body = encode_notice(NoticeBody(draft, NOW_MS, at_ms if ms else None), bytes(16))
    elif act == "content":
        kind = RecordType.REPLY
        body = encode_reply(ReplyBody(ReplyDraft(f"I saw the {word}.", "en"), NOW_MS), bytes(16))
    header = Header(
        HubId(bytes(32)),
        Epoch(bytes(8)),
        place + 1,
        kind,
        obj,
        Stamp(at_ms, place),
        TimeQuality.CARETAKER,
        NOW_MS + 10**9 + ms,
        Scope.NETWORK,
        ref=None if is_notice else NOTICES[obj[0] % 2],
    )
    return seal(header, body, lambda data: bytes(64))


def rows(records: list[Record], seen_ms: int = NOW_MS + 10_000) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every projection after ``records`` came in this order, and again after a rebuild."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, NOW_MS, "test")
        for each in records:
            journal.append(connection, each, seen_ms)
            refresh(connection, each.header.obj)
        before = tables(connection)
        rebuild(connection)
        return before, tables(connection)


def tables(connection: sqlite3.Connection) -> dict[str, Any]:
    """Rows of every projection, without a record's place in the log, and what searches find."""
    found: dict[str, Any] = {
        "notice": connection.execute(
            "SELECT notice.key, notice.obj, public_id, record.id, kind, state, shown_ms, edited_ms,"
            " changed_ms, exp_ms, replies FROM notice JOIN record ON record.n = notice.record"
            " ORDER BY notice.key"
        ).fetchall(),
        "reply": connection.execute(
            "SELECT reply.key, reply.obj, public_id, notice, record.id, state, shown_ms, edited_ms,"
            " changed_ms, exp_ms FROM reply JOIN record ON record.n = reply.record ORDER BY reply.key"
        ).fetchall(),
        "blob_use": connection.execute("SELECT * FROM blob_use ORDER BY 1, 2").fetchall(),
        "search_doc": connection.execute("SELECT * FROM search_doc ORDER BY 1, 2, 3").fetchall(),
        "bodies": connection.execute("SELECT id FROM record WHERE body IS NOT NULL ORDER BY 1").fetchall(),
    }
    for word in ("otter", "heron", "badg", "saw"):
        hits = search.find(connection, word, limit=9, visible=lambda notice, obj: True).hits
        found[word] = [(hit.notice, sorted(hit.documents)) for hit in hits]
    return found


@settings(max_examples=60, deadline=None)
@given(tellings, st.integers(0, 2**32))
def test_any_order_and_any_number_of_copies_gives_equal_rows(
    told: list[tuple[ObjectId, str, int, str]], seed: int
) -> None:
    records = [record(place, each) for place, each in enumerate(told)]
    chance = random.Random(seed)
    shuffled = [*records, *chance.choices(records, k=3)]
    chance.shuffle(shuffled)
    first, rebuilt = rows(records)
    other, other_rebuilt = rows(shuffled)
    assert rebuilt == first
    assert other == first
    assert other_rebuilt == first


def test_two_objects_that_begin_alike_have_names_that_tell_them_apart() -> None:
    twins = [ObjectId(bytes(15) + bytes([number])) for number in (1, 2)]
    ITEMS.update(dict.fromkeys(twins, "notice"))
    try:
        records = [record(place, (obj, "content", 0, "otter")) for place, obj in enumerate(twins)]
        before, after = rows(records)
    finally:
        for obj in twins:
            del ITEMS[obj]
    names = [row[2] for row in before["notice"]]
    assert len(set(names)) == 2
    assert {len(name) for name in names} == {10, 26}
    assert after == before
