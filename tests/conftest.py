"""What holds for every test process."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let ctrl-C reach the programs that tests start, also where the tests run in the background and ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
