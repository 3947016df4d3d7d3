"""A rule in C: whether a part's output codes are sure, in integers, and how sure they are."""

from __future__ import annotations

from export.c99.layout import c_type
from export.c99.numbers import wrapped
from export.decide import Decider, decider
from export.errors import ExportError
from export.manifest import TensorSpec
from export.rule import STEPS, Rule
from quant.formats import find_format


def rule_text(name: str, rule: Rule, spec: TensorSpec, *, decides: bool, compared: bool) -> str:
    """Return functions that decide for one part.

    With `decides` there is `NAME_sure(codes)`, whether the score is at least the threshold; with `compared` there is
    `NAME_score(codes)`, a double that is the same number in every IEEE 754 arithmetic.

    Args:
        name: prefix of everything.
        rule: what to decide.
        spec: of the part's output.
        decides: whether the rule ends an inference.
        compared: whether scores of parts are compared.

    Raises:
        ExportError: the score needs logarithms.
    """
    if rule.score == "entropy":
        raise ExportError(
            f"{name}: a rule by entropy needs logarithms, so no device decides it alike; "
            "use max_probability or difference."
        )
    ready = decider(rule, spec)
    parts = [_units(name, spec), _maximum(name, spec)]
    if rule.score != "max_logit":
        parts.append(_terms(name, ready))
    if decides:
        parts.append(_by_logit(name, ready) if rule.score == "max_logit" else _by_ratio(name, ready))
    if compared:
        parts.append(_score(name, ready))
    return "\n".join(parts)


def _units(name: str, spec: TensorSpec) -> str:
    """Return a function from a code to its value in whole units."""
    fmt = find_format(spec.format)
    kind = c_type(fmt)
    if not fmt.is_minifloat:
        return f"static int64_t {name}_units({kind} code)\n{{\n    return code;\n}}\n"
    values = []
    for code in range(1 << fmt.bits):
        sign, ordinal = code >> (fmt.bits - 1), code & ((1 << (fmt.bits - 1)) - 1)
        units = fmt.units_of_ordinal(ordinal) if ordinal <= fmt.max_ordinal else 0
        values.append(-units if sign else units)
    table = f"static const int64_t {name}_table[{len(values)}] = {{\n{wrapped(values)}\n}};\n\n"
    return f"{table}static int64_t {name}_units({kind} code)\n{{\n    return {name}_table[code];\n}}\n"


def _maximum(name: str, spec: TensorSpec) -> str:
    kind, classes = c_type(find_format(spec.format)), _classes(spec)
    return f"""\
static int64_t {name}_most(const {kind} *codes)
{{
    int64_t most = {name}_units(codes[0]);
    int32_t i;
    for (i = 1; i < {classes}; i++) {{
        int64_t units = {name}_units(codes[i]);
        most = units > most ? units : most;
    }}
    return most;
}}
"""


def _terms(name: str, ready: Decider) -> str:
    """Return the function that gives the two integers whose ratio is the score."""
    kind, classes, entries = c_type(find_format(ready.spec.format)), _classes(ready.spec), len(ready.table)
    apart, half = f"most - {name}_units(codes[i])", (1 << ready.shift) >> 1
    apart = f"({apart} + {half}) >> {ready.shift}" if ready.shift else apart
    second = "part - second" if ready.rule.score == "difference" else "part"
    return f"""\
/* 2^24 * exp(-distance / temperature) by distance in steps of 2^{ready.shift} units, 0 beyond its end. */
static const uint32_t {name}_exp[{entries}] = {{
{wrapped(ready.table.tolist())}
}};

/* Returns the score's numerator; *total is its denominator. */
static int64_t {name}_ratio(const {kind} *codes, int64_t *total)
{{
    int64_t most = {name}_most(codes), sum = 0, part = 0, second = 0;
    int32_t i;
    for (i = 0; i < {classes}; i++) {{
        int64_t apart = {apart};
        int64_t term = apart < {entries} ? (int64_t){name}_exp[apart] : 0;
        sum += term;
        if (term > part) {{
            second = part;
            part = term;
        }} else if (term > second) {{
            second = term;
        }}
    }}
    *total = sum;
    return {second};
}}
"""


def _by_ratio(name: str, ready: Decider) -> str:
    rule, kind = ready.rule, c_type(find_format(ready.spec.format))
    return f"""\
/* {rule.score} >= {rule.threshold:.6g} */
static int {name}_sure(const {kind} *codes)
{{
    int64_t total, part = {name}_ratio(codes, &total);
    return part * {STEPS} >= total * ({rule.steps});
}}
"""


def _by_logit(name: str, ready: Decider) -> str:
    kind = c_type(find_format(ready.spec.format))
    return f"""\
/* max_logit >= {ready.rule.threshold:.6g} */
static int {name}_sure(const {kind} *codes)
{{
    return {name}_most(codes) >= INT64_C({ready.limit});
}}
"""


def _score(name: str, ready: Decider) -> str:
    spec = ready.spec
    kind = c_type(find_format(spec.format))
    if ready.rule.score == "max_logit":
        step = f"{spec.scale * find_format(spec.format).unit:.17g}"
        step = step if "." in step or "e" in step else f"{step}.0"
        body = f"    return (double)({name}_most(codes) - ({spec.zero})) * {step};"
    else:
        body = f"    int64_t total, part = {name}_ratio(codes, &total);\n    return (double)part / (double)total;"
    return f"static double {name}_score(const {kind} *codes)\n{{\n{body}\n}}\n"


def _classes(spec: TensorSpec) -> int:
    found = 1
    for size in spec.shape[1:]:
        found *= size
    return found
