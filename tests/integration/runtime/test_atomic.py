"""Files that are there whole or not at all."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hub.runtime.atomic import write_atomically


def test_a_file_is_replaced_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_atomically(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    write_atomically(path, b"two", 0o644)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_power_cut_left_does_not_stop_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for _ in range(2):
        (tmp_path / ".key.new").write_bytes(b"half")
        write_atomically(path, b"whole")
        assert path.read_bytes() == b"whole"
        assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_one_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "key", b"new")


def test_a_reader_never_finds_half_a_file_however_its_writer_is_killed(
    tmp_path: Path, chance: random.Random
) -> None:
    path = tmp_path / "file"
    code = (
        "import sys, pathlib, itertools; from hub.runtime.atomic import write_atomically as write\n"
        "for n in itertools.cycle(range(256)): write(pathlib.Path(sys.argv[1]), bytes([n]) * 300_000)"
    )
    for _ in range(5):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists():
            time.sleep(0.005)
        time.sleep(chance.random() / 20)
        writer.kill()
        writer.wait()
        found = path.read_bytes()
        assert found == found[:1] * 300_000
