"""Part folders as a bundle holds them, for tests that run one without writing a whole bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from devices.plan import Plan
from export.target import Source, Target
from quant import graph_file, reference
from quant.graph import Graph
from quant.program import lower
from tests.toys import random_codes, toy_graph

DIGEST = "0123456789abcdef" * 4


def write_part(folder: Path, target: Target | None, name: str = "toy", graph: Graph | None = None) -> Path:
    """Write graph, test vectors and, with a target, its files into a new folder."""
    graph = toy_graph() if graph is None else graph
    inputs = random_codes(graph, 4)
    outputs = reference.run(lower(graph), inputs)[graph.output]
    folder.mkdir(parents=True)
    graph_file.save(graph, folder / "graph.graph")
    np.savez(folder / "vectors.npz", inputs=inputs, outputs=outputs)
    if target is not None:
        target.write(Source(name, graph, inputs, outputs), folder)
    return folder


def short_plan(folder: Path, board: str, target: str, **changes: float) -> Plan:
    """A plan that takes a fraction of a second."""
    plan = {"windows": 3, "window_s": 0.01, "warmup_s": 0.01, "images": 2, "limit_s": 60.0, **changes}
    return Plan(
        bundle=DIGEST,
        part="toy",
        folder=folder,
        target=target,
        board=board,
        windows=int(plan["windows"]),
        window_s=plan["window_s"],
        warmup_s=plan["warmup_s"],
        images=int(plan["images"]),
        limit_s=plan["limit_s"],
    )
