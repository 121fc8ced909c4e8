"""What a download is called, which part of it is asked for, and what browsers may do with it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.domain.files import Family, file_name, media_of
from hub.web import downloads
from hub.web.downloads import FileBytes, disposition


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Menu.pdf", 'attachment; filename="Menu.pdf"'),
        ("Menu (2).pdf", 'attachment; filename="Menu (2).pdf"'),
        ("Tŷ’r.pdf", "attachment; filename=\"Ty_r.pdf\"; filename*=UTF-8''T%C5%B7%E2%80%99r.pdf"),
        ("جدول.pdf", "attachment; filename=\"file.pdf\"; filename*=UTF-8''%D8%AC%D8%AF%D9%88%D9%84.pdf"),
        ("村", "attachment; filename=\"file\"; filename*=UTF-8''%E6%9D%91"),
        ('a"b\\c%41.txt', "attachment; filename=\"a_b_c_41.txt\"; filename*=UTF-8''a%22b%5Cc%2541.txt"),
        ("a\r\nAge: 1", "attachment; filename=\"a_Age: 1\"; filename*=UTF-8''a%0D%0AAge%3A%201"),
        ("", "attachment; filename=\"file\"; filename*=UTF-8''"),
        ("\ud800.txt", "attachment; filename=\"file.txt\"; filename*=UTF-8''%3F.txt"),
    ],
)  # fmt: skip
def test_a_name_in_any_script_is_told_to_new_software_and_to_old(name: str, field: str) -> None:
    assert disposition(name, inline=False) == field
    assert disposition(name, inline=True) == field.replace("attachment", "inline", 1)


@given(st.text(st.characters(exclude_categories=[])))
def test_no_name_breaks_out_of_its_field(name: str) -> None:
    field = disposition(name, inline=False)
    assert field.isascii()
    assert field.isprintable()
    value = r"(?:[\w!#$&+.^`|~-]|%[0-9A-F]{2})*"
    found = re.fullmatch(rf'attachment; filename="([^"\\%]*)"(?:; filename\*=UTF-8\'\'({value}))?', field)
    assert found
    assert found[1]
    if found[2] is not None:
        assert unquote(found[2]) == name.encode(errors="replace").decode()
    else:
        assert found[1] == name


@given(st.text(st.characters(exclude_characters="/\\"), max_size=150))
def test_a_name_that_the_hub_gives_keeps_its_ending_in_both_ways(name: str) -> None:
    given_name = file_name(f"a{name}.jpg")
    assert media_of(given_name).family is Family.PICTURE
    assert all(
        part.rstrip('"').endswith(".jpg") for part in disposition(given_name, inline=True).split("; ")[1:]
    )


@settings(max_examples=300)
@given(
    size=st.integers(0, 40),
    first=st.one_of(st.just(""), st.integers(0, 60).map(str)),
    last=st.one_of(st.just(""), st.integers(0, 60).map(str)),
)
def test_what_is_asked_is_what_is_sent(size: int, first: str, last: str) -> None:
    part = downloads.part_asked("GET", {"Range": f"bytes={first}-{last}"}, '"e"', size)
    indices = range(size)
    wanted: range | None
    if (not first and not last) or (first and last and int(last) < int(first)):
        wanted = None
    elif not first:
        wanted = indices[-int(last) :] if int(last) else range(0)
    else:
        wanted = indices[int(first) : int(last) + 1 if last else None]
    if not size or wanted is None:
        assert part == (200, 0, size)
    elif not wanted:
        assert part.status == 416
    else:
        assert part == (206, wanted[0], len(wanted))


@settings(max_examples=300)
@given(
    fields=st.dictionaries(
        st.sampled_from(["Range", "If-Range", "If-Match", "If-None-Match"]), st.text(max_size=40)
    ),
    size=st.integers(0, 2**40),
    method=st.sampled_from(["GET", "HEAD"]),
)
def test_no_header_field_makes_more_of_a_file_than_it_is(
    fields: dict[str, str], size: int, method: str
) -> None:
    part = downloads.part_asked(method, fields, '"e"', size)
    assert part.status in (200, 206, 304, 412, 416)
    assert 0 <= part.start <= part.start + part.length <= size


@pytest.mark.parametrize(
    "name",
    ["a.html", "a.htm", "a.svg", "a.xml", "a.xhtml", "a.js", "a.css", "a.mhtml", "a.swf", "a.pdf.html",
     "html", ".html", "a.jpg.exe", "a.PDF ", "a", "a.json", "a.wasm", "a.hta", "a.xsl"],
)  # fmt: skip
def test_what_is_not_on_the_list_is_saved_whatever_the_page_wanted(name: str) -> None:
    file = FileBytes(Path("/a"), 1, "0" * 64, name, media_of(name), inline=True)
    headers = downloads._headers_of_file(file)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment; ")
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("a.jpg", "sandbox; default-src 'none'; style-src 'unsafe-inline'"),
        ("a.txt", "sandbox; default-src 'none'"),
        ("a.PDF", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"),
        ("a.mp3", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'"),
        ("a.webm", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'"),
    ],
)
def test_what_is_shown_may_do_no_more_than_be_shown(name: str, policy: str) -> None:
    shown = downloads._headers_of_file(FileBytes(Path("/a"), 1, "0" * 64, name, media_of(name), inline=True))
    saved = downloads._headers_of_file(FileBytes(Path("/a"), 1, "0" * 64, name, media_of(name), inline=False))
    assert shown["Content-Security-Policy"] == policy
    assert shown["Content-Disposition"].startswith("inline; ")
    assert saved["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert saved["Content-Disposition"].startswith("attachment; ")
    assert "script-src" not in policy
    assert "allow-" not in policy
