"""A small noticeboard that keeps its promises, or breaks one on purpose: what the proof is tried on.

``python writer.py FOLDER FIRST COUNT [FAULT]`` posts COUNT notices from number FIRST on, some with a
picture, and takes some down again. Each is committed with WAL and ``synchronous=FULL``; a picture is
written, synced, renamed to its hash and its folder synced before the row that names it. Only then
it prints ``ACK post N`` or ``ACK gone N``. What notice N says is computed from N alone.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

FAULTS = ("off", "normal", "blob-unsynced", "folder-unsynced", "row-first", "early")


def text_of(number: int) -> str:
    return f"Notice {number}: " + "a ladder to borrow, ask at the blue door. " * (number % 7 + 1)


def picture_of(number: int) -> bytes | None:
    if number % 3:
        return None
    chance = random.Random(number)
    return chance.randbytes(400_000 if number % 30 == 0 else chance.randint(1, 30_000))


def leaves(number: int) -> bool:
    """Whether the notice is taken down soon after it was posted."""
    return number % 8 == 0


def open_board(folder: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    board = sqlite3.connect(folder / "board.sqlite", isolation_level=None)
    board.execute("PRAGMA journal_mode=WAL")
    board.execute(f"PRAGMA synchronous={synchronous}")
    board.execute("PRAGMA wal_autocheckpoint=40")
    board.execute(
        "CREATE TABLE IF NOT EXISTS notice (number INTEGER PRIMARY KEY, text TEXT NOT NULL, picture TEXT)"
    )
    board.execute("CREATE INDEX IF NOT EXISTS notice_text ON notice (text)")
    return board


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep(folder: Path, content: bytes, fault: str) -> None:
    name = hashlib.sha256(content).hexdigest()
    shelf = folder / "blobs" / name[:2]
    if not shelf.exists():
        shelf.mkdir()
        sync_folder(shelf.parent)
    new = folder / "tmp" / os.urandom(8).hex()
    with new.open("xb", buffering=0) as file:
        for start in range(0, len(content), 65_536):
            file.write(content[start : start + 65_536])
        if fault != "blob-unsynced":
            os.fsync(file.fileno())
    new.rename(shelf / name)
    if fault != "folder-unsynced":
        sync_folder(shelf)


def acknowledge(what: str) -> None:
    os.write(1, f"ACK {what}\n".encode())


def post(board: sqlite3.Connection, folder: Path, number: int, fault: str) -> None:
    picture = picture_of(number)
    name = None if picture is None else hashlib.sha256(picture).hexdigest()
    if picture is not None and fault != "row-first":
        keep(folder, picture, fault)
    if fault == "early":
        acknowledge(f"post {number}")
    board.execute("INSERT INTO notice VALUES (?, ?, ?)", (number, text_of(number), name))
    if picture is not None and fault == "row-first":
        keep(folder, picture, fault)
    if fault != "early":
        acknowledge(f"post {number}")


def take_down(board: sqlite3.Connection, folder: Path, number: int) -> None:
    [(name,)] = board.execute("DELETE FROM notice WHERE number = ? RETURNING picture", (number,)).fetchall()
    if name is not None:
        (folder / "blobs" / name[:2] / name).unlink()
    acknowledge(f"gone {number}")


def faults_in(folder: Path, acknowledged: list[str]) -> Iterator[str]:
    """What is wrong with a board after a cut: damage, a promise broken, or something half there."""
    with closing(open_board(folder)) as board:
        for (line,) in board.execute("PRAGMA integrity_check").fetchall():
            if line != "ok":
                yield f"the database is damaged: {line}"
        rows = {
            number: (text, name)
            for number, text, name in board.execute("SELECT number, text, picture FROM notice")
        }
    blobs = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "blobs").glob("*/*"))
    }
    for name, digest in blobs.items():
        if name != digest:
            yield f"the picture {name[:8]} is half there"
    for number, (text, name) in rows.items():
        if text != text_of(number):
            yield f"notice {number} says something else"
        if name is not None and name not in blobs:
            yield f"the picture of notice {number} is missing"
    gone = {what.removeprefix("gone ") for what in acknowledged if what.startswith("gone ")}
    for what in acknowledged:
        kind, number = what.split()
        if kind == "post" and number not in gone and int(number) not in rows and not leaves(int(number)):
            yield f"notice {number} was acknowledged and is lost"
        if kind == "gone" and int(number) in rows:
            yield f"notice {number} came back"


def main(folder: Path, first: int, count: int, fault: str = "") -> None:
    for name in ("tmp", "blobs"):
        (folder / name).mkdir(exist_ok=True)
    for left_over in (folder / "tmp").iterdir():
        left_over.unlink()
    sync_folder(folder / "tmp")
    sync_folder(folder)
    with closing(open_board(folder, {"off": "OFF", "normal": "NORMAL"}.get(fault, "FULL"))) as board:
        for number in range(first, first + count):
            post(board, folder, number, fault)
            if leaves(number - 3) and number - 3 >= first:
                take_down(board, folder, number - 3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
