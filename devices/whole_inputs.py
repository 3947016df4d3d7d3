"""Whole inputs of a bundle with rules on emulated boards: its parts and decisions as one program, counted."""

from __future__ import annotations

from collections import Counter

import numpy as np

from devices.emulators.joint import open_joint
from devices.emulators.machine import Machine
from devices.errors import DeviceError
from devices.found import Found
from devices.plan import Plan
from export.bundle_read import read_bundle
from export.dynamic import stops
from export.errors import ExportError
from export.parity_rules import defined_answers


def count_whole(plan: Plan, machine: Machine, versions: tuple[tuple[str, str], ...]) -> Found:
    """Run a plan of whole inputs; where they stopped is said in `source`.

    Raises:
        DeviceError: the bundle was written anew meanwhile, does not compile, or answers otherwise than it is defined.
    """
    try:
        bundle = read_bundle(plan.folder)
        if bundle.digest != plan.bundle:
            raise DeviceError(f"{plan.folder} holds another bundle than was asked for; start again.")
        codes = bundle.parts[0].inputs[: plan.images]
        answers = defined_answers(bundle, codes)
        with open_joint(machine, bundle, plan.limit_s) as session:
            counted, footprint = session.counted(codes), session.footprint()
            stack_bytes = session.stack_bytes(codes)
    except ExportError as error:
        raise DeviceError(str(error)) from error
    if not (np.array_equal(counted.part, answers.part) and np.array_equal(counted.label, answers.label)):
        raise DeviceError(f"{machine.name}: {plan.folder} answers otherwise than it is defined; see edgemill verify.")
    ended = Counter(bundle.parts[index].name for index in stops(answers).tolist())
    where = ", ".join(f"{ended[part.name]} after {part.name}" for part in bundle.parts if ended[part.name])
    return Found(
        source=f"instructions of whole inputs, parts and decisions as one program, counted in {machine.emulator.name}; "
        f"of {len(codes)} inputs stopped: {where}; flags {' '.join(machine.flags)}",
        versions=versions,
        instructions=tuple(int(count) for count in counted.instructions),
        flash_bytes=footprint.flash_bytes,
        code_bytes=footprint.code_bytes,
        ram_bytes=footprint.ram_bytes,
        stack_bytes=stack_bytes,
    )
