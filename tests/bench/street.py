"""Data folders with many notices in them, written by the hub's own code."""

from __future__ import annotations

import asyncio
import bisect
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from hub.domain.ids import Epoch, ObjectId
from hub.domain.notices import Kind, NoticeDraft, Scope
from hub.services.identity import load_or_create
from hub.services.publishing import publish_notice
from hub.storage import journal, search
from hub.storage.database import Database
from hub.storage.journal import Pen
from tests import world

DAY_MS = 86_400_000


def now_ms() -> int:
    """The machine's clock: the hub that is measured runs on it."""
    return time.time_ns() // 1_000_000


def believable(count: int) -> Iterator[tuple[int, NoticeDraft]]:
    """Notices of the invented street, oldest first, with the time they went up; no pictures."""
    now = now_ms()
    for each in world.many(count, 1, now, weeks=3.5):
        yield each.written_ms(now), replace(each.draft(now), pictures=(), expires_ms=now + 60 * DAY_MS)


COMMON, MIDDLING, RARE = "community", "allotment", "zymurgy"
"""Words of `wordy` notices: in 68 % of them, in 2.5 %, and in 40."""


def wordy(count: int) -> Iterator[tuple[int, NoticeDraft]]:
    """Notices of some 400 bytes in an invented language of 20,000 words, common and rare as in real ones.

    They go up over a year, oldest first, so that the index is asked far back.
    """
    chance = random.Random(20261123)
    syllables = [a + b for a in "bcdfghklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er", "in")]
    lengths = [1, 2, 3, 4, 5]
    lexicon = list(
        dict.fromkeys(
            "".join(chance.choices(syllables, k=chance.choices(lengths, (2, 8, 8, 4, 1))[0]))
            for _ in range(30_000)
        )
    )[:20_000]
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(lexicon))))
    now = now_ms()
    rare = set(chance.sample(range(count), min(40, count)))
    for number in range(count):
        words = [lexicon[bisect.bisect(weights, chance.random() * weights[-1])] for _ in range(60)]
        if chance.random() < 0.68:
            words[chance.randrange(8, 60)] = COMMON
        if chance.random() < 0.025:
            words[chance.randrange(8, 60)] = MIDDLING
        if number in rare:
            words[20] = RARE
        yield (
            now - 365 * DAY_MS + int(364 * DAY_MS * number / count),
            NoticeDraft(
                kind=Kind.NEWS,
                title=" ".join(words[:6]).capitalize(),
                text=" ".join(words[6:]).capitalize() + ".",
                lang="en",
                scope=Scope.NETWORK,
                expires_ms=now + 60 * DAY_MS,
                name="",
                contact="",
            ),
        )


def found(data: Path, notices: Iterator[tuple[int, NoticeDraft]]) -> None:
    """Make a hub's data folder and put ``notices`` up in it, each at its time; the index is up to date."""
    data.mkdir(parents=True)
    chance = random.Random(7)
    identity = load_or_create(data / "key", chance.randbytes)
    database = Database.open(data / "hub.db", now_ms(), "bench", lambda: None)
    database.prepare(lambda connection: journal.found(connection, identity.hub, Epoch(chance.randbytes(8))))
    waiting = list(notices)
    for start in range(0, len(waiting), 1000):

        def write(
            connection: sqlite3.Connection,
            batch: list[tuple[int, NoticeDraft]] = waiting[start : start + 1000],
        ) -> None:
            for at_ms, draft in batch:
                publish_notice(
                    connection, Pen(identity.sign, at_ms), ObjectId(chance.randbytes(16)), draft, chance.randbytes(16)
                )  # fmt: skip
            search.index_batch(connection, 1000)

        database.prepare(write)
    asyncio.run(database.close())


def copied(data: Path, name: str) -> Path:
    """A copy of a data folder beside it, under ``name``."""
    copy = data.with_name(name)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("run", "lock"))
    return copy


class Ground:
    """Where benches work, and data folders made once for all of them. Never change one: copy it."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def street(self, count: int) -> Path:
        """A hub with ``count`` believable notices."""
        return self._made(f"street-{count}", believable, count)

    def words(self, count: int) -> Path:
        """A hub with ``count`` notices in the invented language."""
        return self._made(f"words-{count}", wordy, count)

    def _made(
        self, name: str, notices: Callable[[int], Iterator[tuple[int, NoticeDraft]]], count: int
    ) -> Path:
        data = self.work / name
        if not data.exists():
            found(data, notices(count))
        return data
