"""20,000 steps of many towns: whatever happens, hubs that keep the rules end with the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.run import simulate

STEPS = 1_000


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, 21))
def test_whatever_befalls_a_town_its_hubs_end_with_the_same(seed: int) -> None:
    simulate(seed, STEPS)


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_seed_replays_exactly_in_another_process() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "3", "--steps", "400"]
    told = [
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hashes}, capture_output=True, text=True, check=True
        ).stdout.splitlines()[0]
        for hashes in ("1", "2")
    ]
    assert told[0] == told[1]
    assert simulate(3, 400).digest.hexdigest()[:12] in told[0]
