"""What a test needs from the machine, and what happens where the machine has not got it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(__file__).resolve().parent.parent / ".venv" / "tools"
"""Where ``tests/install-tools`` puts what comes from npm."""


def cannot_run(reason: str) -> NoReturn:
    """Say in one line why this test cannot run here: a failure under ``CI=true``, elsewhere a skip.

    ``reason`` is a sentence that names what is missing and how to get it.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(f"cannot run: {reason}", pytrace=False)
    pytest.skip(reason)


def program(name: str, package: str) -> Path:
    """The path of the program ``name``; where it is missing the test cannot run.

    ``package`` is the Debian package that ``tests/install-tools`` installs it from.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        cannot_run(f"{name} is not installed (Debian package {package}; `make test` as root installs it)")
    return Path(found)


def root(what_for: str) -> None:
    """The test cannot run unless it runs as root; ``what_for`` ends the sentence "needs root to"."""
    if os.geteuid() != 0:
        cannot_run(f"needs root to {what_for}")
