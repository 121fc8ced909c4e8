from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.domain.folding import words
from hub.domain.ids import ObjectId
from hub.storage import search
from hub.storage.search import Found, Place

NOW_MS = 1_760_000_000_000
DAY_MS = 86_400_000
Settle = Callable[[sqlite3.Connection], None]


def schema() -> str:
    return (Path(search.__file__).parent / "migrations" / "0001_initial.sql").read_text("utf-8")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.executescript(schema())
        yield opened


def named(name: str) -> ObjectId:
    return ObjectId(name.encode().ljust(16, b"\0"))


def put(
    connection: sqlite3.Connection, name: str, text: str, shown_ms: int = NOW_MS, reply: str | None = None
) -> None:
    """A notice called ``name``, or with ``reply`` a reply of that name to it."""
    search.add(
        connection, shown_ms=shown_ms, notice=named(name), obj=named(reply or name), texts=[text]
    )  # fmt: skip


def names(found: Found) -> list[str]:
    return [hit.notice.rstrip(b"\0").decode() for hit in found.hits]


def find(connection: sqlite3.Connection, query: str, limit: int = 20, before: Place | None = None) -> Found:
    return search.find(connection, query, limit=limit, before=before, visible=lambda notice, obj: True)


def pages(connection: sqlite3.Connection, query: str, limit: int) -> list[str]:
    found = find(connection, query, limit)
    everything = names(found)
    while found.older is not None:
        found = find(connection, query, limit, found.older)
        everything += names(found)
    return everything


@pytest.fixture(params=["in the tail", "indexed", "half indexed"])
def settle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settle:
    """Brings what was added into one of the states it can be in, and makes searches pass all stages."""
    monkeypatch.setattr(search, "READ_FIRST", 3)
    share = {"in the tail": 0.0, "indexed": 1.0, "half indexed": 0.5}[request.param]

    def go(connection: sqlite3.Connection) -> None:
        search.index_batch(connection, int(search.tail_length(connection) * share))

    return go


def test_every_word_must_begin_a_word_of_one_document_and_newer_notices_come_first(
    connection: sqlite3.Connection, settle: Settle
) -> None:
    for number in range(8):
        put(connection, f"pad{number}", "nothing of interest", NOW_MS + DAY_MS + number)
    put(connection, "old", "Blue bicycle found", NOW_MS - 2 * DAY_MS)
    put(connection, "new", "Bicycles, blue and red", NOW_MS)
    put(connection, "apart", "A blue door", NOW_MS - DAY_MS)
    put(connection, "apart", "my bicycle was red", NOW_MS - DAY_MS, reply="answer")
    settle(connection)
    assert names(find(connection, "BIC blu")) == ["new", "old"]
    assert names(find(connection, "bicycle")) == ["new", "apart", "old"]
    assert names(find(connection, "icycle")) == []
    assert names(find(connection, " ?! ")) == []


def test_a_reply_leads_to_its_notice_once(connection: sqlite3.Connection, settle: Settle) -> None:
    for number in range(4):
        put(connection, f"pad{number}", "nothing", NOW_MS + DAY_MS + number)
    put(connection, "ladder", "Who can lend a ladder?")
    put(connection, "ladder", "I have a ladder", reply="first")
    put(connection, "ladder", "Me too: ladders, two of them", reply="second")
    put(connection, "ladder", "Thank you", reply="third")
    settle(connection)
    (hit,) = find(connection, "ladder", limit=1).hits
    assert set(hit.documents) == {named("ladder"), named("first"), named("second")}
    assert find(connection, "ladder", limit=1).older is None
    assert [hit.documents for hit in find(connection, "thank").hits] == [(named("third"),)]


def test_a_late_record_sorts_by_its_display_time(connection: sqlite3.Connection, settle: Settle) -> None:
    for day in (1, 2, 4, 5, 7):
        put(connection, f"day{day}", "market day", NOW_MS + day * DAY_MS)
    settle(connection)
    put(connection, "day3", "market day, told by a neighbour", NOW_MS + 3 * DAY_MS)
    put(connection, "1970", "market day, from a hub without a clock", 5)
    settle(connection)
    put(connection, "day6", "market day", NOW_MS + 6 * DAY_MS)
    expected = ["day7", "day6", "day5", "day4", "day3", "day2", "day1", "1970"]
    assert names(find(connection, "market")) == expected
    assert pages(connection, "market", limit=2) == expected


def test_arabic_script_and_welsh_are_found_with_and_without_marks(
    connection: sqlite3.Connection, settle: Settle
) -> None:
    for number in range(4):
        put(connection, f"pad{number}", "nothing", NOW_MS + DAY_MS + number)
    put(connection, "urdu", "پانی کی بوتل", NOW_MS + 2)
    put(connection, "arabic", "اجتماع في المدرسةُ", NOW_MS + 1)
    put(connection, "welsh", "Gŵyl y tŷ", NOW_MS)
    settle(connection)
    assert names(find(connection, "پاني")) == ["urdu"]
    assert names(find(connection, "باني")) == []
    assert names(find(connection, "المدرسه")) == ["arabic"]
    assert names(find(connection, "gwyl tŷ")) == ["welsh"]


def test_hidden_documents_take_no_place_on_a_page(connection: sqlite3.Connection, settle: Settle) -> None:
    for number in range(60):
        put(connection, f"n{number}", "raffle", NOW_MS + number * 1000)
    put(connection, "n5", "another raffle", NOW_MS + 5000, reply="hidden reply")
    settle(connection)

    def visible(notice: ObjectId, obj: ObjectId) -> bool:
        return obj != named("hidden reply") and int(notice.rstrip(b"\0")[1:]) < 10

    found = search.find(connection, "raffle", limit=6, before=None, visible=visible)
    assert names(found) == ["n9", "n8", "n7", "n6", "n5", "n4"]
    assert found.hits[4].documents == (named("n5"),)
    found = search.find(connection, "raffle", limit=6, before=found.older, visible=visible)
    assert names(found) == ["n3", "n2", "n1", "n0"]
    assert found.older is None


def test_a_page_that_met_too_many_hidden_documents_says_where_to_go_on(
    connection: sqlite3.Connection, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_LOOKED_AT", 10)
    for number in range(25):
        put(connection, f"n{number:02}", "raffle", NOW_MS + number * 1000)
    settle(connection)
    seen: list[str] = []
    before: Place | None = None
    for _ in range(3):
        found = search.find(
            connection, "raffle", limit=5, before=before, visible=lambda notice, obj: notice < b"n03"
        )
        seen += names(found)
        before = found.older
    assert seen == ["n02", "n01", "n00"]
    assert before is None


def test_very_long_words_are_compared_whole(connection: sqlite3.Connection, settle: Settle) -> None:
    for number in range(4):
        put(connection, f"pad{number}", "nothing", NOW_MS + DAY_MS + number)
    put(connection, "one", "x" * 60 + "a", NOW_MS)
    put(connection, "two", "x" * 60 + "b", NOW_MS)
    settle(connection)
    assert names(find(connection, "x" * 60 + "a")) == ["one"]
    assert names(find(connection, "x" * 50)) == ["two", "one"]
    assert names(find(connection, "x" * 60 + "c")) == []


def test_an_edited_text_is_found_by_its_new_words_only(
    connection: sqlite3.Connection, settle: Settle
) -> None:
    put(connection, "tea", "Tea at four")
    put(connection, "other", "Tea and coffee")
    settle(connection)
    put(connection, "tea", "Cake at five")
    settle(connection)
    assert names(find(connection, "tea")) == ["other"]
    assert names(find(connection, "cake")) == ["tea"]
    assert search.is_sound(connection)


def test_removing_a_notice_removes_its_replies_and_nothing_else(
    connection: sqlite3.Connection, settle: Settle
) -> None:
    put(connection, "one", "jumble sale")
    put(connection, "one", "jumble indeed", reply="reply")
    put(connection, "two", "jumble too")
    settle(connection)
    assert search.remove(connection, shown_ms=NOW_MS, notice=named("one")) == 2
    assert search.remove(connection, shown_ms=NOW_MS, notice=named("one")) == 0
    assert names(find(connection, "jumble")) == ["two"]
    assert search.is_sound(connection)


def test_a_query_is_cut_to_its_longest_words() -> None:
    assert search.terms_of("a art Artist the") == ("artist", "the")
    assert len(search.terms_of(" ".join(f"{number}word" for number in range(50)))) == search.MOST_TERMS


def test_is_sound_sees_an_index_that_lost_or_kept_too_much(connection: sqlite3.Connection) -> None:
    put(connection, "one", "jumble sale")
    assert search.is_sound(connection)
    search.index_batch(connection, 10)
    assert search.is_sound(connection)
    connection.execute("DELETE FROM search_doc")
    assert not search.is_sound(connection)


TEXTS = st.lists(st.sampled_from(["ab", "abc", "abd", "b", "ba", "bab", "ŵ", "wa", "پ"]), max_size=4).map(
    " ".join
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.integers(-40, 90), st.integers(0, 4), st.sampled_from(["", "r1", "r2"]), TEXTS
        ),
        st.tuples(st.just("remove"), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("index"), st.integers(0, 6)),
        st.tuples(st.just("purge")),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    steps=STEPS,
    query=TEXTS,
    read_first=st.integers(1, 5),
    spellings=st.integers(0, 3),
    limit=st.integers(1, 4),
)
def test_searches_agree_with_reading_everything_whatever_came_in_whatever_order(
    steps: list[tuple[Any, ...]], query: str, read_first: int, spellings: int, limit: int
) -> None:
    held: dict[tuple[int, bytes, bytes], list[str]] = {}
    with pytest.MonkeyPatch.context() as patch, closing(sqlite3.connect(":memory:")) as connection:
        patch.setattr(search, "READ_FIRST", read_first)
        patch.setattr(search, "_READ_AT_ONCE", 2)
        patch.setattr(search, "MOST_SPELLINGS", spellings)
        connection.executescript(schema())
        for step in steps:
            match step:
                case ("add", shown, number, reply, text):
                    notice, obj = named(f"n{number}"), named(f"{reply}n{number}")
                    search.add(connection, shown_ms=NOW_MS + shown, notice=notice, obj=obj, texts=[text, ""])
                    held[NOW_MS + shown, notice, obj] = words(text)
                case ("remove", choice, whole) if held:
                    chosen = sorted(held)[choice % len(held)]
                    gone = [key for key in held if key[:2] == chosen[:2] and (whole or key == chosen)]
                    assert search.remove(
                        connection,
                        shown_ms=chosen[0],
                        notice=ObjectId(chosen[1]),
                        obj=None if whole else ObjectId(chosen[2]),
                    ) == len(gone)
                    for key in gone:
                        del held[key]
                case ("index", most):
                    search.index_batch(connection, most)
                case ("purge",):
                    search.purge(connection)
        connection.commit()
        assert search.is_sound(connection)
        wanted = search.terms_of(query)
        expected: dict[tuple[int, bytes], set[bytes]] = {}
        for key in sorted(held, reverse=True):
            if wanted and all(any(w.startswith(t) for w in held[key]) for t in wanted):
                expected.setdefault(key[:2], set()).add(key[2])
        found = find(connection, query, limit)
        hits = list(found.hits)
        while found.older is not None:
            found = find(connection, query, limit, found.older)
            assert found.hits
            hits += found.hits
        assert [(hit.shown_ms, hit.notice) for hit in hits] == list(expected)
        assert [set(hit.documents) for hit in hits] == list(expected.values())
        assert not connection.in_transaction


def filled(connection: sqlite3.Connection, order: list[int], batch: int) -> list[str]:
    for place, number in enumerate(order):
        put(connection, f"n{number}", f"word{number % 7} thing{number}", NOW_MS + number * 7)
        if place % batch == 0:
            search.index_batch(connection, batch)
    return [
        *map(repr, connection.execute("SELECT * FROM search_doc")),
        *(name for query in ("word3", "thing", "word thing1") for name in pages(connection, query, 7)),
    ]


def test_a_rebuild_in_another_order_gives_equal_rows_and_answers(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "READ_FIRST", 20)
    order = list(range(200))
    first = filled(connection, order, batch=9)
    search.clear(connection)
    assert find(connection, "thing").hits == ()
    Random(4).shuffle(order)
    assert filled(connection, order, batch=33) == first
    assert search.is_sound(connection)


def test_erased_words_and_their_pieces_leave_every_byte_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    chance = Random(7)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=WAL", "secure_delete=ON", "synchronous=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(schema())
        secrets: dict[int, str] = {}
        order = list(range(900))
        chance.shuffle(order)  # late records split pages in the middle
        for place, number in enumerate(order):
            # letters that nothing else in the file can hold by accident
            secrets[number] = "".join(chr(chance.randrange(0x1210, 0x1240)) for _ in range(8))
            filler = " ".join(f"w{chance.randrange(2000)}" for _ in range(40))
            with connection:
                connection.execute("BEGIN")
                put(connection, f"n{number}", f"{filler} {secrets[number]}", NOW_MS + number * 11)
                if place % 64 == 0:
                    search.index_batch(connection, 48)
        gone = chance.sample(order, 300)

        def raw() -> bytes:
            return b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir()))

        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert all(secrets[number].encode() in raw() for number in gone)
        connection.execute("BEGIN")
        for number in gone:
            search.remove(connection, shown_ms=NOW_MS + number * 11, notice=named(f"n{number}"))
        search.purge(connection)
        connection.execute("COMMIT")
        connection.execute("VACUUM")  # secure_delete leaves copies of cells that a page split had moved
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        left = raw()

        def pieces(word: str) -> set[str]:
            return {word[start : start + 3] for start in range(len(word) - 2)}

        living = set().union(*(pieces(secrets[number]) for number in order if number not in gone))
        for number in gone:
            assert not [p for p in pieces(secrets[number]) - living if p.encode() in left]
        kept = next(number for number in order if number not in gone)
        assert names(find(connection, secrets[kept][:3])) == [f"n{kept}"]
        assert search.is_sound(connection)


def test_a_search_sees_one_state_while_the_writer_moves_documents_to_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "READ_FIRST", 2)
    path = tmp_path / "hub.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as writer,
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
    ):
        writer.execute("PRAGMA journal_mode=WAL")
        writer.executescript(schema())
        for number in range(30):
            put(writer, f"n{number:02}", "barn dance", NOW_MS + number * 1000)

        def visible(notice: ObjectId, obj: ObjectId) -> bool:
            search.index_batch(writer, 3)
            return True

        assert len(search.find(reader, "barn", limit=40, visible=visible).hits) == 30
        assert not reader.in_transaction


def test_no_statement_of_a_search_sorts_or_reads_a_whole_table(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "READ_FIRST", 2)
    for number in range(30):
        put(connection, f"n{number:02}", "barn dance", NOW_MS + number * 1000)
    search.index_batch(connection, 20)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    find(connection, "barn", limit=3, before=Place(NOW_MS + 28_000, named("n28")))
    find(connection, "barn dan", limit=30)
    connection.set_trace_callback(None)
    selects = [
        statement for statement in statements if statement.startswith("SELECT") and "search_doc" in statement
    ]
    assert any("search_index" in select for select in selects)
    for select in selects:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {select}")]
        assert not [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN search_doc")], (
            plan
        )
        if "search_index" in select:
            assert plan[0].startswith("SCAN i VIRTUAL TABLE")
