"""Pictures of residents, opened in a process of their own, without device data.

Those of notices are encoded anew and become blobs. Photographs in the file share stay as they are but
for what the device wrote into them. See docs/adr/0006-pictures-in-a-process-of-their-own.md for the why;
the work itself is done by hub.services.picture_worker, which is started for each form or photograph and
trusted with nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
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
from hub.domain.notices import BlobRef, Picture
from hub.services.picture_files import HEAD, Trouble, format_of, is_camera_file
from hub.storage.blobs import UPLOADS, BlobStore, Reserve, card_trouble
from hub.storage.incoming import Arrived, Incoming
from hub.words import N_

_PACKAGES = Path(hub.__file__).parent.parent


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What the pictures of one form, or one photograph, may cost, and what becomes of them."""

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
    photo_jpeg_pixels: int = 250_000_000
    """The same for a photograph that is a JPEG: those are opened at an eighth of their scale."""
    photo_bytes: int = 128 * 1024 * 1024
    """Size of a photograph that is copied without its device data."""
    written_bytes: int = 8 * 1024 * 1024
    """Size of a picture that the worker encodes."""
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


class PhotoNotCleaned(Refused):
    """A photograph whose place and device data cannot be removed, by the name its file has."""

    code = "photo-not-cleaned"
    status = 422
    template = N_(
        "The hub cannot remove the place and the device data from “{name}”, so it was not added. "
        "Send it as a JPEG, or choose “Keep the original file” if everybody may see what the camera "
        "wrote into it."
    )

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)


class HeicPhoto(PhotoNotCleaned):
    """What an iPhone's camera makes."""

    code = "photo-heic"
    template = N_(
        "“{name}” is a HEIC picture. The hub cannot remove the place and the device data from those, so "
        "it was not added. Set the camera to “Most compatible” for the next one and send this one as a "
        "JPEG, or choose “Keep the original file” if everybody may see what the camera wrote into it."
    )


class PhotoTooLarge(PhotoNotCleaned):
    """More bytes or pixels than the hub opens."""

    code = "photo-too-large"
    template = N_(
        "“{name}” is too large a picture for the hub to open, so the place and the device data in it "
        "could not be removed and it was not added. Send it in a smaller size, or choose “Keep the "
        "original file” if everybody may see what the camera wrote into it."
    )


class BrokenPhoto(PhotoNotCleaned):
    """Truncated, damaged, or made to look so."""

    code = "photo-broken"
    template = N_(
        "“{name}” is a damaged or incomplete picture, so the place and the device data in it could not "
        "be removed and it was not added. Choose the picture again, or choose “Keep the original file” "
        "if everybody may see what the camera wrote into it."
    )


class PhotoTookTooLong(PhotoNotCleaned):
    """More work than the hub gives to one photograph."""

    code = "photo-took-too-long"
    template = N_(
        "Removing the place and the device data from “{name}” took the hub too long, so it was not "
        "added. Send it in a smaller size, or choose “Keep the original file” if everybody may see what "
        "the camera wrote into it."
    )


_TROUBLES: dict[str, type[PictureNotUsable]] = {
    "not-a-picture": NotAPicture,
    "heic": HeicPicture,
    "too-many-pixels": TooManyPixels,
    "too-much-memory": TooManyPixels,
    "broken": BrokenPicture,
    "took-too-long": TookTooLong,
}
_PHOTO_TROUBLES: dict[str, type[PhotoNotCleaned]] = {
    "too-many-pixels": PhotoTooLarge,
    "too-much-memory": PhotoTooLarge,
    "broken": BrokenPhoto,
    "took-too-long": PhotoTookTooLong,
}
_ONLY_THE_THUMBNAIL = frozenset({"too-much-memory", "took-too-long"})
"""What does not speak against a photograph whose copy is made already."""
_GROWTH = 64 * 1024
"""Bytes that a copy may be larger than its photograph: a colour profile written anew."""
_OUT_OF_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
"""How a worker ends that the system stopped: out of processor time, or of the machine's memory."""


@dataclass(frozen=True, slots=True)
class Photo:
    """What became of a photograph for the file share.

    ``arrived`` is the copy without place and device data, which is the caller's to settle and to
    remove; None where the original is kept. ``thumb`` is None where no thumbnail could be made.
    ``width`` and ``height`` are those of the whole photograph when it is the right way up.
    """

    arrived: Arrived | None = None
    width: int = 0
    height: int = 0
    thumb: BlobRef | None = None
    thumb_width: int = 0
    thumb_height: int = 0
    alt: str = ""

    def picture(self, full: BlobRef) -> Picture | None:
        """The photograph as a picture whose bytes are ``full``; None without a thumbnail."""
        if self.thumb is None:
            return None
        return Picture(
            full=full,
            width=self.width,
            height=self.height,
            thumb=self.thumb,
            thumb_width=self.thumb_width,
            thumb_height=self.thumb_height,
            alt=self.alt,
        )


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """What the worker says about one picture, or one step of the work on a photograph."""

    trouble: str = ""
    width: int = 0
    height: int = 0
    thumb_width: int = 0
    thumb_height: int = 0


class PictureMaker:
    """Opens the pictures of one form, or one photograph, at a time.

    ``staging`` lies on the file system of ``blobs``.
    """

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

    async def photo(self, path: Path, *, name: str, original: bool, alt: str = "") -> Photo | None:
        """Make the photograph in the file ``path`` fit for the file share; None for what is no picture.

        Unless it is to stay the ``original``, a copy without place and device data is made, whole,
        hashed and fsynced, in the staging folder. The pixels are those of ``path``, which is left
        alone. A thumbnail is kept as a blob where one can be made. ``name`` is what errors call the
        file, ``alt`` the words that stand for the picture.

        Raises PhotoNotCleaned where there can be no such copy (never with ``original``), TryLater
        when others take their time, NoRoom when the card is too full. When it raises or is cancelled,
        no process and no file in the staging folder is left.
        """
        head, size = await asyncio.to_thread(_start_of, path)
        try:
            format_of(head)
        except Trouble as trouble:
            heic = str(trouble) == "heic"
            if not heic and not is_camera_file(head):
                return None
            if not original:
                raise (HeicPhoto if heic else PhotoNotCleaned)(name=name) from None
            return Photo(alt=alt)
        if original:
            return await self._photo(path, None, 0, name, alt)
        if size > self._limits.photo_bytes:
            raise PhotoTooLarge(name=name)
        copy = self._staging / secrets.token_hex(16)
        try:
            return await self._photo(path, copy, size, name, alt)
        except BaseException:
            await asyncio.to_thread(copy.unlink, missing_ok=True)
            raise

    async def _photo(self, path: Path, copy: Path | None, size: int, name: str, alt: str) -> Photo:
        """`photo` of one of the four formats, with the clean copy of at most ``size`` bytes in ``copy``."""
        await asyncio.to_thread(self._blobs.require_room, self._limits.reserve, size)
        folder = self._staging / secrets.token_hex(16)
        async with self._one_at_a_time():
            try:
                await asyncio.to_thread(_make_folder, folder, copy)
                line = await self._ask_about_photo(path, folder, copy, size, name)
                return await asyncio.to_thread(self._keep_photo, folder, copy, line, alt)
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _ask_about_photo(
        self, path: Path, folder: Path, copy: Path | None, size: int, name: str
    ) -> _Line | None:
        """The worker's line about the thumbnail; None where it cannot make one and that is no matter."""
        job: dict[str, object] = {
            "photo": True,
            "copy": _full(copy) if copy else "",
            "side": 2 * self._limits.thumb_width,
            "jpeg_pixels": self._limits.photo_jpeg_pixels,
            "largest": max(self._limits.written_bytes, size + _GROWTH),
        }
        steps = 2 if copy else 1
        lines: list[_Line] = []
        ended = await self._run([path], folder, job, steps, lines)
        last = lines[-1] if lines else _Line()
        if last.trouble == "no-room":
            raise NoRoom
        if not last.trouble and len(lines) == steps and ended == 0:
            return last
        trouble = last.trouble or _why(ended, len(lines))
        copied = bool(lines) and not lines[0].trouble
        if copy is None or (copied and trouble in _ONLY_THE_THUMBNAIL):
            return None
        raise _PHOTO_TROUBLES.get(trouble, BrokenPhoto)(name=name)

    def _keep_photo(self, folder: Path, copy: Path | None, line: _Line | None, alt: str) -> Photo:
        arrived = _arrived(copy) if copy else None
        if line is None:
            return Photo(arrived=arrived, alt=alt)
        return Photo(
            arrived=arrived,
            width=line.width,
            height=line.height,
            thumb=self._blobs.keep(folder / "1.thumb.jpg"),
            thumb_width=line.thumb_width,
            thumb_height=line.thumb_height,
            alt=alt,
        )

    async def _ask_worker(self, paths: Sequence[Path], folder: Path) -> list[_Line]:
        """The worker's line for each picture. It is gone when this returns or raises."""
        limits = self._limits
        job: dict[str, object] = {
            "photo": False,
            "copy": "",
            "side": limits.side,
            "jpeg_pixels": limits.pixels,
            "largest": limits.written_bytes,
        }
        lines: list[_Line] = []
        ended = await self._run(paths, folder, job, len(paths), lines)
        if lines and lines[-1].trouble == "no-room":
            raise NoRoom
        if lines and (trouble := _TROUBLES.get(lines[-1].trouble)):
            raise trouble(number=len(lines))
        if len(lines) == len(paths) and ended == 0:
            return lines
        raise _TROUBLES[_why(ended, len(lines))](number=len(lines) + 1)

    async def _run(
        self, paths: Sequence[Path], folder: Path, job: dict[str, object], steps: int, lines: list[_Line]
    ) -> int | None:
        """Run the worker, collect what it says in ``lines``, return how it ended; None: at the deadline.

        It is gone when this returns or raises.
        """
        limits = self._limits
        job |= {
            "paths": [_full(path) for path in paths],
            "folder": _full(folder),
            "memory": limits.memory_bytes,
            "cpu": limits.cpu_seconds,
            "pixels": limits.pixels,
            "quality": limits.quality,
            "thumb_width": limits.thumb_width,
            "thumb_bytes": limits.thumb_bytes,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "hub.services.picture_worker", json.dumps(job),
            stdin=DEVNULL, stdout=PIPE, cwd=folder, start_new_session=True,
            env={"PYTHONPATH": str(_PACKAGES)},
        )  # fmt: skip
        try:
            async with asyncio.timeout(limits.wall_seconds * steps):
                await _read(process, lines)
                return await process.wait()
        except TimeoutError:
            return None
        finally:
            await _end(process)

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


def _make_folder(folder: Path, copy: Path | None = None) -> None:
    """Make the folder of a run, and the empty file for a copy, if there is to be one."""
    with card_trouble():
        folder.mkdir(mode=0o700)
        if copy:
            copy.touch(mode=0o600, exist_ok=False)


def _full(path: Path) -> str:
    """For the worker, which has a folder of its own."""
    return str(path.absolute())


def _start_of(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its size."""
    with path.open("rb") as file:
        return file.read(HEAD), os.fstat(file.fileno()).st_size


def _arrived(copy: Path) -> Arrived:
    """Name what the worker wrote, once it is on the card."""
    incoming = Incoming.resume(copy, copy.lstat().st_size)
    try:
        return incoming.finish()
    finally:
        incoming.close()


def _why(ended: int | None, lines: int) -> str:
    """What a worker met that ended without saying it: by a signal, or (None) at the deadline."""
    if ended is None or ended in _OUT_OF_TIME:
        return "took-too-long"
    if ended < 0:
        return "broken"
    raise RuntimeError(f"the picture worker ended with {ended} after {lines} lines")


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
