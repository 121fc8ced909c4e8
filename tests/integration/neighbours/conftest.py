"""A town of real hubs for each test that asks for one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.neighbours.town import Town, open_town


@pytest.fixture
def figures() -> Callable[[str, object], None]:
    """Say what was measured, to whoever runs the test with ``-s``."""

    def say(what: str, measured: object) -> None:
        sys.stdout.write(f"\n{what}: {measured}\n")

    return say


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """An empty town."""
    with open_town(tmp_path) as made:
        yield made
