"""Reading forms from bytes: what is kept, what is cleaned, and that nothing but refusals comes out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp.web_protocol import RequestPayloadError
from hypothesis import given
from hypothesis import strategies as st

from hub.web.connections import BodyTooSlow
from hub.web.forms import (
    MAX_DISPLAY_NAME,
    FormError,
    FormLimits,
    FormNoRoom,
    FormTooLarge,
    FormTooSlow,
    FormUnreadable,
    FormWrongType,
    PostedForm,
    Staging,
    clean_name,
    clean_text,
    read_form_body,
)

PAIRS = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=frontier"
LIMITS = FormLimits(body=100_000, text=1000, texts=3000, parts=10, files=2, file=20_000, drain=200_000)

Feeder = Callable[[], Awaitable[bytes]]


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    """Files named 1, 2, 3 in an empty folder."""
    return numbered(tmp_path)


def numbered(folder: Path) -> Staging:
    numbers = itertools.count(1)
    return Staging(folder, lambda: str(next(numbers)))


def pieces(body: bytes, size: int = 65536, then: Exception | None = None) -> Feeder:
    """A reader that returns ``body`` in pieces, and at its end nothing or an exception."""
    left = [body[at : at + size] for at in range(0, len(body), size)]

    async def read() -> bytes:
        if left:
            return left.pop(0)
        if then is not None:
            raise then
        return b""

    return read


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """One part of a multipart body, as a browser writes it."""
    file = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: image/jpeg'
    return (
        f'--frontier\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        + value
        + b"\r\n"
    )


END = b"--frontier--\r\n"


async def read(
    body: bytes, staging: Staging, kind: str = PARTS, limits: FormLimits = LIMITS, size: int = 65536
) -> PostedForm:
    return await read_form_body(kind, len(body), pieces(body, size), limits, staging)


async def refused(
    body: bytes,
    staging: Staging,
    kind: str = PARTS,
    limits: FormLimits = LIMITS,
    then: Exception | None = None,
) -> FormError:
    with pytest.raises(FormError) as caught:
        await read_form_body(kind, None, pieces(body, then=then), limits, staging)
    return caught.value


async def outcome(body: bytes, staging: Staging, kind: str, size: int) -> FormError | None:
    """The refusal of a body, or None when it is read; any other exception fails the test."""
    try:
        async with await read(body, staging, kind, size=size):
            return None
    except FormError as error:
        return error


async def listing(folder: Path) -> list[str]:
    return await asyncio.to_thread(lambda: sorted(path.name for path in folder.iterdir()))


async def test_pairs_become_texts(staging: Staging) -> None:
    body = b"title=Keys+found&text=By%20the%20%C5%82awka&kind=lost&kind=give&&empty="
    async with await read(body, staging, PAIRS) as form:
        assert form.first("title") == "Keys found"
        assert form.first("text") == "By the ławka"
        assert (form.first("kind"), form.last("kind"), form.all("kind")) == ("lost", "give", ["lost", "give"])
        assert form.first("empty", "other") == ""
        assert (form.first("none"), form.last("none", "x"), form.all("none")) == ("", "x", [])


async def test_parts_become_texts_and_files(staging: Staging, tmp_path: Path) -> None:
    picture = bytes(range(256)) * 50
    body = (
        part("title", b"Sofa to give away")
        + part("picture", picture, "C:\\photos\\sofa.jpg")
        + part("alt", b"Zielona sofa")
        + part("picture", b"", "")
        + END
    )
    for size in (1, 7, 65536):
        async with await read(body, staging, size=size) as form:
            assert form.texts == {"title": ["Sofa to give away"], "alt": ["Zielona sofa"]}
            [file] = form.files_of("picture")
            assert (file.name, file.size) == ("sofa.jpg", len(picture))
            assert await asyncio.to_thread(file.path.read_bytes) == picture
        assert await listing(tmp_path) == []


async def test_a_file_that_was_taken_away_may_be_gone_when_the_form_is_closed(
    staging: Staging, tmp_path: Path
) -> None:
    form = await read(part("picture", b"data", "a.jpg") + END, staging)
    await asyncio.to_thread(form.files[0].path.rename, tmp_path / "kept")
    await form.close()
    await form.close()
    assert await listing(tmp_path) == ["kept"]


async def test_staging_never_writes_over_a_file(staging: Staging, tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "1").write_bytes, b"mine")
    error = await refused(part("title", b"t") + part("picture", b"data", "a.jpg") + END, staging)
    assert isinstance(error, FormNoRoom)
    assert await asyncio.to_thread((tmp_path / "1").read_bytes) == b"mine"


def test_what_a_dead_run_left_is_cleared(staging: Staging, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"half a picture")
    staging.clear()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json", "multipart/mixed; boundary=frontier", "\udcff/\udcfe"]
)
async def test_another_type_is_refused(staging: Staging, kind: str) -> None:
    error = await refused(b"title=x", staging, kind)
    assert isinstance(error, FormWrongType)
    assert error.status == 415


async def test_a_file_that_is_too_large_leaves_the_text_around_it(staging: Staging, tmp_path: Path) -> None:
    body = part("title", b"before") + part("picture", bytes(30_000), "a.jpg") + part("text", b"after") + END
    error = await refused(body, staging)
    assert isinstance(error, FormTooLarge)
    assert error.status == 413
    assert error.form.texts == {"title": ["before"], "text": ["after"]}
    assert error.form.files == []
    assert await listing(tmp_path) == []


async def test_too_many_files_leave_the_text(staging: Staging, tmp_path: Path) -> None:
    body = b"".join(part("picture", b"data", f"{n}.jpg") for n in range(3)) + part("text", b"after") + END
    error = await refused(body, staging)
    assert isinstance(error, FormTooLarge)
    assert error.form.texts == {"text": ["after"]}
    assert await listing(tmp_path) == []


async def test_a_body_that_is_too_large_leaves_the_text(staging: Staging, tmp_path: Path) -> None:
    files = b"".join(part("picture", bytes(19_000), "a.jpg") for _ in range(8))
    error = await refused(part("title", b"before") + files + part("text", b"after") + END, staging)
    assert isinstance(error, FormTooLarge)
    assert error.form.texts == {"title": ["before"], "text": ["after"]}
    assert await listing(tmp_path) == []


async def test_a_refused_body_is_read_on_only_so_far(staging: Staging) -> None:
    asked = 0

    async def endless() -> bytes:
        nonlocal asked
        asked += 1
        return bytes(10_000) if asked > 1 else part("title", b"kept") + part("picture", b"", "x")[:-2]

    with pytest.raises(FormTooLarge) as caught:
        await read_form_body(PARTS, 10**12, endless, LIMITS, staging)
    assert caught.value.form.texts == {"title": ["kept"]}
    assert asked < 25


async def test_a_refused_body_is_read_on_only_so_long(staging: Staging) -> None:
    async def stopped() -> bytes:
        await asyncio.sleep(60)
        return b""

    with pytest.raises(FormTooLarge):
        await read_form_body(PARTS, 10**12, stopped, FormLimits(drain_s=0.05), staging)


@pytest.mark.parametrize("kind", [PAIRS, PARTS])
async def test_a_text_that_is_too_long_keeps_as_much_as_there_is_room_for(
    staging: Staging, kind: str
) -> None:
    long = b"x" * 1500
    pairs = urlencode({"title": "t", "text": long, "name": "n"}).encode()
    parts = part("title", b"t") + part("text", long) + part("name", b"n") + END
    error = await refused(pairs if kind == PAIRS else parts, staging, kind)
    assert isinstance(error, FormTooLarge)
    assert error.form.texts == {"title": ["t"], "text": ["x" * 1000], "name": ["n"]}


@pytest.mark.parametrize("kind", [PAIRS, PARTS])
async def test_too_many_fields_are_refused_and_the_first_are_kept(staging: Staging, kind: str) -> None:
    pairs = b"&".join(b"f%d=%d" % (n, n) for n in range(20))
    parts = b"".join(part(f"f{n}", b"%d" % n) for n in range(20)) + END
    error = await refused(pairs if kind == PAIRS else parts, staging, kind)
    assert isinstance(error, FormTooLarge)
    assert error.form.texts == {f"f{n}": [str(n)] for n in range(10)}


async def test_pairs_over_the_limit_of_all_texts_are_refused(staging: Staging) -> None:
    body = b"&".join(b"f%d=%s" % (n, b"x" * 900) for n in range(5))
    error = await refused(body, staging, PAIRS)
    assert isinstance(error, FormTooLarge)
    assert len(error.form.texts) == 4


TITLE = part("title", b"kept")
BROKEN = {
    "nothing": b"",
    "no boundary in the body": b"title=x",
    "no end": TITLE,
    "a boundary only": b"--frontier",
    "an end within a text": TITLE[:-6],
    "an end within a head": TITLE + part("text", b"x")[:30],
    "an end within a file": TITLE + part("picture", bytes(5000), "a.jpg"),
    "garbage after a boundary": TITLE + b"--frontierX\r\n\r\n" + END,
    "a part without a disposition": TITLE + b"--frontier\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
    "a part that is an attachment": TITLE
    + b"--frontier\r\nContent-Disposition: attachment\r\n\r\nx\r\n"
    + END,
    "a part without a name": TITLE + b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
    "a head without a colon": TITLE + b"--frontier\r\nnonsense\r\n\r\nx\r\n" + END,
    "line ends without CR": TITLE + b'--frontier\nContent-Disposition: form-data; name="a"\n\nx\n' + END,
    "a NUL in a name": TITLE + part("te\x00xt", b"x") + END,
    "a line end in a name": TITLE + part("te%0Axt", b"x") + END,
    "an escape in a name": TITLE + part("te\x1bxt", b"x") + END,
    "a delete in a name": TITLE + part("te\x7fxt", b"x") + END,
    "a long name": TITLE + part("t" * 5000, b"x") + END,
    "a name longer than any field's": TITLE + part("t" * 101, b"x") + END,
    "an empty name": TITLE + part("", b"x") + END,
    "a long file name": TITLE + part("picture", b"x", "t" * 5000) + END,
    "a long head": TITLE + b"--frontier\r\nX: " + b"x" * 9000 + b"\r\n\r\nx\r\n" + END,
    "many heads": TITLE + b"--frontier\r\n" + b"X: x\r\n" * 50 + b"\r\nx\r\n" + END,
    "a wrong length of a part": TITLE
    + part("text", b"x").replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n")
    + END,
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_body_is_refused_with_the_text_so_far(
    staging: Staging, tmp_path: Path, body: bytes
) -> None:
    error = await refused(body, staging)
    assert isinstance(error, FormUnreadable)
    assert error.status == 400
    if body.startswith(TITLE):
        assert error.form.first("title") == "kept"
    assert await listing(tmp_path) == []


async def test_a_text_cut_off_in_its_middle_is_kept(staging: Staging) -> None:
    error = await refused(part("text", b"half of a sentence")[:-10], staging)
    assert error.form.first("text") == "half of a "


@pytest.mark.parametrize(
    "boundary",
    ["", "boundary=", 'boundary=""', "boundary=" + "b" * 71, "boundary=\udcff\udcfe", 'boundary="a\nb"'],
)
async def test_a_boundary_that_cannot_be_is_refused(staging: Staging, boundary: str) -> None:
    error = await refused(part("title", b"x") + END, staging, f"multipart/form-data; {boundary}")
    assert isinstance(error, FormUnreadable)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (BodyTooSlow(), FormTooSlow),
        (RequestPayloadError("bad chunk"), FormUnreadable),
        (ConnectionResetError(), FormUnreadable),
    ],
)
async def test_a_body_that_breaks_off_leaves_its_text_and_no_file(
    staging: Staging, tmp_path: Path, raised: Exception, expected: type[FormError]
) -> None:
    body = part("text", b"typed") + part("picture", bytes(9000), "a.jpg")
    error = await refused(body, staging, then=raised)
    assert type(error) is expected
    assert error.form.first("text") == "typed"
    assert await listing(tmp_path) == []


async def test_a_disk_that_is_full_leaves_the_text() -> None:
    full = Staging(Path("/dev"), lambda: "full")
    away = Staging(Path("/proc/no/such"), lambda: "place")
    body = part("title", b"before") + part("picture", bytes(9000), "a.jpg") + part("text", b"after") + END
    for staging in (full, away):
        error = await refused(body, staging)
        assert isinstance(error, FormNoRoom)
        assert error.status == 507
        assert error.form.texts == {"title": ["before"], "text": ["after"]}


async def test_a_cancelled_request_leaves_no_file(staging: Staging, tmp_path: Path) -> None:
    begun = asyncio.Event()
    head = part("picture", b"", "a.jpg")[:-2]
    sent = iter([head, *[bytes(300_000)] * 3])

    async def stopping() -> bytes:
        for chunk in sent:
            return chunk
        begun.set()
        await asyncio.sleep(60)
        return b""

    limits = FormLimits()
    reading = asyncio.ensure_future(read_form_body(PARTS, None, stopping, limits, staging))
    await begun.wait()
    assert len(await listing(tmp_path)) == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await listing(tmp_path) == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\u2028b\u2029c".encode(), "a\nb\nc"),
        (b"a\x00b\x07c\x1b[2Jd\x7fe\tf", "abc[2Jde\tf"),
        ("a\u0085b\u009bc".encode(), "abc"),
        (b"caf\xe9", "caf\ufffd"),
        ("żółw \u2067עברית\u2069 👩\u200d🌾".encode(), "żółw \u2067עברית\u2069 👩\u200d🌾"),
    ],
)
def test_text_is_cleaned(raw: bytes, text: str) -> None:
    assert clean_text(raw) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\żółw.png", "żółw.png"),
        ("/", ""),
        ("..", ""),
        (".htaccess", "htaccess"),
        ("a\x00b\r\nc\u202egpj.exe", "abcgpj.exe"),
        ("  two   words .jpg ", "two words .jpg"),
        ("e\u0301te\u0301.jpg", "été.jpg"),
        ("\udcff\udcfe.jpg", "jpg"),
        ("x" * 300 + ".jpeg", "x" * (MAX_DISPLAY_NAME - 6) + "….jpeg"),
        ("x." + "y" * 300, "x." + "y" * (MAX_DISPLAY_NAME - 3) + "…"),
    ],
)
def test_names_are_cleaned_for_showing(name: str, shown: str) -> None:
    assert clean_name(name) == shown


@given(st.text())
def test_a_cleaned_name_is_short_and_hides_nothing(name: str) -> None:
    shown = clean_name(name)
    assert len(shown) <= MAX_DISPLAY_NAME
    assert not set(shown) & set("/\\\x00\r\n\u202e\u2066")
    assert clean_name(shown) == shown


@given(st.binary())
def test_cleaning_text_twice_changes_nothing_more(raw: bytes) -> None:
    once = clean_text(raw)
    assert clean_text(once.encode()) == once


FIELD_NAMES = st.text("abcdefghij-_[]żا ", min_size=1, max_size=20)
TYPED = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=60)


@given(st.lists(st.tuples(FIELD_NAMES, TYPED), max_size=10), st.integers(1, 80))
def test_what_a_browser_sends_is_what_was_typed(fields: list[tuple[str, str]], size: int) -> None:
    expected: dict[str, list[str]] = {}
    for name, value in fields:
        expected.setdefault(name, []).append(value)
    staging = Staging(Path("/nowhere"), str)
    in_parts = b"".join(part(name, value.encode()) for name, value in fields) + END
    if fields:
        assert asyncio.run(read(in_parts, staging, size=size)).texts == expected
    in_pairs = urlencode(fields).encode()
    assert asyncio.run(read(in_pairs, staging, PAIRS, size=size)).texts == expected


WHOLE = TITLE + part("picture", b"\r\n--front" * 20, "a.jpg") + part("text", "żółw".encode()) + END
PIECE = st.sampled_from(
    [
        b"\r\n",
        b"--frontier",
        b"--frontier--",
        b"\x00",
        b'"',
        b";",
        b"=",
        b"%",
        b"\xff",
        b":",
        b"name=",
        b"filename=",
    ]
)


@given(
    st.lists(
        st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 12), PIECE | st.binary(max_size=6)), max_size=5
    ),
    st.integers(1, 200),
    st.sampled_from([PARTS, PAIRS]),
)
def test_a_mutated_body_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[int, int, bytes]],
    size: int,
    kind: str,
) -> None:
    body = bytearray(WHOLE)
    for at, length, instead in changes:
        body[at : at + length] = instead
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)

    error = asyncio.run(outcome(bytes(body), numbered(folder), kind, size))
    assert error is None or (400 <= error.status < 500 and not error.form.files and str(error))
    assert list(folder.iterdir()) == []


@given(st.text(max_size=80), st.binary(max_size=200))
def test_any_type_and_body_is_read_or_refused(kind: str, body: bytes) -> None:
    for content_type in (kind, f"multipart/form-data; {kind}", f"multipart/form-data; boundary={kind}"):
        error = asyncio.run(outcome(body, Staging(Path("/nowhere"), str), content_type, 65536))
        assert error is None or error.status in {400, 413, 415, 507}
