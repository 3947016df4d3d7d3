"""Parity: execute a written bundle, compare its codes with the reference, find the first layer that diverges.

Every result has a status:

* `bit-exact`: the runtime gave the reference's very codes on every test vector;
* `bounded`: a runtime with its own rounding stayed within one step per rounding operation (see `rounding_depth`),
  and the first layer that differs, whose inputs are still the reference's, differs by at most one step;
* `wrong`: neither; `first` names the layer;
* `inconclusive`: the codes agree, but the vectors prove nothing (all outputs or all labels are alike);
* `not run`: nothing was executed; `reason` says why.

Differences are counted in steps of the output grid (ordinals; for integers: LSB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from export.bundle_read import Bundle, BundlePart
from export.errors import ExportError
from export.runtimes.session import Runtime, Session
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.program import AddStep, AveragePoolStep, ConvStep, MeanStep, Program, RequantizeStep, WideAddStep, lower
from quant.reference import fast_dot, run

STATUSES = ("bit-exact", "bounded", "wrong", "inconclusive", "not run")
#: Steps that round, and may therefore differ by one step in a runtime with its own rounding.
_ROUNDING = (ConvStep, AddStep, WideAddStep, MeanStep, RequantizeStep, AveragePoolStep)


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


def rounding_depth(program: Program) -> int:
    """Return the largest number of rounding steps on any path from input to output."""
    depth = {program.input: 0}
    for step in program.steps:
        sources = step.xs if hasattr(step, "xs") else (step.x,)
        depth[step.y] = max(depth[name] for name in sources) + isinstance(step, _ROUNDING)
    return depth[program.output]


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


def layer_differences(graph: Graph, session: Session, codes: Array) -> tuple[LayerDifference, ...]:
    """Return the layers, in execution order, whose codes differ from the reference."""
    expected, actual = reference_tensors(graph, codes), session.tensors(codes)
    shown = [node for node in graph.nodes if node.output in actual]
    found = (difference(graph, node.name, expected[node.output], actual[node.output]) for node in shown)
    return tuple(item for item in found if item is not None)


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
        session = runtime.open(part.folder, part.name, part.graph)
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
    expected = reference_tensors(graph, inputs)[graph.output]
    if not np.array_equal(expected, outputs):
        raise ExportError(f"part '{part.name}': its test vectors are not what its graph computes.")
    # A copy: the runtime may use its output buffer again when it shows its tensors.
    actual = np.array(session.run(inputs))
    last = graph.nodes[-1].name
    found = difference(graph, last, expected, actual)
    layers = layer_differences(graph, session, inputs) if found is not None else ()
    status, reason = _judge(graph, runtime, expected, found, layers)
    wanted, got = labels_of(graph, expected), labels_of(graph, actual)
    return Parity(
        part=part.name,
        runtime=runtime.name,
        status=status,
        reason=reason,
        vectors=len(inputs),
        labels=len(set(wanted.tolist())),
        max_steps=found.max_steps if found else 0,
        differing=found.differing if found else 0,
        total=int(expected.size),
        top1_agreement=float((wanted == got).mean()),
        first=layers[0] if layers else found,
    )


def labels_of(graph: Graph, codes: Array) -> Array:
    """Return the arg max of each output, over all its values (a head's output is read the same way)."""
    ordinals = graph.quant(graph.output).format.to_ordinals(codes)
    labels: Array = ordinals.reshape(len(codes), -1).argmax(axis=1)
    return labels


def _judge(
    graph: Graph,
    runtime: Runtime,
    expected: Array,
    found: LayerDifference | None,
    layers: Sequence[LayerDifference],
) -> tuple[str, str]:
    if found is None:
        if len(set(labels_of(graph, expected).tolist())) < 2:
            return "inconclusive", "every test vector gives the same label, so equal outputs prove little"
        return "bit-exact", ""
    if runtime.exact:
        worst = layers[0] if layers else found
        return "wrong", (
            f"{runtime.name} must be bit-exact; '{worst.node}' ({worst.kind}) is the first node that differs: "
            f"{worst.actual} instead of {worst.expected} at {list(worst.index)}"
        )
    depth = rounding_depth(lower(graph))
    first = layers[0].max_steps if layers else 0
    if first > 1:
        return "wrong", f"layer '{layers[0].node}' differs by {first} steps although its inputs agree"
    if found.max_steps > depth:
        return "wrong", f"the output differs by {found.max_steps} steps, more than its {depth} roundings explain"
    return "bounded", f"within 1 step per rounding ({depth} on the longest path)"


def check_bundle(bundle: Bundle, runtimes: Sequence[Runtime], vectors: int | None = None) -> tuple[Parity, ...]:
    """Execute every part of a bundle on every runtime, and several parts also as a chain (codes handed on)."""
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
        return _compare_chain(bundle, runtime, vectors, name)
    except (ExportError, QuantError) as error:
        return Parity(name, runtime.name, "wrong", str(error))


def _compare_chain(bundle: Bundle, runtime: Runtime, vectors: int | None, name: str) -> Parity:
    codes, last = _run_chain(bundle, runtime, vectors), bundle.parts[-1]
    expected = last.outputs[:vectors]
    found = difference(last.graph, last.graph.nodes[-1].name, expected, codes)
    status, reason = _judge(last.graph, runtime, expected, found, ())
    labels = labels_of(last.graph, expected)
    agreement = float((labels == labels_of(last.graph, codes)).mean())
    return Parity(
        part=name,
        runtime=runtime.name,
        status=status,
        reason=reason,
        vectors=len(expected),
        labels=len(set(labels.tolist())),
        max_steps=found.max_steps if found else 0,
        differing=found.differing if found else 0,
        total=int(expected.size),
        top1_agreement=agreement,
        first=found,
    )


def _run_chain(bundle: Bundle, runtime: Runtime, vectors: int | None) -> Array:
    codes = bundle.parts[0].inputs[:vectors]
    for part in bundle.parts:
        session = runtime.open(part.folder, part.name, part.graph)
        try:
            codes = np.array(session.run(codes))
        finally:
            session.close()
    return codes


def certificate(results: Sequence[Parity]) -> Mapping[str, object]:
    """Return the JSON form of parity results, for `export.bundle.add_certificate` and reports."""
    return {"results": [asdict(result) for result in results]}
