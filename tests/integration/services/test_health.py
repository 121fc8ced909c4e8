"""The status of a hub: one line a check, in words, with what to do."""

from __future__ import annotations

import logging

import pytest

from hub.domain.health import Condition, Line
from hub.domain.policy import Reason
from hub.services.health import Health, Standing
from tests.integration.conftest import Street


async def states(street: Street) -> dict[str, Condition]:
    return {line.code: line.state for line in await street.hub.health.lines()}


async def test_a_fresh_hub_is_well(street: Street) -> None:
    report = await street.hub.health.report()
    assert report.state is Condition.OK
    assert [line.code for line in report.lines] == [
        "writing",
        "room",
        "blobs",
        "traces",
        "time",
        "names",
        "desk",
        "copies",
        "arrivals",
        "neighbours",
    ]
    assert all(line.sentence for line in report.lines)
    assert report.standing.posting == "open"


async def test_what_waits_for_a_person_is_told(street: Street) -> None:
    name = (await street.person("ann").puts_up()).public_id
    for who in ("bob", "cat"):
        await street.person(who).reports(name, Reason.RULES)
    await street.setting("board.posting", "checked")
    await street.person("ann").puts_up()
    [desk] = [line for line in await street.hub.health.lines() if line.code == "desk"]
    assert desk.state is Condition.LOOK
    assert "1 to approve" in desk.sentence
    assert "1 reported" in desk.sentence
    assert "hub reports list" in desk.remedy


async def test_a_clock_that_cannot_be_believed_is_told(street: Street) -> None:
    street.clock.ms = 0
    assert (await states(street))["time"] is Condition.LOOK


async def test_a_failed_commit_is_told_as_the_worst_there_is(street: Street) -> None:
    street.hub.database.failed = OSError(5, "Input/output error")
    report = await street.hub.health.report()
    assert report.state is Condition.STOP
    assert (await states(street))["writing"] is Condition.STOP


async def test_a_card_that_is_nearly_full_is_told(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street.hub.blobs, "free_bytes", lambda: 500_000_000)
    monkeypatch.setattr(street.hub.blobs, "size_bytes", lambda: 32_000_000_000)
    assert (await states(street))["room"] is Condition.LOOK
    monkeypatch.setattr(street.hub.blobs, "free_bytes", lambda: 1_000_000)
    assert (await states(street))["room"] is Condition.STOP


async def test_a_check_that_fails_is_a_line_and_the_others_still_run(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        code = "broken"

        async def look(self) -> Line:
            raise RuntimeError

    class Well:
        code = "well"

        async def look(self) -> Line:
            return Line(Condition.OK, self.code, "All is well.")

    standing = (await street.hub.health.report()).standing

    async def same() -> Standing:
        return standing

    with caplog.at_level(logging.CRITICAL):
        report = await Health([Broken(), Well()], same).report()
    assert [(line.code, line.state) for line in report.lines] == [
        ("broken", Condition.LOOK),
        ("well", Condition.OK),
    ]
    assert report.state is Condition.LOOK
