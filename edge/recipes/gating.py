"""Fire Together Wire Together: train a network, then predictors of the channels each image needs.

    dense       cross-entropy of the whole network
    predictors  backbone frozen, layer by layer: BCE against the channels that hold the share r of the heatmap mass
    fine-tune   the backbone under the hard masks, cross-entropy

`train_joint` minimises cross-entropy plus the sum of the BCEs at once, masks on from the first step. r is the only
knob, and what it will cost is known before any predictor is trained (`rates`, `gating_targets.estimated`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from edge.dataset import Dataset, Images
from edge.recipes.gating_net import GatedNet, parts
from edge.recipes.gating_targets import Masks, check_share, mass_targets
from edge.recipes.recipe import Recipe
from edge.train import EVAL_BATCH, Schedule, repeatable, train


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How predictors are fitted: passes, batch, Adam's rate (falls to 0 as a cosine), on the first so many images."""

    epochs: int = 6
    batch: int = 256
    rate: float = 0.02
    seed: int = 0
    images: int = 20_000


def rates(net: GatedNet, dataset: Dataset, images: Images, share: float) -> tuple[Any, ...]:
    """Return how often each channel of the *dense* network is a target: for every gated layer float64 [C].

    Args:
        net: trained; its predictors are not used.
        dataset: for its pre-processing.
        images: raw, [N, C, H, W].
        share: r.
    """
    was, net.masked = net.masked, False
    counts = [
        [mass_targets(layer.activation, share).sum(0).numpy() for layer in seen]
        for _, seen in _traces(net, dataset, images)
    ]
    net.masked = was
    return tuple(np.sum(layer, axis=0) / len(images) for layer in zip(*counts, strict=True))


def _traces(net: GatedNet, dataset: Dataset, images: Images) -> Iterator[Any]:
    net.eval()
    with torch.inference_mode():
        for start in range(0, len(images), EVAL_BATCH):
            x = torch.from_numpy(dataset.preprocess.apply(images[start : start + EVAL_BATCH]))
            yield net.trace(x, predict=True)


@dataclass(frozen=True, slots=True, eq=False)
class Behaviour:
    """What a network under its masks did with N images.

    `labels` int64 [N]; for every gated layer `masks` and `targets`, bool [N, C]: the channels it kept, and those that
    hold the share r of the mass of the whole layer for the input it really got.
    """

    labels: Any
    masks: tuple[Masks, ...]
    targets: tuple[Masks, ...]

    @property
    def mask_accuracy(self) -> float:
        """Share of the mask's entries, of all layers together, that are as the target has them."""
        right = sum(int((mask == target).sum()) for mask, target in zip(self.masks, self.targets, strict=True))
        return right / sum(mask.size for mask in self.masks)


def behaviour(net: GatedNet, dataset: Dataset, images: Images, share: float) -> Behaviour:
    """Run a network as it is set (`masked` or not) over raw images."""
    labels, masks, targets = [], [], []
    for logits, seen in _traces(net, dataset, images):
        labels.append(logits.argmax(1).numpy())
        masks.append([layer.mask.numpy() for layer in seen])
        targets.append([mass_targets(layer.activation, share).numpy() for layer in seen])
    joined = [tuple(np.concatenate(layer) for layer in zip(*batches, strict=True)) for batches in (masks, targets)]
    return Behaviour(np.concatenate(labels), *joined)


def fit_predictors(net: GatedNet, dataset: Dataset, share: float, fit: Fit, kept: Sequence[float] = ()) -> None:
    """Train the predictors of a trained network in place; the backbone stays as it is. Leaves the network `masked`.

    Layer by layer from the first, so that each learns from inputs that the masks before it have been applied to, as at
    run time. What a predictor sees (the maximum of each channel) and its targets are computed once and kept.

    Args:
        net: trained; its backbone is used with running statistics.
        dataset: training images; labels are not used.
        share: r.
        fit: epochs, batch, rate, seed.
        kept: for every gated layer, the mean share of channels to keep on these images; the offset is moved there.
            Without it a channel is kept where its logit is above 0.
    """
    check_share(share)
    net.masked = True
    shares = iter(kept)
    with repeatable(Schedule(epochs=fit.epochs, batch=fit.batch, rate=fit.rate, seed=fit.seed)):
        for index, unit in enumerate(net.units):
            if unit.predictor is not None:
                seen, targets = _examples(net, dataset, dataset.x_train[: fit.images], index, share)
                _fit(unit.predictor, seen, targets, fit)
                if kept:
                    _match(unit, seen, next(shares))


def _match(unit: Any, seen: torch.Tensor, share: float) -> None:
    """Move the offset so that the predictor keeps this share of the channels.

    A predictor that is right as often as possible keeps what is a target in more than half of all cases. Summed up that
    is more than the targets are, as most channels mostly are targets. Fine-tuning works the other way: it concentrates
    the mass in fewer channels. Without this, the estimate would miss by what is left of the two.
    """
    with torch.no_grad():
        scores = unit.predictor(seen).flatten().numpy()
        unit.offset.fill_(float(np.quantile(scores, 1.0 - share)))


def _examples(
    net: GatedNet, dataset: Dataset, images: Images, index: int, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the predictor of a layer sees, [N, C, 1, 1], and its targets, float [N, C', 1, 1]."""
    net.eval()
    seen, targets = [], []
    with torch.inference_mode():
        for start in range(0, len(images), EVAL_BATCH):
            x = torch.from_numpy(dataset.preprocess.apply(images[start : start + EVAL_BATCH]))
            for unit in net.units[:index]:
                x = unit(x) * (unit.logits(x) > unit.offset) if unit.predictor is not None else unit(x)
            seen.append(net.units[index].pool(x))
            targets.append(mass_targets(net.units[index](x), share).float()[:, :, None, None])
    return torch.cat(seen).clone(), torch.cat(targets).clone()


def _fit(predictor: Any, seen: torch.Tensor, targets: torch.Tensor, fit: Fit) -> None:
    """Minimise the BCE of one predictor."""
    steps = max(len(seen) // fit.batch, 1)
    optimiser = torch.optim.Adam(predictor.parameters(), fit.rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps * fit.epochs)
    for epoch in range(fit.epochs):
        order = torch.from_numpy(np.random.default_rng((fit.seed, epoch)).permutation(len(seen)))
        for picked in order[: steps * fit.batch].chunk(steps):
            loss = binary_cross_entropy_with_logits(predictor(seen[picked]), targets[picked])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cosine.step()


def joint_loss(share: float) -> Recipe:
    """Return cross-entropy plus, for every gated layer, the BCE of its predictor against its own targets."""

    def loss(module: Any, x: Any, y: Any) -> Any:
        logits, seen = module.trace(x)
        wrong = [
            binary_cross_entropy_with_logits(layer.logits, mass_targets(layer.activation, share).float())
            for layer in seen
        ]
        return cross_entropy(logits, y) + sum(wrong)

    return Recipe("gating", f"cross-entropy under predicted masks, and the BCE of the predictors (r = {share})", loss)


def fine_tune(net: GatedNet, dataset: Dataset, schedule: Schedule, show: bool = True) -> float:
    """Train the backbone in place under its masks (or densely, if not `masked`); predictors stay as they are.

    Returns:
        Top-1 accuracy on the data set's test images.
    """
    from edge.recipes import cross_entropy as plain

    _, predictors = parts(net)
    for value in predictors:
        value.requires_grad_(False)
    accuracy = train(net, dataset, plain.RECIPE, schedule, show)
    for value in predictors:
        value.requires_grad_(True)
    return accuracy


def train_decoupled(
    net: GatedNet, dataset: Dataset, share: float, rounds: Sequence[Schedule], fit: Fit, show: bool = True
) -> tuple[Any, ...]:
    """Gate a trained dense network in place: fit predictors, fine-tune under their masks, each round; then fit again.

    Fine-tuning moves the mass between channels, so the last fit makes masks and targets agree again. Every fit keeps
    the share of channels that was estimated before the first.

    Args:
        net: trained, dense.
        dataset: training images.
        share: r.
        rounds: schedules of the fine-tunes.
        fit: how predictors are fitted.
        show: whether to draw a progress bar.

    Returns:
        The rates (see `rates`) that the estimate is made of.
    """
    wanted = rates(net, dataset, dataset.x_train[: fit.images], share)
    kept = [float(rate.mean()) for rate in wanted]
    for schedule in rounds:
        fit_predictors(net, dataset, share, fit, kept)
        fine_tune(net, dataset, schedule, show)
    fit_predictors(net, dataset, share, fit, kept)
    return wanted


def set_constant(net: GatedNet, wanted: Sequence[Any]) -> None:
    """Make every mask the same for all images: the channels that are targets most often, as many as are on average.

    What is left is a network pruned once and for all, to compare with.

    Args:
        net: its predictors are overwritten, and it is left `masked`.
        wanted: of `rates`.
    """
    net.masked = True
    for predictor, rate in zip(net.predictors(), wanted, strict=True):
        chosen = np.argsort(-rate, kind="stable")[: round(float(rate.sum()))]
        with torch.no_grad():
            predictor.weight.zero_()
            predictor.bias.fill_(-1.0)
            predictor.bias[torch.from_numpy(chosen)] = 1.0


def train_joint(net: GatedNet, dataset: Dataset, share: float, schedule: Schedule, show: bool = True) -> float:
    """Train backbone and predictors together in place, masks on; the gradient of a predictor reaches the backbone.

    Returns:
        Top-1 accuracy on the data set's test images, with masks.
    """
    check_share(share)
    net.masked, net.detached = True, False
    return train(net, dataset, joint_loss(share), schedule, show)
