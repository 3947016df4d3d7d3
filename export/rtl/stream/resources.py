"""What a unit takes of an FPGA, estimated: for choosing a folding, never for a report (that is synthesised).

The counts are sums over parts: multipliers with their adders, accumulators, memories, requantisation, walks and FIFOs.
Multipliers of pipes are counted, not estimated. Constants were fitted to yosys 0.23 on Xilinx 7
(`benchmarks/fpga_fold.py` prints how far off they are).
"""

from __future__ import annotations

from export.rtl.bounds import signed_bits
from export.rtl.stream.device import Device, Resources, total
from export.rtl.stream.layer import SMALL_ROM
from export.rtl.stream.pipe_cost import multipliers
from export.rtl.stream.plan import Design, Link
from export.rtl.stream.units import Elementwise, Layer, Rearrange, Unit
from export.rtl.stream.window import SMALL_BUFFER
from quant.accumulator import smallest_bits
from quant.formats import Format
from quant.luts import ECP5, XCUP, mac_luts
from quant.steps import AddStep, ConvStep, MaxPoolStep, TableStep, WideAddStep

#: Products that share a DSP block by style.
PER_DSP = {"dsp": 1, "dsp_pair": 2}


def design_resources(plan: Design, device: Device) -> list[Resources]:
    """Return the estimate of every unit, with the links into it and what its outputs need."""
    return [
        unit_resources(plan, unit, device) + total([_link(plan, link, device) for link in _links(plan, index)])
        for index, unit in enumerate(plan.units)
    ]


def _links(plan: Design, index: int) -> list[Link]:
    """Return the links into a unit, and those of its outputs that keep a frame or make labels."""
    ends = [link for link in plan.ends() if link.source == index and (link.queue_bits or link.labels_of)]
    return [*plan.inputs(index), *ends]


def unit_resources(plan: Design, unit: Unit, device: Device) -> Resources:
    """Return the estimate of one unit."""
    match unit:
        case Layer():
            return _layer(plan, unit, device)
        case Elementwise():
            return _elementwise(plan, unit, device)
        case Rearrange():
            bits = plan.format_bits(unit.step.y)
            frames = total([_memory(bits, 2 * size, device) for size in unit.sizes])
            return frames + _memory(18, len(unit.order), device) + Resources(60)


def _layer(plan: Design, unit: Layer, device: Device) -> Resources:
    fmt = plan.program.quant(unit.step.x).format
    buffer = _memory(unit.in_lanes * fmt.bits, unit.rows * unit.walk.row_words, device, SMALL_BUFFER)
    walk = Resources(160 + unit.in_lanes * fmt.bits)
    if isinstance(unit.step, MaxPoolStep):
        return buffer + walk + Resources(2.0 * unit.fold.pe * fmt.bits)
    if not isinstance(unit.step, ConvStep):
        acc = signed_bits(0, fmt.max_units * unit.walk.terms)
        return buffer + walk + _sums(2.0 * unit.fold.pe * acc) + _finish(plan, unit, acc)
    acc = signed_bits(-unit.step.acc_max, unit.step.acc_max)
    depth = unit.walk.groups * unit.walk.terms
    rom = _memory(unit.fold.pe * unit.fold.simd * unit.step.weight_format.bits, depth, device, SMALL_ROM, rom=True)
    held = 1.0 if unit.beats_per_group > 1 else 0.0
    sums = _sums(unit.fold.pe * acc * (1 + held))
    products = _products(unit.step.weight_format, fmt, unit, device)
    return buffer + walk + rom + sums + products + _finish(plan, unit, acc)


def _sums(bits: float) -> Resources:
    """Return accumulators of so many bits together, with what steps and sends them."""
    return Resources(60 + 1.15 * bits)


def _products(weight: Format, activation: Format, unit: Layer, device: Device) -> Resources:
    count = unit.fold.pe * unit.fold.simd
    tree = smallest_bits(weight, activation, unit.fold.simd) * (unit.fold.simd - 1) / unit.fold.simd
    if unit.fold.style != "lut":
        return Resources(count * (tree + 1), -(-count // PER_DSP[unit.fold.style]))
    return Resources(1.1 * count * (product_luts(weight, activation, device) + tree))


def product_luts(weight: Format, activation: Format, device: Device) -> float:
    """Return the look-up tables of one exact product."""
    family = XCUP if device.lut_inputs == 6 else ECP5
    product = smallest_bits(weight, activation, 1)
    return max(product, mac_luts(weight, activation, family).luts * 0.62 - 0.5 * product)


def _finish(plan: Design, unit: Layer, acc: int) -> Resources:
    """Requantisation: its multipliers, the sum with the start, rounding, limits, and constants by channel."""
    rounding = 50 if plan.program.quant(unit.step.y).format.is_minifloat else 25
    return Resources(50 + unit.out_lanes * (rounding + 1.1 * acc), unit.out_lanes * multipliers(plan, unit))


def _elementwise(plan: Design, unit: Elementwise, device: Device) -> Resources:
    if isinstance(unit.step, TableStep):
        return _memory(plan.format_bits(unit.step.y), 1 << plan.format_bits(unit.step.x), device) + Resources(40)
    blocks = multipliers(plan, unit)
    match unit.step:
        case AddStep():
            per_lane = 220.0 if blocks else 140.0
        case WideAddStep():
            per_lane = 340.0
        case _:
            per_lane = 220.0
    return Resources(unit.lanes * per_lane + 40, unit.lanes * blocks)


def _link(plan: Design, link: Link, device: Device) -> Resources:
    width = link.from_lanes * plan.format_bits(link.tensor)
    queue = _memory(width, 1 << link.queue_bits, device, SMALL_BUFFER) if link.queue_bits else Resources()
    wide = max(link.from_lanes, link.to_lanes) * plan.format_bits(link.tensor)
    convert = Resources(wide + 8.0) if link.from_lanes != link.to_lanes else Resources()
    label = Resources(2.5 * plan.format_bits(link.tensor) + 20) if link.labels_of else Resources()
    return queue + convert + label + Resources(width + 30.0)


def _memory(width: int, depth: int, device: Device, small: int = 0, *, rom: bool = False) -> Resources:
    """Return a memory in block RAM, or in look-up tables where it has at most `small` words."""
    if depth <= small:
        per_lut = (1 << device.lut_inputs) * (1 if rom else 0.5)
        return Resources(width * max(0.5 if rom else 1.0, depth / per_lut))
    blocks = min(-(-width // wide) * -(-depth // deep) for wide, deep in device.shapes)
    return Resources(10.0, 0, blocks / device.blocks_per_unit)
