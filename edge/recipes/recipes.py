"""The visible lists of recipes and procedures."""

from __future__ import annotations

from edge.errors import EdgeError
from edge.recipes import cross_entropy
from edge.recipes.recipe import Procedure, Recipe
from quant.names import find

RECIPES = (cross_entropy.RECIPE,)


#: Called from Python; the configuration file takes recipes only.
PROCEDURES = (
    Procedure(
        "dho",
        "few labels, many images without, a teacher: a head for each, which answer together (DHO)",
        "edge.recipes.dho.train_dho",
    ),
    Procedure(
        "dhkd",
        "labels on the head that is kept, the teacher's logits on one that is thrown away (DHKD)",
        "edge.recipes.dhkd.train_dhkd",
    ),
    Procedure(
        "exits",
        "early exits: cross-entropy of every exit, and the last one teaches the others (Dynamic Perceiver)",
        "edge.recipes.exits.train_exits",
    ),
    Procedure(
        "elastic",
        "one network for all widths of 2 to 8 bits: five subnets a step, each taught by the one before (EQ-Net)",
        "edge.recipes.elastic_train.train_elastic",
    ),
    Procedure(
        "biper",
        "binary weights through a periodic function, in two stages (BiPer)",
        "edge.recipes.biper.train_stage",
    ),
    Procedure(
        "filter",
        "a small judge on a frozen stem, so that frames with nothing to see are not sent (Neural Filter)",
        "edge.recipes.filter.train_filter",
    ),
    Procedure(
        "gating",
        "predictors choose the channels each image needs, at a cost known before (Fire Together Wire Together)",
        "edge.recipes.gating.train_decoupled",
    ),
    Procedure(
        "bottleneck",
        "a few channels between device and server: naive, KD, HND, GHND, then decoder and tail alone (BottleFit)",
        "edge.recipes.bottleneck_train.train_bottleneck",
    ),
)


def find_recipe(name: str) -> Recipe:
    """Return the recipe called `name`.

    Raises:
        EdgeError: there is none (the message has the nearest name), or it is a procedure.
    """
    procedure = next((entry for entry in PROCEDURES if entry.name == name), None)
    if procedure is not None:
        raise EdgeError(
            f"'{name}' trains networks of its own, not those of a configuration file; call {procedure.function} from "
            f"Python. Recipes for any model: {', '.join(entry.name for entry in RECIPES)}."
        )
    return find(name, RECIPES, "recipe", EdgeError)
