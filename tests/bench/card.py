"""A disk whose writes are counted: what really reaches a card, the file system's own journal included.

``/proc/<pid>/io`` does not tell: since Linux counts a whole large folio as written when one page of it
changes, it is off by a factor of two and more.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE = 4 * 1024**3


class Card:
    """``folder`` to write in, and the block device it lies on."""

    def __init__(self, folder: Path, note: str) -> None:
        self.folder = folder
        self.note = note
        number = folder.stat().st_dev
        self._counts = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")

    @contextmanager
    def as_slow_as(self, writes_a_second: int) -> Iterator[Path | None]:
        """Hold this process, and whatever joins the group given, to so many writes a second; None without
        root or control groups."""
        number = self.folder.stat().st_dev
        device = f"{os.major(number)}:{os.minor(number)}"
        old = Path("/sys/fs/cgroup/blkio")
        base, limit, word = (
            (old, "blkio.throttle.write_iops_device", f"{device} {writes_a_second}")
            if old.is_dir()
            else (Path("/sys/fs/cgroup"), "io.max", f"{device} wiops={writes_a_second}")
        )
        group = base / f"hub-bench-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(word)
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            yield None
            return
        try:
            yield group
        finally:
            (base / "cgroup.procs").write_text(str(os.getpid()))
            group.rmdir()

    def written(self) -> int:
        """Bytes written to the device so far, once all that waits to be written is."""
        os.sync()
        return int(self._counts.read_text().split()[6]) * 512  # Documentation/block/stat.rst


@contextmanager
def inserted(work: Path) -> Iterator[Card]:
    """An ext4 file system of its own in an image below ``work``, or without root the disk of ``work``."""
    if os.geteuid() != 0:
        yield Card(work, "all of this machine's writes")
        return
    with tempfile.NamedTemporaryFile(dir=work, suffix=".img") as image:
        image.truncate(_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", image.name], check=True)
        folder = Path(tempfile.mkdtemp(dir=work, prefix="card-"))
        subprocess.run(["mount", "-o", "loop", image.name, folder], check=True)
        try:
            yield Card(folder, "ext4 on a device of its own")
        finally:
            subprocess.run(["umount", folder], check=True)
