"""Uploads against an nginx PUT and against fsync, the memory they take, and the board meanwhile.

Needs nginx with its dav module for the first, and some 15 GB of disk.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import Figure, percentile, ratios
from tests.bench.load import Driven, Job, drive, get
from tests.bench.nginx import Nginx
from tests.bench.processes import RAISED, Hub
from tests.bench.street import Ground, copied

ROUNDS = 5
GIB = 1024**3
FILES, FILE_BYTES = 500, 10_000
BOARD_ROUNDS, READERS, PAUSE_S, SECONDS = 5, 10, 0.05, 5
_BLOCK = 64 * 1024**2
_BOUNDARY = "----geckoformboundaryd1f0c6a5e3b94728"
_SETTINGS = f"""{RAISED}\
[files]
largest_megabytes = 1000000
device_megabytes = 1000000
device_files = 1000000
"""


def run(ground: Ground) -> list[Figure]:
    """One large file and many small ones, and what else is asked of the hub meanwhile."""
    source = ground.work / "block"
    if not source.exists():
        source.write_bytes(random.Random(5).randbytes(_BLOCK))
    with Hub(copied(ground.street(1000), "uploads"), _SETTINGS) as hub:
        box = _box(hub)
        figures = _against_nginx(ground.work, hub, box, source)
        figures += _small(ground.work, hub, box)
    with Hub(copied(ground.street(1000), "uploads"), _SETTINGS) as hub:
        figures.append(_memory(hub, _box(hub), source))
    with Hub(copied(ground.street(10_000), "uploads"), _SETTINGS) as hub:
        figures += _board(hub, _box(hub), source)
    shutil.rmtree(ground.work / "uploads")
    return figures


# --- one large file ---------------------------------------------------------------------------------------


def _against_nginx(work: Path, hub: Hub, box: str, source: Path) -> list[Figure]:
    folder = work / "put"
    folder.mkdir(exist_ok=True)
    seconds: dict[str, list[float]] = {"hub": [], "nginx": []}
    cpu: dict[str, list[float]] = {"hub": [], "nginx": []}
    with Nginx(folder) as nginx:
        for number in range(-1, ROUNDS):
            for name in ("hub", "nginx") if number % 2 else ("nginx", "hub"):
                server = hub if name == "hub" else nginx
                os.sync()
                used, began = server.cpu_s(), time.perf_counter()
                if name == "hub":
                    _send_form(hub.port, box, source, GIB)
                else:
                    _put(nginx.port, folder, source, GIB)
                took, used = time.perf_counter() - began, server.cpu_s() - used
                if number >= 0:  # the first one warms up
                    seconds[name].append(took)
                    cpu[name].append(used)
    shutil.rmtree(folder)
    ours, theirs = percentile(seconds["hub"], 0.5), percentile(seconds["nginx"], 0.5)
    note = f"{GIB / ours / 1e6:,.0f} of {GIB / theirs / 1e6:,.0f} MB/s"
    spent = f"{percentile(cpu['hub'], 0.5):.2f} of {percentile(cpu['nginx'], 0.5):.2f} s"
    speed = ratios(seconds["nginx"], seconds["hub"])
    return [
        Figure("uploads", "1 GiB by the form until it is on disk: of an nginx PUT", speed, "", ">=0.8", note),
        Figure("uploads", "CPU for it: of nginx's", ratios(cpu["hub"], cpu["nginx"]), "", "<=1.9", spent),
    ]


def _put(port: int, folder: Path, source: Path, size: int) -> None:
    """Send a file to nginx and wait until it is on the disk; the next one takes its place."""
    head = f"PUT /file HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {size}\r\n\r\n"
    answer = _answer(port, [head.encode(), (source, size)])
    assert answer.startswith((b"HTTP/1.1 201", b"HTTP/1.1 204")), answer
    for each in (folder / "file", folder):
        descriptor = os.open(each, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _memory(hub: Hub, box: str, source: Path) -> Figure:
    """The most that is resident during an upload, over what was resident before."""
    _send_form(hub.port, box, source, 1024**2)
    before, peak, done = _rss(hub.pid), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, _rss(hub.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        _send_form(hub.port, box, source, 4 * GIB)
    finally:
        done.set()
        watcher.join()
    note = f"{before / 1e6:.0f} MB before; {time.perf_counter() - began:.0f} s"
    return Figure("uploads", "memory growth during 4 GiB", (peak - before) / 1024**2, "MiB", "<=32", note)


def _rss(pid: int) -> int:
    """Bytes resident (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# --- many small files -------------------------------------------------------------------------------------


def _small(work: Path, hub: Hub, box: str) -> list[Figure]:
    """Against files that are written, fsynced, linked to their names and have their folder fsynced."""
    chance = random.Random(11)
    one_by_one, together, ceiling = list[float](), list[float](), list[float]()
    for _ in range(3):
        contents = [chance.randbytes(FILE_BYTES) for _ in range(FILES)]
        began = time.perf_counter()
        _plainly(work / "plain", contents)
        ceiling.append(FILES / (time.perf_counter() - began))
        forms = [_form(hub.port, box, [chance.randbytes(FILE_BYTES)]) for _ in range(FILES)]
        done = drive(Job(hub.port, forms))
        assert set(done.statuses) == {303}, (done.statuses, done.first)
        one_by_one.append(done.rate)
        began = time.perf_counter()
        for _ in range(FILES // 100):
            form = _form(hub.port, box, [chance.randbytes(FILE_BYTES) for _ in range(100)])
            _require(_answer(hub.port, [form]), b"303")
        together.append(FILES / (time.perf_counter() - began))
    figures = []
    for what, rates in (("a form each", one_by_one), ("a hundred to a form", together)):
        note = f"{percentile(rates, 0.5):,.0f} of {percentile(ceiling, 0.5):,.0f} /s"
        name = f"{FILES} files of 10 kB, {what}: of fsync's ceiling"
        figures.append(Figure("uploads", name, ratios(rates, ceiling), "", "", note))
    return figures


def _plainly(folder: Path, contents: list[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    entries = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for number, content in enumerate(contents):
        staged = folder / f"{number}.part"
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        (folder / str(number)).hardlink_to(staged)
        os.fsync(entries)
        staged.unlink()
    os.close(entries)


# --- the board meanwhile ----------------------------------------------------------------------------------


def _board(hub: Hub, box: str, source: Path) -> list[Figure]:
    """Pages of readers who look around, idle and while large files go up and down all the time."""
    _send_form(hub.port, box, source, GIB)
    job = Job(hub.port, [get("/", hub.port)], READERS, SECONDS, pause_s=PAUSE_S)
    drive(job)
    idle, busy = list[Driven](), list[Driven]()
    up, down, took = 0, 0, 0.0
    for _ in range(BOARD_ROUNDS):
        os.sync()
        idle.append(drive(job))
        with _movers(hub.port, box, source) as moved:
            time.sleep(0.5)
            before = dict(moved)
            busy.append(drive(job))
            up, down = up + moved["up"] - before["up"], down + moved["down"] - before["down"]
            took += busy[-1].seconds
    assert not any(done.failed for done in idle + busy)
    quiet_ms, busy_ms = ([done.percentile_ms(0.95) for done in each] for each in (idle, busy))
    note = (
        f"{percentile(busy_ms, 0.5):.1f} of {percentile(quiet_ms, 0.5):.1f} ms; "
        f"meanwhile {up / took / 1e6:,.0f} MB/s up, {down / took / 1e6:,.0f} MB/s down"
    )
    name = "board's p95 while 1 GiB goes up and a ZIP comes down: of idle"
    return [Figure("uploads", name, ratios(busy_ms, quiet_ms), "", "<=3", note)]


@contextmanager
def _movers(port: int, box: str, source: Path) -> Iterator[dict[str, int]]:
    """One who sends large files and one who reads the ZIP, and how many bytes they moved so far."""
    moved, done = {"up": 0, "down": 0}, threading.Event()
    troubles: list[BaseException] = []

    def again_and_again(move: Callable[[], None]) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # phones bring processors of their own
        try:
            while not done.is_set():
                move()
        except BaseException as trouble:
            troubles.append(trouble)

    def up() -> None:
        _send_form(port, box, source, GIB, moved)

    def down() -> None:
        _read_archive(port, box, done, moved)

    threads = [threading.Thread(target=again_and_again, args=(move,)) for move in (up, down)]
    for thread in threads:
        thread.start()
    try:
        yield moved
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if troubles:
        raise troubles[0]


def _read_archive(port: int, box: str, done: threading.Event, moved: dict[str, int]) -> None:
    """Read a collection's ZIP until its end or until ``done``."""
    room = bytearray(1024**2)
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(get(f"{box}/all.zip", port))
        first = sock.recv(4096)
        _require(first, b"200")
        length = re.search(rb"\r\nContent-Length: (\d+)\r\n", first)
        assert length, first
        count = len(first) - first.index(b"\r\n\r\n") - 4
        while count < int(length[1]) and not done.is_set():
            came = sock.recv_into(room)
            assert came, "the archive broke off"
            count += came
            moved["down"] += came


# --- clients ----------------------------------------------------------------------------------------------


def _box(hub: Hub) -> str:
    """The address of the collection that anybody may add to."""
    page = drive(Job(hub.port, [get("/files", hub.port, Accept_Encoding="identity")])).first
    found = re.search(rb'href="(/collections/[0-9a-z]+)', page)
    assert found, page
    return found[1].decode()


def _form(port: int, box: str, contents: list[bytes], size: int | None = None) -> bytes:
    """A browser's form with these files, in full; with ``size``, up to the end of its one file's ``contents``.

    The file then has ``size`` bytes in all, and `_TAIL` has to follow it.
    """
    fields = {"description": "", "name": "", "lang": "en", "key": secrets.token_hex(12), "website": ""}
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for content in contents:
        parts.append(
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{secrets.token_hex(4)}.bin"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode()
        )
        parts += [content, b"\r\n"]
    if size is None:
        parts.append(f"--{_BOUNDARY}--\r\n".encode())
    else:
        parts.pop()
    body = b"".join(parts)
    length = len(body) if size is None else len(body) - len(contents[0]) + size + len(_TAIL)
    head = (
        f"POST {box}/add HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        f"Accept-Encoding: gzip, deflate\r\nAccept-Language: en-GB\r\nSec-Fetch-Site: same-origin\r\n"
        f"Cookie: device=0123456789abcdef0123456789abcdef\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
    )
    return head.encode("ascii") + body


_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()


def _send_form(port: int, box: str, source: Path, size: int, moved: dict[str, int] | None = None) -> None:
    """Add one file of ``size`` bytes that no hub has seen before."""
    unique = secrets.token_bytes(32)
    form = _form(port, box, [unique], size)
    _require(_answer(port, [form, (source, size - len(unique)), _TAIL], moved), b"303")


def _answer(port: int, pieces: list[bytes | tuple[Path, int]], moved: dict[str, int] | None = None) -> bytes:
    """The start of the answer to a request made of ``pieces``: bytes, or so many from a file over and over."""
    at_once = _BLOCK if moved is None else _BLOCK // 16
    with socket.create_connection(("127.0.0.1", port), 600) as sock:
        for piece in pieces:
            if isinstance(piece, bytes):
                sock.sendall(piece)
                continue
            path, left = piece
            with path.open("rb") as file:
                while left:
                    sent = sock.sendfile(file, 0, min(left, at_once))
                    left -= sent
                    if moved is not None:
                        moved["up"] += sent
        return sock.recv(65_536)


def _require(answer: bytes, status: bytes) -> None:
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:2000]
