"""Mixed precision as a search space: a gene for the weights of each layer and for each activation that is rounded."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from quant.assign import activation_formats, resolve
from quant.cost import Assignment, Cost, Shapes, cost, shapes_of
from quant.errors import QuantError
from quant.formats import Format
from quant.graph import Graph
from quant.luts import XCUP, Family, mac_luts
from quant.operators import MOVES, Conv, Gemm
from quant.scheme import Formats, Scheme
from quant.search import Genome, Space


@dataclass(frozen=True, eq=False)
class Mixed:
    """The genes of a network.

    Gene i is `genes[i]`, a node and whether its weights (else its activation) are meant; its values index `weights` or
    `activations`, which ascend in cost. `base` has the options, the most expensive formats, and the rules for what is
    fixed. `makers` names the node whose rule each activation follows, None where its format is fixed in `fixed`.
    """

    graph: Graph
    shapes: Shapes
    base: Scheme
    weights: tuple[Format, ...]
    activations: tuple[Format, ...]
    genes: tuple[tuple[str, bool], ...]
    makers: Mapping[str, str | None]
    fixed: Assignment

    @property
    def space(self) -> Space:
        """The values of every gene."""
        sizes = {True: tuple(range(len(self.weights))), False: tuple(range(len(self.activations)))}
        return tuple(sizes[is_weight] for _, is_weight in self.genes)


def mixed(graph: Graph, options: Scheme, weights: Sequence[Format], activations: Sequence[Format]) -> Mixed:
    """Return the search space of a prepared float graph.

    Args:
        graph: prepared.
        options: its options and rules hold for every choice, its formats do not count. Nodes that its rules or `ends`
            name keep those formats.
        weights: formats each layer's weights may have.
        activations: formats each activation may have.
    """
    ordered = [tuple(sorted(dict.fromkeys(formats), key=_rank)) for formats in (weights, activations)]
    base = replace(options, formats=Formats(ordered[0][-1], ordered[1][-1]))
    resolved = resolve(base, graph)
    named = {n.name for n in graph.nodes if any(fnmatchcase(n.name, pattern) for pattern, _ in resolved.rules)}
    free = [node for node in graph.nodes if node.name not in named]
    genes = [(node.name, True) for node in free if isinstance(node.op, Conv | Gemm)]
    genes += [(node.name, False) for node in free if not isinstance(node.op, MOVES)]
    for name in (node.name for node in free):
        if ";" in name:
            raise QuantError(f"node '{name}' has a ; in its name, which no rule of a scheme can hold; rename it.")
    fixed = Assignment(
        {node.name: resolved.at(node.name).weight for node in graph.nodes if isinstance(node.op, Conv | Gemm)},
        activation_formats(graph, base),
        base.per_channel,
    )
    makers = _makers(graph, resolved, named)
    return Mixed(graph, shapes_of(graph), base, ordered[0], ordered[1], tuple(genes), makers, fixed)


def _rank(fmt: Format) -> tuple[int, float]:
    return fmt.bits, mac_luts(fmt, fmt).luts


def _makers(graph: Graph, resolved: Scheme, named: set[str]) -> dict[str, str | None]:
    first = graph.nodes[0].name
    makers: dict[str, str | None] = {graph.input: None if resolved.input_bits or first in named else first}
    if isinstance(graph.nodes[0].op, MOVES):
        makers[graph.input] = None
    for node in graph.nodes:
        own = None if node.name in named else node.name
        makers[node.output] = makers[node.inputs[0]] if isinstance(node.op, MOVES) else own
    return makers


def assignment(space: Mixed, genome: Genome) -> Assignment:
    """Return the format of every layer and activation that a genome stands for."""
    chosen = dict(zip(space.genes, genome, strict=True))
    weights = {
        name: space.weights[chosen[name, True]] if (name, True) in chosen else fmt
        for name, fmt in space.fixed.weights.items()
    }
    activations = {
        name: fmt if (maker := space.makers[name]) is None else space.activations[chosen[maker, False]]
        for name, fmt in space.fixed.activations.items()
    }
    return Assignment(weights, activations, space.fixed.per_channel)


def scheme_of(space: Mixed, genome: Genome) -> Scheme:
    """Return the scheme that a genome stands for: the commonest formats, and a rule for each node that differs."""
    chosen = assignment(space, genome)
    named = dict.fromkeys(node for node, _ in space.genes)
    outputs = {node.name: node.output for node in space.graph.nodes}
    activations = {node: chosen.activations[outputs[node]] for node in named}
    layers = [Formats(chosen.weights[node], activations[node]) for node in named if node in chosen.weights]
    base = space.base.formats
    if space.base.ends is None and layers:  # what ends stand for depends on the formats of the base
        base = max(layers, key=layers.count)
    by_node = {node: Formats(chosen.weights.get(node, base.weight), activations[node]) for node in named}
    rules = tuple((glob.escape(node), formats) for node, formats in by_node.items() if formats != base)
    return replace(space.base, formats=base, rules=(*space.base.rules, *rules))


def cost_of(space: Mixed, genome: Genome, family: Family = XCUP) -> Cost:
    """Return what a genome's network costs."""
    return cost(space.shapes, assignment(space, genome), family)


def uniform(space: Mixed) -> tuple[Genome, ...]:
    """Return the genomes that give all layers the same weights and all activations the same format."""
    return tuple(
        tuple(w if is_weight else a for _, is_weight in space.genes)
        for w in range(len(space.weights))
        for a in range(len(space.activations))
    )
