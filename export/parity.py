"""Parity: execute a written bundle, compare its codes with the reference, find the first layer that diverges.

Every result has a status:

* `bit-exact`: the runtime gave the reference's very codes on every test vector;
* `bounded`: a runtime with its own rounding; every layer it shows is within one step of what the reference makes of
  the runtime's own inputs of that layer (see `export.parity_slack` for layers it does not show);
* `wrong`: neither; `first` names the layer;
* `inconclusive`: the codes agree, but prove little (all labels are alike, or the runtime shows too few layers);
* `not run`: nothing was executed; `reason` says why.

Differences are counted in steps of the output grid (ordinals; for integers: LSB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from export.bundle_read import Bundle, BundlePart
from export.errors import ExportError
from export.parity_labels import labels_of, stream_fault
from export.parity_rules import defined_answers, differences, runtime_answers, same_labels, told_otherwise, variety
from export.parity_slack import allowed_steps, behind_clamps, rounding_depth
from export.runtimes.session import Runtime, Session
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Quant
from quant.program import lower
from quant.reference import execute, fast_dot, run

#: A runtime that may be further off than this, because it shows too few layers, is not called bounded.
LARGEST_SLACK = 16
STATUSES = ("bit-exact", "bounded", "wrong", "inconclusive", "not run")


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """How one layer's codes differ from the reference: `max_steps` at most, in `differing` of `total` values.

    `expected` and `actual` are the codes at the first place that differs, `index` that place (vector, channel, ...).
    """

    node: str
    kind: str
    tensor: str
    max_steps: int
    differing: int
    total: int
    index: tuple[int, ...]
    expected: int
    actual: int


@dataclass(frozen=True, slots=True)
class Parity:
    """The result of one part on one runtime. `labels` counts distinct arg max labels over the vectors."""

    part: str
    runtime: str
    status: str
    reason: str
    vectors: int = 0
    labels: int = 0
    max_steps: int = 0
    differing: int = 0
    total: int = 0
    top1_agreement: float = 0.0
    first: LayerDifference | None = None

    @property
    def passed(self) -> bool:
        """Whether something was executed and agreed."""
        return self.status in ("bit-exact", "bounded")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status with its reason, and the layer that it is about."""

    status: str
    reason: str
    first: LayerDifference | None = None


def reference_tensors(graph: Graph, codes: Array) -> dict[str, Array]:
    """Return every activation of the reference for a batch of input codes."""
    return run(lower(graph), codes, fast_dot)


def difference(graph: Graph, node: str, expected: Array, actual: Array) -> LayerDifference | None:
    """Compare one layer's codes; None when they are equal.

    Raises:
        ExportError: the runtime returned another shape or another type than codes of that tensor have.
    """
    made = next(n for n in graph.nodes if n.name == node)
    if expected.shape != actual.shape:
        raise ExportError(f"node '{node}' ({made.kind}): shape {actual.shape} instead of {expected.shape}.")
    if expected.dtype != actual.dtype:
        raise ExportError(f"node '{node}' ({made.kind}): codes of type {actual.dtype} instead of {expected.dtype}.")
    fmt = graph.quant(made.output).format
    steps = np.abs(fmt.to_ordinals(expected) - fmt.to_ordinals(actual))
    # Codes, not steps: a minifloat's two zeros are no step apart, and still not the same code.
    differing = expected != actual
    if not differing.any():
        return None
    place = tuple(int(i) for i in np.argwhere(differing)[0])
    return LayerDifference(
        node=node,
        kind=made.kind,
        tensor=made.output,
        max_steps=int(steps.max()),
        differing=int(differing.sum()),
        total=int(steps.size),
        index=place,
        expected=int(expected[place]),
        actual=int(actual[place]),
    )


def layer_differences(
    graph: Graph, expected: Mapping[str, Array], actual: Mapping[str, Array]
) -> tuple[LayerDifference, ...]:
    """Return the layers, in execution order, whose codes differ; layers that `actual` lacks are left out."""
    shown = [node for node in graph.nodes if node.output in actual]
    found = (difference(graph, node.name, expected[node.output], actual[node.output]) for node in shown)
    return tuple(item for item in found if item is not None)


@dataclass(frozen=True, slots=True)
class OwnInputs:
    """Layers against the reference on the runtime's own inputs: the first that is too far (None: none is).

    `allowed` is how many steps were allowed there; `largest` the most that was allowed anywhere. `saturated` counts
    values that were not compared, because a tensor behind them that the runtime keeps in float is clamped here.
    """

    broken: LayerDifference | None
    allowed: int
    largest: int
    saturated: int


def compare_on_own_inputs(graph: Graph, codes: Array, actual: Mapping[str, Array]) -> OwnInputs:
    """Execute every layer by the reference on the runtime's own inputs of that layer, so that nothing adds up.

    A tensor that the runtime does not show is taken from the reference and may be off by what is allowed there.

    Args:
        graph: what the runtime executes.
        codes: the input codes, [N, ...].
        actual: the codes the runtime shows, by tensor name.
    """
    program, values, largest, skipped = lower(graph), {graph.input: codes, **actual}, 0, 0
    slack = dict.fromkeys(values, 0.0)
    for step in program.steps:
        made = execute(program, step, values, fast_dot)
        allowed = allowed_steps(program, step, slack)
        if step.y not in actual:
            values[step.y], slack[step.y] = made, allowed
            continue
        clamped = behind_clamps(program, step, values, actual)
        skipped += int((clamped & (made != actual[step.y])).sum())
        largest = max(largest, int(allowed))
        found = difference(graph, step.name, np.where(clamped, actual[step.y], made), actual[step.y])
        if found is not None and found.max_steps > int(allowed):
            return OwnInputs(found, int(allowed), largest, skipped)
    return OwnInputs(None, 0, largest, skipped)


def check_part(part: BundlePart, runtime: Runtime, vectors: int | None = None) -> Parity:
    """Execute one part on one runtime and compare it with the test vectors and the reference.

    Args:
        part: a part of a bundle that was read back from disk.
        runtime: how to execute it.
        vectors: how many of the part's test vectors to use; None for all.
    """
    missing = runtime.missing()
    if missing is not None:
        return Parity(part.name, runtime.name, "not run", missing)
    inputs, outputs = part.inputs[:vectors], part.outputs[:vectors]
    try:
        session = runtime.open(part.folder, part.stem, part.graph)
    except ExportError as error:
        return Parity(part.name, runtime.name, "wrong", f"it does not open: {error}")
    try:
        return _compare(part, runtime, session, inputs, outputs)
    except (ExportError, QuantError) as error:
        return Parity(part.name, runtime.name, "wrong", str(error))
    finally:
        session.close()


def _compare(part: BundlePart, runtime: Runtime, session: Session, inputs: Array, outputs: Array) -> Parity:
    graph = part.graph
    reference = reference_tensors(graph, inputs)
    expected = reference[graph.output]
    if not np.array_equal(expected, outputs):
        raise ExportError(f"part '{part.name}': its test vectors are not what its graph computes.")
    # A copy: the runtime may use its output buffer again when it shows its tensors.
    actual = np.array(session.run(inputs))
    found = difference(graph, _last(graph), expected, actual)
    if found is None:
        fault = stream_fault(graph, session, inputs, reference)
        verdict = Verdict("wrong", f"{runtime.name}: {fault}") if fault else _agreeing(graph, expected)
        return _result(part.name, runtime, graph, (expected, actual), verdict)
    shown = session.tensors(inputs)
    layers = layer_differences(graph, reference, shown)
    first = layers[0] if layers else found
    verdict = _inexact(runtime, first) if runtime.exact else _bounded(graph, inputs, shown, actual, first)
    return _result(part.name, runtime, graph, (expected, actual), verdict)


def _last(graph: Graph) -> str:
    """Return the name of the node that makes the output; others may follow it."""
    return next((node.name for node in graph.nodes if node.output == graph.output), graph.nodes[-1].name)


def _result(name: str, runtime: Runtime, graph: Graph, codes: tuple[Array, Array], verdict: Verdict) -> Parity:
    """Count how the output codes (expected, actual) differ."""
    expected, actual = codes
    found = difference(graph, _last(graph), expected, actual)
    wanted, got = labels_of(graph.quant(graph.output), expected), labels_of(graph.quant(graph.output), actual)
    return Parity(
        part=name,
        runtime=runtime.name,
        status=verdict.status,
        reason=verdict.reason,
        vectors=len(expected),
        labels=_kinds(graph.quant(graph.output), expected),
        max_steps=found.max_steps if found else 0,
        differing=found.differing if found else 0,
        total=int(expected.size),
        top1_agreement=float((wanted == got).mean()),
        first=verdict.first,
    )


def _kinds(quant: Quant, codes: Array) -> int:
    """Return how many labels there are; of a part with one number, such as a filter, how many numbers."""
    one = codes.size == len(codes)
    return len(np.unique(codes if one else labels_of(quant, codes)))


def _agreeing(graph: Graph, expected: Array) -> Verdict:
    if _kinds(graph.quant(graph.output), expected) < 2:
        return Verdict("inconclusive", "every test vector gives the same label, so equal outputs prove little")
    return Verdict("bit-exact", "")


def _inexact(runtime: Runtime, first: LayerDifference) -> Verdict:
    reason = f"{runtime.name} must be bit-exact; '{first.node}' ({first.kind}) is the first node that differs"
    return Verdict("wrong", f"{reason}: {_codes(first)}", first)


def _bounded(graph: Graph, inputs: Array, shown: Mapping[str, Array], output: Array, first: LayerDifference) -> Verdict:
    same = np.array_equal(shown.get(graph.output, output), output)
    layers = compare_on_own_inputs(graph, inputs, {**shown, graph.output: output} if same else shown)
    if layers.broken is not None:
        layer = layers.broken
        reason = (
            f"'{layer.node}' ({layer.kind}) is {layer.max_steps} steps from the reference on the runtime's own inputs"
        )
        return Verdict("wrong", f"{reason}, at most {layers.allowed} are rounding: {_codes(layer)}", layer)
    if layers.largest > LARGEST_SLACK:
        reason = f"the runtime shows so few layers that {layers.largest} steps could be rounding"
        return Verdict("inconclusive", f"{reason}, so agreement within them proves little", first)
    if same:
        reason = f"every layer within {layers.largest} step{'s' * (layers.largest > 1)} of the reference"
        beside = f"; values that only the reference clamps: {layers.saturated}" if layers.saturated else ""
        return Verdict("bounded", f"{reason} on the runtime's own inputs{beside}", first)
    return _bounded_output(graph, inputs, output, first)


def _bounded_output(graph: Graph, inputs: Array, output: Array, first: LayerDifference) -> Verdict:
    """Judge an output that is not the one among the shown tensors: the runtime computes them by other kernels."""
    depth = rounding_depth(lower(graph))
    found = difference(graph, _last(graph), reference_tensors(graph, inputs)[graph.output], output)
    if found is not None and found.max_steps > depth:
        reason = f"the output differs by {found.max_steps} steps, more than its {depth} roundings explain"
        return Verdict("wrong", f"{reason}: {_codes(found)}", found)
    return Verdict(
        "bounded", f"every layer within its rounding, the output within 1 step per rounding ({depth})", first
    )


def _codes(layer: LayerDifference) -> str:
    return f"{layer.actual} instead of {layer.expected} at {list(layer.index)}"


def check_bundle(bundle: Bundle, runtimes: Sequence[Runtime], vectors: int | None = None) -> tuple[Parity, ...]:
    """Execute every part of a bundle on every runtime, and several parts together: as a chain, or by their rules."""
    results = [check_part(part, runtime, vectors) for runtime in runtimes for part in bundle.parts]
    if len(bundle.parts) > 1:
        results += [_check_chain(bundle, runtime, vectors) for runtime in runtimes if runtime.exact]
    return tuple(results)


def _check_chain(bundle: Bundle, runtime: Runtime, vectors: int | None) -> Parity:
    name = "+".join(part.name for part in bundle.parts)
    missing = runtime.missing()
    if missing is not None:
        return Parity(name, runtime.name, "not run", missing)
    try:
        compare = _compare_answers if bundle.manifest.is_dynamic else _compare_chain
        return compare(bundle, runtime, vectors, name)
    except (ExportError, QuantError) as error:
        return Parity(name, runtime.name, "wrong", str(error))


def _compare_answers(bundle: Bundle, runtime: Runtime, vectors: int | None, name: str) -> Parity:
    """Compare who answers and what, where rules decide what runs."""
    codes = bundle.parts[0].inputs[:vectors]
    expected, found = defined_answers(bundle, codes), runtime_answers(bundle, runtime, codes)
    frames, differing = differences(expected, found)
    joined = told_otherwise(expected, bundle, runtime, codes)
    labels = variety(expected)
    verdict = Verdict("bit-exact", "") if labels > 1 else Verdict("inconclusive", "every input gets the same label")
    if frames or differing:
        verdict = Verdict("wrong", f"{frames} of {len(codes)} inputs are answered otherwise, {differing} codes differ")
    elif joined:
        verdict = Verdict("wrong", f"as one program the parts answer {joined} of {len(codes)} inputs otherwise")
    return Parity(
        part=name,
        runtime=runtime.name,
        status=verdict.status,
        reason=verdict.reason,
        vectors=len(codes),
        labels=labels,
        differing=differing,
        total=sum(output.size for output in expected.outputs),
        top1_agreement=same_labels(expected, found),
    )


def _compare_chain(bundle: Bundle, runtime: Runtime, vectors: int | None, name: str) -> Parity:
    codes, last = _run_chain(bundle, runtime, vectors), bundle.parts[-1]
    expected = last.outputs[:vectors]
    found = difference(last.graph, _last(last.graph), expected, codes)
    verdict = _agreeing(last.graph, expected) if found is None else _inexact(runtime, found)
    return _result(name, runtime, last.graph, (expected, codes), verdict)


def _run_chain(bundle: Bundle, runtime: Runtime, vectors: int | None) -> Array:
    codes = bundle.parts[0].inputs[:vectors]
    for part in bundle.parts:
        session = runtime.open(part.folder, part.stem, part.graph)
        try:
            codes = np.array(session.run(codes))
        finally:
            session.close()
    return codes


def certificate(results: Sequence[Parity]) -> Mapping[str, object]:
    """Return the JSON form of parity results, for `export.bundle.add_certificate` and reports."""
    return {"results": [asdict(result) for result in results]}
