"""The commands of a caretaker, as processes against a hub that runs, and on one that is stopped."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub import __version__
from hub.app import Hub
from hub.cli import _parser
from hub.domain.policy import DEFAULT_RULES
from tests.integration.conftest import HallClock, Street
from tests.integration.hub.hub_process import HubProcess, Visitor, found_hub, hub_says, running_hub

pytestmark = pytest.mark.timeout(30)
"""Each test is a dozen processes that start one after the other."""
DONE, REFUSED, MISUSED, AWAY, FOUND = 0, 1, 2, 3, 4


@dataclass
class Hall:
    """A hub that runs, and its caretaker at the keyboard."""

    hub: HubProcess

    def says(self, *words: str, code: int = DONE) -> str:
        """What a command prints; it must end with ``code`` and be silent where it is not meant to speak."""
        done = hub_says(self.hub.data, *words)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in (DONE, FOUND) else done.stderr

    def json(self, *words: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.says(*words, "--json"))

    def notice(self, visitor: Visitor, title: str) -> str:
        """Put up a notice from a browser; its public id."""
        fields = {
            "kind": "give",
            "title": title,
            "text": f"{title}, come and get it.",
            "key": f"form {title}",
        }
        answer = visitor.post("/notices", fields)
        assert answer.status == 303, answer.text
        found = re.match(r"/notices/(\w{10})", answer.location)
        assert found, answer.location
        return found[1]

    def report(self, visitor: Visitor, name: str, reason: str = "threat") -> str:
        """Report a notice; the reference."""
        fields = {"reason": reason, "text": "Look.", "key": secrets.token_hex(4)}
        answer = visitor.post(f"/notices/{name}/report", fields)
        assert answer.status == 303, answer.text
        return answer.location.partition("ref=")[2].partition("&")[0]


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    """One hub for all of these tests; each brings its own notices."""
    with running_hub(found_hub(tmp_path_factory.mktemp("hall") / "data")) as hub:
        yield Hall(hub)
        assert hub.stop() == 0
        assert "Traceback" not in hub.log()


def test_the_status_is_one_line_a_fact(hall: Hall) -> None:
    lines = hall.says("status").splitlines()
    assert re.fullmatch(rf"(OK|LOOK)\s+Community Hub, version {re.escape(__version__)}", lines[0])
    assert all(re.match(r"(OK|LOOK|STOP) {1,4}\S|      \S", line) for line in lines)
    assert f"      http://127.0.0.1:{hall.hub.port}/" in lines
    assert hall.json("status")["posting"] == "open"


def test_a_notice_is_listed_shown_hidden_restored_pinned_and_erased(hall: Hall) -> None:
    visitor = hall.hub.visitor()
    name = hall.notice(visitor, "Red wheelbarrow")
    assert re.search(
        rf"^{name}  \d{{4}}-\d\d-\d\d \d\d:\d\d  live      Red wheelbarrow$",
        hall.says("notices", "list"),
        re.MULTILINE,
    )
    shown = hall.says("notices", "show", name.upper())
    assert shown.startswith(f"{name}  notice, live\n")
    assert "Red wheelbarrow, come and get it." in shown
    assert "written by the device " in shown
    assert hall.says("notices", "hide", name, "--rule", "1") == "It is hidden from the next page view on.\n"
    assert visitor.get(f"/notices/{name}").status == 404
    assert "Red wheelbarrow" not in hall.hub.visitor().get("/").text
    assert name in hall.says("notices", "list", "hidden")
    assert f"hidden ({DEFAULT_RULES[0]})" in hall.says("notices", "show", name)
    assert hall.says("notices", "restore", name, "--rule", "A mistake.") == "It can be seen again.\n"
    assert "leads the board" in hall.says("notices", "pin", name, "--hours", "1")
    assert "official urgent" in hall.says("notices", "urgent", name, "--days", "2")
    assert re.search(rf"^{name} .* pinned urgent$", hall.says("notices", "list"), re.MULTILINE)
    assert "no longer pinned" in hall.says("notices", "pin", name, "--off")
    assert "plain notice again" in hall.says("notices", "urgent", name, "--off")
    assert "erased from this hub's files" in hall.says("notices", "erase", name, "--rule", "2")
    assert hall.hub.visitor().get(f"/notices/{name}").status == 410
    assert "410" not in hall.says("notices", "restore", name, "--rule", "2", code=REFUSED)


def test_what_waits_is_approved_or_refused(hall: Hall) -> None:
    assert hall.says("settings", "set", "board.posting", "checked") == "board.posting is checked now.\n"
    try:
        visitor = hall.hub.visitor()
        good, bad = hall.notice(visitor, "Good sofa"), hall.notice(visitor, "Bad sofa")
        waiting = hall.json("notices", "list", "waiting")
        assert [(item["id"], item["state"]) for item in waiting] == [(good, "waiting"), (bad, "waiting")]
        assert hall.says("notices", "approve", good) == "It is on the board now.\n"
        assert "erased" in hall.says("notices", "refuse", bad, "--rule", "6")
        assert hall.says("notices", "list", "waiting") == "Nothing here.\n"
        board = hall.hub.visitor().get("/").text
        assert ("Good sofa" in board, "Bad sofa" in board) == (True, False)
        assert "does not wait" in hall.says("notices", "approve", good, code=REFUSED)
    finally:
        hall.says("settings", "set", "board.posting", "open")


def test_reports_are_listed_and_decided(hall: Hall) -> None:
    name = hall.notice(hall.hub.visitor(), "Loud drums")
    for _ in range(3):
        reference = hall.report(hall.hub.visitor(), name)
    listed = hall.says("reports", "list")
    assert re.search(rf"^{reference}  .* threat    hidden until decided  on {name}$", listed, re.MULTILINE)
    assert "notice: Loud drums" in listed
    decided = hall.says(
        "reports", "decide", reference.upper(), "keep", "--rule", "1", "--answer", "It is music."
    )
    assert decided.startswith("Decided.")
    assert "Loud drums" in hall.hub.visitor().get("/").text
    assert reference not in hall.says("reports", "list")
    assert reference in hall.says("reports", "list", "--decided")
    assert "It is music." in hall.hub.visitor().get(f"/reports?ref={reference}").text


def test_devices_are_listed_paused_banned_lifted_and_trusted(hall: Hall) -> None:
    visitor = hall.hub.visitor()
    name = hall.notice(visitor, "Garden chairs")
    mark = hall.json("notices", "show", name)["device"]
    assert re.search(
        rf"^{mark} +since \d{{4}}-\d\d-\d\d, 1 notices$", hall.says("devices", "list"), re.MULTILINE
    )
    for act in (("pause", mark, "--hours", "2"), ("ban", mark.upper(), "--days", "1")):
        hall.says("devices", *act, "--rule", "1")
        fields = {"kind": "give", "title": "No", "text": "No.", "key": f"banned {act[0]}"}
        assert visitor.post("/notices", fields).status == 403
        assert "may write again" in hall.says("devices", "lift", mark.replace("-", " "), "--rule", "1")
    assert "hides an item" in hall.says("devices", "trust", mark)
    assert "trusted" in hall.says("devices", "list")
    assert "like everybody's" in hall.says("devices", "trust", mark, "--no")


def test_settings_are_shown_and_those_of_the_file_are_refused(hall: Hall) -> None:
    shown = hall.says("settings", "show", "limits.")
    assert shown.splitlines()[0] == "limits.per_device = 1000000  (file)"
    assert "board." not in shown
    assert "Read at the start" in hall.says("settings", "show", "web.port")
    assert "hub.toml" in hall.says("settings", "set", "web.port", "80", code=REFUSED)
    assert "board.posting" in hall.says("settings", "set", "board.postin", "open", code=REFUSED)
    assert "open, checked, paused" in hall.says("settings", "set", "board.posting", "shut", code=REFUSED)


def test_the_ledger_names_the_rule_and_the_role(hall: Hall) -> None:
    name = hall.notice(hall.hub.visitor(), "Old bicycle")
    hall.says("notices", "hide", name, "--rule", "3")
    newest = hall.says("ledger").splitlines()[0]
    assert re.fullmatch(
        rf" *\d+  \d{{4}}-\d\d-\d\d \d\d:\d\d  hide notice, by caretaker: {re.escape(DEFAULT_RULES[2])}"
        r"  \[[0-9a-f]{12}\]",
        newest,
    )
    number = hall.json("ledger")[0]["number"]
    assert all(entry["number"] < number for entry in hall.json("ledger", "--before", str(number)))


def test_a_notice_cannot_take_over_the_terminal_it_is_shown_on(hall: Hall) -> None:
    name = hall.notice(hall.hub.visitor(), "\x1b[2J\x9b31mFree\x07 hat")
    for words in (("notices", "list"), ("notices", "show", name)):
        said = hall.says(*words)
        assert "hat" in said
        assert not set(said) & {"\x1b", "\x9b", "\x07"}


def test_a_check_and_a_rebuild_of_a_hub_that_runs(hall: Hall) -> None:
    assert re.fullmatch(r"OK    Looked at \d+ records, \d+ files and pictures\.\n", hall.says("check"))
    assert re.fullmatch(r"\d+ items were made again from the log\.\n", hall.says("rebuild"))
    assert hall.json("check")["findings"] == []


def test_what_is_not_there_is_refused_in_one_sentence(hall: Hall) -> None:
    for words in (
        ("notices", "show", "0000000000"),
        ("notices", "hide", "nonsense", "--rule", "1"),
        ("reports", "decide", "nonsense", "keep", "--rule", "1"),
        ("devices", "trust", "no-such"),
    ):
        said = hall.says(*words, code=REFUSED)
        assert said.startswith("hub: ")
        assert said.count("\n") == 1


def test_a_second_hub_on_the_same_folder_is_refused(hall: Hall) -> None:
    said = hall.says("run", "--port", "0", "--listen", "127.0.0.1", code=REFUSED)
    assert "already running" in said
    assert hall.says("status").startswith(("OK", "LOOK"))


def test_the_folder_may_come_from_the_environment(hall: Hall) -> None:
    done = subprocess.run(
        ["hub", "status"],
        env={**os.environ, "HUB_DATA": str(hall.hub.data), "PATH": venv_path()},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == DONE, done.stderr
    assert "Community Hub" in done.stdout


def venv_path() -> str:
    """Where the command `hub` is installed."""
    import sys

    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"


def test_without_a_folder_the_command_says_how_to_name_one() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HUB_DATA"}
    done = subprocess.run(
        ["hub", "status"],
        env={**environment, "PATH": venv_path()},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (
        MISUSED,
        "hub: name the data folder with --data DIR or HUB_DATA.\n",
    )


def test_where_no_hub_runs_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    for words in (("status",), ("check",), ("rebuild",), ("notices", "list")):
        done = hub_says(tmp_path, *words)
        assert done.returncode == AWAY
        assert "hub run --data" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of a hub that is not running, with one notice."""
    data = found_hub(tmp_path / "data")

    async def live() -> None:
        clock = HallClock(1_795_426_860_000)
        hub = await Hub.open(data, clock=clock)
        await Street(hub, clock, data).person("ann").puts_up("Blue kettle")
        await hub.close()

    asyncio.run(live())
    return data


def test_a_hub_that_is_stopped_is_checked_all_the_same(stopped: Path) -> None:
    with closing(sqlite3.connect(stopped / "hub.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM notice")
        connection.execute(
            "INSERT INTO ledger VALUES (1, 1, 'hide', '', 'caretaker', 'notice', '', x'', x'')"
        )
    done = hub_says(stopped, "check")
    assert done.returncode == FOUND
    assert done.stdout.splitlines() == [
        "STOP  ledger: line 1 does not follow from the lines before it",
        "STOP  projection: notice is not what the log says",
        "LOOK  Looked at 1 records, 0 files and pictures.",
    ]
    found = json.loads(hub_says(stopped, "check", "--json").stdout)
    assert [finding["what"] for finding in found["findings"]] == ["ledger", "projection"]


def test_a_hub_that_is_stopped_is_rebuilt_all_the_same(stopped: Path) -> None:
    with closing(sqlite3.connect(stopped / "hub.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM notice")
    sentence = "1 items were made again from the log."
    assert hub_says(stopped, "rebuild").stdout == f"{sentence}\n"
    assert json.loads(hub_says(stopped, "rebuild", "--json").stdout)["sentence"] == sentence
    assert hub_says(stopped, "check").stdout == "OK    Looked at 1 records, 0 files and pictures.\n"


def test_a_folder_that_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    data = found_hub(tmp_path / "settings", "[board]\npostng = 'open'\n")
    said = hub_says(data, "run").stderr
    assert "hub.toml, line 2" in said
    assert "posting" in said
    data = found_hub(tmp_path / "foreign")
    (data / "key").write_bytes(bytes(32))
    (data / "hub.db").write_bytes(b"Dear Sir or Madam,\n" * 100)
    done = hub_says(data, "run", "--port", "0")
    assert done.returncode == REFUSED
    assert "is not a hub's database" in done.stderr
    data = found_hub(tmp_path / "key")
    (data / "key").write_bytes(b"too short")
    assert "cannot be read" in hub_says(data, "run", "--port", "0").stderr


def test_ctrl_c_stops_the_hub_as_sigterm_does(tmp_path: Path) -> None:
    with running_hub(found_hub(tmp_path / "data")) as hub:
        hub.process.send_signal(signal.SIGINT)
        assert hub.process.wait(5) == 0
        assert "Traceback" not in hub.log()
        assert not (hub.data / "run" / "admin.sock").exists()


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from every_parser(inner)


def test_every_command_and_every_choice_is_explained() -> None:
    for parser in every_parser(_parser()):
        assert parser.description, parser.prog
        assert parser.format_help().startswith(f"usage: {parser.prog}")
        for action in parser._actions:
            named = bool(action.option_strings)
            assert action.help or not named or isinstance(action, argparse._HelpAction), (parser.prog, action)


def test_help_and_version_need_no_hub(tmp_path: Path) -> None:
    done = subprocess.run(
        ["hub", "--version"], env={"PATH": venv_path()}, capture_output=True, text=True, timeout=20
    )
    assert done.stdout == f"hub {__version__}\n"
    done = hub_says(tmp_path, "notices", "hide", "--help")
    assert (done.returncode, "--rule" in done.stdout) == (DONE, True)
    assert hub_says(tmp_path, "notices", "hide", "x").returncode == MISUSED
