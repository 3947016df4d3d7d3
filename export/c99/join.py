"""The parts of a bundle with rules as one network in C: `NAME_invoke` runs what an input needs and says who answered.

Parts take turns in one arena; outputs that a later part reads lie behind it. The decisions are those of
`export.decide`, in integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from export.atomic import write_text
from export.c99.arena import ALIGNMENT_BYTES
from export.c99.decide import rule_text
from export.c99.layout import c_type, size
from export.chain import SURER, source_index
from export.errors import ExportError
from export.manifest import TensorSpec, tensor_spec
from export.rule import Rule
from export.target import Joint, Source
from quant.formats import find_format

_FOLDER = Path(__file__).parent / "templates"


#: In NAME.h, where all parts but the last may run on a device and the last elsewhere.
_HEAD_DECLARATION = """

/* Run what stands before the link. Returns 1, and `codes` is what the tail elsewhere reads, ready for
   @name@_link_request; 0 where a filter dropped the frame: nothing is to be sent. */
int @name@_head(const @name@_t *network, const @name@_input_t *input, const void **codes);"""
#: The same where one of the parts before the link is a small local tail.
_LOCAL_DECLARATION = """

#define @NAME@_HEAD_SETTLED 2

/* Run what stands before the link. Returns 1, and `codes` is what the tail elsewhere reads, ready for
   @name@_link_request, and `local` what the local tail answers where the other one does not; @NAME@_HEAD_SETTLED where
   the local tail is sure: `local` is the answer, nothing is to be sent; 0 where a filter dropped the frame. */
int @name@_head(const @name@_t *network, const @name@_input_t *input, const void **codes,
    @name@_answer_t *local);"""


@dataclass(frozen=True, eq=False)
class Piece:
    """One part in C: its prefix, what it reads (None: the input), its output, its rule, where its output lies."""

    stem: str
    name: str
    source: int | None
    input: TensorSpec
    output: TensorSpec
    rule: Rule | None
    offset: int
    arena_bytes: int


def write_joint(joint: Joint, folder: Path) -> None:
    """Write NAME.h and NAME.c that join the parts' files; compile them with the parts' sources.

    Raises:
        ExportError: a rule cannot be decided on a device, or a name of the parts is taken.
    """
    pieces = _pieces(joint)
    if joint.stem in {piece.stem for piece in pieces}:
        raise ExportError(f"part '{joint.stem}' has the name of the bundle in C; give the bundle another name.")
    write_text(folder / f"{joint.stem}.h", header(joint, pieces))
    write_text(folder / f"{joint.stem}.c", source(joint, pieces))


def sends(joint: Joint) -> bool:
    """Whether a link can stand before the last part: it reads another one, and at most one part before it answers.

    That one is a small local tail: it reads what the tail reads, and the surer of both is not asked for.
    """
    names = [part.name for part in joint.parts]
    reads = source_index(names, len(names) - 1, joint.parts[-1].source)
    local = _local(joint)
    alike = all(source_index(names, index, joint.parts[index].source) == reads for index in local)
    return reads is not None and len(local) <= 1 and alike and not (local and joint.combine == SURER)


def _local(joint: Joint) -> list[int]:
    """Return the parts before the last one that answer where they are sure."""
    rules = [part.after for part in joint.parts[:-1]]
    return [index for index, rule in enumerate(rules) if rule is not None and rule.action == "answer"]


def crossing(joint: Joint) -> Joint:
    """Return the part whose output crosses the link and the tail, as what `write_link` takes."""
    names = [part.name for part in joint.parts]
    reads = source_index(names, len(names) - 1, joint.parts[-1].source)
    assert reads is not None
    return replace(joint, parts=(joint.parts[reads], joint.parts[-1]))


def _pieces(joint: Joint) -> tuple[Piece, ...]:
    arenas = [_arena_bytes(facts) for facts in joint.facts]
    offset, found = _aligned(max(arenas)), []
    names = [part.name for part in joint.parts]
    for index, (part, arena_bytes) in enumerate(zip(joint.parts, arenas, strict=True)):
        given, made = (tensor_spec(part.graph, t) for t in (part.graph.input, part.graph.output))
        place = source_index(names, index, part.source)
        found.append(Piece(part.stem, part.name, place, given, made, _rule(part, joint, index), offset, arena_bytes))
        offset += _aligned(_bytes(made))
    return tuple(found)


def _rule(part: Source, joint: Joint, index: int) -> Rule | None:
    return part.after if index < len(joint.parts) - 1 or joint.combine == SURER else None


def _arena_bytes(facts: object) -> int:
    value = facts.get("arena_bytes") if isinstance(facts, dict) else None
    if not isinstance(value, int):
        raise ExportError("a part does not say how large its arena is; write it again.")
    return value


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _bytes(spec: TensorSpec) -> int:
    return size(spec.shape) * find_format(spec.format).dtype.itemsize


def _answers(pieces: tuple[Piece, ...]) -> list[int]:
    last = len(pieces) - 1
    return [i for i, p in enumerate(pieces) if i == last or (p.rule is not None and p.rule.action == "answer")]


def header(joint: Joint, pieces: tuple[Piece, ...]) -> str:
    """Return the text of NAME.h."""
    upper, first = joint.stem.upper(), pieces[0]
    total = pieces[-1].offset + _aligned(_bytes(pieces[-1].output))
    names = "\n".join(f"#define {upper}_PART_{piece.name.upper()} {i}" for i, piece in enumerate(pieces))
    text = (_FOLDER / "join.h.in").read_text()
    return _filled(
        text,
        joint.stem,
        {
            "@INPUT_SIZE@": str(size(first.input.shape)),
            "@LABELS@": str(size(pieces[-1].output.shape)),
            "@ARENA_BYTES@": str(total),
            "@PARTS@": names,
            "@HEAD@": _head_declaration(joint),
            "@INPUT_TYPE@": c_type(find_format(first.input.format)),
        },
    )


def _head_declaration(joint: Joint) -> str:
    if not sends(joint):
        return ""
    return _LOCAL_DECLARATION if _local(joint) else _HEAD_DECLARATION


def source(joint: Joint, pieces: tuple[Piece, ...]) -> str:
    """Return the text of NAME.c."""
    text = (_FOLDER / "join.c.in").read_text()
    rules = [_rule_text(joint, pieces, index) for index, piece in enumerate(pieces) if piece.rule is not None]
    labels = [_label_text(joint, piece) for i, piece in enumerate(pieces) if i in _answers(pieces)]
    return _filled(
        text,
        joint.stem,
        {
            "@INCLUDES@": "\n".join(f'#include "{piece.stem}.h"' for piece in pieces),
            "@CHECKS@": "\n".join(_check_text(joint, piece) for piece in pieces),
            "@RULES@": "\n".join(rules),
            "@LABEL_FUNCTIONS@": "\n".join(labels),
            "@LOCALS@": "\n".join(_locals(joint, pieces)),
            "@STEPS@": "\n".join(_step_text(joint, pieces, index) for index in range(len(pieces))),
            "@LAST@": _last_text(joint, pieces),
            "@HEAD@": _head_text(joint, pieces) if sends(joint) else "",
        },
    )


def _filled(text: str, stem: str, values: dict[str, str]) -> str:
    for key, value in values.items():
        text = text.replace(key, value)
    return text.replace("@NAME@", stem.upper()).replace("@name@", stem)


def _rule_text(joint: Joint, pieces: tuple[Piece, ...], index: int) -> str:
    piece = pieces[index]
    assert piece.rule is not None
    name, compared = f"{joint.stem}_{piece.name}", joint.combine == SURER and index in _answers(pieces)
    return rule_text(name, piece.rule, piece.output, decides=index < len(pieces) - 1, compared=compared)


def _locals(joint: Joint, pieces: tuple[Piece, ...]) -> list[str]:
    parts = [f"    {piece.stem}_t part_{index};" for index, piece in enumerate(pieces)]
    return [*parts, "    double best, mine;"] if joint.combine == SURER else parts


def _check_text(joint: Joint, piece: Piece) -> str:
    upper = piece.stem.upper()
    return (
        f"typedef char {joint.stem}_fits_{piece.name}[({upper}_ARENA_BYTES <= {piece.arena_bytes}\n"
        f"    && {upper}_OUTPUT_SIZE == {size(piece.output.shape)}) ? 1 : -1];"
    )


def _label_text(joint: Joint, piece: Piece) -> str:
    """Return the function that names the first label with the greatest code."""
    kind = c_type(find_format(piece.output.format))
    units = f"{joint.stem}_{piece.name}_units" if piece.rule else ""
    value = f"{units}({{}})" if units and find_format(piece.output.format).is_minifloat else "{}"
    extra = ""
    if not units and find_format(piece.output.format).is_minifloat:
        extra, value = _order_text(joint, piece), f"{joint.stem}_{piece.name}_order({{}})"
    return f"""\
{extra}static int32_t {joint.stem}_{piece.name}_label(const {kind} *codes)
{{
    int32_t i, best = 0;
    for (i = 1; i < {size(piece.output.shape)}; i++) {{
        best = {value.format("codes[i]")} > {value.format("codes[best]")} ? i : best;
    }}
    return best;
}}
"""


def _order_text(joint: Joint, piece: Piece) -> str:
    """Return the place of a minifloat's code on the axis of values: sign and magnitude."""
    bits = find_format(piece.output.format).bits
    half = 1 << (bits - 1)
    return (
        f"static int32_t {joint.stem}_{piece.name}_order(uint8_t code)\n{{\n"
        f"    return code & {half} ? -(int32_t)(code & {half - 1}) : (int32_t)code;\n}}\n\n"
    )


def _codes(pieces: tuple[Piece, ...], index: int | None) -> str:
    if index is None:
        return "input"
    kind = c_type(find_format(pieces[index].output.format))
    return f"({kind} *)(void *)(network->arena + {pieces[index].offset})"


def _head_text(joint: Joint, pieces: tuple[Piece, ...]) -> str:
    """Return the function that runs what stands before the link."""
    local = _local(joint)
    nobody = "local->part = @NAME@_DROPPED;\n{0}local->label = -1;\n{0}local->codes = NULL;"
    dropped = f"{nobody.format(' ' * 8)}\n        return 0;" if local else "return 0;"
    steps = [_head_step(joint, pieces, index, dropped) for index in range(len(pieces) - 1)]
    lines = [*_locals(joint, pieces[:-1]), *steps]
    ready = f"    *codes = {_codes(pieces, pieces[-1].source)};\n"
    given = "const @name@_t *network, const @name@_input_t *input, const void **codes"
    if local:
        # Before the first part that may end it: who looks at `codes` of a settled frame finds no stray address.
        lines.insert(len(pieces) - 1, "    *codes = NULL;")
        given += ",\n    @name@_answer_t *local"
    return f"\n\nint @name@_head({given})\n{{\n" + "\n".join(lines) + f"\n{ready}    return 1;\n}}"


def _head_step(joint: Joint, pieces: tuple[Piece, ...], index: int, dropped: str) -> str:
    """Return what runs one part before the link; the answer of a local tail stays, also where it is not sure."""
    if index not in _local(joint):
        return _step_text(joint, pieces, index, dropped)
    sure = f"{joint.stem}_{pieces[index].name}_sure({_codes(pieces, index)})"
    answer = _answer(joint, pieces, index, "local").replace("\n        ", "\n    ")
    return f"{_run_text(pieces, index)}\n    {answer}\n    if ({sure}) {{\n        return @NAME@_HEAD_SETTLED;\n    }}"


def _step_text(joint: Joint, pieces: tuple[Piece, ...], index: int, dropped: str = "return;") -> str:
    """Return what runs one part and, where its rule decides, ends."""
    piece, name = pieces[index], f"{joint.stem}_{pieces[index].name}"
    lines = [_run_text(pieces, index)]
    if piece.rule is not None and index < len(pieces) - 1:
        sure = f"{name}_sure({_codes(pieces, index)})"
        if piece.rule.action == "answer":
            lines.append(f"    if ({sure}) {{\n        {_answer(joint, pieces, index)}\n        return;\n    }}")
        else:
            lines.append(f"    if (!{sure}) {{\n        {dropped}\n    }}")
    return "\n".join(lines)


def _run_text(pieces: tuple[Piece, ...], index: int) -> str:
    piece = pieces[index]
    return (
        f"    (void){piece.stem}_init(&part_{index}, network->arena, {piece.arena_bytes});\n"
        f"    {piece.stem}_invoke(&part_{index}, {_codes(pieces, piece.source)},\n        {_codes(pieces, index)});"
    )


def _answer(joint: Joint, pieces: tuple[Piece, ...], index: int, to: str = "answer") -> str:
    codes = _codes(pieces, index)
    return (
        f"{to}->part = {index};\n        {to}->codes = {codes};\n"
        f"        {to}->label = {joint.stem}_{pieces[index].name}_label({codes});"
    )


def _last_text(joint: Joint, pieces: tuple[Piece, ...]) -> str:
    last = len(pieces) - 1
    if joint.combine != SURER:
        return f"    {_answer(joint, pieces, last)}"
    first, *others = _answers(pieces)
    lines = [
        f"    best = {_score_call(joint, pieces, first)};",
        f"    {{\n        {_answer(joint, pieces, first)}\n    }}",
    ]
    for index in others:
        lines.append(f"    mine = {_score_call(joint, pieces, index)};")
        taken = f"best = mine;\n        {_answer(joint, pieces, index)}"
        lines.append(f"    if (mine > best) {{\n        {taken}\n    }}")
    return "\n".join(lines)


def _score_call(joint: Joint, pieces: tuple[Piece, ...], index: int) -> str:
    return f"{joint.stem}_{pieces[index].name}_score({_codes(pieces, index)})"
