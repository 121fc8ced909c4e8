"""A large blob between two hubs against a plain aiohttp download over TLS of the same file, in the same run.

``python -m tests.bench.blobs give FOLDER FILE`` serves what the hub in the folder shares as hubs do, and the
file as any aiohttp server would; ``… fetch FOLDER URL SHA256`` and ``… take URL FILE`` get it. The
environment variable ``BLOB_MEGABYTES`` makes it another size than 1 GiB.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.app import Hub
from hub.domain.ids import HubId
from hub.domain.records import Stream, verify
from hub.domain.sharing import SetKey
from hub.services.filekeeping import Wanted
from hub.services.fileshare import Arrival, TypedFiles
from hub.storage import journal, projections
from hub.storage.database import Connection
from hub.sync.blobs import Fetcher, Giving, over
from hub.sync.listener import Listener
from hub.sync.trust import Credentials, Trust
from tests.bench.figures import Figure, ratios
from tests.bench.processes import Process
from tests.bench.street import Ground

ROUNDS = 5
SIZE = int(os.environ.get("BLOB_MEGABYTES", "1024")) * 1024**2
_GIVER, _TAKER = (Credentials(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))
_FLAGS = {"storage.reserve_percent": "0", "storage.reserve_megabytes": "0", "neighbours.files_percent": "90"}
_READ_AHEAD = 1024 * 1024
"""Bytes that both clients may have in memory, as hub/sync/transport.py has it."""
_BYTES_RECEIVED = slice(128, 136)
"""Where tcpi_bytes_received stands in Linux' tcp_info."""


def run(ground: Ground) -> list[Figure]:
    """Seconds and bytes of each way, a fresh client for each download."""
    folder, file, place = ground.work / "giver", ground.work / "film.mp4", ground.work / "taken"
    _fill(file)
    sha256 = asyncio.run(_share(folder, file))
    speed: dict[str, list[float]] = {name: [] for name in ("hub", "plain", "chunks")}
    cost: dict[str, list[float]] = {name: [] for name in speed}
    received: dict[str, list[float]] = {name: [] for name in speed}
    with Process(
        ["-m", "tests.bench.blobs", "give", str(folder), str(file)], ground.work / "give.log"
    ) as giver:
        giver.ready()
        port = giver.log.read_text("utf-8").split("plain=")[1].split()[0]
        jobs = {
            "hub": ["fetch", str(place), f"https://127.0.0.1:{giver.port}", sha256, str(folder)],
            "plain": ["take", f"https://127.0.0.1:{port}/plain", str(place)],
            "chunks": ["take", f"https://127.0.0.1:{port}/chunks", str(place)],
        }
        names = list(jobs)
        for number in range(-1, ROUNDS):
            for name in names[number % 3 :] + names[: number % 3]:
                os.sync()
                before = giver.cpu_s()
                facts = _child(*jobs[name])
                if number >= 0:  # the first one warms up
                    speed[name].append(SIZE / facts["seconds"] / 1e6)
                    cost[name].append((giver.cpu_s() - before + facts["cpu"]) * 1024**3 / SIZE)
                    received[name].append(facts["received"])
                if place.is_dir():
                    shutil.rmtree(place)
                place.unlink(missing_ok=True)
    middle = statistics.median
    what = f"{SIZE // 1024**2} MiB between two hubs"
    figures = []
    for name, whose, goal in (
        ("plain", "a plain aiohttp TLS download (web.FileResponse)", ">=0.6"),
        ("chunks", "the fastest TLS download aiohttp has (chunks of 1 MiB)", ""),
    ):
        note = (
            f"{middle(speed['hub']):,.0f} of {middle(speed[name]):,.0f} MB/s; CPU of both ends "
            f"{middle(cost['hub']):.1f} of {middle(cost[name]):.1f} s/GiB"
        )
        ratio = ratios(speed["hub"], speed[name])
        figures.append(Figure("blobs", f"{what}: of {whose}", ratio, "", goal, note))
    bytes_ = middle(received["hub"]) / middle(received["plain"])
    note = f"{bytes_:.5f}; {middle(received['hub']) / SIZE:.5f} of the file, with TLS and heads"
    figures.append(
        Figure("blobs", f"{what}: bytes received, of the plain download", bytes_, "", "<=1.002", note)
    )
    return figures


def _child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.blobs", *arguments]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    facts: dict[str, float] = json.loads(said.splitlines()[-1])
    return facts


def _fill(file: Path) -> None:
    piece = random.Random(20261123).randbytes(1024**2)
    with file.open("wb") as opened:
        for number in range(SIZE // len(piece)):
            opened.write(number.to_bytes(8, "big") + piece[8:])


async def _share(folder: Path, file: Path) -> str:
    """A hub in ``folder`` that shares ``file`` with everybody; its SHA-256."""

    async def content() -> AsyncIterator[bytes]:
        with file.open("rb") as opened:
            while data := await asyncio.to_thread(opened.read, 1024**2):
                yield data

    hub = await Hub.open(folder, flags=_FLAGS)
    try:
        shelf = await hub.filekeeping.add_collection(Wanted(title="Films", scope="network"), "gwen")
        arrived = await hub.uploads.receive(content())
        await hub.share.put_up_for_caretaker(
            shelf.public_id, TypedFiles(), [Arrival("film.mp4", arrived)], "en"
        )
        return arrived.ref.sha256
    finally:
        await hub.close()


async def _give(folder: Path, file: Path) -> None:
    hub = await Hub.open(folder, flags=_FLAGS)

    async def exchanged(_: HubId) -> Collection[SetKey]:
        return [SetKey(Stream.FILES, b"")]

    giving = Giving(
        hub.database,
        hub.blobs,
        exchanged,
        lambda: time.time_ns() // 1_000_000,
        hub.fetching.want_for_neighbour,
    )
    trust = Trust(_GIVER, [_TAKER.certificate])
    listener = Listener(trust, giving.routes())
    application = web.Application()
    application.router.add_get("/plain", lambda _: _plain(file))
    application.router.add_get("/chunks", lambda request: _chunks(request, file))
    runner = web.AppRunner(application)
    await runner.setup()
    plain = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=trust.context)
    await plain.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        serving = asyncio.create_task(listener.serve(bound))
        print(f"plain={runner.addresses[0][1]}\nport={bound.getsockname()[1]}", flush=True)
        await ended.wait()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
    await runner.cleanup()
    await hub.close()


async def _plain(file: Path) -> web.StreamResponse:
    return web.FileResponse(file)


async def _chunks(request: web.Request, file: Path) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = SIZE
    await response.prepare(request)
    with file.open("rb") as opened:
        while data := await asyncio.to_thread(opened.read, 1024**2):
            await response.write(data)
    return response


class _Client:
    """A client whose received bytes can be read."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        trust = Trust(_TAKER, [_GIVER.certificate])
        context: ssl.SSLContext = trust.calling(_GIVER.hub)
        connector = aiohttp.TCPConnector(ssl=context, socket_factory=self._socket)
        self.session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, read_bufsize=_READ_AHEAD
        )

    def _socket(self, info: Any) -> socket.socket:
        made = socket.socket(*info[:3])
        self.sockets.append(made)
        return made

    def received(self) -> int:
        """Bytes of all connections, TLS and heads included."""
        infos = (each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256) for each in self.sockets)
        return sum(int.from_bytes(info[_BYTES_RECEIVED], sys.byteorder) for info in infos)


async def _fetch(folder: Path, url: str, sha256: str, source: Path) -> None:
    hub = await Hub.open(folder, flags=_FLAGS)
    rows = _records(source)

    def learn(connection: Connection) -> None:
        for header, signature, body in rows:
            logged = journal.append(connection, verify(header, signature, body), time.time_ns() // 1_000_000)
            projections.refresh(connection, logged.record.header.obj)

    await hub.database.write(learn)
    await hub.fetching.want(sha256)
    client = _Client()
    used, began = time.process_time(), time.perf_counter()
    fetching = asyncio.create_task(Fetcher(hub.fetching).run_with(_GIVER.hub, over(client.session, url)))
    path = hub.blobs.path(sha256)
    while not path.exists() or await hub.fetching.away([sha256]):  # noqa: ASYNC110 - cheap
        await asyncio.sleep(0.01)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "received": client.received()}))
    fetching.cancel()
    with suppress(asyncio.CancelledError):
        await fetching
    await client.session.close()
    await hub.close()


def _records(folder: Path) -> list[tuple[bytes, bytes, bytes | None]]:
    with sqlite3.connect(f"file:{folder / 'hub.db'}?mode=ro", uri=True) as connection:
        return connection.execute("SELECT header, signature, body FROM record ORDER BY n").fetchall()


async def _take(url: str, place: Path) -> None:
    client = _Client()
    used, began = time.process_time(), time.perf_counter()
    async with client.session.get(url) as answer:
        with place.open("wb") as file:
            async for data in answer.content.iter_any():
                file.write(data)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        received = client.received()
    print(json.dumps({"seconds": seconds, "cpu": cpu, "received": received}))
    await client.session.close()


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "give":
        asyncio.run(_give(Path(rest[0]), Path(rest[1])))
    elif what == "fetch":
        asyncio.run(_fetch(Path(rest[0]), rest[1], rest[2], Path(rest[3])))
    else:
        asyncio.run(_take(rest[0], Path(rest[1])))
