"""The ceiling of a page: a bare aiohttp application whose one handler returns bytes it was given.

``python -m tests.bench.bare FILE``, where FILE is pickled ``(body, headers)``.
"""

from __future__ import annotations

import pickle
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

    app = web.Application()
    app.router.add_get("/", answer)
    app.router.add_get("/{path:.*}", answer)
    web.run_app(
        app, host="127.0.0.1", port=0, access_log=None, print=None, handle_signals=True, loop=None
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
