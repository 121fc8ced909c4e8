"""Search: every typed word begins a word of a notice or of one of its replies; newest notice first.

Documents (a notice, a reply) lie in ``search_doc`` in the order of the board, with their folded words.
``search_tail`` names those the full-text index has not taken over yet, so that a post costs no index
write; ``search_index`` maps words to *slots*, 16 ms of display time each, and never to documents: what
stands in a slot is looked up and compared word by word. So nothing depends on the order in which
documents came, two documents may share a slot, and a rebuild gives equal rows.

A search first reads the newest documents one by one. That alone answers small hubs and common words.
Where it does not fill the page the words must be rare, and the index is asked for the rest.
``docs/adr/0004-search-newest-first.md`` has the figures.

All functions take a connection in whatever thread owns it; those that write belong inside the writer's
transaction.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from hub.domain.folding import words
from hub.domain.ids import ObjectId

SLOT_MS = 16
"""Milliseconds of display time that share one index row: wide slots make the index smaller, and make
a search read more documents where thousands were posted within a second."""
_EPOCH_MS = 1_577_836_800_000
"""2020-01-01: small slot numbers are short in the index; earlier times have negative ones."""

READ_FIRST = 500
"""Newest documents read one by one before the index is asked: 0.4 ms, and a word that fills no page of
twenty there stands in about one document of twenty-five or less."""
_READ_AT_ONCE = 125
MOST_SPELLINGS = 4
"""Words beginning with a term, up to which they are asked for one by one, which costs the same however
common they are; a term that more words begin with is asked for as a prefix."""
COMMON_SHARE = 0.045
"""Share of the documents read first from which a term is common: in 100,000 documents it is then cheaper
to compare it in those another term finds than to read its list."""
MOST_TERMS = 8
"""Terms a query is cut to."""
MOST_CLAUSES = 3
"""Terms the index is asked for; further ones are compared in the documents it finds."""
MOST_LOOKED_AT = 2_000
"""Documents from the index looked at for one page; beyond, a page is short and says where to go on."""
_INDEXED_LETTERS = 40
"""Longer words are indexed by their beginning and compared whole."""


class Place(NamedTuple):
    """Where a page of results ended: the display time (Unix ms) and the notice of its last line."""

    shown_ms: int
    notice: ObjectId


@dataclass(frozen=True, slots=True)
class Hit:
    """A notice found. ``documents``: the notice itself or those of its replies that have all the words."""

    notice: ObjectId
    shown_ms: int
    documents: tuple[ObjectId, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of results, newest first; ``older`` is where the next page begins, None after the last."""

    hits: tuple[Hit, ...]
    older: Place | None


class _Row(NamedTuple):
    shown_ms: int
    notice: ObjectId
    obj: ObjectId
    words: str


_Key = tuple[int, bytes, bytes]
_NEWEST: _Key = (2**63 - 1, b"", b"")


def terms_of(query: str) -> tuple[str, ...]:
    """The folded words a query asks for, longest first, without those that another one implies."""
    terms: list[str] = []
    for word in sorted(set(words(query)), key=lambda word: (-len(word), word)):
        if not any(term.startswith(word) for term in terms):
            terms.append(word)
    return tuple(terms[:MOST_TERMS])


def add(
    connection: sqlite3.Connection,
    *,
    shown_ms: int,
    notice: ObjectId,
    obj: ObjectId,
    texts: Iterable[str],
    new: bool = False,
) -> None:
    """Make ``obj`` (the notice itself or a reply to it) findable by the words of ``texts``.

    ``shown_ms`` is the display time of the *notice*, for replies too. An earlier version of ``obj`` is
    replaced; ``new`` says that there is none.
    """
    spelt = " ".join(["", *dict.fromkeys(words("\n".join(texts)))])
    if not new:
        remove(connection, shown_ms=shown_ms, notice=notice, obj=obj)
    connection.execute("INSERT INTO search_doc VALUES (?, ?, ?, ?)", (shown_ms, notice, obj, spelt))
    connection.execute("INSERT INTO search_tail VALUES (?, ?, ?)", (shown_ms, notice, obj))


def remove(
    connection: sqlite3.Connection, *, shown_ms: int, notice: ObjectId, obj: ObjectId | None = None
) -> int:
    """Forget ``obj``, or with None the notice and all its replies; how many documents that were.

    Nothing is found any more at once; traces leave the file with :func:`purge`.
    """
    rows = [
        _Row(*row)
        for row in connection.execute(
            "SELECT shown_ms, notice, obj, words FROM search_doc WHERE shown_ms = ? AND notice = ?",
            (shown_ms, notice),
        )
        if obj is None or row[2] == obj
    ]
    slot = _slot(shown_ms)
    before = _indexed_words(connection, slot) if rows else set()
    for row in rows:
        connection.execute("DELETE FROM search_tail WHERE (shown_ms, notice, obj) = (?, ?, ?)", row[:3])
        connection.execute("DELETE FROM search_doc WHERE (shown_ms, notice, obj) = (?, ?, ?)", row[:3])
    _reindex(connection, slot, before, _indexed_words(connection, slot) if before else set())
    return len(rows)


def index_batch(connection: sqlite3.Connection, at_most: int) -> int:
    """Let the index take over up to ``at_most`` documents of the tail; how many it took.

    One transaction makes one segment of the index: few large batches write less than many small ones.
    """
    waiting = [
        _Row(*row)
        for row in connection.execute(
            "SELECT shown_ms, notice, obj, words FROM search_tail JOIN search_doc"
            " USING (shown_ms, notice, obj) ORDER BY shown_ms, notice, obj LIMIT ?",
            (at_most,),
        )
    ]
    for slot, rows in groupby(waiting, key=lambda row: _slot(row.shown_ms)):
        before = _indexed_words(connection, slot)
        _reindex(connection, slot, before, before.union(*(_tokens(row.words) for row in rows)))
    if waiting:
        last = waiting[-1][:3]
        connection.execute("DELETE FROM search_tail WHERE (shown_ms, notice, obj) <= (?, ?, ?)", last)
    return len(waiting)


def tail_length(connection: sqlite3.Connection) -> int:
    """Documents the index has not taken over yet; each search looks through them."""
    (count,) = connection.execute("SELECT count(*) FROM search_tail").fetchone()
    return int(count)


def purge(connection: sqlite3.Connection) -> None:
    """Rewrite the index so that no removed word is left in it.

    With ``secure_delete=ON``, and once the caller has committed and made a TRUNCATE checkpoint, no page
    of the database holds one. Reads and writes the whole index: do it once for many erasures.
    """
    connection.execute("INSERT INTO search_index(search_index) VALUES ('optimize')")


def clear(connection: sqlite3.Connection) -> None:
    """Empty everything, before a rebuild adds each document again."""
    connection.execute("INSERT INTO search_index(search_index) VALUES ('delete-all')")
    connection.execute("DELETE FROM search_tail")
    connection.execute("DELETE FROM search_doc")


def is_sound(connection: sqlite3.Connection) -> bool:
    """Whether the index holds exactly the words of the documents it has taken over (seconds for 100,000)."""
    held = sum(hash(row) for row in connection.execute("SELECT term, doc FROM search_word"))
    documents = connection.execute(
        "SELECT shown_ms, words FROM search_doc d WHERE NOT EXISTS (SELECT 1 FROM search_tail t WHERE"
        " (t.shown_ms, t.notice, t.obj) = (d.shown_ms, d.notice, d.obj)) ORDER BY shown_ms"
    )
    wanted = 0
    for slot, rows in groupby(documents, key=lambda row: _slot(row[0])):
        wanted += sum(hash((word, slot)) for word in {word for row in rows for word in _tokens(row[1])})
    return held == wanted


def find(
    connection: sqlite3.Connection,
    query: str,
    *,
    limit: int,
    before: Place | None = None,
    visible: Callable[[ObjectId, ObjectId], bool],
) -> Found:
    """Notices in which, or in one of whose replies, each word of ``query`` begins a word; newest first.

    ``visible(notice, obj)`` says whether that document may be shown now; it may read ``connection``.
    A page can be shorter than ``limit`` although ``older`` says that there is more. A query without
    words finds nothing.
    """
    terms = terms_of(query)
    if not terms:
        return Found((), None)
    needles = [f" {term}" for term in terms]
    hits: list[Hit] = []
    with _one_snapshot(connection), ExitStack() as stack:
        rows = stack.enter_context(closing(_candidates(connection, terms, needles, before)))
        for looked_at, (place, group) in enumerate(groupby(rows, key=lambda row: Place(row[0], row[1])), 1):
            documents = dict.fromkeys(
                row.obj
                for row in group
                if all(needle in row.words for needle in needles) and visible(row.notice, row.obj)
            )
            if documents and len(hits) == limit:
                return Found(tuple(hits), Place(hits[-1].shown_ms, hits[-1].notice))
            if documents:
                hits.append(Hit(place.notice, place.shown_ms, tuple(documents)))
            if looked_at == MOST_LOOKED_AT:
                return Found(tuple(hits), place)
    return Found(tuple(hits), None)


@contextmanager
def _one_snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """The statements inside see one state, so that no document falls between the tail and the index."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _candidates(
    connection: sqlite3.Connection, terms: tuple[str, ...], needles: list[str], before: Place | None
) -> Generator[_Row, None, None]:
    """Documents before ``before``, newest first, among them every one that has all terms."""
    key: _Key = _NEWEST if before is None else (*before, b"")
    newest = connection.execute(
        "SELECT shown_ms, notice, obj, words FROM search_doc WHERE (shown_ms, notice, obj) < (?, ?, ?)"
        " ORDER BY shown_ms DESC, notice DESC, obj DESC LIMIT ?",
        (*key, READ_FIRST),
    )
    read: list[str] = []
    with closing(newest):
        while rows := newest.fetchmany(_READ_AT_ONCE):
            for row in rows:
                if needles[0] in row[3] and all(needle in row[3] for needle in needles):
                    yield _Row(*row)
            read += [row[3] for row in rows]
            key = rows[-1][:3]
    if len(read) < READ_FIRST:
        return
    shares = [(0.0, term) for term in terms]
    if len(terms) > 1:
        shares = [
            (sum(needle in spelt for spelt in read) / READ_FIRST, term)
            for term, needle in zip(terms, needles, strict=True)
        ]
    tail = connection.execute(
        "SELECT shown_ms, notice, obj, words FROM search_tail JOIN search_doc USING (shown_ms, notice, obj)"
        " WHERE (shown_ms, notice, obj) < (?, ?, ?) ORDER BY shown_ms DESC, notice DESC, obj DESC",
        key,
    )
    waiting = [_Row(*row) for row in tail]
    yield from heapq.merge(
        (row for row in waiting if all(needle in row.words for needle in needles)),
        _from_index(connection, _expression(connection, shares), key),
        key=lambda row: row[:3],
        reverse=True,
    )


def _from_index(connection: sqlite3.Connection, expression: str, before: _Key) -> Iterator[_Row]:
    """The documents of the slots that match, newest first, until their reader has seen enough."""
    # CROSS JOIN keeps the index outermost: slots then come in order and only as far as they are read
    rows = connection.execute(
        "SELECT i.rowid, shown_ms, notice, obj, d.words FROM search_index i CROSS JOIN search_doc d"
        " ON shown_ms BETWEEN i.rowid * ? + ? AND i.rowid * ? + ?"
        " WHERE search_index MATCH ? AND i.rowid <= ? ORDER BY i.rowid DESC",
        (SLOT_MS, _EPOCH_MS, SLOT_MS, _EPOCH_MS + SLOT_MS - 1, expression, _slot(before[0])),
    )
    with closing(rows):
        for _, of_slot in groupby(rows, key=itemgetter(0)):
            for row in sorted((row[1:] for row in of_slot), reverse=True):
                if row[:3] < before:
                    yield _Row(*row)


def _expression(connection: sqlite3.Connection, shares: list[tuple[float, str]]) -> str:
    """What to ask the index for, given each term with its share of the newest documents.

    Only terms whose list is cheap to read; the others are compared in the documents found.
    """
    clauses: list[str] = []
    for share, term in sorted(shares):
        begins = term[:_INDEXED_LETTERS]
        spellings = _spellings(connection, begins)
        if spellings is not None:
            clauses.append("(" + " OR ".join(f'"{word}"' for word in spellings or [begins]) + ")")
        elif share < COMMON_SHARE or not clauses:
            clauses.append(f'"{begins}" *')
        if len(clauses) == MOST_CLAUSES:
            break
    return " AND ".join(clauses)


def _spellings(connection: sqlite3.Connection, begins: str) -> list[str] | None:
    """The indexed words that begin so, or None where they are more than ``MOST_SPELLINGS``."""
    found: list[str] = []
    start = begins
    while len(found) <= MOST_SPELLINGS:
        row = connection.execute("SELECT term FROM search_word WHERE term >= ? LIMIT 1", (start,)).fetchone()
        if row is None or not row[0].startswith(begins):
            return found
        found.append(row[0])
        start = row[0] + "\x01"  # past every posting of the word: no letter sorts before it
    return None


def _slot(shown_ms: int) -> int:
    return (shown_ms - _EPOCH_MS) // SLOT_MS


def _tokens(spelt: str) -> Iterator[str]:
    return (word[:_INDEXED_LETTERS] for word in spelt.split())


def _indexed_words(connection: sqlite3.Connection, slot: int) -> set[str]:
    """What the index row of ``slot`` holds, or has to: the words of its documents outside the tail."""
    start = slot * SLOT_MS + _EPOCH_MS
    rows = connection.execute(
        "SELECT words FROM search_doc d WHERE shown_ms BETWEEN ? AND ? AND NOT EXISTS (SELECT 1 FROM"
        " search_tail t WHERE (t.shown_ms, t.notice, t.obj) = (d.shown_ms, d.notice, d.obj))",
        (start, start + SLOT_MS - 1),
    )
    return {word for (spelt,) in rows for word in _tokens(spelt)}


def _reindex(connection: sqlite3.Connection, slot: int, before: set[str], after: set[str]) -> None:
    """Change the index row of ``slot``; a contentless index has to be told what it held."""
    if before == after:
        return
    if before:
        connection.execute(
            "INSERT INTO search_index(search_index, rowid, words) VALUES ('delete', ?, ?)",
            (slot, " ".join(sorted(before))),
        )
    if after:
        connection.execute(
            "INSERT INTO search_index(rowid, words) VALUES (?, ?)", (slot, " ".join(sorted(after)))
        )
