"""Errors as problems (RFC 9457): one shape for every error of both APIs."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from hub.api.schema import Problem
from hub.domain.errors import HubError
from hub.runtime.content import Content


def problem(error: HubError, sentence: str) -> Content:
    """The answer for ``error``; ``sentence`` is its text in the reader's language."""
    body = Problem(
        title=HTTPStatus(error.status).phrase, status=error.status, code=error.code, detail=sentence
    )
    return Content(msgspec.json.encode(body), "application/problem+json", status=error.status, keep=False)
