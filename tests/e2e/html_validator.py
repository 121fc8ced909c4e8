"""The Nu Html Checker, over many documents in one run."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.needs import TOOLS, cannot_run, program

CHECKER = TOOLS / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
MEMORY = "-Xmx400m"
STACK = "-Xss4m"
"""The checker's grammar recurses deeply; with Java's own default it stops on some machines."""


@dataclass(frozen=True, slots=True)
class HtmlProblem:
    """One error or warning: the document's name as it was handed in, line and column from 1."""

    document: str
    line: int
    column: int
    message: str
    extract: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}:{self.column}: {self.message}  «{self.extract.strip()}»"


def _write(documents: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Put ``documents`` into ``folder``; answers the address the checker names each by, to its name."""
    names = {}
    for number, (name, html) in enumerate(documents.items()):
        path = folder / f"{number}.html"
        path.write_text(html, encoding="utf-8")
        names[f"file:{path}"] = name
    return names


async def html_problems(documents: Mapping[str, str]) -> list[HtmlProblem]:
    """All errors and warnings of ``documents`` (name to HTML), in the order the checker gives them.

    Takes about 2.5 s for any handful of pages: collect pages and call this once.
    """
    java = program("java", "default-jre-headless")
    if not CHECKER.exists():
        cannot_run("the HTML checker is not installed (tests/install-tools fetches it from npm)")
    with tempfile.TemporaryDirectory() as folder:
        names = _write(documents, Path(folder))
        checker = await asyncio.create_subprocess_exec(
            *(
                str(java),
                MEMORY,
                STACK,
                "-jar",
                str(CHECKER),
                "--no-langdetect",
                "--format",
                "json",
                "--stdout",
                folder,
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        answer, complaint = await checker.communicate()
    try:
        messages = json.loads(answer)["messages"]
    except (ValueError, KeyError):
        raise RuntimeError(f"the HTML checker did not answer: {complaint.decode()[:500]}") from None
    return [
        HtmlProblem(
            document=names.get(message.get("url", ""), message.get("url", "")),
            line=message.get("lastLine", 0),
            column=message.get("firstColumn", message.get("lastColumn", 0)),
            message=message["message"],
            extract=message.get("extract", ""),
        )
        for message in messages
    ]
