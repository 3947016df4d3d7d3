"""From a stored binary network and data to its bundle, and what verify does with that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from devices.emulators.binary import RUNTIMES as EMULATED
from devices.runtimes import runtimes_for
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.evaluate import named_outputs
from edge.exporting import choose_vectors
from edge.quantizing import ExportJob
from export.binary_bundle import TARGET, BinaryBundle, BinarySpec, write_binary
from export.binary_parity import BinaryRuntime
from export.runtimes.c_binary import RUNTIME as C_HOST
from export.target import Target
from quant.binary_file import load
from quant.binary_net import BinaryNetwork, run
from quant.formats import Array
from quant.names import find

RUNTIMES: tuple[BinaryRuntime, ...] = (C_HOST, *EMULATED)


def export_binary(job: ExportJob, targets: Sequence[Target], output: Path, *, overwrite: bool) -> BinaryBundle:
    """Write the bundle of a binary network (`FILE.bnn`) for arm-m.

    Raises:
        EdgeError: another target, an option that needs a graph, no such file, or data that does not fit.
        ExportError: the folder cannot be written.
        QuantError: the file is damaged.
    """
    _check_job(job, targets)
    network = load(Path(job.model))
    labels = named_outputs(len(network.bias), job.dataset)
    inputs = _vectors(job, network)
    spec = BinarySpec(job.name or network.name, network, inputs, job.dataset.preprocess, labels)
    return write_binary(output, spec, overwrite=overwrite)


def runtimes(names: Sequence[str]) -> tuple[BinaryRuntime, ...]:
    """Return the runtimes called so, or those that verify arm-m by themselves.

    Raises:
        EdgeError: a name is not known.
    """
    verifying = {runtime.name for runtime in runtimes_for(TARGET)}
    chosen = tuple(find(name, RUNTIMES, "runtime of binary networks", EdgeError) for name in names)
    return chosen or tuple(runtime for runtime in RUNTIMES if runtime.name in verifying)


def _check_job(job: ExportJob, targets: Sequence[Target]) -> None:
    if [target.name for target in targets] != [TARGET]:
        raise EdgeError(
            f"{job.model} is a binary network: it goes to target {TARGET} alone, not to "
            f"{', '.join(target.name for target in targets)}, which take integer or minifloat graphs."
        )
    given = {"--float": job.float_model, "--cut": job.cut, "--softmax": job.probabilities}
    given["--resize"] = job.dataset.preprocess.resize
    unfit = next((option for option, value in given.items() if value), None)
    if unfit:
        raise EdgeError(f"{job.model} is a binary network, which {unfit} does not apply to; leave it out.")
    if not Path(job.model).is_file():
        raise EdgeError(f"there is no file '{job.model}'.")


def _vectors(job: ExportJob, network: BinaryNetwork) -> Array:
    """Return pre-processed test images, whose labels take turns as far as there are different ones."""
    dataset: Dataset = job.dataset
    if dataset.preprocess.shape != network.shape:
        raise EdgeError(
            f"data '{dataset.name}' has images {list(dataset.preprocess.shape)}; {job.model} takes "
            f"{list(network.shape)}."
        )
    x = dataset.preprocess.apply(dataset.x_test[: 16 * job.vectors])
    picked: Array = x[choose_vectors(np.asarray(run(network, x).argmax(axis=1)), job.vectors)]
    return picked
