"""kill -9 of the hub and of its clients in the middle of uploads: every file comes to its right end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.hub.cut_uploads import cut_uploads


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_handful_of_cuts_lose_nothing_that_was_promised(
    data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = cut_uploads(data_folder, 8, seed=20261123)
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")
