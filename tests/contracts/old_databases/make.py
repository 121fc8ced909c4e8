"""Makes the database that later releases must be able to migrate: run it once for each new version.

``python -m tests.contracts.old_databases.make`` writes ``version-NNNN.db`` beside this file. Its
notices: two about a ladder (one changed, with replies), one taken down, one erased, one hidden; one
more waits; there is a report, a decision, a setting, a pin.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hub.app import Hub
from hub.domain.policy import DAY_MS, Reason
from hub.storage.migrate import migrations
from tests.integration.conftest import RULE, HallClock, Street

NAME = f"version-{len(migrations()):04}.db"


async def live(street: Street) -> None:
    """A day on the street."""
    ann, bob, care = street.person("ann"), street.person("bob"), street.hub.caretaking
    ladder = (await ann.puts_up("Ladder to lend", "Three metres.", name="Ann")).public_id
    street.clock.pass_time(minutes=10)
    await bob.answers(ladder, "I could use it on Tuesday.")
    await ann.changes(ladder, "Four metres.", title="Ladder to lend")
    pinned = (await bob.puts_up("Another ladder", "Of wood.", scope="hub")).public_id
    await care.pin(pinned, street.clock.ms + 300 * DAY_MS, "gwen")
    await ann.takes_down((await ann.puts_up("Taken down", "Never mind.")).public_id)
    await care.erase((await ann.puts_up("Erased", "Nobody knows.")).public_id, RULE, "gwen")
    await care.hide((await bob.puts_up("Hidden", "Rude words.")).public_id, RULE, "gwen")
    reference = (await bob.reports(ladder, Reason.UNTRUE, words="It is three metres.")).reference
    await care.decide(reference, "keep", "It is four.", "We measured.", "gwen")
    await street.hub.housekeeping.index_all()
    await street.setting("board.posting", "checked")
    await bob.puts_up("Waits", "For somebody to look.")


async def make(data: Path) -> None:
    """The database of a hub after that day, in ``data``."""
    clock = HallClock(1_795_426_860_000)
    chance = random.Random(20261123)
    hub = await Hub.open(data, clock=clock, chance=chance.randbytes)
    try:
        await live(Street(hub, clock, data))
    finally:
        await hub.close()


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make(Path(folder) / "data"))
        with closing(sqlite3.connect(Path(folder) / "data" / "hub.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("VACUUM")
        database = (Path(folder) / "data" / "hub.db").read_bytes()
    Path(__file__).with_name(NAME).write_bytes(database)


if __name__ == "__main__":
    main()
