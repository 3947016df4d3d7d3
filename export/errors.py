"""The one exception of the package `export`."""


class ExportError(Exception):
    """A graph that a target cannot take, or a bundle that cannot be written or read; the message names the cure."""
