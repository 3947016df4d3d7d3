"""Instructions, flash and memory of generated C of binary networks, and whether every bit agrees with the reference.

python -m benchmarks.binary_c [--trained FILE.bnn ...]

Networks are the residual and the plain binary ResNet-8 of several widths, whose instructions do not depend on the
weights; and trained ones (`python -m benchmarks.biper` leaves them), compared on many Fashion-MNIST test images.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import environment, write_results
from devices.emulators import codes as wire
from devices.emulators.binary import runner
from devices.emulators.machine import Machine
from devices.emulators.qemu_system import M3, M4, M7, M33, M55
from devices.emulators.qemu_user import A53, A72, A76
from edge.data import load as load_data
from edge.models import binary_resnet
from edge.recipes.binary_export import to_binary_network
from edge.recipes.binary_layers import SIGN
from export.binary_bundle import BinaryBundle, BinarySpec, write_binary
from export.binary_parity import check_binary, from_memory, to_memory
from export.c99.binary_plan import folded, lay_out
from export.preprocess import Preprocess
from export.runtimes.c_binary import RUNTIME as C_HOST
from quant.binary_file import load
from quant.binary_net import BinaryNetwork, run
from quant.formats import Array

CORES = (M3, M4, M7, M33, M55, A53, A72, A76)
WIDTHS, BLOCKS = (16, 32, 64), 3
SHAPE, CLASSES = (3, 32, 32), 10
#: Images on the host, and on an emulated core.
HOST_IMAGES, CORE_IMAGES = 1000, 4


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one core.

    `binary_per_mac` is what the layers behind the first take by themselves: the tap of the first layer's first pixel
    comes behind the stem.
    """

    network: str
    core: str
    instructions: int
    binary_macs: int
    float_macs: int
    per_binary_mac: float
    binary_per_mac: float
    code_bytes: int
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    images: int
    bit_exact: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trained", type=Path, nargs="*", default=[], help="binary networks of Fashion-MNIST")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            row for name, network in _made() for row in _rows(name, network, _random(network), Path(scratch) / name)
        ]
        trained = [_trained(file, Path(scratch)) for file in options.trained]
    record = {"environment": environment(), "results": [asdict(row) for row in rows], "trained": trained}
    write_results("binary_c", record, _table(rows, trained))


def _made() -> list[tuple[str, BinaryNetwork]]:
    import torch

    found = []
    for width in WIDTHS:
        for skips in (True, False):
            torch.manual_seed(width)
            module = binary_resnet.build(SHAPE, CLASSES, width, BLOCKS, rule=SIGN, skips=skips).eval()
            name = f"{'residual' if skips else 'plain'}-{width}"
            found.append((name, to_binary_network(module, SHAPE, name)))
    return found


def _random(network: BinaryNetwork) -> Array:
    return np.random.default_rng(0).normal(size=(CORE_IMAGES, *network.shape)).astype(np.float32)


def _bundle(network: BinaryNetwork, x: Array, folder: Path) -> BinaryBundle:
    channels, height, width = network.shape
    plain = Preprocess(channels, height, width, 1.0, (0.0,) * channels, (1.0,) * channels)
    labels = tuple(str(k) for k in range(len(network.bias)))
    return write_binary(folder, BinarySpec(network.name, network, x, plain, labels))


def _rows(name: str, network: BinaryNetwork, x: Array, folder: Path) -> list[Row]:
    bundle = _bundle(network, x, folder)
    return [_row(name, bundle, core) for core in CORES]


def _row(name: str, bundle: BinaryBundle, core: Machine) -> Row:
    network, x = bundle.network, bundle.inputs
    expected, images = run(network, x), to_memory(network, x)
    with runner(core, bundle.folder, bundle.stem) as opened:
        (instructions,) = opened.instructions(images[:1])
        steps = dict(opened.steps(images[:1]))
        size = opened.footprint()
        lines = [line for found, _ in opened.lines(images) for line in found]
    made = from_memory(network, b"".join(line.data for line in lines if line.kind == "output"), len(x))
    macs, stem_macs = _macs(network)
    behind = sum(steps.get(number, 0) for number in range(2, len(macs) + 1))
    row = Row(
        network=name,
        core=core.name,
        instructions=instructions,
        binary_macs=sum(macs),
        float_macs=stem_macs + network.head.size,
        per_binary_mac=round(instructions / sum(macs), 3),
        binary_per_mac=round(behind / sum(macs[1:]), 3),
        code_bytes=size.code_bytes,
        flash_bytes=size.flash_bytes,
        ram_bytes=size.ram_bytes,
        stack_bytes=wire.stack_bytes(lines),
        images=len(x),
        bit_exact=bool(np.array_equal(made.view(np.int32), expected.view(np.int32))),
    )
    print(row, flush=True)
    return row


def _macs(network: BinaryNetwork) -> tuple[list[int], int]:
    """Return the MACs of every binary layer, borders as if they were inside, and of the stem."""
    layout = lay_out(folded(network))
    binary = [prod(stage.layer.weight.shape) * stage.made[1] * stage.made[2] for stage in layout.stages]
    return binary, prod(network.stem.weight.shape) * layout.stem[1] * layout.stem[2]


def _trained(file: Path, scratch: Path) -> dict[str, object]:
    """Compare a trained network's C with the reference on test images, on the host and on two emulated cores."""
    network, data = load(file), load_data("fashion-mnist")
    x = data.preprocess.apply(data.x_test[:HOST_IMAGES])
    bundle = _bundle(network, x, scratch / file.stem)
    (host,) = check_binary(bundle, [C_HOST])
    right = float((run(network, x).argmax(axis=1) == data.y_test[:HOST_IMAGES]).mean())
    few = _bundle(network, x[:CORE_IMAGES], scratch / f"{file.stem}-few")
    rows = [_row(file.stem, few, core) for core in (M4, A72)]
    return {
        "network": file.stem,
        "status": host.status,
        "images": len(x),
        "accuracy": right,
        "rows": [asdict(r) for r in rows],
    }


def _table(rows: Sequence[Row], trained: Sequence[dict[str, object]]) -> str:
    lines = [_HEAD, *(_line(row) for row in rows), ""]
    for item in trained:
        found = f"{item['status']} on {item['images']} Fashion-MNIST test images on the host"
        lines += [
            f"Trained `{item['network']}`: {found}, {float(str(item['accuracy'])):.2%} right; on emulated cores:",
            "",
        ]
        lines += [_COLUMNS, *(_line(Row(**row)) for row in _dicts(item["rows"])), ""]
    return "\n".join(lines)


def _dicts(value: object) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value


_COLUMNS = """\
| network | core | instructions | binary MACs | float MACs | per MAC | layers | code | flash | RAM | stack | equal |
|---|---|---|---|---|---|---|---|---|---|---|---|"""
_HEAD = f"""\
# Generated C of binary networks

ResNet-8 of binary 3x3 convolutions for images {"x".join(map(str, SHAPE))}, float first and last layer, with shortcuts
(residual) or without (plain: every layer but the last is a threshold of the popcount); behind the name stands the
width of the first stack. Instructions of one inference, counted by QEMU; "per MAC" divides all of them, float ends
included, by the binary MACs, "layers" is what the binary layers behind the first take by themselves. Bytes of code,
flash, RAM and stack. "equal": every logit of {CORE_IMAGES} inputs has the reference's very bits. A core without a
float unit (mps2-an385, an M3) computes the float layers by library calls, around 100 instructions for a MAC.

{_COLUMNS}"""


def _line(row: Row) -> str:
    return (
        f"| {row.network} | {row.core} | {row.instructions:,} | {row.binary_macs:,} | {row.float_macs:,} | "
        f"{row.per_binary_mac:.3f} | {row.binary_per_mac:.3f} | {row.code_bytes:,} | {row.flash_bytes:,} | "
        f"{row.ram_bytes:,} | {row.stack_bytes:,} | {'yes' if row.bit_exact else 'NO'} |"
    )


if __name__ == "__main__":
    main()
