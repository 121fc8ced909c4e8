"""Blobs on a real file system: names, order of writes, leftovers, a card in trouble."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.domain.errors import NoRoom, NotFound
from hub.domain.notices import BlobRef
from hub.storage.blobs import NOTICES, PIECE, UPLOADS, BlobStore, Found, Inspection, Reserve

HOUR_MS = 3_600_000
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def blobs(data_folder: Path) -> BlobStore:
    store = BlobStore(data_folder)
    store.open()
    return store


def staged(store: BlobStore, data: bytes, name: str = "upload") -> Path:
    path = store.staging / name
    path.write_bytes(data)
    return path


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())


def named(data: bytes) -> BlobRef:
    """What BlobRef says of ``data``, worked out the plain way."""
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
    piece_list = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return BlobRef(hashlib.sha256(data).hexdigest(), len(data), hashlib.sha256(piece_list).hexdigest())


def test_a_kept_file_lies_under_its_hash_and_has_left_the_staging_folder(
    blobs: BlobStore, data_folder: Path
) -> None:
    ref = blobs.keep(staged(blobs, b"bunting"))

    assert ref == named(b"bunting")
    assert list(files(data_folder)) == [data_folder / "blobs" / ref.sha256[:2] / ref.sha256]
    assert blobs.read(ref.sha256) == b"bunting"
    assert blobs.exists(ref.sha256)
    assert blobs.verify(ref.sha256)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    size=st.one_of(
        st.integers(0, 3 * PIECE), st.sampled_from([0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
    ),
    letter=st.binary(min_size=1, max_size=1),
)
def test_name_size_and_pieces_are_those_of_the_bytes(blobs: BlobStore, size: int, letter: bytes) -> None:
    data = letter * size

    ref = blobs.keep_bytes(data)

    assert ref == named(data)
    assert hashlib.sha256(blobs.pieces(ref.sha256)).hexdigest() == ref.pieces
    assert len(blobs.pieces(ref.sha256)) == 32 * -(-size // PIECE)


def test_equal_bytes_are_kept_once(blobs: BlobStore, data_folder: Path) -> None:
    first = blobs.keep(staged(blobs, b"twice", "one"))
    second = blobs.keep(staged(blobs, b"twice", "two"))

    assert first == second
    assert len(list(files(data_folder))) == 1


def test_a_blob_of_the_wrong_size_is_healed_by_keeping_its_bytes_again(blobs: BlobStore) -> None:
    ref = blobs.keep_bytes(b"whole")
    blobs.path(ref.sha256).write_bytes(b"who")
    assert not blobs.verify(ref.sha256)

    blobs.keep_bytes(b"whole")

    assert blobs.verify(ref.sha256)


def test_bytes_that_changed_on_the_card_are_healed_by_keeping_them_again(blobs: BlobStore) -> None:
    ref = blobs.keep_bytes(b"whole")
    blobs.path(ref.sha256).write_bytes(b"whale")

    blobs.keep_bytes(b"whole")

    assert blobs.read(ref.sha256) == b"whole"


def test_a_changed_or_missing_blob_does_not_verify(blobs: BlobStore) -> None:
    ref = blobs.keep_bytes(b"whole")
    blobs.path(ref.sha256).write_bytes(b"whale")

    assert not blobs.verify(ref.sha256)
    assert not blobs.verify("0" * 64)


def test_many_threads_may_keep_the_same_bytes_at_once(blobs: BlobStore, data_folder: Path) -> None:
    start, refs = threading.Barrier(8), []

    def keep(number: int) -> None:
        path = staged(blobs, b"at once" * 1000, str(number))
        start.wait()
        refs.append(blobs.keep(path))

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert refs == [named(b"at once" * 1000)] * 8
    assert len(list(files(data_folder))) == 1


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../etc/passwd", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 63 + "/",
     "a" * 64 + "\n", "aa/" + "a" * 61, "\N{ARABIC-INDIC DIGIT ONE}" * 64],
)  # fmt: skip
def test_what_is_not_a_hash_is_never_joined_to_a_path(blobs: BlobStore, name: str) -> None:
    for use in (blobs.path, blobs.read, blobs.exists, blobs.pieces, blobs.verify, blobs.remove):
        with pytest.raises(NotFound):
            use(name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text())
def test_no_text_leads_out_of_the_blobs_folder(blobs: BlobStore, data_folder: Path, name: str) -> None:
    try:
        path = blobs.path(name)
    except NotFound:
        return
    assert path.parent.parent == data_folder / "blobs"


def test_what_is_not_here_is_not_found(blobs: BlobStore) -> None:
    assert not blobs.exists("0" * 64)
    with pytest.raises(NotFound):
        blobs.read("0" * 64)
    with pytest.raises(NotFound):
        blobs.pieces("0" * 64)


def test_a_removed_blob_is_gone_and_removing_it_again_is_no_fault(
    blobs: BlobStore, data_folder: Path
) -> None:
    ref = blobs.keep_bytes(b"erase me")

    blobs.remove(ref.sha256)
    blobs.remove(ref.sha256)

    assert list(files(data_folder)) == []


def test_a_link_in_the_staging_folder_is_not_kept(blobs: BlobStore, data_folder: Path) -> None:
    secret = data_folder / "key"
    secret.write_bytes(b"the hub's own")
    link = blobs.staging / "upload"
    link.symlink_to(secret)

    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        blobs.keep(link)

    assert list(files(data_folder)) == [secret]


def test_opening_empties_the_staging_folder_and_nothing_else(data_folder: Path) -> None:
    store = BlobStore(data_folder)
    store.open()
    ref = store.keep_bytes(b"stays")
    outside = data_folder / "outside"
    outside.mkdir()
    (outside / "stays").write_bytes(b"too")
    staged(store, b"half an upl")
    (store.staging / "job").mkdir()
    (store.staging / "job" / "1.jpg").write_bytes(b"half a pict")
    (store.staging / "link").symlink_to(outside, target_is_directory=True)

    BlobStore(data_folder).open()

    assert list(store.staging.iterdir()) == []
    assert store.verify(ref.sha256)
    assert (outside / "stays").read_bytes() == b"too"


class Journal:
    """The order of the calls that make a blob durable."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.lines: list[str] = []
        fsync, rename, unlink = os.fsync, Path.rename, Path.unlink

        def name(path: Path) -> str:
            return str(path.relative_to(root))

        def noted_fsync(descriptor: int) -> None:
            self.lines.append(f"fsync {name(Path(f'/proc/self/fd/{descriptor}').readlink())}")
            fsync(descriptor)

        def noted_rename(path: Path, target: Path) -> Path:
            self.lines.append(f"rename {name(path)} {name(target)}")
            return rename(path, target)

        def noted_unlink(path: Path, missing_ok: bool = False) -> None:
            if path.exists():
                self.lines.append(f"unlink {name(path)}")
            unlink(path, missing_ok)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "rename", noted_rename)
        monkeypatch.setattr(Path, "unlink", noted_unlink)


def test_bytes_are_on_the_card_before_the_name_and_the_name_before_the_answer(
    blobs: BlobStore, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = staged(blobs, b"in order")
    journal = Journal(monkeypatch, data_folder)

    sha256 = blobs.keep(upload).sha256

    folder = f"blobs/{sha256[:2]}"
    assert journal.lines == [
        "fsync tmp/upload",
        "fsync blobs",  # the folder is new
        f"rename tmp/upload {folder}/{sha256}",
        f"fsync {folder}",
    ]


def test_bytes_that_are_kept_again_replace_those_that_were_there_in_the_same_order(
    blobs: BlobStore, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = blobs.keep_bytes(b"again").sha256
    upload = staged(blobs, b"again")
    journal = Journal(monkeypatch, data_folder)

    blobs.keep(upload)

    folder = f"blobs/{sha256[:2]}"
    assert journal.lines == [
        "fsync tmp/upload",
        f"rename tmp/upload {folder}/{sha256}",
        f"fsync {folder}",
    ]


def test_a_removal_is_on_the_card_before_the_answer(
    blobs: BlobStore, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = blobs.keep_bytes(b"erase me").sha256
    journal = Journal(monkeypatch, data_folder)

    blobs.remove(sha256)

    assert journal.lines == [f"unlink blobs/{sha256[:2]}/{sha256}", f"fsync blobs/{sha256[:2]}"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_card_in_trouble_means_no_room_and_leaves_nothing_behind(
    blobs: BlobStore, data_folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(NoRoom):
            blobs.keep_bytes(b"no room")
    assert list(files(data_folder)) == []

    assert blobs.verify(blobs.keep_bytes(b"room again").sha256)  # without a new start


def test_after_a_folder_could_not_be_synced_nothing_is_promised_any_more(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def failing_for_folders(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_for_folders)
        with pytest.raises(NoRoom):
            blobs.keep_bytes(b"perhaps")

    assert blobs.failed is not None
    with pytest.raises(NoRoom):
        blobs.keep_bytes(b"perhaps")


def test_the_collector_takes_old_blobs_without_a_row_and_no_others(
    blobs: BlobStore, data_folder: Path
) -> None:
    old, used, young, again = (
        blobs.keep_bytes(data).sha256 for data in (b"old", b"used", b"young", b"again")
    )
    now_ms = blobs.path(young).stat().st_mtime_ns // 1_000_000
    for sha256 in (old, used, again):
        os.utime(blobs.path(sha256), ns=(0, (now_ms - HOUR_MS - 1000) * 1_000_000))
    blobs.keep_bytes(b"again")  # a second resident posts it: its row is on the way
    foreign = data_folder / "blobs" / old[:2] / "lost+found"
    foreign.write_bytes(b"not ours")
    os.utime(foreign, (0, 0))

    removed = blobs.collect({used}, older_than_ms=HOUR_MS, now_ms=now_ms)

    assert removed == [old]
    assert sorted(files(data_folder)) == sorted([*map(blobs.path, (used, young, again)), foreign])


def test_the_collector_leaves_uploads_and_the_quarantine_alone(blobs: BlobStore, data_folder: Path) -> None:
    broken = spoilt(blobs, b"to be broken")
    assert blobs.set_aside(inspected(blobs, broken))
    upload = data_folder / "uploads" / ("a" * 64)
    upload.parent.mkdir()
    upload.write_bytes(b"half a film")
    for path in files(data_folder):
        os.utime(path, (0, 0))

    assert blobs.collect(set(), older_than_ms=HOUR_MS, now_ms=10 * HOUR_MS) == []

    assert sorted(files(data_folder)) == sorted([data_folder / "quarantine" / broken, upload])


def test_what_is_put_up_while_the_collector_runs_stays(blobs: BlobStore) -> None:
    """Unnamed blobs lie there for a day; people put the same bytes up while they are collected."""
    start = threading.Barrier(3)
    lost: list[str] = []
    texts = [b"%d " % number * 50 for number in range(60)]
    done = threading.Event()

    def put_up(mine: list[bytes]) -> None:
        start.wait()
        for text in mine * 4:
            sha256 = blobs.keep_bytes(text).sha256
            # Its row is being committed now: from here on it has to be there.
            lost.extend(sha256 for _ in range(3) if not blobs.exists(sha256))
            os.utime(blobs.path(sha256), (0, 0))  # and now it is old again, as if the row had never come

    def collect() -> None:
        start.wait()
        while not done.is_set():
            blobs.collect(set(), older_than_ms=HOUR_MS, now_ms=2 * HOUR_MS)

    threads = [threading.Thread(target=put_up, args=(texts[part::2],)) for part in range(2)]
    collector = threading.Thread(target=collect)
    collector.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    collector.join()
    assert lost == []


def spoilt(store: BlobStore, data: bytes) -> str:
    """A blob with one bit turned over since it was kept."""
    sha256 = store.keep_bytes(data).sha256
    store.path(sha256).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    return sha256


def inspected(store: BlobStore, sha256: str, step: int = 1000) -> Inspection:
    """A look to the end."""
    inspection = store.inspect(sha256)
    while inspection.found is None:
        inspection.read(step)
    return inspection


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 3000, 700_000])
def test_an_inspection_tells_sound_from_broken_whatever_the_steps(blobs: BlobStore, size: int) -> None:
    sha256 = blobs.keep_bytes(b"x" * size).sha256
    assert inspected(blobs, sha256).found is Found.SOUND
    blobs.path(sha256).write_bytes(b"x" * (size - 1) + b"y" if size else b"z")
    assert inspected(blobs, sha256).found is Found.BROKEN
    blobs.remove(sha256)
    assert inspected(blobs, sha256).found is Found.GONE


def test_a_file_that_has_become_something_else_or_cannot_be_read_is_broken(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, folder, dead = (blobs.keep_bytes(data).sha256 for data in (b"link", b"folder", b"dead"))
    for sha256 in (link, folder):
        blobs.path(sha256).unlink()
    blobs.path(link).symlink_to(blobs.path(dead))
    blobs.path(folder).mkdir()

    def failing(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", failing)
        looks = [inspected(blobs, sha256) for sha256 in (link, dead)]
    looks.append(inspected(blobs, folder))
    assert [look.found for look in looks] == [Found.BROKEN] * 3
    assert all(blobs.set_aside(look) for look in looks)
    assert blobs.set_aside_names() == sorted([link, folder, dead])


def test_a_fault_that_is_not_the_cards_says_nothing_about_a_blob(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspection = blobs.inspect(blobs.keep_bytes(b"well").sha256)
    monkeypatch.setattr(os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOMEM, "no memory")))
    with pytest.raises(OSError, match="no memory"):
        inspection.read(100)
    assert inspection.found is None


def test_a_broken_blob_is_moved_never_deleted_and_both_folders_are_synced(
    blobs: BlobStore, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = spoilt(blobs, b"spoilt")
    inspection = inspected(blobs, sha256)
    journal = Journal(monkeypatch, data_folder)

    assert blobs.set_aside(inspection)

    assert journal.lines == [
        "fsync .",
        f"rename blobs/{sha256[:2]}/{sha256} quarantine/{sha256}",
        "fsync quarantine",
        f"fsync blobs/{sha256[:2]}",
    ]
    assert (data_folder / "quarantine" / sha256).read_bytes() == b"rpoilt"
    assert not blobs.exists(sha256)


def test_what_was_kept_again_since_it_was_found_broken_is_not_set_aside(blobs: BlobStore) -> None:
    sha256 = spoilt(blobs, b"spoilt")
    inspection = inspected(blobs, sha256)
    blobs.keep_bytes(b"spoilt")
    assert not blobs.set_aside(inspection)
    assert blobs.verify(sha256)


def test_what_is_kept_again_in_the_middle_of_an_inspection_is_read_from_its_start(blobs: BlobStore) -> None:
    sha256 = spoilt(blobs, b"spoilt" * 100)
    inspection = blobs.inspect(sha256)
    inspection.read(100)
    blobs.keep_bytes(b"spoilt" * 100)
    while inspection.found is None:
        inspection.read(100)
    assert inspection.found is Found.SOUND


def test_what_is_removed_is_removed_from_the_quarantine_too(blobs: BlobStore, data_folder: Path) -> None:
    sha256 = spoilt(blobs, b"erase me")
    blobs.set_aside(inspected(blobs, sha256))
    blobs.remove(sha256)
    assert list(files(data_folder)) == []


def test_what_is_sound_after_all_is_brought_back_and_the_rest_is_not(
    blobs: BlobStore, data_folder: Path
) -> None:
    loose, broken = spoilt(blobs, b"loose plug"), spoilt(blobs, b"broken")
    for sha256 in (loose, broken):
        blobs.set_aside(inspected(blobs, sha256))
    (data_folder / "quarantine" / loose).write_bytes(b"loose plug")
    for sha256 in blobs.set_aside_names():
        look = blobs.inspect_set_aside(sha256)
        while look.found is None:
            look.read(1000)
        blobs.bring_back(look)
    assert blobs.verify(loose)
    assert blobs.set_aside_names() == [broken]
    blobs.drop_set_aside(broken)
    blobs.drop_set_aside(broken)
    assert blobs.set_aside_names() == []


def test_all_blobs_are_walked_in_order_and_from_any_place(blobs: BlobStore) -> None:
    every = sorted(blobs.keep_bytes(b"%d" % number).sha256 for number in range(300))
    (blobs.path(every[0]).parent / "lost+found").write_bytes(b"not ours")
    walked: list[str] = []
    while names := blobs.names_after(walked[-1] if walked else ""):
        walked += names
    assert walked == every
    for place in (0, 100, 298):
        assert blobs.names_after(every[place])[0] == every[place + 1]
    assert blobs.names_after(every[-1]) == []


def test_a_card_that_can_be_written_is_not_read_only(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not blobs.is_read_only()
    assert list(blobs.staging.iterdir()) == []

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refuse)
    assert blobs.is_read_only()


def test_room_is_what_the_reserve_leaves(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 <= blobs.free_bytes() <= blobs.size_bytes()

    monkeypatch.setattr(blobs, "size_bytes", lambda: 32_000_000_000)
    monkeypatch.setattr(blobs, "free_bytes", lambda: 3_200_000_000)
    blobs.require_room(UPLOADS)
    with pytest.raises(NoRoom):
        blobs.require_room(UPLOADS, size=1)
    blobs.require_room(NOTICES, size=3_000_000_000)


def test_the_reserve_is_a_share_of_the_card_and_never_less_than_its_least() -> None:
    assert UPLOADS.of(8_000_000_000) == 1_000_000_000
    assert UPLOADS.of(64_000_000_000) == 6_400_000_000
    assert Reserve(share=0.0, least=5).of(1_000_000) == 5


KEEP_FOR_EVER = """
import os, sys
from pathlib import Path
from hub.storage.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]))
store.open()
number = 0
while True:
    data = number.to_bytes(4, "big") * 50_000
    print(store.keep_bytes(data).sha256, flush=True)
    number += 1
"""


@pytest.mark.parametrize("answers", [1, 7, 20])
def test_a_kill_leaves_whole_blobs_and_files_in_staging_that_the_next_start_clears(
    data_folder: Path, answers: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KEEP_FOR_EVER, str(data_folder)],
        stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(answers)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]

    store = BlobStore(data_folder)
    store.open()

    assert all(store.verify(sha256) for sha256 in acknowledged)
    assert list(store.staging.iterdir()) == []
    assert all(store.verify(path.name) for path in files(data_folder))
