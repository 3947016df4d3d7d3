"""Tables about the network: accuracy float against quantised, and sizes."""

from __future__ import annotations

from devices.board import MEMORIES
from devices.measurement import Measurement
from devices.report import units
from devices.report.joined import Entry, entries
from devices.report.paired import LEVEL, mcnemar, paired_error, standard_error, statement
from devices.report.table import Cell, Column, Table, cells, number_columns, text_columns
from devices.run_record import Accuracy, BundleRecord, RunRecord, SchemeRecord


def accuracy_table(run: RunRecord) -> Table:
    """Return accuracy and label flips of every scheme, with errors and the paired test."""
    return Table(
        f"Top-1 accuracy on the same {units.count(run.test_images)} test images of {run.data}, ± one standard error",
        (
            Column("scheme"),
            *number_columns("float", "quantised", "difference, points", "same label", "lost", "gained", "moved"),
            Column("McNemar exact test", wide=True),
        ),
        tuple(_accuracy_row(record) for record in run.schemes),
    )


def _accuracy_row(record: SchemeRecord) -> tuple[Cell, ...]:
    found = record.accuracy
    change, error = found.quantised_accuracy - found.float_accuracy, paired_error(found)
    worse = mcnemar(found.lost, found.gained) < LEVEL and found.lost > found.gained
    return cells(
        record.scheme,
        _share(found.float_accuracy, found.images),
        _share(found.quantised_accuracy, found.images),
        Cell(units.points(change), f"± {100 * error:.2f}" if error is not None else ""),
        Cell(units.percent(found.agreement), f"{flips(found)} flip{'s' if flips(found) != 1 else ''}"),
        str(found.lost),
        str(found.gained),
        str(found.moved),
        Cell(statement(found), kind="warn" if worse else ""),
    )


def flips(found: Accuracy) -> int:
    """Return how many images got another label."""
    return found.lost + found.gained + found.moved


def _share(accuracy: float, images: int) -> Cell:
    error = standard_error(accuracy, images)
    lack = "all right" if accuracy == 1.0 else "none right"
    return Cell(units.percent(accuracy), f"± {100 * error:.2f}" if error is not None else lack)


def weights_table(run: RunRecord) -> Table:
    """Return the size of the float network and of the weights of every scheme."""
    parameters = Cell("float", f"{units.count(run.parameters)} parameters")
    rows = [cells(parameters, units.size(run.float_bytes), "model.onnx, whole file", "1", units.DASH)]
    for record in run.schemes:
        share = units.significant(record.weight_bytes / run.float_bytes, 3) if run.float_bytes else units.DASH
        packed = "codes packed at their bits, biases as stored"
        rows.append(
            cells(record.scheme, units.size(record.weight_bytes), packed, share, units.seconds(record.quantise_s))
        )
    columns = (Column("network"), *number_columns("size"), Column("what is counted"))
    return Table("Weights", (*columns, *number_columns("of float", "time to quantise")), tuple(rows))


def bundles_table(run: RunRecord) -> Table:
    """Return every bundle that was written, with its size and digest."""
    rows = tuple(_bundle_row(bundle) for bundle in run.bundles if bundle.refused is None)
    columns = (*text_columns("target", "scheme", "parts"), *number_columns("bytes on disk"))
    caption = "Bundles: all files of the directory, test vectors and sources included"
    return Table(caption, (*columns, Column("folder", wide=True), Column("digest")), rows)


def _bundle_row(bundle: BundleRecord) -> tuple[Cell, ...]:
    size = units.size(bundle.size_bytes) if bundle.size_bytes is not None else units.DASH
    digest = (bundle.digest or units.DASH)[:12]
    return cells(bundle.target, bundle.scheme, ", ".join(bundle.parts), size, bundle.path or units.DASH, digest)


def memory_table(run: RunRecord) -> Table:
    """Return arena, flash, its code, RAM and stack of an inference, where a board gave any of them."""
    found = [e for e in entries(run) if any(e.measurement.value(name) is not None for name in MEMORIES)]
    columns = (*text_columns("scheme", "part", "board", "method"), *number_columns(*MEMORIES))
    caption = "Memory on the device: flash is code and constants, RAM the arena and static data, stack comes on top"
    return Table(caption, columns, tuple(_memory_row(entry) for entry in found))


def _memory_row(entry: Entry) -> tuple[Cell, ...]:
    item = entry.measurement
    return cells(entry.scheme, item.part, item.board, item.method, *(_memory(item, metric) for metric in MEMORIES))


def _memory(item: Measurement, metric: str) -> Cell:
    value = item.value(metric)
    return Cell(units.size(value)) if isinstance(value, int) else Cell("absent", dict(item.absent)[metric], "absent")
