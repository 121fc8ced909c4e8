"""Settings that caretakers change while the hub runs."""

from __future__ import annotations

import asyncio

import pytest

from hub.services.preferences import NotWhileRunning
from hub.settings import SettingsError
from hub.storage import decisions
from tests.integration.conftest import OpenHub, Street


async def test_a_changed_setting_holds_at_once_and_after_a_restart(open_street: OpenHub) -> None:
    async with open_street() as street:
        await street.setting("board.posting", "checked")
        assert (await street.person("ann").puts_up()).held
    async with open_street() as street:
        assert (await street.person("ann").puts_up()).held
        [line] = [line for line in street.hub.preferences.lines() if line.key == "board.posting"]
        assert (line.value, line.default, line.source, line.live) == ("checked", "open", "caretaker", True)


async def test_where_a_value_comes_from_is_told(open_street: OpenHub) -> None:
    async with open_street(hub__name="Tanyard Road Hub") as street:
        await street.setting("board.undo_minutes", "30")
        sources = {line.key: line.source for line in street.hub.preferences.lines()}
    assert sources["hub.name"] == "file"
    assert sources["board.undo_minutes"] == "caretaker"
    assert sources["board.max_days"] == "default"


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("board.postings", "open", SettingsError),
        ("board.posting", "closed", SettingsError),
        ("board.undo_minutes", "0", SettingsError),
        ("board.undo_minutes", "half an hour", SettingsError),
        ("web.port", "8081", NotWhileRunning),
        ("hub", "x", SettingsError),
        ("", "", SettingsError),
    ],
)
async def test_what_cannot_be_set_is_refused_and_leaves_no_trace(
    street: Street, key: str, value: str, error: type[Exception]
) -> None:
    before = street.hub.preferences.current
    with pytest.raises(error) as refused:
        await street.setting(key, value)
    assert key in str(refused.value)
    assert street.hub.preferences.current == before
    assert await street.rows("SELECT 1 FROM setting UNION ALL SELECT 1 FROM ledger") == []


async def test_two_settings_changed_at_once_both_hold(street: Street) -> None:
    await asyncio.gather(street.setting("board.first_held", "2"), street.setting("board.max_days", "60"))
    policy = street.hub.preferences.policy()
    assert (policy.first_held, policy.max_days) == (2, 60)


async def test_the_ledger_tells_what_the_rules_are_now_but_no_names(street: Street) -> None:
    await street.setting("board.posting", "checked")
    await street.setting("hub.caretaker", "Gwen Fairfax")
    lines = [(entry.rule, entry.outcome) for entry in await street.hub.caretaking.ledger()]
    assert lines == [("hub.caretaker", ""), ("board.posting", "checked")]
    assert street.hub.preferences.current.hub.caretaker == "Gwen Fairfax"


async def test_a_setting_that_another_release_left_behind_is_ignored(open_street: OpenHub) -> None:
    async with open_street() as street:
        for key, value in (("board.colour", "red"), ("board.posting", "sometimes"), ("web.port", "1")):
            await street.hub.database.write(
                lambda connection, key=key, value=value: decisions.change_setting(connection, key, value, 0)
            )
    async with open_street() as street:
        assert street.hub.preferences.policy().posting == "open"
        assert {line.source for line in street.hub.preferences.lines()} == {"default"}


async def test_every_live_setting_of_the_board_reaches_its_rules(street: Street) -> None:
    wanted = {
        "board.first_held": ("first_held", 3),
        "board.lifetime_days": ("lifetime_days", 7),
        "board.max_days": ("max_days", 14),
        "board.undo_minutes": ("undo_minutes", 5),
        "board.urgent_per_day": ("urgent_per_day", 1),
        "board.report_days": ("report_days", 10),
    }
    for key, (name, value) in wanted.items():
        await street.setting(key, str(value))
        assert getattr(street.hub.preferences.policy(), name) == value
    for key in ("per_device", "per_address", "whole_hub", "new_devices", "phrase_tries"):
        await street.setting(f"limits.{key}", "4")
        assert getattr(street.hub.preferences.policy(), key).amount == 4
