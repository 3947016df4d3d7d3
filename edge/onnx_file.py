"""From a torch module to an ONNX file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from export.atomic import write_file
from quant.names import suggestion

OPSET = 17
INPUT, OUTPUT = "input", "logits"
#: ONNX value name of the tensor where a declared cut divides the network.
CUT_TENSOR = "cut"


def to_onnx(module: Any, shape: tuple[int, int, int], path: Path, cut: str | None = None) -> None:
    """Write a module as ONNX, opset 17, input `input`, output `logits`, batch axis `N`, batch norms folded.

    The exporter's own value names depend on torch's version. The output of the module named by `cut` is therefore
    exported as a second graph output, which gives it the fixed name `cut` (CUT_TENSOR), and then dropped from the
    outputs.

    Args:
        module: a `torch.nn.Module` from [N, C, H, W] float32 to logits [N, classes]; not changed.
        shape: channels, height, width.
        path: the file; written under a temporary name first.
        cut: dotted path of the submodule after which the head ends, or None.

    Raises:
        EdgeError: no such submodule, or torch cannot export the module.
        ExportError: the file cannot be written.
    """
    import onnx

    model = onnx.load_from_string(_exported(module, shape, cut))
    kept = [output for output in model.graph.output if output.name == OUTPUT]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.checker.check_model(model)
    write_file(path, model.SerializeToString())


def _exported(module: Any, shape: tuple[int, int, int], cut: str | None) -> bytes:
    import torch

    outputs = [OUTPUT] if cut is None else [OUTPUT, CUT_TENSOR]
    buffer, training = io.BytesIO(), module.training
    example = torch.zeros(1, *shape)
    try:
        with _quiet_exporter(), _showing(module, cut):
            torch.onnx.export(
                module.eval(),
                (example,),
                buffer,
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=outputs,
                dynamic_axes={name: {0: "N"} for name in (INPUT, *outputs)},
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        raise EdgeError(f"torch cannot export the module for input {list(example.shape)}: {error}") from error
    finally:
        module.train(training)
    return buffer.getvalue()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    with warnings.catch_warnings():
        # The legacy exporter folds batch norms and keeps opset 17; torch announces its end with a warning.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # It leaves the small integer sums behind asymmetric padding to whoever reads the file.
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        yield


@contextmanager
def _showing(module: Any, cut: str | None) -> Iterator[None]:
    """Make the module return the output of its submodule `cut` beside its own, inside the block."""
    submodules = dict(module.named_modules())
    if cut is None:
        yield
        return
    if cut not in submodules or not cut:
        raise EdgeError(f"the model has no module '{cut}' to cut after.{suggestion(cut, submodules)}")
    seen: list[Any] = []
    hooks = (
        submodules[cut].register_forward_hook(lambda _module, _inputs, output: seen.append(output)),
        module.register_forward_hook(lambda _module, _inputs, output: (output, seen[-1])),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
