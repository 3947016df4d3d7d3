"""Models, training, splits, the pipeline and the command line."""

from edge.guard import check_neighbours

check_neighbours()
