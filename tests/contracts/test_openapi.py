"""The public API's document, as those who build on it know it: it changes only when somebody means it to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

from openapi_spec_validator import OpenAPIV31SpecValidator

from hub import __version__
from hub.api.public import PublicApi
from hub.runtime.content import Ask

KEPT = Path(__file__).with_name("openapi.json")
RENEW = "python -m tests.contracts.test_openapi"


def made() -> str:
    """The document this source serves, laid out for reading and for comparing line by line."""
    board = cast(Any, None)  # the document needs the table only
    api = PublicApi(board, __version__, lambda: "", lambda: "", lambda: "en", dict)
    document = json.loads(asyncio.run(api.describe(Ask())).body)
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def test_the_kept_document_is_the_one_that_is_served() -> None:
    assert KEPT.read_text("utf-8") == made(), f"if the change is meant: {RENEW}, and commit {KEPT.name}"


def test_the_kept_document_is_valid() -> None:
    OpenAPIV31SpecValidator(json.loads(KEPT.read_text("utf-8"))).validate()


if __name__ == "__main__":
    KEPT.write_text(made(), "utf-8")
