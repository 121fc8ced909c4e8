"""The long proof, for `make prove`: power cuts by the thousand, of the sample board and of the real hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hub.hub_process import found_hub, running_hub
from tests.integration.hub.recorded_hub import ANSWERS, Sent, faults_in, use
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


FULL_STARTS = 200
"""Cuts after which the whole program is started, looked at, and given a new notice."""


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_the_hub_survives_ten_thousand_cuts_at_work(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = Sent()
    found_hub(data_folder)

    def check(cut: State) -> Iterator[str]:
        yield from faults_in(cut, sent)
        if cut.number % (10_000 // FULL_STARTS) == 0:
            yield from _faults_of_a_start(cut.folder)

    report = prove(
        lambda made: use(made, sent, acts=150),
        check,
        folder=data_folder,
        notes=tmp_path / "notes",
        states=10_000,
        seed=20261123,
        modes=MODES,
        acknowledgements=ANSWERS,
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert not report.failures, str(report)


def _faults_of_a_start(folder: Path) -> Iterator[str]:
    with running_hub(folder) as hub:
        visitor = hub.visitor()
        if visitor.get("/healthz").body != b"ok\n":
            yield "it started and is not well"
        fields = {"kind": "news", "title": "After the cut", "text": "The light is back.", "key": "after"}
        answer = visitor.post("/notices", fields)
        if answer.status != 303 or "After the cut" not in visitor.get("/").text:
            yield f"it started and takes no notice: {answer.status}"
        if hub.stop() != 0 or "Traceback" in hub.log():
            yield f"it does not stop well: {hub.log()[-500:]}"
    for said in (folder.with_name(f"{folder.name}.out"), folder.with_name(f"{folder.name}.err")):
        said.unlink()
