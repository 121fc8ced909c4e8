"""Large files from a phone that loses its hub, its page and its patience in the middle."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from hub.runtime.system_clock import SystemClock
from tests.e2e.browser import visitor
from tests.e2e.hub_process import HOST
from tests.integration.hub.hub_process import GENEROUS, HubProcess, found_hub, hub_command, start_hub

MB = 1_000_000
SLOWLY = 4 * MB
"""Bytes a second that the phone sends, so that there is a middle."""
ROLE = "#uploads [role=status]"


class Box:
    """A hub whose machine fails now and then and comes back at the same address."""

    def __init__(self, data: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.data = data
        where = ["--port", str(self.port), "--name", "Tanyard Road Hub"]
        self._command = [*hub_command(data)[:-4], *where, "--listen", "127.0.0.1"]
        self._hub: HubProcess | None = None

    def at(self, path: str) -> str:
        return f"http://{HOST}:{self.port}{path}"

    async def starts(self) -> None:
        self._hub = await asyncio.to_thread(start_hub, self.data, self._command)

    async def dies(self) -> None:
        assert self._hub is not None
        await asyncio.to_thread(self._hub.kill)

    async def ends(self) -> None:
        assert self._hub is not None
        assert "Traceback" not in await asyncio.to_thread(self._hub.log)
        await asyncio.to_thread(self._hub.close)

    def arrived(self) -> int:
        """Bytes that lie on their way in."""
        return sum(path.stat().st_size for path in (self.data / "uploads").iterdir())

    async def has(self, size: int) -> None:
        """Wait until so many bytes have arrived."""
        async with asyncio.timeout(20):
            while await asyncio.to_thread(self.arrived) < size:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def kept(self) -> set[str]:
        """The hashes of the blobs, each of which is what it says."""
        found = [path for path in (self.data / "blobs").rglob("*") if path.is_file()]
        assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in found)
        return {path.name for path in found}


@pytest_asyncio.fixture(loop_scope="session")
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    box = Box(await asyncio.to_thread(found_hub, tmp_path / "data", GENEROUS))
    await box.starts()
    yield box
    await box.ends()


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Two films and a photo, which no two runs have alike."""
    chance = random.Random(SystemClock().now_ms())
    made = []
    for name, size in (("fête.mp4", 14 * MB), ("choir.webm", 6 * MB), ("note.txt", 700)):
        path = tmp_path / name
        path.write_bytes(chance.randbytes(size))
        made.append(path)
    return made


async def chooses(page: Page, box: Box, *files: Path) -> None:
    """Open the form of the box, choose files and press the button."""
    await page.goto(box.at("/files"))
    await page.locator("main a[href^='/collections/']").first.click()
    await page.goto(box.at((await page.locator("a[href$='/add']").first.get_attribute("href")) or ""))
    await page.locator("#file").set_input_files([str(path) for path in files])
    await page.locator("form[data-uploads] button.go").click()


async def slow_down(page: Page) -> None:
    session = await page.context.new_cdp_session(page)
    await session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": SLOWLY},
    )


def digests(files: list[Path]) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


async def test_files_go_on_by_themselves_when_the_hub_was_killed_in_the_middle(
    browser: Browser, box: Box, films: list[Path]
) -> None:
    async with visitor(browser) as phone:
        await slow_down(phone)
        await chooses(phone, box, *films)
        await box.has(5 * MB)
        await box.dies()
        before = await asyncio.to_thread(box.arrived)
        await phone.locator(ROLE, has_text="The connection is gone").wait_for()
        await box.starts()
        assert await asyncio.to_thread(box.arrived) >= before - 4 * 1024**2  # one piece at most
        await phone.wait_for_url("**/collections/**done**", timeout=30_000)
        assert await asyncio.to_thread(digests, films) <= await asyncio.to_thread(box.kept)
        assert await asyncio.to_thread(box.arrived) == 0


async def test_choosing_the_same_file_again_goes_on_where_it_stopped(
    browser: Browser, box: Box, films: list[Path]
) -> None:
    async with visitor(browser) as phone:
        await slow_down(phone)
        await chooses(phone, box, films[0])
        await box.has(5 * MB)
        await phone.goto(box.at("/"))
        sent: list[int] = []
        phone.on(
            "request",
            lambda request: (
                sent.append(int(request.headers["upload-offset"])) if request.method == "PATCH" else None
            ),
        )
        await chooses(phone, box, films[0])
        await phone.wait_for_url("**/collections/**done**", timeout=30_000)
        assert sent[0] >= 3 * MB
        assert await asyncio.to_thread(digests, films[:1]) <= await asyncio.to_thread(box.kept)


async def test_what_the_hub_refuses_is_said_in_its_words_and_the_form_can_be_used_again(
    browser: Browser, box: Box, films: list[Path]
) -> None:
    await box.ends()
    with (box.data / "hub.toml").open("a") as settings:
        settings.write("\n[files]\nlargest_megabytes = 7\n")
    await box.starts()
    async with visitor(browser) as phone:
        await chooses(phone, box, films[0])
        await phone.locator(ROLE, has_text="files of up to 7 MB").wait_for()
        await phone.locator("#file").set_input_files(str(films[1]))
        await phone.locator("form[data-uploads] button.go").click()
        await phone.wait_for_url("**/collections/**done**", timeout=30_000)
        assert await asyncio.to_thread(digests, films[1:2]) <= await asyncio.to_thread(box.kept)
