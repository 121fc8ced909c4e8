"""The OpenAPI 3.1 document, made from the table of endpoints and the message shapes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from hub.api.endpoints import Endpoint
from hub.api.schema import Problem

_REF = "#/components/schemas/{name}"


def document(title: str, version: str, sentence: str, endpoints: Iterable[Endpoint[Any]]) -> dict[str, Any]:
    """The document as plain values, ready for JSON: one operation for each endpoint."""
    table = list(endpoints)
    shapes = [Problem] + [shape for item in table for shape in (item.answer, item.body) if shape]
    shapes = list(dict.fromkeys(shapes))
    schemas, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    by_shape = dict(zip(shapes, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for item in table:
        operation: dict[str, Any] = {
            "operationId": item.name,
            "summary": item.sentence,
            "responses": {
                "200": {
                    "description": item.sentence,
                    "content": {item.media: {"schema": by_shape[item.answer]}},
                },
                **{
                    str(status): {
                        "description": "A problem, in words.",
                        "content": {"application/problem+json": {"schema": by_shape[Problem]}},
                    }
                    for status in item.errors
                },
            },
        }
        if item.parameters:
            operation["parameters"] = [
                {
                    "name": parameter.name,
                    "in": parameter.place,
                    "description": parameter.sentence,
                    "required": parameter.place == "path",
                    "schema": parameter.schema,
                }
                for parameter in item.parameters
            ]
        if item.body is not None:
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": by_shape[item.body]}},
            }
        paths.setdefault(item.path, {})[item.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": sentence,
        },
        "paths": paths,
        "components": {"schemas": components},
    }
