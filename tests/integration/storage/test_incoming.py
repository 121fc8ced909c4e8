"""Files on their way in, on a real file system: names, promises, what is taken back, a card in trouble."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hub.domain.errors import NoRoom, NotFound
from hub.domain.notices import BlobRef
from hub.storage.blobs import PIECE, BlobStore
from hub.storage.incoming import FLUSH, Arrived, Incoming, Promised, agree

ROOT = Path(__file__).resolve().parents[3]


def named(data: bytes) -> BlobRef:
    """What BlobRef says of ``data``, worked out the plain way."""
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
    piece_list = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return BlobRef(hashlib.sha256(data).hexdigest(), len(data), hashlib.sha256(piece_list).hexdigest())


def arrive(path: Path, data: bytes) -> Arrived:
    incoming = Incoming.begin(path)
    incoming.write([data] if data else [])
    arrived = incoming.finish()
    incoming.close()
    return arrived


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    sizes=st.lists(
        st.one_of(st.integers(1, 2 * PIECE), st.sampled_from([1, PIECE - 1, PIECE, PIECE + 1])), max_size=6
    )
)
def test_a_file_is_named_by_its_bytes_however_they_come(tmp_path: Path, sizes: list[int]) -> None:
    chunks = [bytes([place + 1]) * size for place, size in enumerate(sizes)]
    path = tmp_path / "file"
    incoming = Incoming.begin(path)
    for chunk in chunks:
        incoming.write([chunk])
    arrived = incoming.finish()
    incoming.close()

    data = b"".join(chunks)
    assert arrived == Arrived(path, named(data), zlib.crc32(data))
    assert path.read_bytes() == data
    path.unlink()


class Appending(RuleBasedStateMachine):
    """An incoming file against a plain byte string: what is held stays, what is not may be taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "file"
        self.held = self.written = b""
        self.count = 0

    @initialize()
    def begin(self) -> None:
        self.incoming = Incoming.begin(self.path)

    @rule(sizes=st.lists(st.sampled_from([1, 7, 4096, PIECE - 3, PIECE, PIECE + 5]), min_size=1, max_size=4))
    def write(self, sizes: list[int]) -> None:
        self.count += 1
        chunks = [os.urandom(8) * (size // 8 + 1) for size in sizes]
        self.incoming.write(chunks)
        self.written += b"".join(chunks)

    @rule()
    def hold(self) -> None:
        self.incoming.sync()
        self.incoming.hold()
        self.held = self.written

    @rule()
    def rewind(self) -> None:
        self.incoming.rewind()
        self.written = self.held

    @precondition(lambda self: self.count)
    @rule()
    def cut(self) -> None:
        """The process ends, and the next one goes on from what was promised."""
        self.incoming.close()
        self.incoming = Incoming.resume(self.path, len(self.held))
        self.written = self.held

    @invariant()
    def bytes_and_names_are_those_that_were_written(self) -> None:
        if hasattr(self, "incoming"):
            assert self.incoming.offset == len(self.written)
            assert self.incoming.held == len(self.held)
            assert self.path.read_bytes() == self.written

    def teardown(self) -> None:
        if hasattr(self, "incoming"):
            arrived = self.incoming.finish()
            assert arrived == Arrived(self.path, named(self.written), zlib.crc32(self.written))
            self.incoming.close()
        self.folder.cleanup()


TestAppending = pytest.mark.timeout(60)(Appending.TestCase)
TestAppending.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


def test_more_than_the_kernel_is_told_to_forget_at_once_still_adds_up(tmp_path: Path) -> None:
    data = os.urandom(1024) * (3 * FLUSH // 1024) + b"end"

    assert arrive(tmp_path / "file", data).ref == named(data)


def test_many_small_buffers_are_written_in_order(tmp_path: Path) -> None:
    chunks = [number.to_bytes(2, "big") for number in range(3000)]
    incoming = Incoming.begin(tmp_path / "file")
    incoming.write(chunks)
    incoming.close()

    assert (tmp_path / "file").read_bytes() == b"".join(chunks)


def test_a_name_that_is_taken_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            Incoming.begin(tmp_path / name)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_missing_or_shorter_than_promised_does_not_go_on(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"abc")

    for name in ("short", "missing"):
        with pytest.raises(NotFound):
            Incoming.resume(tmp_path / name, 4)
    assert (tmp_path / "short").read_bytes() == b"abc"


def test_reading_again_can_be_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    abandon = threading.Event()
    abandon.set()

    with pytest.raises(InterruptedError):
        Incoming.resume(tmp_path / "file", 3, abandon)


def test_what_a_full_card_cut_short_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming = Incoming.begin(tmp_path / "file")
    incoming.write([b"kept"])
    incoming.hold()

    def full(descriptor: int, buffers: list[bytes]) -> int:
        if len(buffers[0]) <= 2:
            raise OSError(errno.ENOSPC, "full")
        return os.write(descriptor, bytes(buffers[0])[:2])

    with monkeypatch.context() as card:
        card.setattr(os, "writev", full)
        with pytest.raises(NoRoom):
            incoming.write([b"more"])
    incoming.rewind()
    incoming.write([b", and then"])
    arrived = incoming.finish()
    incoming.close()

    assert arrived.path.read_bytes() == b"kept, and then"
    assert arrived.ref == named(b"kept, and then")


@pytest.mark.parametrize("step", ["fdatasync", "fsync"])
def test_a_sync_that_failed_is_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    incoming = Incoming.begin(tmp_path / "file")
    incoming.write([b"lost"])

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "the card is failing")

    with monkeypatch.context() as card:
        card.setattr(os, step, fail)
        with pytest.raises(NoRoom):
            incoming.sync() if step == "fdatasync" else incoming.finish()
    assert incoming.failed
    for again in (incoming.sync, incoming.finish, incoming.rewind, lambda: incoming.write([b"more"])):
        with pytest.raises(NoRoom):
            again()
    incoming.discard()
    assert not (tmp_path / "file").exists()


def test_files_are_made_to_fit_what_was_promised(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    assert agree(folder, {}) == []
    (folder / "a folder of somebody's").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    for name, data in (
        ("long", b"abcdef"),
        ("short", b"ab"),
        ("whole", b"abcd"),
        ("torn", b"abc"),
        ("stray", b"x"),
    ):
        (folder / name).write_bytes(data)
    promised = {
        name: Promised(4, whole=name in ("whole", "torn")) for name in ("long", "short", "whole", "torn")
    }

    lost = agree(
        folder, {**promised, "missing": Promised(0, whole=False), "linked": Promised(0, whole=False)}
    )

    assert sorted(lost) == ["linked", "missing", "short", "torn"]
    left = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert left == {"long": b"abcd", "whole": b"abcd"}


# --- becoming a blob ------------------------------------------------------------------------------


@pytest.fixture
def blobs(data_folder: Path) -> BlobStore:
    store = BlobStore(data_folder)
    store.open()
    return store


def test_what_arrived_becomes_a_blob_and_stays_until_it_is_unlinked(
    blobs: BlobStore, data_folder: Path
) -> None:
    arrived = arrive(data_folder / "token", b"bunting")

    blobs.settle(arrived)
    assert arrived.path.exists()
    blobs.settle(arrived)  # the commit failed, and all of it is tried again
    arrived.path.unlink()

    assert blobs.verify(arrived.ref.sha256)
    assert list(blobs.staging.iterdir()) == []


def test_the_same_bytes_settle_once(blobs: BlobStore, data_folder: Path) -> None:
    for name in ("one", "two"):
        arrived = arrive(data_folder / name, b"twice")
        blobs.settle(arrived)
        arrived.path.unlink()

    assert [path.name for path in (data_folder / "blobs").rglob("*") if path.is_file()] == [
        arrived.ref.sha256
    ]


# --- cuts -----------------------------------------------------------------------------------------

APPEND = """
import sys
from pathlib import Path
from hub.storage.incoming import Incoming
incoming = Incoming.resume(Path(sys.argv[1]), int(sys.argv[2]))
source = open(sys.argv[3], "rb")
source.seek(int(sys.argv[2]))
while data := source.read(60_000):
    incoming.write([data])
    incoming.sync()
    print(incoming.offset, flush=True)
"""


def test_a_process_killed_while_it_appends_leaves_what_it_promised(tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    source, path = tmp_path / "source", tmp_path / "file"
    source.write_bytes(data)
    path.touch()
    promised = 0
    for after in (1, 4, 2, 9):
        words = [sys.executable, "-c", APPEND, str(path), str(promised), str(source)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            for _ in range(after):
                promised = int(process.stdout.readline())
            process.kill()
    incoming = Incoming.resume(path, promised)
    incoming.write([data[promised:]])
    arrived = incoming.finish()
    incoming.close()

    assert 900_000 <= promised < len(data)
    assert arrived.ref == named(data)
