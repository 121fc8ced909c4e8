"""The proof itself: run once, cut thousands of times, open what remains each time."""

from __future__ import annotations

import os
import random
import shutil
import stat
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.powercut.disk import NEVER, Acknowledged, Entry, Mode, Remains, Sync, Write
from tests.powercut.recorder import SCRATCH, Acknowledgements, Recorder, Recording, ack_lines

MODES: tuple[Mode, ...] = ("strict", "ext4")

_GOLDEN = 0.6180339887498949
"""Multiples of it, without their whole part, lie evenly between 0 and 1 however many there are."""


@dataclass(frozen=True)
class State:
    """One folder as a power cut may have left it; the check may do with it what it likes."""

    folder: Path
    acknowledged: Sequence[str]
    """What the program had begun to acknowledge before the cut, in that order."""
    mode: Mode
    number: int


class Check(Protocol):
    """Opens the folder as after a restart and says what is wrong with it; called from several threads."""

    def __call__(self, state: State) -> Iterable[str]:
        """One sentence for each fault; an exception counts as one too."""


@dataclass(frozen=True)
class Failure:
    mode: Mode
    number: int
    line: int
    """The line of the trace before which the power went."""
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    seed: int
    writes: int
    written_bytes: int
    entries: int
    syncs: int
    acknowledgements: int
    states: int
    distinct: int
    failures: Sequence[Failure]
    recorded_s: float
    checked_s: float
    notes: Path

    def __str__(self) -> str:
        figures = (
            f"{self.writes} writes ({self.written_bytes} bytes), {self.entries} folder changes, "
            f"{self.syncs} syncs, {self.acknowledgements} acknowledgements, "
            f"recorded in {self.recorded_s:.1f} s\n"
            f"{self.states} cuts, {self.distinct} different disks, {len(self.failures)} failures, "
            f"checked in {self.checked_s:.1f} s; seed {self.seed}"
        )
        return "\n".join([figures, *(self._told(failure) for failure in self.failures[:10])])

    def _told(self, failure: Failure) -> str:
        return (
            f"{failure.mode} state {failure.number}, cut before line {failure.line}: "
            f"{'; '.join(failure.faults[:3])}\n"
            f"  again: rebuild(load(Path({str(self.notes)!r})), "
            f"{failure.mode!r}, {self.seed}, {failure.number}, folder)"
        )


def prove(
    run: Callable[[Recorder], None],
    check: Check,
    *,
    folder: Path,
    notes: Path,
    states: int,
    seed: int,
    modes: Sequence[Mode] = MODES,
    acknowledgements: Acknowledgements = ack_lines,
    scratch: Sequence[str] = SCRATCH,
    workers: int = 2,
) -> Report:
    """Record ``run`` on ``folder`` (which exists) and check ``states`` disks that a cut can leave behind.

    State ``n`` has mode ``modes[n % len(modes)]`` and depends only on the recording, the seed and its
    number. ``notes`` (made here) keeps the recording if there are failures: :func:`rebuild` brings them back.
    Raises :class:`tests.powercut.recorder.NotFollowed` if the run cannot be recorded faithfully.
    """
    started = time.monotonic()
    recorder = Recorder(folder, notes)
    run(recorder)
    recording = recorder.finish(acknowledgements, scratch)
    recorded = time.monotonic()
    failures, distinct = _check_all(recording, check, states, seed, modes, workers)
    if not failures:
        shutil.rmtree(notes)
    return Report(
        seed=seed,
        writes=recording.count(Write),
        written_bytes=sum(len(event.data) for event in recording.events if isinstance(event, Write)),
        entries=recording.count(Entry),
        syncs=recording.count(Sync),
        acknowledgements=recording.count(Acknowledged),
        states=states,
        distinct=distinct,
        failures=failures,
        recorded_s=recorded - started,
        checked_s=time.monotonic() - recorded,
        notes=notes,
    )


def rebuild(recording: Recording, mode: Mode, seed: int, number: int, folder: Path) -> State:
    """Put state ``number`` of a proof into ``folder``, which does not exist."""
    chance = _chance(seed, number)
    disk = recording.disk()
    disk.advance(_Cuts(recording).line(number, chance))
    _materialise(recording, disk.after_the_cut(mode, chance), folder)
    return State(folder, tuple(disk.acknowledged), mode, number)


def _check_all(
    recording: Recording, check: Check, states: int, seed: int, modes: Sequence[Mode], workers: int
) -> tuple[list[Failure], int]:
    cuts = _Cuts(recording)
    plan = []
    for number in range(states):
        chance = _chance(seed, number)
        plan.append((cuts.line(number, chance), number, chance))
    plan.sort(key=lambda cut: cut[:2])
    disk = recording.disk()
    seen: set[tuple[bytes, int]] = set()
    failures: list[Failure] = []
    with _fast_folder() as workspace, ThreadPoolExecutor(workers) as pool:
        running: list[Future[Failure | None]] = []
        for line, number, chance in plan:
            disk.advance(line)
            mode = modes[number % len(modes)]
            remains = disk.after_the_cut(mode, chance)
            folder = workspace / str(number)
            _materialise(recording, remains, folder)
            seen.add((remains.fingerprint, len(disk.acknowledged)))
            state = State(folder, tuple(disk.acknowledged), mode, number)
            running.append(pool.submit(_checked, check, state, line))
            # As many folders at once as there are workers, and one in hand.
            if len(running) > workers:
                failures.extend(filter(None, [running.pop(0).result()]))
        failures.extend(failure for future in running if (failure := future.result()))
    return failures, len(seen)


def _checked(check: Check, state: State, line: int) -> Failure | None:
    try:
        faults = tuple(check(state))
    except Exception as error:  # whatever opening the folder ends with is what a caretaker would meet
        faults = (f"{type(error).__name__}: {error}",)
    shutil.rmtree(state.folder, ignore_errors=True)
    return Failure(state.mode, state.number, line, faults) if faults else None


def _chance(seed: int, number: int) -> random.Random:
    return random.Random(f"power cut {seed}/{number}")


class _Cuts:
    """Where to cut a recording: spread evenly over its turning points (a sync ends, a folder changes,
    something is acknowledged), because between two of them thousands of writes may pass that only make
    a file longer. Half of the cuts come at the turning point itself, when there is most to lose."""

    def __init__(self, recording: Recording) -> None:
        events = recording.events
        self._lines = sorted({event.begin for event in events})
        turning = {event.end for event in events if isinstance(event, Sync) and event.end != NEVER}
        turning |= {event.begin + 1 for event in events if isinstance(event, Acknowledged | Entry)}
        self._turning = sorted(turning | {self._lines[-1] + 1})

    def line(self, number: int, chance: random.Random) -> int:
        """The line before which the power goes in state ``number``."""
        position = int(len(self._turning) * ((number + 1) * _GOLDEN % 1.0))
        line = self._turning[position]
        before = self._turning[position - 1] if position else 0
        first, last = bisect_left(self._lines, before), bisect_left(self._lines, line)
        if first == last or chance.random() < 0.5:
            return line
        return self._lines[chance.randrange(first, last)] + 1


def _materialise(recording: Recording, remains: Remains, folder: Path) -> None:
    folder.mkdir()
    for path, (kind, number, content) in remains.nodes.items():
        place = folder / path
        permissions = recording.nodes[number].permissions
        if kind == "folder":
            place.mkdir()
        elif kind == "socket":
            os.mknod(place, stat.S_IFSOCK | permissions)
            continue
        else:
            with place.open("wb", buffering=0) as file:
                file.write(content or b"")
        place.chmod(permissions)


@contextmanager
def _fast_folder() -> Iterator[Path]:
    """A folder in memory where there is one: the states need no disk of their own."""
    shared = Path("/dev/shm")
    parent = shared if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 1 << 30 else None
    with tempfile.TemporaryDirectory(prefix="power-cut-", dir=parent) as name:
        yield Path(name)
