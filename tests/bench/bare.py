"""The ceiling of a page: a bare aiohttp application whose one handler returns bytes it was given.

``python -m tests.bench.bare FILE``, where FILE is pickled ``(body, headers)``.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
from pathlib import Path

from aiohttp import web
from multidict import CIMultiDict

_MADE_BY_AIOHTTP = frozenset({"content-length", "date", "server"})


def store(file: Path, answer: bytes) -> None:
    """Keep a whole answer of the hub for the bare server."""
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]]
    headers = [(name, value) for name, value in fields if name.lower() not in _MADE_BY_AIOHTTP]
    file.write_bytes(pickle.dumps((body, headers)))


def main(file: Path) -> None:
    """Serve it on a free port."""
    body, fields = pickle.loads(file.read_bytes())  # noqa: S301 - our own file
    headers = CIMultiDict(fields)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/", answer)
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"port={runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    main(Path(sys.argv[1]))
