"""What starting costs, and what a hub holds in memory, alone and with two hundred clients."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.load import Clients, Job, get
from tests.bench.processes import RAISED, Hub
from tests.bench.street import Ground, copied

ROUNDS = 7
_IMPORTS = "aiohttp.web, aiosqlite, zeroconf.asyncio, cryptography.hazmat.primitives.asymmetric.ed25519"
_LIMIT = 512 * 1024 * 1024
_DEFAULTS = "[discovery]\nannounce = false\n"
CLIENTS, SECONDS = 200, 10


def run(ground: Ground) -> list[Figure]:
    """CPU from exec to the first page, of a new hub and of one with 10,000 notices; megabytes."""
    imports: list[float] = []
    first: list[float] = []
    again: list[float] = []
    walls: list[float] = []
    data = copied(ground.street(10_000), "start")
    for number in range(-1, ROUNDS):  # the first one writes the compiled modules
        new = ground.work / "new"
        shutil.rmtree(new, ignore_errors=True)
        costs = (_imports_s(), _to_first_page(new), _to_first_page(data))
        if number >= 0:
            imports.append(costs[0])
            first.append(costs[1][0])
            again.append(costs[2][0])
            walls.append(costs[2][1])
    bare = statistics.median(imports)
    figures = [
        Figure("start", f"CPU to the first page, {what}: of importing its libraries",
               statistics.median(ours / theirs for ours, theirs in zip(costs, imports, strict=True)), "", "<=2",
               f"{statistics.median(costs) * 1e3:.0f} of {bare * 1e3:.0f} ms")
        for what, costs in (("10,000 notices", again), ("a new hub", first))
    ]  # fmt: skip
    figures.append(
        Figure("start", "seconds to the first page, 10,000 notices", statistics.median(walls), "s")
    )
    figures += _memory(data)
    figures += _crowded(ground, data)
    return figures


def _imports_s() -> float:
    """CPU seconds of a Python that imports what a hub is built on, without its ending."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"import {_IMPORTS}; import time; print(time.process_time())"
    return float(
        subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True).stdout
    )


def _to_first_page(data: Path) -> tuple[float, float]:
    """CPU seconds and seconds from exec to the first 200."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hub = Hub(data, _DEFAULTS, arguments={"--port": str(port)})
    try:
        deadline = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                cpu_s, passed_s = hub.cpu_s(), time.perf_counter() - hub.began
                assert response.status == 200
                return cpu_s, passed_s
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, hub.log.read_text()
                time.sleep(0.005)
            finally:
                connection.close()
    finally:
        hub.stop()


def _memory(data: Path) -> list[Figure]:
    with Hub(data, _DEFAULTS) as hub:
        time.sleep(3)
        held = hub.memory()
    note = f"PSS {held.pss:.1f} MB: what it would add to a machine where others share its libraries"
    return [Figure("start", "memory idle, resident", held.rss, "MB", "<=80", note)]


def _crowded(ground: Ground, data: Path) -> list[Figure]:
    """Two hundred clients that read a page each second or so, in 512 MB."""
    with _limited() as group, Hub(copied(data, "crowded"), RAISED, cgroup=group) as hub:
        paths = ["/", "/notices", "/search?q=bike", "/?kind=give", "/about", "/notices/new"]
        requests = [get(path, hub.port) for path in paths]
        done = Clients(Job(hub.port, requests, CLIENTS, SECONDS, pause_s=0.5)).result()
        peak = hub.peak_mb()
        in_group = _peak_mb(group)
    where = (
        f"in a group limited to 512 MB: {in_group:.0f} MB with its page cache"
        if group
        else "no group: not root"
    )
    what = f"{CLIENTS} clients"
    assert set(done.statuses) == {200}
    assert not done.failed
    note = f"p50 {done.percentile_ms(0.5):.1f} ms, {done.rate:.0f} pages/s"
    return [
        Figure("start", f"{what}: most memory resident", peak, "MB", "<=512", where),
        Figure("start", f"{what}: page p99", done.percentile_ms(0.99), "ms", "<=250", note),
    ]


@contextmanager
def _limited() -> Iterator[Path | None]:
    """A control group of 512 MB, or None where we may not make one."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    base, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
    group = base / f"hub-bench-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(_LIMIT))
    except OSError:
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def _peak_mb(group: Path | None) -> float:
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        if group and (group / name).exists():
            return int((group / name).read_text()) / 1e6
    return 0.0
