"""A real small card that fills up: files stop first, words much later, reading and erasing never."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import app
from hub.runtime.supervise import Fatal
from tests.integration.conftest import Street
from tests.integration.hub.crowd import drawing
from tests.integration.hub.hub_process import (
    GENEROUS,
    Answer,
    HubProcess,
    Visitor,
    found_hub,
    hub_says,
    running_hub,
)
from tests.integration.hub.small_card import MB, SmallCard, inserted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

READ = ("/", "/search?q=text", "/healthz", "/notices.json", "/notices/new", "/files")


@pytest.fixture
def card(tmp_path: Path) -> Iterator[SmallCard]:
    """A card of 300 MB that holds a hub's data folder and nothing else."""
    with inserted(tmp_path / "card", 300) as small:
        found_hub(small.folder, GENEROUS)
        yield small


def put_up(visitor: Visitor, number: int, size: int = 1500) -> Answer:
    """A notice with a text of its own."""
    text = f"Text {number} " + "x" * size
    return visitor.post(
        "/notices", {"kind": "news", "title": f"N{number}", "text": text, "key": f"k{number}"}
    )


def kept(visitor: Visitor, count: int) -> list[str]:
    """The addresses of that many notices that were put up."""
    answers = [put_up(visitor, number) for number in range(count)]
    assert {answer.status for answer in answers} == {303}
    return [re.sub(r"[-?].*", "", answer.location) for answer in answers]


def refused_in_words(answer: Answer, words: str = "no room") -> None:
    """507, as a page or a line that can be read."""
    assert answer.status == 507, (answer.status, answer.text[-500:])
    assert words in answer.text


def everything_can_be_read(visitor: Visitor, names: list[str]) -> None:
    for path in (*READ, *names):
        assert visitor.get(path).status == 200, path


def erased(hub: HubProcess, name: str) -> None:
    """A caretaker erases a notice with the command."""
    done = hub_says(hub.data, "notices", "erase", name.rpartition("/")[2], "--rule", "1")
    assert done.returncode == 0, done.stderr
    answer = hub.visitor().get(name)
    assert "Text " not in answer.text


def taken_down(visitor: Visitor, name: str) -> None:
    assert visitor.post(f"{name}/remove", {"key": name}).status == 303
    assert "Text " not in visitor.get(name).text


def quiet(hub: HubProcess) -> None:
    """Nothing went wrong that somebody would have to look into."""
    assert "Traceback" not in hub.log(), hub.log()[-3000:]
    assert "level=error" not in hub.log(), hub.log()[-3000:]


def test_filled_to_the_reserve_of_files_words_go_on(card: SmallCard) -> None:
    """96 MB is the least that files leave free, whatever the settings say."""
    with running_hub(card.folder) as hub:
        visitor = hub.visitor()
        names = kept(visitor, 3)
        card.fill(leave=95 * MB)
        everything_can_be_read(visitor, names)
        assert put_up(visitor, 10).status == 303
        assert visitor.post(f"{names[0]}/replies", {"text": "Text of a reply", "key": "r"}).status == 303
        report = visitor.post(f"{names[1]}/report", {"reason": "rules", "text": "Look.", "key": "q"})
        assert report.status == 303
        picture = [("picture", "p.jpg", drawing(random.Random(1)))]
        form = {"kind": "news", "title": "P", "text": "Text with a picture", "key": "p"}
        refused = visitor.post("/notices", form, picture)
        refused_in_words(refused)
        assert "Text with a picture" in refused.text
        upload = {"Upload-Length": str(20 * MB), "Upload-Complete": "?0", "Content-Type": None}
        file = {"Content-Disposition": "attachment; filename*=UTF-8''film.mp4", **upload}
        refused_in_words(visitor.send("POST", "/uploads", b"", file))
        status = hub_says(card.folder, "status")
        assert "files and pictures are not taken any more" in status.stdout
        card.clear()
        assert visitor.post("/notices", {**form, "key": "p2"}, picture).status == 303
        assert visitor.send("POST", "/uploads", b"", file).status == 201
        assert hub.stop() == 0
        quiet(hub)


def test_filled_to_the_last_byte_reading_and_erasing_work_and_it_stops_and_starts(card: SmallCard) -> None:
    with running_hub(card.folder) as hub:
        visitor = hub.visitor()
        names = kept(visitor, 12)
        assert (card.folder / "ballast").stat().st_blocks * 512 == 32 * MB
        card.fill()
        assert card.free_bytes() < 4096
        everything_can_be_read(visitor, names)
        refused_in_words(put_up(visitor, 20))
        taken_down(visitor, names.pop())
        erased(hub, names.pop())
        status = hub_says(card.folder, "status")
        assert "nothing can be put up any more; reading and erasing go on" in status.stdout
        assert hub.stop() == 0
        quiet(hub)
    for ending in ("stop", "kill", "stop"):
        card.fill()  # also what a stopped hub gave up
        with running_hub(card.folder) as hub:
            visitor = hub.visitor(visitor.device)
            everything_can_be_read(visitor, names)
            taken_down(visitor, names.pop())
            erased(hub, names.pop())
            if ending == "stop":
                assert hub.stop() == 0
            else:
                hub.kill()
            quiet(hub)
    card.fill()
    with running_hub(card.folder) as hub:
        visitor = hub.visitor(visitor.device)
        refused_in_words(put_up(visitor, 21))
        card.clear()
        assert put_up(visitor, 22).status == 303
        board = visitor.get("/").text
        assert {f"N{number}" for number in range(len(names))} <= set(re.findall(r"\bN\d+\b", board))
        assert hub_says(card.folder, "check").returncode == 0
        assert hub.stop() == 0
        quiet(hub)


def test_with_nothing_left_to_give_up_it_says_what_it_needs_to_start(card: SmallCard) -> None:
    with running_hub(card.folder) as hub:
        kept(hub.visitor(), 1)
        assert hub.stop() == 0
    (card.folder / "ballast").unlink()
    card.fill()
    ended = hub_says(card.folder, "run", "--port", "0", "--listen", "127.0.0.1")
    assert ended.returncode == 1
    assert "needs 8 MB to start" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    card.clear()
    with running_hub(card.folder) as hub:
        assert "N0" in hub.visitor().get("/").text


def test_a_card_that_turns_read_only_is_read_from_and_refuses_in_words(card: SmallCard) -> None:
    with running_hub(card.folder) as hub:
        visitor = hub.visitor()
        names = kept(visitor, 3)
        card.spoil()
        for number in (30, 31):
            refused_in_words(put_up(visitor, number), "reported an error")
        for path in ("/", "/search?q=text", "/notices.json", "/files", *names):
            assert visitor.get(path).status == 200, path
        assert visitor.get("/healthz").status == 503
        assert "The card reported an error while writing" in hub_says(card.folder, "status").stdout
        assert hub.stop() == 0
        assert "Traceback" not in hub.log()
    ended = hub_says(card.folder, "run", "--port", "0", "--listen", "127.0.0.1")
    assert ended.returncode == 1
    assert "Read-only" in ended.stderr


def test_a_small_card_has_no_ballast_and_takes_words_until_sixty_four_megabytes(tmp_path: Path) -> None:
    with inserted(tmp_path / "card", 128) as small:
        found_hub(small.folder, GENEROUS)
        with running_hub(small.folder) as hub:
            visitor = hub.visitor()
            kept(visitor, 1)
            assert not (small.folder / "ballast").exists()
            small.fill(leave=66 * MB)
            assert put_up(visitor, 1).status == 303
            small.fill(leave=63 * MB)
            refused_in_words(put_up(visitor, 2))
            assert hub.stop() == 0
            quiet(hub)


async def test_a_hub_that_a_start_could_not_help_is_not_ended(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the card takes no writes at all the hub goes on reading; then it ends, to start anew."""
    monkeypatch.setattr(app, "AFTER_FAILURE_S", 0.01)
    answers = [True, True, True]
    monkeypatch.setattr(street.hub.blobs, "is_read_only", lambda: bool(answers and answers.pop()))
    street.hub._failed.set()
    with pytest.raises(Fatal):
        await asyncio.wait_for(street.hub._end_after_failure(), 5)
    assert answers == []
