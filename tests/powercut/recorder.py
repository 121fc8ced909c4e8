"""Records what a program does to one folder, through strace, as the events of :mod:`tests.powercut.disk`.

What is not followed is refused (:class:`NotFollowed`) and never guessed: shared writable mappings of a
file that is not scratch, copies made inside the kernel, io_uring, unnamed temporary files, symbolic
links. As a last check the tree that the events lead to is compared, byte for byte, with the folder as
each program left it. That also tells how far a call came that the program was killed in.
sync_file_range promises nothing about durability, so it is not an event.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

from tests import needs
from tests.powercut.disk import (
    NEVER,
    ROOT,
    Acknowledged,
    Disk,
    Entry,
    Event,
    Kind,
    Node,
    Resize,
    Sync,
    Write,
)

CALLS = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,"
    "fsync,fdatasync,sync,syncfs,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,"
    "symlink,symlinkat,mknod,mknodat,bind,chmod,fchmod,fchmodat,lseek,dup,dup2,dup3,mmap,"
    "copy_file_range,sendfile,splice,io_uring_setup,sendto,sendmsg,sendmmsg,chdir,fchdir,clone,clone3,fork,vfork"
)
SCRATCH = ("*-shm", "ballast")
"""SQLite's shared memory: mapped, never synced, rebuilt by whoever opens the database first. And the
ballast, which holds nothing."""

Acknowledgements = Callable[[bytes], Iterable[str]]
"""Finds what is acknowledged in the bytes of one write to a pipe, a socket or a file outside the folder."""


def ack_lines(sent: bytes) -> Iterable[str]:
    """The rest of every line that starts with ``ACK ``."""
    return (line[4:].decode() for line in sent.splitlines() if line.startswith(b"ACK "))


def ack_pattern(pattern: bytes) -> Acknowledgements:
    """The one group of every match, such as the address in an answer; a dot matches line ends too."""
    found = re.compile(pattern, re.DOTALL)
    return lambda sent: (match.decode() for match in found.findall(sent))


class NotFollowed(Exception):
    """The recording would not be faithful, so nothing can be proved with it."""


def needs_strace() -> None:
    """Skip the test where strace cannot trace; fail it in CI, where the proof must not go missing quietly."""
    needs.program("strace", "strace")
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        needs.cannot_run(f"strace may not trace here: {tried.stderr.strip()}")


@dataclass(frozen=True)
class Recording:
    """All that happened below one folder, ready to be cut anywhere."""

    nodes: Mapping[int, Node]
    entries: Mapping[int, Mapping[str, int]]
    events: Sequence[Event]

    def disk(self) -> Disk:
        return Disk(self.nodes, self.entries, self.events)

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


class Traced:
    """A program that runs under strace."""

    def __init__(self, tracer: subprocess.Popen[bytes], pid: int) -> None:
        self.tracer = tracer
        self.pid = pid

    @property
    def stdout(self) -> Iterator[bytes]:
        assert self.tracer.stdout is not None
        return iter(self.tracer.stdout)

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float = 60) -> int:
        """The program's exit status; negative for a signal."""
        return self.tracer.wait(timeout)


class Recorder:
    """Runs programs one after the other on ``folder`` and keeps in ``notes`` what they did."""

    def __init__(self, folder: Path, notes: Path) -> None:
        """``folder`` exists and holds what is safely on the disk before the run (sockets left over
        are removed from it); ``notes`` does not exist."""
        self.folder = folder.resolve()
        self.notes = notes
        self._programs = 0
        notes.mkdir()
        for left_over in [path for path in self.folder.rglob("*") if path.is_socket()]:
            left_over.unlink()
        shutil.copytree(self.folder, notes / "before", symlinks=True)
        (notes / "folder").write_text(str(self.folder))

    @contextmanager
    def program(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        at_the_end: int = signal.SIGTERM,
    ) -> Iterator[Traced]:
        """Start ``command``, its output readable from ``stdout``; at the end of the block send it
        ``at_the_end`` if it still runs, and wait. A kill -9 keeps the page cache, so the next program
        goes on where this one stopped."""
        trace = self.notes / f"trace.{self._programs}"
        started = self.notes / f"started.{self._programs}"
        self._programs += 1
        tracing = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "1000000000"]
        tracing += ["-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
        # The shell tells its own process number before it becomes the program, so that signals can reach it.
        waiting = ["sh", "-c", 'echo $$ > "$0.new"; mv "$0.new" "$0"; exec "$@"', str(started)]
        tracer = subprocess.Popen(
            [*tracing, "--", *waiting, *command],
            env=env,
            cwd=self.notes,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 10
            while not started.exists():
                if tracer.poll() is not None or time.monotonic() > deadline:
                    raise NotFollowed(f"strace did not start {command[0]}.")
                time.sleep(0.005)
            traced = Traced(tracer, int(started.read_text()))
            try:
                yield traced
            finally:
                if tracer.poll() is None:
                    traced.send_signal(at_the_end)
                    _drain(tracer)
        finally:
            if tracer.poll() is None:
                tracer.kill()
            if tracer.stdout:
                tracer.stdout.close()
            tracer.wait()
        shutil.copytree(self.folder, trace.with_name(f"{trace.name}.after"), symlinks=True, ignore=_sockets)

    def finish(
        self, acknowledgements: Acknowledgements = ack_lines, scratch: Sequence[str] = SCRATCH
    ) -> Recording:
        """What was recorded; NotFollowed if it does not explain every byte the folder now holds."""
        return load(self.notes, acknowledgements, scratch)


def load(
    notes: Path, acknowledgements: Acknowledgements = ack_lines, scratch: Sequence[str] = SCRATCH
) -> Recording:
    """The recording kept in ``notes``; the folder itself may be gone."""
    reader = _Reader(Path((notes / "folder").read_text()), notes, acknowledgements, scratch)
    recording = Recording(reader.nodes, reader.before, reader.events)
    for number in range(len(list(notes.glob("trace.*.after")))):
        after = notes / f"trace.{number}.after"
        reader.read(notes / f"trace.{number}", after)
        _compare(recording, after)
    return recording


def _drain(tracer: subprocess.Popen[bytes]) -> None:
    """Wait for the end, reading what is still said: a full pipe would hold the program up for ever."""
    try:
        tracer.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        raise NotFollowed("The program did not stop within 30 s of being asked to.") from None


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]


def _compare(recording: Recording, folder: Path) -> None:
    disk = recording.disk()
    disk.advance(NEVER)
    expected = {path: node for path, node in disk.as_the_program_saw_it().items() if node[0] != "socket"}
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    wrong = sorted(found ^ set(expected))
    for path in found & set(expected):
        kind, _, content = expected[path]
        if kind == "file" and (folder / path).read_bytes() != content:
            wrong.append(path)
    if wrong:
        raise NotFollowed(f"The trace does not explain what is in {', '.join(wrong[:5])}.")


@dataclass(slots=True)
class _Call:
    process: int
    name: str
    arguments: str
    begin: int
    end: int = NEVER
    result: str = "?"

    @property
    def value(self) -> int | None:
        """What it returned; None if the process was killed inside it."""
        number = re.match(r"-?\d+", self.result)
        if number:
            return int(number[0])
        return -1 if "ERESTART" in self.result else None

    @property
    def failed(self) -> bool:
        return self.value is not None and self.value < 0


@dataclass(slots=True)
class _Open:
    """An open file description: what dup and fork share."""

    node: int
    appends: bool
    syncs: bool
    position: int = 0


@dataclass(slots=True)
class _Process:
    folder: str
    files: dict[int, _Open] = field(default_factory=dict)


_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")
_DESCRIPTOR = re.compile(r"(AT_FDCWD|\d+)<([^>]*)>")
_STRING = re.compile(r'"([^"]*)"(\.\.\.)?')
_TOKEN = re.compile(r'"[^"]*"|[\[\]{},]')
_VECTOR = re.compile(r'iov_base="([^"]*)"(\.\.\.)?')


def _calls(trace: Path, first_line: int) -> list[_Call]:
    calls: list[_Call] = []
    unfinished: dict[int, _Call] = {}
    with trace.open(encoding="ascii") as lines:
        for line_number, raw in enumerate(lines, first_line):
            number, _, text = raw.rstrip("\n").partition(" ")
            text = text.lstrip()
            process = int(number)
            if text.startswith(("+++", "---")):
                continue
            resumed = _RESUMED.match(text)
            if resumed:
                call = unfinished.pop(process)
                call.arguments += _finish(call, text[resumed.end() :], line_number)
            elif text.endswith(_UNFINISHED):
                name, _, arguments = text.removesuffix(_UNFINISHED).partition("(")
                call = unfinished[process] = _Call(process, name, arguments, line_number)
                calls.append(call)
            else:
                name, _, rest = text.partition("(")
                call = _Call(process, name, "", line_number)
                call.arguments = _finish(call, rest, line_number)
                calls.append(call)
    return calls


def _finish(call: _Call, text: str, line: int) -> str:
    """Note the end of ``call``; return its (remaining) arguments."""
    arguments, _, result = text.rpartition("= ")
    arguments = arguments.rstrip()
    if arguments.endswith(_UNFINISHED + ")"):
        return arguments.removesuffix(_UNFINISHED + ")")
    call.result = result
    if call.value is not None:
        call.end = line
    return arguments.removesuffix(")")


class _Reader:
    """Turns traces into events, following every process's descriptors and the folder's names."""

    def __init__(
        self, folder: Path, notes: Path, acknowledgements: Acknowledgements, scratch: Sequence[str]
    ) -> None:
        self.folder = str(folder)
        self.notes = str(notes.resolve())
        self.acknowledgements = acknowledgements
        self.scratch = scratch
        self.nodes: dict[int, Node] = {ROOT: Node("folder", 0o755)}
        self.before: dict[int, dict[str, int]] = {ROOT: {}}
        self.events: list[Event] = []
        self._line = 0
        # A file's mode is not part of the proof; it is kept so that a private key stays one.
        self._mask = _umask()
        self._take_in(notes / "before", ROOT)
        self._names = {number: dict(names) for number, names in self.before.items()}
        self._sizes = {number: len(node.content) for number, node in self.nodes.items()}

    def _take_in(self, folder: Path, number: int) -> None:
        for path in sorted(folder.iterdir()):
            permissions = stat.S_IMODE(path.stat().st_mode)
            if path.is_dir():
                child = self._new("folder", permissions)
                self.before[child] = {}
                self._take_in(path, child)
            elif self._is_scratch(path.name):
                child = self._new("scratch", permissions)
            else:
                child = self._new("file", permissions)
                self.nodes[child].content = bytearray(path.read_bytes())
            self.before[number][path.name] = child

    def _new(self, kind: Kind, permissions: int) -> int:
        number = len(self.nodes)
        self.nodes[number] = Node(kind, permissions)
        return number

    def _is_scratch(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.scratch)

    def read(self, trace: Path, after: Path) -> None:
        """Take in one program's ``trace``; ``after`` is a copy of the folder as it was left."""
        self._after = after
        self._opening: list[tuple[int, _Process, int, _Open]] = []
        calls = _calls(trace, self._line)
        self._line = (
            max((max(call.begin, call.end if call.end != NEVER else 0) for call in calls), default=self._line)
            + 1
        )
        self._processes: dict[int, _Process] = {}
        # The names first, because the rest looks for its files in the copy.
        killed = sorted((call for call in calls if call.value is None), key=_writes)
        for call in [*(call for call in calls if call.value is not None), *killed]:
            process = self._processes.setdefault(call.process, _Process(self.notes))
            self._take_up_descriptors(call.begin)
            step = _STEPS.get(call.name)
            if call.value is None and step is not _Reader._sync:
                call.end = self._line - 1
            if step and not call.failed:
                step(self, call, process)

    def _take_up_descriptors(self, line: int) -> None:
        """Give out the descriptors of calls that ended before ``line``: until then another thread may
        have had, and closed, the same number."""
        for end, process, number, opened in sorted(self._opening, key=lambda opening: opening[0]):
            if end < line:
                process.files[number] = opened
        self._opening = [opening for opening in self._opening if opening[0] >= line]

    # Finding out what a call is about

    def _refuse(self, call: _Call, why: str) -> NoReturn:
        raise NotFollowed(f"{call.name} in line {call.begin} of the trace: {why}")

    def _inside(self, path: str) -> bool:
        return path == self.folder or path.startswith(self.folder + "/")

    def _descriptor(self, call: _Call, position: int = 0) -> tuple[int, str]:
        """Number and path of the descriptor that is argument ``position``; no path if it is not a file."""
        text = _split(call.arguments)[position]
        found = _DESCRIPTOR.match(text)
        if found is None:
            return (int(text) if text.isdigit() else -1), ""
        return int(found[1]) if found[1].isdigit() else -1, _unhex(found[2]).decode(
            "utf-8", "surrogateescape"
        )

    def _opened(self, call: _Call, process: _Process, position: int = 0) -> _Open | None:
        """What is open in the folder under that descriptor, or None if it lies elsewhere."""
        number, path = self._descriptor(call, position)
        if not self._inside(path.removesuffix(" (deleted)")):
            process.files.pop(number, None)
            return None
        named, found = self._node(path), process.files.get(number)
        if found is None or named not in (None, found.node):
            # A duplicate made with fcntl, which is not traced: SQLite's locks would come with it.
            found = next((other for other in process.files.values() if other.node == named), None)
            if found is None:
                self._refuse(call, f"descriptor {number} of {path} was opened out of sight.")
            process.files[number] = found
        return found

    def _path(self, call: _Call, process: _Process, position: int, *, at: bool) -> str:
        """The absolute path that argument ``position`` names, after its folder descriptor if ``at``."""
        arguments = _split(call.arguments)
        text = _STRING.match(arguments[position])
        if text is None:
            self._refuse(call, "it has no readable path.")
        base = process.folder
        if at and (found := _DESCRIPTOR.match(arguments[position - 1])):
            base = _unhex(found[2]).decode("utf-8", "surrogateescape")
        return os.path.normpath(os.path.join(base, _unhex(text[1]).decode("utf-8", "surrogateescape")))  # noqa: PTH118

    def _place(self, path: str) -> tuple[int, str] | None:
        """Folder and name of a path in the folder, or None if it lies elsewhere or its folder is unknown."""
        if not path.startswith(self.folder + "/"):
            return None
        *above, name = path[len(self.folder) + 1 :].split("/")
        number = ROOT
        for part in above:
            child = self._names[number].get(part)
            if child is None or child not in self._names:
                return None
            number = child
        return number, name

    def _node(self, path: str) -> int | None:
        if path == self.folder:
            return ROOT
        place = self._place(path)
        return self._names[place[0]].get(place[1]) if place else None

    def _change(
        self,
        call: _Call,
        node: int,
        taken: tuple[int, str] | None,
        put: tuple[int, str] | None,
        *,
        born: bool = False,
    ) -> None:
        if call.value is None and not (
            (taken is None or not self._left(taken).exists()) and (put is None or self._left(put).exists())
        ):
            return
        self.events.append(Entry(call.begin, call.end, node, taken, put, born))
        if taken:
            self._names[taken[0]].pop(taken[1], None)
        if put:
            self._names[put[0]][put[1]] = node

    # How far a call came in which the program was killed

    def _left(self, place: tuple[int, str]) -> Path:
        """Where ``place`` lies in the copy of the folder as the program left it."""
        folder, name = place
        if folder == ROOT:
            return self._after / name
        above = next(
            (parent, step)
            for parent, names in self._names.items()
            for step, node in names.items()
            if node == folder
        )
        return self._left(above) / name

    def _left_file(self, node: int) -> Path | None:
        """The copy of the file as the program left it; None if it had no name any more."""
        places = (
            (folder, name)
            for folder, names in self._names.items()
            for name, child in names.items()
            if child == node
        )
        left = (self._left(place) for place in places)
        return next((path for path in left if path.is_file()), None)

    def _arrived(self, node: int, offset: int, data: bytes) -> bytes:
        """As many of the first bytes of a write as are in the file: a kill can stop it between two pages."""
        left = self._left_file(node)
        if left is None:
            return b""
        there = left.read_bytes()[offset : offset + len(data)]
        same = next(
            (at for at, pair in enumerate(zip(data, there, strict=False)) if pair[0] != pair[1]), len(there)
        )
        return data[:same]

    def _create(self, call: _Call, place: tuple[int, str], kind: Kind, permissions: int) -> int:
        if kind == "file" and self._is_scratch(place[1]):
            kind = "scratch"
        node = self._new(kind, permissions & ~self._mask)
        self._sizes[node] = 0
        if kind == "folder":
            self._names[node] = {}
        self._change(call, node, None, place, born=True)
        return node

    # Files

    def _open(self, call: _Call, process: _Process) -> None:
        at = call.name in ("openat", "openat2")
        path = self._path(call, process, 1 if at else 0, at=at)
        number = call.value
        if not self._inside(path):
            return
        flags = "O_CREAT|O_WRONLY|O_TRUNC" if call.name == "creat" else call.arguments
        if "O_TMPFILE" in flags:
            self._refuse(call, "a file without a name.")
        node = self._node(path)
        if node is None:
            place = self._place(path)
            if "O_CREAT" not in flags or place is None:
                if number is None:
                    return
                self._refuse(call, f"{path} came from nowhere.")
            mode = re.search(r", (?:mode=)?(0\d+)\}?(?:, \d+)?$", call.arguments)
            node = self._create(call, place, "file", int(mode[1], 8) if mode else 0o666)
        elif "O_TRUNC" in flags:
            self._resize(call, node, 0)
        if number is not None:
            opened = _Open(node, "O_APPEND" in flags, "O_SYNC" in flags or "O_DSYNC" in flags)
            self._opening.append((call.end, process, number, opened))

    def _write(self, call: _Call, process: _Process) -> None:
        opened = self._opened(call, process)
        strings = (_VECTOR if "v" in call.name else _STRING).findall(call.arguments)
        data = b"".join(_unhex(text) for text, _ in strings)
        if any(cut for _, cut in strings):
            self._refuse(call, "strace left out some of the bytes.")
        if call.value is not None:
            data = data[: call.value]
        if opened is None:
            self._sent(call, data)
            return
        offset = None
        if call.name.startswith("p"):
            offset = int(_split(call.arguments)[3])
        if offset is None or offset == -1:
            offset = self._sizes[opened.node] if opened.appends else opened.position
            opened.position = offset + len(data)
        if call.value is None:
            data = self._arrived(opened.node, offset, data)
        if self.nodes[opened.node].kind == "file" and data:
            self.events.append(Write(call.begin, call.end, opened.node, offset, data))
            self._sizes[opened.node] = max(self._sizes[opened.node], offset + len(data))
            if opened.syncs and call.end != NEVER:
                self.events.append(Sync(call.end, call.end, opened.node, data_only=True))

    def _send(self, call: _Call, process: _Process) -> None:
        strings = (_STRING if call.name == "sendto" else _VECTOR).findall(call.arguments)
        self._sent(call, b"".join(_unhex(text) for text, _ in strings))

    def _sent(self, call: _Call, data: bytes) -> None:
        self.events.extend(Acknowledged(call.begin, call.end, what) for what in self.acknowledgements(data))

    def _resize(self, call: _Call, node: int, size: int) -> None:
        if call.value is None and (left := self._left_file(node)) and left.stat().st_size != size:
            return
        if self.nodes[node].kind == "file" and size != self._sizes[node]:
            self.events.append(Resize(call.begin, call.end, node, size))
            self._sizes[node] = size

    def _ftruncate(self, call: _Call, process: _Process) -> None:
        if opened := self._opened(call, process):
            self._resize(call, opened.node, int(_split(call.arguments)[1]))

    def _truncate(self, call: _Call, process: _Process) -> None:
        node = self._node(self._path(call, process, 0, at=False))
        if node is not None:
            self._resize(call, node, int(_split(call.arguments)[1]))

    def _fallocate(self, call: _Call, process: _Process) -> None:
        if opened := self._opened(call, process):
            mode, offset, length = _split(call.arguments)[1:4]
            if mode == "FALLOC_FL_KEEP_SIZE":
                return
            if mode != "0":
                self._refuse(call, f"mode {mode}.")
            self._resize(call, opened.node, max(self._sizes[opened.node], int(offset) + int(length)))

    def _lseek(self, call: _Call, process: _Process) -> None:
        opened = self._opened(call, process)
        if opened and call.value is not None:
            opened.position = call.value

    def _sync(self, call: _Call, process: _Process) -> None:
        if call.name in ("sync", "syncfs"):
            self.events.append(Sync(call.begin, call.end, None, data_only=False))
        elif opened := self._opened(call, process):
            self.events.append(Sync(call.begin, call.end, opened.node, call.name == "fdatasync"))

    def _map(self, call: _Call, process: _Process) -> None:
        if (
            "MAP_SHARED" in call.arguments
            and "PROT_WRITE" in call.arguments
            and "MAP_ANONYMOUS" not in call.arguments
        ):
            opened = self._opened(call, process, 4)
            if opened and self.nodes[opened.node].kind != "scratch":
                self._refuse(call, "a shared writable mapping; its writes leave no trace.")

    def _copy(self, call: _Call, process: _Process) -> None:
        if self._opened(call, process, 0 if call.name == "sendfile" else 2):
            self._refuse(call, "a copy made inside the kernel.")

    def _never(self, call: _Call, process: _Process) -> None:
        self._refuse(call, "what it does leaves no trace.")

    # Names

    def _rename(self, call: _Call, process: _Process) -> None:
        at = call.name != "rename"
        source = self._path(call, process, 1 if at else 0, at=at)
        target = self._path(call, process, 3 if at else 1, at=at)
        if not self._inside(source) and not self._inside(target):
            return
        node, taken, put = self._node(source), self._place(source), self._place(target)
        if node is None or taken is None or put is None or "RENAME_EXCHANGE" in call.arguments:
            self._refuse(call, f"from {source} to {target}, into or out of the folder, or an exchange.")
        if self._node(target) != node:
            self._change(call, node, taken, put)

    def _unlink(self, call: _Call, process: _Process) -> None:
        at = call.name == "unlinkat"
        path = self._path(call, process, 1 if at else 0, at=at)
        node, place = self._node(path), self._place(path)
        if node is not None and place is not None:
            self._change(call, node, place, None)
        elif self._inside(path) and call.value is not None:
            self._refuse(call, f"{path} came from nowhere.")

    def _mkdir(self, call: _Call, process: _Process) -> None:
        at = call.name == "mkdirat"
        place = self._place(self._path(call, process, 1 if at else 0, at=at))
        if place:
            self._create(call, place, "folder", int(_split(call.arguments)[-1], 8))

    def _link(self, call: _Call, process: _Process) -> None:
        at = call.name == "linkat"
        target = self._path(call, process, 3 if at else 1, at=at)
        if self._inside(target):
            node, place = self._node(self._path(call, process, 1 if at else 0, at=at)), self._place(target)
            if node is None or place is None:
                self._refuse(call, "a link into the folder from elsewhere.")
            self._change(call, node, None, place)

    def _special(self, call: _Call, process: _Process) -> None:
        at = call.name.endswith("at")
        position = {"symlink": 1, "symlinkat": 2, "mknod": 0, "mknodat": 1}[call.name]
        if self._inside(self._path(call, process, position, at=at)):
            self._refuse(call, "neither a file nor a folder.")

    def _bind(self, call: _Call, process: _Process) -> None:
        named = re.search(r'sun_path="([^"]*)"', call.arguments)
        if named:
            path = _unhex(named[1]).decode("utf-8", "surrogateescape")
            place = self._place(os.path.normpath(os.path.join(process.folder, path)))  # noqa: PTH118
            if place:
                self._create(call, place, "socket", 0o777)

    def _chmod(self, call: _Call, process: _Process) -> None:
        node: int | None
        if call.name == "fchmod":
            opened = self._opened(call, process)
            node = opened.node if opened else None
        else:
            at = call.name == "fchmodat"
            node = self._node(self._path(call, process, 1 if at else 0, at=at))
        mode = re.search(r", (0\d+)(?:, [\w|]+)?$", call.arguments)
        if node is not None and mode:
            self.nodes[node].permissions = int(mode[1], 8)

    # Processes

    def _dup(self, call: _Call, process: _Process) -> None:
        if call.value is not None:
            opened = self._opened(call, process)
            if opened:
                self._opening.append((call.end, process, call.value, opened))

    def _chdir(self, call: _Call, process: _Process) -> None:
        if call.name == "fchdir":
            process.folder = self._descriptor(call)[1]
        else:
            process.folder = self._path(call, process, 0, at=False)

    def _fork(self, call: _Call, process: _Process) -> None:
        if call.value is None:
            return
        if "CLONE_FILES" in call.arguments:
            self._processes[call.value] = process
        else:
            self._processes[call.value] = _Process(process.folder, dict(process.files))


_STEPS: Mapping[str, Callable[[_Reader, _Call, _Process], None]] = {
    name: step
    for names, step in (
        ("open openat openat2 creat", _Reader._open),
        ("write writev pwrite64 pwritev pwritev2", _Reader._write),
        ("sendto sendmsg sendmmsg", _Reader._send),
        ("ftruncate", _Reader._ftruncate),
        ("truncate", _Reader._truncate),
        ("fallocate", _Reader._fallocate),
        ("lseek", _Reader._lseek),
        ("fsync fdatasync sync syncfs", _Reader._sync),
        ("mmap", _Reader._map),
        ("copy_file_range sendfile splice", _Reader._copy),
        ("io_uring_setup", _Reader._never),
        ("rename renameat renameat2", _Reader._rename),
        ("unlink unlinkat rmdir", _Reader._unlink),
        ("mkdir mkdirat", _Reader._mkdir),
        ("link linkat", _Reader._link),
        ("symlink symlinkat mknod mknodat", _Reader._special),
        ("bind", _Reader._bind),
        ("chmod fchmod fchmodat", _Reader._chmod),
        ("dup dup2 dup3", _Reader._dup),
        ("chdir fchdir", _Reader._chdir),
        ("clone clone3 fork vfork", _Reader._fork),
    )
    for name in names.split()
}


def _writes(call: _Call) -> bool:
    return "write" in call.name or "truncate" in call.name or call.name == "fallocate"


def _split(arguments: str) -> list[str]:
    """The arguments of a call, at its outermost commas."""
    parts, depth, start = [], 0, 0
    for found in _TOKEN.finditer(arguments):
        if found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1
        elif found[0] == "," and depth == 0:
            parts.append(arguments[start : found.start()].strip())
            start = found.end()
    parts.append(arguments[start:].strip())
    return parts


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
