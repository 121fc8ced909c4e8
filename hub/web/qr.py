"""QR codes for paper and screens, as SVG that goes straight into a page."""

from __future__ import annotations

from urllib.parse import urlsplit


def address_for(url: str) -> str:
    """``url`` as a QR code should carry it: in capitals where the hub answers to them.

    Capitals need 5.5 bits a character instead of 8, which buys a higher error level at the same
    size. Scheme and host do not heed case, nor do the short links ``/n/{id}``; other paths do.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment or not (parts.path in ("", "/") or parts.path.startswith("/n/")):
        return url
    return url.upper()


def svg(url: str) -> str:
    """An SVG element (no size of its own, quiet zone of 4 modules, black on white) leading to ``url``.

    Print it at least 30 mm wide. Importing the encoder takes some 10 ms, once.
    """
    import segno

    code = segno.make(address_for(url), micro=False)
    return code.svg_inline(border=4, light="#fff", dark="#000", omitsize=True, svgclass=None, lineclass=None)
