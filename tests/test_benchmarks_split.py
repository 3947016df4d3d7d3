"""Every cut of real networks: in process, over a socket, with the C head under qemu; all of them when slow."""

from __future__ import annotations

import pytest

from benchmarks.split_cuts import ALONE, FRAMES, NETWORKS, WAYS, divided, frames_of_network, in_process, measure
from edge.split import cut_points
from tests.head_client import missing
from tests.networks import DATA

SLOW = [pytest.param(name, marks=pytest.mark.slow) if name == "resnet20" else name for name in NETWORKS]


@pytest.fixture(scope="module", params=SLOW)
def case(request):
    if not (DATA / "cifar10").exists() or not (DATA / "kws").exists():
        pytest.skip("the data folder with cifar10/ and kws/ is not beside this checkout")
    return frames_of_network(request.param, DATA)


def assert_same(row, frames):
    assert {way: row[f"{way}_differ"] for way in WAYS} == dict.fromkeys(WAYS, 0)
    assert (row["frames"], row["c_head_by_server"], row["c_alone_by_local"]) == (frames, frames, ALONE)
    assert (row["server_answered"], row["server_refused"]) == (2 * frames, 0)
    assert row["labels"] >= 4 and row["distinct_outputs"] == frames


def skip_without(machine):
    reason = missing(machine)
    if reason is not None:
        pytest.skip(reason)


def test_the_last_cut_but_one_each_way(case, tmp_path):
    skip_without("aarch64")
    assert_same(measure(case, cut_points(case.graph)[-2], tmp_path), FRAMES)


def test_the_first_cut_in_process(case, tmp_path):
    bundle = divided(case, cut_points(case.graph)[0].tensor, tmp_path / "bundle")
    assert (in_process(bundle, case.inputs) == case.outputs).all()
    assert len(set(case.outputs.reshape(FRAMES, -1).argmax(1))) > 1


@pytest.mark.slow
def test_every_cut_each_way(case, tmp_path):
    skip_without("aarch64")
    for number, point in enumerate(cut_points(case.graph)):
        (tmp_path / str(number)).mkdir()
        assert_same(measure(case, point, tmp_path / str(number)), FRAMES)
