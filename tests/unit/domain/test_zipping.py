"""Archives laid out beforehand: every byte where it was said to be, and every unzipper agrees."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.zipping import Entry, Slice, ZipLayout
from tests.needs import program

GIB = 1024**3
MS = 1_795_426_860_000
"""09:41 UTC on Monday 23 November 2026."""


def entry(name: str, data: bytes, modified_ms: int = MS) -> Entry:
    return Entry(name, len(data), zlib.crc32(data), modified_ms)


def filled(layout: ZipLayout, files: Sequence[bytes], start: int = 0, stop: int | None = None) -> bytes:
    """The bytes of an archive, its slices taken from ``files``."""
    return b"".join(
        piece if isinstance(piece, bytes) else files[piece.entry][piece.offset : piece.offset + piece.length]
        for piece in layout.segments(start, stop)
    )


def archive(members: dict[str, bytes]) -> bytes:
    layout = ZipLayout([entry(name, data) for name, data in members.items()], UTC)
    whole = filled(layout, list(members.values()))
    assert len(whole) == layout.length
    return whole


class Sparse(io.RawIOBase):
    """A whole archive as a file that makes its bytes when they are read; files are all zeros."""

    def __init__(self, layout: ZipLayout) -> None:
        self._layout = layout
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._layout.length}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._layout.length if size is None or size < 0 else self._at + size
        pieces = self._layout.segments(self._at, stop)
        data = b"".join(piece if isinstance(piece, bytes) else bytes(piece.length) for piece in pieces)
        self._at += len(data)
        return data


MEMBERS = {
    "Cofnodion Tŷ’r Ysgol.txt": b"Croeso i bawb.\n",
    "جدول الاجتماعات.pdf": b"%PDF-1.7\n" * 100,
    "empty.txt": b"",
    "film.mp4": bytes(range(256)) * 1000,
    "Łódź 🚲.jpg": b"\xff\xd8\xff",
}


def test_an_archive_is_read_by_python_with_names_in_any_script_and_their_bytes() -> None:
    with zipfile.ZipFile(io.BytesIO(archive(MEMBERS))) as opened:
        assert opened.testzip() is None
        assert {info.filename: opened.read(info) for info in opened.infolist()} == MEMBERS
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
        assert {info.flag_bits for info in opened.infolist()} == {1 << 11}
        assert {info.external_attr >> 16 for info in opened.infolist()} == {0o100644}


@pytest.mark.parametrize("members", [MEMBERS, {}], ids=["files", "nothing"])
def test_unzip_finds_nothing_wrong_with_an_archive(members: dict[str, bytes], tmp_path: Path) -> None:
    unzip = program("unzip", "unzip")
    whole = tmp_path / "a.zip"
    whole.write_bytes(archive(members))
    tested = subprocess.run([unzip, "-t", whole], capture_output=True, text=True, env={"LC_ALL": "C.UTF-8"})
    if not members:
        assert "zipfile is empty" in tested.stdout + tested.stderr
        return
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert f"No errors detected in compressed data of {whole}" in tested.stdout
    for name in members:
        assert name in tested.stdout
    subprocess.run([unzip, "-q", whole, "-d", tmp_path / "out"], check=True, env={"LC_ALL": "C.UTF-8"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == members


def test_an_empty_archive_is_one_that_python_opens() -> None:
    with zipfile.ZipFile(io.BytesIO(archive({}))) as opened:
        assert opened.namelist() == []


def test_times_are_told_as_the_clock_on_the_wall_shows_them() -> None:
    karachi = timezone(timedelta(hours=5))
    for zone, hour in ((UTC, 9), (karachi, 14)):
        layout = ZipLayout([entry("a", b"")], zone)
        with zipfile.ZipFile(io.BytesIO(filled(layout, [b""]))) as opened:
            assert opened.infolist()[0].date_time == (2026, 11, 23, hour, 41, 0)


@pytest.mark.parametrize(
    ("modified_ms", "shown"),
    [
        (0, (1980, 1, 1, 0, 0, 0)),
        (-(10**18), (1980, 1, 1, 0, 0, 0)),
        (10**18, (2107, 12, 31, 23, 59, 58)),
        (4_354_819_200_000, (2107, 12, 31, 23, 59, 58)),
        (315_532_803_000, (1980, 1, 1, 0, 0, 2)),
    ],
)
def test_a_time_that_dos_does_not_know_is_the_nearest_that_it_knows(
    modified_ms: int, shown: tuple[int, ...]
) -> None:
    whole = filled(ZipLayout([entry("a", b"", modified_ms)], UTC), [b""])
    with zipfile.ZipFile(io.BytesIO(whole)) as opened:
        assert opened.infolist()[0].date_time == shown


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc/passwd", "..\\x", "a\0b", "a" * 65_536, "\ud800"]
)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - one of three
        ZipLayout([Entry(name, 0, 0, 0)], UTC)


@pytest.mark.parametrize(("size", "crc32"), [(-1, 0), (0, -1), (0, 2**32)])
def test_sizes_and_sums_that_cannot_be_are_refused(size: int, crc32: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        ZipLayout([Entry("a", size, crc32, 0)], UTC)


files = st.lists(
    st.tuples(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=20
        ),
        st.binary(max_size=60),
        st.integers(-(2**60), 2**60),
    ).filter(lambda each: each[0] not in (".", "..")),
    max_size=8,
)


@given(files=files, data=st.data())
def test_any_range_of_an_archive_is_the_same_slice_of_the_whole(
    files: list[tuple[str, bytes, int]], data: st.DataObject
) -> None:
    layout = ZipLayout([entry(*each) for each in files], UTC)
    bodies = [body for _, body, _ in files]
    whole = filled(layout, bodies)
    assert len(whole) == layout.length
    assert filled(ZipLayout([entry(*each) for each in files], UTC), bodies) == whole
    for _ in range(5):
        start = data.draw(st.integers(0, layout.length))
        stop = data.draw(st.integers(start, layout.length + 9))
        assert filled(layout, bodies, start, stop) == whole[start:stop]
    at = data.draw(st.integers(0, layout.length))
    assert filled(layout, bodies, at, at + 1) == whole[at : at + 1]
    assert all(
        piece if isinstance(piece, bytes) else piece.length > 0
        for piece in layout.segments(at, layout.length)
    )


sizes = st.one_of(
    st.integers(0, 70),
    st.sampled_from([2**32 - 2, 2**32 - 1, 2**32, 5 * GIB, 2**40]),
    st.integers(0, 2**42),
)


def spans(pieces: Iterable[bytes | Slice]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)


@given(sizes=st.lists(sizes, max_size=12), data=st.data())
def test_files_of_any_size_are_where_python_looks_for_them(sizes: list[int], data: st.DataObject) -> None:
    entries = [
        Entry(f"{number}.mp4", size, zlib.crc32(bytes(size)) if size < 9_999 else number, MS)
        for number, size in enumerate(sizes)
    ]
    layout = ZipLayout(entries, UTC)
    assert spans(layout.segments()) == layout.length
    start = data.draw(st.integers(0, layout.length))
    assert spans(layout.segments(start)) == layout.length - start
    with zipfile.ZipFile(Sparse(layout)) as opened:
        assert [
            (info.filename, info.file_size, info.compress_size, info.CRC) for info in opened.infolist()
        ] == [(each.name, each.size, each.size, each.crc32) for each in entries]
        for info in opened.infolist()[-3:]:
            with opened.open(info) as member:  # reads and compares the local header
                assert member.read(10) == bytes(min(10, info.file_size))


def test_zip64_fields_stand_only_where_they_are_needed() -> None:
    small = filled(ZipLayout([Entry("a", 3, 0, MS)], UTC), [b"abc"])
    assert b"PK\6\6" not in small
    assert small[4:6] == struct.pack("<H", 20)
    long = b"".join(
        piece
        for piece in ZipLayout([Entry("a", 2**32 - 1, 0, MS)], UTC).segments()
        if isinstance(piece, bytes)
    )
    assert long.count(struct.pack("<2H", 1, 16)) == 2  # both sizes, once locally and once in the directory
    assert long[4:6] == struct.pack("<H", 45)
    assert b"PK\6\6" in long
    assert b"PK\6\7" in long


def test_more_files_than_the_old_format_can_count_are_all_there() -> None:
    count = 65_540
    layout = ZipLayout((Entry(f"{number}", 1, 0, MS) for number in range(count)), UTC)
    assert spans(layout.segments()) == layout.length
    with zipfile.ZipFile(Sparse(layout)) as opened:
        assert opened.namelist() == [str(number) for number in range(count)]
    middle = layout.length // 2
    assert spans(layout.segments(middle, middle + 1000)) == 1000


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_unzip_reads_past_four_gibibytes(tmp_path: Path) -> None:
    unzip = program("unzip", "unzip")
    tail = b"the last file\n"
    size = 4 * GIB + 100_000
    layout = ZipLayout([Entry("long.mov", size, 0, MS), entry("last.txt", tail)], UTC)
    whole = tmp_path / "long.zip"
    with whole.open("wb") as file:
        for piece in layout.segments():
            if isinstance(piece, bytes):
                file.write(piece)
            elif piece.entry == 0:
                file.seek(piece.length, os.SEEK_CUR)  # a hole: zeros that take no room
            else:
                file.write(tail)
    assert whole.stat().st_size == layout.length
    assert whole.stat().st_blocks * 512 < 1024**2
    with zipfile.ZipFile(whole) as opened:
        assert opened.read("last.txt") == tail
        with opened.open("long.mov") as long:
            assert long.read(4096) == bytes(4096)
    tested = subprocess.run([unzip, "-t", whole, "last.txt"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    listed = subprocess.run([unzip, "-l", whole], capture_output=True, text=True, check=True)
    assert str(size) in listed.stdout
