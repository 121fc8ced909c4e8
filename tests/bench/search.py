"""What a search costs the hub, all told: HTTP, the service, SQLite and the page; 10,000 beside 100,000."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from hub.app import Hub as App
from hub.domain.ids import ObjectId
from hub.services.publishing import publish_notice
from hub.storage.database import Connection, connect
from hub.storage.journal import Pen
from tests.bench.figures import Figure, percentile
from tests.bench.load import Job, drive, get
from tests.bench.processes import Hub
from tests.bench.street import COMMON, MIDDLING, RARE, Ground, copied, now_ms, wordy

TIMES = 9
"""How often each query is put to the service; its median counts."""
PAGES, BY_CHANCE = 40, 200
CPU_MS = "<=3"


def run(ground: Ground) -> list[Figure]:
    """Common, middling and rare words, every prefix of them, two words, words by chance; late records."""
    figures: list[Figure] = []
    for count in (10_000, 100_000):
        data = copied(ground.words(count), f"search-{count}")
        queries = {
            f"in 68 %: {COMMON} and its prefixes": _prefixes(COMMON),
            f"in 2.5 %: {MIDDLING} and its prefixes": _prefixes(MIDDLING),
            f"in 40 notices: {RARE} and its prefixes": _prefixes(RARE),
            "in none": ["qqqqx", "zzzzzz"],
            "two words": [f"{COMMON} {RARE}", f"{COMMON[:3]} {RARE[:3]}", f"{MIDDLING} {RARE}"],
        }
        words, pairs = _by_chance(data)
        figures += asyncio.run(_service(data, count, queries, words, pairs))
        with Hub(data) as hub:
            for what, texts in (
                (f"the word {COMMON}", [COMMON] * PAGES),
                (f"the word {RARE}", [RARE] * PAGES),
                (f"{BY_CHANCE} words and prefixes by chance", words),
            ):
                cost = _page_ms(hub, texts)
                figures.append(
                    Figure("search", f"{count:,}, the page over HTTP: {what}", cost, "ms CPU", CPU_MS)
                )
            empty = _page_ms(hub, [""] * PAGES)
        figures.append(Figure("search", f"{count:,}, the page over HTTP: without a query", empty, "ms CPU"))
    figures.append(asyncio.run(_late(ground)))
    return figures


async def _service(
    data: Path, count: int, queries: dict[str, list[str]], words: list[str], pairs: list[str]
) -> list[Figure]:
    """`Noticeboard.search`, which reads the twenty notices it finds as well, in this process."""
    hub = await App.open(data)
    try:
        for _ in range(3):
            await hub.finding.search(COMMON, None)
        figures = []
        for what, texts in queries.items():
            costs = {text: await _cost_ms(hub, text) for text in texts}
            dearest = max(costs, key=lambda text: costs[text])
            note = f"the dearest: {dearest!r}; median {percentile(costs.values(), 0.5):.2f}"
            figures.append(Figure("search", f"{count:,}: {what}", costs[dearest], "ms CPU", CPU_MS, note))
        for what, texts in (("words and prefixes", words), ("pairs of them", pairs)):
            each = [await _cost_ms(hub, text, 3) for text in texts]
            note = (
                f"median {percentile(each, 0.5):.2f}, 95 % {percentile(each, 0.95):.2f}, most {max(each):.2f}"
            )
            name = f"{count:,}: {len(texts)} {what} by chance, 99 % of them"
            goal = CPU_MS if texts is words else ""
            figures.append(Figure("search", name, percentile(each, 0.99), "ms CPU", goal, note))
        return figures
    finally:
        await hub.close()


async def _cost_ms(hub: App, text: str, times: int = TIMES) -> float:
    costs = []
    for _ in range(times):
        began = time.process_time()
        await hub.finding.search(text, None)
        costs.append((time.process_time() - began) * 1e3)
    return percentile(costs, 0.5)


async def _late(ground: Ground) -> Figure:
    """Put notices of last spring up now, as they come from a hub that was away, and look where they stand."""
    data = copied(ground.words(10_000), "search-late")
    hub = await App.open(data)
    try:
        found = await hub.finding.search(RARE, None, limit=200)
        chance = random.Random(5)
        times = [match.notice.shown_ms for match in found.matches]
        late = [chance.randrange(min(times), max(times)) for _ in range(20)]
        drafts = [draft for _, draft in wordy(40) if RARE in draft.text.lower()][: len(late)]

        def write(connection: Connection) -> None:
            for at_ms, draft in zip(late, drafts, strict=True):
                pen = Pen(hub.identity.sign, now_ms())
                salt, obj = chance.randbytes(16), ObjectId(chance.randbytes(16))
                publish_notice(connection, pen, obj, draft, salt, posted_ms=at_ms)

        await hub.database.write(write)
        await hub.housekeeping.index_all()
        found = await hub.finding.search(RARE, None, limit=200)
        shown = [match.notice.shown_ms for match in found.matches]
        assert len(shown) == len(times) + len(late)
        wrong = sum(one < other for one, other in pairwise(shown))
    finally:
        await hub.close()
    note = f"{len(late)} among {len(times)}"
    return Figure("search", "late records out of the order of their display time", wrong, "", "<=0", note)


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


def _page_ms(hub: Hub, texts: list[str]) -> float:
    """CPU of the hub's process for one page of results, kept from nobody before."""
    serial = time.monotonic_ns()
    paths = [f"/search?q={quote(text)}&n={serial + number}" for number, text in enumerate(texts)]
    before = hub.cpu_s()
    done = drive(Job(hub.port, [get(path, hub.port) for path in paths]))
    assert set(done.statuses) == {200}, done.statuses
    return (hub.cpu_s() - before) / len(texts) * 1e3
