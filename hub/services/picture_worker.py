"""The limited process that opens residents' pictures: one run for the pictures of one form, then it ends.

Started as ``python -m hub.services.picture_worker JOB`` where JOB is JSON: ``paths`` (the files as they
arrived), ``folder`` (an existing empty folder for the results) and the limits named in ``main()``. For
each picture in turn it writes ``<number>.jpg`` and ``<number>.thumb.jpg`` into the folder and one line
of JSON to stdout: ``{"width", "height", "thumb_width", "thumb_height"}``, or ``{"trouble": code}`` and
the end. The caller counts the lines, so it knows which picture a killed worker was at.

With ``photo`` in the job there is one path, a photograph for the file share, and only a thumbnail is
made of it, with the sizes of the whole picture. If ``copy`` names a file (empty, made by the caller), a
copy without device data is written into it first, which has a line ``{}`` of its own, and the thumbnail
is made from the copy.

What arrives is hostile until re-encoded: decoders are C code. Hence the process of its own, with limits
on memory, processor time, file size and open files that it sets before it opens anything, and no other
module of the hub but the one that copies. A picture is never held twice at full size: it is flattened
and shrunk in strips.
"""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile

from hub.services.picture_files import HEAD, Trouble, clean, format_of, webp_pixels

STRIP_PIXELS = 1_000_000
LARGEST_PROFILE = 16 * 1024
"""Bytes of a colour profile worth reading: a phone's has about 500, a printing press's half a million."""
THUMB_TALLNESS = 2
"""A thumbnail is at most this many times as high as it may be wide."""
HUNGER = {"JPEG": 8, "WEBP": 16}
"""Bytes of memory that a pixel may want while it is decoded, for decoders that say "broken" without it."""
ORIENTATION = 0x0112
FIRST_ON_ITS_SIDE = 5
"""From this orientation on, width and height change places."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def fitted(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """``size`` scaled down, never up, to lie within ``box``; no side under one pixel."""
    width, height = size
    scale = min(1.0, box[0] / width, box[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (as it is) where the metadata is missing or broken."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # the metadata is thrown away anyway: a fault in it does not spoil the picture
        return 1
    return value if value in UPRIGHT else 1


def on_white(strip: Image.Image) -> Image.Image:
    """``strip`` in RGB, what is transparent in it white."""
    if strip.mode.startswith("I;16"):
        return strip.point(lambda value: value / 256).convert("L").convert("RGB")
    if not strip.has_transparency_data:
        return strip.convert("RGB")
    strip = strip.convert("RGBA")
    white = Image.new("RGB", strip.size, "white")
    white.paste(strip, mask=strip.getchannel("A"))
    return white


def shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """``image`` flattened to RGB and at ``size`` (no larger than it is), with little more memory."""
    width, height = image.size
    across, down = (max(1, int(have / (want * 1.5))) for have, want in zip(image.size, size, strict=True))
    small = Image.new("RGB", (-(-width // across), -(-height // down)))
    rows = max(1, STRIP_PIXELS // width // down) * down
    for top in range(0, height, rows):
        strip = on_white(image.crop((0, top, width, min(top + rows, height))))
        small.paste(strip.reduce((across, down)), (0, top // down))
    image.close()
    return small if small.size == size else small.resize(size, Image.Resampling.LANCZOS)


def in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """``image`` (RGB) in the colours its ICC profile means, or as it is where there is no usable profile."""
    if not isinstance(profile, bytes) or not 128 <= len(profile) <= LARGEST_PROFILE:
        return image
    from PIL import ImageCms

    try:
        meant = ImageCms.profileToProfile(image, io.BytesIO(profile), ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return meant or image


def jpeg(image: Image.Image, quality: int) -> bytes:
    """``image`` as a progressive JPEG with nothing in it but the picture."""
    image.info.clear()
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, progressive=True, optimize=True)
    return file.getvalue()


def thumbnail(image: Image.Image, width: int, most_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """A small JPEG of at most ``most_bytes``: of lower quality, and at last smaller, until it is."""
    size = fitted(image.size, (width, width * THUMB_TALLNESS))
    while True:
        small = image.resize(size, Image.Resampling.LANCZOS)
        for quality in (75, 60, 45, 30):
            data = jpeg(small, quality)
            if len(data) <= most_bytes or size == (1, 1):
                return data, size
        size = fitted(size, (max(1, size[0] * 3 // 4), max(1, size[1] * 3 // 4)))


def decoded(path: Path, job: dict[str, Any]) -> tuple[ImageFile.ImageFile, tuple[int, int]]:
    """The picture at ``path``, a JPEG at a scale near what is wanted, and its size at full scale.

    The header is judged first. MemoryError also where a decoder says "broken" when memory ran out.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
        format, pixels = format_of(head), webp_pixels(head)
        try:
            image = Image.open(file, formats=(format,))
            size = image.size
            pixels = size[0] * size[1]
            if pixels > job["jpeg_pixels" if format == "JPEG" else "pixels"]:
                raise Trouble("too-many-pixels")
            image.draft(None, fitted(size, (job["side"], job["side"])))
            image.load()
        except OSError as error:
            if error.errno is None and pixels * HUNGER.get(format, 0) > job["memory"]:
                raise MemoryError from None
            raise
        return image, size


def opened(path: Path, job: dict[str, Any]) -> tuple[Image.Image, tuple[int, int]]:
    """A small upright sRGB version of a picture, and the size of the whole when upright."""
    image, size = decoded(path, job)
    turn, profile = orientation(image), image.info.get("icc_profile")
    picture = in_srgb(shrunk(image, fitted(image.size, (job["side"], job["side"]))), profile)
    if turn in UPRIGHT:
        picture = picture.transpose(UPRIGHT[turn])
    return picture, size[::-1] if turn >= FIRST_ON_ITS_SIDE else size


def prepare(path: Path, folder: Path, number: int, job: dict[str, Any]) -> dict[str, int]:
    """Re-encode one picture into ``folder``, return the sizes. Raises Trouble and whatever Pillow raises."""
    picture, _ = opened(path, job)
    full = jpeg(picture, job["quality"])
    thumb, (thumb_width, thumb_height) = thumbnail(picture, job["thumb_width"], job["thumb_bytes"])
    (folder / f"{number}.jpg").write_bytes(full)
    (folder / f"{number}.thumb.jpg").write_bytes(thumb)
    return {
        "width": picture.width,
        "height": picture.height,
        "thumb_width": thumb_width,
        "thumb_height": thumb_height,
    }


def copy(path: Path, to: Path) -> dict[str, int]:
    """Write a copy of the picture without device data into the file ``to``, which exists."""
    with path.open("rb") as source, to.open("r+b") as sink:
        clean(source, sink)
    return {}


def miniature(path: Path, folder: Path, job: dict[str, Any]) -> dict[str, int]:
    """Make a thumbnail of a photograph, return its sizes and those of the photograph."""
    picture, (width, height) = opened(path, job)
    thumb, (thumb_width, thumb_height) = thumbnail(picture, job["thumb_width"], job["thumb_bytes"])
    (folder / "1.thumb.jpg").write_bytes(thumb)
    return {"width": width, "height": height, "thumb_width": thumb_width, "thumb_height": thumb_height}


def answer(work: Callable[[], dict[str, int]]) -> dict[str, Any]:
    """One line for the caller: what ``work`` returns, or the trouble it had."""
    try:
        return work()
    except Trouble as trouble:
        return {"trouble": str(trouble)}
    except MemoryError:
        return {"trouble": "too-much-memory"}
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return {"trouble": "too-many-pixels"}
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            return {"trouble": "no-room"}
        return {"trouble": "broken"}
    except (
        Exception
    ):  # decoders answer broken files with whatever comes to hand, from SyntaxError to KeyError
        return {"trouble": "broken"}


def works(job: dict[str, Any]) -> Iterator[Callable[[], dict[str, int]]]:
    """What the job asks for, step by step; each has a line in the answer."""
    paths, folder = [Path(path) for path in job["paths"]], Path(job["folder"])
    if not job["photo"]:
        for number, path in enumerate(paths, start=1):
            yield partial(prepare, path, folder, number, job)
    elif job["copy"]:
        to = Path(job["copy"])
        yield partial(copy, paths[0], to)
        yield partial(miniature, to, folder, job)
    else:
        yield partial(miniature, paths[0], folder, job)


def limit(job: dict[str, Any]) -> None:
    """Take from this process what it does not need. Processor time is given picture by picture."""
    os.nice(10)
    with suppress(OSError):  # where memory runs out, this process goes first and the hub stays
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_FSIZE, job["largest"]),
        (resource.RLIMIT_AS, job["memory"]),
    ):
        resource.setrlimit(what, (most, most))


def grant(seconds: int) -> None:
    """Let this process compute for ``seconds`` more; the system ends it with SIGXCPU after that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def main() -> None:
    """Do the job given as the only argument.

    Its limits: ``memory`` (bytes of address space), ``cpu`` (seconds a step), ``largest`` (bytes of a file
    it may write), ``pixels`` and ``jpeg_pixels`` (of a picture as it arrives, and of a JPEG), ``side``
    (longest of what is opened), ``quality`` (JPEG), ``thumb_width``, ``thumb_bytes``.
    """
    job = json.loads(sys.argv[1])
    limit(job)
    Image.MAX_IMAGE_PIXELS = max(job["pixels"], job["jpeg_pixels"])
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno()
    )  # pictures must not write into the hub's log
    for work in works(job):
        grant(job["cpu"])
        line = answer(work)
        print(json.dumps(line), flush=True)  # noqa: T201 - the answer to the hub
        if "trouble" in line:
            break


if __name__ == "__main__":
    main()
