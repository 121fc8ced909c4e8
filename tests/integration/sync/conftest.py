"""Halls for the tests of what hubs say to each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.integration.sync.halls import Hall, open_hall


@pytest_asyncio.fixture
async def halls() -> AsyncIterator[Callable[..., Awaitable[Hall]]]:
    """Open a hall by its name; closed after the test."""
    async with AsyncExitStack() as stack:

        async def opened(name: str, **limits: float) -> Hall:
            return await stack.enter_async_context(open_hall(name, **limits))

        yield opened


@pytest_asyncio.fixture
async def mill_lane() -> AsyncIterator[Hall]:
    """Mill Lane Hall, listening."""
    async with open_hall("mill-lane") as hall:
        yield hall


@pytest_asyncio.fixture
async def oakfield() -> AsyncIterator[Hall]:
    """Oakfield, listening."""
    async with open_hall("oakfield") as hall:
        yield hall


@pytest.fixture
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that leaves a line in the log."""
    yield
    assert [record.getMessage() for record in caplog.records] == []


@pytest.fixture
def nothing_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that logs an error or a warning."""
    yield
    assert [
        record.getMessage() for record in caplog.records if record.levelname not in ("DEBUG", "INFO")
    ] == []
