"""Every call of the typed client against a hub that lives: shapes in, shapes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hub.api.client import Client, ProblemAnswer
from hub.api.schema import CollectionIn, Decision, ItemOut, StickIn
from hub.domain.policy import DAY_MS, DEFAULT_RULES, Reason
from tests.integration.conftest import RULE, Street, admin_table, in_thread

RULED = Decision(rule=RULE)


class Desk:
    """The typed client, called from a thread of its own."""

    def __init__(self, street: Street) -> None:
        self._client = Client(street.data / "run" / "admin.sock")

    async def __call__(self, name: str, *arguments: Any, **more: Any) -> Any:
        call: Callable[..., Any] = getattr(self._client, name)
        return await in_thread(lambda: call(*arguments, **more))


@pytest.fixture
def desk(listening: Street) -> Desk:
    return Desk(listening)


async def test_the_status_tells_how_the_hub_is_and_how_much_there_is(listening: Street, desk: Desk) -> None:
    name = (await listening.person("ann").puts_up()).public_id
    await listening.person("bob").answers(name)
    status = await desk("status")
    assert (status.state, status.name, status.posting) == ("OK", listening.hub.name, "open")
    assert status.hub == listening.hub.identity.public_id()
    assert status.addresses == [f"http://127.0.0.1:{listening.hub.port}"]
    assert (status.notices, status.replies, status.records, status.devices) == (1, 1, 3, 2)
    assert status.free_bytes > 0
    assert [line.state for line in status.lines] == ["OK"] * 10


async def test_lists_hold_what_their_names_say(listening: Street, desk: Desk) -> None:
    ann = listening.person("ann")
    board, hidden, gone = [(await ann.puts_up(title)).public_id for title in ("board", "hidden", "gone")]
    await desk("act", hidden, "hide", RULED)
    await ann.takes_down(gone)
    await listening.setting("board.posting", "checked")
    await ann.puts_up("waiting")
    lists = {
        where: [(item.title, item.state) for item in await desk("notices", where)]
        for where in ("board", "hidden", "gone", "waiting")
    }
    assert lists == {
        "board": [("board", "live")],
        "hidden": [("hidden", "hidden")],
        "gone": [("gone", "withdrawn")],
        "waiting": [("waiting", "waiting")],
    }
    assert len(await desk("notices", "all")) == 3
    assert (await desk("item", board)).title == "board"


async def test_a_notice_that_has_ended_is_said_to_have_ended(listening: Street, desk: Desk) -> None:
    name = (await listening.person("ann").puts_up(until="2026-11-24")).public_id
    listening.clock.pass_time(days=2)
    assert (await desk("item", name)).state == "expired"
    assert [item.state for item in await desk("notices", "all")] == ["expired"]


async def test_an_item_is_shown_in_full(listening: Street, desk: Desk) -> None:
    ann = listening.person("ann")
    name = (
        await ann.puts_up(name="Ann", contact="07700 900123", pictures=(await listening.picture(4),))
    ).public_id
    await listening.person("bob").reports(name, Reason.RULES)
    await listening.setting("board.posting", "checked")
    await ann.changes(name, "Four metres.")
    item: ItemOut = await desk("item", name.upper())
    assert (item.of, item.state, item.kind, item.title) == ("notice", "live", "give", "Ladder to lend")
    assert (item.name, item.contact, item.language, item.scope) == ("Ann", "07700 900123", "en", "network")
    assert (item.pictures, item.replies, item.reports) == (1, 0, 1)
    assert item.device == await ann.mark()
    assert item.waiting_change == "Ladder to lend\nFour metres."


async def test_what_waits_is_approved_or_refused(listening: Street, desk: Desk) -> None:
    await listening.setting("board.posting", "checked")
    ann = listening.person("ann")
    good, bad = (await ann.puts_up("good")).public_id, (await ann.puts_up("bad")).public_id
    done = await desk("act", good, "approve", Decision())
    assert (done.sentence, done.id) == ("It is on the board now.", good)
    await desk("act", bad, "refuse", RULED)
    assert await listening.board() == ["good"]
    assert await desk("notices", "waiting") == []


async def test_items_are_hidden_restored_pinned_made_urgent_and_erased(listening: Street, desk: Desk) -> None:
    name = (await listening.person("ann").puts_up()).public_id
    later = Decision(until_ms=listening.clock.ms + DAY_MS)
    await desk("act", name, "hide", RULED)
    item = await desk("item", name)
    assert (item.state, item.hidden_by) == ("hidden", DEFAULT_RULES[0])
    await desk("act", name, "restore", RULED)
    await desk("act", name, "pin", later)
    await desk("act", name, "urgent", later)
    item = await desk("item", name)
    assert (item.state, item.pinned, item.urgent) == ("live", True, True)
    await desk("act", name, "pin", Decision())
    await desk("act", name, "urgent", Decision())
    item = await desk("item", name)
    assert (item.pinned, item.urgent) == (False, False)
    await desk("act", name, "erase", RULED)
    item = await desk("item", name)
    assert (item.state, item.title, item.text) == ("erased", "", "")
    with pytest.raises(ProblemAnswer) as refused:
        await desk("act", name, "restore", RULED)
    assert refused.value.problem.status == 410


async def test_reports_are_listed_and_decided(listening: Street, desk: Desk) -> None:
    name = (await listening.person("ann").puts_up()).public_id
    reference = (await listening.person("bob").reports(name, words="Rude.")).reference
    [report] = await desk("reports")
    assert (report.reference, report.reason, report.words) == (reference, "threat", "Rude.")
    assert (report.item.id, report.outcome) == (name, "")
    done = await desk("decide", reference, Decision(outcome="hide", rule=RULE, answer="Thank you."))
    assert done.id == name
    assert await desk("reports") == []
    [report] = await desk("reports", decided=True)
    assert (report.outcome, report.answer, report.item.state) == ("hidden", "Thank you.", "hidden")


async def test_devices_are_listed_paused_banned_and_trusted(listening: Street, desk: Desk) -> None:
    await listening.person("ann").puts_up()
    [device] = await desk("devices")
    assert (device.since, device.shown, device.trusted) == ("2026-11-23", 1, False)
    until = listening.clock.ms + DAY_MS
    await desk("device", device.mark, "pause", Decision(rule=RULE, until_ms=until))
    await desk("device", device.mark, "ban", Decision(rule=RULE, until_ms=until))
    await desk("device", device.mark, "trust", Decision())
    [device] = await desk("devices")
    assert (device.paused_until_ms, device.banned_until_ms, device.trusted) == (until, until, True)
    done = await desk("device", device.mark, "pause", Decision(rule=RULE))
    assert "may write again" in done.sentence
    await desk("device", device.mark, "trust", Decision(yes=False))
    [device] = await desk("devices")
    assert (device.paused_until_ms, device.banned_until_ms, device.trusted) == (None, None, False)


async def test_a_ban_that_is_lifted_says_so(listening: Street, desk: Desk) -> None:
    await listening.person("ann").puts_up()
    mark = await listening.person("ann").mark()
    await desk("device", mark, "ban", Decision(rule=RULE, until_ms=listening.clock.ms + DAY_MS))
    assert "may write again" in (await desk("device", mark, "ban", Decision(rule=RULE))).sentence


async def test_settings_are_shown_and_changed(listening: Street, desk: Desk) -> None:
    assert (
        await desk("change_setting", "board.posting", "paused")
    ).sentence == "board.posting is paused now."
    settings = {line.key: line for line in await desk("settings")}
    assert (settings["board.posting"].value, settings["board.posting"].source) == ("paused", "caretaker")
    assert settings["web.port"].live is False
    assert all(line.sentence for line in settings.values())


async def test_the_ledger_comes_newest_first_and_in_parts(listening: Street, desk: Desk) -> None:
    name = (await listening.person("ann").puts_up()).public_id
    for _ in range(30):
        await desk("act", name, "hide", RULED)
        await desk("act", name, "restore", RULED)
    first = await desk("ledger")
    assert [entry.number for entry in first] == list(range(60, 10, -1))
    rest = await desk("ledger", first[-1].number)
    assert [entry.number for entry in rest] == list(range(10, 0, -1))
    assert len({entry.digest for entry in first + rest}) == 60


async def test_everything_is_checked_and_made_again(listening: Street, desk: Desk) -> None:
    await listening.person("ann").puts_up()
    found = await desk("check")
    assert (found.findings, found.counted) == ([], "2 records, 0 files and pictures")
    await listening.tamper("DELETE FROM notice")
    assert {finding.what for finding in (await desk("check")).findings} == {"projection"}
    assert (await desk("rebuild")).sentence == "2 items were made again from the log."
    assert (await desk("check")).findings == []


async def test_the_client_knows_every_endpoint_and_the_shape_of_its_answer(
    listening: Street, tmp_path: Path
) -> None:
    """Each path of the table is one the client asks for, with the type it expects."""
    asked: list[tuple[str, str, Any]] = []

    class Recording(Client):
        def _call(self, method: str, path: str, answer: Any, body: object = None) -> Any:
            asked.append((method, path.partition("?")[0], answer))
            return None

    a_file = tmp_path / "{name}"
    a_file.touch()
    client = Recording(listening.data / "run" / "admin.sock")
    for call in (client.status, client.settings, client.devices, client.reports, client.ledger):
        call()
    client.notices("all")
    client.item("{id}")
    client.check()
    client.rebuild()
    client.scrub()
    client.collections()
    client.add_collection(CollectionIn())
    client.change_collection("{id}", CollectionIn())
    client.files("newest")
    client.add_file("{id}", a_file)
    client.free_files(carry_out=False)
    client.change_setting("{key}", "")
    client.decide("{reference}", Decision())
    for verb in ("approve", "refuse", "hide", "restore", "erase", "pin", "urgent", "flag", "block"):
        client.act("{id}", verb, Decision())
    for verb in ("pause", "ban", "trust"):
        client.device("{mark}", verb, Decision())
    for call in (client.neighbours, client.nearby, client.pairing, client.sync, client.forks, client.held):
        call()
    client.neighbour("{name}")
    client.sync("{name}")
    client.nearby(sweep=True)
    client.decide_fork("{name}", "moved")
    for verb in ("let-in", "turn-away"):
        client.answer_held("{name}", verb)
    client.advice()
    for verb in ("pause", "resume", "choose", "remember", "part", "block", "advice"):
        client.neighbourly("{name}", verb, Decision())
    for verb in ("open", "begin", "accept", "refuse"):
        client.pairing(verb)
    client.write_bundle(StickIn())
    client.read_bundles("stick")
    client.write_card("stick")
    client.accept_card(b"card", "words")
    table = {(item.method, item.path): item.answer for item in admin_table(listening.hub)}
    unquoted = {(m, p.replace("%7B", "{").replace("%7D", "}")): answer for m, p, answer in asked}
    assert unquoted == table
    assert all(msgspec.json.schema(answer) for answer in table.values())
