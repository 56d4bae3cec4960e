"""Writes text into XML. Whole trees would have to be in memory; these files are written line by line."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

_NO_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0 has no way to write them


def text(value: object) -> str:
    """Return a value as the text of an element."""
    return escape(_clean(value), {"\r": "&#13;"})


def quoted(value: object) -> str:
    """Return a value as an attribute's, with its quotes."""
    return quoteattr(_clean(value))


def number(value: float) -> str:
    """Return a number to the millionth of a pixel."""
    return repr(round(float(value), 6))


def _clean(value: object) -> str:
    return _NO_CHARACTERS.sub("\ufffd", str(value))
