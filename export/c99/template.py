"""Kernel templates: C sources beside this file in which upper-case tokens stand for types and functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

#: Pairs of a token and what stands for it.
Tokens = tuple[tuple[str, str], ...]


#: Templates whose kernels carry the name of a number format or type, which says what they do.
KEPT = (
    "format_integer", "format_table", "ordinal_integer", "ordinal_minifloat", "code_integer", "code_minifloat",
    "requant_q31", "requant_right", "requant_wide", "divide", "gather_byte",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kernel:
    """One template filled in: its C name, its tokens, the kernels it calls, and the #if condition it stands under."""

    template: str
    name: str
    tokens: Tokens = ()
    needs: tuple[Kernel, ...] = ()
    guard: str = ""


def kernel_text(kernel: Kernel) -> str:
    """Return the C text of one kernel."""
    source = resources.files("export.c99").joinpath("kernels", f"{kernel.template}.c").read_text(encoding="utf-8")
    tokens = {"NAME": kernel.name, **dict(kernel.tokens)}
    pattern = re.compile("|".join(rf"(?<![A-Z0-9]){re.escape(token)}(?![A-Z0-9_])" for token in tokens))
    text = pattern.sub(lambda found: tokens[found.group()], source)
    return f"#if {kernel.guard}\n{text.strip()}\n#endif\n" if kernel.guard else text


def in_order(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """Return the kernels and all they need, each once, callees first."""
    found: dict[str, Kernel] = {}

    def visit(kernel: Kernel) -> None:
        for needed in kernel.needs:
            visit(needed)
        found.setdefault(kernel.name, kernel)

    for kernel in kernels:
        visit(kernel)
    return tuple(found.values())


def with_short_names(source: str, kernels: Iterable[Kernel]) -> str:
    """Return C text with kernels named after their template, numbered from the second one of a template on.

    Full names spell every type, which keeps kernels apart while steps are printed and is hard to read afterwards.
    """
    short: dict[str, str] = {}
    seen: dict[str, int] = {}
    for kernel in kernels:
        if len(kernel.name) > len(kernel.template) and kernel.template not in KEPT:
            seen[kernel.template] = seen.get(kernel.template, 0) + 1
            number = seen[kernel.template]
            short[kernel.name] = kernel.template if number == 1 else f"{kernel.template}{number}"
    if not short:
        return source
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, short)) + r")\b")
    return pattern.sub(lambda found: short[found.group()], source)
