"""Files for makers' tools: the driver packs what the bench streams, and every file says that it was not executed."""

from __future__ import annotations

import re
import shutil
import subprocess
import types

import numpy as np
import pytest

from export import fpga
from export.errors import ExportError
from export.rtl.bench import beats, codes_of_beats
from export.rtl.stream.output import Output
from export.rtl.stream.request import CircuitRequest
from export.rtl.vendor import Given, vendor_files
from export.target import Source
from quant.formats import E4M3, INT8, find_format
from quant.program import lower
from quant.reference import run
from tests.bundles import head_and_tail
from tests.rtl import write_core
from tests.toys import random_codes, toy_graph

FORMATS = [INT8, E4M3, find_format("int4"), find_format("uint8"), find_format("e2m1"), find_format("int16")]


def _driver(files, name="core"):
    """Load a driver; it must not need the board's package before a core is opened."""
    module = types.ModuleType(f"{name}_pynq")
    exec(compile(files[f"{name}_pynq.py"], f"{name}_pynq.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_the_driver_packs_what_the_bench_streams(fmt):
    driver = _driver(vendor_files("core", fmt, fmt, (3, 4, 5), (7,)))
    rng = np.random.default_rng(3)
    codes = fmt.from_ordinals(rng.integers(-fmt.max_ordinal if fmt.signed else 0, fmt.max_ordinal + 1, (3, 4, 5)))
    expected = beats(fmt, codes)
    assert len(np.unique(expected)) > 5
    data = driver.pack(codes)
    assert np.array_equal(data.view(f"<u{driver.IN_TYPE.itemsize}"), expected)
    answer = codes.reshape(-1)[:7]
    raw = beats(fmt, answer).astype(driver.OUT_TYPE.str.replace("i", "u"))
    got = driver.unpack(raw.view(np.uint8))
    assert np.array_equal(got, answer) and got.dtype == fmt.dtype
    assert np.array_equal(codes_of_beats(fmt, beats(fmt, answer)), answer)


def test_the_driver_streams_in_another_order():
    files = vendor_files("core", INT8, INT8, (3, 4, 5), (2, 6), in_lanes=3, in_axes=(1, 2, 0), out_axes=(1, 0))
    driver = _driver(files)
    codes = np.arange(60, dtype=np.int8).reshape(3, 4, 5)
    assert driver.pack(codes).tolist()[:6] == [0, 20, 40, 1, 21, 41]
    assert driver.unpack(np.arange(12, dtype=np.uint8)).tolist() == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    with pytest.raises(ValueError, match="the core takes int8"):
        driver.pack(codes.astype(np.int16))
    assert "axis_dwidth_converter in_width" in files["core_pynq.tcl"]
    assert "CONFIG.M_TDATA_NUM_BYTES 3" in files["core_pynq.tcl"]
    assert "out_width" not in files["core_pynq.tcl"]


def test_a_frame_goes_through_the_driver():
    """The board's package stands in: the driver's calls in their order, and one frame at a time."""
    driver = _driver(vendor_files("core", INT8, INT8, (2, 2), (4,)))
    calls = []

    class Channel:
        def __init__(self, name):
            self.name = name

        def transfer(self, buffer):
            calls.append(f"{self.name} {len(buffer)}")
            self.buffer = buffer
            if self.name == "send":
                dma.recvchannel.buffer[:] = buffer[::-1]

        def wait(self):
            calls.append(f"{self.name} done")

    dma = types.SimpleNamespace(sendchannel=Channel("send"), recvchannel=Channel("receive"))
    board = types.SimpleNamespace(
        Overlay=lambda path: types.SimpleNamespace(dma=dma, path=path),
        allocate=np.zeros,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "pynq", board)
        core = driver.Core()
    codes = np.array([[[1, -2], [3, 4]], [[5, 6], [-7, 8]]], dtype=np.int8)
    assert core.run(codes).tolist() == [[4, 3, -2, 1], [8, -7, 6, 5]]
    assert calls == ["receive 4", "send 4", "send done", "receive done"] * 2


def test_the_driver_reads_every_stream(tmp_path):
    """Codes of the output, an image in another order, and a label: each from a DMA of its own."""
    graph = toy_graph()
    codes = random_codes(graph, 3)
    values = run(lower(graph), codes)
    asked = CircuitRequest("stream", taps=(Output("a"), Output("y", labels=True)))
    facts = fpga.TARGET.write(Source("net", graph, codes, values["y"], circuit=asked), tmp_path)
    driver = _driver({"net_pynq.py": (tmp_path / "net_pynq.py").read_text()}, "net")
    words = [(tmp_path / name).read_text().split() for name in ("net_out.hex", "net_out_1.hex", "net_out_2.hex")]
    frames = [[bytes.fromhex("".join(row)) for row in np.reshape(column, (3, -1))] for column in words]
    given = [iter(column) for column in frames]

    def channel(number):
        def transfer(buffer):
            buffer[:] = np.frombuffer(next(given[number]), np.uint8) if number >= 0 else buffer

        return types.SimpleNamespace(transfer=transfer, wait=lambda: None)

    names = ("dma", "dma_1", "dma_2")
    dmas = {name: types.SimpleNamespace(recvchannel=channel(k)) for k, name in enumerate(names)}
    dmas["dma"].sendchannel = channel(-1)
    board = types.SimpleNamespace(Overlay=lambda _: types.SimpleNamespace(**dmas), allocate=np.zeros)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "pynq", board)
        core = driver.Core()
    logits, image, labels = core.run(codes)
    assert np.array_equal(logits, values["y"]) and np.array_equal(image, values["a"])
    assert np.array_equal(labels, values["y"].argmax(axis=1)) and len(set(labels.tolist())) > 1
    tcl = (tmp_path / "net_pynq.tcl").read_text()
    assert "{s_axis:m_axis_0:m_axis_1:m_axis_2}" in tcl
    assert [tcl.count(f"axi_dma dma{k}]") for k in ("", "_1", "_2")] == [1, 1, 1]
    assert [output["beat_bits"] for output in facts["outputs"]] == [8, 8, 8]


def test_every_file_says_that_it_was_not_executed(tmp_path):
    write_core(toy_graph(), tmp_path)
    files = vendor_files("core", INT8, INT8, (3, 8, 8), (10,))
    assert all((tmp_path / name).read_text() == text for name, text in files.items())
    for name, text in files.items():
        assert "Written, not" in " ".join(text.split()[:60]), name
        assert "@" not in text, name


def test_the_driver_takes_the_vectors_of_the_part(tmp_path):
    graph = toy_graph()
    write_core(graph, tmp_path)
    driver = _driver({"core_pynq.py": (tmp_path / "core_pynq.py").read_text()})
    codes = random_codes(graph, 1)[0]
    assert np.array_equal(driver.pack(codes).view(np.int8), codes.reshape(-1))
    assert driver.OUT_SHAPE == (10,)


@pytest.mark.parametrize("architecture", ["stream", "sequential"])
def test_the_driver_streams_what_the_bench_of_either_architecture_does(architecture, tmp_path):
    graph, _ = head_and_tail(toy_graph(), 2)
    inputs = random_codes(graph, 2)
    outputs = run(lower(graph), inputs)[graph.output]
    fpga.TARGET.write(Source("head", graph, inputs, outputs, circuit=CircuitRequest(architecture)), tmp_path)
    driver = _driver({"head_pynq.py": (tmp_path / "head_pynq.py").read_text()}, "head")
    text = (tmp_path / "head_vectors.h").read_text()
    words = [re.search(rf"{array}\[\] = \{{(.*?)\}}", text, re.DOTALL)[1] for array in ("kInputs", "kOutputs")]
    taken, given = (np.array(list(map(int, text.split(","))), dtype=np.uint8).reshape(2, -1) for text in words)
    assert driver.OUT_SHAPE == (8, 4, 4) and not np.array_equal(outputs[0], outputs[1])
    for index in range(2):
        assert np.array_equal(driver.pack(inputs[index]), taken[index])
        assert np.array_equal(driver.unpack(given[index]), outputs[index])


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed; on Debian: apt-get install tcl")
@pytest.mark.parametrize("end", ["_vivado.tcl", "_pynq.tcl", "_quartus.tcl"])
def test_tcl_is_complete(end, tmp_path):
    given = [Given(f"m_axis_{k}", "codes", (10,), (0,), 24, "<i1", "int8") for k in range(3)]
    text = vendor_files("core", INT8, INT8, (3, 8, 8), (10,), in_lanes=3, given=given)[f"core{end}"]
    (tmp_path / "a.tcl").write_text(text)
    script = "set f [open a.tcl]; puts [info complete [read $f]]; close $f"
    done = subprocess.run(["tclsh"], input=script, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"in_axes": (0, 1)}, "input axes"), ({"out_axes": (1,)}, "output axes"), ({"in_lanes": 7}, "do not divide")],
)
def test_streams_that_do_not_fit_are_refused(changes, match):
    with pytest.raises(ExportError, match=match):
        vendor_files("core", INT8, INT8, (3, 8, 8), (10,), **changes)
