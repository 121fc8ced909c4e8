"""The long proof, for `make prove`: hundreds of erasures among thousands of notices, every file searched."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.conftest import HandClock
from tests.integration.hub import test_erasure
from tests.integration.hub.test_erasure import Street
from tests.integration.hub.traces import Secrets

ERASED = 400
AT_ONCE = 8


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_four_hundred_erasures_among_two_thousand_notices_leave_nothing(
    data_folder: Path, clock: HandClock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_erasure, "AROUND", 2000)
    chance = random.Random(11)
    street = Street(data_folder, clock, chance)
    await street.open()
    words = pieces = 0
    try:
        await street.furnish()
        before = await street.board()
        visitor, other = street.visitor(), street.visitor()
        for _ in range(ERASED // AT_ONCE):
            gone: list[Secrets] = []
            names = []
            for number in range(AT_ONCE):
                name, secrets = await street.put_up(visitor, pictures=int(number == 0))
                gone.append(secrets)
                names.append(name)
                if number % 2:
                    gone.append(await street.change(visitor, name, keep_pictures=True))
                    reply, answered = await street.answer(other, name)
                    gone.append(answered)
                    names.insert(0, reply)
                if chance.random() < 0.3:
                    await street.hub.housekeeping.index_all()
            for name in names:
                await street.erase(name)
            await street.assert_gone(*gone)
            words += sum(len(secrets.words) for secrets in gone)
            pieces += sum(len(secrets.pieces()) + len(secrets.bytes_) for secrets in gone)
        assert await street.board() == before
    finally:
        await street.close()
    with capsys.disabled():
        sys.stdout.write(f"\n{ERASED} notices, {words} words, {pieces} pieces looked for, 0 found\n")
