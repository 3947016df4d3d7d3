"""The one exception of the package `quant`."""


class QuantError(Exception):
    """A model, a scheme or data that cannot be quantised; the message says what, where and what to do."""
