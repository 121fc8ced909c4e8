"""A small card of one's own: an ext4 file system on a loop device, to be filled and broken."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import needs

MB = 1024 * 1024


@dataclass(slots=True)
class SmallCard:
    """``folder`` is the root of the file system that lies in the file ``image``."""

    folder: Path
    image: Path
    _fillers: list[Path] = field(default_factory=list)

    def free_bytes(self) -> int:
        """What may still be written."""
        card = os.statvfs(self.folder)
        return card.f_bavail * card.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Write until so many bytes are free; without ``leave`` until not one block is."""
        filler = self.folder / f"filler{len(self._fillers)}"
        self._fillers.append(filler)
        with filler.open("wb", buffering=0) as file:
            wanted = self.free_bytes() - leave
            done, step = 0, 16 * MB
            while step >= 1024:
                step = step if leave == 0 else min(step, wanted - done)
                if step <= 0:
                    return
                try:
                    os.posix_fallocate(file.fileno(), done, step)
                    done += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
        os.sync()

    def clear(self) -> None:
        """Remove all that `fill` wrote."""
        for filler in self._fillers:
            filler.unlink()
        self._fillers.clear()
        os.sync()

    def spoil(self) -> None:
        """Let the file system meet an error: from now on it is read-only, as ``errors=remount-ro`` has it."""
        (Path("/sys/fs/ext4") / self._device().name / "trigger_fs_error").write_text("as if the card had one")

    def _device(self) -> Path:
        found = subprocess.run(
            [needs.program("losetup", "mount"), "-n", "-O", "NAME", "-j", self.image],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return Path(found.stdout.strip())


@contextmanager
def inserted(place: Path, megabytes: int, work: Path | None = None) -> Iterator[SmallCard]:
    """A card whose root is the folder ``place``; its image lies in ``work``, else beside it."""
    needs.root("mount a small card of its own")
    image = (work or place.parent) / f"{place.name}.img"
    with image.open("wb") as file:
        file.truncate(megabytes * MB)
    make = [needs.program("mkfs.ext4", "e2fsprogs"), "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0"]
    subprocess.run([*make, image], check=True, capture_output=True)
    place.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop,errors=remount-ro", image, place], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        needs.cannot_run(f"this machine has no loop device to mount a card on: {mounted.stderr.strip()}")
    try:
        yield SmallCard(place, image)
    finally:
        subprocess.run(["umount", place], check=True)
        image.unlink()
