"""The first stage of a run: train one of the models, or take the user's ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.config import Config
from edge.dataset import Dataset
from edge.models import models
from edge.onnx_file import CUT_TENSOR, to_onnx
from edge.recipes.recipes import find_recipe
from edge.train import Schedule, train
from edge.weights import save_weights
from export.atomic import write_file
from quant.onnx_import import load_onnx


def obtain_model(config: Config, dataset: Dataset, path: Path, show: bool) -> dict[str, Any]:
    """Leave the float model at `path`.

    Returns:
        `model` (its name), `parameters`, and `cut`, the tensor that ends the head, or None.
    """
    if config.model.onnx:
        return _take_file(config, path)
    return _train(config, dataset, path, show)


def _take_file(config: Config, path: Path) -> dict[str, Any]:
    source = Path(config.model.onnx or "")
    graph = load_onnx(source)
    write_file(path, source.read_bytes())
    count = sum(weight.size for weight in graph.weights.values())
    return {"model": source.stem, "parameters": int(count), "cut": config.model.cut or None}


def _train(config: Config, dataset: Dataset, path: Path, show: bool) -> dict[str, Any]:
    model = models.find_model(config.model.name)
    shape = dataset.preprocess.shape
    module = models.build(
        model,
        shape,
        len(dataset.labels),
        seed=config.run.seed,
        width=config.model.width,
        blocks=config.model.blocks,
    )
    settings = config.train
    schedule = Schedule(epochs=settings.epochs, batch=settings.batch, rate=settings.rate, seed=config.run.seed)
    train(module, dataset, find_recipe(settings.recipe), schedule, show)
    save_weights(module, path.with_name("weights.npz"))
    to_onnx(module, shape, path, config.model.cut or model.cut)
    count = sum(parameter.numel() for parameter in module.parameters())
    return {"model": model.name, "parameters": int(count), "cut": CUT_TENSOR}
