"""The comparison with FPGA peers: what da4ml's side is given is the network, and what the table says."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from benchmarks.fpga_peer_nets import Case, cases
from benchmarks.fpga_peers import Store, plan_of
from benchmarks.fpga_peers_table import table
from quant.formats import Array
from quant.passes.power_of_two import has_powers_of_two


@pytest.fixture(scope="module")
def both() -> tuple[Case, ...]:
    return cases()


def rounded(acc: Array, shift: int, relu: bool) -> Array:
    """The rule that the `exact` side of da4ml states."""
    up = (np.maximum(acc, 0) + 1 + (1 << (shift - 1))) >> shift
    down = (np.maximum(-acc, 0) + (1 << (shift - 1))) >> shift
    return np.clip(up, 0, 127) if relu else np.clip(np.clip(up, 0, 127) - down, -128, 127)


def evaluated(case: Case) -> Array:
    """Compute a plan with numpy: sums, shifts, maxima."""
    arrays = plan_of(case)
    x = arrays["x"]
    for index, layer in enumerate(json.loads(arrays["plan"])):
        if layer["kind"] == "pool":
            x = np.maximum.reduce([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])
        elif layer["kind"] == "flatten":
            x = x.reshape(len(x), -1)
        else:
            weight, bias = arrays[f"w{index}"], arrays[f"b{index}"]
            if weight.ndim == 2:
                acc = x @ weight.T + bias
            else:
                windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
                acc = np.einsum("nchwkl,ockl->nohw", windows, weight) + bias[:, None, None]
            x = rounded(acc, layer["shift"], layer["relu"])
    return x


def test_the_peers_get_the_very_network(both):
    for case in both:
        assert np.array_equal(evaluated(case), case.outputs)
        assert (case.outputs.argmax(axis=1) == case.labels).mean() > 0.85
        assert len(set(case.outputs.argmax(axis=1).tolist())) == 10
        quants = [tensor.quant for tensor in case.graph.tensors.values() if tensor.quant is not None]
        assert all(has_powers_of_two(quant) and len(quant.scale) == 1 and quant.zero == 0 for quant in quants)


def test_finished_rows_are_kept(both, tmp_path):
    store, calls = Store(tmp_path / "results.json"), []
    for _ in range(2):
        store.row(both[0], "ours 64", lambda: calls.append(1) or {"tool": "edgemill"})
    assert len(calls) == 1
    assert store.read()["dense"]["rows"] == {"ours 64": {"tool": "edgemill"}}


def test_the_table_says_what_is_not_known():
    row = {"tool": "hls4ml", "kind": "Vitis, io_stream", "simulated_by": "C simulation", "codes_off_max": 1}
    row |= {"codes_off_share": 0.01, "labels_equal": 1.0, "simulated_wall_s": 30.0, "simulated_cpu_s": 9.0}
    case = {"inputs": 3, "accuracy": 0.9, "rows": {"a": row, "b": {"tool": "x", "kind": "y", "failed": "no compiler"}}}
    text = table({"pins": ("hls4ml==1.3.0", "da4ml==0.6.0"), "results": {"dense": case}})
    assert "| hls4ml | Vitis, io_stream | not without a vendor tool | - |" in text
    assert "1.00%" in text
    assert "failed: no compiler" in text
