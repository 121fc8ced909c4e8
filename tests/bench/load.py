"""Clients in a process of their own: every connection sends its next request when the answer is there.

``python -m tests.bench.load`` reads a pickled :class:`Job` and writes a pickled :class:`Driven`. It does
as little as it can for each request, so that the servers' cost is what differs.
"""

from __future__ import annotations

import itertools
import pickle
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.figures import percentile


@dataclass(frozen=True, slots=True)
class Job:
    """Send ``requests`` in turn from ``connections`` clients, each with one connection.

    Once each, or with ``seconds`` over and over until then. ``address`` is where clients come from.
    """

    port: int
    requests: Sequence[bytes]
    connections: int = 1
    seconds: float = 0.0
    address: str = "127.0.0.1"
    pause_s: float = 0.0
    """Between an answer and the next request of the same client."""
    fresh: bool = False
    """A new connection for each request, whose making counts."""


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


class _Client:
    """One client; it asks again when ``_run`` says so."""

    __slots__ = ("answer", "began", "job", "request", "sock", "watch")

    def __init__(self, job: Job, watch: selectors.BaseSelector) -> None:
        self.job = job
        self.watch = watch
        self.sock: socket.socket | None = None
        self.request = self.answer = b""
        self.began = 0.0

    def ask(self, request: bytes) -> None:
        """Send ``request``, over a new connection where there is none."""
        self.request, self.answer = request, b""
        self.began = time.perf_counter()
        if self.sock is not None:
            self._send()
            return
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.bind((self.job.address, 0))
        self.sock.connect_ex(("127.0.0.1", self.job.port))
        self.watch.register(self.sock, selectors.EVENT_WRITE, self)

    def ready(self, events: int) -> bool | None:
        """What its socket has: True for a whole answer, False for an end without one, None to go on."""
        assert self.sock is not None
        try:
            if events & selectors.EVENT_WRITE:
                self.watch.modify(self.sock, selectors.EVENT_READ, self)
                self._send()
                return None
            piece = self.sock.recv(262_144)
        except OSError:
            piece = b""
        if not piece:
            self.hang_up()
            return False
        self.answer = self.answer + piece if self.answer else piece
        if not whole(self.answer):
            return None
        if self.job.fresh:
            self.hang_up()
        return True

    def hang_up(self) -> None:
        """Close the connection."""
        if self.sock is not None:
            self.watch.unregister(self.sock)
            self.sock.close()
            self.sock = None

    def _send(self) -> None:
        assert self.sock is not None
        sent = self.sock.send(self.request)
        assert sent == len(self.request), "a request larger than the socket's buffer"


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
    statuses, latencies, failed, first = Counter[int](), list[float](), 0, b""
    watch = selectors.EpollSelector()
    turn = itertools.cycle(job.requests) if job.seconds else iter(job.requests)
    clients = job.connections if job.seconds else min(job.connections, len(job.requests))
    began = time.perf_counter()
    until = began + job.seconds if job.seconds else float("inf")
    waiting: deque[tuple[float, _Client]] = deque(
        (began + number * job.pause_s / clients, _Client(job, watch)) for number in range(clients)
    )
    asking = 0
    while True:
        now = time.perf_counter()
        while waiting and waiting[0][0] <= now:
            _, client = waiting.popleft()
            request = next(turn, None) if now < until else None
            if request is None:
                client.hang_up()
            else:
                client.ask(request)
                asking += 1
        if not waiting and not asking:
            break
        events = watch.select(max(0.0, waiting[0][0] - now) if waiting else 30)
        if not events and not waiting:
            failed += asking
            break
        for key, what in events:
            client = key.data
            done = client.ready(what)
            if done is None:
                continue
            asking -= 1
            now = time.perf_counter()
            if done:
                latencies.append(now - client.began)
                statuses[int(client.answer[9:12])] += 1
                first = first or client.answer
            else:
                failed += 1
            waiting.append((now + job.pause_s, client))
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
