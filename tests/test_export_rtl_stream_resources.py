"""Estimates that choose a folding: multipliers are those that are generated, and outputs that keep a frame count."""

from __future__ import annotations

import re

import pytest

from export.rtl.stream.build import Core, build
from export.rtl.stream.device import LATTICE_ECP5, XILINX, Device
from export.rtl.stream.folds import Fold
from export.rtl.stream.output import Output
from export.rtl.stream.pipe_cost import multipliers
from export.rtl.stream.resources import design_resources, unit_resources
from export.rtl.stream.units import Layer, Rearrange
from quant.formats import E4M3, INT8, find_format
from quant.program import lower
from tests.rtl_graphs import residual_net
from tests.stream_nets import early_exits, pools, squeeze_and_excite

INT4 = find_format("int4")
NETWORKS = {
    "int8": residual_net(INT8, INT8, 9),
    "int4": residual_net(INT4, INT4, 1),
    "e4m3": residual_net(E4M3, E4M3),
    "pools": pools(),
    "pools of minifloats": pools(E4M3),
    "squeeze and excite": squeeze_and_excite(),
}


def _generated(core: Core, index: int) -> int:
    """Count the products in the pipe of one unit, as its Verilog has them, for all of its lanes."""
    text = core.units[index].verilog
    lane = re.search(rf"^module {core.name}_u{index}_(finish|pipe)_lane .*?^endmodule", text, re.MULTILINE | re.DOTALL)
    if lane is None:
        return 0
    count = len(re.findall(rf"{core.name}_u{index}_{lane[1]}_lane lane_\d+ ", text))
    assert count > 0
    return count * lane[0].count(" * ")


@pytest.mark.parametrize("device", [XILINX, LATTICE_ECP5], ids=lambda device: device.family)
@pytest.mark.parametrize("name", NETWORKS)
def test_multipliers_are_those_that_are_generated(name: str, device: Device) -> None:
    program = lower(NETWORKS[name])
    folds = {step.name: Fold(2) for step in program.steps if step.name in {"n0", "n1", "n2"}}
    core, seen = build("core", program, folds, 1, device), 0
    for index, unit in enumerate(core.plan.units):
        if isinstance(unit, Rearrange):
            continue
        lanes = unit.out_lanes if isinstance(unit, Layer) else unit.lanes
        assert lanes * multipliers(core.plan, unit) == _generated(core, index), unit.step.name
        seen += _generated(core, index)
        if not isinstance(unit, Layer) or unit.fold.style == "lut":
            assert unit_resources(core.plan, unit, device).dsp == _generated(core, index)
    assert seen > 0


def test_an_output_that_keeps_a_frame_counts() -> None:
    program = lower(early_exits())
    plain, tapped = (
        build("core", program, {}, results=results).plan
        for results in ((Output("t6"),), (Output("t6"), Output("t0"), Output("t3", True)))
    )
    before, after = (sum(one.lut for one in design_resources(plan, XILINX)) for plan in (plain, tapped))
    assert len(tapped.units) == len(plain.units) + 2 and after > before
    unit = next(index for index, unit in enumerate(tapped.units) if unit.step.y == "t0")
    assert design_resources(tapped, XILINX)[unit].lut > design_resources(plain, XILINX)[unit].lut
