"""Choose seeds of random networks that together use every C kernel, for tests that have time for few networks.

python -m benchmarks.covering --count 20 --among 400
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest.mock import patch

from benchmarks.random_layers import Space
from benchmarks.random_networks import of_seed, space_of
from export.arm_m import TARGET
from export.c99 import emit
from export.c99.template import kernel_text
from quant.graph import Graph
from quant.program import lower

#: Kernels of integer networks. Those of binary ones have networks and tests of their own.
KERNELS = frozenset(
    path.stem for path in (Path(emit.__file__).parent / "kernels").glob("*.c") if not path.stem.startswith("binary_")
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--among", type=int, default=400, help="seeds to choose from")
    args = parser.parse_args()
    chosen, missing = choose(space_of(TARGET.capability), args.count, args.among)
    print(f"seeds {chosen}; kernels without a network: {', '.join(sorted(missing)) or 'none'}")


def choose(space: Space, count: int, among: int) -> tuple[tuple[int, ...], frozenset[str]]:
    """Return `count` of the first `among` seeds, those that add most kernels first, and the kernels of none of them."""
    found = {seed: kernels(of_seed(space, seed).graph) for seed in range(among)}
    chosen: list[int] = []
    missing = KERNELS
    for _ in range(count):
        rest = [seed for seed in found if seed not in chosen]
        best = max(rest, key=lambda seed: len(found[seed] & missing))
        chosen.append(best)
        missing -= found[best]
    return tuple(chosen), missing


def kernels(graph: Graph) -> frozenset[str]:
    """Return the names of the templates that the C of a graph is made of."""
    with patch.object(emit, "kernel_text", wraps=kernel_text) as printed:
        emit.emit(lower(graph), "net")
    return frozenset(call.args[0].template for call in printed.call_args_list)


if __name__ == "__main__":
    main()
