"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contracts.documents import DOCS, PAGES


@pytest.mark.parametrize("file", PAGES)
def test_a_generated_page_is_fresh(file: str) -> None:
    """`make docs` renews it."""
    assert (DOCS / file).read_text("utf-8") == PAGES[file]()


def test_every_link_of_the_documents_leads_to_a_file() -> None:
    root = DOCS.parent
    broken = [
        f"{page.relative_to(root)}: {target}"
        for page in [*root.glob("*.md"), *DOCS.rglob("*.md")]
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_decision_records_are_numbered_without_gaps() -> None:
    numbers = sorted(int(page.name[:4]) for page in Path(DOCS / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
