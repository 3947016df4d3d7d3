"""What the command dynamic does: judge a bundle with rules on data, and keep what was found for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from devices.dynamic_costs import kept_costs, measure_costs
from devices.dynamic_record import FILE, BoardCosts, DynamicRecord, MemoryResult, Single, to_json
from devices.measurement import Measurement
from edge import dynamic_eval
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.gates.memory import HASHES, Memory, replay
from edge.model_file import load_model, split_subnet
from edge.quantizing import check_labels, evaluate_model, is_bundle
from export.atomic import write_text
from export.bundle_read import Bundle, read_bundle
from export.dynamic import answers_from
from export.manifest import VERSION
from quant.formats import Array
from quant.graph import macs
from quant.reference import quantise_input


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked beside shares and accuracy.

    Attributes:
        count: at most so many test images; None for all.
        requested: (part, share) that parts were to answer.
        beside: models and bundles to put beside, as `edgemill eval` takes them.
        boards: on which whole inputs run.
        frames: at most so many inputs on each of them.
        memory: hash and limit of a memory before the network, or None.
    """

    count: int | None = None
    requested: tuple[tuple[str, float], ...] = ()
    beside: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    frames: int = 32
    memory: tuple[str, int] | None = None


def dynamic_record(path: Path, dataset: Dataset, wish: Wish, measurements: Sequence[Measurement] = ()) -> DynamicRecord:
    """Judge a bundle with rules on test images.

    Args:
        path: the bundle.
        dataset: whose test images are used.
        wish: what else is asked.
        measurements: of this bundle's parts, from which costs are expected.

    Raises:
        EdgeError: the bundle has no rules, or data and bundle do not go together.
        DeviceError: a board cannot run it; see `devices.dynamic_costs`.
    """
    bundle, used = read_bundle(path), _first(dataset, wish.count)
    x = _inputs(bundle, used)
    judged = dynamic_eval.judge(bundle, x, used.y_test)
    figures = dynamic_eval.part_figures(judged, dict(wish.requested))
    return DynamicRecord(
        name=bundle.manifest.name,
        bundle=bundle.digest,
        target=bundle.manifest.target,
        data=dataset.name,
        executed_by="integer reference",
        version=VERSION,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        images=len(x),
        accuracy=judged.accuracy,
        dropped=dynamic_eval.dropped(judged.answers),
        macs=judged.macs,
        every_macs=sum(part.macs for part in figures),
        parts=figures,
        sweeps=dynamic_eval.sweeps(judged),
        singles=tuple(_single(model, used) for model in wish.beside),
        memory=None if wish.memory is None else _remembered(judged, used, *wish.memory),
        costs=(*_costs(bundle, x, judged, wish), *(kept_costs(bundle, measurements) if measurements else ())),
    )


def write_record(found: DynamicRecord, folder: Path) -> Path:
    """Write a record into a folder, which is made when it is not there; returns the file.

    Raises:
        EdgeError: the folder cannot be made.
        ExportError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeError(f"the folder {folder} cannot be made: {error.strerror}. Choose another one with -o.") from error
    write_text(folder / FILE, to_json(found))
    return folder / FILE


def _first(dataset: Dataset, count: int | None) -> Dataset:
    return replace(dataset, x_test=dataset.x_test[:count], y_test=dataset.y_test[:count])


def _inputs(bundle: Bundle, dataset: Dataset) -> Array:
    check_labels(bundle.manifest.labels, dataset)
    first = bundle.parts[0].graph
    return bundle.manifest.preprocess.input_for(dataset.x_test, first.shape(first.input))


def _single(model: str, dataset: Dataset) -> Single:
    found = evaluate_model(model, dataset, None, None)
    return Single(Path(model).name, _macs(model, dataset), found.accuracy)


def _macs(model: str, dataset: Dataset) -> int:
    """Return the multiply-accumulates of a model or a bundle, all of its parts."""
    if is_bundle(model):
        return sum(part.record.macs for part in read_bundle(Path(split_subnet(model)[0])).parts)
    return sum(macs(load_model(model, None, dataset.preprocess.shape)).values())


def _remembered(judged: dynamic_eval.Judged, dataset: Dataset, kind: str, limit: int) -> MemoryResult:
    hashes = dict(HASHES)
    if kind not in hashes:
        raise EdgeError(f"a memory remembers by {', '.join(hashes)}, not '{kind}'.")
    answer = judged.answers.label
    figures, answers = replay(Memory(hashes[kind], limit), list(dataset.x_test), lambda i: int(answer[i]))
    accuracy = float((np.array(answers) == judged.labels).mean())
    return MemoryResult(kind, limit, figures.inputs, figures.hit_rate, figures.false_hit_rate, accuracy)


def _costs(bundle: Bundle, x: Array, judged: dynamic_eval.Judged, wish: Wish) -> tuple[BoardCosts, ...]:
    first = bundle.parts[0].graph
    codes = quantise_input(first.quant(first.input), x[: wish.frames])
    answers = answers_from(judged.manifest, tuple(output[: wish.frames] for output in judged.outputs))
    return tuple(measure_costs(bundle, name, codes, answers) for name in wish.boards)
