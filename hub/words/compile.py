"""From words in the source to compiled catalogues.

``python -m hub.words.compile --collect`` finds every message in code and templates and brings
``hub.pot`` and each language's ``hub.po`` up to date; ``--compile`` writes the ``hub.mo`` files the
hub reads. Hatchling loads this file by its path and compiles them into every wheel and editable
install, so nothing here may import the hub.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HUB = Path(__file__).resolve().parents[1]
LOCALES = Path("words", "locales")
"""Below the package, wherever that is: the build hook sees a checkout, a test a folder of its own."""

_JINJA = {"extensions": "jinja2.ext.i18n", "newstyle_gettext": "true", "trimmed": "true", "silent": "false"}
_UNSTABLE = re.compile(
    rb'^"(?:(?:POT-Creation-Date|PO-Revision-Date|Generated-By|Project-Id-Version): |.*@(?:ADDRESS|li)).*\n',
    re.MULTILINE,
)
"""Header lines that change by themselves, or say nothing."""
_HEADER = """\
# Words of the Community Hub.
# Machine-made translations: they await a native reader. Correct them freely."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles the catalogues before hatchling packs or links the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        compile_all(Path(self.root, "hub"))


def compile_all(hub: Path = HUB) -> list[Path]:
    """Write ``hub.mo`` beside every ``hub.po`` of the package folder ``hub``; the files written.

    Untranslated and fuzzy messages are left out, so that readers get the English ones.
    """
    written = []
    for lang in languages(hub):
        compiled = BytesIO()
        write_mo(compiled, _read(hub, lang))
        target = _path(hub, lang).with_suffix(".mo")
        target.write_bytes(compiled.getvalue())
        written.append(target)
    return written


def collect(hub: Path = HUB) -> None:
    """Bring ``hub.pot`` and every ``hub.po`` up to date with the messages in code and templates.

    Translations are kept where the English is unchanged, never guessed from similar messages;
    messages no longer used are dropped. The same sources give the same bytes.
    """
    template = messages(hub)
    _write(hub / LOCALES / "hub.pot", template)
    for lang in languages(hub):
        catalog = _read(hub, lang)
        catalog.update(template, no_fuzzy_matching=True, update_header_comment=False)
        _write(_path(hub, lang), catalog)


def messages(hub: Path = HUB) -> Catalog:
    """Every message of the package folder ``hub``: Python code, and templates in ``web/templates``."""
    catalog = Catalog(domain="hub", header_comment=_HEADER, fuzzy=False)
    for path, method in _sources(hub):
        with path.open("rb") as source:
            found = list(
                extract(
                    method,
                    source,
                    keywords=DEFAULT_KEYWORDS,
                    comment_tags=["Translators:"],
                    options=_JINJA,
                    strip_comment_tags=True,
                )
            )
        place = path.relative_to(hub.parent).as_posix()
        for _, message, comments, context in found:
            catalog.add(message, None, [(place, 0)], auto_comments=comments, context=context)
    return catalog


def languages(hub: Path = HUB) -> list[str]:
    """The languages that have a catalogue, sorted."""
    return sorted(path.parents[1].name for path in (hub / LOCALES).glob("*/LC_MESSAGES/hub.po"))


def start_language(lang: str, hub: Path = HUB) -> None:
    """Make an empty catalogue for ``lang`` (a CLDR code) unless there is one."""
    path = _path(hub, lang)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, Catalog(locale=lang, domain="hub", header_comment=_HEADER, fuzzy=False))


def missing(lang: str, hub: Path = HUB, template: Catalog | None = None) -> list[str]:
    """What is wrong with the catalogue of ``lang``, one line per message; empty when it is complete.

    ``template`` saves collecting the messages again when several languages are looked at.
    """
    template = template or messages(hub)
    catalog = _read(hub, lang)
    wanted = {(message.context, _first(message)): message for message in template if message.id}
    present = {(message.context, _first(message)): message for message in catalog if message.id}
    faults = [f"not collected: {english}" for context, english in wanted.keys() - present.keys()]
    faults += [f"no longer used: {english}" for context, english in present.keys() - wanted.keys()]
    for key in wanted.keys() & present.keys():
        faults += [f"{fault}: {key[1]}" for fault in _faults(present[key], catalog.num_plurals)]
    return sorted(faults)


_FIELD = re.compile(r"%\(\w+\)[sd]|\{\w+\}")
_TAG = re.compile(r"</?\w+")


def _faults(message: Message, plurals: int) -> Iterator[str]:
    english, forms = _texts(message.id), _texts(message.string)
    if len(forms) != (plurals if message.pluralizable else 1) or not all(forms):
        yield "untranslated"
        return
    if message.fuzzy:
        yield "marked as unsure (fuzzy)"
    fields = set(_FIELD.findall(" ".join(english)))
    for form in forms:
        used = set(_FIELD.findall(form))
        # One, two or none of something may be words of their own, without the number.
        if used - fields or (fields - used and not message.pluralizable):
            yield "other fields than the English"
        if sorted(_TAG.findall(form)) != sorted(_TAG.findall(english[-1])):
            yield "other markup than the English"


def _texts(forms: object) -> tuple[str, ...]:
    """What Babel keeps as a string, a tuple or a list of plural forms, or nothing, as a tuple."""
    return tuple(map(str, forms)) if isinstance(forms, (tuple, list)) else (str(forms or ""),)


def _first(message: Message) -> str:
    return _texts(message.id)[0]


def _sources(hub: Path) -> Iterator[tuple[Path, Any]]:
    for path in sorted(hub.rglob("*.py")):
        yield path, "python"
    templates = hub / "web" / "templates"
    if templates.is_dir():
        from jinja2.ext import babel_extract  # the build of a wheel has no Jinja2 and needs none

        for path in sorted(templates.rglob("*.*")):
            yield path, babel_extract


def _path(hub: Path, lang: str) -> Path:
    return hub / LOCALES / lang / "LC_MESSAGES" / "hub.po"


def _read(hub: Path, lang: str) -> Catalog:
    with _path(hub, lang).open("rb") as source:
        return read_po(source, locale=lang, domain="hub", abort_invalid=True)


def _write(path: Path, catalog: Catalog) -> None:
    written = BytesIO()
    write_po(written, catalog, width=100, sort_output=True, ignore_obsolete=True, include_lineno=False)
    path.write_bytes(_UNSTABLE.sub(b"", written.getvalue()))


def main() -> None:
    """The command line: collect, compile, or both; then say how much of each language is left to do."""
    parser = argparse.ArgumentParser(prog="python -m hub.words.compile", description=__doc__)
    parser.add_argument("--collect", action="store_true", help="bring hub.pot and every hub.po up to date")
    parser.add_argument("--compile", action="store_true", help="write every hub.mo")
    chosen = parser.parse_args()
    if not (chosen.collect or chosen.compile):
        parser.error("say --collect, --compile or both")
    if chosen.collect:
        collect()
    if chosen.compile:
        compile_all()
    template = messages()
    for lang in languages():
        faults = missing(lang, template=template)
        sys.stdout.write(f"{lang}: {len(faults)} of {len(template)} messages to look at\n")


if __name__ == "__main__":
    main()
