"""``make demo``: hubs that are alive when the first visitor looks, and gone when they are stopped."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.e2e.hub_process import HubProcess

Line = Callable[[], Awaitable[str]]

_READY_S, _STOP_S = 40.0, 10.0


@contextlib.asynccontextmanager
async def demo(*arguments: str) -> AsyncIterator[tuple[list[HubProcess], str, Line]]:
    """Run ``python -m tests.demo`` until it serves: the hubs, what it said up to then, and its next line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.demo", "--port", "0", "--listen", "127.0.0.1", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    stdout = process.stdout
    assert stdout is not None
    try:
        async with asyncio.timeout(_READY_S):
            said = (await stdout.readuntil(b"with Ctrl+C.")).decode()
        folders = re.findall(r"hub status --data (\S+)", said)
        ports = re.findall(r"http://127\.0\.0\.1:(\d+)/", said)
        hubs = [HubProcess(Path(folder), int(port)) for folder, port in zip(folders, ports, strict=True)]

        async def line() -> str:
            async with asyncio.timeout(_READY_S):
                return (await stdout.readline()).decode()

        yield hubs, said, line
    finally:
        process.terminate()
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    assert process.returncode == 0


async def page_of(hub: HubProcess, path: str) -> str:
    """A page as the hub shows it to whoever typed its number."""
    return (await hub.answer(path, Host=f"127.0.0.1:{hub.port}")).body.decode()


async def test_three_hubs_are_paired_and_what_happens_on_one_is_seen_on_the_others() -> None:
    async with demo("--every", "0.3") as (hubs, said, line):
        assert "thrown away when they stop" in said
        assert said.count("both caretakers accepted") == 3
        names = [(await hub.told("status"))["name"] for hub in hubs]
        assert names == ["Tanyard Road Hub", "Mill Lane Hub", "Oakfield"]
        for hub in hubs:
            page = await page_of(hub, "/neighbours")
            assert page.count("Last swapped just now.") == 2
            for theirs in re.findall(r"/notices\?from=\w+", page):
                shown = re.findall(r'class="note by-(moss|damson|heather)', await page_of(hub, theirs))
                assert len(shown) > 5
                assert len(set(shown)) == 1
        happened = ""
        while not all(act in happened for act in (" has it after", " has the answer after", " has taken it")):
            happened += await line()
        assert " not after " not in happened
        assert " in vain" not in happened
        folder = hubs[0].data.parent.parent
    assert not await asyncio.to_thread(folder.exists)


async def test_one_hub_alone_is_alive_and_leaves_nothing_behind() -> None:
    async with demo("--alone") as ([hub], said, _):
        assert "It is thrown away when the hub stops" in said
        board = (await hub.json("/notices.json"))["items"]
        assert sum(item.get("pinned", False) for item in board) == 1
        assert sum(item.get("urgent", False) for item in board) >= 2
        assert len({item["origin"] for item in board}) >= 3
        every = await hub.told("notices", "list", "all")
        assert {item["language"] for item in every} == {"en", "cy", "pl", "ur", "ar"}
        status = await hub.told("status")
        assert status["notices"] > 250
        assert status["replies"] > 100
        pictured = next(item for item in board if item.get("pictures"))
        picture = await hub.answer("/pictures/" + pictured["pictures"][0]["url"].rpartition("/")[2])
        assert picture.status == 200
        assert (await hub.text("/decisions")).count('<li>\n<p class="meta">') == 4
        assert len(await hub.told("notices", "list", "waiting")) == 1
        assert len(await hub.told("reports", "list")) == 1
        assert (await hub.told("check"))["findings"] == []
        folder = hub.data.parent
    assert not await asyncio.to_thread(folder.exists)


async def test_a_demo_that_is_kept_is_filled_once(tmp_path: Path) -> None:
    data = tmp_path / "kept"
    async with demo("--alone", "--data", str(data)) as ([hub], said, _):
        assert "thrown away" not in said
        first = await hub.json("/notices.json")
    async with demo("--alone", "--data", str(data)) as ([hub], said, _):
        assert "holds a hub already" in said
        again = await hub.json("/notices.json")
    assert [item["id"] for item in first["items"]] == [item["id"] for item in again["items"]]
