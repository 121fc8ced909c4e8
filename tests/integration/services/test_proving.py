"""Records of other hubs are proved in a process of their own when many come, and in a thread otherwise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio

from hub.domain.errors import Refused
from hub.domain.records import Record, decode_header
from hub.services import proving
from hub.services.proving import MANY, Prover, Read, prove_all
from tests.integration.services.foreign import Foreign, wire


@pytest_asyncio.fixture
async def prover(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Prover]:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    made = Prover()
    yield made
    await made.close()


def some(number: int) -> list[Read]:
    mill_lane = Foreign("mill-lane")
    travelling = [wire(mill_lane.notice(f"Bike {each}")) for each in range(number)]
    return [(each, decode_header(each.header)) for each in travelling]


def outcomes(found: Sequence[Record | Refused]) -> list[object]:
    return [each if isinstance(each, Record) else (each.code, str(each)) for each in found]


async def test_many_records_are_proved_in_a_process_as_a_thread_would(prover: Prover) -> None:
    records = some(MANY)
    right, header = records[7]
    records[3] = (replace(records[3][0], signature=bytes(64)), records[3][1])
    records[7] = (replace(right, body=b"\xa1\x00\x01"), header)
    records[9] = (replace(records[9][0], body=None), records[9][1])
    records[11] = (replace(records[11][0], body=bytes(20_000)), records[11][1])
    found = await prover.prove(records)
    assert prover._process is not None
    assert outcomes(found) == outcomes(prove_all(records))
    assert [place for place, each in enumerate(found) if isinstance(each, Refused)] == [3, 7, 11]


async def test_a_few_start_no_process(prover: Prover) -> None:
    records = some(3)
    assert outcomes(await prover.prove(records)) == outcomes(prove_all(records))
    assert prover._process is None


async def test_what_follows_soon_goes_to_the_same_process(prover: Prover) -> None:
    await prover.prove(some(MANY))
    process = prover._process
    assert outcomes(await prover.prove(some(2))) == outcomes(prove_all(some(2)))
    assert prover._process is process


async def test_it_ends_when_nothing_comes_and_is_started_again(
    prover: Prover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "IDLE_S", 0.05)
    await prover.prove(some(MANY))
    process = prover._process
    assert process is not None
    assert await process.wait() == 0
    assert len(await prover.prove(some(MANY))) == MANY


async def test_a_thread_does_it_when_the_process_dies(
    prover: Prover, caplog: pytest.LogCaptureFixture
) -> None:
    records = some(MANY)
    await prover.prove(records)
    assert prover._process is not None
    prover._process.kill()
    await prover._process.wait()
    assert outcomes(await prover.prove(records)) == outcomes(prove_all(records))
    assert "a thread does it now" in caplog.text
    assert prover._process is None


async def test_an_answer_nobody_waited_for_is_not_taken_for_the_next_one(prover: Prover) -> None:
    await prover.prove(some(MANY))
    wrong = [(replace(each, signature=bytes(64)), header) for each, header in some(MANY)]
    task = asyncio.create_task(prover.prove(wrong))
    while prover._ending is None or not prover._ending.cancelled():  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(isinstance(each, Record) for each in await prover.prove(some(MANY)))
