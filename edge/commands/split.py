"""The command split: where a network is cut best for a link."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.commands.common import boards_option, data_options, json_option, load_data, print_json
from edge.commands.model import weights_option

if TYPE_CHECKING:
    from edge.dataset import Dataset
    from edge.splitting.job import SplitJob

_ABOVE_0 = click.FloatRange(min=0, min_open=True)
_FROM_1 = click.IntRange(min=1)
#: What a person may call this machine: the generated C, which has every format.
HOST = "host"


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--list", "only_list", is_flag=True, help="Only list the cut points; needs no link and no data.")
@click.option("--link", help="Rate and round trip, such as 4mbit,20ms.")
@click.option("--device", default=HOST, show_default=True, help="Board that runs heads: host, mps2-an386, ...")
@click.option("--server", default=HOST, show_default=True, help="Board that runs tails.")
@click.option("--formats", default="int8,int4,e3m2", show_default=True, help="Number formats of the link.")
@click.option("--channels", default="", help="Only cuts of so many channels, such as 1,3,6,12.")
@click.option("--cut", "tensors", multiple=True, help="Only this cut; may be given several times.")
@click.option("--every", is_flag=True, help="Also cuts that send more than the input.")
@click.option("--whole", help="The model that runs undivided, here or there; default: the first MODEL.")
@data_options("--data", "Training images set the link's ranges, test images give accuracies.", required=False)
@click.option("--images", type=_FROM_1, default=1000, show_default=True, help="Test images per accuracy.")
@click.option("--count", type=_FROM_1, default=128, show_default=True, help="Images that set the link's ranges.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which images.")
@click.option("--scheme", default="w8a8", show_default=True, help="Of float models.")
@click.option("--input-bytes", type=_FROM_1, help="What a device without a head sends; default: the input's codes.")
@click.option("--device-mips", type=_ABOVE_0, help="Million instructions per second of a board that counts them.")
@click.option("--windows", type=_FROM_1, default=5, show_default=True, help="Windows of latencies.")
@click.option("--window-s", type=_ABOVE_0, default=0.1, show_default=True, help="Length of a window in seconds.")
@click.option("--warmup-s", type=click.FloatRange(min=0), default=0.1, show_default=True, help="Thrown away first.")
@weights_option
@boards_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder; default splits/MODEL. A second call resumes."
)
@json_option
def split(
    models: tuple[str, ...],
    only_list: bool,
    link: str | None,
    device: str,
    server: str,
    formats: str,
    channels: str,
    tensors: tuple[str, ...],
    every: bool,
    whole: str | None,
    data: str | None,
    pixel_scale: float | None,
    mean: str,
    std: str,
    images: int,
    count: int,
    seed: int,
    scheme: str,
    input_bytes: int | None,
    device_mips: float | None,
    windows: int,
    window_s: float,
    warmup_s: float,
    weights: Path | None,
    boards_file: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find the best cut for a link.

    Every cut of every MODEL in every format of the link: accuracy, costs on both sides, latency, bytes, and the rates
    at which the split is faster than the device alone and the server alone. A second call resumes.
    """
    dataset = load_data(data, pixel_scale, mean, std, test_share=0.3) if data else None
    if only_list:
        _list(models, weights, dataset, formats, as_json=as_json)
        return
    if link is None or dataset is None:
        raise click.UsageError("a search needs --link and --data; --list shows the cut points alone.")
    from devices.inventory import find_any
    from edge.link.model import parse_link
    from edge.splitting.job import Measuring, SplitJob
    from edge.splitting.models import load_networks, name_of
    from edge.splitting.points import parse_link_formats

    rate, wanted = parse_link(link), parse_link_formats(formats)
    sides = [find_any("host-c" if name == HOST else name, boards_file) for name in (device, server)]
    asked = _numbers(channels)
    # The whole network may be one of those that are cut.
    names = models if whole is None or whole in models else (*models, whole)
    networks = load_networks(names, weights, dataset, scheme, _say)
    job = SplitJob(
        networks=networks[: len(models)],
        whole=networks[names.index(whole or models[0])],
        dataset=dataset,
        link=rate,
        device=sides[0],
        server=sides[1],
        formats=wanted,
        channels=asked,
        tensors=tensors,
        every=every,
        images=images,
        calibration=count,
        seed=seed,
        input_bytes=input_bytes,
        mips=device_mips,
        measuring=Measuring(windows, window_s, warmup_s),
    )
    _search(job, output or Path("splits") / name_of(models[0]), as_json=as_json)


def _search(job: SplitJob, folder: Path, *, as_json: bool) -> None:
    from edge.commands.progress import steps
    from edge.splitting.page import REPORT, write_page
    from edge.splitting.record import to_record
    from edge.splitting.search import search
    from edge.splitting.table import print_choices

    with steps() as tell:
        found = search(job, folder, tell)
    write_page(found, folder / REPORT)
    if as_json:
        print_json(to_record(found))
        return
    print_choices(found)
    click.echo(f"report: {folder / REPORT}")


def _list(
    models: tuple[str, ...], weights: Path | None, dataset: Dataset | None, formats: str, *, as_json: bool
) -> None:
    from edge.splitting.models import load_any
    from edge.splitting.points import parse_link_formats, points
    from edge.splitting.table import print_points

    wanted = parse_link_formats(formats)
    shape = dataset.preprocess.shape if dataset is not None else None
    found = {}
    for model in models:
        graph = load_any(model, weights, shape)
        found[graph.name] = points(graph, wanted)
    if as_json:
        print_json({"schema": 1, "models": {name: [point.record() for point in made] for name, made in found.items()}})
        return
    for name, made in found.items():
        print_points(name, made)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"--channels takes numbers between commas, such as 1,3,6, not '{text}'.")
    return tuple(int(part) for part in parts)


def _say(line: str) -> None:
    click.echo(line, err=True)
