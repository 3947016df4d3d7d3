"""The boards: one value each, and the visible tuple of them."""

from __future__ import annotations

from devices import boards_emulated, boards_ethos_u, boards_fpga, boards_jetson, boards_pi, tools
from devices.board import Board
from devices.errors import DeviceError
from quant.names import find

_NO_CYCLES = "an emulator or an operating system counts no cycles of this network; only verilator does"
_NOT_EMULATED = "measured where the part is compiled for a microcontroller: mps2-an386 or qemu-aarch64"
_NO_COUNTER = "this board has no instruction counter; qemu-aarch64 and mps2-an386 count instructions"

_ON_HOST = (
    ("arena", "the runtime plans its own memory and does not say how much"),
    ("instructions", _NO_COUNTER),
    ("cycles", _NO_CYCLES),
    ("flash", _NOT_EMULATED),
    ("code", _NOT_EMULATED),
    ("ram", _NOT_EMULATED),
    ("stack", _NOT_EMULATED),
)

HOST_ORT = Board(
    name="host-ort",
    summary="this machine, ONNX Runtime, one thread",
    target="host",
    transport="local",
    runtime="onnxruntime",
    cpu=None,
    method="measured",
    metrics=("latency",),
    absent=_ON_HOST,
    packages=("onnxruntime", "numpy"),
)
HOST_OPENVINO = Board(
    name="host-openvino",
    summary="this machine, OpenVINO, one thread",
    target="host",
    transport="local",
    runtime="openvino",
    cpu=None,
    method="measured",
    metrics=("latency",),
    absent=_ON_HOST,
    packages=("openvino", "numpy"),
)
HOST_LITERT = Board(
    name="host-litert",
    summary="this machine, LiteRT with its default kernels, one thread",
    target="arm-a",
    transport="local",
    runtime="litert",
    cpu=None,
    method="measured",
    metrics=("latency",),
    absent=_ON_HOST,
    packages=("ai-edge-litert", "numpy"),
)
HOST_TFLITE = Board(
    name="host-tflite",
    summary="this machine, tflite-runtime, one thread",
    target="arm-a",
    transport="local",
    runtime="tflite-runtime",
    cpu=None,
    method="measured",
    metrics=("latency",),
    absent=_ON_HOST,
    packages=("tflite-runtime", "numpy"),
)
HOST_C = Board(
    name="host-c",
    summary="this machine, the generated C compiled with gcc",
    target="arm-m",
    transport="local",
    runtime="c-host",
    cpu=None,
    method="measured",
    metrics=("latency", "arena"),
    absent=tuple(pair for pair in _ON_HOST if pair[0] != "arena"),
    packages=("numpy",),
    tools=(tools.GCC,),
)
VERILATOR = Board(
    name="verilator",
    summary="simulated RTL of the whole network, clock cycles",
    target="fpga",
    transport="verilator",
    runtime="verilator",
    cpu=None,
    method="simulated",
    metrics=("cycles",),
    absent=(
        ("latency", "a simulation gives cycles; time follows from the clock that an FPGA's timing report allows"),
        ("instructions", "the network is a circuit and executes no instructions"),
        ("energy", "a simulation draws no power of an FPGA"),
        ("arena", "the circuit has memories of its own; see the synthesis report"),
        ("flash", "the circuit has memories of its own; see the synthesis report"),
        ("code", "the network is a circuit and has no code"),
        ("stack", "the network is a circuit and has no stack"),
        ("ram", "the circuit has memories of its own; see the synthesis report"),
    ),
    tools=(tools.VERILATOR,),
)
NULL = Board(
    name="null",
    summary="no device at all: made-up, repeatable figures for trying out commands and pipelines",
    target=None,
    transport="null",
    runtime="null",
    cpu=None,
    method="simulated",
    metrics=("latency",),
    absent=(
        ("instructions", "the null board executes nothing"),
        ("cycles", "the null board executes nothing"),
        ("energy", "the null board executes nothing"),
        ("arena", "the null board executes nothing"),
        ("flash", "the null board executes nothing"),
        ("code", "the null board executes nothing"),
        ("stack", "the null board executes nothing"),
        ("ram", "the null board executes nothing"),
    ),
)

BOARDS = (
    HOST_ORT,
    HOST_OPENVINO,
    HOST_LITERT,
    HOST_TFLITE,
    HOST_C,
    *boards_emulated.BOARDS,
    *boards_pi.BOARDS,
    *boards_ethos_u.BOARDS,
    *boards_jetson.BOARDS,
    VERILATOR,
    *boards_fpga.BOARDS,
    NULL,
)


def find_board(name: str) -> Board:
    """Return the board called `name`, or raise DeviceError with the nearest known name."""
    return find(name, BOARDS, "board", DeviceError)


def boards_for(target: str) -> tuple[Board, ...]:
    """Return the boards that run bundles of a target, without the null board, which runs nothing."""
    return tuple(board for board in BOARDS if board.target == target)
