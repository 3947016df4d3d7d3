"""Every kind of layer and connection as a streaming core folded at random: codes and clocks, with and without waits."""

from __future__ import annotations

import pytest

from benchmarks.fpga_batch import Simulated, simulate
from export.rtl.stream.device import FAMILIES
from quant.formats import E4M3, INT8, find_format
from tests import stream_nets as nets
from tests.rtl_graphs import move_net
from tests.stream_cores import check, folded, needs_verilator

E2M1, E3M4 = find_format("e2m1"), find_format("e3m4")
NETWORKS = {
    "windows": nets.window_kinds(),
    "sequence": nets.sequence(),
    "sequence downwards": nets.sequence(down=True),
    "kernel larger than the image": nets.large_kernel(),
    "pools": nets.pools(),
    "pools of minifloats": nets.pools(E4M3),
    "flattened": nets.flattened(),
    "squeeze and excite": nets.squeeze_and_excite(),
    "squeeze and excite of minifloats": nets.squeeze_and_excite(E4M3, E2M1),
    "forks": nets.forks(),
    "an image comes out": nets.head(),
    "one code comes out": nets.one_code(),
    "sum of minifloats": nets.wide_sum(E3M4, E4M3),
    "moves": move_net(INT8, INT8, 17),
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Simulated]:
    cases = [folded(graph, seed, FAMILIES[seed % 3]) for seed, graph in enumerate(NETWORKS.values())]
    return dict(zip(NETWORKS, simulate(cases, tmp_path_factory.mktemp("layers")), strict=True))


@needs_verilator
@pytest.mark.parametrize("name", NETWORKS)
def test_layer_is_bit_and_clock_exact(name: str, simulated: dict[str, Simulated]) -> None:
    check(simulated[name], labels=name != "one code comes out")


@needs_verilator
def test_random_folds_use_more_than_one_code_a_clock(simulated: dict[str, Simulated]) -> None:
    folds = [fold for one in simulated.values() for _, fold in one.core.folds()]
    assert {fold.style for fold in folds} == {"lut", "dsp", "dsp_pair"}
    assert len({fold.pe for fold in folds}) > 3 and len({fold.simd for fold in folds}) > 3
    assert max(one.core.plan.input_lanes for one in simulated.values()) > 2
