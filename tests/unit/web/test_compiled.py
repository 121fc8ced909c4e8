"""Compiled templates beside their sources: used while they fit, made again when they do not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from jinja2 import DictLoader, Environment

from hub.web.compiled import CompiledTemplates


@pytest.fixture(autouse=True)
def python_keeps_compiled_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def rendered(folder: Path, source: str, made_by: str = "1") -> str:
    environment = Environment(
        loader=DictLoader({"page": source}),
        autoescape=True,
        bytecode_cache=CompiledTemplates(folder, made_by),
    )
    return environment.get_template("page").render(name="<Ada>")


def test_what_was_kept_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first = rendered(folder, "Hello {{ name }}")
    [kept] = folder.iterdir()
    before = kept.stat().st_mtime_ns
    assert rendered(folder, "Hello {{ name }}") == first == "Hello &lt;Ada&gt;"
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize(("source", "made_by"), [("Bye {{ name }}", "1"), ("Hello {{ name }}", "2")])
def test_another_source_or_another_way_of_compiling_is_compiled_again(
    tmp_path: Path, source: str, made_by: str
) -> None:
    rendered(tmp_path, "Hello {{ name }}")
    [kept] = tmp_path.iterdir()
    before = kept.read_bytes()
    assert rendered(tmp_path, source, made_by) == source.replace("{{ name }}", "&lt;Ada&gt;")
    assert kept.read_bytes() != before


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_no_harm(tmp_path: Path, share: float) -> None:
    rendered(tmp_path, "Hello {{ name }}")
    [kept] = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: int(len(whole) * share)])
    assert rendered(tmp_path, "Hello {{ name }}") == "Hello &lt;Ada&gt;"
    assert kept.read_bytes() == whole


def test_nothing_is_kept_where_python_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "kept"
    assert not CompiledTemplates(folder, "1").keeps
    assert rendered(folder, "Hello {{ name }}") == "Hello &lt;Ada&gt;"
    assert not folder.exists()
