"""A part as a device under test: MLPerf Tiny's text protocol around its generated C, for any firmware with a UART."""

from __future__ import annotations

from collections.abc import Mapping

from export.c99.layout import c_type, size
from export.embed.template import filled
from export.target import Source
from quant.formats import Format

#: The C type of codes and their smallest and largest value.
_TYPE_LIMITS = {
    "int8_t": (-(1 << 7), (1 << 7) - 1),
    "uint8_t": (0, (1 << 8) - 1),
    "int16_t": (-(1 << 15), (1 << 15) - 1),
}


def dut_files(source: Source) -> Mapping[str, str]:
    """Return NAME_dut.h, NAME_dut.c, main.c and CMakeLists.txt by name, for the C of `source.stem` = NAME."""
    name, graph = source.stem, source.graph
    given, made = graph.quant(graph.input).format, graph.quant(graph.output).format
    words = {
        "BYTES": size(graph.shape(graph.input)) * given.dtype.itemsize,
        "IS_CODE": _is_code(given),
        "ORDINAL": _ordinal(made, name),
    }
    return {
        f"{name}_dut.h": filled("dut.h", name, {}),
        f"{name}_dut.c": filled("dut.c", name, words),
        "main.c": filled("dut_main.c", name, {}),
        "CMakeLists.txt": filled("dut_CMakeLists.txt", name, {}),
    }


def _is_code(fmt: Format) -> str:
    """Statements that return whether `code` may occur: what comes over a wire is not to be trusted."""
    low, high = _TYPE_LIMITS[c_type(fmt)]
    if fmt.is_minifloat:
        sign_bit = 1 << (fmt.bits - 1)
        tests = [f"code <= {2 * sign_bit - 1}"] if 2 * sign_bit - 1 < high else []
        tests += [f"(code & {sign_bit - 1}) <= {fmt.max_ordinal}"] if fmt.reserved else []
    else:
        tests = [f"code >= {fmt.min_ordinal}"] if fmt.min_ordinal > low else []
        tests += [f"code <= {fmt.max_ordinal}"] if fmt.max_ordinal < high else []
    return f"return {' && '.join(tests)};" if tests else "(void)code;\n    return 1;"


def _ordinal(fmt: Format, name: str) -> str:
    """Return a function from a code to the number that `Format.to_ordinals` gives."""
    if not fmt.is_minifloat:
        return filled("ordinal_integer.c", name, {})
    return filled("dut_ordinal.c", name, {"SIGN_BIT": 1 << (fmt.bits - 1)})
