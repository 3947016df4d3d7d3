"""Models, training, splits, the pipeline and the command line."""
