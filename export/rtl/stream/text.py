"""Templates of this package and small pieces of Verilog text."""

from __future__ import annotations

from importlib import resources


def template(name: str) -> str:
    """Return the text of a template file of this package."""
    return resources.files("export.rtl.stream").joinpath("templates", name).read_text(encoding="utf-8")


def filled(name: str, values: dict[str, str]) -> str:
    """Return a template with every @KEY@ of `values` replaced."""
    text = template(name)
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def printable(name: str) -> str:
    """Return a name from a model file so that it cannot leave its comment."""
    return "".join(c if c.isascii() and c.isprintable() and c not in "@`\\" else "_" for c in name)


def lines(items: list[str], indent: int = 2) -> str:
    """Join lines with an indent."""
    return "\n".join(" " * indent + item if item else item for item in items)
