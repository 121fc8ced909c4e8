"""Who may import whom: the contracts of pyproject.toml hold, would bite, and hold at run time too."""

from __future__ import annotations

import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hub.domain

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.fixture
def copy_of_the_house(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "hub", tmp_path / "hub", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_hold(copy_of_the_house: Path) -> None:
    answer = lint(copy_of_the_house)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        pytest.param("hub/domain/ids.py", "import time", id="a clock in the domain"),
        pytest.param("hub/domain/ids.py", "import hub.storage", id="upwards"),
        pytest.param("hub/services/planted.py", "import sqlite3", id="a second door to SQLite"),
        pytest.param(
            "hub/services/planted.py", "def f():\n    import aiohttp", id="transport, inside a function"
        ),
        pytest.param("hub/services/planted.py", "import zeroconf", id="a second door to mDNS"),
        pytest.param("hub/web/planted.py", "import hub.discovery", id="from face to face"),
        pytest.param("hub/helpers.py", "", id="a module without a place"),
    ],
)
def test_the_contracts_would_bite(copy_of_the_house: Path, module: str, planted: str) -> None:
    with (copy_of_the_house / module).open("a") as file:
        file.write(f"\n{planted}\n")
    assert lint(copy_of_the_house).returncode != 0


def test_the_core_runs_without_what_it_may_not_know() -> None:
    """import-linter reads the source; this sees what importing really pulls in, packages' own imports too."""
    core = [f"hub.domain.{module.name}" for module in pkgutil.iter_modules(hub.domain.__path__)]
    strangers = (
        "{'aiohttp', 'aiosqlite', 'sqlite3', 'zeroconf', 'jinja2', 'PIL', 'hub.storage', 'hub.services'}"
    )
    script = f"import sys, {', '.join(core)}; sys.exit(' '.join(sorted({strangers} & set(sys.modules))) or 0)"
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert answer.returncode == 0, answer.stderr
