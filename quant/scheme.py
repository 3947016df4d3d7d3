"""A quantisation scheme: which format, granularity, symmetry and range estimator, with a short name that parses.

Grammar (case does not matter):

    scheme   = base { "-" option } { ";" pattern "=" base }
    base     = "w" FORMAT "a" FORMAT        w8a8, w4a8, w8a16: integers, bits only
             | "w" FORMAT "-a" FORMAT       we4m3-ae4m3, we2m1-aint8: any format by name
    option   = "sym"       activations symmetric around 0 (zero points 0)
             | "pt"        weights per tensor (default: one scale per output channel)
             | "p" NUMBER  activation ranges from a percentile, e.g. p99.99 (default: minimum and maximum)
             | "mse"       activation ranges that lose the least squared error on the format's own grid
             | "kl"        activation ranges that change the distribution least (Kullback-Leibler divergence)
             | "i" BITS    the network's input in this many integer bits (default: as the first node's output)
             | "ends" BITS weights of the first and last layer, the network's input, and input and output of the last
                           layer in this many bits: integers, or the minifloat with 3 exponent bits beside minifloats
    pattern  = a shell pattern over node names; the last match wins

Examples: `w4a8-sym-p99.99;conv0*=w8a8`, `w4a4-mse-ends8`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from quant.errors import QuantError
from quant.formats import Format, find_format, integer

_SHORT = re.compile(r"w([0-9]{1,4})a([0-9]{1,4})")
_LONG = re.compile(r"w([a-z]+\w*?)-a([a-z]+\w*)")


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats of one layer: weights, and the activation it makes."""

    weight: Format
    activation: Format

    def __str__(self) -> str:
        """Print the shortest base that parses back."""
        names = (_bits(self.weight), _bits(self.activation))
        if all(names):
            return f"w{names[0]}a{names[1]}"
        return f"w{self.weight.name}-a{self.activation.name}"


@dataclass(frozen=True, slots=True)
class Scheme:
    """A scheme for a whole network.

    Ranges are minima and maxima, unless `percentile` or `criterion` (mse or kl) is given. `ends` stands for rules that
    `quant.assign.resolve` writes out.
    """

    formats: Formats
    per_channel: bool = True
    symmetric: bool = False
    percentile: float | None = None
    criterion: str | None = None
    input_bits: int | None = None
    ends: int | None = None
    rules: tuple[tuple[str, Formats], ...] = ()

    def at(self, node: str) -> Formats:
        """Return the formats of a node: the last rule whose pattern matches, else the default."""
        for pattern, formats in reversed(self.rules):
            if fnmatchcase(node, pattern):
                return formats
        return self.formats

    def __str__(self) -> str:
        """Print the name that parses back to this scheme."""
        options = ["sym"] * self.symmetric + ["pt"] * (not self.per_channel)
        if self.percentile is not None:
            options.append("p" + repr(float(self.percentile)).removesuffix(".0"))
        options += [self.criterion] if self.criterion else []
        options += [f"i{self.input_bits}"] * (self.input_bits is not None)
        options += [f"ends{self.ends}"] * (self.ends is not None)
        head = "-".join([str(self.formats), *options])
        return ";".join([head, *(f"{pattern}={formats}" for pattern, formats in self.rules)])


def _bits(fmt: Format) -> str:
    return str(fmt.bits) if fmt.signed and not fmt.is_minifloat else ""


def parse_scheme(text: str) -> Scheme:
    """Parse a scheme's name.

    Raises:
        QuantError: a part does not parse; the message shows the part, what is allowed, and an example.
    """
    head, *rules = text.strip().split(";")
    base, options = _split_base(head.lower(), text)
    scheme = Scheme(base, rules=tuple(_rule(rule, text) for rule in rules))
    seen: set[str] = set()
    for option in options:
        key = _kind(option)
        if key in seen:
            raise QuantError(f"scheme '{text}': option '{option}' is given twice, or contradicts another.")
        seen.add(key)
        scheme = _with_option(scheme, option, text)
    activations = [formats.activation for formats in (scheme.formats, *(formats for _, formats in scheme.rules))]
    unsigned = [fmt.name for fmt in activations if not fmt.signed]
    if scheme.symmetric and unsigned:
        raise QuantError(
            f"scheme '{text}': {unsigned[0]} cannot be symmetric around 0; use a signed format or no -sym."
        )
    return scheme


def _kind(option: str) -> str:
    """Return what an option decides, so that it is decided once."""
    if option in ("mse", "kl") or re.fullmatch(r"p[0-9].*", option):
        return "ranges"
    return re.sub(r"[0-9]+$", "", option)


def _split_base(head: str, text: str) -> tuple[Formats, list[str]]:
    parts = head.split("-")
    if _SHORT.fullmatch(parts[0]):
        return _formats(parts[0], text), parts[1:]
    return _formats("-".join(parts[:2]), text), parts[2:]


def _formats(base: str, text: str) -> Formats:
    short, long = _SHORT.fullmatch(base), _LONG.fullmatch(base)
    if short:
        widths = (int(short[1]), int(short[2]))
        for width in widths:
            if not 2 <= width <= 16:
                raise QuantError(f"scheme '{text}': integers have 2 to 16 bits, not {width}.")
        return Formats(integer(widths[0]), integer(widths[1]))
    if long:
        return _signed_weights(Formats(find_format(long[1]), find_format(long[2])), text)
    raise QuantError(
        f"scheme '{text}': '{base}' is not a pair of formats. Write w8a8 (integer bits) or we4m3-ae4m3 (format names)."
    )


def _signed_weights(formats: Formats, text: str) -> Formats:
    if not formats.weight.signed:
        raise QuantError(f"scheme '{text}': weights are negative too; use a signed format, not {formats.weight.name}.")
    return formats


def _rule(rule: str, text: str) -> tuple[str, Formats]:
    pattern, separator, base = rule.rpartition("=")
    if not separator or not pattern:
        raise QuantError(f"scheme '{text}': rule '{rule}' must read pattern=formats, for example conv0*=w8a8.")
    return pattern, _formats(base.lower(), text)


def _with_option(scheme: Scheme, option: str, text: str) -> Scheme:
    if option == "sym":
        return replace(scheme, symmetric=True)
    if option == "pt":
        return replace(scheme, per_channel=False)
    if re.fullmatch(r"p[0-9]{1,3}(\.[0-9]{1,30})?", option) and 50 < float(option[1:]) <= 100:
        return replace(scheme, percentile=float(option[1:]))
    if option in ("mse", "kl"):
        return replace(scheme, criterion=option)
    bits = re.fullmatch(r"(i|ends)([0-9]{1,2})", option)
    if bits and 4 <= int(bits[2]) <= 16 and not (bits[1] == "ends" and int(bits[2]) > 8):
        width = int(bits[2])
        return replace(scheme, input_bits=width) if bits[1] == "i" else replace(scheme, ends=width)
    raise QuantError(
        f"scheme '{text}': unknown option '{option}'. Options: sym (symmetric activations), pt (weights per tensor), "
        "p99.99 (percentile above 50, at most 100), mse or kl (range estimators), i8 (bits of the input, 4 to 16), "
        "ends8 (bits of first and last layer, 4 to 8)."
    )
