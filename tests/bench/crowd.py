"""Two thousand connections that send half a request and stop, from many addresses."""

from __future__ import annotations

import resource
import select
import socket
import time

from tests.bench.figures import Figure
from tests.bench.load import Clients, Job, get
from tests.bench.processes import Hub
from tests.bench.street import Ground, copied

CONNECTIONS, ADDRESSES = 2000, 100
_DEFAULTS = "[discovery]\nannounce = false\n"
READERS, SECONDS = 20, 35
_HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Langu"


def run(ground: Ground) -> list[Figure]:
    """Pages meanwhile, and how long the last of them stays open; the hub has its default limits."""
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (8192, max(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    )
    with Hub(copied(ground.street(10_000), "crowd"), _DEFAULTS) as hub:
        requests = [get(path, hub.port) for path in ("/", "/about", "/?kind=give")]
        readers = Clients(Job(hub.port, requests, READERS, SECONDS, "127.0.200.1", pause_s=0.1, fresh=True))
        time.sleep(1)
        began = time.monotonic()
        idle = [_half(hub.port, f"127.0.{1 + number % ADDRESSES}.1") for number in range(CONNECTIONS)]
        opened_s = time.monotonic() - began
        closed_s = _until_closed(idle)
        done = readers.result()
        peak = hub.peak_mb()
    statuses = ", ".join(f"{count:,} x {status}" for status, count in sorted(done.statuses.items()))
    note = f"p50 {done.percentile_ms(0.5):.1f} ms; {statuses}; {READERS} readers, a connection a page"
    return [
        Figure("crowd", "page p99 meanwhile", done.percentile_ms(0.99), "ms", "<=250", note),
        Figure("crowd", "pages that failed meanwhile",
               done.failed + sum(count for status, count in done.statuses.items() if status != 200), "", "<=0"),
        Figure("crowd", "until all of them were closed", closed_s, "s", "<=30",
               f"{CONNECTIONS:,} from {ADDRESSES} addresses, opened in {opened_s:.1f} s"),
        Figure("crowd", "most memory resident", peak, "MB"),
    ]  # fmt: skip


def _half(port: int, address: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 30, (address, 0))
    sock.sendall(_HALF)
    sock.setblocking(False)
    return sock


def _until_closed(connections: list[socket.socket]) -> float:
    """Seconds from now until the hub has closed each of them."""
    began = time.monotonic()
    watch = select.epoll()
    open_ones = {sock.fileno(): sock for sock in connections}
    for number in open_ones:
        watch.register(number, select.EPOLLIN)
    while open_ones and time.monotonic() - began < 60:
        for number, _ in watch.poll(1):
            sock = open_ones[number]
            try:
                ended = sock.recv(4096) == b""
            except ConnectionError:
                ended = True
            if ended:
                watch.unregister(number)
                open_ones.pop(number).close()
    return time.monotonic() - began
