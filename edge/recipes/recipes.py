"""The visible list of recipes."""

from __future__ import annotations

from edge.errors import EdgeError
from edge.recipes import cross_entropy
from edge.recipes.recipe import Recipe
from quant.names import find

RECIPES = (cross_entropy.RECIPE,)


def find_recipe(name: str) -> Recipe:
    """Return the recipe called `name`, or raise EdgeError with the nearest known name."""
    return find(name, RECIPES, "recipe", EdgeError)
