"""Which networks, schemes and tools `benchmarks.ptq` compares, and what each is calibrated and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.networks import (
    Network,
    efficientnet_fold,
    fashion,
    keyword_spotting,
    resnet8,
    resnet20,
)

OURS = ("edgemill fast", "edgemill default", "edgemill best")
ORT = ("ort minmax", "ort percentile", "ort entropy")
BREVITAS = ("brevitas", "brevitas gptq")
TOOLS = ("edgemill minmax", *OURS, *ORT, "nncf", *BREVITAS)


@dataclass(frozen=True, slots=True)
class Plan:
    """A network with the schemes it runs in, each with the drop it is allowed (points; None: no limit is set)."""

    network: str
    limits: tuple[tuple[str, float | None], ...]
    images: int
    seeds: int
    note: str


@dataclass(frozen=True, slots=True)
class Case:
    """One figure: a tool quantises a network by a scheme with the calibration images of a seed (or fold)."""

    network: str
    scheme: str
    tool: str
    seed: int

    @property
    def slug(self) -> str:
        """A file name."""
        return f"{self.network}-{self.scheme}-{self.tool.replace(' ', '_')}-{self.seed}"


LOW_BITS = (("w8a8", 0.3), ("w6a8", 0.5), ("w4a8", 1.5), ("w4a4", 4.0), ("w4a4-ends8", 4.0), ("w3a8", 4.0))
MINIFLOATS = (("we3m2-ae3m2", 1.5), ("we2m1-aint8", 2.0))
CIFAR_NOTE = "calibrated on 512 training images drawn by the seed, tested on the 466 exact test images"
PLANS = (
    Plan("resnet8", (("w8a8", 0.5), ("w4a8", 2.0)), 512, 3, CIFAR_NOTE),
    Plan("kws", (("w8a8", 0.5),), 200, 3, "calibrated on 200 of the 250 even inputs, tested on the 250 odd ones"),
    Plan("resnet20", (*LOW_BITS, *MINIFLOATS), 512, 3, CIFAR_NOTE),
    Plan(
        "efficientnet_lite0",
        (("w8a8", 1.0), ("w6a8", 2.0)),
        250,
        2,
        "all 500 images, each tested once: calibrated on the 250 even files and tested on the odd ones, and the "
        "reverse; most likely training images, so only the drop counts",
    ),
    Plan(
        "fashion",
        (("w8a8", 0.3), ("w4a8", 1.5), ("w4a4", 4.0), ("w3a8", 4.0), *MINIFLOATS),
        512,
        1,
        "the network of examples/fashion.toml, calibrated on 512 training images, tested on all 10,000 test images",
    ),
)


def cases() -> list[Case]:
    """Return every case: a seed of all tools before the next seed, so that a stopped run compares all tools."""
    return [
        Case(plan.network, scheme, tool, seed)
        for plan in PLANS
        for seed in range(plan.seeds)
        for scheme, _ in plan.limits
        for tool in TOOLS
    ]


def find_plan(network: str) -> Plan:
    """Return the plan of a network."""
    return next(plan for plan in PLANS if plan.network == network)


def refusal(tool: str, scheme: str) -> str:
    """Return why a tool has no figure for a scheme, "" when it has one."""
    if (tool in ORT or tool == "nncf") and scheme != "w8a8":
        return "it has 8-bit integers only"
    if tool in BREVITAS and "ends" in scheme:
        return "its flow takes one format for all layers"
    if tool == "brevitas gptq" and scheme == "w8a8":
        return "GPTQ is for weights below 8 bits"
    return ""


def load_network(case: Case, data: Path, work: Path) -> Network:
    """Return the network of a case, with its calibration images drawn."""
    if case.network == "efficientnet_lite0":
        return efficientnet_fold(data, case.seed)
    if case.network == "fashion":
        found = fashion(work)
    else:
        found = {"resnet8": resnet8, "resnet20": resnet20, "kws": keyword_spotting}[case.network](data)
    drawn = np.random.default_rng(case.seed).permutation(len(found.calibration))[: find_plan(case.network).images]
    return Network(found.name, found.path, found.calibration[drawn], found.test, found.labels, found.note)
