"""MODELs of the command line as networks to cut: quantised ones as they are, float ones quantised first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge.dataset import Dataset
from edge.model_file import load_model, split_subnet
from edge.quantizing import How, quantise_model
from edge.splitting.job import Network
from quant.graph import Graph
from quant.ptq import prepare
from quant.scheme import parse_scheme


def load_networks(
    models: Sequence[str], weights: Path | None, dataset: Dataset, scheme: str, say: Callable[[str], None]
) -> tuple[Network, ...]:
    """Load models; `say` is told which ones were quantised, and how.

    Args:
        models: as `edge.model_file.load_model` takes them.
        weights: of factories.
        dataset: calibrates, and shows the input's shape of a factory.
        scheme: of float models.
        say: told in words.
    """
    return tuple(_network(model, weights, dataset, scheme, say) for model in models)


def _network(model: str, weights: Path | None, dataset: Dataset, scheme: str, say: Callable[[str], None]) -> Network:
    graph, name = load_model(model, weights, dataset.preprocess.shape), name_of(model)
    if not graph.is_quantised:
        choice = quantise_model(graph, How(parse_scheme(scheme), "fast"), dataset)
        say(f"{name}: a float model, quantised to {choice.scheme} with passes {choice.method}")
        graph = choice.graph
    return Network(name, replace(graph, name=name))


def load_any(model: str, weights: Path | None, shape: tuple[int, int, int] | None) -> Graph:
    """Load a model, float or quantised, to look at its cut points: those that it has when it is quantised."""
    graph = load_model(model, weights, shape)
    return replace(graph if graph.is_quantised else prepare(graph), name=name_of(model))


def name_of(model: str) -> str:
    """Return what tables call a MODEL: its file without folder and ending, or the name of its factory."""
    file, subnet = split_subnet(model)
    stem = Path(file.rpartition(":")[2]).stem
    return f"{stem}@{subnet}" if subnet else stem
