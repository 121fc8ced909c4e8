"""Downloads against nginx with the same files on the same disk, in the same rounds.

``python -m tests.bench.downloads serve FOLDER`` serves a folder's files through the hub's own site and
listener, ``… raw FILE`` by nothing but sendfile, ``… take PORT PATH`` downloads and discards.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from hub.domain.errors import HubError, NotFound
from hub.domain.files import media_of
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.web.connections import ConnectionLimits, GuardedServer
from hub.web.downloads import Archive, FileBytes, Packed
from hub.web.server import Answer, Site, Visit
from hub.words.catalogues import Catalogues
from tests.bench.figures import Figure, ratios
from tests.bench.load import Job, drive, get
from tests.bench.nginx import Nginx
from tests.bench.processes import Process
from tests.bench.street import Ground

GIB = 1024**3
ROUNDS = 7
SMALL_FILES, SMALL_BYTES = 500, 10_000
PAGE_BYTES = 13_000
_PAUSE_S = 0.02


def run(ground: Ground) -> list[Figure]:
    """A large file, a collection's ZIP, small files, and pages while large files are sent."""
    folder = ground.work / "files"
    if not folder.exists():
        _fill(folder)
    with (
        Process(["-m", "tests.bench.downloads", "serve", str(folder)], ground.work / "serve.log") as ours,
        Process(
            ["-m", "tests.bench.downloads", "raw", str(folder / "long.mp4")], ground.work / "raw.log"
        ) as raw,
        Nginx(folder) as nginx,
    ):
        ours.ready()
        raw.ready()
        return [
            *_long(ours, raw, nginx),
            *_small(ours, nginx),
            *_meanwhile(ours),
        ]


def _long(ours: Process, raw: Process, nginx: Nginx) -> list[Figure]:
    jobs: dict[str, tuple[Process | Nginx, str]] = {
        "hub": (ours, "/f/long.mp4"),
        "zip": (ours, "/all.zip"),
        "raw": (raw, "/"),
        "nginx": (nginx, "/long.mp4"),
    }
    speed: dict[str, list[float]] = {name: [] for name in jobs}
    cost: dict[str, list[float]] = {name: [] for name in jobs}
    drive(Job(ours.port, [get("/", ours.port), get("/f/0.jpg", ours.port)]))
    rest_mb = ours.memory().rss
    names = list(jobs)
    for number in range(-1, ROUNDS):
        for name in names[number % 4 :] + names[: number % 4]:
            server, path = jobs[name]
            before = server.cpu_s()
            size, seconds = taken(server.port, path)
            used = server.cpu_s() - before
            assert size >= GIB, name
            if number >= 0:  # the first one warms up
                speed[name].append(size / seconds / 1e6)
                cost[name].append(used / (size / GIB))
    figures = []
    middle = statistics.median
    for name, what, fast, cheap in (
        ("hub", "1 GiB", ">=0.95", "<=1.0"),
        ("zip", "ZIP of 1 GiB and 500 small files", "", ""),
    ):
        note = f"{middle(speed[name]):,.0f} of {middle(speed['nginx']):,.0f} MB/s"
        figures.append(
            Figure("files", f"{what} down: of nginx", ratios(speed[name], speed["nginx"]), "", fast, note)
        )
        note = f"{middle(cost[name]):.2f} of {middle(cost['nginx']):.2f} s/GiB"
        figures.append(
            Figure("files", f"{what} down: CPU, of nginx", ratios(cost[name], cost["nginx"]), "", cheap, note)
        )
    note = f"{middle(speed['raw']):,.0f} MB/s, {middle(cost['raw']):.2f} s/GiB"
    figures.append(
        Figure("files", "1 GiB down: of raw sendfile", ratios(speed["hub"], speed["raw"]), note=note)
    )
    grown = ours.peak_mb() - rest_mb
    figures.append(Figure("files", "memory grown by downloads of 1 GiB", grown, "MB", "<=4"))
    return figures


def _small(ours: Process, nginx: Nginx) -> list[Figure]:
    figures = []
    for what, goal, cold in (("from memory", ">=0.2", False), ("each for the first time", "", True)):
        rates: dict[int, list[float]] = {ours.pid: [], nginx.pid: []}
        costs: dict[int, list[float]] = {ours.pid: [], nginx.pid: []}
        for number in range(-1, ROUNDS):
            for server, prefix in ((ours, "/f"), (nginx, ""))[:: 1 if number % 2 else -1]:
                requests = [get(f"{prefix}/{each}.jpg", server.port) for each in range(SMALL_FILES)]
                if cold and server is ours:
                    os.kill(ours.pid, signal.SIGUSR1)
                    time.sleep(0.05)
                before = server.cpu_s()
                done = drive(Job(server.port, requests, 1, 0.0 if cold else 1.0))
                assert set(done.statuses) == {200}
                assert not done.failed
                if number >= 0:
                    rates[server.pid].append(done.rate)
                    costs[server.pid].append((server.cpu_s() - before) / len(done.latencies) * 1e6)
        mine, theirs = (statistics.median(rates[pid]) for pid in (ours.pid, nginx.pid))
        cpu, their_cpu = (statistics.median(costs[pid]) for pid in (ours.pid, nginx.pid))
        note = f"{mine:,.0f} of {theirs:,.0f} /s; CPU {cpu:.0f} of {their_cpu:.0f} us"
        name = f"{SMALL_FILES} files of 10 kB down, {what}: of nginx"
        figures.append(Figure("files", name, ratios(rates[ours.pid], rates[nginx.pid]), "", goal, note))
    return figures


def _meanwhile(ours: Process) -> list[Figure]:
    """Pages of the board's size while a file and an archive are downloaded again and again."""
    job = Job(ours.port, [get("/", ours.port)], 4, 3.0, pause_s=_PAUSE_S)
    idle, busy = [], []
    for _ in range(5):
        idle.append(drive(job).percentile_ms(0.95))
        takers = [_taker(ours.port, path, 5.0) for path in ("/f/long.mp4", "/all.zip")]
        time.sleep(0.5)
        busy.append(drive(job).percentile_ms(0.95))
        for taker in takers:
            taker.terminate()
            taker.wait(30)
    note = (
        f"{statistics.median(busy):.1f} of {statistics.median(idle):.1f} ms; a download and a ZIP as fast as "
        "they go, their clients on the same two processors"
    )
    return [Figure("files", "p95 of a page meanwhile: of idle", ratios(busy, idle), "", "<=3", note)]


def taken(port: int, path: str) -> tuple[int, float]:
    """Download ``path`` in a process of its own; bytes of the body, and seconds from asking to the end."""
    command = [sys.executable, "-m", "tests.bench.downloads", "take", str(port), path]
    size, seconds = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    return int(size), float(seconds)


def _taker(port: int, path: str, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.bench.downloads", "take", str(port), path, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _take(port: int, path: str, for_s: float = 0.0) -> None:
    """Download ``path`` once, or over and over for so long; the bytes are dropped in the kernel."""
    ends = time.monotonic() + for_s
    room = bytearray(1024**2)
    while True:
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as own:
            own.sendall(get(path, port))
            head = b""
            while b"\r\n\r\n" not in head:
                head += own.recv(4096)
            assert head.startswith(b"HTTP/1.1 200"), head[:200]
            at = head.index(b"Content-Length: ") + 16
            size = int(head[at : head.index(b"\r", at)])
            left = size - (len(head) - head.index(b"\r\n\r\n") - 4)
            while left:
                got = own.recv_into(room, len(room), socket.MSG_TRUNC)
                assert got, "cut off"
                left -= got
        if time.monotonic() >= ends:
            print(size, time.perf_counter() - began)
            return


def _fill(folder: Path) -> None:
    """A file of 1 GiB and 500 of 10 kB."""
    folder.mkdir(parents=True)
    chance = random.Random(20261123)
    piece = chance.randbytes(1024**2)
    with (folder / "long.mp4").open("wb") as file:
        for number in range(GIB // len(piece)):
            file.write(number.to_bytes(8, "big") + piece[8:])
    for number in range(SMALL_FILES):
        (folder / f"{number}.jpg").write_bytes(chance.randbytes(SMALL_BYTES))


class _Plain:
    async def error(self, visit: Visit, error: HubError) -> Content:
        return Content(str(error).encode(), "text/plain; charset=utf-8", error.status, keep=False)


def _serve(folder: Path) -> None:
    """Serve ``folder``, its ZIP and a page, as the hub serves its files. SIGUSR1 is a commit."""
    files: dict[str, FileBytes] = {}
    packed = []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        files[path.name] = FileBytes(path, size, sha256, path.name, media_of(path.name), True, shared=True)
        crc32 = zlib.crc32(path.read_bytes()) if size < 1024**2 else 0
        packed.append(Packed(path, size, sha256, crc32, path.name, 0))
    archive = Archive(tuple(packed), "all.zip", UTC)
    page = Content(random.Random(1).randbytes(PAGE_BYTES // 2).hex().encode(), "text/html; charset=utf-8")

    async def of_file(visit: Visit) -> Answer:
        try:
            return files[visit.names["name"]]
        except KeyError:
            raise NotFound from None

    async def of_archive(_: Visit) -> Answer:
        return archive

    async def of_page(_: Visit) -> Answer:
        return page

    async def serve() -> None:
        site = Site(
            [
                Route("GET", "/", of_page),
                Route("GET", "/all.zip", of_archive),
                Route("GET", "/f/{name}", of_file),
            ],
            _Plain(),
            Catalogues.load(),
            lambda: frozenset({"127.0.0.1"}),
            lambda: time.time_ns() // 1_000_000,
            lambda: "en",
        )
        server = GuardedServer(site.handle, ConnectionLimits())
        bound = socket.create_server(("127.0.0.1", 0))
        await server.listen(bound)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, site.something_was_written)
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        print(f"port={bound.getsockname()[1]}", flush=True)
        await ended.wait()
        await server.stop(0.1)

    asyncio.run(serve())


def _raw(path: Path) -> None:
    """The machine's limit: a head, and one sendfile after the other from a blocking socket."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    size = path.stat().st_size
    with path.open("rb") as file, socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"port={listening.getsockname()[1]}", flush=True)
        while True:
            client, _ = listening.accept()
            with client:
                client.recv(65_536)
                client.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                at = 0
                while at < size:
                    at += os.sendfile(client.fileno(), file.fileno(), at, size - at)


if __name__ == "__main__":
    parts: dict[str, Callable[..., None]] = {"serve": _serve, "raw": _raw, "take": _take}
    what, *rest = sys.argv[1:]
    if what == "take":
        _take(int(rest[0]), rest[1], float(rest[2]) if len(rest) > 2 else 0.0)
    else:
        parts[what](Path(rest[0]))
