"""Power cuts of the real hub: what it acknowledged over HTTP is there, whatever the disk had kept by then."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.integration.hub import recorded_uploads
from tests.integration.hub.altered_hub import FAULTS, UPLOAD_FAULTS
from tests.integration.hub.hub_process import found_hub, hub_command
from tests.integration.hub.recorded_hub import ANSWERS, Sent, faults_in, use
from tests.powercut import recorder
from tests.powercut.proof import Report, prove
from tests.powercut.recorder import Recorder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def strace() -> None:
    recorder.needs_strace()


def proof(data: Path, notes: Path, states: int, alteration: str = "", acts: int = 60) -> Report:
    """Record the hub at work and cut it ``states`` times."""
    found_hub(data)
    sent = Sent()
    return prove(
        lambda made: use(made, sent, alteration, acts),
        lambda cut: list(faults_in(cut, sent)),
        folder=data,
        notes=notes,
        states=states,
        seed=20261123,
        acknowledgements=ANSWERS,
    )


def test_three_hundred_cuts_of_a_hub_at_work_lose_nothing(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = proof(data_folder, tmp_path / "notes", 300)
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert not report.failures, str(report)
    assert report.acknowledgements >= 40
    assert report.distinct > 200


def test_a_cut_at_any_moment_of_the_very_first_start_leaves_what_can_be_started(
    data_folder: Path, tmp_path: Path
) -> None:
    def start(made: Recorder) -> None:
        with made.program(hub_command(made.folder), at_the_end=signal.SIGKILL) as traced:
            next(line for line in traced.stdout if b"http://127.0.0.1:" in line)

    found_hub(data_folder)
    report = prove(
        start,
        lambda cut: list(faults_in(cut, Sent())),
        folder=data_folder,
        notes=tmp_path / "notes",
        states=400,
        seed=5,
        modes=("strict",),
    )
    assert not report.failures, str(report)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_promise_that_the_hub_breaks_on_purpose_is_found(
    fault: str, data_folder: Path, tmp_path: Path
) -> None:
    report = proof(data_folder, tmp_path / "notes", 60, fault, acts=90)
    assert report.failures


def proof_with_files(data: Path, notes: Path, states: int, alteration: str = "") -> Report:
    """Record the hub while files arrive and cut it ``states`` times."""
    found_hub(data)
    sent = recorded_uploads.Sent()
    return prove(
        lambda made: recorded_uploads.use(made, sent, alteration),
        lambda cut: list(recorded_uploads.faults_in(cut, sent)),
        folder=data,
        notes=notes,
        states=states,
        seed=20261123,
        acknowledgements=recorded_uploads.ANSWERS,
    )


def test_three_hundred_cuts_while_files_arrive_lose_nothing_and_leave_nothing_behind(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = proof_with_files(data_folder, tmp_path / "notes", 300)
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert not report.failures, str(report)
    assert report.acknowledgements >= 30
    assert report.distinct > 200


@pytest.mark.parametrize("fault", UPLOAD_FAULTS)
def test_a_promise_about_files_that_the_hub_breaks_on_purpose_is_found(
    fault: str, data_folder: Path, tmp_path: Path
) -> None:
    report = proof_with_files(data_folder, tmp_path / "notes", 60, fault)
    assert report.failures
