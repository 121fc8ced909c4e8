"""Copies of pictures: every pixel is there, and nothing that the device wrote beside them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageSequence, PngImagePlugin

from hub.services.picture_files import (
    HEAD,
    Trouble,
    clean,
    clean_profile,
    format_of,
    is_camera_file,
    webp_pixels,
)

PLACE = b"Acacia Avenue 17"
MAKER = b"Plumtree Cameras, serial 4711"
SECRETS = (PLACE, MAKER)


def cleaned(sent: bytes) -> bytes:
    sink = io.BytesIO()
    clean(io.BytesIO(sent), sink)
    return sink.getvalue()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def scene(width: int = 160, height: int = 120) -> Image.Image:
    bands = [Image.effect_noise((width // 8, height // 8), 90) for _ in range(3)]
    return Image.merge("RGB", [band.resize((width, height), Image.Resampling.BILINEAR) for band in bands])


def frames(data: bytes) -> list[tuple[bytes, object]]:
    """The pixels of each frame of a picture, and how long it stands."""
    with Image.open(io.BytesIO(data)) as image:
        return [(frame.convert("RGBA").tobytes(), frame.info.get("duration"))
                for frame in ImageSequence.Iterator(image)]  # fmt: skip


def looks_the_same(data: bytes, as_sent: bytes) -> bool:
    return frames(data) == frames(as_sent)


def device_data(orientation: int = 1) -> bytes:
    """EXIF as a phone writes it: maker, serial numbers, notes, place, and a small picture of its own."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = MAKER.decode()
    exif[ExifTags.Base.ImageDescription] = PLACE.decode()
    exif[ExifTags.Base.DateTime] = "2026:05:01 12:00:00"
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (51.0, 4.0, 0.5), 29: PLACE.decode()})
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            int(ExifTags.Base.MakerNote): MAKER,
            int(ExifTags.Base.BodySerialNumber): MAKER.decode(),
            int(ExifTags.Base.UserComment): b"ASCII\0\0\0" + PLACE,
        }
    )
    return exif.tobytes() + b"\xff\xd8" + PLACE + b"\xff\xd9"


def little_endian(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0) + PLACE


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + PLACE + MAKER + b"</x:xmpmeta>"


def screen_profile() -> bytes:
    """An sRGB profile as a screen's maker ships it: with a name, a maker, a serial number and a date."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[48:52], profile[52:56], profile[80:84] = b"APPL", b"LCD9", b"appl"
    count = int.from_bytes(profile[128:132], "big")
    moved = bytearray(profile[:132])
    moved[128:132] = (count + 2).to_bytes(4, "big")
    more = (b"mmod" + bytes(4) + MAKER, b"text" + bytes(4) + PLACE)
    index, begins = bytearray(), len(profile) + 24
    for entry in range(132, 132 + 12 * count, 12):
        name, at, size = struct.unpack_from(">4sII", profile, entry)
        index += struct.pack(">4sII", name, at + 24, size)
    for name, data in zip((b"mmod", b"dscm"), more, strict=True):
        index += struct.pack(">4sII", name, begins, len(data))
        begins += len(data)
    moved += index + profile[132 + 12 * count :] + b"".join(more)
    moved[0:4] = len(moved).to_bytes(4, "big")
    return bytes(moved)


# --- JPEG -------------------------------------------------------------------------------------------------


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2, "big") + data


def jpeg(image: Image.Image | None = None, turn: int = 1, **options: Any) -> bytes:
    """A JPEG with everything that phones, cameras and editors write into one, and after it."""
    plain = saved(image or scene(), "JPEG", **options)
    at = plain.index(b"\xff\xdb")
    front = b"\xff\xd8" + b"".join(
        [
            segment(0xE0, b"JFIF\0\x01\x02\x01\0\x48\0\x48\x01\x05" + PLACE[:15]),
            segment(0xE0, b"JFXX\0\x10" + PLACE),
            segment(0xE1, b"Exif\0\0" + device_data(turn).removeprefix(b"Exif\0\0")),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
            segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + bytes(8) + XMP),
            segment(0xE2, b"ICC_PROFILE\0\x02\x02" + screen_profile()[1000:]),
            segment(0xE2, b"ICC_PROFILE\0\x01\x02" + screen_profile()[:1000]),
            segment(0xE2, b"FPXR\0" + PLACE),
            segment(0xE4, MAKER),
            segment(0xEB, b"JP\0\x01" + PLACE),
            segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x10" + PLACE),
            segment(0xEF, MAKER),
            b"\xff\xff\xff" + segment(0xFE, PLACE)[1:],
        ]
    )
    return front + plain[at:] + b"\xff\xd8" + segment(0xFE, PLACE) + plain[2:] + b"SEFT" + MAKER


def markers(data: bytes) -> list[int]:
    found, at = [], 2
    while at < len(data):
        assert data[at] == 0xFF
        found.append(data[at + 1])
        if data[at + 1] == 0xD9:
            assert at + 2 == len(data)
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if found[-1] == 0xDA:
            while not (data[at] == 0xFF and data[at + 1] not in (0, *range(0xD0, 0xD8))):
                at += 1
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 95},
        {"quality": 40, "progressive": True},
        {"subsampling": 0, "restart_marker_blocks": 3},
        {"keep_rgb": True},
    ],
    ids=str,
)
def test_a_jpeg_keeps_every_pixel_and_nothing_else(options: dict[str, Any]) -> None:
    sent = jpeg(**options)
    assert all(sent.count(secret) > 4 for secret in SECRETS)

    copy = cleaned(sent)

    assert not any(secret in copy for secret in SECRETS)
    assert not any(word in copy for word in (b"http", b"xmp", b"Photoshop", b"Exif", b"APPL"))
    assert set(markers(copy)) <= {0xE0, 0xE2, 0xDB, 0xDD, 0xC0, 0xC2, 0xC4, 0xDA, 0xD9}
    assert looks_the_same(copy, sent)
    with Image.open(io.BytesIO(copy)) as image:
        assert image.format == "JPEG"
        assert image.info["dpi"] == (72, 72)
        assert not image.getexif()


def test_scans_are_copied_byte_for_byte_and_comments_between_them_are_not() -> None:
    plain = saved(scene(), "JPEG", progressive=True)
    at = plain.rindex(b"\xff\xda")
    sent = plain[:at] + segment(0xFE, PLACE) + segment(0xE1, XMP) + b"\xff\x01" + plain[at:]

    assert cleaned(sent) == cleaned(plain) == plain


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printers_pictures_keep_their_colours(mode: str) -> None:
    sent = jpeg(scene().convert(mode))

    copy = cleaned(sent)

    assert looks_the_same(copy, sent)
    assert not any(secret in copy for secret in SECRETS)


def test_adobes_colours_stay_what_they_were_and_the_rest_of_its_segment_goes() -> None:
    plain = saved(scene().convert("CMYK"), "JPEG")
    adobe = plain.index(b"\xff\xee")
    assert plain[adobe + 2 : adobe + 4] == b"\0\x0e"
    sent = plain[: adobe + 2] + (14 + len(PLACE)).to_bytes(2, "big") + plain[adobe + 4 : adobe + 16]
    sent += PLACE + plain[adobe + 16 :]

    assert cleaned(sent) == plain


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("exif", [little_endian, device_data])
def test_the_orientation_of_a_jpeg_comes_along(turn: int, exif: Callable[[int], bytes]) -> None:
    plain = saved(scene(), "JPEG")
    sent = plain[:2] + segment(0xE1, b"Exif\0\0" + exif(turn).removeprefix(b"Exif\0\0")) + plain[2:]

    copy = cleaned(sent)

    assert PLACE not in copy
    with Image.open(io.BytesIO(copy)) as image:
        assert dict(image.getexif()) == {ExifTags.Base.Orientation: turn}
        assert len(image.info["exif"]) == 32
    assert looks_the_same(copy, sent)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x02\0\x06\0\0",
    ],
)
def test_an_orientation_that_is_none_is_left_out(exif: bytes) -> None:
    plain = saved(scene(), "JPEG")

    assert cleaned(plain[:2] + segment(0xE1, b"Exif\0\0" + exif) + plain[2:]) == plain


def test_of_several_pictures_in_one_jpeg_the_first_is_kept() -> None:
    second = Image.open(io.BytesIO(jpeg()))
    sent = saved(scene(), "MPO", save_all=True, append_images=[second], exif=device_data(6))
    assert sent.count(b"\xff\xd8\xff") == 2
    assert b"MPF\0" in sent

    copy = cleaned(sent)

    assert copy.count(b"\xff\xd8\xff") == 1
    assert b"MPF" not in copy
    assert frames(copy) == frames(sent)[:1]


def test_garbage_between_the_segments_of_a_jpeg_is_left_behind() -> None:
    plain = saved(scene(), "JPEG")
    at = plain.index(b"\xff\xdb")

    assert cleaned(plain[:at] + PLACE + b"\0\xff\0" + plain[at:]) == plain


# --- PNG --------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(image: Image.Image | None = None, turn: int = 1, **options: object) -> bytes:
    """A PNG with everything that may be written into one, and after it."""
    words = PngImagePlugin.PngInfo()
    words.add_text("Author", PLACE.decode())
    words.add_itxt("XML:com.adobe.xmp", XMP.decode())
    plain = saved(image or scene(), "PNG", pnginfo=words, dpi=(300, 300), **options)
    at = plain.index(b"IDAT") - 4
    before = b"".join(
        [
            chunk(b"iCCP", PLACE + b"\0\0" + zlib.compress(screen_profile())),
            chunk(b"eXIf", device_data(turn).removeprefix(b"Exif\0\0")),
            chunk(b"tIME", b"\x07\xea\x05\x01\x0c\0\0"),
            chunk(b"caBX", PLACE),
            chunk(b"prVt", MAKER),
            chunk(b"gAMA", b"\0\0\xb1\x8f"),
            chunk(b"bKGD", PLACE),
            chunk(b"zTXt", b"note\0\0" + zlib.compress(PLACE)),
        ]
    )
    end = plain.rindex(b"IEND") - 4
    after = chunk(b"tEXt", b"Comment\0" + PLACE) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    return plain[:at] + before + plain[at:end] + after + plain[end:] + PLACE + MAKER


def kinds(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        found.append(kind)
        at += 12 + length
    assert at == len(data)
    return found


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_a_png_keeps_every_pixel_and_nothing_else(mode: str) -> None:
    image = Image.new("I;16", (64, 64), 32_896) if mode == "I;16" else scene().convert(mode)
    sent = png(image)
    assert all(sent.count(secret) > 2 for secret in SECRETS)

    copy = cleaned(sent)

    assert not any(secret in copy for secret in SECRETS)
    assert set(kinds(copy)) <= {b"IHDR", b"PLTE", b"pHYs", b"iCCP", b"gAMA", b"IDAT", b"IEND"}
    assert looks_the_same(copy, sent)
    with Image.open(io.BytesIO(copy)) as opened:
        opened.load()
        assert not opened.getexif()
        assert set(opened.info) <= {"dpi", "icc_profile", "gamma"}


@pytest.mark.parametrize("turn", range(2, 9))
def test_the_orientation_of_a_png_comes_along(turn: int) -> None:
    copy = cleaned(png(turn=turn))

    assert kinds(copy).count(b"eXIf") == 1
    with Image.open(io.BytesIO(copy)) as image:
        assert dict(image.getexif()) == {ExifTags.Base.Orientation: turn}


def test_what_is_transparent_and_what_moves_in_a_png_stays() -> None:
    keyed = saved(scene(), "PNG", transparency=(1, 2, 3))
    moving = saved(
        scene(), "PNG", save_all=True, append_images=[scene(), scene()], duration=[50, 80, 110], loop=3
    )

    assert cleaned(keyed) == keyed
    assert cleaned(moving) == moving
    assert len(frames(cleaned(moving))) == 3


def test_a_png_with_a_wrong_checksum_is_broken() -> None:
    sent = png()
    for kind in (b"IHDR", b"IDAT"):
        at = sent.index(kind) + 6
        with pytest.raises(Trouble, match="broken"):
            cleaned(sent[:at] + bytes((sent[at] ^ 1,)) + sent[at + 1 :])


def test_a_profile_that_unpacks_without_end_is_left_out() -> None:
    plain = saved(scene(), "PNG")
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200_000_000), 1)[: 900 * 1024])

    assert cleaned(plain[:33] + bomb + plain[33:]) == plain


# --- WebP -------------------------------------------------------------------------------------------------


def part(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp(image: Image.Image | None = None, turn: int = 1, **options: object) -> bytes:
    """A WebP with everything that may be written into one, and after it."""
    plain = saved(
        image or scene(), "WEBP", exif=device_data(turn), xmp=XMP, icc_profile=screen_profile(), **options
    )
    more = plain[12:] + part(b"note", PLACE + b"!")
    return b"RIFF" + struct.pack("<I", 4 + len(more)) + b"WEBP" + more + PLACE


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_keeps_every_pixel_and_nothing_else(mode: str, lossless: bool) -> None:
    image = scene().convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    sent = webp(image, lossless=lossless)
    assert all(sent.count(secret) > 2 for secret in SECRETS)

    copy = cleaned(sent)

    assert not any(secret in copy for secret in SECRETS)
    assert b"EXIF" not in copy
    assert b"XMP " not in copy
    assert int.from_bytes(copy[4:8], "little") == len(copy) - 8
    assert looks_the_same(copy, sent)
    with Image.open(io.BytesIO(copy)) as opened:
        opened.load()
        assert not opened.getexif()
        assert opened.info.keys() & {"exif", "xmp"} == set()


def test_a_webp_without_data_is_copied_as_it_is() -> None:
    for options in ({}, {"lossless": True}):
        sent = saved(scene(), "WEBP", **options)
        assert cleaned(sent) == sent


@pytest.mark.parametrize("turn", range(2, 9))
def test_the_orientation_of_a_webp_comes_along(turn: int) -> None:
    with Image.open(io.BytesIO(cleaned(webp(turn=turn)))) as image:
        assert dict(image.getexif()) == {ExifTags.Base.Orientation: turn}


def test_an_animated_webp_keeps_its_frames_and_their_time() -> None:
    sent = webp(save_all=True, append_images=[scene(), scene()], duration=[40, 60, 80], lossless=True)
    first = sent.index(b"ANMF")
    size = int.from_bytes(sent[first + 4 : first + 8], "little")
    hidden = part(b"note", PLACE)
    sent = (
        sent[: first + 4]
        + struct.pack("<I", size + len(hidden))
        + sent[first + 8 : first + 8 + size]
        + hidden
        + sent[first + 8 + size :]
    )
    sent = sent[:4] + struct.pack("<I", len(sent) - 8 - len(PLACE)) + sent[8:]

    copy = cleaned(sent)

    assert not any(secret in copy for secret in SECRETS)
    assert len(frames(copy)) == 3
    assert looks_the_same(copy, sent)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": device_data()}], ids=str)
def test_the_size_of_a_webp_is_read_from_its_head(options: dict[str, object]) -> None:
    assert webp_pixels(saved(scene(160, 112), "WEBP", **options)[:HEAD]) == 160 * 112
    assert webp_pixels(b"RIFF\0\0\0\0WEBP") == webp_pixels(b"") == 0


# --- GIF --------------------------------------------------------------------------------------------------


def gif(**options: object) -> bytes:
    """A GIF with a comment, XMP, a private extension and text, and more after its end."""
    plain = saved(scene().quantize(16), "GIF", comment=PLACE, **options)
    at = 13 + (3 << (plain[10] & 7) + 1)
    more = b"".join(
        [
            b"!\xff\x0bXMP DataXMP" + XMP + b"\x01" + bytes(range(255, -1, -1)) + b"\0",
            b"!\xff\x0bICCRGBG1012" + bytes((len(PLACE),)) + PLACE + b"\0",
            b"!\x01\x0c" + bytes(12) + bytes((len(PLACE),)) + PLACE + b"\0",
            b"!\xfe" + bytes((len(MAKER),)) + MAKER + b"\0",
        ]
    )
    return plain[:at] + more + plain[at:-1] + b"!\xfe" + bytes((len(PLACE),)) + PLACE + b"\0;" + PLACE


def test_a_gif_keeps_every_pixel_and_nothing_else() -> None:
    sent = gif()

    copy = cleaned(sent)

    assert not any(secret in copy for secret in SECRETS)
    assert b"XMP" not in copy
    assert copy.endswith(b";")
    assert looks_the_same(copy, sent)


def test_an_animated_gif_keeps_its_frames_their_time_and_how_often_it_repeats() -> None:
    more = [scene().quantize(number) for number in (8, 32, 64)]
    sent = gif(save_all=True, append_images=more, duration=[50, 80, 110, 140], loop=3, disposal=2)

    copy = cleaned(sent)

    assert not any(secret in copy for secret in SECRETS)
    assert [duration for _, duration in frames(copy)] == [50, 80, 110, 140]
    assert looks_the_same(copy, sent)
    with Image.open(io.BytesIO(copy)) as image:
        assert image.info["loop"] == 3


# --- colour profiles --------------------------------------------------------------------------------------


def test_a_profile_keeps_its_colours_and_not_whose_screen_it_is() -> None:
    profile = screen_profile()
    assert all(secret in profile for secret in (*SECRETS, b"APPL", b"LCD9"))

    clean = clean_profile(profile)

    assert not any(secret in clean for secret in (*SECRETS, b"APPL", b"LCD9", b"appl", b"mmod", b"sRGB"))
    assert clean[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    assert clean_profile(clean) == clean
    image, srgb = scene(), ImageCms.createProfile("sRGB")
    meant = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb)
    kept = ImageCms.profileToProfile(image, io.BytesIO(clean), srgb)
    assert meant is not None
    assert kept is not None
    assert meant.tobytes() == kept.tobytes()


def test_what_is_no_profile_is_left_out() -> None:
    profile = screen_profile()
    for nothing in (b"", bytes(200), b"\0" * 36 + b"acsp" + b"\xff" * 400, profile[:140]):
        assert clean_profile(nothing) == b""
    assert clean_profile(profile + bytes(2_000_000)) == b""


@given(st.data())
def test_whatever_is_done_to_a_profile_there_is_an_answer(data: st.DataObject) -> None:
    changed = changes(data, screen_profile())

    clean = clean_profile(changed)

    assert clean_profile(clean) == clean


# --- all of them ------------------------------------------------------------------------------------------

SEEDS = [
    jpeg(scene(32, 24), turn=6),
    jpeg(scene(32, 24), progressive=True, restart_marker_blocks=2),
    png(scene(32, 24), turn=3),
    png(scene(32, 24).convert("P")),
    webp(scene(32, 24), turn=8),
    webp(scene(32, 24), save_all=True, append_images=[scene(32, 24)]),
    gif(save_all=True, append_images=[scene().quantize(4)], loop=0),
]


def changes(data: st.DataObject, whole: bytes) -> bytes:
    made = bytearray(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    for share, patch in data.draw(
        st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=4)), max_size=5)
    ):
        at = int(len(made) * share)
        made[at : at + len(patch)] = patch
    return bytes(made)


@given(st.data())
def test_whatever_is_done_to_a_picture_there_is_an_answer_and_it_is_final(data: st.DataObject) -> None:
    changed = changes(data, data.draw(st.sampled_from(SEEDS)))

    try:
        copy = cleaned(changed)
    except Trouble:
        return

    assert len(copy) <= len(changed) + 1000
    assert cleaned(copy) == copy


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_a_picture_that_ends_too_soon_is_broken(seed: bytes, share: float) -> None:
    with pytest.raises(Trouble, match="broken"):
        cleaned(seed[: int(len(seed) * share)])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x20ftypheic\0\0\0\0mif1heic", True),
        (b"\0\0\0\x20ftypmif1\0\0\0\0avifmiaf", True),
        (b"\0\0\0\x20ftypavif\0\0\0\0mif1", True),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", True),
        (b"\0\0\0\x0cJXL \r\n\x87\n", True),
        (b"II*\0\x10\0\0\0CR", True),
        (b"MM\0*\0\0\0\x08", True),
        (b"IIU\0\x18\0\0\0", True),
        (b"FUJIFILMCCD-RAW", True),
        (b"\0\0\0\x20ftypmp42\0\0\0\0mp42isom", False),
        (b"\0\0\0\x14ftypqt  ", False),
        (b"%PDF-1.7", False),
        (b"BM\x36\0\0\0", False),
        (b"I am a text", False),
        (b"", False),
    ],
)
def test_files_that_cameras_write_places_into_are_known(head: bytes, expected: bool) -> None:
    assert is_camera_file(head) is expected
    with pytest.raises(Trouble):
        format_of(head)
