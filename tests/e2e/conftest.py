"""One browser and two hubs for all end-to-end tests, which therefore share one event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from hub.runtime.system_clock import SystemClock
from tests.demo import fill, settings_file
from tests.e2e.browser import chromium
from tests.e2e.hub_process import HubProcess, running_hub
from tests.world_content.pictures import photograph

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder a minute each, and run the asynchronous ones in the session's loop."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(60))
            if inspect.iscoroutinefunction(getattr(item, "obj", None)):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium; ``tests.e2e.browser.visitor`` opens pages in it."""
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def street(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    """A hub with the street's notices of the last weeks; tests that use it only read."""
    data = tmp_path_factory.mktemp("street") / "data"
    await fill(data, SystemClock().now_ms(), many=120)
    async with running_hub(data) as hub:
        yield hub


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def empty_hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    """A hub without neighbours to write on. Tests share it: each looks for what it put up itself.

    Its limits are out of the way of many phones at one address.
    """
    data = tmp_path_factory.mktemp("hub") / "data"
    data.mkdir()
    limits = (
        "per_device = 1000\nper_address = 10000\nwhole_hub = 10000\nnew_devices = 1000\nphrase_tries = 1000\n"
    )
    text = f"{settings_file()}[limits]\n{limits}[board]\nurgent_per_day = 100\n"
    await asyncio.to_thread((data / "hub.toml").write_text, text, "utf-8")
    async with running_hub(data) as hub:
        yield hub


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 12-megapixel JPEG as a phone sends it, with the place where it was taken."""
    path = tmp_path_factory.mktemp("snapshot") / "IMG_20261122_150405.jpg"
    path.write_bytes(photograph("cat", width=4000, location=True))
    return path
