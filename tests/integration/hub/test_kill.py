"""kill -9 at random moments under load: nothing acknowledged is lost, nothing is half there."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration.hub.crowd import Writer, erase_now_and_then, faults_of, whole_board
from tests.integration.hub.hub_process import HubProcess, found_hub, hub_command, hub_says, running_hub

WRITERS = 4


def kill_again_and_again(data: Path, kills: int, seed: int) -> str:
    """Start, load and kill the hub of ``data``; returns the figures. AssertionError with what was lost."""
    chance = random.Random(seed)
    writers = [Writer(f"w{number}x", seed) for number in range(WRITERS)]
    began, longest, while_starting = time.monotonic(), 0.0, 0
    found_hub(data)
    for number in range(kills):
        if number % 6 == 5:
            _kill_while_starting(data, chance.uniform(0.0, 0.7))
            while_starting += 1
            continue
        started = time.monotonic()
        with running_hub(data) as hub:
            longest = max(longest, time.monotonic() - started)
            _look(hub, writers, f"after kill {number}")
            _load(hub, writers, chance.uniform(0.02, 0.9), seed + number)
        refused = [refusal for writer in writers for refusal in writer.refusals]
        assert not refused, refused[0]
        assert "Traceback" not in hub.log(), hub.log()[-3000:]
    with running_hub(data) as hub:
        _look(hub, writers, "at the end", all_of_it=True)
        everything = {
            name: (item.versions[0].title, item.versions[0].text)
            for writer in writers
            for name, item in writer.posted.items()
            if not item.gone
        }
        assert whole_board(hub.visitor()) == everything
        assert hub.stop() == 0
    checked = hub_says(data, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    acknowledged = sum(writer.acknowledged for writer in writers)
    return (
        f"{kills} kills ({while_starting} of them while starting), {acknowledged} acknowledged acts, "
        f"{len(everything)} notices left, 0 lost, longest start {longest:.1f} s, "
        f"{time.monotonic() - began:.0f} s; {checked.stdout.strip()}"
    )


def _kill_while_starting(data: Path, after_s: float) -> None:
    with data.with_name("starting.err").open("ab") as err:
        process = subprocess.Popen(hub_command(data), stdout=subprocess.DEVNULL, stderr=err)
        try:
            time.sleep(after_s)
        finally:
            process.kill()
            process.wait()


def _look(hub: HubProcess, writers: list[Writer], when: str, *, all_of_it: bool = False) -> None:
    visitor = hub.visitor()
    assert visitor.get("/healthz").body == b"ok\n", when
    for writer in writers:
        names = list(writer.posted) if all_of_it else sorted(writer.touched)
        faults = [fault for name in names for fault in faults_of(visitor, name, writer.posted[name])]
        assert not faults, f"{when}: {'; '.join(faults[:5])}"
        writer.touched.clear()
        writer.send_again(visitor)
        again = writer.touched - set(names)
        faults = [fault for name in again for fault in faults_of(visitor, name, writer.posted[name])]
        assert not faults, f"{when}, sent again: {'; '.join(faults[:5])}"


def _load(hub: HubProcess, writers: list[Writer], for_s: float, seed: int) -> None:
    """Let the crowd write for ``for_s`` seconds, then kill the hub in the middle of it."""
    stop = threading.Event()
    threads = [threading.Thread(target=writer.write, args=(hub.visitor(), stop.is_set)) for writer in writers]
    threads.append(threading.Thread(target=erase_now_and_then, args=(hub, writers, stop.is_set, seed)))
    for thread in threads:
        thread.start()
    try:
        time.sleep(for_s)
        hub.kill()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_thirty_kills_under_load_lose_nothing_that_was_acknowledged(
    data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = kill_again_and_again(data_folder, 30, seed=20261123)
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")
