"""The long proof, for `make prove`: five hundred cuts of uploads, and three thousand power cuts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration.hub import recorded_uploads
from tests.integration.hub.hub_process import found_hub
from tests.integration.hub.upload_cuts import cut_again_and_again
from tests.powercut import recorder
from tests.powercut.proof import prove


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_hundred_cuts_in_the_middle_of_uploads(
    data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = cut_again_and_again(data_folder, 500, seed=7)
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_thousand_power_cuts_while_files_arrive(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.needs_strace()
    found_hub(data_folder)
    sent = recorded_uploads.Sent()
    report = prove(
        lambda made: recorded_uploads.use(made, sent, acts=90),
        lambda cut: list(recorded_uploads.faults_in(cut, sent)),
        folder=data_folder,
        notes=tmp_path / "notes",
        states=3_000,
        seed=7,
        modes=("strict",) * 4 + ("ext4",),
        acknowledgements=recorded_uploads.ANSWERS,
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert not report.failures, str(report)
