"""Pages against a bare aiohttp handler that returns the same bytes with the same headers."""

from __future__ import annotations

import re
from pathlib import Path

from hub.api.schema import Decision
from tests.bench import bare
from tests.bench.figures import Figure, ratios
from tests.bench.load import Clients, Job, drive, get
from tests.bench.processes import Hub, Process
from tests.bench.street import Ground, copied

ROUNDS, SECONDS = 7, 1.5
HIDES = 10
DEVICE = "0123456789abcdef0123456789abcdef"


def run(ground: Ground) -> list[Figure]:
    """Board and notice page on one and fifty connections; hides under load; the size of a 304."""
    figures = []
    with Hub(copied(ground.street(10_000), "board")) as hub:
        path = re.search(rb'href="(/notices/[0-9a-z]{10}[^"]*)"', _plain(hub, "/"))
        assert path
        notice = path[1].decode()
        cookie = f"lang=en; device={DEVICE}"
        for what, url, goal, more in (
            ("board", "/", ">=0.85", {}),
            ("board, to a device that has posted", "/", ">=0.85", {"Cookie": cookie}),
            ("a notice's page", notice, ">=0.60", {}),
            ("a notice's page, to a device that has posted", notice, "", {"Cookie": cookie}),
        ):
            for connections in (1, 50):
                figures += _against_bare(ground.work, hub, what, url, connections, goal, more)
        figures.append(_every_page(hub))
        figures.append(_hides(hub))
        etag = re.search(rb'ETag: ("[^"]+")', _first(hub, "/"))
        assert etag
        again = _first(hub, "/", If_None_Match=etag[1].decode())
        assert again.startswith(b"HTTP/1.1 304"), again
        figures.append(Figure("board", "304 on the wire", len(again), "B", "<=200"))
    return figures


def _against_bare(
    work: Path, hub: Hub, what: str, url: str, connections: int, goal: str, more: dict[str, str]
) -> list[Figure]:
    answer = _first(hub, url, **more)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    bare.store(work / "answer", answer)
    with Process(["-m", "tests.bench.bare", str(work / "answer")], work / "bare.log") as ceiling:
        ceiling.ready()
        rates: dict[int, list[float]] = {hub.pid: [], ceiling.pid: []}
        costs: dict[int, list[float]] = {hub.pid: [], ceiling.pid: []}
        for number in range(-1, ROUNDS):
            for server in (hub, ceiling) if number % 2 else (ceiling, hub):
                before = server.cpu_s()
                done = drive(Job(server.port, [get(url, server.port, **more)], connections, SECONDS))
                assert set(done.statuses) == {200}
                assert not done.failed
                if number >= 0:  # the first one warms up
                    rates[server.pid].append(done.rate)
                    costs[server.pid].append((server.cpu_s() - before) / len(done.latencies) * 1e6)
    ours, theirs = max(rates[hub.pid]), max(rates[ceiling.pid])
    cpu, bare_cpu = (sorted(costs[pid])[ROUNDS // 2] for pid in (hub.pid, ceiling.pid))
    note = f"{ours:,.0f} of {theirs:,.0f} /s; CPU {cpu:.0f} of {bare_cpu:.0f} us"
    name = f"{what}, {connections} connection{'s' if connections > 1 else ''}: of bare aiohttp"
    return [Figure("board", name, ratios(rates[hub.pid], rates[ceiling.pid]), "", goal, note)]


def _every_page(hub: Hub) -> Figure:
    """Pages that were not asked for since the last write: made anew, each once."""
    listed = re.findall(r'"id":"([0-9a-z]{10,26})"', _plain(hub, "/notices.json").decode())
    paths = [f"/notices/{name}" for name in listed]
    before = hub.cpu_s()
    done = drive(Job(hub.port, [get(path, hub.port) for path in paths]))
    cost_ms = (hub.cpu_s() - before) / len(paths) * 1e3
    return Figure("board", "a notice's page made anew", cost_ms, "ms CPU", note=f"{done.rate:,.0f} /s")


def _hides(hub: Hub) -> Figure:
    """Hide and restore a notice while fifty connections read the board: pages after that are asked for."""
    stale = 0
    name = re.findall(rb'href="/notices/([0-9a-z]{10})', _plain(hub, "/"))[-1].decode()
    clients = Clients(Job(hub.port, [get("/", hub.port)], 50, HIDES * 0.8))
    for _ in range(HIDES):
        hub.desk.act(name, "hide", Decision(rule="1"))
        stale += name.encode() in _plain(hub, "/")
        hub.desk.act(name, "restore", Decision(rule="1"))
        stale += name.encode() not in _plain(hub, "/")
    done = clients.result()
    note = f"{2 * HIDES} hides and restores among {len(done.latencies):,} pages"
    return Figure("board", "pages that were not true on the request after a hide", stale, "", "<=0", note)


def _first(hub: Hub, url: str, **headers: str) -> bytes:
    return drive(Job(hub.port, [get(url, hub.port, **headers)])).first


def _plain(hub: Hub, url: str) -> bytes:
    """The page as text, by a request of its own."""
    return drive(Job(hub.port, [get(url, hub.port, Accept_Encoding="identity")])).first
