"""``make demo``: a hub that is alive when the first visitor looks, and gone when it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.e2e.hub_process import HubProcess

_READY_S, _STOP_S = 40.0, 10.0


@contextlib.asynccontextmanager
async def demo(*arguments: str) -> AsyncIterator[tuple[HubProcess, str]]:
    """Run ``python -m tests.demo`` until it serves; the hub, and what it said up to then."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.demo", "--port", "0", "--listen", "127.0.0.1", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READY_S):
            said = (await process.stdout.readuntil(b"Stop it with Ctrl+C.")).decode()
        data, port = (
            re.search(r"hub status --data (\S+)", said),
            re.search(r"http://127\.0\.0\.1:(\d+)/", said),
        )
        assert data is not None
        assert port is not None
        yield HubProcess(Path(data[1]), int(port[1])), said
    finally:
        process.terminate()
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    assert process.returncode == 0


async def test_the_demo_is_alive_and_leaves_nothing_behind() -> None:
    async with demo() as (hub, said):
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
    async with demo("--data", str(data)) as (hub, said):
        assert "thrown away" not in said
        first = await hub.json("/notices.json")
    async with demo("--data", str(data)) as (hub, said):
        assert "holds a hub already" in said
        again = await hub.json("/notices.json")
    assert [item["id"] for item in first["items"]] == [item["id"] for item in again["items"]]
