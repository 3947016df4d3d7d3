"""What a target is: a family of devices with a capability table and one `write` function."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from export.preprocess import Preprocess
from export.rtl.stream.request import CircuitRequest
from export.rule import Rule
from quant.elastic import ElasticNetwork
from quant.formats import Array, find_format
from quant.graph import Graph
from quant.operators import Operator

#: JSON-able facts about a written part, kept in the manifest (layout, opset, arena bytes, ...).
Facts = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Source:
    """One part to write: a quantised graph, the float graph it came from, and test vectors.

    `inputs` and `outputs` are codes in graph layout (NCHW), [N, ...]; `outputs` come from `quant.reference.run`.
    `name` is a C identifier. `c_prefix` is what names in C begin with where that is not `name`: a bundle sets it, so
    that the parts of two bundles fit into one program. `float_graph` is the folded float graph of the same part (same
    tensor names), or None.
    `elastic` is the elastic network that `graph` is a subnet of, or None; a bundle carries it, targets do not see it.
    `preprocess` makes the inputs from raw images where the part is the first of a bundle, `labels` name the outputs of
    the last one and `postprocess` is "softmax" or None; a bundle sets them. `probabilities` asks for one more file
    that ends in the softmax of the last part's logits, where a target has such files (arm-a). `circuit` is what fpga
    makes: its architecture, device and speed. `after` is the rule that decides whether the next parts run, and
    `source` the part whose output this one reads (`export.manifest.PartRecord`); targets see neither.
    """

    name: str
    graph: Graph
    inputs: Array
    outputs: Array
    float_graph: Graph | None = None
    elastic: ElasticNetwork | None = None
    c_prefix: str = ""
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    postprocess: str | None = None
    probabilities: bool = False
    circuit: CircuitRequest | None = None
    after: Rule | None = None
    source: str | None = None

    @property
    def stem(self) -> str:
        """What names in C, and the files that hold them, begin with."""
        return self.c_prefix or self.name


@dataclass(frozen=True, slots=True)
class Capability:
    """What a target can express: formats by name, operators, and whether zero points must be 0."""

    weights: tuple[str, ...]
    activations: tuple[str, ...]
    operators: tuple[type[Operator], ...]
    symmetric: bool = False


@dataclass(frozen=True, eq=False)
class Joint:
    """The written parts of a bundle with several: `stem` is what names begin with, `combine` whose answer counts.

    `facts` are those of the parts, in the same order.
    """

    stem: str
    parts: tuple[Source, ...]
    facts: tuple[Facts, ...]
    combine: str

    @property
    def is_dynamic(self) -> bool:
        """Whether parts read others than the one before, or rules decide what runs."""
        return any(part.source is not None or part.after is not None for part in self.parts)


@dataclass(frozen=True, slots=True)
class Target:
    """A family of devices. `write(source, folder)` writes the files of one part into an existing empty folder.

    `join(joint, folder)` writes what parts need to work together into the bundle's own folder; None: nothing.
    """

    name: str
    summary: str
    capability: Capability
    write: Callable[[Source, Path], Facts]
    join: Callable[[Joint, Path], None] | None = None


def check_name(name: str) -> str:
    """Return `name` when it can be a C, Verilog and file name, else raise ExportError."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise ExportError(
            f"'{name}' cannot name a part: use a lower-case letter, then lower-case letters, digits and underscores."
        )
    return name


def spell_formats(names: tuple[str, ...]) -> str:
    """Return a short list of format names for a message: runs of integers become one range."""
    if not names:
        return "float only"
    integers = [name for name in names if name.lstrip("u").startswith("int")]
    if len(integers) < 4:
        return ", ".join(names)
    bits = sorted({find_format(name).bits for name in integers})
    others = ["every minifloat"] if len(names) - len(integers) > 20 else [n for n in names if n not in integers]
    return ", ".join([f"integers of {bits[0]} to {bits[-1]} bits", *others])


def check_capability(target: Target, graph: Graph) -> None:
    """Check that `target` can express a quantised graph.

    Raises:
        ExportError: naming the first node or tensor that does not fit, what fits, and what to do.
    """
    capability = target.capability
    for node in graph.nodes:
        if type(node.op) not in capability.operators:
            known = ", ".join(op.__name__ for op in capability.operators)
            raise ExportError(f"{target.name}: node '{node.name}' is a {node.kind}; this target takes {known}.")
    for name in graph.activations():
        quant = graph.quant(name)
        if quant.format.name not in capability.activations:
            raise ExportError(
                f"{target.name}: activation '{name}' is {quant.format.name}; this target takes "
                f"{spell_formats(capability.activations)}. Quantise with another scheme, or export to "
                "arm-m or fpga, which execute every format."
            )
        if capability.symmetric and quant.zero != 0:
            raise ExportError(
                f"{target.name}: activation '{name}' has zero point {quant.zero}; this target needs zero points of 0. "
                "Quantise with symmetric activations (scheme option '-sym', for example w8a8-sym)."
            )
    for name in graph.weights:
        weight = graph.tensors[name].quant
        if weight is not None and weight.format.name not in capability.weights:
            raise ExportError(
                f"{target.name}: weight '{name}' is {weight.format.name}; this target takes "
                f"{spell_formats(capability.weights)}."
            )
