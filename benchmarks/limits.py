"""Equalisation across ReLU6 on EfficientNet-Lite0: does the float function stay, and what do quantised networks gain?

    python -m benchmarks.limits --data DATA

Executed by the float emulation (`quant.simulate`): the figures compare methods with one another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.networks import efficientnet
from benchmarks.results import environment, write_results
from quant.formats import Array
from quant.graph import Graph
from quant.judge import agreement, flat, relative_error
from quant.method import apply_method, parse_method, reshape
from quant.onnx_import import load_onnx
from quant.presets import minima
from quant.ptq import prepare
from quant.scheme import parse_scheme
from quant.simulate import simulate

SHAPES = ("cle", "smooth", "cle+smooth")
#: Schemes and the methods compared on each; per channel, a weight's channels have scales of their own anyway.
CASES = (
    ("w8a8-pt", ("plain", "cle", "smooth", "bias", "cle+bias", "smooth+bias", "cle+smooth+bias")),
    ("w6a8-pt", ("bias", "cle+bias")),
    ("w8a8", ("bias", "cle+bias")),
)


def main() -> None:
    """Measure, print and write `results/limits.*`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with imagenet/")
    started = environment()
    network = efficientnet(parser.parse_args().data)
    graph = prepare(load_onnx(network.path))
    wanted = simulate(graph, network.test)
    shapes = [_shape(graph, name, network.calibration, network.test, wanted) for name in SHAPES]
    cases = [(scheme, method) for scheme, methods in CASES for method in methods]
    rows = [_case(graph, *case, (network.calibration, network.test, network.labels), wanted) for case in cases]
    accuracy = float((wanted.argmax(axis=1) == network.labels).mean())
    record = {"environment": started, "note": network.note, "float_accuracy": accuracy, "float": shapes, "rows": rows}
    write_results("limits", record, _table(network.note, accuracy, shapes, rows))


def _shape(graph: Graph, name: str, calibration: Array, test: Array, wanted: Array) -> dict[str, object]:
    shaped = reshape(graph, parse_method(name), calibration)
    apart = float(np.abs(simulate(shaped, test) - wanted).max())
    top = float(np.abs(wanted).max())
    print(f"{name}: float logits move by at most {apart:.2g} of {top:.3g}", flush=True)
    return {"passes": name, "minima": minima(shaped), "largest_difference": apart, "largest_logit": top}


def _case(graph: Graph, scheme: str, method: str, data: tuple[Array, Array, Array], wanted: Array) -> dict[str, object]:
    calibration, test, labels = data
    made = apply_method(graph, parse_scheme(scheme), parse_method(method), calibration)
    found = simulate(made, test)
    row = {
        "scheme": scheme,
        "passes": method,
        "logit_error": relative_error(flat(wanted), flat(found)),
        "agreement": agreement(flat(wanted), flat(found)),
        "accuracy": float((found.argmax(axis=1) == labels).mean()),
    }
    print(row, flush=True)
    return row


def _table(note: str, accuracy: float, shapes: list[dict[str, object]], rows: list[dict[str, object]]) -> str:
    lines = [
        "# Equalisation across ReLU6: EfficientNet-Lite0",
        "",
        f"{note}. Executed by the float emulation. Float accuracy {accuracy:.1%}.",
        "",
        "| passes | operators more (Minimum) | float logits move by at most | largest logit |",
        "|---|---|---|---|",
        *(
            f"| {row['passes']} | {row['minima']} | {row['largest_difference']:.1e} | {row['largest_logit']:.1f} |"
            for row in shapes
        ),
        "",
        "| scheme | passes | logit error | labels as float | accuracy |",
        "|---|---|---|---|---|",
        *(
            f"| {row['scheme']} | {row['passes']} | {row['logit_error']:.2%} | {row['agreement']:.1%} "
            f"| {row['accuracy']:.1%} |"
            for row in rows
        ),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
