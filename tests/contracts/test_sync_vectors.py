"""What hubs say to each other is what the vectors say that other implementations are written against."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.domain.records import verify
from hub.sync.protocol.frames import decode, encode
from tests.contracts import sync_frames, sync_records

RECORDS = json.loads(sync_records.FILE.read_text("utf-8"))
FRAMES = json.loads(sync_frames.FILE.read_text("utf-8"))


def name_of(case: dict[str, Any]) -> str:
    name: str = case["name"]
    return name


@pytest.mark.parametrize("module", [sync_records, sync_frames], ids=["records", "frames"])
def test_the_vectors_are_fresh(module: Any) -> None:
    """``python -m tests.contracts.sync_records`` (or ``sync_frames``) renews them; then other
    implementations no longer agree."""
    assert json.loads(json.dumps(module.vectors())) == json.loads(module.FILE.read_text("utf-8"))


@pytest.mark.parametrize("case", RECORDS["records"], ids=name_of)
def test_a_record_verifies_and_has_its_id(case: dict[str, Any]) -> None:
    body = None if case["body"] is None else bytes.fromhex(case["body"])
    record = verify(bytes.fromhex(case["header"]), bytes.fromhex(case["signature"]), body)
    assert record.id.hex() == case["id"]
    assert record.header.hub.hex() == RECORDS["hubs"][case["hub"]]["hub"]


@pytest.mark.parametrize("case", RECORDS["refused"], ids=name_of)
def test_a_record_that_breaks_a_rule_is_refused(case: dict[str, Any]) -> None:
    body = None if case["body"] is None else bytes.fromhex(case["body"])
    assert sync_records.is_refused(bytes.fromhex(case["header"]), bytes.fromhex(case["signature"]), body)


@pytest.mark.parametrize("case", FRAMES["frames"], ids=name_of)
def test_a_frame_is_written_and_read_as_the_vectors_say(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["frame"])
    frame = decode(data, lowest=1, highest=1)
    assert frame == sync_frames.spoken()[case["name"]]
    assert frame is not None
    assert encode(frame) == data


@pytest.mark.parametrize("case", FRAMES["refused"], ids=name_of)
def test_a_frame_that_breaks_a_rule_ends_the_session_with_its_reason(case: dict[str, Any]) -> None:
    assert case["reason"]
    assert sync_frames.reason(bytes.fromhex(case["frame"])) == case["reason"]


@pytest.mark.parametrize("case", FRAMES["skipped"], ids=name_of)
def test_a_frame_of_a_newer_hub_is_skipped(case: dict[str, Any]) -> None:
    assert decode(bytes.fromhex(case["frame"]), lowest=1, highest=1) is None
