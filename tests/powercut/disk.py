"""A disk that loses power: what was certainly on it, and what may have been, at any moment of a recorded run.

Time is the number of a line in the trace. A change may be on the disk from the line where its call
*began*; it certainly is once a sync that began after the call had *ended* has itself ended. Between
the two everything is a matter of luck, and :meth:`Disk.after_the_cut` throws the dice.

Two sorts of luck:

``strict`` promises only what POSIX does. Each 512-byte sector or 4-KiB page of an unsynced write is
    kept, lost or torn on its own; a file's size may grow without its bytes (zeros or garbage remain);
    each change of a folder is kept or lost on its own until that folder is synced, and syncing a file
    says nothing about its name.
``ext4`` is a journalling file system with ordered data: folder changes and truncations survive as a
    prefix of their order, syncing a file commits the journal up to that file's own last change, and a
    file never grows over bytes that were not written. Unsynced bytes inside the old size are a matter
    of luck as above. A rename is not held back until the bytes of the renamed file are written: that
    would be luck with a mount option, and no promise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Literal

Mode = Literal["strict", "ext4"]
Kind = Literal["file", "folder", "socket", "scratch"]

ROOT = 0
NEVER = sys.maxsize
SECTOR, PAGE = 512, 4096


@dataclass(frozen=True, slots=True)
class Event:
    """One call, from line ``begin`` of the trace to line ``end``; NEVER is for a sync that did not end."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Write(Event):
    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize(Event):
    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry(Event):
    """A change of one or two folders: the name taken away, the name put in (either may be None).

    ``born`` says that ``node`` came into being with it.
    """

    node: int
    taken: tuple[int, str] | None
    put: tuple[int, str] | None
    born: bool = False


@dataclass(frozen=True, slots=True)
class Sync(Event):
    """fsync or, with ``data_only``, fdatasync; ``node`` None is sync(2)."""

    node: int | None
    data_only: bool


@dataclass(frozen=True, slots=True)
class Acknowledged(Event):
    """The program began to tell somebody that ``what`` is safe."""

    what: str


@dataclass(slots=True)
class Node:
    """A file, a folder, a socket, or a scratch file, whose bytes may be anything after a cut."""

    kind: Kind
    permissions: int
    content: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Remains:
    """The tree found after a cut: relative path to node number and bytes (None unless a file)."""

    nodes: Mapping[str, tuple[Kind, int, bytes | bytearray | None]]
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class _Fate:
    """How much of what is unsynced survives: a share of the parts, or the first few calls in order."""

    share: float
    in_order: bool = False

    @classmethod
    def draw(cls, chance: Random) -> _Fate:
        # Everything lost finds a missing sync soonest, so it comes up most.
        draw = chance.random()
        if draw < 0.3:
            return cls(0.0)
        if draw < 0.45:
            return cls(1.0)
        if draw < 0.6:
            return cls(1.0, in_order=True)
        return cls(chance.choice((0.1, 0.5, 0.9)))


class _Luck:
    """The dice of one state: one fate for all, and now and then another for a single file or folder."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self._data = _Fate.draw(chance)
        self._entries = _Fate.draw(chance)
        self.torn = chance.random() < 0.3
        self.garbage = chance.random() < 0.3

    def for_data(self) -> _Fate:
        return _Fate.draw(self.chance) if self.chance.random() < 0.25 else self._data

    def for_entries(self) -> _Fate:
        return _Fate.draw(self.chance) if self.chance.random() < 0.25 else self._entries


@dataclass(slots=True)
class _Pending:
    durable: bytearray
    changes: list[Write | Resize] = field(default_factory=list)
    generation: int = 0


class Disk:
    """Replays a run from its start; :meth:`advance` only goes forward."""

    def __init__(
        self, nodes: Mapping[int, Node], entries: Mapping[int, Mapping[str, int]], events: Sequence[Event]
    ) -> None:
        """``nodes`` holds every node of the whole run, with the bytes it had before the run;
        ``entries`` the folders' names before the run."""
        self._nodes = nodes
        self._files = {
            number: _Pending(bytearray(node.content)) for number, node in nodes.items() if node.kind == "file"
        }
        folders = [number for number, node in nodes.items() if node.kind == "folder"]
        self._entries = {number: dict(entries.get(number, {})) for number in folders}
        self._unsynced: dict[int, list[Entry]] = {number: [] for number in folders}
        self._journalled = {number: dict(entries.get(number, {})) for number in folders}
        self._journal: list[Entry | Resize] = []
        self._committed_shrinks: set[int] = set()
        self._size_now = {number: len(pending.durable) for number, pending in self._files.items()}
        self._moments = sorted(_moments(events), key=lambda moment: moment[:2])
        self._next = 0
        self.acknowledged: list[str] = []

    def advance(self, line: int) -> None:
        """Take in everything that happened before ``line``."""
        while self._next < len(self._moments) and self._moments[self._next][0] < line:
            _, ended, event = self._moments[self._next]
            self._next += 1
            if ended and isinstance(event, Sync):
                self._synced(event)
            elif not ended:
                self._begun(event)

    def _begun(self, event: Event) -> None:
        match event:
            case Write(node=node, offset=offset, data=data):
                self._files[node].changes.append(event)
                self._size_now[node] = max(self._size_now[node], offset + len(data))
            case Resize(node=node, size=size):
                self._files[node].changes.append(event)
                if size < self._size_now[node]:
                    self._journal.append(event)
                self._size_now[node] = size
            case Entry(taken=taken, put=put):
                self._journal.append(event)
                for folder in {side[0] for side in (taken, put) if side}:
                    self._unsynced[folder].append(event)
            case Acknowledged(what=what):
                self.acknowledged.append(what)

    def _synced(self, sync: Sync) -> None:
        if sync.node is None:
            for number in self._files:
                self._settle(number, sync)
            for number in self._unsynced:
                self._settle_entries(number, sync)
            self._commit(len(self._journal), sync)
            return
        if sync.node in self._files:
            self._settle(sync.node, sync)
        if sync.node in self._unsynced:
            self._settle_entries(sync.node, sync)
        reach = [
            position
            for position, change in enumerate(self._journal)
            if change.end <= sync.begin and _concerns(change, sync.node, data_only=sync.data_only)
        ]
        if reach:
            self._commit(reach[-1] + 1, sync)

    def _settle(self, number: int, sync: Sync) -> None:
        pending = self._files[number]
        left = []
        for change in pending.changes:
            if change.end > sync.begin:
                left.append(change)
                continue
            _apply(pending.durable, change)
            pending.generation += 1
        pending.changes = left

    def _settle_entries(self, number: int, sync: Sync) -> None:
        changes = self._unsynced[number]
        _apply_entries(self._entries, number, [change for change in changes if change.end <= sync.begin])
        self._unsynced[number] = [change for change in changes if change.end > sync.begin]

    def _commit(self, count: int, sync: Sync) -> None:
        under_way = []
        for change in self._journal[:count]:
            if change.end > sync.end:
                under_way.append(change)
            elif isinstance(change, Resize):
                self._committed_shrinks.add(change.begin)
            else:
                _apply_journalled(self._journalled, change)
        self._journal[:count] = under_way

    def as_the_program_saw_it(self) -> dict[str, tuple[Kind, int, bytes | bytearray | None]]:
        """The tree with nothing lost."""
        entries = {number: dict(names) for number, names in self._journalled.items()}
        for entry in self._journal:
            if isinstance(entry, Entry):
                _apply_journalled(entries, entry)
        tree: dict[str, tuple[Kind, int, bytes | bytearray | None]] = {}
        for path, number in self._walk(entries):
            content: bytearray | None = None
            if number in self._files:
                content = bytearray(self._files[number].durable)
                for change in self._files[number].changes:
                    _apply(content, change)
            tree[path] = (self._nodes[number].kind, number, content)
        return tree

    def after_the_cut(self, mode: Mode, chance: Random) -> Remains:
        """One of the trees that can remain if the power goes now.

        The bytes handed out are those of the model, not copies: use them before the next advance().
        """
        luck = _Luck(chance)
        if mode == "strict":
            entries, committed = self._strict_entries(luck), None
        else:
            entries, committed = self._ext4_entries(luck)
        tree: dict[str, tuple[Kind, int, bytes | bytearray | None]] = {}
        contents: dict[int, bytes | bytearray] = {}
        fingerprint = blake2b(digest_size=16)
        for path, number in self._walk(entries):
            kind = self._nodes[number].kind
            content: bytes | bytearray | None = None
            if kind == "scratch":
                what = chance.randrange(3)
                if what == 0:
                    continue
                content = b"" if what == 1 else chance.randbytes(8 * PAGE)
            elif kind == "file":
                if number not in contents:
                    contents[number] = self._content(number, luck, committed)
                content = contents[number]
                pending = self._files[number]
                fingerprint.update(f"{path} {number} {pending.generation} ".encode())
                if pending.changes:
                    fingerprint.update(blake2b(content).digest())
            tree[path] = (kind, number, content)
        return Remains(tree, fingerprint.digest())

    def _strict_entries(self, luck: _Luck) -> dict[int, dict[str, int]]:
        entries = {number: dict(names) for number, names in self._entries.items()}
        for number, changes in self._unsynced.items():
            if not changes:
                continue
            fate = luck.for_entries()
            if fate.in_order:
                kept = changes[: luck.chance.randint(0, len(changes))]
            else:
                kept = [change for change in changes if luck.chance.random() < fate.share]
            _apply_entries(entries, number, kept)
        return entries

    def _ext4_entries(self, luck: _Luck) -> tuple[dict[int, dict[str, int]], set[int]]:
        entries = {number: dict(names) for number, names in self._journalled.items()}
        reach = luck.chance.choice((0, len(self._journal), luck.chance.randint(0, len(self._journal))))
        shrinks = set(self._committed_shrinks)
        for change in self._journal[:reach]:
            if isinstance(change, Resize):
                shrinks.add(change.begin)
            else:
                _apply_journalled(entries, change)
        return entries, shrinks

    def _walk(self, entries: Mapping[int, Mapping[str, int]]) -> Iterable[tuple[str, int]]:
        open_folders = [("", ROOT)]
        while open_folders:
            prefix, folder = open_folders.pop()
            for name, number in sorted(entries[folder].items()):
                yield prefix + name, number
                if self._nodes[number].kind == "folder":
                    open_folders.append((f"{prefix}{name}/", number))

    def _content(self, number: int, luck: _Luck, committed: set[int] | None) -> bytes | bytearray:
        """The bytes of one file; ``committed`` names the truncations in the ext4 journal, None is strict."""
        pending = self._files[number]
        if not pending.changes:
            return pending.durable
        fate = luck.for_data()
        runs = _runs(pending)
        if committed is not None:
            kept = sum(1 for run in runs[1:] if run[0].begin in committed)
        elif fate.share == 0.0:
            kept = 0
        else:
            kept = luck.chance.randint(0, len(runs) - 1) if fate.share < 1.0 else len(runs) - 1
        disk, program = bytearray(pending.durable), bytearray(pending.durable)
        for position, run in enumerate(runs[: kept + 1]):
            if position:
                _apply(disk, run[0])
                _apply(program, run[0])
                run = run[1:]
            if fate.in_order and position == kept:
                run = run[: luck.chance.randint(0, len(run))]
            _survive(disk, program, run, fate, luck, ordered=committed is not None)
        return disk


def _moments(events: Sequence[Event]) -> Iterable[tuple[int, bool, Event]]:
    for event in events:
        yield event.begin, False, event
        if isinstance(event, Sync) and event.end != NEVER:
            yield event.end, True, event


def _concerns(change: Entry | Resize, node: int, *, data_only: bool) -> bool:
    if isinstance(change, Resize):
        return change.node == node
    if node in {side[0] for side in (change.taken, change.put) if side}:
        return True
    return change.node == node and (change.born or not data_only)


def _apply(content: bytearray, change: Write | Resize) -> None:
    if isinstance(change, Resize):
        _resize(content, change.size)
        return
    if change.offset > len(content):
        _resize(content, change.offset)
    content[change.offset : change.offset + len(change.data)] = change.data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _apply_entries(entries: dict[int, dict[str, int]], folder: int, changes: Sequence[Entry]) -> None:
    """Only this folder's side of each change: without a journal a rename between folders has two halves."""
    for change in changes:
        if change.taken and change.taken[0] == folder:
            entries[folder].pop(change.taken[1], None)
        if change.put and change.put[0] == folder:
            entries[folder][change.put[1]] = change.node


def _apply_journalled(entries: dict[int, dict[str, int]], change: Entry) -> None:
    if change.taken:
        entries[change.taken[0]].pop(change.taken[1], None)
    if change.put:
        entries[change.put[0]][change.put[1]] = change.node


def _runs(pending: _Pending) -> list[list[Write | Resize]]:
    """The unsynced changes, a new run at each truncation: what follows one cannot survive without it."""
    runs: list[list[Write | Resize]] = [[]]
    size = len(pending.durable)
    for change in pending.changes:
        if isinstance(change, Resize):
            if change.size < size:
                runs.append([])
            size = change.size
        else:
            size = max(size, change.offset + len(change.data))
        runs[-1].append(change)
    return runs


def _survive(
    disk: bytearray,
    program: bytearray,
    run: Sequence[Write | Resize],
    fate: _Fate,
    luck: _Luck,
    *,
    ordered: bool,
) -> None:
    """Let ``run``, which only writes and grows, partly reach ``disk``; ``program`` gets all of it.

    A part of a page is never written alone: the kernel writes the page as it stands, so each part
    holds what it held before the run or after one of the calls that touched it.
    """
    start = len(disk)
    chance = luck.chance
    part = chance.choice((SECTOR, PAGE))
    # The last page of the old size is on the disk already; only whole new pages wait for their bytes.
    new_pages = -(-start // PAGE) * PAGE
    sizes = [start]
    seen: dict[int, list[bytes]] = {}
    whole = fate.share in (0.0, 1.0)
    for change in run:
        _apply(program, change)
        sizes.append(len(program))
        if whole or isinstance(change, Resize):
            continue
        last = (change.offset + len(change.data) - 1) // part
        for number in range(change.offset // part, last + 1):
            seen.setdefault(number, []).append(bytes(program[number * part : (number + 1) * part]))
    if fate.share == 0.0:
        # A file system may note the new size and lose the bytes; ordered data forbids it.
        if not ordered and chance.random() < 0.5:
            _grow(disk, max(start, chance.choice(sizes)), luck)
        return
    if fate.share == 1.0:
        disk[:] = program
        return
    size = max(start, sizes[-1] if chance.random() < 0.5 else chance.choice(sizes))
    _grow(disk, max(sizes), luck if not ordered else None)
    for number, versions in seen.items():
        at = number * part
        must = ordered and new_pages <= at < size
        if not must and chance.random() >= fate.share:
            continue
        image = versions[-1] if chance.random() < 0.7 else chance.choice(versions)
        if luck.torn and not ordered and chance.random() < 0.1:
            torn = chance.randrange(len(image))
            image = image[:torn]
        disk[at : at + len(image)] = image
    _resize(disk, size)


def _grow(disk: bytearray, size: int, luck: _Luck | None) -> None:
    grown = size - len(disk)
    if grown > 0:
        disk.extend(luck.chance.randbytes(grown) if luck and luck.garbage else bytes(grown))
