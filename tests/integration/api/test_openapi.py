"""The OpenAPI documents are valid, and both APIs do what theirs says."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from hub.api.openapi import document
from tests.integration.conftest import Street, admin_table

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "positive_data_acceptance",
    "unsupported_method",
)


def admin_document(street: Street) -> dict[str, Any]:
    return document("Admin", "1", "For caretakers.", admin_table(street.hub))


async def public_document(street: Street) -> dict[str, Any]:
    address = f"http://127.0.0.1:{street.hub.port}/openapi.json"
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        assert answer.content_type == "application/json"
        document: dict[str, Any] = json.loads(await answer.read())
        return document


def operations(text: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    return (
        (path, method, operation)
        for path, methods in text["paths"].items()
        for method, operation in methods.items()
    )


async def test_the_public_document_is_valid(listening: Street) -> None:
    OpenAPIV31SpecValidator(await public_document(listening)).validate()


async def test_the_admin_document_is_valid(street: Street) -> None:
    OpenAPIV31SpecValidator(admin_document(street)).validate()


async def test_every_operation_has_a_name_of_its_own_and_a_sentence(listening: Street) -> None:
    for text in (await public_document(listening), admin_document(listening)):
        names = [operation["operationId"] for _, _, operation in operations(text)]
        assert len(names) == len(set(names))
        assert all(operation["summary"].endswith(".") for _, _, operation in operations(text))


async def test_every_name_in_a_path_is_described(listening: Street) -> None:
    for text in (await public_document(listening), admin_document(listening)):
        for path, _, operation in operations(text):
            described = {
                each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"
            }  # fmt: skip
            assert described == {part.split("}")[0] for part in path.split("{")[1:]}


async def test_lists_are_described_by_what_is_in_them(street: Street) -> None:
    text = admin_document(street)
    answer = text["paths"]["/devices"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"type": "array", "items": {"$ref": "#/components/schemas/DeviceOut"}}


async def test_the_description_of_itself_is_an_object(listening: Street) -> None:
    text = await public_document(listening)
    answer = text["paths"]["/openapi.json"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"]["type"] == "object"


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_no_request_made_from_the_document_finds_a_fault_or_an_answer_that_is_not_in_it(
    listening: Street, tmp_path: Path
) -> None:
    ann = listening.person("ann")
    name = (await ann.puts_up("Ladder to lend", pictures=(await listening.picture(3, "a ladder"),))).public_id
    await listening.person("bob").answers(name)
    await ann.takes_down((await ann.puts_up("Gone")).public_id)
    fuzzer = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"http://127.0.0.1:{listening.hub.port}/openapi.json",
        *("--phases", "coverage,fuzzing", "--max-time", "15", "--seed", "20261123", "--no-color"),
        *("--warnings", "off", "--checks", ",".join(CHECKS)),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await fuzzer.communicate()
    assert fuzzer.returncode == 0, said.decode()
    assert b"2 passed" in said
