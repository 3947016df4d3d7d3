"""Arm's Vela compiler for Ethos-U: a `.tflite` file in, the compiled file and Arm's estimate of its cost out.

Vela runs as a process of its own. What it writes is read strictly: a column more, less or elsewhere is an error, as a
figure from the wrong column would look like a right one. Estimates are Vela's, not measurements.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import io
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError

#: The file Vela brings with it that describes Arm's reference systems.
CONFIG = "Arm/vela.ini"
LIMIT_S = 600.0
#: What the columns that are read mean is known for this version's list of columns only.
_SUMMARY_HEAD = (
    "experiment,network,accelerator_configuration,system_config,memory_mode,core_clock,arena_cache_size,"
    "sram_bandwidth,dram_bandwidth,on_chip_flash_bandwidth,off_chip_flash_bandwidth,weights_storage_area,"
    "feature_map_storage_area,inferences_per_second,batch_size,inference_time,passes_before_fusing,"
    "passes_after_fusing,sram_memory_used,dram_memory_used,on_chip_flash_memory_used,off_chip_flash_memory_used,"
    "total_original_weights,total_npu_encoded_weights,sram_feature_map_read_bytes,sram_feature_map_write_bytes,"
    "sram_weight_read_bytes,sram_weight_write_bytes,sram_total_bytes,dram_feature_map_read_bytes,"
    "dram_feature_map_write_bytes,dram_weight_read_bytes,dram_weight_write_bytes,dram_total_bytes,"
    "on_chip_flash_feature_map_read_bytes,on_chip_flash_feature_map_write_bytes,on_chip_flash_weight_read_bytes,"
    "on_chip_flash_weight_write_bytes,on_chip_flash_total_bytes,off_chip_flash_feature_map_read_bytes,"
    "off_chip_flash_feature_map_write_bytes,off_chip_flash_weight_read_bytes,off_chip_flash_weight_write_bytes,"
    "off_chip_flash_total_bytes,nn_macs,nn_tops,cycles_npu,cycles_sram_access,cycles_dram_access,"
    "cycles_on_chip_flash_access,cycles_off_chip_flash_access,cycles_total"
)
_LAYER_HEAD = (
    "Original Operator,NNG Operator,Target,Staging Usage,Peak% (Staging),Op Cycles,Network% (cycles),NPU,SRAM AC,"
    "DRAM AC,OnFlash AC,OffFlash AC,MAC Count,Network% (MAC),Util% (MAC),Name"
)
SUMMARY_COLUMNS = tuple(_SUMMARY_HEAD.split(","))
LAYER_COLUMNS = tuple(_LAYER_HEAD.split(","))


@dataclass(frozen=True, slots=True)
class Npu:
    """One Ethos-U with one of Arm's reference systems around it: names as Vela takes them."""

    name: str
    system: str
    memory_mode: str


NPUS = (
    Npu("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    Npu("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    Npu("ethos-u65-256", "Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    Npu("ethos-u85-256", "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation of the compiled network: `operator` in the file, `target` NPU or CPU, cycles as Vela estimates."""

    name: str
    operator: str
    target: str
    cycles: int
    macs: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What Vela expects of one NPU: cycles of an inference at `clock_hz`, bytes it takes of each memory.

    Operations that stay on the CPU (`target` of a layer) are in none of the figures.
    """

    clock_hz: int
    cycles: int
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    macs: int
    layers: tuple[Layer, ...]

    @property
    def on_cpu(self) -> tuple[Layer, ...]:
        """The operations that the NPU does not take."""
        return tuple(layer for layer in self.layers if layer.target != "NPU")


@dataclass(frozen=True, eq=False)
class Compiled:
    """The file Vela made for one NPU, and its estimate."""

    data: bytes
    estimate: Estimate


def missing() -> str | None:
    """Return None when Vela is installed, else the reason and what to install."""
    if importlib.util.find_spec("ethosu") is None:
        return "the package ethos-u-vela is not installed: pip install 'edgemill[arm]'"
    return None


def version() -> str:
    """Return the version of the Vela that is installed."""
    return importlib.metadata.version("ethos-u-vela")


def compile_for(npu: Npu, path: Path) -> Compiled:
    """Compile a `.tflite` file for one NPU.

    Raises:
        ExportError: Vela is not installed, refuses the file, leaves all of it to the CPU, takes too long, or writes
            something else than expected.
    """
    reason = missing()
    if reason:
        raise ExportError(f"{npu.name}: {reason}.")
    with tempfile.TemporaryDirectory(prefix="edgemill-") as work:
        folder = Path(work)
        _run(npu, path.resolve(), folder)
        layers = _one(folder, "*_per-layer.csv", npu).read_text()
        summary = _one(folder, "*_summary_*.csv", npu).read_text()
        made = estimate(npu, summary, layers)
        if len(made.on_cpu) == len(made.layers):
            raise ExportError(f"{npu.name}: Vela leaves every operation of {path.name} to the CPU.")
        return Compiled(_one(folder, "*_vela.tflite", npu).read_bytes(), made)


def _run(npu: Npu, path: Path, folder: Path) -> None:
    argv = [sys.executable, "-P", "-m", "ethosu.vela", str(path), "--output-dir", str(folder)]
    argv += ["--accelerator-config", npu.name, "--config", CONFIG]
    argv += ["--system-config", npu.system, "--memory-mode", npu.memory_mode, "--verbose-performance"]
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{npu.name}: Vela did not compile {path.name} within {LIMIT_S:g} s.") from error
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = said[-1].strip().rstrip(".") if said else "it says nothing"
        raise ExportError(f"{npu.name}: Vela refuses {path.name}: {reason}.")


def _one(folder: Path, pattern: str, npu: Npu) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ExportError(f"{npu.name}: Vela wrote {len(found)} files {pattern}; one was expected.")
    return found[0]


def estimate(npu: Npu, summary: str, layers: str) -> Estimate:
    """Read what Vela wrote about a network.

    Args:
        npu: which the figures must be about.
        summary: text of its summary, one row.
        layers: text of its table of layers.

    Raises:
        ExportError: other columns than expected, another NPU, or a figure that is none.
    """
    rows = _rows(summary, SUMMARY_COLUMNS, f"{npu.name}: Vela's summary")
    if len(rows) != 1:
        raise ExportError(f"{npu.name}: Vela's summary has {len(rows)} rows; one was expected.")
    row, where = rows[0], f"{npu.name}: Vela's summary"
    given = (row["accelerator_configuration"], row["system_config"], row["memory_mode"])
    if given != (_as_written(npu.name), npu.system, npu.memory_mode):
        raise ExportError(f"{where} is about {', '.join(given)}.")
    found = tuple(_layer(layer, npu) for layer in _rows(layers, LAYER_COLUMNS, f"{npu.name}: Vela's layers"))
    for key, parts in (
        ("cycles_total", [layer.cycles for layer in found]),
        ("nn_macs", [layer.macs for layer in found]),
    ):
        if sum(parts) != _number(row, key, where):
            raise ExportError(f"{where} says {key} {row[key]}, its layers make {sum(parts)}.")
    kib = {area: _number(row, f"{area}_memory_used", where, 1024) for area in ("sram", "dram", "off_chip_flash")}
    if _number(row, "on_chip_flash_memory_used", where):
        raise ExportError(f"{where} places data in on-chip flash, which {npu.system} does not have.")
    return Estimate(
        clock_hz=_number(row, "core_clock", where),
        cycles=_number(row, "cycles_total", where),
        sram_bytes=kib["sram"],
        dram_bytes=kib["dram"],
        flash_bytes=kib["off_chip_flash"],
        macs=_number(row, "nn_macs", where),
        layers=found,
    )


def _as_written(name: str) -> str:
    """`ethos-u55-128` is `Ethos_U55_128` in a summary."""
    return "_".join(word[0].upper() + word[1:] for word in name.split("-"))


def _layer(row: dict[str, str], npu: Npu) -> Layer:
    where = f"{npu.name}: Vela's layer '{row['Name']}'"
    if row["Target"] not in ("NPU", "CPU"):
        raise ExportError(f"{where} runs on '{row['Target']}'; NPU or CPU was expected.")
    cycles, macs = _number(row, "Op Cycles", where), _number(row, "MAC Count", where)
    return Layer(row["Name"], row["Original Operator"], row["Target"], cycles, macs)


def _rows(text: str, columns: tuple[str, ...], what: str) -> list[dict[str, str]]:
    head, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    if tuple(head) != columns:
        odd = sorted(set(head) ^ set(columns)) or ["their order"]
        raise ExportError(f"{what} has other columns than Vela 5.2.0 writes ({', '.join(odd)}); install that version.")
    if any(len(row) != len(columns) for row in rows):
        raise ExportError(f"{what} has a row of another length than its head.")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _number(row: dict[str, str], key: str, where: str, unit: int = 1) -> int:
    """Return a figure in whole units; Vela writes KiB with fractions, and a clock as a real number."""
    try:
        value = float(row[key]) * unit
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0 and value == int(value)):
        raise ExportError(f"{where}: {key} is '{row[key]}', which is no whole number from 0 up.")
    return int(value)
