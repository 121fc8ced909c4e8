"""Rules of the house that no other tool checks, over every file that would be committed."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Written so that this file does not break its own rules.
REGISTRY_HOSTS = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|crates|golang|debian)"
    r"\.(?:org|io|com)/(?:simple|packages?|debian|pool|[\w.@-]+/-)\b|\b(?:registry|deb|files|proxy|index)"
    r"\.(?:npmjs|debian|pythonhosted|golang|crates|pypi)\b"
)
MACHINE_PATHS = re.compile(r"(?<![\w.}~-])/(?:root|work|Users/\w+|home/(?!pi\b|hub\b)\w+|tmp/\w+)/")
LEFT_FOR_LATER = re.compile(r"\b(?:TO" "DO|FIX" "ME|X" "XX|HA" "CK)\b")
TURNED_TEXT = re.compile("[\u202a-\u202e\u2066-\u2069]")


def files() -> list[Path]:
    """What git tracks or would; in an unpacked archive, everything but what tools leave behind."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


def lines() -> Iterator[tuple[str, str]]:
    """Place and text of every line of every text file."""
    for path in files():
        data = path.read_bytes()
        if b"\0" not in data:
            for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
                yield f"{path.relative_to(ROOT)}:{number}", line


@pytest.mark.parametrize(
    "forbidden",
    [
        pytest.param(REGISTRY_HOSTS, id="addresses of registries"),
        pytest.param(MACHINE_PATHS, id="paths of one machine"),
        pytest.param(LEFT_FOR_LATER, id="work left for later"),
        pytest.param(TURNED_TEXT, id="invisible marks that turn text round"),
    ],
)
def test_no_file_contains(forbidden: re.Pattern[str]) -> None:
    assert [f"{place}: {line.strip()[:80]}" for place, line in lines() if forbidden.search(line)] == []


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "hub").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def test_every_module_class_and_function_that_others_use_says_what_it_is_for() -> None:
    silent = []
    for name, module in sources():
        if ast.get_docstring(module) is None and module.body:
            silent.append(name)
        silent += [
            f"{name}: {each.name}"
            for each in module.body
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not each.name.startswith("_")
            and ast.get_docstring(each) is None
        ]
    assert silent == []


def test_no_task_is_started_outside_a_group() -> None:
    loose = [
        f"{name}:{call.lineno}: {ast.unparse(call)[:80]}"
        for name, module in sources()
        for call in ast.walk(module)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "create_task"
        and re.search("asyncio|loop", ast.unparse(call.func.value))
    ]
    assert loose == []
