"""One case of `benchmarks.ptq`: quantise, label the test images, compare. Runs in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from benchmarks.networks import Network
from benchmarks.ptq_plan import ORT, Case, load_network
from edge.evaluate import compare_labels, float_labels, quantised_labels
from export.atomic import write_file
from quant.formats import Array
from quant.onnx_import import load_onnx
from quant.presets import find_preset, quantise_by
from quant.ptq import prepare, quantise
from quant.ranges import check_calibration
from quant.scheme import parse_scheme

#: What quantises, given the float file and calibration inputs; it returns what then labels test inputs.
Labeller = Callable[[Array], Array]


def run_case(case: Case, data: Path, work: Path, log: Path) -> None:
    """Measure a case and leave its record; what goes wrong is told in `log`."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 2)  # native libraries write there too
    record = {**asdict(case), **measure(case, load_network(case, data, work))}
    write_file(work / f"{case.slug}.json", json.dumps(record, indent=1).encode())
    log.unlink()


def missing(tool: str) -> str:
    """Return the package a tool needs and this machine lacks, "" when there is none."""
    needs = {"nncf": ("nncf", "openvino"), "brevitas": ("brevitas", "torch", "tqdm"), "ort": ("onnxruntime",)}
    return next((package for package in needs.get(tool.partition(" ")[0], ()) if find_spec(package) is None), "")


def measure(case: Case, network: Network) -> dict[str, object]:
    """Quantise and test; times leave out imports and inputs, and begin with the float ONNX file on the disk."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        begin, cpu = time.perf_counter(), time.process_time()
        labels, chose = quantise_case(case, network, Path(folder))
        spent = {"wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        guess = labels(network.test)
    truth = float_labels(prepare(load_onnx(network.path)), network.test)
    found = compare_labels(network.labels, truth, guess)
    return {
        **spent,
        "peak_bytes": peak,
        "calibration_images": len(network.calibration),
        "chose": chose,
        **asdict(found),
    }


def quantise_case(case: Case, network: Network, folder: Path) -> tuple[Labeller, str]:
    """Quantise by the tool of the case; return what labels inputs, and what the tool chose."""
    if case.tool in ORT:
        return _ort(case.tool.split()[1], network, folder), ""
    if case.tool == "nncf":
        return _nncf(network), ""
    if case.tool.startswith("brevitas"):
        return _brevitas(case, network), ""
    return _ours(case, network)


def _ours(case: Case, network: Network) -> tuple[Labeller, str]:
    scheme, preset = parse_scheme(case.scheme), case.tool.split()[1]
    graph = prepare(load_onnx(network.path))
    if preset == "minmax":
        plain = quantise(graph, scheme, network.calibration)
        return (lambda x: quantised_labels(plain, x)), ""
    choice = quantise_by(graph, scheme, find_preset(preset), check_calibration(graph, network.calibration))
    return (lambda x: quantised_labels(choice.graph, x)), f"{choice.scheme} with {choice.method}"


def _ort(method: str, network: Network, folder: Path) -> Labeller:
    from benchmarks import peer_ort

    path = folder / "peer.onnx"
    peer_ort.quantise_static(network.path, path, network.calibration, method)
    model = path.read_bytes()  # the folder is gone when labels are asked for
    return lambda x: peer_ort.labels(model, x)


def _nncf(network: Network) -> Labeller:
    from benchmarks import peer_nncf

    model = peer_nncf.quantise(network.path, network.calibration)
    return lambda x: peer_nncf.labels(model, x)


def _brevitas(case: Case, network: Network) -> Labeller:
    from benchmarks import peer_brevitas

    graph = prepare(load_onnx(network.path))
    gptq = case.tool == "brevitas gptq"
    module = peer_brevitas.quantise(graph, parse_scheme(case.scheme), network.calibration, gptq=gptq)
    return lambda x: peer_brevitas.labels(module, x)
