"""A tiny elastic network trained on the digits for a second, for tests that need one. Importing this imports torch."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch

from edge.data import load
from edge.dataset import Dataset
from edge.recipes.elastic_export import to_network
from edge.recipes.elastic_net import ElasticNet, Unit
from edge.recipes.elastic_train import train_elastic
from edge.recipes.recipes import find_recipe
from edge.train import Schedule, train
from quant.elastic import ElasticNetwork
from quant.subnet import Subnet, uniform

#: Two elastic layers; one layer without Relu, so that a tensor with a sign lies between them.
UNITS = (Unit(8, 3, 2), Unit(10, 3, 1, relu=False), Unit(12, 3, 1))
LAYERS = len(UNITS) - 1
MIXED = Subnet((3, 8), (2, 5), symmetric_activations=False)
SUBNETS = (*(uniform(LAYERS, bits) for bits in (2, 3, 4, 8)), MIXED)


def digits(count: int = 1024) -> Dataset:
    """The digits, with fewer training images."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    data = load("digits")
    return replace(data, x_train=data.x_train[:count], y_train=data.y_train[:count])


def started(data: Dataset, epochs: int = 4) -> ElasticNet:
    """A float network with first scales."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ElasticNet((1, 8, 8), 10, UNITS)
    train(net, data, find_recipe("cross-entropy"), Schedule(epochs=epochs, batch=64, rate=0.2), show=False)
    net.initialise(torch.from_numpy(data.preprocess.apply(data.x_train[:256])))
    return net


@functools.cache
def trained() -> ElasticNet:
    """The elastic network. Tests must leave weights and tables as they are; statistics may change."""
    data = digits()
    net = started(data)
    train_elastic(net, data, Schedule(epochs=2, batch=64, rate=2e-3), show=False)
    return net


@functools.cache
def network() -> ElasticNetwork:
    """The same as plain data, with the statistics of SUBNETS."""
    data = digits()
    return to_network(trained(), data, SUBNETS, data.x_train)
