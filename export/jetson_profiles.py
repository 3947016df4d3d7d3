"""Jetson boards as data: which TensorRT each has, and what its ONNX importer takes.

Versions of TensorRT and operator set limits were read in the importer's sources and documents of each branch, unless
`note` says otherwise. Nothing here was checked on a board.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from export.errors import ExportError
from quant.names import suggestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One board with one JetPack.

    `opset` is what is written, `opset_max` what the importer takes. `types` are the integer and float types a
    QuantizeLinear may have; empty means that the GPU has no int8 arithmetic. `three_inputs` says that Q/DQ need their
    zero point. `blocked_scales` says that scales of the input's rank are taken. `l4t` are first fields of
    `/etc/nv_tegra_release` versions that fit. `dla` says that some boards of the family have a DLA which this TensorRT
    drives; which ones, the runtime on the device knows. `form` is what is written, where that is not the board's best
    integer form: `fp16` of the float graph, or `fp8`.
    """

    target: str
    board: str
    jetpack: str
    l4t: tuple[str, ...]
    compute: str
    tensorrt: str
    opset: int
    opset_max: int
    types: tuple[str, ...]
    three_inputs: bool
    blocked_scales: bool = False
    dla: bool = False
    form: str = ""
    note: str = ""

    @property
    def fp8(self) -> bool:
        """Whether the GPU computes FP8 (E4M3FN): compute capability 8.9 and above."""
        return "FLOAT8E4M3FN" in self.types

    @property
    def precision(self) -> str:
        """What the exporter writes for this board."""
        return self.form or ("int8" if "INT8" in self.types else "fp16")

    @property
    def generation(self) -> str:
        """TensorRT version whose command line this board has: major.minor before 10, then the major number."""
        major = self.tensorrt.split(".", maxsplit=1)[0]
        return major if int(major) >= 10 else ".".join(self.tensorrt.split(".")[:2])


ORIN = Profile(
    target="jetson",
    board="Jetson Orin",
    jetpack="6.2",
    l4t=("36.4", "36.5"),
    compute="8.7",
    tensorrt="10.3",
    opset=17,
    opset_max=20,
    types=("INT8", "INT4"),
    three_inputs=False,
    blocked_scales=True,
    dla=True,
)
NANO = Profile(
    target="jetson-nano",
    board="Jetson Nano",
    jetpack="4.6.1",
    l4t=("32.7",),
    compute="5.3",
    tensorrt="8.2",
    opset=13,
    opset_max=13,
    types=(),
    three_inputs=True,
)
TX2 = Profile(
    target="jetson-tx2",
    board="Jetson TX2",
    jetpack="4.6.1",
    l4t=("32.7",),
    compute="6.2",
    tensorrt="8.2",
    opset=13,
    opset_max=13,
    types=(),
    three_inputs=True,
)
XAVIER = Profile(
    target="jetson-xavier",
    board="Jetson Xavier",
    jetpack="4.6.1",
    l4t=("32.7",),
    compute="7.2",
    tensorrt="8.2",
    opset=13,
    opset_max=13,
    types=("INT8",),
    three_inputs=True,
    dla=True,
)
XAVIER_JETPACK5 = Profile(
    target="jetson-xavier-jp5",
    board="Jetson Xavier",
    jetpack="5.1",
    l4t=("35",),
    compute="7.2",
    tensorrt="8.5",
    opset=17,
    opset_max=17,
    types=("INT8",),
    three_inputs=True,
    dla=True,
    note="JetPack 5.0 has TensorRT 8.4, whose command line is the same.",
)
ORIN_JETPACK5 = Profile(
    target="jetson-orin-jp5",
    board="Jetson Orin",
    jetpack="5.1",
    l4t=("35",),
    compute="8.7",
    tensorrt="8.5",
    opset=17,
    opset_max=17,
    types=("INT8",),
    three_inputs=True,
    dla=True,
    note="The pairing of JetPack 5.1 with TensorRT 8.5 was not checked in a source.",
)
ORIN_JETPACK60 = Profile(
    target="jetson-orin-jp60",
    board="Jetson Orin",
    jetpack="6.0",
    l4t=("36.3",),
    compute="8.7",
    tensorrt="8.6",
    opset=17,
    opset_max=17,
    types=("INT8",),
    three_inputs=True,
    dla=True,
    note="The pairing of JetPack 6.0 with TensorRT 8.6 was not checked in a source.",
)
ORIN_JETPACK72 = Profile(
    target="jetson-orin-jp72",
    board="Jetson Orin",
    jetpack="7.2",
    l4t=("39.2",),
    compute="8.7",
    tensorrt="11",
    opset=17,
    opset_max=20,
    types=("INT8", "INT4"),
    three_inputs=False,
    blocked_scales=True,
    note="The operator set limit of TensorRT 11 is not known; 20 is that of 10.1.",
)
THOR = Profile(
    target="jetson-thor",
    board="Jetson Thor",
    jetpack="7.0",
    l4t=("38",),
    compute="11.0",
    tensorrt="10.13",
    opset=17,
    opset_max=20,
    types=("INT8", "INT4", "FLOAT8E4M3FN"),
    three_inputs=False,
    blocked_scales=True,
    note="The operator set limit of TensorRT 10.13 was not checked; 20 is that of 10.1.",
)

ORIN_FP16 = replace(ORIN, target="jetson-fp16", form="fp16")
#: Operator set 19 is the first whose QuantizeLinear knows FP8.
THOR_FP8 = replace(
    THOR,
    target="jetson-thor-fp8",
    form="fp8",
    opset=19,
    note=f"{THOR.note} Which FP8 kernels its convolutions have was not checked.",
)

PROFILES = (
    ORIN,
    NANO,
    TX2,
    XAVIER,
    XAVIER_JETPACK5,
    ORIN_JETPACK5,
    ORIN_JETPACK60,
    ORIN_JETPACK72,
    THOR,
    ORIN_FP16,
    THOR_FP8,
)


def find_profile(target: str) -> Profile:
    """Return the profile of a Jetson target, or raise ExportError with the nearest one."""
    found = next((profile for profile in PROFILES if profile.target == target), None)
    if found is None:
        names = tuple(profile.target for profile in PROFILES)
        raise ExportError(f"unknown Jetson target '{target}'.{suggestion(target, names)} Known: {', '.join(names)}.")
    return found
