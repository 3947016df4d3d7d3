"""The network and the judge of the filter benchmark, trained once per seed and kept as files."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.kept import kept
from edge.dataset import Dataset
from edge.models import judge, strided
from edge.models.strided import Layer
from edge.recipes import cross_entropy
from edge.recipes.filter import train_filter
from edge.train import Schedule, train

#: T-shirt, pullover, coat and shirt are not interesting; all others are.
INTERESTING = (1, 3, 5, 7, 8, 9)
#: Training images that no network is trained on: they choose epoch and threshold.
HELD_OUT = 5000
#: The stem is the first layer: 4 channels of 14 x 14, as many bytes as the image, and all that the judge sees.
LAYERS = (Layer(4, 2), Layer(32, 2), Layer(64), Layer(64, 2))
STEM_CHANNELS = LAYERS[0].width
#: Dotted path of the module after which the head ends.
CUT = "layers.0"
BACKBONE = Schedule(epochs=5, batch=128, rate=0.3)
#: Peak rates: the better of two after 2 epochs on 10,000 training images, judged on the held-out ones.
JUDGE = Schedule(epochs=5, batch=128, rate=0.3)


def backbone(work: Path, held_out: Dataset, seed: int) -> Any:
    """Return the trained classifier."""
    module = strided.build(1, len(held_out.labels), LAYERS, seed=seed)
    schedule = replace(BACKBONE, seed=seed)
    settings = {**asdict(schedule), "layers": [asdict(layer) for layer in LAYERS]}

    def work_on() -> dict[str, float]:
        return {"held_out_accuracy": train(module, held_out, cross_entropy.RECIPE, schedule, False)}

    kept(work / f"backbone-{seed}.npz", module, settings, work_on)
    return module


def trained_judge(work: Path, stem: nn.Module, held_out: Dataset, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return the trained judge, and the record of its training."""
    module, schedule = judge.build(STEM_CHANNELS, seed=seed), replace(JUDGE, seed=seed)

    def work_on() -> dict[str, Any]:
        found = train_filter(stem, module, held_out, INTERESTING, schedule, False)
        return {"roc_auc_by_epoch": [round(area, 5) for area in found.areas], "epoch": found.kept}

    settings = {**asdict(schedule), "interesting": list(INTERESTING)}
    return module, kept(work / f"judge-{seed}.npz", module, settings, work_on)
