"""The scheme that a graph quantised elsewhere follows most closely, so that cures can be tried on its float form."""

from __future__ import annotations

from collections import Counter

from quant.diagnosis.cures import name_pattern
from quant.diagnosis.pair import Match, Pair
from quant.formats import Format
from quant.operators import MOVES
from quant.scheme import Formats, Scheme


def scheme_of(pair: Pair) -> Scheme:
    """Return the formats most layers have, rules for the others, granularity and symmetry."""
    graph = pair.quantised
    weights = {match.node.name: graph.quant(match.main.inputs[1]) for match in pair.matches if _weighted(pair, match)}
    outputs = {m.node.name: graph.quant(m.output) for m in pair.matches if not isinstance(m.node.op, MOVES)}
    usual = Formats(_commonest([q.format for q in weights.values()]), _commonest([q.format for q in outputs.values()]))
    rules = []
    for match in pair.matches:
        name = match.node.name
        weight = weights[name].format if name in weights else usual.weight
        activation = outputs[name].format if name in outputs else usual.activation
        if Formats(weight, activation) != usual:
            rules.append((name_pattern(name), Formats(weight, activation)))
    single = [len(set(quant.scale)) == 1 for quant in weights.values()]
    signed = all(fmt.signed for fmt in (usual.activation, *(formats.activation for _, formats in rules)))
    symmetric = signed and all(quant.zero == 0 for quant in outputs.values())
    return Scheme(usual, per_channel=sum(single) * 2 <= len(single), symmetric=symmetric, rules=tuple(rules))


def _weighted(pair: Pair, match: Match) -> bool:
    return len(match.node.inputs) > 1 and match.node.inputs[1] in pair.floating.weights


def _commonest(formats: list[Format]) -> Format:
    return Counter(formats).most_common(1)[0][0]
