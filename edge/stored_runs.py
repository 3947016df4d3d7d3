"""What commands mean by RUN: a pipeline's run folder, a folder of a store, or a name in the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices import run_record, store
from devices.measurement import Measurement
from devices.protocol import SIDES
from devices.report.joined import entries
from devices.run_record import RunRecord, read_run
from devices.store import StoredRun, find_run, read_stored
from edge.errors import EdgeError

#: Where the store is, unless an option says.
VARIABLE = "EDGEMILL_STORE"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of either kind: its name, what it measured with scheme and side where it has them, and its record."""

    name: str
    found: tuple[tuple[str, str | None, Measurement], ...]
    record: RunRecord | StoredRun

    def side(self, side: str) -> tuple[tuple[str, Measurement], ...]:
        """Return scheme and measurement of one side; of all where none has a side."""
        chosen = [item for item in self.found if item[1] == side] or [item for item in self.found if item[1] is None]
        return tuple((scheme, item) for scheme, _, item in chosen)

    @property
    def sides(self) -> frozenset[str | None]:
        """The sides that it has."""
        return frozenset(side for _, side, _ in self.found)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What is compared with other runs: without the baselines that took turns with it."""
        return tuple(item for _, side, item in self.found if side != SIDES[0])


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
        schemes = tuple((entry.scheme, None, entry.measurement) for entry in entries(record))
        return Run(f"{record.name}, {record.finished_at}", schemes, record)
    if folder is None:
        raise EdgeError(
            f"there is no run {name}: no folder with {run_record.FILE} or {store.FILE}. "
            f"Make one: edgemill run CONFIG.toml; for a name in a store give --store DIR or set {VARIABLE}."
        )
    return _stored(find_run(folder, name))


def _stored(path: Path) -> Run:
    found = read_stored(path)
    return Run(found.name, tuple(("", kept.side, kept.measurement) for kept in found.kept), found)
