from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.powercut.disk import NEVER, ROOT, Disk, Entry, Event, Mode, Node, Resize, Sync, Write

FILE = 1
MODES = st.sampled_from(("strict", "ext4"))


def disk_of(*events: Event, before: bytes = b"", files: int = 1) -> Disk:
    """Files 1, 2, … in one folder; the first is there before the run if it has bytes."""
    nodes = {ROOT: Node("folder", 0o755)}
    nodes |= {FILE + number: Node("file", 0o644) for number in range(files)}
    nodes[FILE].content[:] = before
    return Disk(nodes, {ROOT: {"a": FILE} if before else {}}, events)


def remains(disk: Disk, mode: Mode, seed: int) -> dict[str, bytes]:
    disk.advance(NEVER)
    tree = disk.after_the_cut(mode, Random(seed)).nodes
    return {path: bytes(content or b"") for path, (_, _, content) in tree.items()}


def every(disk: Disk, mode: Mode) -> list[dict[str, bytes]]:
    return [remains(disk, mode, seed) for seed in range(300)]


def create(line: int, name: str = "a", node: int = FILE) -> Entry:
    return Entry(line, line, node, None, (ROOT, name), born=True)


@given(st.integers(), MODES)
def test_what_was_synced_with_its_name_is_there_whatever_happens(seed: int, mode: Mode) -> None:
    disk = disk_of(create(1), Write(2, 2, FILE, 0, b"kept"), Sync(3, 3, FILE, True), Sync(4, 4, ROOT, False))
    assert remains(disk, mode, seed) == {"a": b"kept"}


def test_a_synced_file_can_lose_its_name_until_its_folder_is_synced_but_not_on_ext4() -> None:
    disk = disk_of(create(1), Write(2, 2, FILE, 0, b"kept"), Sync(3, 3, FILE, True))
    assert {} in every(disk, "strict")
    assert every(disk, "ext4") == [{"a": b"kept"}] * 300


def test_a_sync_that_began_before_a_write_ended_does_not_keep_it() -> None:
    disk = disk_of(Write(1, 3, FILE, 0, b"new"), Sync(2, 4, FILE, True), before=b"old")
    for mode in ("strict", "ext4"):
        assert {"a": b"old"} in every(disk, mode)


def test_a_sync_that_never_ended_keeps_nothing() -> None:
    disk = disk_of(Write(1, 1, FILE, 0, b"new"), Sync(2, NEVER, FILE, True), before=b"old")
    assert {"a": b"old"} in every(disk, "strict")


def test_a_change_under_way_elsewhere_does_not_keep_a_sync_from_its_own() -> None:
    elsewhere = Entry(1, 9, 2, None, (ROOT, "b"), born=True)
    disk = disk_of(elsewhere, create(2), Sync(3, 4, ROOT, False), Resize(9, 9, 2, 0), files=2)
    disk.advance(5)
    for mode in ("strict", "ext4"):
        trees = [set(disk.after_the_cut(mode, Random(seed)).nodes) for seed in range(100)]
        assert {"a"} in trees
        assert {"a", "b"} in trees
        assert all("a" in tree for tree in trees)


def test_pages_of_one_write_survive_in_any_combination() -> None:
    disk = disk_of(Write(1, 1, FILE, 0, b"n" * 12288), before=b"o" * 12288)
    for mode in ("strict", "ext4"):
        states = {bytes(tree["a"][at] for at in (0, 4096, 8192)) for tree in every(disk, mode)}
        assert len(states) == 8


def test_a_file_that_grew_may_hold_zeros_or_garbage_but_on_ext4_only_what_was_written() -> None:
    disk = disk_of(Write(1, 1, FILE, 4096, b"n" * 8192), before=b"o" * 4096)
    strict = {tree["a"][4096:8192] for tree in every(disk, "strict")}
    assert bytes(4096) in strict
    assert any(set(page) - set(b"\0n") for page in strict)
    assert {tree["a"][4096:] for tree in every(disk, "ext4")} == {b"", b"n" * 8192}


def test_what_follows_a_truncation_does_not_survive_without_it() -> None:
    disk = disk_of(Resize(1, 1, FILE, 0), Write(2, 2, FILE, 0, b"new"), before=b"older")
    for mode in ("strict", "ext4"):
        assert {tree["a"] for tree in every(disk, mode)} >= {b"older", b"", b"new"}
        assert not any(tree["a"].startswith(b"new") and len(tree["a"]) > 3 for tree in every(disk, mode))


def test_a_rename_over_a_name_leaves_the_old_or_the_new_file_and_never_neither() -> None:
    events = (
        create(1, "b", 2),
        Write(2, 2, 2, 0, b"new"),
        Sync(3, 3, 2, False),
        Entry(4, 4, 2, (ROOT, "b"), (ROOT, "a")),
    )
    disk = disk_of(*events, before=b"old", files=2)
    for mode in ("strict", "ext4"):
        assert {tree["a"] for tree in every(disk, mode)} == {b"old", b"new"}


def test_an_unsynced_file_can_be_empty_under_its_new_name() -> None:
    renamed = Entry(3, 3, FILE, (ROOT, "tmp"), (ROOT, "a"))
    disk = disk_of(create(1, "tmp"), Write(2, 2, FILE, 0, b"new"), renamed, Sync(4, 4, ROOT, False))
    for mode in ("strict", "ext4"):
        assert {"a": b""} in every(disk, mode)


def test_on_ext4_names_survive_in_the_order_they_were_made() -> None:
    disk = disk_of(*(create(number, f"{number}", number) for number in range(1, 6)), files=5)
    assert {len(tree) for tree in every(disk, "ext4")} == set(range(6))
    assert all(
        sorted(tree) == [str(number + 1) for number in range(len(tree))] for tree in every(disk, "ext4")
    )
    assert {"3": b""} in every(disk, "strict")


CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 9000), st.integers(1, 6000)),
        st.tuples(st.just("resize"), st.integers(0, 9000), st.just(0)),
        st.tuples(st.just("sync"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@given(CALLS, MODES, st.integers())
def test_a_file_synced_last_holds_what_the_program_wrote(
    calls: list[tuple[str, int, int]], mode: Mode, seed: int
) -> None:
    events: list[Event] = []
    expected = bytearray(b"before")
    for line, (call, at, length) in enumerate(calls):
        if call == "write":
            data = bytes([line + 65]) * length
            expected.extend(bytes(max(0, at - len(expected))))
            expected[at : at + length] = data
            events.append(Write(line, line, FILE, at, data))
        elif call == "resize":
            del expected[at:]
            expected.extend(bytes(at - len(expected)))
            events.append(Resize(line, line, FILE, at))
        else:
            events.append(Sync(line, line, FILE, True))
    disk = disk_of(*events, before=b"before")
    disk.advance(NEVER)
    assert disk.as_the_program_saw_it()["a"][2] == expected
    remains(disk, mode, seed)
    disk = disk_of(*events, Sync(99, 99, FILE, True), before=b"before")
    assert remains(disk, mode, seed) == {"a": bytes(expected)}
