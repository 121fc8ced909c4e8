"""The invented street is sound: what it writes fits the rules of the board."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from PIL import Image

from hub.domain import notices as rules
from hub.domain.notices import Kind
from tests import world
from tests.world_content.pictures import SCENES, photograph

NOW_MS = 1_795_426_860_000
LANGS = {"en", "cy", "pl", "ur", "ar"}


def made_up() -> list[world.StreetNotice]:
    return list(world.many(2_000, 1, NOW_MS))


@pytest.mark.parametrize("notices", [world.hand_written(), made_up()], ids=["hand written", "made up"])
def test_every_notice_fits_the_board(notices: list[world.StreetNotice]) -> None:
    hubs = {world.OWN, *(hub.key for hub in world.neighbours())}
    for notice in notices:
        draft = notice.draft(NOW_MS)
        assert 0 < len(draft.title) <= rules.MAX_TITLE
        assert 0 < len(draft.text) <= rules.MAX_TEXT
        assert len(draft.name) <= rules.MAX_NAME
        assert len(draft.contact) <= rules.MAX_CONTACT
        assert draft.lang in LANGS
        assert notice.hub in hubs
        assert len(notice.pictures) <= rules.MAX_PICTURES
        assert all(picture.scene in SCENES and picture.alt for picture in notice.pictures)
        replies = notice.replies
        assert all(0 < len(reply.text) <= rules.MAX_REPLY and reply.lang in LANGS for reply in replies)
        assert all(0 <= reply.after_ms <= notice.age_ms for reply in replies)
        words = " ".join([notice.title, notice.text, *(reply.text for reply in replies)])
        assert not set(words) & set("{}@")
    assert {notice.lang for notice in notices} == LANGS
    assert {notice.kind for notice in notices} | {Kind.URGENT} == set(Kind)


@pytest.mark.parametrize("time_of_day_hours", [0, 5, 6.7, 9.7, 22.8, 23.9])
def test_notices_come_oldest_first_and_none_from_the_future(time_of_day_hours: float) -> None:
    now_ms = NOW_MS - NOW_MS % world.DAY_MS + round(time_of_day_hours * world.HOUR_MS)
    ages = [notice.age_ms for notice in world.many(500, 2, now_ms)]
    assert all(older >= newer for older, newer in itertools.pairwise(ages))
    assert min(ages) >= 0
    assert max(ages) < 26 * world.DAY_MS


def test_the_same_seed_makes_the_same_street() -> None:
    assert list(world.many(50, 3, NOW_MS)) == list(world.many(50, 3, NOW_MS))
    assert list(world.many(50, 3, NOW_MS)) != list(world.many(50, 4, NOW_MS))


def test_drawings_are_the_same_in_every_run_and_carry_what_phones_add(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(photograph("cat", width=400, location=True, turned=True))
    assert path.read_bytes() == photograph("cat", width=400, location=True, turned=True)
    with Image.open(path) as picture:
        assert picture.size == (300, 400)
        assert picture.getexif()[0x0112] == 6
        assert picture.getexif().get_ifd(0x8825)[1] == "N"
