"""Every sentence of the hub exists in every language it offers."""

from __future__ import annotations

import pytest

from hub.words.compile import languages, messages, missing


@pytest.fixture(scope="module")
def template() -> object:
    return messages()


@pytest.mark.parametrize("lang", languages())
def test_nothing_is_missing_in(lang: str, template: object) -> None:
    assert missing(lang, template=template) == []  # type: ignore[arg-type]
