"""The one exception of the package `edge`."""


class EdgeError(Exception):
    """A configuration, data, model or cut that cannot be used; the message says what, where and what to do."""
