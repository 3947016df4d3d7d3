"""Bottlenecks on all of Fashion-MNIST: methods, channels, formats of the link, bytes, and where split is best.

python -m benchmarks.split_recipes [--work FOLDER] [--seeds 0 1 2] [--frames 2000] [--longer]

Trainings and evaluations are kept in FOLDER, so a second call goes on behind them. Needs QEMU and the ARM compilers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.results import environment, write_results
from benchmarks.split_links import SERVER, each_link, image_bytes, instruction_counts
from benchmarks.split_socket import over_a_socket
from benchmarks.split_students import (
    BATCH,
    CHANNELS,
    COMPARED,
    EPOCHS,
    LONGER,
    RATE,
    TEACHER_EPOCHS,
    TEACHER_RATE,
    Job,
    Student,
    jobs,
    longer,
    students,
    teacher_of,
)
from benchmarks.split_table import table
from edge.link.model import Costs, best_way, break_even, parse_link, seconds
from edge.link.wire import OVERHEAD_BYTES
from export.atomic import write_file

LINKED, LINK = "ghnd-ft", "int8"
RATES = ("0.1mbit", "0.25mbit", "0.5mbit", "1mbit", "2mbit", "5mbit", "10mbit")
ROUND_TRIP = "20ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/split_recipes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, default=2000, help="test images that cross the socket")
    parser.add_argument("--longer", action="store_true", help="train the methods for more epochs as well")
    options = parser.parse_args()
    record: dict[str, Any] = {"environment": environment(), "settings": _settings(), "methods": [], "links": []}
    record |= {"teachers": [], "longer": []}
    for job in jobs(options.work, options.seeds):
        teacher, trained = teacher_of(job)
        found = list(students(job, teacher))
        record["teachers"].append({"seed": job.seed, "accuracy": trained["accuracy"]})
        record["methods"] += [_method(job, student) for student in found]
        if options.longer:
            record["longer"] += [_method(job, student) for student in longer(job, teacher)]
        linked = [student for student in found if student.method == LINKED]
        record["links"] += list(each_link(job, linked, lambda text: print(text, flush=True)))
        if job.seed == options.seeds[0]:
            record |= _once(job, teacher, linked, options.frames)
    record["latency"] = _latency(record)
    write_results("split_recipes", record, table(record))


def _settings() -> dict[str, Any]:
    first = {"teacher_epochs": TEACHER_EPOCHS, "teacher_rate": TEACHER_RATE, "batch": BATCH, "rate": RATE}
    return first | {"epochs": EPOCHS, "longer_epochs": LONGER, "compared_channels": COMPARED, "channels": CHANNELS}


def _method(job: Job, student: Student) -> dict[str, Any]:
    known = ("accuracy", "losses", "first_stage_accuracy", "train_cpu_s")
    facts = {key: student.record[key] for key in known if key in student.record}
    return {"seed": job.seed, "method": student.method, "channels": student.channels, "epochs": student.epochs, **facts}


def _once(job: Job, teacher: Any, linked: list[Student], frames: int) -> dict[str, Any]:
    """Measure what does not depend on the seed: sizes of images, instructions; and one bundle over a socket."""
    compared = next(student for student in linked if student.channels == COMPARED)
    path = job.folder / f"once-{job.seed}.json"
    facts = {"frames": frames, "accuracy": compared.record["accuracy"]}
    if path.exists() and (kept := json.loads(path.read_text()))["facts"] == facts:
        return dict(kept["found"])
    found = {
        "image_bytes": image_bytes(job.dataset.x_test),
        "counts": {str(s.channels): instruction_counts(job, teacher, s, LINK) for s in linked},
        "socket": over_a_socket(job, compared, LINK, frames),
    }
    write_file(path, json.dumps({"facts": facts, "found": found}, indent=1).encode())
    return found


def _latency(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return seconds by rate and way, and the break-even rates, for each device and number of channels."""
    wire = {row["channels"]: row["wire_bytes"] for row in record["links"] if row["link"] == LINK}
    rows = []
    for channels, counts in record["counts"].items():
        server = counts[SERVER[0]]
        for device, parts in counts.items():
            if device in ("macs", SERVER[0]):
                continue
            costs = Costs(
                parts["student"]["seconds"],
                parts["head"]["seconds"],
                server["tail"]["seconds"],
                server["teacher"]["seconds"],
                round(min(record["image_bytes"].values())) + OVERHEAD_BYTES,
                wire[int(channels)],
            )
            rows.append({"device": device, "channels": int(channels), **_ways(costs)})
    return rows


def _ways(costs: Costs) -> dict[str, Any]:
    links = {rate: parse_link(f"{rate},{ROUND_TRIP}") for rate in RATES}
    found = break_even(costs, links[RATES[0]].round_trip_s)
    return {
        "input_bytes": costs.input_bytes,
        "cut_bytes": costs.cut_bytes,
        "seconds": {rate: seconds(costs, link) for rate, link in links.items()},
        "best": {rate: best_way(costs, link) for rate, link in links.items()},
        "split_from_bit_s": found.split_from,
        "split_to_bit_s": found.split_to,
        "local_below_bit_s": found.local_below,
        "remote_above_bit_s": found.remote_above,
    }


if __name__ == "__main__":
    main()
