"""A process that fetches one blob into a data folder and says when it is there: for tests that kill it.

``python -m tests.integration.sync.fetching_hub FOLDER URL SHA256``
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp

from hub.app import Hub
from hub.domain.ids import HubId
from hub.sync.blobs import Fetcher, over


async def _fetch(folder: Path, url: str, sha256: str) -> None:
    hub = await Hub.open(folder, flags={"storage.reserve_percent": "0", "storage.reserve_megabytes": "0"})
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        task = group.create_task(Fetcher(hub.fetching).run_with(HubId(bytes(32)), over(session, url)))
        while await hub.fetching.away([sha256]):  # noqa: ASYNC110 - as a page asks
            await asyncio.sleep(0.02)
        sys.stdout.write("here\n")
        sys.stdout.flush()
        task.cancel()
    await hub.close()


if __name__ == "__main__":
    asyncio.run(_fetch(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
