"""Commands that try many quantisations of one model: sweep and search."""

from __future__ import annotations

from pathlib import Path

import click

from edge.commands.common import data_options, json_option, load_data
from edge.commands.model import model_argument, weights_option


@click.command()
@model_argument
@data_options("--data", "Training images calibrate, test images give the accuracy.")
@click.option(
    "--formats",
    default="int4,int6,int8,e2m1,e3m2,e4m3",
    show_default=True,
    help="Formats of weights and activations: names, all, integers, minifloats, 3bit to 8bit.",
)
@click.option("--weight-formats", help="Formats of the weights; default: those of --formats.")
@click.option("--activation-formats", help="Formats of the activations; default: those of --formats.")
@click.option(
    "--passes", default="scales+gptq+bias", show_default=True, help="Comma-separated: plain, or passes joined by +."
)
@click.option("--granularity", default="channel", show_default=True, help="Of weight scales: channel, tensor or both.")
@click.option(
    "--options", default="mse-ends8", show_default=True, help="Options and rules of every scheme; sym-p99.99;fc=w8a8."
)
@click.option("--count", type=click.IntRange(min=1), default=256, show_default=True, help="Images that calibrate.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which images.")
@click.option("--family", default="xcup", show_default=True, help="FPGA whose look-up tables are meant: xcup or ecp5.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; default: one for each core.")
@weights_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Sweep folder; default sweeps/MODEL. A second call resumes."
)
@json_option
def sweep(
    model: str,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    formats: str,
    weight_formats: str | None,
    activation_formats: str | None,
    passes: str,
    granularity: str,
    options: str,
    count: int,
    seed: int,
    family: str,
    jobs: int | None,
    weights: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Try formats, passes and granularities on one float model.

    Every pair of weight and activation formats is quantised, emulated on the test images, and put on fronts of accuracy
    against size and FPGA look-up tables. A second call resumes where the first one stopped.
    """
    from devices.report.sweep_page import REPORT, print_sweep, write_sweep_report
    from devices.sweep_record import to_json
    from edge.commands.progress import counter
    from edge.model_file import load_model
    from edge.sweep import SweepJob, cores, run_sweep
    from edge.sweep_plan import parse_formats, plan, words
    from quant.luts import find_family

    specs = plan(
        parse_formats(weight_formats or formats),
        parse_formats(activation_formats or formats),
        words(passes),
        words(granularity),
        options,
    )
    chosen = find_family(family)
    dataset = load_data(data, pixel_scale, mean, std, test_share=0.3)
    graph = load_model(model, weights, dataset.preprocess.shape)
    folder = output or Path("sweeps") / Path(model.rpartition(":")[2]).stem
    job = SweepJob(graph, dataset, specs, count, seed, chosen)
    with counter("cells") as tell:
        record = run_sweep(job, folder, jobs or cores(), tell)
    write_sweep_report(record, folder / REPORT)
    if as_json:
        click.echo(to_json(record), nl=False)
        return
    print_sweep(record)
    click.echo(f"report: {folder / REPORT}")


@click.command()
@model_argument
@data_options("--data", "Training images calibrate and score, test images give the accuracy.")
@click.option("--budget-bytes", type=float, help="Most bytes of weights, scales and biases; weights only.")
@click.option("--budget-luts", type=float, help="Most look-up tables of one FPGA multiply-accumulate, mean over MACs.")
@click.option("--budget-bops", type=float, help="Most bit operations per inference: MACs x weight x activation bits.")
@click.option("--weight-formats", default="int3,int4,int6,int8", show_default=True, help="Formats a layer may have.")
@click.option("--activation-formats", default="int4,int6,int8", show_default=True, help="Formats of activations.")
@click.option("--passes", default="scales+gptq+bias", show_default=True, help="Passes of every choice, joined by +.")
@click.option(
    "--options", default="mse-i8", show_default=True, help="Options and rules of every scheme; sym-p99.99;fc=w8a8."
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=160, show_default=True, help="What the predictor learns."
)
@click.option("--count", type=click.IntRange(min=1), default=256, show_default=True, help="Images that calibrate.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Images and random choices.")
@click.option("--family", default="xcup", show_default=True, help="FPGA whose look-up tables are meant: xcup or ecp5.")
@weights_option
@json_option
def search(
    model: str,
    data: str,
    pixel_scale: float | None,
    mean: str,
    std: str,
    budget_bytes: float | None,
    budget_luts: float | None,
    budget_bops: float | None,
    weight_formats: str,
    activation_formats: str,
    passes: str,
    options: str,
    samples: int,
    count: int,
    seed: int,
    family: str,
    weights: Path | None,
    as_json: bool,
) -> None:
    """Choose a format for every layer within a budget.

    Evolution on a predictor stands beside greedy sensitivity and beside the same format for all layers. What is found
    is a scheme, which quantize takes.
    """
    from dataclasses import asdict

    from edge.commands.common import print_json
    from edge.commands.progress import steps
    from edge.model_file import load_model
    from edge.search_table import print_search
    from edge.searching import SearchJob
    from edge.searching import search as search_formats
    from edge.sweep_plan import options_scheme, parse_formats
    from quant.luts import find_family
    from quant.workshop import shared_method

    given = {"bytes": budget_bytes, "luts": budget_luts, "bops": budget_bops}
    limits = [(kind, value) for kind, value in given.items() if value is not None]
    if len(limits) != 1:
        raise click.UsageError("give one of --budget-bytes, --budget-luts and --budget-bops.")
    dataset = load_data(data, pixel_scale, mean, std, test_share=0.3)
    job = SearchJob(
        graph=load_model(model, weights, dataset.preprocess.shape),
        dataset=dataset,
        weights=parse_formats(weight_formats),
        activations=parse_formats(activation_formats),
        options=options_scheme(options),
        method=shared_method(passes),
        kind=limits[0][0],
        budget=limits[0][1],
        samples=samples,
        count=count,
        seed=seed,
        family=find_family(family),
    )
    with steps() as tell:
        result = search_formats(job, tell)
    if as_json:
        print_json(asdict(result))
    else:
        print_search(result)
