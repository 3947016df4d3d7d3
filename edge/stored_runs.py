"""What commands mean by RUN: a pipeline's run folder, a folder of a store, or a name in the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices import run_record, store
from devices.measurement import Measurement
from devices.protocol import SIDES
from devices.run_record import RunRecord, read_run
from devices.store import Kept, StoredRun, find_run, read_stored
from edge.errors import EdgeError

#: Where the store is, unless an option says.
VARIABLE = "EDGEMILL_STORE"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of either kind: its name, what it measured, and the record of a pipeline's run or of a kept one."""

    name: str
    kept: tuple[Kept, ...]
    record: RunRecord | StoredRun

    def side(self, side: str) -> tuple[Kept, ...]:
        """Return the measurements of one side, or all where none has a side."""
        chosen = tuple(item for item in self.kept if item.side == side)
        return chosen or tuple(item for item in self.kept if item.side is None)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What is compared with other runs: without the baselines that took turns with it."""
        return tuple(item.measurement for item in self.kept if item.side != SIDES[0])


def open_run(name: str, folder: Path | None) -> Run:
    """Read the run that a person names.

    Args:
        name: a folder or file that is there, or a name in the store.
        folder: the store, or None where there is none.

    Raises:
        EdgeError: nothing of this name is there and no store was given.
        DeviceError: the run is damaged, or not in the store.
    """
    path = Path(name)
    if (path / store.FILE).is_file():
        return _stored(path)
    if (path / run_record.FILE).is_file() or path.is_file():
        record = read_run(path)
        return Run(f"{record.name}, {record.finished_at}", tuple(Kept(None, m) for m in record.measurements), record)
    if folder is None:
        raise EdgeError(
            f"there is no run {name}: no folder with {run_record.FILE} or {store.FILE}. "
            f"Make one: edgemill run CONFIG.toml; for a name in a store give --store DIR or set {VARIABLE}."
        )
    return _stored(find_run(folder, name))


def _stored(path: Path) -> Run:
    found = read_stored(path)
    return Run(found.name, found.kept, found)
