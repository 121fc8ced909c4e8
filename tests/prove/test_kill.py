"""The long proof, for `make prove`: kill -9 two hundred times under load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.hub.test_kill import kill_again_and_again


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills_under_load_lose_nothing_that_was_acknowledged(
    data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = kill_again_and_again(data_folder, 200, seed=7)
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")
