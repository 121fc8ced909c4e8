"""Clients in a process of their own: every connection sends its next request when the answer is there.

``python -m tests.bench.load`` reads a pickled :class:`Job` and writes a pickled :class:`Driven`. It does
as little as it can for each request, so that the servers' cost is what differs.
"""

from __future__ import annotations

import pickle
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.figures import percentile


@dataclass(frozen=True, slots=True)
class Job:
    """Send ``requests`` in turn over ``connections`` connections.

    Once each, or with ``seconds`` over and over until then. ``address`` is where clients come from.
    """

    port: int
    requests: Sequence[bytes]
    connections: int = 1
    seconds: float = 0.0
    address: str = "127.0.0.1"
    pause_s: float = 0.0
    """Between an answer and the next request of the same connection."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What came of it: times in seconds; ``first`` is the first answer in full."""

    seconds: float
    latencies: list[float]
    statuses: Counter[int] = field(default_factory=Counter)
    first: bytes = b""
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """Milliseconds within which ``share`` of the answers came."""
        return percentile(self.latencies, share) * 1000


class Clients:
    """A job at work in another process."""

    def __init__(self, job: Job) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdin
        self._process.stdin.write(pickle.dumps(job))
        self._process.stdin.close()
        self._process.stdin = None

    def result(self) -> Driven:
        """Wait for the end."""
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(errors.decode())
        driven: Driven = pickle.loads(output)  # noqa: S301 - our own process
        return driven


def drive(job: Job) -> Driven:
    """Run ``job`` in another process and wait for it."""
    return Clients(job).result()


class _Connection:
    __slots__ = ("answer", "began", "sock")

    def __init__(self, job: Job) -> None:
        self.sock = socket.create_connection(("127.0.0.1", job.port), 30, (job.address, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.answer = b""
        self.began = 0.0

    def ask(self, request: bytes) -> None:
        self.answer = b""
        self.began = time.perf_counter()
        sent = self.sock.send(request)
        assert sent == len(request), "a request larger than the socket's buffer"


def whole(answer: bytes) -> bool:
    """Whether ``answer`` is a complete response with a Content-Length, or one that has no body."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    if answer.startswith((b"HTTP/1.1 304", b"HTTP/1.1 204")):
        return True
    at = answer.find(b"Content-Length: ", 0, head)
    length = int(answer[at + 16 : answer.index(b"\r", at)])
    return len(answer) >= head + 4 + length


def _run(job: Job) -> Driven:
    asked, statuses, failed = 0, Counter[int](), 0
    latencies: list[float] = []
    first = b""
    watch = selectors.EpollSelector()
    count = len(job.requests)
    began = time.perf_counter()
    until = began + job.seconds if job.seconds else 0.0
    pending: list[tuple[float, _Connection]] = []
    live = 0
    for _ in range(min(job.connections, count) if not until else job.connections):
        connection = _Connection(job)
        watch.register(connection.sock, selectors.EVENT_READ, connection)
        connection.ask(job.requests[asked % count])
        asked += 1
        live += 1
    while live:
        now = time.perf_counter()
        while pending and pending[0][0] <= now:
            pending.pop(0)[1].ask(job.requests[asked % count])
            asked += 1
        wait = max(0.0, pending[0][0] - now) if pending else 30
        events = watch.select(wait)
        if not events and not pending:
            failed += live
            break
        for key, _ in events:
            connection = key.data
            piece = connection.sock.recv(262_144)
            connection.answer = connection.answer + piece if connection.answer else piece
            if not piece:
                failed += 1
                watch.unregister(connection.sock)
                live -= 1
                continue
            if not whole(connection.answer):
                continue
            now = time.perf_counter()
            latencies.append(now - connection.began)
            statuses[int(connection.answer[9:12])] += 1
            first = first or connection.answer
            if (until and now >= until) or (not until and asked >= count):
                watch.unregister(connection.sock)
                connection.sock.close()
                live -= 1
            elif job.pause_s:
                pending.append((now + job.pause_s, connection))
            else:
                connection.ask(job.requests[asked % count])
                asked += 1
    return Driven(time.perf_counter() - began, latencies, statuses, first, failed)


def get(path: str, port: int, **headers: str) -> bytes:
    """A browser's request for ``path``; headers by their names with underscores."""
    fields = {"Host": f"127.0.0.1:{port}", "Accept-Encoding": "gzip, deflate", "Accept-Language": "en-GB"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


if __name__ == "__main__":
    from tests.bench.load import _run as run  # the classes must be those of the module, not of __main__

    sys.stdout.buffer.write(pickle.dumps(run(pickle.load(sys.stdin.buffer))))  # noqa: S301
