"""Pages of docs/ that are made from the program itself; ``make docs`` writes them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from hub import cli, settings

DOCS = Path(__file__).resolve().parents[2] / "docs"


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "One file, `hub.toml` in the data folder. Nothing needs to be in it; every setting has a default.",
        "Settings marked *live* can also be changed while the hub runs: `hub settings set KEY VALUE`; that",
        "stands above the file. `HUB_DATA`, `HUB_PORT`, `HUB_NAME` and `HUB_LISTEN`, or `--data`, `--port`,",
        "`--name` and `--listen`, stand above both. The log's level is `[log] level`.",
        "",
        "This page is made from the program: `make docs`.",
    ]
    section = ""
    for item in settings.describe():
        if item.key.partition(".")[0] != section:
            section = item.key.partition(".")[0]
            lines += [
                "",
                f"## [{section}]",
                "",
                "| setting | means | default | live |",
                "| --- | --- | --- | --- |",
            ]
        default = item.default.replace("|", "\\|") or "(empty)"
        name = item.key.partition(".")[2]
        lines.append(
            f"| `{name}` ({item.type}) | {item.sentence} | {default} | {'yes' if item.live else ''} |"
        )
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """docs/commands.md."""
    lines = [
        "# Commands",
        "",
        "For those who look after a hub. All but `hub run` find theirs by `--data DIR` or `HUB_DATA`",
        "and talk to it over a local socket, whose permissions are the login. `--json` prints JSON.",
        "Exit codes: 0 done, 1 the hub said no, 2 wrong words, 3 no hub answers, 4 a check found",
        "something.",
        "",
        "This page is made from the program: `make docs`.",
        "",
        "| command | does |",
        "| --- | --- |",
        *(f"| `{usage}` | {sentence} |" for usage, sentence in _commands(cli._parser(), "hub")),
    ]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, str]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        words = [name]
        for action in parser._actions:
            if action.dest in ("help", "data", "json"):
                continue
            word = action.option_strings[0] if action.option_strings else action.dest.upper()
            if action.option_strings and action.nargs != 0:
                word += f" {action.dest.upper()}"
            words.append(word if action.required else f"[{word}]")
        yield " ".join(words), parser.description or ""
    for group in groups:
        for word, child in group.choices.items():
            yield from _commands(child, f"{name} {word}")


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


if __name__ == "__main__":
    for file, make in PAGES.items():
        (DOCS / file).write_text(make(), "utf-8")
