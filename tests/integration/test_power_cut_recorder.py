"""The power-cut proof itself: does it record faithfully, and does it find what was broken on purpose?"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.powercut import recorder, writer
from tests.powercut.disk import NEVER, Acknowledged, Entry, Sync, Write
from tests.powercut.proof import Report, State, prove, rebuild
from tests.powercut.recorder import NotFollowed, Recorder, Recording, load


@pytest.fixture(autouse=True)
def strace() -> None:
    recorder.needs_strace()


@pytest.fixture
def record(data_folder: Path, tmp_path: Path) -> Callable[[str], Recording]:
    """Run the given Python in the data folder and record it."""

    def run(program: str) -> Recording:
        made = Recorder(data_folder, tmp_path / "notes")
        with made.program(
            [sys.executable, "-c", f"import os; os.chdir({str(data_folder)!r})\n{program}"]
        ) as traced:
            for _ in traced.stdout:
                pass
            assert traced.wait() == 0
        return made.finish()

    return run


def board(fault: str = "") -> Callable[[Recorder], None]:
    """Two runs of the sample writer, the first killed in the middle of its work."""

    def run(made: Recorder) -> None:
        command = [sys.executable, writer.__file__, str(made.folder)]
        with made.program([*command, "1", "60", fault]) as traced:
            for told, _ in enumerate(traced.stdout):
                if told == 40:
                    traced.send_signal(signal.SIGKILL)
        with made.program([*command, "1000", "20", fault]) as traced:
            for _ in traced.stdout:
                pass
            assert traced.wait() == 0

    return run


def check(state: State) -> Iterator[str]:
    return writer.faults_in(state.folder, list(state.acknowledged))


def proof(data_folder: Path, tmp_path: Path, states: int, fault: str = "") -> Report:
    return prove(board(fault), check, folder=data_folder, notes=tmp_path / "notes", states=states, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_program_that_keeps_its_promises_survives_three_hundred_cuts(
    data_folder: Path, tmp_path: Path
) -> None:
    report = proof(data_folder, tmp_path, 300)
    assert not report.failures, str(report)
    assert report.acknowledgements > 60
    assert report.distinct > 150


@pytest.mark.parametrize("fault", writer.FAULTS)
def test_a_fault_put_in_on_purpose_is_found_within_sixty_cuts(
    fault: str, data_folder: Path, tmp_path: Path
) -> None:
    assert proof(data_folder, tmp_path, 60, fault).failures


def test_a_failure_comes_back_from_its_seed_and_number_alone(data_folder: Path, tmp_path: Path) -> None:
    report = proof(data_folder, tmp_path, 60, "blob-unsynced")
    failure = report.failures[-1]
    again = rebuild(load(report.notes), failure.mode, report.seed, failure.number, tmp_path / "again")
    assert tuple(check(again)) == failure.faults


def test_every_way_to_write_is_followed(record: Callable[[str], Recording]) -> None:
    recording = record(
        """
import subprocess, sys, threading
one = os.open("one", os.O_RDWR | os.O_CREAT, 0o600)
os.write(one, b"0123456789")
os.pwrite(one, b"abc", 5)
os.writev(one, [b"xx", b"yy"])
os.pwritev(one, [b"Q", b"R"], 2)
os.lseek(one, 1, os.SEEK_SET)
other = os.dup(one)
os.write(other, b"dup")
os.write(one, b"on")
thread = threading.Thread(target=os.write, args=(one, b"thread"))
thread.start()
thread.join()
os.mkdir("inner")
os.rename("one", "inner/two")
os.write(one, b"renamed")
os.ftruncate(one, 12)
os.truncate("inner/two", 11)
os.posix_fallocate(one, 0, 70000)
with open("log", "ab", buffering=0) as log:
    log.write(b"first ")
with open("log", "ab", buffering=0) as log:
    log.write(b"second")
with open("log", "r+b") as log:
    log.seek(3)
    log.write(b"***")
if os.fork() == 0:
    os.write(one, b"child")
    os._exit(0)
os.wait()
os.write(one, b"parent")
piped = "import sys; sys.stdout.write('piped')"
subprocess.run([sys.executable, "-c", piped], stdout=open("out", "wb"), check=True)
inner = os.open("inner", os.O_RDONLY)
os.link("two", "three", src_dir_fd=inner, dst_dir_fd=inner)
os.unlink("two", dir_fd=inner)
open("gone", "wb").write(b"x" * 100000)
os.unlink("gone")
os.replace("out", "log")
os.mkdir("empty")
os.rmdir("empty")
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("admin.sock")
os.fsync(inner)
os.fdatasync(one)
print("ACK all of it", flush=True)
"""
    )
    disk = recording.disk()
    disk.advance(NEVER)
    tree = disk.as_the_program_saw_it()
    assert sorted(tree) == ["admin.sock", "inner", "inner/three", "log"]
    assert tree["log"][2] == b"piped"
    assert disk.acknowledged == ["all of it"]
    assert recording.count(Sync) == 2
    assert recording.nodes[tree["inner/three"][1]].permissions == 0o600


def test_a_file_that_syncs_itself_needs_no_call_for_it(record: Callable[[str], Recording]) -> None:
    recording = record("os.write(os.open('a', os.O_WRONLY | os.O_CREAT | os.O_DSYNC), b'bytes')")
    assert (recording.count(Write), recording.count(Sync)) == (1, 1)


def test_what_was_there_before_the_run_is_on_the_disk(
    data_folder: Path, record: Callable[[str], Recording]
) -> None:
    (data_folder / "old").mkdir()
    (data_folder / "old" / "file").write_bytes(b"before")
    recording = record("os.unlink('old/file')")
    assert {
        "old/file" in recording_tree for recording_tree in (_after(recording, seed) for seed in range(50))
    } == {True, False}


def _after(recording: Recording, seed: int) -> set[str]:
    disk = recording.disk()
    disk.advance(NEVER)
    return set(disk.after_the_cut("strict", Random(seed)).nodes)


@pytest.mark.parametrize("came_to_be", [True, False])
def test_a_call_that_a_kill_cut_off_counts_if_the_folder_shows_it(came_to_be: bool, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "before").mkdir(parents=True)
    (notes / "folder").write_text("/d")
    (notes / "trace.0.after").mkdir()
    calls = [
        'openat(AT_FDCWD</>, "/d/old", O_WRONLY|O_CREAT, 0600) = 3</d/old>',
        'write(3</d/old>, "abcd" <unfinished ...>',
        'rename("/d/old", "/d/new" <unfinished ...>',
        "<... write resumed> <unfinished ...>) = ?",
    ]
    hexadecimal = [re.sub(r'(?<=[<"])/[^>"]*|abcd', lambda part: _hex(part[0]), call) for call in calls]
    lines = [f"{7 + (number == 2)} {call}\n" for number, call in enumerate(hexadecimal)]
    (notes / "trace.0").write_text("".join(lines))
    (notes / "trace.0.after" / ("new" if came_to_be else "old")).write_bytes(b"ab")
    recording = load(notes)
    assert [event.data for event in recording.events if isinstance(event, Write)] == [b"ab"]
    assert recording.count(Entry) == (2 if came_to_be else 1)


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (
            "import mmap; f = open('a', 'w+b'); f.truncate(4096); mmap.mmap(f.fileno(), 4096)[0] = 1",
            "mapping",
        ),
        ("open('a', 'wb').write(b'x'); import shutil; shutil.copyfile('a', 'b')", "inside the kernel"),
        ("os.symlink('a', 'b')", "neither a file nor a folder"),
        ("os.open('.', os.O_RDWR | os.O_TMPFILE)", "without a name"),
        ("open('../b', 'wb').write(b'x'); os.rename('../b', 'b')", "into or out of the folder"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    program: str, why: str, record: Callable[[str], Recording]
) -> None:
    with pytest.raises(NotFollowed, match=why):
        record(program)


def test_bytes_that_come_from_elsewhere_are_noticed(record: Callable[[str], Recording]) -> None:
    with pytest.raises(NotFollowed, match="does not explain what is in a"):
        record(
            "f = os.open('a', os.O_RDWR | os.O_CREAT); os.write(f, b'12345'); os.lseek(f, 0, 0);"
            "os.read(f, 2); os.write(f, b'x')"
        )


def test_an_acknowledgement_on_a_socket_is_seen_where_it_was_sent(data_folder: Path, tmp_path: Path) -> None:
    made = Recorder(data_folder, tmp_path / "notes")
    program = """
import os, socket, sys
near, far = socket.socketpair()
file = os.open(sys.argv[1] + "/a", os.O_WRONLY | os.O_CREAT)
os.write(file, b"1")
near.send(b"HTTP/1.1 303 See Other\\r\\nServer: x\\r\\nLocation: /n/abc\\r\\n\\r\\n")
os.write(file, b"2")
near.sendmsg([b"HTTP/1.1 303 See Other\\r\\n", b"Location: /n/def\\r\\n\\r\\n"])
near.send(b"HTTP/1.1 422 No\\r\\n\\r\\n")
"""
    with made.program([sys.executable, "-c", program, made.folder]) as traced:
        assert traced.wait() == 0
    recording = made.finish(recorder.ack_pattern(rb"HTTP/1\.1 303 .*?\r\nLocation: (\S+)"))
    order = [
        event.what if isinstance(event, Acknowledged) else event.data.decode()
        for event in recording.events
        if isinstance(event, Acknowledged | Write)
    ]
    assert order == ["1", "/n/abc", "2", "/n/def"]
