"""Residents' pictures, drawn: a dozen things that turn up on the board, as a phone would send them."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 1000, 750
"""The drawing's own units; a photograph is this scaled."""
Point = tuple[float, float]
_INK = "#2b2a33"


class Sheet:
    """A drawing in the units above, whatever its size in pixels."""

    def __init__(self, width: int) -> None:
        self.scale = width / WIDTH
        self.image = Image.new("RGB", (width, round(HEIGHT * self.scale)))
        self._draw = ImageDraw.Draw(self.image)

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def shape(self, colour: str, *points: Point) -> None:
        """A filled polygon."""
        self._draw.polygon(self._at(points), fill=colour)

    def box(
        self, colour: str, left: float, top: float, right: float, bottom: float, round_: float = 0
    ) -> None:
        """A filled rectangle, its corners rounded by ``round_`` units."""
        self._draw.rounded_rectangle(self._at([(left, top), (right, bottom)]), round_ * self.scale, colour)

    def round(self, colour: str, x: float, y: float, across: float, high: float | None = None) -> None:
        """A filled ellipse round its middle, ``across`` and ``high`` its half axes."""
        high = across if high is None else high
        self._draw.ellipse(self._at([(x - across, y - high), (x + across, y + high)]), fill=colour)

    def ring(self, colour: str, x: float, y: float, radius: float, thick: float) -> None:
        """A circle's outline, ``thick`` units wide."""
        box = self._at([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.ellipse(box, outline=colour, width=max(1, round(thick * self.scale)))

    def line(self, colour: str, thick: float, *points: Point) -> None:
        """A line through ``points`` with round joints."""
        width = max(1, round(thick * self.scale))
        self._draw.line(self._at(points), fill=colour, width=width, joint="curve")
        for x, y in points:
            self.round(colour, x, y, thick / 2)


def _ladder(sheet: Sheet) -> None:
    sheet.box("#b5651d", 0, 0, WIDTH, HEIGHT)
    for row in range(12):
        for column in range(-1, 9):
            left = column * 130 + (row % 2) * 65
            sheet.box(
                "#a14f2a" if (row * 7 + column) % 3 else "#8e4423", left, row * 64, left + 122, row * 64 + 56
            )
    sheet.box("#5c6b73", 0, 40, WIDTH, 78)
    for x in (330, 560):
        sheet.line("#e9c46a", 26, (x + 70, 30), (x, 740))
    for step in range(9):
        y = 110 + step * 74
        sheet.line("#d9a441", 18, (392 - step * 7, y), (622 - step * 7, y))


def _cot(sheet: Sheet) -> None:
    sheet.box("#dfe7e2", 0, 0, WIDTH, 560)
    sheet.box("#c9a27e", 0, 560, WIDTH, HEIGHT)
    sheet.box("#f4f1ea", 190, 400, 810, 480, 20)
    for x in range(190, 811, 62):
        sheet.line("#8d6748", 16, (x, 260), (x, 600))
    sheet.line("#8d6748", 26, (180, 255), (820, 255))
    sheet.line("#8d6748", 26, (180, 520), (820, 520))
    sheet.round("#e76f51", 690, 372, 40)
    sheet.round("#f4a261", 690, 330, 26)


def _bicycle(sheet: Sheet) -> None:
    sheet.box("#a9c6d9", 0, 0, WIDTH, 500)
    sheet.box("#7c8577", 0, 500, WIDTH, HEIGHT)
    for x in (300, 700):
        sheet.ring(_INK, x, 500, 150, 20)
        for spoke in range(12):
            angle = spoke * math.tau / 12
            sheet.line("#c7ccd1", 4, (x, 500), (x + 138 * math.cos(angle), 500 + 138 * math.sin(angle)))
    red = "#c1121f"
    sheet.line(red, 20, (300, 500), (430, 300), (640, 300), (480, 500), (300, 500))
    sheet.line(red, 20, (430, 300), (480, 500))
    sheet.line(red, 20, (700, 500), (630, 240))
    sheet.line(_INK, 18, (570, 230), (680, 225), (700, 260))
    sheet.box(_INK, 370, 262, 480, 290, 14)
    sheet.round("#495057", 480, 500, 30)


def _tortoise(sheet: Sheet) -> None:
    sheet.box("#7fae5a", 0, 0, WIDTH, HEIGHT)
    for blade in range(0, 1000, 26):
        sheet.line("#6a9a48", 7, (blade, 750), (blade + 20 * math.sin(blade), 600 + 70 * math.cos(blade)))
    for x in (330, 640):
        sheet.round("#a3a04f", x, 540, 62, 46)
    sheet.round("#b7b35c", 790, 440, 76, 58)
    sheet.round(_INK, 818, 424, 9)
    sheet.round("#6b4f2a", 480, 420, 270, 170)
    sheet.box("#7fae5a", 180, 530, 780, 620)
    for x, y in ((370, 400), (480, 350), (590, 400), (480, 460), (290, 460), (670, 460)):
        sheet.round("#8f6c3a", x, y, 58, 40)
    sheet.round("#d62828", 900, 545, 34)


def _cat(sheet: Sheet) -> None:
    sheet.box("#5e3023", 0, 0, WIDTH, 470)
    for fold in range(0, 1000, 110):
        sheet.shape("#6d3a2b", (fold, 0), (fold + 60, 0), (fold + 40, 470), (fold + 10, 470))
    sheet.box("#c08552", 0, 470, WIDTH, HEIGHT)
    sheet.line("#22223b", 46, (700, 560), (860, 520), (880, 400))
    sheet.round("#22223b", 520, 500, 230, 130)
    sheet.round("#22223b", 330, 400, 112, 98)
    for left in (250, 350):
        sheet.shape("#22223b", (left, 350), (left + 22, 255), (left + 70, 330))
    sheet.round("#f2f2f2", 330, 446, 54, 42)
    sheet.round("#f2f2f2", 450, 590, 90, 32)
    for x in (296, 366):
        sheet.round("#d9ed92", x, 390, 18)
        sheet.round(_INK, x, 390, 6, 16)
    sheet.line("#277da1", 18, (250, 478), (330, 500), (412, 474))


def _keys(sheet: Sheet) -> None:
    sheet.box("#9aa0a6", 0, 0, WIDTH, HEIGHT)
    for x in range(0, 1000, 200):
        sheet.line("#868c92", 8, (x, 0), (x + 40, 750))
    sheet.line("#c1121f", 30, (480, 60), (520, 180), (490, 300))
    sheet.ring("#6c757d", 500, 340, 56, 14)
    for turn, colour in ((-0.7, "#d4a017"), (0.0, "#adb5bd"), (0.7, "#b08d57")):
        end = (500 + 300 * math.sin(turn), 390 + 270 * math.cos(turn))
        sheet.line(colour, 26, (500 + 50 * math.sin(turn), 400), end)
        sheet.line(colour, 20, end, (end[0] + 44, end[1] - 18))
        sheet.round(colour, 500 + 90 * math.sin(turn), 430, 48)
        sheet.round("#9aa0a6", 500 + 90 * math.sin(turn), 430, 18)


def _tomatoes(sheet: Sheet) -> None:
    sheet.box("#3d5a80", 0, 0, WIDTH, 520)
    sheet.box("#98a1a8", 0, 520, WIDTH, HEIGHT)
    sheet.shape("#c8a27a", (300, 330), (700, 320), (740, 690), (270, 690))
    sheet.shape("#b48a60", (300, 330), (350, 290), (720, 282), (700, 320))
    for x, y in ((400, 330), (520, 300), (620, 335), (800, 640)):
        sheet.round("#d62828", x, y, 74, 68)
        sheet.round("#ef6351", x - 24, y - 24, 18, 14)
        for leaf in range(5):
            angle = leaf * math.tau / 5
            sheet.line("#386641", 10, (x, y - 60), (x + 32 * math.cos(angle), y - 60 + 16 * math.sin(angle)))


def _leeks(sheet: Sheet) -> None:
    sheet.box("#d8e2dc", 0, 0, WIDTH, HEIGHT)
    for leek in range(5):
        x = 260 + leek * 110
        for leaf in (-60, -20, 25, 65):
            sheet.line("#4f772d" if leaf % 2 else "#6a994e", 30, (x, 420), (x + leaf, 90))
        sheet.line("#e9f5db", 50, (x, 420), (x, 600))
        for root in (-26, 0, 26):
            sheet.line("#cdb48f", 5, (x, 610), (x + root, 650))
    sheet.box("#a47148", 160, 520, 840, 720)
    for y in (560, 640):
        sheet.box("#8a5a36", 160, y, 840, y + 12)


def _bread(sheet: Sheet) -> None:
    sheet.box("#40312a", 0, 0, WIDTH, HEIGHT)
    sheet.box("#8d99ae", 90, 470, 910, 640, 24)
    for x, y in ((290, 440), (500, 410), (710, 440)):
        sheet.round("#b5763a", x, y, 128, 84)
        sheet.round("#d69a5b", x, y - 14, 112, 62)
        for cut in (-50, 0, 50):
            sheet.line("#f1dcb8", 10, (x + cut - 14, y + 10), (x + cut + 18, y - 40))
    for x in (260, 480, 700):
        sheet.line("#6b5b52", 10, (x, 290), (x + 24, 230), (x, 170), (x + 24, 110))


def _notebook(sheet: Sheet) -> None:
    sheet.box("#6a994e", 0, 0, WIDTH, HEIGHT)
    sheet.shape("#1d3557", (220, 130), (770, 90), (820, 650), (260, 690))
    sheet.shape("#fbfaf3", (250, 150), (750, 112), (796, 630), (286, 668))
    for x, y, size in ((390, 280, 60), (610, 260, 46), (430, 500, 50), (650, 480, 70)):
        sheet.ring(_INK, x, y, size, 7)
        for ear in (-1, 1):
            sheet.line(
                _INK, 7, (x + ear * size * 0.8, y - size * 0.6), (x + ear * size * 0.7, y - size * 1.3)
            )
            sheet.line(_INK, 7, (x + ear * size * 0.7, y - size * 1.3), (x + ear * size * 0.2, y - size))
            sheet.round(_INK, x + ear * size * 0.35, y - size * 0.1, 6)
        sheet.line(
            _INK, 6, (x - size * 0.2, y + size * 0.4), (x, y + size * 0.5), (x + size * 0.2, y + size * 0.4)
        )


def _mitten(sheet: Sheet) -> None:
    sheet.box("#8c6d52", 0, 0, WIDTH, HEIGHT)
    for y in range(60, 750, 115):
        sheet.line("#77593f", 10, (0, y), (WIDTH, y + 14))
    sheet.round("#c1121f", 500, 300, 150, 190)
    sheet.box("#c1121f", 350, 300, 650, 520, 30)
    sheet.round("#c1121f", 690, 380, 62, 110)
    sheet.box("#f8f4e3", 340, 510, 660, 610, 24)
    sheet.round("#f8f4e3", 490, 320, 60, 46)
    for side in (-1, 1):
        sheet.line("#f8f4e3", 12, (490 + side * 30, 290), (490 + side * 70, 220), (490 + side * 110, 230))
        sheet.round(_INK, 490 + side * 22, 312, 8)
    sheet.round("#d62828", 490, 346, 14)


def _piano(sheet: Sheet) -> None:
    sheet.box("#e6ccb2", 0, 0, WIDTH, 600)
    sheet.box("#9c6644", 0, 600, WIDTH, HEIGHT)
    sheet.box("#3c2415", 160, 140, 840, 640, 12)
    sheet.box("#53331d", 200, 180, 800, 330, 8)
    sheet.box("#2b180d", 130, 370, 870, 400)
    for key in range(22):
        sheet.box("#fffdf5", 150 + key * 32, 400, 179 + key * 32, 470)
    for key in range(21):
        if key % 7 not in (2, 6):
            sheet.box(_INK, 172 + key * 32, 400, 190 + key * 32, 444)
    sheet.box("#fbfaf3", 420, 200, 580, 330)
    for y in range(222, 320, 20):
        sheet.line("#8d8d8d", 3, (436, y), (564, y))
    sheet.round("#b5651d", 720, 122, 46, 20)
    sheet.box("#e0e1dd", 688, 70, 752, 124, 10)


_SCENES: dict[str, Callable[[Sheet], None]] = {
    "bicycle": _bicycle,
    "bread": _bread,
    "cat": _cat,
    "cot": _cot,
    "keys": _keys,
    "ladder": _ladder,
    "leeks": _leeks,
    "mitten": _mitten,
    "notebook": _notebook,
    "piano": _piano,
    "tomatoes": _tomatoes,
    "tortoise": _tortoise,
}
SCENES = tuple(_SCENES)
"""The names that ``photograph`` knows."""


def photograph(
    scene: str, *, width: int = 1600, seed: int = 0, location: bool = False, turned: bool = False
) -> bytes:
    """A JPEG of ``scene`` (one of ``SCENES``), ``width`` pixels wide and three quarters as high.

    ``seed`` varies the light and the grain. ``location`` adds what a phone adds: its make, the time
    and the place where the picture was taken. ``turned`` stores it on its side with the EXIF mark
    that says so. Raises ``KeyError`` for a scene nobody has drawn.
    """
    sheet = Sheet(width)
    _SCENES[scene](sheet)
    chance = random.Random(f"{scene}{seed}")
    light = chance.uniform(0.86, 1.08)
    across, high = width // 4, sheet.image.height // 4
    grain = Image.frombytes("L", (across, high), chance.randbytes(across * high)).resize(sheet.image.size)
    lit = sheet.image.filter(ImageFilter.GaussianBlur(width / 1600)).point(lambda value: int(value * light))
    image = Image.blend(lit, Image.merge("RGB", [grain] * 3), 0.05)
    exif = Image.Exif()
    if location:
        exif[0x010F], exif[0x0110], exif[0x0132] = "Tanyard", "Kitchen Camera 2", "2026:11:22 15:04:05"
        exif.get_ifd(0x8825).update(
            {1: "N", 2: (53.0, 28.0, 51.6), 3: "W", 4: (2.0, 14.0, 38.4), 29: "2026:11:22"}
        )
    if turned:
        exif[0x0112] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=88, exif=exif)
    return written.getvalue()
