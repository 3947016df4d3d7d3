"""The search: every cut of every network in every format of the link, with accuracy, costs, front and break-even rates.

Cuts, accuracies and costs are stages that are kept in the folder: a second call goes on where the first one stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.runtimes import missing
from edge import evaluate
from edge.errors import EdgeError
from edge.exporting import choose_vectors, halves, whole
from edge.link.requantise import link_tensor, with_link
from edge.run_folder import hold
from edge.splitting.accuracy import cut_stage, whole_stage
from edge.splitting.choices import choice, input_bytes, record_of, split_choice
from edge.splitting.costs import Costs, cost_stage, instruction_rate, slug
from edge.splitting.job import Network, SplitJob, bare
from edge.splitting.points import Point, points
from edge.splitting.record import FILE, Choice, SplitRecord, to_record
from edge.stages import Stages, code_digest
from export.atomic import write_text
from export.strict_json import canonical
from quant.formats import Array
from quant.graph import Graph, Quant

#: Test vectors of each bundle that is measured.
VECTORS = 8

Tell = Callable[[str, int, int], None]
Found = tuple[list[Choice], list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cut of one network that is worth a try."""

    network: Network
    point: Point

    @property
    def title(self) -> str:
        """Its name in the folder; different tensors have different ones."""
        mark = hashlib.sha256(self.point.tensor.encode()).hexdigest()[:6]
        return f"{slug(self.network.name)}-{slug(self.point.tensor)[-40:]}-{mark}"


def search(job: SplitJob, folder: Path, tell: Tell, code: str | None = None) -> SplitRecord:
    """Search, write `split.json` into the folder and return the record.

    Args:
        job: what is asked.
        folder: made when it is not there; keeps what was found so far, and the bundles of all choices.
        tell: is told (what, done, total).
        code: digest of the project's own sources; tests give one.

    Raises:
        EdgeError: a board cannot be used, a network has no cut that is asked for, data does not fit, or another
            process works in the folder.
    """
    _check(job)
    candidates, left_out = candidates_of(job)
    total = 1 + len(candidates) * (1 + len(job.formats))
    with hold(folder):
        stages = Stages(folder, lambda _line: None, code or code_digest())
        tell("whole network", 0, total)
        choices, refused = _whole(stages, job)
        done = 1
        for candidate in candidates:
            for step, found in enumerate(_split(stages, job, candidate, choices)):
                tell(candidate.title, done + step, total)
                choices, refused = [*choices, *found[0]], [*refused, *found[1]]
            done += 1 + len(job.formats)
        record = record_of(job, choices, (*left_out, *refused))
        write_text(folder / FILE, canonical(to_record(record)).decode())
    return record


def _check(job: SplitJob) -> None:
    for side in (job.device, job.server):
        board = bare(side)
        reason = missing(board) if side is board else None
        if reason is not None:
            raise EdgeError(f"board '{board.name}' cannot be used here: {reason}.")
    instruction_rate(bare(job.device), job.mips)
    if "latency" not in bare(job.server).metrics:
        raise EdgeError(f"a server's time must be measured; board '{bare(job.server).name}' gives none. Use host.")
    for network in (*job.networks, job.whole):
        if not network.graph.is_quantised:
            raise EdgeError(f"'{network.name}' is a float network; quantise it first.")
        evaluate.check_classes(network.graph, job.dataset)


def candidates_of(job: SplitJob) -> tuple[tuple[Candidate, ...], tuple[tuple[str, str], ...]]:
    """Return the cuts to try, and (name, reason) of those that are not.

    Raises:
        EdgeError: a tensor that was asked for is no cut point, or no cut is left.
    """
    kept, left, known = [], [], []
    for network in job.networks:
        seen: set[tuple[int, int]] = set()
        for point in points(network.graph, job.formats):
            known.append(point.tensor)
            same = (point.macs_before, point.wire_bytes[0][1])
            reason = _unwanted(job, point, again=same in seen)
            seen.add(same)
            if reason is None:
                kept.append(Candidate(network, point))
            else:
                left.append((f"{network.name} at {point.tensor}", reason))
    unknown = sorted(set(job.tensors) - set(known))
    if unknown:
        raise EdgeError(f"'{unknown[0]}' is no cut point; there are {', '.join(dict.fromkeys(known))}.")
    if not kept:
        raise EdgeError(f"no cut is left to try: {'; '.join(f'{name}: {why}' for name, why in left)}.")
    return tuple(kept), tuple(left)


def _unwanted(job: SplitJob, point: Point, *, again: bool) -> str | None:
    """Return why a cut is not tried, or None."""
    if job.tensors:
        return None if point.tensor in job.tensors else "not among the cuts asked for"
    if job.channels and point.shape[1] not in job.channels:
        return f"{point.shape[1]} channels were not asked for"
    if again:
        return "sends as much as an earlier cut behind the same multiply-accumulates"
    least = min(size for _, size in point.wire_bytes)
    if not job.every and least >= input_bytes(job):
        return f"sends no less than the input ({input_bytes(job)} bytes) in any format"
    return None


def _facts(job: SplitJob) -> dict[str, object]:
    """Return what accuracies depend on, beside the network."""
    dataset = job.dataset
    data = hashlib.sha256()
    for array in (dataset.x_train, dataset.x_test, dataset.y_test):
        data.update(np.ascontiguousarray(array).tobytes())
    return {
        "data": data.hexdigest(),
        "preprocess": dataset.preprocess.to_record(),
        "images": job.images,
        "calibration": job.calibration,
        "seed": job.seed,
    }


def _whole(stages: Stages, job: SplitJob) -> Found:
    """Return the whole network on the device and on the server; what the device refuses has no local way."""
    network = job.whole
    accuracy = whole_stage(stages, job, network, _facts(job))
    title = f"{slug(network.name)}-whole"
    device, server = cost_stage(
        stages, job, title, network.graph, lambda: whole(network.graph, _vectors(job, network.graph))
    )
    if isinstance(server, str):
        raise EdgeError(f"'{network.name}' does not run whole on {bare(job.server).name}: {server}")
    remote = choice(job, "remote", network.name, accuracy, input_bytes(job), (None, server))
    if isinstance(device, str):
        return [remote], [(f"local: {network.name}", device)]
    return [choice(job, "local", network.name, accuracy, 0, (device, None)), remote], []


def _split(stages: Stages, job: SplitJob, candidate: Candidate, known: list[Choice]) -> Iterator[Found]:
    """Yield the choices of one cut: first an empty one when accuracies are there, then one for each format."""
    network, point = candidate.network, candidate.point
    formats = cut_stage(stages, job, network, point.tensor, candidate.title, _facts(job))
    yield [], []
    for name, found in formats.items():
        title = f"{network.name} at {point.tensor}, {name}"
        device, server = (found, found) if isinstance(found, str) else _costs(stages, job, candidate, found[0])
        refused = next((side for side in (device, server) if isinstance(side, str)), None)
        if isinstance(found, str) or isinstance(device, str) or isinstance(server, str):
            yield [], [(title, str(refused))]
            continue
        yield [split_choice(job, network.name, point, name, found[1], (device, server), known)], []


def _costs(stages: Stages, job: SplitJob, candidate: Candidate, link: Quant) -> Costs:
    changed = with_link(candidate.network.graph, candidate.point.tensor, link)
    tensor = link_tensor(changed, candidate.point.tensor)
    title = f"{candidate.title}-{link.format.name}"
    return cost_stage(stages, job, title, changed, lambda: halves(changed, _vectors(job, changed), tensor))


def _vectors(job: SplitJob, graph: Graph) -> Array:
    """Return inputs for test vectors, labels taking turns."""
    x = evaluate.inputs_of(graph, job.dataset, job.dataset.x_test[: 8 * VECTORS])
    return np.asarray(x[choose_vectors(evaluate.quantised_labels(graph, x), VECTORS)])
