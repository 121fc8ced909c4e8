"""Papers and tunes of the street, made from nothing: small, and the same in every run."""

from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import Sequence

_RATE = 8_000
_NOTE_S = 0.4


def paper(lines: Sequence[str]) -> bytes:
    """A PDF of one A4 page: the first line as its title, the rest below (ISO 32000-1; Latin-1 letters)."""
    said = [f"BT /F {20 if number == 0 else 12} Tf 60 {780 - 32 * number} Td ({_escaped(line)}) Tj ET"
            for number, line in enumerate(lines)]  # fmt: skip
    stream = "\n".join(said).encode("cp1252", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def tune(notes: Sequence[int]) -> bytes:
    """A WAV of those MIDI notes, a plain tone for each."""
    samples = bytearray()
    for note in notes:
        hertz, count = 440 * 2 ** ((note - 69) / 12), int(_RATE * _NOTE_S)
        for at in range(count):
            fade = min(1.0, at / 400, (count - at) / 800)
            samples += struct.pack("<h", round(9_000 * fade * math.sin(2 * math.pi * hertz * at / _RATE)))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(bytes(samples))
    return out.getvalue()


def _escaped(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
