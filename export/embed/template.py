"""Files beside generated C: texts in `templates/`, in which @WORDS@ between at signs stand for what differs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

from export.errors import ExportError

_WORD = re.compile(r"@([A-Za-z_]+)@")


def filled(template: str, name: str, words: Mapping[str, object]) -> str:
    """Return the text of `templates/TEMPLATE.in` with every @word@ replaced.

    Args:
        template: file name without `.in`.
        name: what names in C begin with: @name@, and in upper case @NAME@.
        words: what the other words stand for.

    Raises:
        ExportError: the template has a word that nothing stands for.
    """
    known = {"name": name, "NAME": name.upper(), **words}
    text = resources.files("export.embed").joinpath("templates", f"{template}.in").read_text(encoding="utf-8")
    unknown = sorted(set(_WORD.findall(text)) - set(known))
    if unknown:
        raise ExportError(f"nothing stands for @{unknown[0]}@ in the template {template}.")
    return _WORD.sub(lambda found: str(known[found[1]]), text)


def c_string(text: str) -> str:
    """Return a text as a C string literal: UTF-8, everything but plain letters, digits and spaces in octal."""
    plain = "".join(chr(b) if (chr(b).isalnum() and b < 128) or b in b" _-.,+" else f"\\{b:03o}" for b in text.encode())
    return f'"{plain}"'
