"""From two models, float or quantised, to the bundle of a cascade: quantised on the same images, with its threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edge.calibration import calibration_inputs
from edge.dataset import Dataset, with_held_out
from edge.exporting import fitted, scheme_for
from edge.gates.cascade_bundle import Cascade, Wish, cascade_spec
from edge.quantizing import How, quantise_model, scheme_of
from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.manifest import tensor_spec
from export.target import Source, Target
from quant.graph import Graph
from quant.presets import quantise_with
from quant.ptq import prepare


@dataclass(frozen=True, eq=False, kw_only=True)
class CascadeJob:
    """What a cascade is made of: how float models are quantised, and what it is to do.

    `held_out` is how many training images, the last ones, choose temperatures and the threshold; `name` is the
    bundle's.
    """

    how: How
    wish: Wish
    held_out: int = 5000
    name: str = "cascade"


def write_cascade(
    path: Path, models: tuple[Graph, Graph], dataset: Dataset, job: CascadeJob, target: Target, *, overwrite: bool
) -> tuple[Bundle, Cascade]:
    """Quantise what is float, choose temperatures and threshold on held-out images, and write the bundle.

    Args:
        path: the bundle's folder.
        models: the first is asked for every image, the second where that one is not sure; float or quantised.
        dataset: raw images; the last `job.held_out` training images must have trained neither network.
        job: scheme and wish.
        target: what the bundle is for.
        overwrite: whether a bundle at `path` is replaced.

    Raises:
        EdgeError: the networks do not go together, or no threshold does what is wished.
        ExportError: the target cannot express a network or decide by the score.
    """
    training, held_out = with_held_out(dataset, job.held_out)
    how = replace(job.how, scheme=scheme_for(target, job.how.scheme))
    first, second = quantise_pair(models, how, training)
    made = cascade_spec(first, second, held_out, job.wish, name=job.name, scheme=scheme_of(first))
    pairs = zip(made.spec.parts, models, strict=True)
    parts = tuple(fitted(_with_float(part, model), target) for part, model in pairs)
    return write_bundle(path, replace(made.spec, parts=parts), target, overwrite=overwrite), made


def quantise_pair(models: tuple[Graph, Graph], how: How, training: Dataset) -> tuple[Graph, Graph]:
    """Quantise what is float of two networks that are to read the very same codes.

    Presets may find that other ranges suit the second network better. Its input must have the first one's, so it is
    then quantised once more by the first one's scheme.

    Args:
        models: float or quantised; what is quantised stays as it is.
        how: scheme and preset.
        training: its training images calibrate.
    """
    first, second = models
    scheme = how.scheme
    if not first.is_quantised:
        choice = quantise_model(first, how, training)
        first, scheme = choice.graph, choice.scheme
    if second.is_quantised:
        return first, second
    other = quantise_model(second, how, training)
    if tensor_spec(first, first.input) != tensor_spec(other.graph, other.graph.input):
        inputs = calibration_inputs(second, training, how.count, how.seed)
        other = quantise_with(prepare(second), scheme, other.method, inputs)
    return first, other.graph


def _with_float(part: Source, model: Graph) -> Source:
    """Return a part with its float network, for targets that write it, where the model was one."""
    return part if model.is_quantised else replace(part, float_graph=prepare(model))
