"""A disk that is full, read-only, or holds something else: refused in words, and reading goes on."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests import needs
from tests.integration.hub.altered_hub import altered
from tests.integration.hub.crowd import drawing, whole_board
from tests.integration.hub.hub_process import (
    GENEROUS,
    ROOT,
    HubProcess,
    Visitor,
    found_hub,
    hub_command,
    hub_says,
    running_hub,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

MB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """The folder that a hub started by `on_a_small_disk` has its own small disk on."""
    needs.program("unshare", "util-linux")
    needs.root("mount a small disk of its own")
    return tmp_path / "data"


@contextmanager
def on_a_small_disk(data: Path, megabytes: int, alteration: str = "") -> Iterator[tuple[HubProcess, Path]]:
    """A hub whose data folder is a disk of its own that ends with it; and that disk as seen from here."""
    found_hub(data, GENEROUS)
    command = hub_command(data)
    if alteration:
        command = altered(command, alteration)
    settings = data / "hub.toml"
    beside = settings.rename(data.with_name("hub.toml"))
    mounting = f'mount -t tmpfs -o size={megabytes}m,mode=700 none "$0" && cp "$1" "$0" && shift && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mounting, str(data), str(beside), *command]
    with running_hub(data, command) as hub:
        yield hub, Path(f"/proc/{hub.process.pid}/root{data}")


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - leave)
    return filler


def _post(visitor: Visitor, number: int, size: int = 300) -> int:
    """Put up a notice: 303, or 507 within a second and in words, with what was typed."""
    text = f"Text {number} " + "x" * size
    began = time.monotonic()
    answer = visitor.post(
        "/notices", {"kind": "news", "title": "A notice", "text": text, "key": f"k{number}"}
    )
    if answer.status == 303:
        return 303
    assert time.monotonic() - began < 1
    assert answer.status == 507
    assert text in answer.text
    assert "no room left" in answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return 507


def test_words_stop_at_the_reserve_and_go_on_when_there_is_room(small_disk: Path) -> None:
    with on_a_small_disk(small_disk, 100) as (hub, disk):
        visitor = hub.visitor()
        name = visitor.post("/notices", {"kind": "news", "title": "Before", "text": "There."}).location
        path = name.partition("?")[0]
        filler = fill(disk, leave=40 * MB)
        assert _post(visitor, 0) == 507
        reply = visitor.post(f"{path.partition('-')[0]}/replies", {"text": "My reply stays."})
        assert reply.status == 507
        assert "My reply stays." in reply.text
        assert visitor.get("/").status == visitor.get(path).status == 200
        assert "Before" in visitor.get("/search?q=before").text
        filler.unlink()
        assert _post(visitor, 1) == 303
        assert hub.stop() == 0
        assert "Traceback" not in hub.log(), hub.log()[-3000:]


def test_a_disk_full_to_the_last_byte_loses_nothing_and_recovers_without_a_restart(small_disk: Path) -> None:
    """With no reserve: the disk fills in the middle of a commit."""
    with on_a_small_disk(small_disk, 24, "no-reserve") as (hub, disk):
        visitor, chance = hub.visitor(), random.Random(1)
        filler = fill(disk, leave=300_000)
        kept, refused = [], 0
        for number in range(6000):
            status = _post(visitor, number, size=3500)
            if status == 303:
                kept.append(number)
            refused += status == 507
            if refused == 20:
                break
        assert refused == 20
        picture = visitor.post(
            "/notices", {"kind": "news", "title": "P", "text": "T"}, [("picture", "p.jpg", drawing(chance))]
        )
        assert picture.status == 507
        for path in ("/", "/search?q=text", "/healthz", "/notices.json", "/notices/new"):
            assert visitor.get(path).status == 200, path
        filler.unlink()
        assert _post(visitor, 10_000) == 303
        answer = visitor.post(
            "/notices", {"kind": "news", "title": "P", "text": "T"}, [("picture", "p.jpg", drawing(chance))]
        )
        assert answer.status == 303, answer.text
        texts = {text.split()[1] for _, text in whole_board(visitor).values() if text.startswith("Text")}
        assert texts == {str(number) for number in [*kept, 10_000]}
        assert "Traceback" not in hub.log(), hub.log()[-3000:]
        checked = subprocess.run(
            ["nsenter", "-t", str(hub.process.pid), "-m", sys.executable, "-m", "hub", "check", "--data",
             str(hub.data)], capture_output=True, text=True, timeout=60, cwd=ROOT
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert hub.stop() == 0


def test_a_hub_that_starts_on_a_full_disk_says_so(small_disk: Path) -> None:
    data = found_hub(small_disk)
    mounting = 'mount -t tmpfs -o size=1m none "$0" && head -c 1040000 /dev/zero > "$0/filler"; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mounting, str(data), *hub_command(data)]
    _assert_says(subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT), "no room")


def _assert_says(ended: subprocess.CompletedProcess[str], words: str) -> None:
    """It ended with the code of a refusal and one sentence that has ``words``."""
    assert ended.returncode == 1, ended
    assert ended.stderr.startswith("hub: "), ended.stderr
    assert words in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(small_disk: Path) -> None:
    data = found_hub(small_disk)
    with running_hub(data) as hub:
        assert _post(hub.visitor(), 1) == 303
        assert hub.stop() == 0
    before = _content(data)
    mounting = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    for words in (hub_command(data), [sys.executable, "-m", "hub", "check", "--data", str(data)]):
        command = ["unshare", "-m", "sh", "-c", mounting, str(data), *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)
        _assert_says(ended, "cannot use the data folder")
    assert _content(data) == before


def _content(data: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of a hub that ran and stopped."""
    data = found_hub(tmp_path / "data")
    with running_hub(data) as hub:
        assert _post(hub.visitor(), 1) == 303
        assert hub.stop() == 0
    return data


def test_a_database_of_a_newer_release_is_refused_and_left_alone(stopped: Path) -> None:
    with closing(sqlite3.connect(stopped / "hub.db")) as database:
        database.execute("PRAGMA user_version = 999")
    before = _content(stopped)
    _assert_says(hub_says(stopped, "run", "--port", "0", "--listen", "127.0.0.1"), "newer release")
    _assert_says(hub_says(stopped, "check"), "newer release")
    assert _content(stopped) == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(stopped: Path) -> None:
    for content in (b"these are my holiday pictures " * 300, b"SQLite format 3\0" + b"\xff" * 8000):
        (stopped / "hub.db").write_bytes(content)
        _assert_says(hub_says(stopped, "run", "--port", "0", "--listen", "127.0.0.1"), "Nothing was changed")
        assert (stopped / "hub.db").read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_alone(stopped: Path) -> None:
    (stopped / "hub.db").unlink()
    with closing(sqlite3.connect(stopped / "hub.db")) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    before = _content(stopped)
    _assert_says(hub_says(stopped, "run", "--port", "0", "--listen", "127.0.0.1"), "not a hub's database")
    assert _content(stopped) == before


def test_a_key_that_is_broken_or_another_hubs_is_refused(stopped: Path) -> None:
    key = (stopped / "key").read_bytes()
    for other, words in ((b"short", "key"), (bytes(32), "key")):
        (stopped / "key").write_bytes(other)
        _assert_says(hub_says(stopped, "run", "--port", "0", "--listen", "127.0.0.1"), words)
        assert (stopped / "key").read_bytes() == other
    (stopped / "key").write_bytes(key)
    with running_hub(stopped) as hub:
        assert "A notice" in hub.visitor().get("/").text


def test_a_lost_key_is_not_replaced_quietly(stopped: Path) -> None:
    """With a new one the hub would be another, and could change nothing of what it wrote."""
    (stopped / "key").unlink()
    _assert_says(hub_says(stopped, "run", "--port", "0", "--listen", "127.0.0.1"), "key")


def test_a_data_folder_that_is_a_file_or_another_hubs_is_refused(tmp_path: Path, stopped: Path) -> None:
    (tmp_path / "file").write_text("x")
    for data in (tmp_path / "file", tmp_path / "file" / "below"):
        _assert_says(hub_says(data, "run", "--port", "0", "--listen", "127.0.0.1"), str(data))
    with running_hub(stopped) as hub:
        _assert_says(hub_says(stopped, "run", "--port", "0", "--listen", "127.0.0.1"), "already running")
        port = str(hub.port)
        other = found_hub(tmp_path / "other")
        _assert_says(hub_says(other, "run", "--port", port, "--listen", "127.0.0.1"), f"port {port}")
        assert hub.visitor().get("/").status == 200
