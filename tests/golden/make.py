"""Write the files of this folder; see README.md. Needs Brevitas, ONNX Runtime and NNCF."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from brevitas.quant_tensor import IntQuantTensor

from quant.formats import Array
from tests.brevitas_nets import RECIPES, Net, minifloats, outputs, qcdq, qonnx, samples, trained
from tests.foreign import run_ort
from tests.onnx_models import images
from tests.ort_static import static, stored_weights
from tests.test_quant_import_nncf import quantised
from tests.test_quant_onnx_qdq import SHAPE, small_net

HERE = Path(__file__).parent
IMAGES = 8
#: File name -> recipe.
QCDQ = {
    "w8a8_bias32": RECIPES["w8a8, int32 bias"],
    "w4a8": RECIPES["w4a8"],
    "w3a5": RECIPES["w3a5"],
    "float_output": RECIPES["w8a8, float output"],
}
QONNX = {
    "w8a8_norm": RECIPES["w8a8, batch norm"],
    "w3a5": RECIPES["w3a5"],
    "w2a4": RECIPES["w2a4"],
    "e4m3": minifloats(4, 3),
    "e5m2": minifloats(5, 2),
    "e3m2": minifloats(3, 2),
    "e2m1": minifloats(2, 1),
}


def main() -> None:
    """Write every file."""
    warnings.simplefilter("ignore")
    for name, recipe in QCDQ.items():
        net = trained(recipe)
        _brevitas(net, qcdq(net, HERE / f"brevitas_qcdq_{name}.onnx"))
    for name, recipe in QONNX.items():
        net = trained(recipe)
        _brevitas(net, qonnx(net, HERE / f"brevitas_qonnx_{name}.onnx"))
    with tempfile.TemporaryDirectory() as folder:
        source, x = small_net(Path(folder) / "float.onnx"), images(SHAPE, 64) * 2
        for form in ("QDQ", "QOperator"):
            _plain(static(source, HERE / f"ort_{form.lower()}.onnx", x[:32], form=form), x[-IMAGES:])
        _plain(quantised(source, HERE / "nncf.onnx", x[:32]), x[-IMAGES:])


def _brevitas(net: Net, path: Path) -> None:
    x = samples(IMAGES, 9).numpy()
    layers = [layer for layer in net.modules() if isinstance(layer, QuantWeightBiasInputOutputLayer)]
    weights = [_codes(layer.quant_weight()) for layer in layers]
    _save(path, x, outputs(net, x), weights)


def _codes(weight: Any) -> Array:
    """Return codes of an integer weight, real values of a minifloat one."""
    found: Array = (weight.int() if isinstance(weight, IntQuantTensor) else weight.value).detach().numpy()
    return found


def _plain(path: Path, x: Array) -> None:
    name = onnx.load(path).graph.output[0].name
    weights = stored_weights(path) if path.stem != "ort_qoperator" else []
    _save(path, x, run_ort(path, x)[name], weights)


def _save(path: Path, x: Array, y: Array, weights: list[Array]) -> None:
    named = {f"weight{i}": value for i, value in enumerate(weights)}
    np.savez_compressed(path.with_suffix(".npz"), x=x, y=y, **named)
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
