"""Which cells a sweep has: pairs of formats, granularities and methods, from what a person types."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from edge.errors import EdgeError
from quant.errors import QuantError
from quant.formats import FORMATS, MINIFLOATS, Format, integer
from quant.names import suggestion
from quant.scheme import Scheme, parse_scheme

INTEGERS = tuple(integer(bits) for bits in range(3, 9))
#: Names that stand for several formats, besides 3bit to 8bit.
GROUPS: Mapping[str, tuple[Format, ...]] = {
    "all": INTEGERS + MINIFLOATS,
    "integers": INTEGERS,
    "minifloats": MINIFLOATS,
}
GRANULARITIES = {"channel": "", "tensor": "-pt"}


@dataclass(frozen=True, slots=True)
class CellSpec:
    """One cell to compute. Cells of one `group` share their weights: the same passes, weight format and granularity."""

    scheme: Scheme
    method: str

    @property
    def group(self) -> tuple[str, str, bool]:
        """What the cell's weights depend on."""
        return self.method, self.scheme.formats.weight.name, self.scheme.per_channel

    @property
    def name(self) -> str:
        """Scheme and method, unique in a sweep."""
        return f"{self.scheme} {self.method}"


Groups = MutableMapping[tuple[str, str, bool], deque[CellSpec]]


def parse_formats(text: str) -> tuple[Format, ...]:
    """Return the formats of a comma-separated list: names, `all`, `integers`, `minifloats`, `3bit` to `8bit`.

    Raises:
        EdgeError: a word is none of these; the message lists them and the nearest one.
    """
    found: dict[str, Format] = {}
    for word in filter(None, (part.strip().lower() for part in text.split(","))):
        found.update((fmt.name, fmt) for fmt in _formats(word))
    if not found:
        raise EdgeError("no format is given; write for example int8,int4,e2m1 or all.")
    return tuple(found.values())


def _formats(word: str) -> tuple[Format, ...]:
    known = {fmt.name: (fmt,) for fmt in FORMATS} | dict(GROUPS)
    if re.fullmatch(r"[3-8]bit", word):
        return tuple(fmt for fmt in GROUPS["all"] if fmt.bits == int(word[0]))
    if word not in known:
        near = suggestion(word, (*known, "4bit"))
        raise EdgeError(
            f"no format '{word}'.{near} Allowed: names (edgemill formats), {', '.join(GROUPS)}, 3bit to 8bit."
        )
    return known[word]


def plan(
    weights: tuple[Format, ...],
    activations: tuple[Format, ...],
    methods: tuple[str, ...],
    granularities: tuple[str, ...],
    options: str = "",
) -> tuple[CellSpec, ...]:
    """Return the cells of a sweep, those that share weights one after the other.

    Args:
        weights: formats of the weights, signed.
        activations: formats of the activations.
        methods: names of the passes, as `quant.workshop.shared_method` reads them.
        granularities: words of GRANULARITIES.
        options: the rest of every scheme's name: options such as `sym-p99.99`, and rules `;pattern=formats`.

    Raises:
        EdgeError: an option or granularity is unknown, or a format does not go there.
    """
    unknown = [word for word in granularities if word not in GRANULARITIES]
    if unknown:
        raise EdgeError(f"no granularity '{unknown[0]}'. Allowed: {', '.join(GRANULARITIES)}.")
    rest = _rest(options)
    specs: dict[str, CellSpec] = {}
    for method in methods:
        for granularity in granularities:
            for weight in weights:
                for activation in activations:
                    text = f"w{weight.name}-a{activation.name}{GRANULARITIES[granularity]}{rest}"
                    spec = CellSpec(_scheme(text), method)
                    specs.setdefault(spec.name, spec)
    return tuple(specs.values())


def options_scheme(options: str) -> Scheme:
    """Return a scheme with these options and rules; its formats are int8 and mean nothing.

    Raises:
        EdgeError: an option or rule does not parse.
    """
    return _scheme(f"w8a8{_rest(options)}")


def _rest(options: str) -> str:
    """Return options and rules as they stand behind a pair of formats."""
    return options if not options or options.startswith(("-", ";")) else f"-{options}"


def _scheme(text: str) -> Scheme:
    try:
        return parse_scheme(text)
    except QuantError as error:
        raise EdgeError(str(error)) from error


def grouped(specs: tuple[CellSpec, ...]) -> Groups:
    """Return the cells by what their weights depend on, in order."""
    groups: dict[tuple[str, str, bool], deque[CellSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.group, deque()).append(spec)
    return groups


def take(groups: Groups, held: tuple[str, str, bool] | None, busy: frozenset[tuple[str, str, bool]]) -> CellSpec | None:
    """Take the next cell for a worker out of `groups`; None when nothing is left.

    A worker stays with the group whose weights it holds, then takes one that nobody works on, and at the end helps
    with the fullest: so weights are made once, and no core is idle while there is work.
    """
    for group in [group for group, cells in groups.items() if not cells]:
        del groups[group]
    if not groups:
        return None
    if held is None or held not in groups:
        free = [group for group in groups if group not in busy]
        held = free[0] if free else max(groups, key=lambda group: len(groups[group]))
    return groups[held].popleft()


def words(text: str) -> tuple[str, ...]:
    """Return the words of a comma-separated list."""
    return tuple(word for word in (part.strip().lower() for part in text.split(",")) if word)
