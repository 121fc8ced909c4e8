"""`hub check` finds each kind of fault that was planted, names it, and changes nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hub.storage.inspection import fingerprints
from tests.integration.conftest import RULE, Street

Fault = Callable[[Street], Awaitable[None]]


async def lived_in(street: Street) -> None:
    """Some of everything, and nothing wrong with it."""
    ann, bob = street.person("ann"), street.person("bob")
    await ann.puts_up("Heron", pictures=(await street.picture(1),))
    street.clock.pass_time(seconds=1)
    first = (await ann.puts_up()).public_id
    street.clock.pass_time(seconds=1)
    second = (await bob.puts_up("Sofa", "Blue.")).public_id
    street.clock.pass_time(seconds=1)
    await bob.answers(first, "A hedgehog.")
    await ann.changes(first, "Four metres.")
    await ann.takes_down((await ann.puts_up("Gone")).public_id)
    await street.hub.caretaking.erase((await ann.puts_up("Erased")).public_id, RULE, "gwen")
    await street.hub.caretaking.hide(second, RULE, "gwen")
    await street.hub.caretaking.restore(second, RULE, "gwen")
    await street.hub.housekeeping.index_all()


def sql(statement: str) -> Fault:
    async def plant(street: Street) -> None:
        await street.tamper(statement)

    return plant


def turned(column: str, place: int) -> Fault:
    """One bit of one byte of a record turned."""

    async def plant(street: Street) -> None:
        [(n, value)] = await street.rows(
            f"SELECT n, {column} FROM record WHERE body IS NOT NULL LIMIT 1"  # noqa: S608 - a column above
        )
        changed = bytearray(value)
        changed[place] ^= 1
        await street.tamper(
            f"UPDATE record SET {column} = ? WHERE n = ?",  # noqa: S608 - a column above
            bytes(changed),
            n,
        )

    return plant


async def no_file(street: Street) -> None:
    [(sha256,)] = await street.rows("SELECT sha256 FROM blob_use LIMIT 1")
    await asyncio.to_thread(street.hub.blobs.remove, sha256.hex())


async def other_file(street: Street) -> None:
    [(sha256,)] = await street.rows("SELECT sha256 FROM blob_use LIMIT 1")
    path = street.hub.blobs.path(sha256.hex())
    await asyncio.to_thread(path.write_bytes, b"something else")


FAULTS: dict[str, tuple[Fault, str]] = {
    "a body with a byte changed": (
        turned("body", -1),
        "record",
    ),
    "a signature with a byte changed": (
        turned("signature", 5),
        "record",
    ),
    "a header with a byte changed": (
        turned("header", -1),
        "record",
    ),
    "a record under another id": (sql("UPDATE record SET id = zeroblob(32) WHERE n = 2"), "record"),
    "a ledger line with another rule": (sql("UPDATE ledger SET rule = 'x' WHERE number = 2"), "ledger"),
    "a ledger line that is missing": (sql("DELETE FROM ledger WHERE number = 1"), "ledger"),
    "a ledger line of an act there is not": (sql("UPDATE ledger SET act = 'x' WHERE number = 2"), "ledger"),
    "a notice that is missing": (
        sql("DELETE FROM notice WHERE key = (SELECT max(key) FROM notice)"),
        "projection",
    ),
    "a notice of another time": (sql("UPDATE notice SET shown_ms = shown_ms + 1"), "projection"),
    "a notice that says it is live": (sql("UPDATE notice SET state = 0"), "projection"),
    "a wrong number of replies": (sql("UPDATE notice SET replies = replies + 1"), "projection"),
    "a reply that is missing": (sql("DELETE FROM reply"), "projection"),
    "a picture nobody is noted to use": (sql("DELETE FROM blob_use"), "projection"),
    "words that are not the notice's": (sql("UPDATE search_doc SET words = ' heron'"), "projection"),
    "an index that is empty": (
        sql("INSERT INTO search_index(search_index) VALUES ('delete-all')"),
        "search",
    ),
    "a picture that is missing": (no_file, "blob"),
    "a picture that is another": (other_file, "blob"),
}


async def test_a_hub_that_was_lived_in_is_sound(street: Street) -> None:
    await lived_in(street)
    result = await street.hub.upkeep.check()
    assert result.findings == ()
    assert result.counted == "9 records, 2 files and pictures"


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_is_found_and_named(street: Street, name: str) -> None:
    await lived_in(street)
    plant, what = FAULTS[name]
    await plant(street)
    findings = (await street.hub.upkeep.check()).findings
    assert what in {finding.what for finding in findings}
    assert all(finding.sentence for finding in findings)


async def test_a_check_leaves_everything_as_it_was_even_what_is_wrong(street: Street) -> None:
    await lived_in(street)
    await street.tamper("DELETE FROM reply")
    before = await street.hub.database.read_with(fingerprints)
    assert (await street.hub.upkeep.check()).findings
    assert await street.hub.database.read_with(fingerprints) == before


async def test_a_rebuild_repairs_what_is_made_from_the_log(street: Street) -> None:
    await lived_in(street)
    found = await street.found("hedgehog")
    for statement in ("DELETE FROM notice", "DELETE FROM search_doc", "DELETE FROM blob_use"):
        await street.tamper(statement)
    assert (await street.hub.upkeep.check()).findings
    await street.hub.upkeep.rebuild()
    assert (await street.hub.upkeep.check()).findings == ()
    assert await street.found("hedgehog") == found


async def test_the_board_is_served_and_written_while_a_check_runs(street: Street) -> None:
    await lived_in(street)
    check = asyncio.ensure_future(street.hub.upkeep.check())
    await street.person("cat").puts_up("Meanwhile")
    assert "Meanwhile" in await street.board()
    assert (await check).findings == ()
