"""What the diagnosis finds on real networks, and what its cures gain on test images that no cure has seen.

python -m benchmarks.diagnose --data FOLDER
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import Network, efficientnet, keyword_spotting, resnet8, resnet20
from benchmarks.results import environment, write_results
from quant.diagnose import Labelled, diagnose
from quant.diagnosis.record import Diagnosis, to_json
from quant.diagnosis.summary import title_of
from quant.onnx_import import load_onnx
from quant.scheme import parse_scheme

#: Networks, schemes, calibration images.
CASES = (
    (resnet20, ("w8a8", "w4a8", "w4a4"), 64),
    (resnet8, ("w8a8", "w4a8", "w4a4"), 64),
    (keyword_spotting, ("w8a8", "w4a8"), 64),
    (efficientnet, ("w8a8", "w6a8"), 16),
)
#: Causes and layers that the table shows of one network.
SHOWN = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    results = []
    for make, schemes, images in CASES:
        network = make(options.data)
        for scheme in schemes:
            begin = time.perf_counter()
            found = _diagnose(network, scheme, images)
            seconds = round(time.perf_counter() - begin, 1)
            results.append((network, found, seconds))
            print(network.name, scheme, seconds, found.summary, flush=True)
    record = {
        "environment": environment(),
        "threads": options.threads,
        "results": [{**compact(to_json(found)), "network": n.name, "wall_s": s} for n, found, s in results],
    }
    write_results("diagnose", record, _table(results))


def compact(found: dict[str, Any]) -> dict[str, object]:
    """Keep of a diagnosis' JSON what the page rests on: scores, causes with their numbers, cures."""
    layers = [
        {"layer": layer["layer"], "share": layer["share"], "cause": cause["cause"], "numbers": cause["numbers"]}
        for layer in found["layers"]
        for cause in layer["causes"]
    ]
    keys = ("cause", "cure", "layers", "scheme", "passes", "score", "gain_db", "helped", "refused")
    cures = [{key: cure[key] for key in keys} for cure in found["cures"]]
    kept = ("scheme", "images", "test_images", "healthy", "float_accuracy", "score")
    return {**{key: found[key] for key in kept}, "causes": layers, "cures": cures}


def _diagnose(network: Network, scheme: str, images: int) -> Diagnosis:
    drawn = np.random.default_rng(0).permutation(len(network.calibration))[:images]
    test = Labelled(network.test, network.labels)
    return diagnose(load_onnx(network.path), parse_scheme(scheme), network.calibration[drawn], test)


def _table(results: list[tuple[Network, Diagnosis, float]]) -> str:
    lines = [
        "# What the diagnosis finds, and what its cures gain",
        "",
        "`edgemill diagnose` on 64 calibration images (EfficientNet: 16). SQNR and kept labels are those of the",
        "logits on these images; accuracies come from test images that no cure has seen, by float emulation. Time: all",
        "of it, cures and accuracies included. Behind a layer: its share of all noise that reaches the logits.",
        "",
        "| network | scheme | float | quantised | SQNR | labels kept | worst layers and causes | time |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(*result) for result in results),
        "",
        "| network | scheme | for | cure | as scheme | passes | SQNR | labels kept | accuracy | gain |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(line for result in results for line in _cures(result[0].name, result[1])),
        "",
        "Calibration images are drawn from those of `benchmarks/networks.py` by seed 0. CIFAR networks are tested on",
        "the 466 exact test images, the keyword network on its 250 odd inputs, EfficientNet on 100 photographs that",
        "are most likely training images, so that only its differences count. How busy the machine was is in the JSON.",
        "",
    ]
    return "\n".join(lines)


def _line(network: Network, found: Diagnosis, seconds: float) -> str:
    causes = [
        f"`{row.facts.name}` {row.facts.share:.0%}, {', '.join(title_of(f.cause) for f in row.findings)}"
        for row in found.rows
        if row.findings
    ]
    why = "; ".join(causes[:SHOWN]) or "nothing is wrong"
    score = found.score
    return (
        f"| {network.name} | {found.scheme} | {_percent(found.float_accuracy)} | {_percent(score.accuracy)} | "
        f"{score.sqnr_db:.1f} dB | {score.agreement:.1%} | {why} | {seconds:.0f} s |"
    )


def _cures(name: str, found: Diagnosis) -> list[str]:
    lines = []
    for trial in found.trials:
        if trial.score is None or trial.score.accuracy is None or found.score.accuracy is None:
            lines.append(f"| {name} | {found.scheme} | {title_of(trial.cause)} | {trial.cure} | refused |")
            continue
        gain = 100 * (trial.score.accuracy - found.score.accuracy)
        scheme = f"`{trial.scheme}`" if len(trial.scheme) < 40 else "as before, with rules for these layers"
        begin = f"| {name} | {found.scheme} | {title_of(trial.cause)} | {trial.cure} | {scheme} "
        score = f"{trial.score.sqnr_db:.1f} dB | {trial.score.agreement:.1%} | {_percent(trial.score.accuracy)}"
        lines.append(f"{begin}| `{trial.passes}` | {score} | {gain:+.1f} |")
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


if __name__ == "__main__":
    main()
