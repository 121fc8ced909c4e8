"""Tasks that fail are started again; what is fatal ends the program; the log says so once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from hub.runtime.supervise import Fatal, Supervisor


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses asked for, none of them waited for."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        asked.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return asked


def supervisor(monotonic: Callable[[], float] = lambda: 0.0) -> Supervisor:
    return Supervisor(lambda: 0.5, monotonic)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_fails_is_started_again_while_the_others_go_on() -> None:
    house, runs, well = supervisor(), 0, asyncio.Event()

    async def frail() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise RuntimeError("frail")
        well.set()
        await forever()

    house.add("frail", frail)
    house.add("steady", forever)
    running = asyncio.create_task(house.run())
    await well.wait()
    assert [(task.name, task.running, task.failures) for task in house.states] == [
        ("frail", True, 3),
        ("steady", True, 0),
    ]
    assert house.states[0].last_error == "RuntimeError"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(task.running for task in house.states)


async def run_until_fatal(house: Supervisor, steps: list[Callable[[], Awaitable[None]]]) -> Fatal:
    async def job() -> None:
        if not steps:
            raise Fatal(3, "the end")
        await steps.pop(0)()

    house.add("job", job)
    with pytest.raises(Fatal) as fatal:
        await house.run()
    return fatal.value


def failing(error: Exception) -> Callable[[], Awaitable[None]]:
    async def job() -> None:
        raise error

    return job


async def returning() -> None:
    return


async def test_pauses_grow_to_a_limit(pauses: list[float]) -> None:
    await run_until_fatal(supervisor(), [failing(OSError()) for _ in range(12)])
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 300


async def test_a_failure_is_told_once_and_another_kind_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hub.runtime.supervise")
    steps = [failing(OSError()), failing(OSError()), failing(ValueError()), returning, returning]
    await run_until_fatal(supervisor(), steps)
    assert [record.getMessage() for record in caplog.records] == ["task failed", "task failed", "task ended"]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [OSError, ValueError]


async def test_a_task_that_ran_well_starts_afresh(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hub.runtime.supervise")
    now = 0.0

    async def long_day() -> None:
        nonlocal now
        now += 3600
        raise OSError

    await run_until_fatal(supervisor(lambda: now), [long_day, long_day, long_day])
    assert pauses == [1, 1, 1]
    assert len(caplog.records) == 3


async def test_what_is_fatal_ends_the_program_and_stops_the_other_tasks() -> None:
    house, stopped = supervisor(), asyncio.Event()

    async def other() -> None:
        try:
            await forever()
        finally:
            stopped.set()

    house.add("other", other)
    fatal = await run_until_fatal(house, [])
    assert (fatal.status, str(fatal)) == (3, "the end")
    assert stopped.is_set()


async def test_what_is_fatal_inside_a_tasks_own_group_is_fatal_too() -> None:
    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing(Fatal(4, "inside"))())  # type: ignore[arg-type]
            group.create_task(forever())

    fatal = await run_until_fatal(supervisor(), [grouped])
    assert fatal.status == 4
