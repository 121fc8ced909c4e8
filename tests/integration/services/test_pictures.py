"""Pictures as residents send them, and as those who mean harm do, through the real worker process."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageDraw

from hub.domain.errors import NoRoom, TryLater
from hub.domain.notices import BlobRef
from hub.services.picture_worker import answer, prepare
from hub.services.pictures import (
    BrokenPhoto,
    BrokenPicture,
    HeicPhoto,
    HeicPicture,
    NotAPicture,
    Photo,
    PhotoNotCleaned,
    PhotoTookTooLong,
    PhotoTooLarge,
    PictureLimits,
    PictureMaker,
    PictureNotUsable,
    TookTooLong,
    TooManyPixels,
)
from hub.storage.blobs import PIECE, BlobStore, Reserve

ROOT = Path(__file__).resolve().parents[3]
NO_RESERVE = Reserve(share=0.0, least=0)
RED, GREEN, BLUE, WHITE = (254, 0, 0), (0, 255, 1), (0, 0, 254), (255, 255, 255)
MAKER, PLACE = "Plumtree Cameras", "Acacia Avenue 17"

Send = Callable[..., Path]


@pytest.fixture
def blobs(data_folder: Path) -> BlobStore:
    store = BlobStore(data_folder)
    store.open()
    return store


@pytest.fixture
def maker(blobs: BlobStore) -> PictureMaker:
    return PictureMaker(blobs, blobs.staging, PictureLimits(reserve=NO_RESERVE))


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """Write bytes, or a picture in a format, to a file as an upload would arrive; return its path."""
    sent = 0

    def write(content: bytes | Image.Image, format: str = "JPEG", **options: object) -> Path:
        nonlocal sent
        sent += 1
        path = tmp_path / f"upload-{sent}"
        path.write_bytes(content if isinstance(content, bytes) else saved(content, format, **options))
        return path

    return write


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def scene(width: int, height: int) -> Image.Image:
    """A picture with soft detail."""
    coarse = [Image.effect_noise((width // 150 + 2, height // 150 + 2), 90) for _ in range(3)]
    return Image.merge("RGB", [band.resize((width, height), Image.Resampling.BILINEAR) for band in coarse])


def corners(width: int = 400, height: int = 200) -> Image.Image:
    """White, but red at the top left, green at the top right and blue at the bottom left."""
    image = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width // 2 - 1, height // 2 - 1), RED)
    draw.rectangle((width // 2, 0, width - 1, height // 2 - 1), GREEN)
    draw.rectangle((0, height // 2, width // 2 - 1, height - 1), BLUE)
    return image


def device_data(orientation: int = 1) -> Image.Exif:
    """What a phone writes beside a picture: who made it, when, and where it was."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = MAKER
    exif[ExifTags.Base.Model] = "Pocket 9"
    exif[ExifTags.Base.DateTime] = "2026:05:01 12:00:00"
    exif[ExifTags.Base.ImageDescription] = PLACE
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (51.0, 4.0, 0.5), 3: "W", 4: (1.0, 18.0, 54.0)})
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = MAKER.encode()
    return exif


async def shown(blobs: BlobStore, ref: BlobRef) -> Image.Image:
    data = await asyncio.to_thread(blobs.read, ref.sha256)
    assert len(data) == ref.size
    assert hashlib.sha256(data).hexdigest() == ref.sha256
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    image.load()
    return image


def colour_at(image: Image.Image, across: float, down: float) -> tuple[int, ...]:
    pixel = image.getpixel((int(image.width * across), int(image.height * down)))
    assert isinstance(pixel, tuple)
    return tuple(round(value / 64) * 64 for value in pixel)


def segments(jpeg: bytes) -> list[int]:
    """The markers of a JPEG up to its last scan (ITU T.81 B.1.1)."""
    assert jpeg.startswith(b"\xff\xd8")
    found, at = [], 2
    while at < len(jpeg):
        assert jpeg[at] == 0xFF
        marker = jpeg[at + 1]
        found.append(marker)
        if marker == 0xD9:
            break
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if marker == 0xDA:
            while not (jpeg[at] == 0xFF and jpeg[at + 1] not in (0, *range(0xD0, 0xD8))):
                at += 1
    return found


def workers() -> list[int]:
    """Process ids of all picture workers on this machine that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"hub.services.picture_worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def children(pid: int) -> list[int]:
    """The picture workers that the process ``pid`` started."""
    found = []
    for worker in workers():
        try:
            if f"PPid:\t{pid}\n" in Path(f"/proc/{worker}/status").read_text():
                found.append(worker)
        except OSError:
            continue
    return found


def until(condition: Callable[[], object], seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.fixture(scope="module")
def photo() -> bytes:
    """12 megapixels from a phone held upright, with everything that a phone writes."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return saved(
        scene(4000, 3000),
        "JPEG",
        quality=88,
        exif=device_data(orientation=6),
        icc_profile=srgb,
        comment=PLACE,
    )


async def test_a_photo_becomes_a_picture_and_a_thumbnail_the_right_way_up(
    maker: PictureMaker, blobs: BlobStore, send: Send, photo: bytes
) -> None:
    (picture,) = await maker.make([send(photo)])

    assert (picture.width, picture.height) == (960, 1280)
    assert (picture.thumb_width, picture.thumb_height) == (320, 427)
    assert (await shown(blobs, picture.full)).size == (960, 1280)
    assert (await shown(blobs, picture.thumb)).size == (320, 427)
    assert picture.thumb.size <= 15_000
    assert picture.alt == ""
    assert left_in(blobs.staging) == []


async def test_nothing_of_the_device_or_the_place_is_left(
    maker: PictureMaker, blobs: BlobStore, send: Send, photo: bytes
) -> None:
    png = saved(scene(300, 200), "PNG", exif=device_data())
    webp = saved(scene(300, 200), "WEBP", exif=device_data(), xmp=f"<x:xmpmeta>{PLACE}</x:xmpmeta>".encode())
    gif = saved(scene(300, 200).quantize(16), "GIF", comment=PLACE.encode())
    assert all(MAKER.encode() in sent for sent in (photo, png, webp))

    for picture in await maker.make([send(sent) for sent in (photo, png, webp, gif)]):
        for ref in (picture.full, picture.thumb):
            data = await asyncio.to_thread(blobs.read, ref.sha256)
            for secret in (b"Exif", b"GPS", b"ICC_PROFILE", b"xmp", b"http", MAKER.encode(), PLACE.encode()):
                assert secret not in data
            # Only JFIF, tables, the progressive frame, scans and the end.
            assert set(segments(data)) <= {0xE0, 0xDB, 0xC2, 0xC4, 0xDA, 0xD9}
            assert not (await shown(blobs, ref)).getexif()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
async def test_every_orientation_is_turned_upright(
    maker: PictureMaker, blobs: BlobStore, send: Send, format: str
) -> None:
    how_stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    sent = [
        send(corners() if turn is None else corners().transpose(turn), format, exif=device_data(orientation))
        for orientation, turn in how_stored.items()
    ]

    for picture in await maker.make(sent):
        image = await shown(blobs, picture.full)
        assert image.size == (picture.width, picture.height) == (400, 200)
        assert colour_at(image, 0.25, 0.25) == (256, 0, 0)
        assert colour_at(image, 0.75, 0.25) == (0, 256, 0)
        assert colour_at(image, 0.25, 0.75) == (0, 0, 256)
        assert colour_at(image, 0.75, 0.75) == (256, 256, 256)


def see_through(mode: str) -> Image.Image:
    """Red on the left, transparent on the right."""
    image = Image.new("RGBA", (200, 100), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 100, 100))
    return image.convert(mode) if mode != "RGBA" else image


async def test_what_is_transparent_becomes_white(maker: PictureMaker, blobs: BlobStore, send: Send) -> None:
    keyed = see_through("RGB")
    sent = [
        send(see_through("RGBA"), "PNG"),
        send(see_through("RGBA").quantize(8), "PNG"),
        send(see_through("RGBA"), "GIF"),
        send(see_through("RGBA"), "WEBP", lossless=True),
        send(keyed, "PNG", transparency=(0, 0, 0)),
    ]

    for picture in await maker.make(sent):
        assert colour_at(await shown(blobs, picture.full), 0.25, 0.5) == (256, 0, 0)
        assert colour_at(await shown(blobs, picture.full), 0.75, 0.5) == (256, 256, 256)


async def test_every_colour_mode_of_the_four_formats_is_taken(
    maker: PictureMaker, blobs: BlobStore, send: Send
) -> None:
    grey = Image.linear_gradient("L").resize((640, 640))
    deep = Image.new("I;16", (64, 64), 32_896)
    sent = [
        send(grey),
        send(grey.convert("CMYK")),
        send(grey.convert("1"), "PNG"),
        send(grey.convert("LA"), "PNG"),
        send(grey, "PNG"),
        send(deep, "PNG"),
        send(corners(), "MPO", save_all=True, append_images=[corners()]),
    ]

    pictures = await maker.make(sent)

    assert colour_at(await shown(blobs, pictures[5].full), 0.5, 0.5) == (128, 128, 128)
    assert [(picture.width, picture.height) for picture in pictures[:2]] == [(640, 640)] * 2
    assert colour_at(await shown(blobs, pictures[6].full), 0.25, 0.25) == (256, 0, 0)


async def test_colours_are_what_the_profile_means(maker: PictureMaker, blobs: BlobStore, send: Send) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"swap").replace(b"gXYZ", b"rXYZ").replace(b"swap", b"gXYZ")
    assert swapped != srgb

    pictures = await maker.make(
        [
            send(corners(), icc_profile=swapped),
            send(corners(), icc_profile=b"\0" * 200),
            send(corners().convert("L"), icc_profile=srgb),
        ]
    )

    assert colour_at(await shown(blobs, pictures[0].full), 0.25, 0.25) == (0, 256, 0)
    assert colour_at(await shown(blobs, pictures[1].full), 0.25, 0.25) == (256, 0, 0)


@pytest.mark.parametrize(
    ("size", "full", "thumb"),
    [((1, 1), (1, 1), (1, 1)), ((9000, 3), (1280, 1), (320, 1)), ((2, 5000), (1, 1280), (1, 640)),
     ((1281, 1280), (1280, 1279), (320, 320)), ((300, 200), (300, 200), (300, 200))],
)  # fmt: skip
async def test_sizes_are_never_nought_never_larger_than_sent_and_never_larger_than_shown(
    maker: PictureMaker,
    send: Send,
    size: tuple[int, int],
    full: tuple[int, int],
    thumb: tuple[int, int],
) -> None:
    (picture,) = await maker.make([send(Image.new("RGB", size, RED), "PNG")])

    assert (picture.width, picture.height) == full
    assert (picture.thumb_width, picture.thumb_height) == thumb


async def test_a_thumbnail_of_pure_noise_still_keeps_to_its_bytes(maker: PictureMaker, send: Send) -> None:
    noise = Image.merge("RGB", [Image.effect_noise((320, 640), 200) for _ in range(3)])

    (picture,) = await maker.make([send(noise, "PNG")])

    assert picture.thumb.size <= 15_000


async def test_an_animation_shows_its_first_frame(maker: PictureMaker, blobs: BlobStore, send: Send) -> None:
    frames = [Image.new("P", (320, 240), number % 255 + 1) for number in range(500)]
    for frame in frames:
        frame.putpalette([*RED] * 2 + [*BLUE] * 254)
    started = time.monotonic()

    pictures = await maker.make(
        [
            send(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0),
            send(corners(), "WEBP", save_all=True, append_images=[Image.new("RGB", (400, 200), BLUE)] * 50),
        ]
    )

    assert time.monotonic() - started < 4
    for picture in pictures:
        assert colour_at(await shown(blobs, picture.full), 0.25, 0.25) == (256, 0, 0)


async def test_the_same_picture_twice_is_one_blob(
    maker: PictureMaker, blobs: BlobStore, send: Send, data_folder: Path
) -> None:
    (first,) = await maker.make([send(corners(900, 600))])
    again = await maker.make([send(corners(900, 600)), send(corners(900, 600), exif=device_data())])

    assert again == [first, first]
    kept = {path.name for path in (data_folder / "blobs").glob("*/*")}
    assert kept == {first.full.sha256, first.thumb.sha256}


async def test_no_pictures_need_no_process(maker: PictureMaker) -> None:
    assert await maker.make([]) == []


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("holiday.jpg", bytes(1_000_000))
    return file.getvalue()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, lengths and checksums right (PNG specification 5.3)."""
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


NO_PIXELS = (b"IDAT", zlib.compress(b""))


def png_of(width: int, height: int, *before: tuple[bytes, bytes]) -> bytes:
    """A one-bit PNG, all black: few bytes for many pixels."""
    packer = zlib.compressobj(1)
    rows = [packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)]
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return png(header, *before, (b"IDAT", b"".join(rows) + packer.flush()), (b"IEND", b""))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"Tuesday, 7 pm, village hall",
        zipped(),
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"SIMPLE  =                    T / FITS".ljust(2880) * 2,
        b"%PDF-1.7\n",
        b"<!doctype html><script>alert(1)</script>",
        b"\0\0\0\x20ftypavif\0\0\0\0mif1avifmiaf",
        b"\0\0\0\x20ftypmif1\0\0\0\0avifmif1miaf",
        b"\0\0\0\x20ftypmp42\0\0\0\0mp42isom",
        b"BM" + bytes(100),
        b"II*\0" + bytes(100),
        b"RIFF\x24\0\0\0WAVEfmt ",
    ],
    ids=lambda content: repr(content[:12]),
)
async def test_what_is_no_picture_is_refused_whatever_its_name(
    maker: PictureMaker, blobs: BlobStore, send: Send, tmp_path: Path, content: bytes
) -> None:
    path = send(content).rename(tmp_path / "holiday.jpg")

    with pytest.raises(NotAPicture) as refused:
        await maker.make([path])

    assert (refused.value.status, refused.value.number) == (422, 1)
    assert left_in(blobs.staging) == []


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1"])
async def test_a_heic_picture_is_refused_with_a_way_round_it(
    maker: PictureMaker, send: Send, brand: bytes
) -> None:
    with pytest.raises(HeicPicture, match=r"HEIC picture \(picture 2\).*screenshot"):
        await maker.make([send(corners()), send(b"\0\0\0\x24ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(99))])


async def test_one_bad_picture_among_four_is_named_and_nothing_is_kept(
    maker: PictureMaker, blobs: BlobStore, send: Send, data_folder: Path
) -> None:
    good = send(corners())

    with pytest.raises(BrokenPicture, match="Picture 3") as refused:
        await maker.make([good, good, send(saved(corners(), "JPEG")[:300]), good])

    assert refused.value.fields == {"number": 3}
    assert refused.value.status == 422
    assert list((data_folder / "blobs").iterdir()) == []
    assert left_in(blobs.staging) == []


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.95])
async def test_a_truncated_picture_is_refused(
    maker: PictureMaker, send: Send, format: str, share: float
) -> None:
    whole = saved(scene(600, 400).quantize(64) if format == "GIF" else scene(600, 400), format)

    with pytest.raises(BrokenPicture):
        await maker.make([send(whole[: int(len(whole) * share)])])


@pytest.mark.parametrize(
    "bomb",
    [
        png((b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)), NO_PIXELS),
        png((b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)), NO_PIXELS),
        png_of(30_000, 30_000 // 20),
        b"GIF89a"
        + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
        + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
        b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
    ],
    ids=["png-30000", "png-2-31", "png-45-megapixels", "gif-screen", "gif-frame"],
)
async def test_a_picture_with_more_pixels_than_it_has_business_to_is_refused_by_its_header(
    maker: PictureMaker, send: Send, bomb: bytes
) -> None:
    started = time.monotonic()

    with pytest.raises(TooManyPixels, match="Picture 1 is too large"):
        await maker.make([send(bomb)])

    assert time.monotonic() - started < 2


async def test_forty_megapixels_are_taken(maker: PictureMaker, blobs: BlobStore, send: Send) -> None:
    (picture,) = await maker.make([send(png_of(8000, 5000))])

    assert (picture.width, picture.height) == (1280, 800)
    assert colour_at(await shown(blobs, picture.full), 0.5, 0.5) == (0, 0, 0)


async def test_a_picture_that_needs_more_memory_than_there_is_is_refused_in_words(
    blobs: BlobStore, send: Send
) -> None:
    small = PictureMaker(
        blobs, blobs.staging, PictureLimits(memory_bytes=64 * 1024 * 1024, reserve=NO_RESERVE)
    )
    picture = scene(4000, 3000)

    with pytest.raises(TooManyPixels):
        await small.make([send(Image.new("RGB", (4000, 3000)), "PNG")])
    with pytest.raises(TooManyPixels):
        await small.make([send(picture, "JPEG", progressive=True, subsampling=0)])


async def test_a_picture_whose_words_unpack_without_end_does_no_harm(maker: PictureMaker, send: Send) -> None:
    endless = (b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000), 1))

    with pytest.raises(BrokenPicture):
        await maker.make([send(png_of(8, 8, endless))])


def with_last_scan_repeated(jpeg: bytes, times: int) -> bytes:
    """A progressive JPEG that has its last refinement said over and over: few bytes, much work."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * times + jpeg[-2:]


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_a_picture_that_keeps_the_processor_busy_is_ended(
    blobs: BlobStore, send: Send, data_folder: Path
) -> None:
    quick = PictureMaker(blobs, blobs.staging, PictureLimits(cpu_seconds=1, reserve=NO_RESERVE))
    endless = with_last_scan_repeated(saved(Image.new("RGB", (5000, 4000)), "JPEG", progressive=True), 3000)
    before = os.times()

    with pytest.raises(TookTooLong, match="Picture 2"):
        await quick.make([send(corners()), send(endless)])

    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 4
    assert list((data_folder / "blobs").iterdir()) == []
    assert left_in(blobs.staging) == []


async def test_a_picture_that_takes_too_long_is_ended_by_the_clock(blobs: BlobStore, send: Send) -> None:
    hurried = PictureMaker(blobs, blobs.staging, PictureLimits(wall_seconds=0.02, reserve=NO_RESERVE))

    with pytest.raises(TookTooLong, match="Picture 1"):
        await hurried.make([send(png_of(8000, 5000))])

    assert children(os.getpid()) == []
    assert left_in(blobs.staging) == []


async def test_a_form_that_is_given_up_leaves_no_process_and_no_file(
    maker: PictureMaker, blobs: BlobStore, send: Send
) -> None:
    slow = send(png_of(8000, 5000))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(maker.make([slow] * 4))
        await asyncio.to_thread(until, lambda: children(os.getpid()))
        task.cancel()

    assert task.cancelled()
    assert children(os.getpid()) == []
    assert left_in(blobs.staging) == []
    assert len(await maker.make([send(corners())])) == 1  # the next form has its turn


async def test_forms_take_turns_and_none_waits_for_ever(blobs: BlobStore, send: Send) -> None:
    limits = PictureLimits(wait_seconds=0.05, reserve=NO_RESERVE)
    impatient = PictureMaker(blobs, blobs.staging, limits)
    slow = send(png_of(8000, 5000))

    async with asyncio.TaskGroup() as group:
        first = group.create_task(impatient.make([slow] * 2))
        await asyncio.to_thread(until, lambda: children(os.getpid()))
        with pytest.raises(TryLater):
            await impatient.make([send(corners())])
        assert len(children(os.getpid())) == 1

    assert len(first.result()) == 2


async def test_a_card_that_is_nearly_full_takes_no_pictures(blobs: BlobStore, send: Send) -> None:
    careful = PictureMaker(blobs, blobs.staging, PictureLimits(reserve=Reserve(share=1.0, least=0)))

    with pytest.raises(NoRoom):
        await careful.make([send(corners())])


async def test_a_card_that_fills_meanwhile_is_no_fault_of_the_picture(
    maker: PictureMaker, blobs: BlobStore, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(NoRoom):
        await maker.make([send(corners())])

    assert left_in(blobs.staging) == []


def test_a_worker_that_cannot_write_says_so(tmp_path: Path, send: Send) -> None:
    def full(_path: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        path = send(corners())
        patch.setattr(Path, "write_bytes", full)
        assert answer(partial(prepare, path, tmp_path, 1, JOB)) == {"trouble": "no-room"}


def test_the_worker_imports_nothing_of_the_hub_but_itself() -> None:
    program = (
        "import sys, hub.services.picture_worker\n"
        "print(*sorted(name for name in sys.modules if name.startswith('hub')))"
    )

    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()

    assert imported == [
        "hub", "hub.services", "hub.services.picture_files", "hub.services.picture_worker",
    ]  # fmt: skip


MAKE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from hub.services.pictures import PictureLimits, PictureMaker
from hub.storage.blobs import PIECE, BlobStore, Reserve
store = BlobStore(Path(sys.argv[1]))
store.open()
maker = PictureMaker(store, store.staging, PictureLimits(reserve=Reserve(0.0, 0)))
asyncio.run(maker.make([Path(sys.argv[2])] * 4))
"""


def test_when_the_hub_is_killed_its_worker_ends_and_the_next_start_clears_what_is_left(
    data_folder: Path, send: Send
) -> None:
    slow = send(png_of(8000, 5000))
    with subprocess.Popen(
        [sys.executable, "-c", MAKE_FOR_EVER, str(data_folder), str(slow)], env={"PYTHONPATH": str(ROOT)}
    ) as hub:
        until(lambda: any(data_folder.glob("tmp/*/1.jpg")))
        (worker,) = children(hub.pid)
        hub.send_signal(signal.SIGKILL)
    assert left_in(data_folder / "tmp") != []

    store = BlobStore(data_folder)
    store.open()
    until(lambda: worker not in workers())

    assert left_in(store.staging) == []
    assert list((data_folder / "blobs").iterdir()) == []


JOB = {
    "memory": 256 * 1024 * 1024,
    "pixels": 200_000,
    "jpeg_pixels": 200_000,
    "side": 64,
    "quality": 75,
    "thumb_width": 32,
    "thumb_bytes": 15_000,
}


def seeds() -> Iterator[bytes]:
    small = corners(60, 40)
    yield saved(small, "JPEG", exif=device_data(6))
    yield saved(small, "JPEG", progressive=True)
    yield saved(see_through("RGBA"), "PNG", exif=device_data(3))
    yield saved(small.quantize(8), "GIF", save_all=True, append_images=[small.quantize(4)])
    yield saved(small, "WEBP", exif=device_data(8))


SEEDS = list(seeds())


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
    deadline=None,
)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=4)), max_size=5),
)
def test_whatever_is_done_to_a_picture_the_worker_has_an_answer(
    tmp_path: Path, seed: bytes, changes: list[tuple[float, bytes]]
) -> None:
    data = bytearray(seed)
    for share, patch in changes:
        at = int(len(data) * share)
        data[at : at + len(patch)] = patch
    path = tmp_path / "upload"
    path.write_bytes(data)

    line = answer(partial(prepare, path, tmp_path, 1, JOB))

    if "trouble" in line:
        assert line["trouble"] in {"not-a-picture", "broken", "too-many-pixels"}
    else:
        assert 1 <= line["width"] <= 64
        assert 1 <= line["height"] <= 64


def test_every_refusal_has_a_code_of_its_own_and_names_the_picture() -> None:
    kinds = [NotAPicture, HeicPicture, TooManyPixels, BrokenPicture, TookTooLong, PictureNotUsable]

    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all("7" in str(kind(number=7)) and kind.status == 422 for kind in kinds)


# --- photographs in the file share ------------------------------------------------------------------------


def arrived(photo: Photo | None) -> bytes:
    """The clean copy, which is what it says it is; the caller's to remove."""
    assert photo is not None
    assert photo.arrived is not None
    data = photo.arrived.path.read_bytes()
    photo.arrived.path.unlink()
    ref = photo.arrived.ref
    assert (len(data), hashlib.sha256(data).hexdigest()) == (ref.size, ref.sha256)
    pieces = [hashlib.sha256(data[at : at + PIECE]).digest() for at in range(0, len(data), PIECE)]
    assert hashlib.sha256(b"".join(pieces)).hexdigest() == ref.pieces
    assert zlib.crc32(data) == photo.arrived.crc32
    return data


async def test_a_photo_is_shared_at_full_size_without_the_place_and_the_device(
    maker: PictureMaker, blobs: BlobStore, send: Send, photo: bytes
) -> None:
    path = send(photo)
    assert MAKER.encode() in photo
    assert PLACE.encode() in photo

    made = await maker.photo(path, name="Picnic.jpg", original=False, alt="The picnic")

    data = await asyncio.to_thread(arrived, made)
    assert made is not None
    assert not any(secret in data for secret in (MAKER.encode(), PLACE.encode(), b"GPS", b"2026:05:01"))
    assert await asyncio.to_thread(same_pixels, photo, data)
    with Image.open(io.BytesIO(data)) as image:
        assert dict(image.getexif()) == {ExifTags.Base.Orientation: 6}
        assert image.info["icc_profile"]
    picture = made.picture(BlobRef("0" * 64, 5, "1" * 64))
    assert picture is not None
    assert (picture.width, picture.height, picture.alt) == (3000, 4000, "The picnic")
    assert (picture.thumb_width, picture.thumb_height) == (320, 427)
    assert picture.full == BlobRef("0" * 64, 5, "1" * 64)
    thumb = await shown(blobs, picture.thumb)
    assert thumb.size == (320, 427)
    assert picture.thumb.size <= 15_000
    assert await asyncio.to_thread(path.read_bytes) == photo
    assert left_in(blobs.staging) == []


def same_pixels(one: bytes, other: bytes) -> bool:
    with Image.open(io.BytesIO(one)) as left, Image.open(io.BytesIO(other)) as right:
        return left.mode == right.mode and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
async def test_the_other_formats_are_shared_clean_too(
    maker: PictureMaker, blobs: BlobStore, send: Send, format: str
) -> None:
    image = corners().quantize(16) if format == "GIF" else corners()
    more: dict[str, object] = {"comment": PLACE.encode()} if format == "GIF" else {"exif": device_data(3)}
    sent = saved(image, format, **more)
    secrets = (PLACE.encode(),) if format == "GIF" else (MAKER.encode(), PLACE.encode())
    assert all(secret in sent for secret in secrets)

    made = await maker.photo(send(sent), name="A", original=False)

    data = await asyncio.to_thread(arrived, made)
    assert not any(secret in data for secret in secrets)
    assert same_pixels(sent, data)
    assert made is not None
    assert made.thumb is not None
    turned = await shown(blobs, made.thumb)
    assert colour_at(turned, 0.25, 0.25) == ((256, 0, 0) if format == "GIF" else (256, 256, 256))


async def test_an_original_is_not_touched_and_still_has_a_thumbnail(
    maker: PictureMaker, blobs: BlobStore, send: Send, photo: bytes
) -> None:
    path = send(photo)

    made = await maker.photo(path, name="Picnic.jpg", original=True)

    assert made is not None
    assert made.arrived is None
    assert (made.width, made.height, made.thumb_width, made.thumb_height) == (3000, 4000, 320, 427)
    assert made.thumb is not None
    assert MAKER.encode() not in await asyncio.to_thread(blobs.read, made.thumb.sha256)
    assert await asyncio.to_thread(path.read_bytes) == photo
    assert left_in(blobs.staging) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"Tuesday, 7 pm", zipped(), b"%PDF-1.7\n", b"<svg/>", b"\0\0\0\x20ftypmp42\0\0\0\0mp42isom"],
    ids=lambda content: repr(content[:12]),
)
@pytest.mark.parametrize("original", [True, False])
async def test_what_is_no_picture_is_no_photo(
    maker: PictureMaker, send: Send, tmp_path: Path, content: bytes, original: bool
) -> None:
    path = send(content).rename(tmp_path / "holiday.jpg")

    assert await maker.photo(path, name="holiday.jpg", original=original) is None


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", HeicPhoto),
        (b"\0\0\0\x20ftypavif\0\0\0\0mif1avif", PhotoNotCleaned),
        (b"II*\0\x10\0\0\0CR\x02\0", PhotoNotCleaned),
    ],
    ids=["heic", "avif", "raw"],
)
async def test_a_photo_that_cannot_be_cleaned_is_refused_or_kept_as_it_is(
    maker: PictureMaker, blobs: BlobStore, send: Send, head: bytes, refusal: type[PhotoNotCleaned]
) -> None:
    path = send(head + bytes(500))

    with pytest.raises(refusal, match=r"“IMG 1\.HEIC”.*not added.*JPEG.*“Keep the original file”") as refused:
        await maker.photo(path, name="IMG 1.HEIC", original=False)
    kept = await maker.photo(path, name="IMG 1.HEIC", original=True)

    assert type(refused.value) is refusal
    assert kept == Photo()
    assert Photo().picture(BlobRef("0" * 64, 5, "1" * 64)) is None
    assert left_in(blobs.staging) == []


TINY_PIECE = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
GIF_BOMB = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + TINY_PIECE
EMPTY_PNG = png((b"IHDR", struct.pack(">IIBBBBB", 60, 60, 8, 2, 0, 0, 0)), NO_PIXELS, (b"IEND", b""))
PNG_BOMB = png((b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)), NO_PIXELS, (b"IEND", b""))
LYING_JPEG = saved(corners(), "JPEG").replace(
    struct.pack(">HH", 200, 400), struct.pack(">HH", 65_000, 65_000), 1
)


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (PNG_BOMB, PhotoTooLarge),
        (png_of(30_000, 30_000 // 20), PhotoTooLarge),
        (LYING_JPEG, PhotoTooLarge),
        (GIF_BOMB, PhotoTooLarge),
        (saved(scene(600, 400), "JPEG")[:-700], BrokenPhoto),
        (saved(scene(600, 400), "PNG")[:-700], BrokenPhoto),
        (b"\xff\xd8\xff", BrokenPhoto),
        (b"\xff\xd8" + b"\xff\xe1\0\x02" * 500_000, BrokenPhoto),
        (EMPTY_PNG, BrokenPhoto),
    ],
    ids=["png-30000", "png-45-mp", "jpeg-65000", "gif", "cut-jpeg", "cut-png", "head", "segments", "empty"],
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_bombs_and_torn_pictures_are_refused_as_photos_and_kept_as_originals(
    maker: PictureMaker,
    blobs: BlobStore,
    send: Send,
    content: bytes,
    refusal: type[PhotoNotCleaned],
) -> None:
    path = send(content)
    started = time.monotonic()

    with pytest.raises(refusal, match=r"“Fête”.*“Keep the original file”") as refused:
        await maker.photo(path, name="Fête", original=False)
    kept = await maker.photo(path, name="Fête", original=True)

    assert type(refused.value) is refusal
    assert refused.value.status == 422
    assert kept == Photo()
    assert time.monotonic() - started < 4
    assert left_in(blobs.staging) == []


async def test_a_photo_of_two_hundred_megapixels_is_cleaned_and_has_a_thumbnail(
    maker: PictureMaker, send: Send
) -> None:
    with Image.new("L", (16_320, 12_240), 90) as large:
        path = send(large, quality=30, comment=PLACE.encode())

    made = await maker.photo(path, name="A", original=False)

    assert PLACE.encode() not in await asyncio.to_thread(arrived, made)
    assert made is not None
    assert (made.width, made.height, made.thumb_width) == (16_320, 12_240, 320)


async def test_a_photo_too_hungry_to_be_opened_is_cleaned_and_has_no_thumbnail(
    blobs: BlobStore, send: Send
) -> None:
    small = PictureMaker(
        blobs, blobs.staging, PictureLimits(memory_bytes=64 * 1024 * 1024, reserve=NO_RESERVE)
    )
    picture = scene(4000, 3000)
    for path in (
        send(picture, "JPEG", progressive=True, subsampling=0, comment=PLACE.encode()),
        send(picture.resize((3000, 2000)), "WEBP", xmp=PLACE.encode(), method=0),
        send(Image.new("RGB", (4000, 3000)), "PNG", exif=device_data()),
    ):
        made = await small.photo(path, name="A", original=False)

        assert PLACE.encode() not in await asyncio.to_thread(arrived, made)
        assert made is not None
        assert made.thumb is None
        assert await small.photo(path, name="A", original=True) == Photo()
    assert left_in(blobs.staging) == []


async def test_a_photo_that_keeps_the_processor_busy_is_cleaned_and_has_no_thumbnail(
    blobs: BlobStore, send: Send
) -> None:
    quick = PictureMaker(blobs, blobs.staging, PictureLimits(cpu_seconds=1, reserve=NO_RESERVE))
    endless = with_last_scan_repeated(saved(Image.new("RGB", (5000, 4000)), "JPEG", progressive=True), 3000)

    made = await quick.photo(send(endless), name="A", original=False)

    await asyncio.to_thread(arrived, made)
    assert made is not None
    assert made.thumb is None
    assert left_in(blobs.staging) == []


async def test_a_photo_that_takes_too_long_to_clean_is_refused(blobs: BlobStore, send: Send) -> None:
    hurried = PictureMaker(blobs, blobs.staging, PictureLimits(wall_seconds=0.005, reserve=NO_RESERVE))

    with pytest.raises(PhotoTookTooLong, match="“A”"):
        await hurried.photo(send(png_of(8000, 5000)), name="A", original=False)

    assert children(os.getpid()) == []
    assert left_in(blobs.staging) == []
    assert await hurried.photo(send(corners()), name="A", original=True) == Photo()


async def test_a_photo_of_more_bytes_than_the_hub_copies_is_refused(blobs: BlobStore, send: Send) -> None:
    frugal = PictureMaker(blobs, blobs.staging, PictureLimits(photo_bytes=1000, reserve=NO_RESERVE))
    path = send(scene(300, 200))

    with pytest.raises(PhotoTooLarge):
        await frugal.photo(path, name="A", original=False)
    kept = await frugal.photo(path, name="A", original=True)

    assert kept is not None
    assert kept.thumb is not None


async def test_a_photo_that_is_given_up_leaves_no_process_and_no_file(
    maker: PictureMaker, blobs: BlobStore, send: Send
) -> None:
    slow = send(png_of(8000, 5000))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(maker.photo(slow, name="A", original=False))
        await asyncio.to_thread(until, lambda: children(os.getpid()))
        task.cancel()

    assert task.cancelled()
    assert children(os.getpid()) == []
    assert left_in(blobs.staging) == []


async def test_a_card_that_is_or_gets_full_takes_no_photos(
    maker: PictureMaker, blobs: BlobStore, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = PictureMaker(blobs, blobs.staging, PictureLimits(reserve=Reserve(share=0.0, least=10**18)))
    large = send(scene(2400, 1800), quality=100)
    assert large.stat().st_size > 600_000

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(NoRoom):
        await tight.photo(large, name="A", original=False)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoRoom):
        await maker.photo(large, name="A", original=False)

    assert left_in(blobs.staging) == []


async def test_a_clean_copy_becomes_a_blob(maker: PictureMaker, blobs: BlobStore, send: Send) -> None:
    made = await maker.photo(send(corners(), exif=device_data()), name="A", original=False)

    assert made is not None
    assert made.arrived is not None
    await asyncio.to_thread(blobs.settle, made.arrived)
    await asyncio.to_thread(made.arrived.path.unlink)
    assert await asyncio.to_thread(blobs.verify, made.arrived.ref.sha256)


def test_every_refusal_of_a_photo_has_a_code_of_its_own_and_names_the_file() -> None:
    kinds = [PhotoNotCleaned, HeicPhoto, PhotoTooLarge, BrokenPhoto, PhotoTookTooLong]

    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all("“Fête.jpg”" in str(kind(name="Fête.jpg")) and kind.status == 422 for kind in kinds)
