"""`edgemill split` over the trained bottlenecks of `benchmarks.split_recipes`: cuts, channels and formats for a link.

python -m benchmarks.split_search [--work FOLDER] [--link 0.25mbit,5ms] [--out FOLDER]

FOLDER is that of `benchmarks.split_recipes`, whose networks it takes (seed 0). Costs are kept in the out folder, so a
second call goes on behind them. Needs QEMU and the ARM compilers. Writes `benchmarks/results/split_search.json`, `.md`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.results import environment, write_results
from benchmarks.split_links import SCHEME, calibration, image_bytes
from benchmarks.split_students import CHANNELS, EPOCHS, Job, jobs, teacher_of, two_stages
from devices.boards import find_board
from edge.link.model import parse_link
from edge.link.wire import OVERHEAD_BYTES
from edge.onnx_file import to_onnx
from edge.recipes.bottleneck_export import to_graph
from edge.splitting.job import Network, SplitJob
from edge.splitting.page import write_page
from edge.splitting.points import parse_link_formats
from edge.splitting.record import SplitRecord, to_record
from edge.splitting.search import search
from edge.splitting.table import columns_of, filled, link_text, ordered, row, summary
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.ptq import prepare, quantise
from quant.scheme import parse_scheme

METHOD, FORMATS, CUT, MIPS = "ghnd-ft", "int8,int4,e3m2", "cut", 168.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/split_recipes"))
    parser.add_argument("--out", type=Path, default=Path("runs/split_search"))
    parser.add_argument("--link", default="0.25mbit,5ms")
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    job = split_job(jobs(options.work, [0])[0], options.link, options.images)
    found = search(job, options.out, lambda what, done, total: print(f"{done} of {total}: {what}", flush=True))
    write_page(found, options.out / "report.html")
    record = {"environment": environment(), "scheme": SCHEME, "method": METHOD, **to_record(found)}
    write_results("split_search", record, table(found))


def split_job(job: Job, link: str, images: int) -> SplitJob:
    """Return the search over the students' cuts; the teacher runs undivided."""
    teacher, _ = teacher_of(job)
    scheme, inputs, shape = parse_scheme(SCHEME), calibration(job.dataset), job.dataset.preprocess.shape
    students = [two_stages(job, teacher, METHOD, channels, EPOCHS) for channels in CHANNELS]
    graphs = [to_graph(student.module, shape, f"c{student.channels}") for student in students]
    networks = [Network(graph.name, quantise(graph, scheme, inputs)) for graph in graphs]
    sizes = image_bytes(job.dataset.x_test[:images])
    return SplitJob(
        networks=tuple(networks),
        whole=Network("teacher", quantise(_float_graph(teacher, shape), scheme, inputs)),
        dataset=job.dataset,
        link=parse_link(link),
        device=find_board("mps2-an386"),
        server=find_board("host-c"),
        formats=parse_link_formats(FORMATS),
        tensors=(CUT,),
        images=images,
        # A device without a head sends the smaller of PNG and JPEG.
        input_bytes=round(min(sizes["png"], sizes["jpeg95"])) + OVERHEAD_BYTES,
        mips=MIPS,
    )


def _float_graph(module: Any, shape: tuple[int, int, int]) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.onnx"
        to_onnx(module, shape, path)
        return prepare(load_onnx(path))


def table(found: SplitRecord) -> str:
    """Return the choices as Markdown."""
    columns, rows = filled(columns_of(found), [row(choice) for choice in ordered(found.choices)])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    notes = [f"- {note}" for note in found.notes]
    title = f"# Bottlenecks for a link: {link_text(found)}\n\n{summary(found)}. * is on the front of "
    title += (
        f"{', '.join(found.objectives)}. What is sent without a head is the smaller of PNG and JPEG (quality 95).\n"
    )
    return "\n".join([title, *lines, "", *notes, ""])


if __name__ == "__main__":
    main()
