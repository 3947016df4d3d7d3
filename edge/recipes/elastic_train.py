"""Train an elastic network: every step the biggest, three random and the smallest subnet (EQ-Net, ICCV 2023).

The loss of one step is

    0.015 * mean over layers of (kurtosis(W) - 1.8)^2 + mean over layers of skewness(W)^2        WDR
    + CE(biggest) + sum over the others of 0.5 * KL(it || the subnet before) + 0.5 * CE           GPG

so that weights spread evenly over their range, which suits every width (a uniform distribution has kurtosis 1.8), and
each subnet learns from the one before it, which is a little bigger.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.npz import read_npz
from edge.recipes.elastic_net import ElasticNet, running
from edge.train import EVAL_BATCH, Schedule, batches, progress_bar, repeatable
from export.atomic import write_file
from quant.formats import Array
from quant.subnet import WIDTHS, Subnet

KURTOSIS_WEIGHT, SKEWNESS_WEIGHT, UNIFORM_KURTOSIS = 0.015, 1.0, 1.8
RANDOM_SUBNETS = 3
LABEL_SMOOTHING = 0.1
GRADIENT_LIMIT = 1.0
#: Learning rate of scales and offsets, as a share of the weights'. Adam moves both by about the rate; scales are small.
TABLE_RATE = 0.1
CALIBRATION_BATCH = 256

#: step(net, x, y, generator) runs forward and backward passes, leaves gradients, and returns the last loss.
Step = Callable[[ElasticNet, torch.Tensor, torch.Tensor, np.random.Generator], float]


def random_subnet(
    generator: np.random.Generator, layers: int, widths: tuple[int, ...] = WIDTHS, bits: int | None = None
) -> Subnet:
    """Draw granularity and symmetries, and widths layer by layer unless `bits` says them all."""
    drawn = [tuple(int(b) for b in generator.choice(widths, layers)) for _ in range(2)]
    weights, activations = drawn if bits is None else [(bits,) * layers] * 2
    return Subnet(weights, activations, *(bool(flag) for flag in generator.integers(0, 2, 3)))


def progressive(generator: np.random.Generator, layers: int) -> tuple[Subnet, ...]:
    """Draw the subnets of one step, from the biggest to the smallest."""
    middle = [random_subnet(generator, layers) for _ in range(RANDOM_SUBNETS)]
    middle.sort(key=lambda subnet: -sum(subnet.weight_bits) - sum(subnet.activation_bits))
    ends = (random_subnet(generator, layers, bits=bits) for bits in (WIDTHS[-1], WIDTHS[0]))
    biggest, smallest = ends
    return biggest, *middle, smallest


def weight_spread(net: ElasticNet) -> torch.Tensor:
    """Return the WDR loss of all convolutions but the first."""
    moments = [_moments(conv.conv.weight) for conv in net.convs[1:]]
    kurtosis = torch.stack([(fourth - UNIFORM_KURTOSIS) ** 2 for _, fourth in moments]).mean()
    skewness = torch.stack([third**2 for third, _ in moments]).mean()
    return KURTOSIS_WEIGHT * kurtosis + SKEWNESS_WEIGHT * skewness


def _moments(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return skewness and kurtosis."""
    normal = (weight - weight.mean()) / weight.std()
    return normal.pow(3).mean(), normal.pow(4).mean()


def mean_kurtosis(net: ElasticNet) -> float:
    """Return the mean kurtosis of the elastic layers' weights."""
    with torch.no_grad():
        return float(torch.stack([_moments(conv.conv.weight)[1] for conv in net.convs[1:]]).mean())


def elastic_step(net: ElasticNet, x: torch.Tensor, y: torch.Tensor, generator: np.random.Generator) -> float:
    """Accumulate the gradients of WDR and of all subnets of one step."""
    weight_spread(net).backward()
    teacher, loss = None, torch.zeros(())
    for subnet in progressive(generator, net.layers):
        with running(net, subnet, training=True):
            logits = net(x)
        loss = cross_entropy(logits, y, label_smoothing=LABEL_SMOOTHING if teacher is None else 0.0)
        if teacher is not None:
            distance = kl_div(logits.log_softmax(1), teacher, reduction="batchmean")
            loss = 0.5 * distance + 0.5 * loss
        loss.backward()
        teacher = logits.detach().softmax(1)
    return float(loss.detach())


def plain_step(subnet: Subnet) -> Step:
    """Return the step of ordinary quantisation-aware training of one subnet alone."""

    def step(net: ElasticNet, x: torch.Tensor, y: torch.Tensor, _generator: np.random.Generator) -> float:
        with running(net, subnet, training=True):
            loss = cross_entropy(net(x), y)
        loss.backward()
        return float(loss.detach())

    return step


@dataclass(eq=False)
class _Run:
    """One training run between two steps: what a checkpoint holds."""

    net: ElasticNet
    optimiser: torch.optim.Adam
    epoch: int = 0


def train_elastic(
    net: ElasticNet,
    dataset: Dataset,
    schedule: Schedule,
    step: Step = elastic_step,
    *,
    checkpoint: Path | None = None,
    show: bool = True,
) -> None:
    """Train in place with Adam under a cosine rate. A stopped run goes on from `checkpoint`, with the same result.

    Args:
        net: initialised (`ElasticNet.initialise`).
        dataset: raw images and labels; only the training part is used.
        schedule: epochs, batch, first rate, seed, threads.
        step: what one step computes: `elastic_step`, or `plain_step(subnet)`.
        checkpoint: an `.npz` written after every epoch, arrays only.
        show: whether to draw a progress bar on standard error.

    Raises:
        EdgeError: too few images for one batch, the loss is no longer finite, or the checkpoint is another run's.
    """
    steps = len(dataset.x_train) // schedule.batch
    if steps < 1 or schedule.epochs < 1:
        raise EdgeError(f"data '{dataset.name}' has too few training images for one batch of {schedule.batch}.")
    run = _Run(net, _optimiser(net, schedule.rate))
    # The gradients of an earlier training are still there.
    run.optimiser.zero_grad()
    if checkpoint is not None and checkpoint.exists():
        _restore(run, checkpoint)
    with repeatable(schedule), progress_bar(steps * (schedule.epochs - run.epoch), show) as advance:
        for epoch in range(run.epoch, schedule.epochs):
            generator = np.random.default_rng((schedule.seed, epoch, 1))
            for index, (x, y) in enumerate(batches(dataset, schedule, epoch)):
                _set_rate(run.optimiser, schedule.rate, (epoch * steps + index) / (schedule.epochs * steps))
                loss = step(net, x, y, generator)
                if not math.isfinite(loss):
                    raise EdgeError(f"the loss is {loss} in epoch {epoch + 1}; lower 'rate' ({schedule.rate}).")
                torch.nn.utils.clip_grad_value_(net.parameters(), GRADIENT_LIMIT)
                run.optimiser.step()
                run.optimiser.zero_grad()
                net.project()
                advance(f"epoch {epoch + 1}/{schedule.epochs}, loss {loss:.3f}")
            run.epoch = epoch + 1
            if checkpoint is not None:
                write_file(checkpoint, _checkpoint(run))
    net.eval()


def _optimiser(net: ElasticNet, rate: float) -> torch.optim.Adam:
    tables = [p for name, p in net.named_parameters() if "quantiser" in name]
    others = [p for name, p in net.named_parameters() if "quantiser" not in name]
    return torch.optim.Adam([{"params": others, "share": 1.0}, {"params": tables, "share": TABLE_RATE}], rate)


def _set_rate(optimiser: torch.optim.Adam, rate: float, done: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"] * 0.5 * (1 + math.cos(math.pi * done))


def _checkpoint(run: _Run) -> bytes:
    """Return epoch, weights and the optimiser's moments as an `.npz`."""
    arrays = {f"net/{name}": tensor.numpy() for name, tensor in run.net.state_dict().items()}
    for index, state in run.optimiser.state_dict()["state"].items():
        arrays |= {f"adam/{index}/{name}": tensor.numpy() for name, tensor in state.items()}
    buffer = io.BytesIO()
    np.savez(buffer, epoch=np.int64(run.epoch), **arrays)
    return buffer.getvalue()


def _restore(run: _Run, path: Path) -> None:
    arrays = read_npz(path)
    state: dict[int, dict[str, torch.Tensor]] = {}
    try:
        run.epoch = int(arrays.pop("epoch"))
        for name in [name for name in arrays if name.startswith("adam/")]:
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = torch.from_numpy(arrays.pop(name))
        run.net.load_state_dict({name.removeprefix("net/"): torch.from_numpy(a) for name, a in arrays.items()})
        run.optimiser.load_state_dict({**run.optimiser.state_dict(), "state": state})
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise EdgeError(f"{path} is no checkpoint of this training: {error}; delete it to start again.") from error


def recalibrate(net: ElasticNet, dataset: Dataset, subnet: Subnet | None, images: Array) -> None:
    """Give every batch norm the mean statistics of a subnet over raw images [N, C, H, W], in batches of 256.

    A subnet's activations are not those of the others, so its statistics are its own.

    Raises:
        EdgeError: there are fewer than 256 images.
    """
    if len(images) < CALIBRATION_BATCH:
        raise EdgeError(f"{len(images)} images for batch norm statistics; give {CALIBRATION_BATCH} at least.")
    norms = [conv.norm for conv in net.convs]
    momentum = norms[0].momentum
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain mean over batches
    with running(net, subnet, training=True), torch.no_grad():
        for start in range(0, len(images) - CALIBRATION_BATCH + 1, CALIBRATION_BATCH):
            net(torch.from_numpy(dataset.preprocess.apply(images[start : start + CALIBRATION_BATCH])))
    for norm in norms:
        norm.momentum = momentum


def score(net: ElasticNet, dataset: Dataset, subnet: Subnet | None, images: Array, labels: Array) -> float:
    """Return the top-1 accuracy of a subnet with the batch norms as they are, on raw images and their labels."""
    right = 0
    with running(net, subnet), torch.inference_mode():
        for start in range(0, len(images), EVAL_BATCH):
            x = torch.from_numpy(dataset.preprocess.apply(images[start : start + EVAL_BATCH]))
            right += int((net(x).argmax(1).numpy() == labels[start : start + EVAL_BATCH]).sum())
    return right / len(images)
