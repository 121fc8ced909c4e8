"""The long proof, for `make prove`: twenty thousand odd requests to a whole hub."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.integration.hub.hub_process import found_hub, running_hub
from tests.integration.hub.test_hostile_http import REQUESTS, Stage, ask_anything, route_tables


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_odd_requests_find_no_fault(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = found_hub(tmp_path_factory.mktemp("hostile") / "data")
    residents, caretakers = asyncio.run(route_tables(data))
    with running_hub(data) as hub:
        stage = Stage(hub, residents, caretakers)

        @settings(
            max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck), database=None,
            derandomize=True,
        )  # fmt: skip
        @given(**REQUESTS)
        def ask(**asked: Any) -> None:
            ask_anything(stage, **asked)

        ask()
        stage.assert_unmoved()
