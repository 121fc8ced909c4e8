"""A crowd that writes on a hub while it is killed, and remembers what the hub has said yes to.

What a member of the crowd wrote can be told from its marker alone, so after a kill it can be said of
every item whether it is whole. An act whose answer never came is *in doubt*: it may have happened
whole or not at all.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from PIL import Image

from hub.api.client import Client, HubAway, ProblemAnswer
from hub.api.schema import Decision
from tests.integration.hub.hub_process import Answer, HubProcess, Visitor

_AWAY = (OSError, http.client.HTTPException)
_ID = re.compile(r"/notices/(\w+)")
_WORDS = ["ladder", "lost cat", "cawl a bara", "zgubiono klucze", "سیڑھی ادھار", "قطة ضائعة", "two chairs"]


@dataclass(frozen=True, slots=True)
class Said:
    """One version of a notice, or a reply (without title and pictures)."""

    title: str
    text: str
    pictures: tuple[str, ...] = ()
    """What their alt texts say."""


@dataclass(slots=True)
class Posted:
    """A notice as far as its author knows: what may stand there now, and whether it may be gone."""

    versions: list[Said]
    """The last acknowledged one first; a second one is in doubt."""
    gone: bool = False
    """Taken down or erased, acknowledged."""
    going: bool = False
    """The same, in doubt."""
    replies: list[str] = field(default_factory=list)
    doubted: list[str] = field(default_factory=list)
    """Texts of acknowledged replies, and of those in doubt."""


def drawing(chance: random.Random) -> bytes:
    """A small JPEG that nobody else has."""
    picture = Image.frombytes("RGB", (24, 16), chance.randbytes(24 * 16 * 3)).resize((96, 64))
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=80)
    return made.getvalue()


class Writer:
    """One browser that puts up, changes, answers and takes down until the hub is gone."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.chance = random.Random(f"{name}/{seed}")
        self.device: str | None = None
        self.posted: dict[str, Posted] = {}
        self.touched: set[str] = set()
        """Ids that were written to since the last look."""
        self.unanswered: tuple[str, Said, list[bytes]] | None = None
        """The form key, words and pictures of a notice whose "put up" never came."""
        self.acknowledged = 0
        self.refusals: list[str] = []
        self._number = 0

    def write(self, visitor: Visitor, until: Callable[[], bool]) -> None:
        """Act after act until ``until`` says so or the hub goes away."""
        visitor.device = self.device
        try:
            while not until():
                self._act(visitor)
        except _AWAY:
            pass
        self.device = visitor.device or self.device

    def send_again(self, visitor: Visitor) -> None:
        """Send the form again whose answer never came, as a person does who presses the button twice."""
        if self.unanswered is None:
            return
        visitor.device = self.device
        key, said, pictures = self.unanswered
        self._take_up(self._send(visitor, key, said, pictures), said)
        self.device = visitor.device or self.device
        self.unanswered = None

    def _act(self, visitor: Visitor) -> None:
        living = [name for name, item in self.posted.items() if not item.gone and not item.going]
        kind = self.chance.random()
        if kind < 0.45 or not living:
            self._put_up(visitor)
        elif kind < 0.7:
            self._answer(visitor, self.chance.choice(living))
        elif kind < 0.93:
            self._change(visitor, self.chance.choice(living))
        else:
            self._take_down(visitor, self.chance.choice(living))

    def _said(self) -> Said:
        self._number += 1
        marker = f"{self.name}{self._number}"
        words = self.chance.choice(_WORDS)
        return Said(f"{marker} {words}", f"{marker}: {words}. " * self.chance.choice([1, 3, 40]))

    def _put_up(self, visitor: Visitor) -> None:
        said, pictures = self._said(), []
        if self.chance.random() < 0.06:
            pictures = [drawing(self.chance)]
            said = Said(said.title, said.text, (f"what {said.title} looks like",))
        key = f"key-{said.title}"
        self.unanswered = (key, said, pictures)
        self._take_up(self._send(visitor, key, said, pictures), said)
        self.unanswered = None

    def _send(self, visitor: Visitor, key: str, said: Said, pictures: list[bytes]) -> Answer:
        fields = {"kind": "news", "title": said.title, "text": said.text, "key": key}
        fields |= {f"alt{number}": alt for number, alt in enumerate(said.pictures, 1)}
        return visitor.post("/notices", fields, [("picture", "p.jpg", data) for data in pictures])

    def _take_up(self, answer: Answer, said: Said) -> None:
        if self._accepted(answer, "put-up"):
            found = _ID.match(answer.location)
            assert found
            self.posted[found[1]] = Posted([_kept(said)])
            self.touched.add(found[1])

    def _change(self, visitor: Visitor, name: str) -> None:
        said, item = self._said(), self.posted[name]
        said = Said(said.title, said.text, item.versions[0].pictures)
        item.versions.append(_kept(said))
        self.touched.add(name)
        fields = [("kind", "news"), ("title", said.title), ("text", said.text)]
        if said.pictures:
            fields += [("kept", token) for token in self._kept_tokens(visitor, name)]
        if self._accepted(visitor.post(f"/notices/{name}/edit", fields), "changed", item):
            item.versions = [_kept(said)]
        else:
            item.versions.pop()

    def _kept_tokens(self, visitor: Visitor, name: str) -> list[str]:
        return re.findall(r'name="kept" value="(\w+)"', visitor.get(f"/notices/{name}/edit").text)

    def _answer(self, visitor: Visitor, name: str) -> None:
        text, item = self._said().text.strip(), self.posted[name]
        item.doubted.append(text)
        self.touched.add(name)
        if self._accepted(
            visitor.post(f"/notices/{name}/replies", {"text": text, "key": text[:60]}), "replied", item
        ):
            item.replies.append(text)
        item.doubted.remove(text)

    def _take_down(self, visitor: Visitor, name: str) -> None:
        item = self.posted[name]
        item.going = True
        self.touched.add(name)
        if self._accepted(visitor.post(f"/notices/{name}/remove"), "taken-down", item):
            item.gone = True

    def _accepted(self, answer: Answer, done: str, item: Posted | None = None) -> bool:
        if answer.status == 303 and f"done={done}" in answer.location:
            self.acknowledged += 1
            return True
        if item is not None and item.going and answer.status in (404, 410):
            return False  # the caretaker was faster
        self.refusals.append(f"{answer.status} {answer.location} {answer.text[:3000]}")
        return False


def _kept(said: Said) -> Said:
    """``said`` as the hub keeps it."""
    return Said(said.title, said.text.strip(), said.pictures)


def erase_now_and_then(hub: HubProcess, writers: list[Writer], until: Callable[[], bool], seed: int) -> None:
    """A caretaker who erases a notice of the crowd several times a second."""
    chance, desk = random.Random(f"caretaker/{seed}"), Client(hub.data / "run" / "admin.sock")
    waiting = threading.Event()
    while not until():
        waiting.wait(chance.uniform(0.02, 0.3))
        writer = chance.choice(writers)
        names = [name for name, item in list(writer.posted.items()) if not item.gone and not item.going]
        if not names:
            continue
        name = chance.choice(names)
        item = writer.posted[name]
        item.going = True
        writer.touched.add(name)
        try:
            desk.act(name, "erase", Decision(rule="1"))
        except (*_AWAY, HubAway):
            return
        except ProblemAnswer as answer:
            writer.refusals.append(str(answer))
            return
        item.gone = True


def faults_of(visitor: Visitor, name: str, item: Posted) -> Iterator[str]:
    """What is wrong with a notice after a restart; settles what was in doubt."""
    answer = visitor.get(f"/notices/{name}.json")
    if answer.status in (404, 410):
        if not (item.gone or item.going):
            yield f"{name} ({item.versions[0].title}) was acknowledged and is lost: {answer.status}"
        item.gone = True
        return
    if answer.status != 200 or item.gone:
        yield f"{name} ({item.versions[0].title}) is there: {answer.status}, though it was taken down"
        return
    item.going = False
    found = answer.json
    alts = tuple(picture["alt"] for picture in found.get("pictures", []))
    said = Said(found["title"], found["content_text"], alts)
    if said not in item.versions:
        yield f"{name} says {said}, not {item.versions}"
    item.versions = [said]
    for picture in found.get("pictures", []):
        for url in (picture["url"], picture["thumb_url"]):
            path = "/" + url.split("/", 3)[3]
            shown = visitor.get(path)
            if shown.status != 200 or hashlib.sha256(shown.body).hexdigest() not in path:
                yield f"{name}: the picture {path} is {shown.status}, {len(shown.body)} bytes"
    replies = [reply["content_text"] for reply in found.get("replies", [])]
    if sorted(set(replies)) != sorted(replies):
        yield f"{name} has a reply twice: {replies}"
    if missing := set(item.replies) - set(replies):
        yield f"{name} has lost replies: {missing}"
    if unknown := set(replies) - set(item.replies) - set(item.doubted):
        yield f"{name} has replies nobody wrote, or halves: {unknown}"
    item.replies, item.doubted = replies, []


def whole_board(visitor: Visitor) -> dict[str, tuple[str, str]]:
    """Title and text of everything on the board, by id."""
    found: dict[str, tuple[str, str]] = {}
    path = "/notices.json"
    while path:
        page = visitor.get(path).json
        for item in page["items"]:
            assert item["id"] not in found, f"{item['id']} stands on the board twice"
            found[item["id"]] = (item["title"], item["content_text"])
        following = page.get("next_url", "")
        path = "/" + following.split("/", 3)[3] if following else ""
    return found
