"""Measured comparisons, each a script that writes its result with machine and versions."""
