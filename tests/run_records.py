"""Made-up run records of several shapes, for tests of the report and of the comparison."""

from __future__ import annotations

import random
from dataclasses import replace

from devices.measurement import Measurement, Step
from devices.run_record import Accuracy, BundleRecord, RunRecord, SchemeRecord
from devices.state import Conditions
from export.parity import LayerDifference, Parity
from quant.cost import Summary
from tests.measurements import CONDITIONS, measurement

INT8, E4M3 = "w8a8", "we4m3-ae4m3"
NO_GOVERNOR = Conditions("A CPU", 4, "Linux 6.1", 0.2, 0.3, None, "no cpufreq here")
LAYER = LayerDifference("/stem/conv/Conv", "Conv", "/stem/relu", 1, 19, 16384, (0, 2, 0, 5), -82, -83)


def hardware(luts: float, measured: float) -> Summary:
    """What a network costs in hardware."""
    return Summary(27_000, 3_900, 2_048, 9_000, 262_144, 16_777_216, 25, luts, measured)


def schemes() -> tuple[SchemeRecord, ...]:
    """An int8 network that lost one image, and a minifloat one that lost more than chance."""
    return (
        SchemeRecord(INT8, 3512, Accuracy(540, 0.9778, 0.9759, 0.9981, 1, 0, 0), 0.126, hardware(125.0, 1.0)),
        SchemeRecord(E4M3, 4192, Accuracy(540, 0.9778, 0.9630, 0.9796, 9, 1, 1), 0.019, hardware(141.8, 0.0)),
    )


def exact(part: str, runtime: str) -> Parity:
    """A bit-exact check."""
    return Parity(part, runtime, "bit-exact", "", 16, 10, 0, 0, 160, 1.0)


def bounded(part: str, runtime: str) -> Parity:
    """A check within its bound."""
    return Parity(part, runtime, "bounded", "within 1 step per rounding (9)", 16, 10, 1, 22, 160, 1.0, LAYER)


def wrong(part: str, runtime: str) -> Parity:
    """A check that failed in a layer."""
    layer = replace(LAYER, max_steps=7)
    return Parity(part, runtime, "wrong", "must be bit-exact", 16, 10, 9, 44, 160, 0.5, layer)


def bundle(target: str, scheme: str, *parity: Parity, parts: tuple[str, ...] = ("model",)) -> BundleRecord:
    """A bundle that was written; its digest follows from its name."""
    name = f"{target}-{scheme}{'-split' if len(parts) > 1 else ''}"
    digest = (name.encode().hex() + "0" * 64)[:64]
    return BundleRecord(target, scheme, parts, f"bundles/{name}", digest, 100_000 + 1000 * len(name), None, parity)


def refused(target: str, scheme: str, reason: str = "this target takes int8 only") -> BundleRecord:
    """A bundle that its target refused."""
    return BundleRecord(target, scheme, (), None, None, None, reason, ())


def bundles() -> tuple[BundleRecord, ...]:
    """Every target: executed, split, refused, not run, and one that nothing executes."""
    missing = Parity("model", "verilator", "not run", "verilator is not installed: apt-get install verilator")
    alike = Parity("model", "mps2-an386", "inconclusive", "every test vector gives the same label", 4, 1, 0, 0, 40, 1.0)
    return (
        bundle("host", INT8, bounded("model", "onnxruntime"), bounded("model", "openvino")),
        bundle("host", INT8, bounded("head", "onnxruntime"), bounded("tail", "onnxruntime"), parts=("head", "tail")),
        refused("host", E4M3),
        bundle("jetson", INT8),
        bundle("arm-a", INT8, exact("model", "tflite-micro"), bounded("model", "litert")),
        bundle("arm-m", INT8, exact("model", "c-host"), exact("model", "qemu-aarch64"), exact("model", "mps2-an386")),
        bundle("arm-m", E4M3, exact("model", "c-host"), alike),
        bundle("fpga", INT8, exact("model", "verilator")),
        bundle("fpga", E4M3, missing),
    )


def latencies(median_s: float, seed: int, windows: int = 5, samples: int = 200) -> tuple[tuple[float, ...], ...]:
    """Latencies with a tail, by window, repeatable."""
    draw = random.Random(seed)
    return tuple(
        tuple(median_s * (1 + 0.02 * draw.random() + 0.01 * draw.paretovariate(2.5)) for _ in range(samples))
        for _ in range(windows)
    )


def timed(item: BundleRecord, board: str, median_s: float, part: str = "model", seed: int = 0) -> Measurement:
    """A measured latency of a part."""
    assert item.digest is not None
    return measurement(
        bundle=item.digest,
        target=item.target,
        part=part,
        board=board,
        runtime=board.removeprefix("host-"),
        latency_s=latencies(median_s, seed),
        conditions=NO_GOVERNOR,
    )


def steps(total: int) -> tuple[Step, ...]:
    """Two layers and what lies between them: three quarters, almost a quarter, and the rest."""
    parts = (3 * total // 4, total // 4 - 100, 100)
    names = (("conv", 50_000), ("fc", 16_624), ("reshape", 0))
    return tuple(Step(name, macs, part, None) for (name, macs), part in zip(names, parts, strict=True))


def counted(item: BundleRecord, board: str, metric: str, counts: tuple[int, ...]) -> Measurement:
    """Simulated instructions or cycles of the whole network."""
    assert item.digest is not None
    memory = {"arena_bytes": 5120, "flash_bytes": 21_344, "code_bytes": 9_216, "ram_bytes": 7_004, "stack_bytes": 232}
    if metric != "instructions":
        memory = {}
    return measurement(
        bundle=item.digest,
        target=item.target,
        board=board,
        runtime=board,
        method="simulated",
        source=f"{metric} counted by {board}; flags -O2 -mcpu=cortex-m4 -mthumb",
        versions=(("compiler", "12.2"), (board, "7.2")),
        latency_s=None,
        warmup=None,
        conditions=CONDITIONS,
        steps=steps(counts[0]) if metric == "instructions" else (),
        **{metric: counts},
        **memory,
    )


def full() -> RunRecord:
    """A run with everything in it."""
    made = bundles()
    whole, split, _, _, arm_a, c_int8, c_e4m3, rtl, _ = made
    counts = tuple(3_100_000 + 17 * i for i in range(8))
    return RunRecord(
        name="digits",
        version="0.1.0",
        finished_at="2026-01-01T00:00:00+00:00",
        data="digits",
        train_images=1257,
        test_images=540,
        labels=tuple("0123456789"),
        model="dscnn",
        parameters=3162,
        macs=66_624,
        float_bytes=17_802,
        float_accuracy=0.9778,
        cut="/blocks/1/relu",
        schemes=schemes(),
        bundles=made,
        measurements=(
            timed(whole, "host-ort", 17e-6, seed=1),
            timed(whole, "host-openvino", 64e-6, seed=2),
            timed(split, "host-ort", 13e-6, "head", seed=3),
            timed(split, "host-ort", 9.8e-6, "tail", seed=4),
            timed(arm_a, "host-litert", 22e-6, seed=5),
            timed(c_int8, "host-c", 93e-6, seed=6),
            timed(c_e4m3, "host-c", 4.1e-3, seed=7),
            counted(c_int8, "qemu-aarch64", "instructions", (410_233,) * 8),
            counted(c_int8, "mps2-an386", "instructions", (702_118,) * 8),
            counted(c_e4m3, "mps2-an386", "instructions", counts),
            counted(c_e4m3, "qemu-aarch64", "instructions", tuple(c // 2 for c in counts)),
            counted(rtl, "verilator", "cycles", (141_902,) * 2),
        ),
    )


def nothing_executed() -> RunRecord:
    """Bundles were written, but nothing here executes or measures them."""
    missing = Parity("model", "onnxruntime", "not run", "onnxruntime is not installed")
    return replace(full(), bundles=(bundle("host", INT8, missing), bundle("jetson", INT8)), measurements=())


def all_refused() -> RunRecord:
    """Every target refused the scheme."""
    return replace(full(), bundles=(refused("host", E4M3), refused("arm-a", E4M3)), measurements=())


def with_wrong() -> RunRecord:
    """One check of the int8 network is wrong."""
    first, *others = full().bundles
    return replace(full(), bundles=(replace(first, parity=(wrong("model", "onnxruntime"), first.parity[1])), *others))


def one_sample() -> RunRecord:
    """One scheme, one bundle, one latency in one window."""
    run = full()
    single = replace(run.measurements[0], latency_s=((17e-6,),))
    return replace(run, schemes=run.schemes[:1], bundles=run.bundles[:1], measurements=(single,))


def hostile() -> RunRecord:
    """Every free text holds characters that mean something in HTML."""
    bad = "<script>alert('x')</script> & \"y\" {{ 7*7 }}"
    run = full()
    record = replace(run.schemes[0], scheme=bad)
    layer = replace(LAYER, node=bad, kind=bad, tensor=bad)
    parity = replace(bounded(bad, bad), reason=bad, first=layer)
    written = replace(run.bundles[0], target=bad, scheme=bad, parts=("model",), path=bad, parity=(parity,))
    item = replace(run.measurements[0], board=bad, runtime=bad, source=bad, versions=((bad, bad),))
    item = replace(item, conditions=replace(NO_GOVERNOR, cpu_model=bad, governor_reason=bad))
    item = replace(item, absent=tuple((metric, bad) for metric, _ in item.absent))
    names = {"name": bad, "version": bad, "data": bad, "model": bad, "cut": bad, "finished_at": bad}
    return replace(
        run, **names, labels=(bad, "b"), schemes=(record,), bundles=(written, refused(bad, bad, bad)),
        measurements=(item, replace(item, board=bad + "2")),
    )  # fmt: skip


SHAPES = (full, nothing_executed, all_refused, with_wrong, one_sample, hostile)
