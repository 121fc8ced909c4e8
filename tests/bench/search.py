"""What a search costs the hub, all told: HTTP, the service, SQLite and the page; 10,000 beside 100,000."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from hub.domain.ids import ObjectId
from hub.storage import search
from hub.storage.database import connect
from tests.bench.figures import Figure, percentile
from tests.bench.load import Job, drive, get
from tests.bench.processes import Hub
from tests.bench.street import COMMON, MIDDLING, RARE, Ground, copied

TIMES = 25
"""How often each query is sent: CPU clocks tick finely enough, but other programs disturb."""
BY_CHANCE = 200
CPU_MS = "<=3"


def run(ground: Ground) -> list[Figure]:
    """Common, middling and rare words, every prefix of them, two words, words by chance; late records."""
    figures: list[Figure] = []
    for count in (10_000, 100_000):
        data = copied(ground.words(count), f"search-{count}")
        queries = {
            f"in 68 %: {COMMON} and its {len(COMMON) - 1} prefixes": _prefixes(COMMON),
            f"in 2.5 %: {MIDDLING} and its prefixes": _prefixes(MIDDLING),
            f"in 40 notices: {RARE} and its prefixes": _prefixes(RARE),
            "in none": ["qqqqx", "zzzzzz"],
            "two words, common and rare": [
                f"{COMMON} {RARE}",
                f"{COMMON[:3]} {RARE[:3]}",
                f"{MIDDLING} {RARE}",
            ],
        }
        words, pairs = _by_chance(data)
        with Hub(data) as hub:
            for what, texts in queries.items():
                each = {text: _cost_ms(hub, [text] * TIMES) for text in texts}
                dearest = max(each, key=lambda text: each[text])
                note = f"the dearest: {dearest!r}; median {percentile(each.values(), 0.5):.2f}"
                figures.append(Figure("search", f"{count:,}: {what}", each[dearest], "ms CPU", CPU_MS, note))
            for what, texts in (("words and prefixes", words), ("pairs of them", pairs)):
                figures.append(
                    Figure("search", f"{count:,}: {len(texts)} {what} by chance, the mean",
                           _cost_ms(hub, texts), "ms CPU", CPU_MS)
                )  # fmt: skip
            figures.append(_empty_page(hub, count))
        with closing(connect(data / "hub.db", read_only=True)) as connection:
            costs = [_alone_ms(connection, text) for text in words]
            figures.append(
                Figure("search", f"{count:,}: SQLite and Python alone, words and prefixes by chance, 99 %",
                       percentile(costs, 0.99), "ms CPU", "",
                       f"median {percentile(costs, 0.5):.2f}, most {max(costs):.2f}")
            )  # fmt: skip
    return figures


def _prefixes(word: str) -> list[str]:
    return [word[:length] for length in range(1, len(word) + 1)]


def _by_chance(data: Path) -> tuple[list[str], list[str]]:
    """Words and prefixes of notices taken by chance, so common ones are asked for more often; and pairs."""
    chance = random.Random(3)
    with closing(connect(data / "hub.db", read_only=True)) as connection:
        texts = [
            row[0] for row in connection.execute("SELECT words FROM search_doc ORDER BY notice LIMIT 500")
        ]
    taken = [chance.choice(chance.choice(texts).split()) for _ in range(3 * BY_CHANCE)]
    cut = [word[: chance.randint(1, len(word))] if chance.random() < 0.5 else word for word in taken]
    return cut[:BY_CHANCE], [
        f"{one} {other}" for one, other in zip(cut[BY_CHANCE::2], cut[BY_CHANCE + 1 :: 2])
    ]


def _cost_ms(hub: Hub, texts: list[str]) -> float:
    """CPU of the hub's process for one search; each is a page that was not kept."""
    serial = time.monotonic_ns()
    paths = [f"/search?q={quote(text)}&n={serial + number}" for number, text in enumerate(texts)]
    before = hub.cpu_s()
    done = drive(Job(hub.port, [get(path, hub.port) for path in paths]))
    assert set(done.statuses) == {200}, done.statuses
    return (hub.cpu_s() - before) / len(texts) * 1e3


def _empty_page(hub: Hub, count: int) -> Figure:
    """What is not searching: HTTP and the page's frame."""
    return Figure("search", f"{count:,}: the page without a query", _cost_ms(hub, [""] * 100), "ms CPU")


def _alone_ms(connection: sqlite3.Connection, text: str) -> float:
    def visible(_: ObjectId, __: ObjectId) -> bool:
        return True

    began = time.thread_time()
    search.find(connection, text, limit=20, visible=visible)
    return (time.thread_time() - began) * 1e3
