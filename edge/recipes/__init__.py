"""Ways to train. A new recipe is one file and one word in `recipes.RECIPES`."""
