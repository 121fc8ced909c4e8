"""The long proof, for `make prove`: small cards that fill, clear and break, again and again."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import needs
from tests.integration.hub.altered_hub import altered
from tests.integration.hub.crowd import whole_board
from tests.integration.hub.hub_process import (
    GENEROUS,
    Answer,
    found_hub,
    hub_command,
    hub_says,
    running_hub,
)
from tests.integration.hub.small_card import MB, SmallCard, inserted
from tests.integration.hub.test_full_disk import (
    erased,
    everything_can_be_read,
    put_up,
    quiet,
    refused_in_words,
    taken_down,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROUNDS = 40


def test_forty_fillings_with_stops_and_kills_lose_nothing_that_was_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(5)
    there: dict[int, str] = {}
    gone: set[int] = set()
    number = refused = kills = 0
    with inserted(tmp_path / "card", 300) as card:
        found_hub(card.folder, GENEROUS)
        device = None
        for _ in range(ROUNDS):
            with running_hub(card.folder) as hub:
                visitor = hub.visitor(device)
                for _ in range(chance.randrange(2, 5)):
                    card.clear()
                    card.fill(leave=chance.choice((0, 0, 1, 30, 65, 67, 120)) * MB)
                    for _ in range(12):
                        answer = put_up(visitor, number, size=3800)
                        if answer.status == 303:
                            there[number] = re.sub(r"[-?].*", "", answer.location)
                        else:
                            refused_in_words(answer)
                            refused += 1
                        number += 1
                    everything_can_be_read(visitor, chance.sample(sorted(there.values()), min(5, len(there))))
                    if len(there) > 6:
                        first, second = chance.sample(sorted(there), 2)
                        taken_down(visitor, there.pop(first))
                        erased(hub, there.pop(second))
                        gone |= {first, second}
                device = visitor.device
                quiet(hub)
                if chance.random() < 0.5:
                    hub.kill()
                    kills += 1
                else:
                    assert hub.stop() == 0
            card.fill()
        card.clear()
        with running_hub(card.folder) as hub:
            visitor = hub.visitor(device)
            for mark, name in there.items():
                assert f"Text {mark} " in visitor.get(name).text
            assert hub_says(card.folder, "check").returncode == 0
            assert hub.stop() == 0
    with capsys.disabled():
        sys.stdout.write(
            f"\n{ROUNDS} fillings, {kills} kills at a full card: {len(there) + len(gone)} acknowledged, "
            f"{refused} refused in words, {len(gone)} erased, 0 lost\n"
        )


def test_a_database_that_meets_the_end_of_the_card_goes_on_with_the_ballast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hub without its reserve writes until the card is full in the middle of a commit."""
    with inserted(tmp_path / "card", 200) as card:
        found_hub(card.folder, GENEROUS)
        with running_hub(card.folder, altered(hub_command(card.folder), "no-reserve")) as hub:
            visitor = hub.visitor()
            assert put_up(visitor, 0).status == 303
            ballast = card.folder / "ballast"
            _wait_for(ballast)
            card.fill()
            kept, with_ballast, number = [0], None, 1
            while number < 20_000:
                answer = put_up(visitor, number, size=3800)
                if answer.status != 303:
                    refused_in_words(answer)
                    break
                kept.append(number)
                if with_ballast is None and not ballast.exists():
                    with_ballast = len(kept)
                number += 1
            assert with_ballast is not None, "the database never met the end of the card"
            assert len(kept) - with_ballast > 500, "the ballast's room was not used"
            assert visitor.get("/").status == visitor.get("/search?q=text").status == 200
            hub.kill()
        card.clear()
        with running_hub(card.folder) as hub:
            visitor = hub.visitor()
            assert put_up(visitor, number + 1).status == 303
            texts = {int(text.split()[1]) for _, text in whole_board(visitor).values()}
            assert set(kept) <= texts, sorted(set(kept) - texts)[:5]
            assert hub_says(card.folder, "check", timeout=300).returncode == 0
            _wait_for(ballast)
            assert hub.stop() == 0
    with capsys.disabled():
        sys.stdout.write(
            f"\n{with_ballast} notices until the card was full, {len(kept) - with_ballast} with the ballast, "
            f"0 of {len(kept)} lost\n"
        )


def _wait_for(ballast: Path) -> None:
    deadline = time.monotonic() + 20
    while not ballast.exists() or ballast.stat().st_blocks * 512 < 32 * MB:
        assert time.monotonic() < deadline, "the ballast was not made"
        time.sleep(0.1)


@contextmanager
def failing_card(tmp_path: Path) -> Iterator[tuple[SmallCard, Path]]:
    """A card that says it has 300 MB and fails with EIO when more than 120 MB are written to it; and the
    folder that has to be left alone."""
    needs.root("mount a small card of its own")
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "none", work], check=True)
    try:
        with inserted(tmp_path / "card", 300, work) as card:
            yield card, work
    finally:
        subprocess.run(["umount", work], check=True)


def test_a_card_that_fails_to_write_is_read_from_and_what_was_confirmed_is_there(tmp_path: Path) -> None:
    with failing_card(tmp_path) as (card, work):
        found_hub(card.folder, GENEROUS)
        with running_hub(card.folder) as hub:
            visitor = hub.visitor()
            names = [_name(put_up(visitor, number)) for number in range(30)]
            with (work / "filler").open("wb") as filler:  # what the card would need is gone
                try:
                    while True:
                        filler.write(bytes(MB))
                        filler.flush()
                except OSError:
                    pass
            refused = 0
            for number in range(30, 5000):
                answer = put_up(visitor, number, size=3800)
                if answer.status == 303:
                    names.append(_name(answer))
                else:
                    refused_in_words(answer, "reported an error")
                    refused += 1
                    if refused == 3:
                        break
            assert refused == 3
            for path in ("/", "/search?q=text", *names[:5]):
                assert visitor.get(path).status == 200
            assert visitor.get("/healthz").status == 503
            hub.kill()
        (work / "filler").unlink()
        subprocess.run(["umount", card.folder], check=True)
        checked = subprocess.run(["e2fsck", "-fy", card.image], capture_output=True, text=True)
        assert checked.returncode in (0, 1), checked.stdout  # 1: it was put right
        subprocess.run(["mount", "-o", "loop", card.image, card.folder], check=True)
        with running_hub(card.folder) as hub:
            visitor = hub.visitor()
            for name in names:
                assert visitor.get(name).status == 200, name
            assert put_up(visitor, 9000).status == 303
            assert hub_says(card.folder, "check").returncode == 0
            assert hub.stop() == 0


def _name(answer: Answer) -> str:
    assert answer.status == 303
    return re.sub(r"[-?].*", "", answer.location)
