"""The long proof, for `make prove`: power cuts by the thousand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.powercut import recorder, writer
from tests.powercut.disk import Mode
from tests.powercut.proof import State, prove
from tests.powercut.recorder import Recorder

MODES: tuple[Mode, ...] = ("strict",) * 10 + ("ext4",)


@pytest.fixture(autouse=True)
def strace() -> None:
    recorder.needs_strace()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_sample_board_survives_ten_thousand_strict_cuts_and_a_thousand_on_ext4(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(made: Recorder) -> None:
        for first in (1, 1000, 2000):
            with made.program([sys.executable, writer.__file__, made.folder, str(first), "100"]) as traced:
                for _ in traced.stdout:
                    pass
                assert traced.wait() == 0

    def check(state: State) -> Iterator[str]:
        return writer.faults_in(state.folder, list(state.acknowledged))

    report = prove(
        run, check, folder=data_folder, notes=tmp_path / "notes", states=11_000, seed=20261123, modes=MODES
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert not report.failures, str(report)
