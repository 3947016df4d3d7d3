"""Predict the accuracy of a network from what was chosen for it: a small perceptron over one-hot choices.

This is EQ-Net's predictor (ICCV 2023): each choice one-hot, three hidden layers of 400 with Relu, one number added to
the mean accuracy. A search asks it thousands of times where measuring would take days. What matters to a search is the
order it puts networks in, so the score is Kendall's tau on networks it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quant.errors import QuantError
from quant.formats import Array, FloatArray

HIDDEN = (400, 400, 400)
RATE, WEIGHT_DECAY, EPOCHS, BATCH = 4e-4, 1e-5, 100, 32


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained perceptron: `layers` are weights [out, in] and biases [out]; `base` is added to the last output."""

    layers: tuple[tuple[Array, Array], ...]
    base: float

    def __call__(self, features: Array) -> FloatArray:
        """Return the predicted accuracy of each row of features [N, F], float64 [N]."""
        values = np.asarray(features, dtype=np.float64)
        for index, (weight, bias) in enumerate(self.layers):
            values = values @ weight.T + bias
            if index < len(self.layers) - 1:
                values = np.maximum(values, 0)
        result: FloatArray = values[:, 0] + self.base
        return result


def one_hot(genes: Sequence[Sequence[int]], choices: Sequence[Sequence[int]]) -> Array:
    """Turn choices into features.

    Args:
        genes: N networks, each with one value per gene.
        choices: what each gene may be.

    Returns:
        float32 [N, total number of choices], 0 or 1.

    Raises:
        QuantError: a network with another number of genes, or a value that is no choice.
    """
    rows = []
    for row in genes:
        if len(row) != len(choices):
            raise QuantError(f"a network of {len(row)} choices where {len(choices)} are to be made.")
        for index, (value, allowed) in enumerate(zip(row, choices, strict=True)):
            if value not in allowed:
                raise QuantError(f"choice {index} is {value}; allowed are {', '.join(map(str, allowed))}.")
        rows.append([float(value == option) for value, allowed in zip(row, choices, strict=True) for option in allowed])
    return np.array(rows, dtype=np.float32).reshape(len(rows), sum(map(len, choices)))


def fit(features: Array, accuracy: Array, *, seed: int = 0, epochs: int = EPOCHS) -> Predictor:
    """Train a predictor with Adam on the root of the mean squared error.

    Args:
        features: [N, F], from `one_hot` or any other numbers of about that size.
        accuracy: measured, [N].
        seed: same seed, same predictor.
        epochs: passes over the N rows.

    Raises:
        QuantError: fewer than two rows, another number of accuracies, or values that are not finite.
    """
    import torch

    x, y = np.asarray(features, dtype=np.float32), np.asarray(accuracy, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or y.shape != (len(x),) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise QuantError(
            f"a predictor needs at least two rows of numbers, each with an accuracy: {x.shape}, {y.shape}."
        )
    base = float(y.mean())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _perceptron(x.shape[1])
        optimiser = torch.optim.Adam(net.parameters(), RATE, weight_decay=WEIGHT_DECAY)
        inputs, wanted = torch.from_numpy(x), torch.from_numpy((y - base).astype(np.float32))
        for _ in range(epochs):
            for picked in torch.randperm(len(x)).split(BATCH):
                error = net(inputs[picked])[:, 0] - wanted[picked]
                # Under the root a 0 has no gradient.
                loss = (error.square().mean() + 1e-12).sqrt()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    layers = tuple((_array(layer.weight), _array(layer.bias)) for layer in net if isinstance(layer, torch.nn.Linear))
    return Predictor(layers, base)


def _perceptron(inputs: int):  # type: ignore[no-untyped-def]  # torch has no types here
    from torch import nn

    layers: list[nn.Module] = []
    for outputs in HIDDEN:
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def _array(tensor) -> Array:  # type: ignore[no-untyped-def]
    array: Array = tensor.detach().numpy().astype(np.float64)
    return array


def kendall_tau(first: Array, second: Array) -> float:
    """Return Kendall's tau-b of two rankings: 1 for the same order, -1 for the reverse, about 0 for unrelated ones.

    With c and d the pairs in the same and in the opposite order, and n1, n2 the pairs that differ in `first` and in
    `second`: (c - d) / sqrt(n1 n2). Pairs that tie in either count for neither c nor d.

    Raises:
        QuantError: lengths differ, or all values of one are equal, so that it has no order.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise QuantError(f"Kendall's tau compares two rankings of the same things, not {a.shape} and {b.shape}.")
    upper = np.triu_indices(len(a), 1)
    signs_a, signs_b = (np.sign(v[:, None] - v[None, :])[upper] for v in (a, b))
    differing = np.count_nonzero(signs_a) * np.count_nonzero(signs_b)
    if not differing:
        raise QuantError("Kendall's tau needs at least two different values in each ranking.")
    return float((signs_a * signs_b).sum() / np.sqrt(differing))
