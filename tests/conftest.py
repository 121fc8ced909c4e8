"""What every test gets: a watch on the event loop and on leftovers, and a clock and chance of its own."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

E2E = Path(__file__).parent / "e2e"
GRACE = 2.0
"""Seconds that what a test started may take to end after it."""

settings.register_profile(
    "street",
    deadline=None,  # the machine may be busy with something else
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",  # elsewhere each run looks further
)
settings.load_profile("street")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let asynchronous tests with a loop of their own be checked for tasks they leave behind."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) and not _in_e2e(item):
            # Set up next, so taken down when all else is but for the loop itself and its threads.
            item.fixturenames.insert(
                item.fixturenames.index("no_thread_or_process_is_left") + 1, "no_task_is_left"
            )


def _in_e2e(item: pytest.Item) -> bool:
    return item.path.is_relative_to(E2E)


@pytest.fixture(autouse=True, scope="session")
def event_loop_is_never_blocked() -> Iterator[BlockBuster]:
    """Fail a file, SQLite, socket or sleep call of hub code that would stop the loop's thread.

    Two things are let through because only the first one to come by pays for them, so that a test
    would fail or pass by its place in the run: imports, and the source lines of a traceback. A third
    one is asked first whether it would block: sending a file's bytes to a socket.
    """
    with blockbuster_ctx("hub") as watch:
        for function in watch.functions.values():
            function.can_block_in("<frozen importlib._bootstrap>", {"_find_and_load"})
            function.can_block_in("linecache.py", {"updatecache", "checkcache"})
        watch.functions["os.sendfile"].can_block_in("hub/web/downloads.py", {"_push"})
        yield watch


@pytest.fixture(autouse=True)
def no_thread_or_process_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread or a child process running (tests/e2e shares its own)."""
    if _in_e2e(request.node):
        yield
        return
    threads, children = set(threading.enumerate()), _children()
    yield
    deadline = time.monotonic() + GRACE
    while left := [thread.name for thread in set(threading.enumerate()) - threads] + [
        f"process {pid} ({name})" for pid, name in (_children() - children)
    ]:
        if time.monotonic() > deadline:
            pytest.fail(f"left running: {', '.join(left)}", pytrace=False)
        time.sleep(0.01)


def _children() -> set[tuple[int, str]]:
    """Process id and name of each living child of this process, as Linux tells it."""
    living: set[tuple[int, str]] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            for pid in listing.read_text().split():
                status = Path(f"/proc/{pid}/stat").read_text()
                name, _, rest = status.partition("(")[2].rpartition(")")
                if rest.split()[0] != "Z":
                    living.add((int(pid), name))
        except OSError:  # the thread or the child ended while it was looked at
            continue
    return living


@pytest_asyncio.fixture
async def no_task_is_left() -> AsyncIterator[None]:
    """Fail a test whose event loop still has a task when its fixtures are done."""
    yield
    deadline = time.monotonic() + GRACE
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        if time.monotonic() > deadline:
            names = ", ".join(sorted(f"{task.get_name()} {task.get_coro()!r}" for task in left))
            pytest.fail(f"tasks left running: {names}", pytrace=False)
        await asyncio.sleep(0.01)


class HandClock:
    """A wall clock in Unix milliseconds that stands still until a test moves it; calling it reads it."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> int:
        """Move by the sum of what is given (backwards when negative) and answer the new time."""
        self.now_ms += round((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000)
        return self.now_ms


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands at 09:41 UTC on Monday 23 November 2026."""
    return HandClock(1_795_426_860_000)


@pytest.fixture
def chance() -> random.Random:
    """Chance that falls the same way in every run."""
    return random.Random(20261123)


@pytest.fixture
def random_bytes(chance: random.Random) -> Callable[[int], bytes]:
    """What ``secrets.token_bytes`` is to the hub, the same in every run."""
    return chance.randbytes


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """An empty folder for one hub's data, removed after the run."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder
