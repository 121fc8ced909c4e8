"""The long proof, for `make prove`: a million steps of two hundred towns."""

from __future__ import annotations

import pytest

from tests.simulation.run import simulate

TOWNS, STEPS = 200, 5_000
FIRST = 10_000
"""The towns of the normal tests are others."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("part", range(10))
def test_a_million_steps_find_nothing(part: int) -> None:
    each = TOWNS // 10
    for seed in range(FIRST + part * each, FIRST + (part + 1) * each):
        simulate(seed, STEPS)
