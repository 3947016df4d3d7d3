"""One subnet of an elastic network: bits of every elastic layer, granularity and symmetry, with a name that parses.

Grammar:

    subnet  = "w" BITS "a" BITS { "-" option }
    BITS    = one number for all layers, or one number per layer joined by dots
    option  = "pt"      weights per tensor (default: one scale per output channel)
            | "asymw"   weights with a zero point
            | "asyma"   activations with a learned offset

Examples: `w4a4`, `w4.3.2a8.8.4-asyma`. The first and the last layer of a network are not elastic: they have 8 bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from quant.errors import QuantError

#: Bit widths that elastic layers learn (EQ-Net, ICCV 2023).
WIDTHS = (2, 3, 4, 5, 6, 7, 8)
#: Of the first and the last layer.
END_BITS = 8
#: Of the file of an elastic network.
SUFFIX = ".elastic"

_NAME = re.compile(r"w([0-9.]{1,999})a([0-9.]{1,999})((?:-[a-z]{1,9}){0,9})")
_OPTIONS = ("pt", "asymw", "asyma")


@dataclass(frozen=True, slots=True)
class Subnet:
    """What a person or a search chooses. Entry k of both tuples belongs to elastic layer k: its weights, its input."""

    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    per_channel: bool = True
    symmetric_weights: bool = True
    symmetric_activations: bool = True

    def __str__(self) -> str:
        """Print the name that parses back, given the number of layers."""
        on = (not self.per_channel, not self.symmetric_weights, not self.symmetric_activations)
        options = [option for option, wanted in zip(_OPTIONS, on, strict=True) if wanted]
        return "-".join([f"w{_spell(self.weight_bits)}a{_spell(self.activation_bits)}", *options])


def uniform(layers: int, bits: int) -> Subnet:
    """Return the subnet whose elastic layers all have `bits`-bit weights and inputs."""
    return Subnet((bits,) * layers, (bits,) * layers)


def parse_subnet(text: str, layers: int) -> Subnet:
    """Parse a subnet's name; a number alone means both: `4` is `w4a4`.

    Args:
        text: the name.
        layers: number of elastic layers of the network.

    Raises:
        QuantError: it does not parse, has another number of layers, or a width nothing learnt.
    """
    name = f"w{text}a{text}" if re.fullmatch(r"[0-9]{1,2}", text) else text.strip().lower()
    match = _NAME.fullmatch(name)
    options = match[3].split("-")[1:] if match else []
    if match is None or len(set(options)) < len(options) or not set(options) <= set(_OPTIONS):
        raise QuantError(
            f"'{text}' names no subnet. Write 4, w4a4, or bits layer by layer as in w4.3.2a8.8.4; options: -pt "
            "(weights per tensor), -asymw, -asyma (asymmetric weights, activations)."
        )
    weights, activations = (_bits(part, layers, text) for part in (match[1], match[2]))
    return Subnet(weights, activations, *(option not in options for option in _OPTIONS))


def _bits(part: str, layers: int, text: str) -> tuple[int, ...]:
    numbers = part.split(".")
    if not all(number.isdigit() and int(number) in WIDTHS for number in numbers):
        raise QuantError(f"subnet '{text}': widths are {WIDTHS[0]} to {WIDTHS[-1]} bits, not '{part}'.")
    if len(numbers) not in (1, layers):
        raise QuantError(f"subnet '{text}': {len(numbers)} widths in '{part}' for {layers} elastic layers.")
    return tuple(int(number) for number in (numbers * layers if len(numbers) == 1 else numbers))


def _spell(bits: tuple[int, ...]) -> str:
    return str(bits[0]) if len(set(bits)) == 1 else ".".join(map(str, bits))
