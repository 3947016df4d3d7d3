"""The one exception of the package `devices`."""


class DeviceError(Exception):
    """A board that cannot be reached, a tool that is missing, a run that failed; the message says what to do."""
