"""The readable form of the elastic benchmark's results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Points that an elastic network may lose against a network trained alone, and the least Kendall's tau.
LIMITS = {"8": 0.5, "4": 1.5, "3": 4.0}
LEAST_TAU = 0.7


def markdown(record: Mapping[str, Any]) -> str:
    """Return the page."""
    epochs, images, widths = record["epochs"], record["images"], record["widths"]
    lines = [
        "# One elastic network for all widths",
        "",
        f"Fashion-MNIST, all {images['test']} test images, top-1 in percent. Trained on {images['train']} images; the "
        f"other {images['held_out']}",
        "training images score subnets for the predictor and the search. All quantised networks start from the same "
        "float network",
        f"({epochs['float']} epochs) and train {epochs['quantised']} epochs with the same quantiser, rate and batches; "
        "a step of the elastic one",
        "trains five subnets. One seed. First and last layer have 8 bits throughout.",
        "",
        f"Float: {_percent(widths['float'])}.",
        "",
        "| bits | elastic network | trained alone | elastic - alone, points | allowed loss |",
        "|---|---|---|---|---|",
        *(_width(bits, widths) for bits in sorted(widths["elastic"], key=int, reverse=True)),
        "",
        _held_out(widths["held_out"], images["held_out"]),
        "",
        *_kurtosis(widths["kurtosis"]),
        "",
        *_predictor(record["predictor"], record["search"]),
        "",
        *_file(record["file"]),
    ]
    return "\n".join([*lines, ""])


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _width(bits: str, widths: Mapping[str, Any]) -> str:
    elastic, alone = widths["elastic"][bits], widths["alone"].get(bits)
    if alone is None:
        return f"| {bits} | {_percent(elastic)} | not trained | | |"
    change = round(100 * (elastic - alone), 2)
    verdict = "held" if change >= -LIMITS[bits] else "NOT held"
    return f"| {bits} | {_percent(elastic)} | {_percent(alone)} | {change:+.2f} | {LIMITS[bits]} ({verdict}) |"


def _held_out(widths: Mapping[str, Any], images: int) -> str:
    """Return the same comparison on the held-out images: how far the difference is a matter of chance."""
    changes = (f"{bits} bits {100 * (widths['elastic'][bits] - widths['alone'][bits]):+.2f}" for bits in LIMITS)
    return f"Elastic - alone on the {images} held-out images, in points: {', '.join(changes)}."


def _kurtosis(kurtosis: Mapping[str, float]) -> list[str]:
    values = ", ".join(f"{name} {value:.2f}" for name, value in kurtosis.items())
    return [f"Mean kurtosis of the elastic layers' weights (1.8 is uniform): {values}."]


def _predictor(predictor: Mapping[str, Any], search: Mapping[str, Any]) -> list[str]:
    tau = predictor["kendall_tau"]
    verdict = "held" if tau >= LEAST_TAU else "NOT held"
    gain = 100 * (search["accuracy"] - search["uniform_accuracy"])
    return [
        f"Predictor, trained on {predictor['trained_on']} subnets: Kendall's tau {tau:.3f} on {predictor['held_out']} "
        f"others (wanted: {LEAST_TAU}; {verdict}).",
        "",
        f"Evolved within 4 mean bits of weights and of activations: `{search['subnet']}` with "
        f"{search['mean_weight_bits']:.2f} and {search['mean_activation_bits']:.2f} bits,",
        f"{_percent(search['accuracy'])} beside {_percent(search['uniform_accuracy'])} of the uniform `w4a4` "
        f"({gain:+.2f} points).",
    ]


def _file(file: Mapping[str, Any]) -> list[str]:
    lines = [
        f"One `.elastic` file with {file['subnets']} subnets has {file['elastic_bytes']:,} bytes; a graph file for "
        f"each of them would be {file['graphs_bytes']:,} bytes.",
        f"Accuracy on the first {file['reference_images']} test images, the integer reference run on graphs from the "
        "file, and torch:",
        "",
        "| subnet | reference | torch |",
        "|---|---|---|",
    ]
    rows = (f"| `{n}` | {_percent(r['reference'])} | {_percent(r['torch'])} |" for n, r in file["accuracy"].items())
    return [*lines, *rows]
