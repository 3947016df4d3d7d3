"""Energy in words: the figure, how sure it is, where it comes from, and what was taken off."""

from __future__ import annotations

from devices.measurement import Measurement
from devices.meters.energy import Energy
from devices.report import units


def energy_line(item: Measurement, energy: Energy) -> str:
    """Return one line about the energy of a measurement, with its method, whatever the measurement's own is."""
    title = f"Energy of part '{item.part}' on {item.board}"
    return f"{title}: {energy_text(energy)}"


def energy_text(energy: Energy) -> str:
    """Return the gross and the net energy per inference, or why there is no net energy."""
    gross = f"{units.joules(energy.median_j)} gross per inference"
    sure = f", ± {units.joules(energy.expanded_j)} (k = 2)" if energy.expanded_j is not None else ""
    net = energy.median_net_j
    after = f"{units.joules(net)} net, idle {units.watts(energy.idle_w or 0.0)}" if net is not None else "no net energy"
    why = f" ({energy.net_reason})" if energy.net_reason else ""
    origin = f"{energy.method}, {energy.meter}: {' + '.join(energy.rails)}, {len(energy.gross_j)} windows"
    notes = "".join(f". {note[:1].upper()}{note[1:]}" for note in energy.notes)
    return f"{gross}{sure}; {after}{why}; {origin}{notes}."
