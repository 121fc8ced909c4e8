"""Pictures of a form become blobs: re-encoded, without device data, made in a process of their own.

See docs/adr/0006-pictures-in-a-process-of-their-own.md for the why; the work itself is done by
hub.services.picture_worker, which is started for each form and trusted with nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

import hub
from hub.domain.errors import NoRoom, Refused, TryLater
from hub.domain.notices import Picture
from hub.storage.blobs import UPLOADS, BlobStore, Reserve, card_trouble
from hub.words import N_

_PACKAGES = Path(hub.__file__).parent.parent


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What the pictures of one form may cost, and what becomes of them."""

    memory_bytes: int = 256 * 1024 * 1024
    """Address space of the worker, the interpreter's 30 MB included."""
    cpu_seconds: int = 10
    """Processor time for each picture."""
    wall_seconds: float = 20.0
    """Elapsed time for each picture; those of one form share the sum."""
    wait_seconds: float = 30.0
    """How long a form waits for the forms before it."""
    pixels: int = 40_000_000
    """Width times height of a picture as it arrives."""
    side: int = 1280
    """Longest side of the picture that is kept."""
    quality: int = 75
    thumb_width: int = 320
    thumb_bytes: int = 15_000
    reserve: Reserve = UPLOADS


class PictureNotUsable(Refused):
    """Picture ``number`` (1-based, in the order of the form) cannot be shown; nothing of the form is kept."""

    code = "picture-not-usable"
    status = 422
    template = N_(
        "Picture {number} could not be used. What you typed is still in the form. Choose another picture."
    )

    def __init__(self, *, number: int) -> None:
        self.number = number
        super().__init__(number=number)


class NotAPicture(PictureNotUsable):
    """Not a JPEG, PNG, WebP or GIF, whatever its name says."""

    code = "picture-not-a-picture"
    template = N_(
        "Picture {number} is not a kind of picture that every phone here can show. "
        "What you typed is still in the form. Choose a JPEG, PNG, WebP or GIF instead."
    )


class HeicPicture(PictureNotUsable):
    """What an iPhone's camera makes and only some devices can open."""

    code = "picture-heic"
    template = N_(
        "This phone sent a HEIC picture (picture {number}), which many phones cannot open. "
        "What you typed is still in the form. Take a screenshot of the picture and send that, or set "
        "the camera to “Most compatible” for the next one."
    )


class TooManyPixels(PictureNotUsable):
    """Too large to open within the worker's memory."""

    code = "picture-too-many-pixels"
    template = N_(
        "Picture {number} is too large for the hub to open. What you typed is still in the form. "
        "Choose a smaller size, or take a screenshot of the picture and send that."
    )


class BrokenPicture(PictureNotUsable):
    """Truncated, damaged, or made to look so."""

    code = "picture-broken"
    template = N_(
        "Picture {number} arrived damaged or incomplete. What you typed is still in the form. "
        "Choose the picture again, or choose another."
    )


class TookTooLong(PictureNotUsable):
    """More work than the hub gives to one picture."""

    code = "picture-took-too-long"
    template = N_(
        "Picture {number} took the hub too long to prepare. What you typed is still in the form. "
        "Choose a smaller size, or take a screenshot of the picture and send that."
    )


_TROUBLES: dict[str, type[PictureNotUsable]] = {
    "not-a-picture": NotAPicture,
    "heic": HeicPicture,
    "too-many-pixels": TooManyPixels,
    "broken": BrokenPicture,
}
_OUT_OF_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
"""How a worker ends that the system stopped: out of processor time, or of the machine's memory."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """What the worker says about one picture."""

    trouble: str = ""
    width: int = 0
    height: int = 0
    thumb_width: int = 0
    thumb_height: int = 0


class PictureMaker:
    """Makes the pictures of one form at a time. ``staging`` lies on the file system of ``blobs``."""

    def __init__(self, blobs: BlobStore, staging: Path, limits: PictureLimits) -> None:
        self._blobs = blobs
        self._staging = staging
        self._limits = limits
        self._turn = asyncio.Lock()

    async def make(self, paths: Sequence[Path]) -> list[Picture]:
        """The pictures in the files ``paths``, as kept blobs, in the same order and without words (``alt``).

        The files stay the caller's to remove. All or none are made. Raises PictureNotUsable naming the
        first that is not usable, TryLater when other forms take their time, NoRoom when the card is
        too full for pictures. When cancelled, no process and no file in the staging folder is left.
        """
        if not paths:
            return []
        await asyncio.to_thread(self._blobs.require_room, self._limits.reserve)
        folder = self._staging / secrets.token_hex(16)
        async with self._one_at_a_time():
            try:
                await asyncio.to_thread(_make_folder, folder)
                lines = await self._ask_worker(paths, folder)
                return await asyncio.to_thread(self._keep, folder, lines)
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    @asynccontextmanager
    async def _one_at_a_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise TryLater(seconds=60) from None
        try:
            yield
        finally:
            self._turn.release()

    async def _ask_worker(self, paths: Sequence[Path], folder: Path) -> list[_Line]:
        """Run the worker over ``paths``, return its line for each. It is gone when this returns or raises."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "hub.services.picture_worker", self._job(paths, folder),
            stdin=DEVNULL, stdout=PIPE, cwd=folder, start_new_session=True,
            env={"PYTHONPATH": str(_PACKAGES)},
        )  # fmt: skip
        lines: list[_Line] = []
        try:
            async with asyncio.timeout(self._limits.wall_seconds * len(paths)):
                await _read(process, lines)
                await process.wait()
        except TimeoutError:
            raise TookTooLong(number=len(lines) + 1) from None
        finally:
            await _end(process)
        if lines and lines[-1].trouble == "no-room":
            raise NoRoom
        if lines and (trouble := _TROUBLES.get(lines[-1].trouble)):
            raise trouble(number=len(lines))
        if len(lines) == len(paths) and process.returncode == 0:
            return lines
        if process.returncode in _OUT_OF_TIME:
            raise TookTooLong(number=len(lines) + 1)
        if process.returncode is not None and process.returncode < 0:
            raise BrokenPicture(number=len(lines) + 1)
        raise RuntimeError(f"the picture worker ended with {process.returncode} after {len(lines)} pictures")

    def _job(self, paths: Sequence[Path], folder: Path) -> str:
        limits = self._limits
        return json.dumps(
            {
                "paths": [str(path.absolute()) for path in paths],
                "folder": str(folder.absolute()),
                "memory": limits.memory_bytes,
                "cpu": limits.cpu_seconds,
                "pixels": limits.pixels,
                "side": limits.side,
                "quality": limits.quality,
                "thumb_width": limits.thumb_width,
                "thumb_bytes": limits.thumb_bytes,
            }
        )

    def _keep(self, folder: Path, lines: Sequence[_Line]) -> list[Picture]:
        """Make blobs of the worker's files. The names are ours: it is not asked where it wrote."""
        return [
            Picture(
                full=self._blobs.keep(folder / f"{number}.jpg"),
                width=line.width,
                height=line.height,
                thumb=self._blobs.keep(folder / f"{number}.thumb.jpg"),
                thumb_width=line.thumb_width,
                thumb_height=line.thumb_height,
            )
            for number, line in enumerate(lines, start=1)
        ]


def _make_folder(folder: Path) -> None:
    with card_trouble():
        folder.mkdir(mode=0o700)


async def _read(process: Process, lines: list[_Line]) -> None:
    """Collect what the worker says, line by line, until it closes its end."""
    assert process.stdout is not None  # noqa: S101 - PIPE was asked for; this is for the type checker
    async for line in process.stdout:
        lines.append(msgspec.json.decode(line, type=_Line))  # noqa: PERF401 - what came before a deadline counts


async def _end(process: Process) -> None:
    """Kill the worker if it still runs (it starts no others), and reap it."""
    if process.returncode is None:
        process.kill()
    await process.communicate()
