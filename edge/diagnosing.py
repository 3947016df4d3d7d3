"""What the command diagnose does: load both networks and the data, and diagnose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge import evaluate
from edge.calibration import calibration_inputs
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.model_file import load_model
from quant.diagnose import Labelled, Progress, diagnose, diagnose_quantised
from quant.diagnosis.record import Diagnosis
from quant.graph import Graph
from quant.scheme import Scheme


@dataclass(frozen=True, slots=True)
class Request:
    """MODEL with a scheme, or a quantised MODEL with the float one it was made from; and how many images to use."""

    model: str
    scheme: Scheme | None
    float_model: str | None
    weights: Path | None
    count: int
    seed: int


def diagnose_model(request: Request, calibration: Dataset, test: Dataset | None, progress: Progress) -> Diagnosis:
    """Diagnose a model on `count` training images; accuracies come from the test images of `test`.

    Raises:
        EdgeError: a float model without a scheme, a quantised one without its float form, or data that do not fit.
        QuantError: the network cannot be quantised, or the two models are not the same network.
    """
    graph = load_model(request.model, request.weights, calibration.preprocess.shape)
    floating = _float_form(request, graph, calibration)
    evaluate.check_classes(floating, calibration)
    inputs = calibration_inputs(floating, calibration, request.count, request.seed)
    labelled = _labelled(floating, test)
    if request.scheme is not None:
        return diagnose(floating, request.scheme, inputs, labelled, progress)
    return diagnose_quantised(graph, floating, inputs, labelled, progress)


def _float_form(request: Request, graph: Graph, data: Dataset) -> Graph:
    if request.scheme is not None:
        if graph.is_quantised:
            raise EdgeError(
                f"'{request.model}' is quantised already: instead of --scheme give --float FLOAT.onnx, the model it "
                "was made from."
            )
        return graph
    if not graph.is_quantised:
        raise EdgeError(f"'{request.model}' is a float model: give --scheme, for example w4a8, instead of --float.")
    floating = load_model(str(request.float_model), request.weights, data.preprocess.shape)
    if floating.is_quantised:
        raise EdgeError(f"--float '{request.float_model}' is quantised; give the float model.")
    return floating


def _labelled(graph: Graph, test: Dataset | None) -> Labelled | None:
    if test is None:
        return None
    evaluate.check_classes(graph, test)
    return Labelled(evaluate.inputs_of(graph, test, test.x_test), test.y_test)
