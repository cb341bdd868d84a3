"""Being asked to stop: by Ctrl-C, by `kill`, by the terminal that is closed."""

import os
import signal
import sys
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_in_order() -> None:
    """Leave by way of every `with` and `finally` when asked to."""
    for number in SIGNALS:
        signal.signal(number, _leave)


def _leave(number: int, _: object) -> NoReturn:
    """Be asked once; impatience while that goes on changes nothing."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    # Not by `print`, which may be in the middle of a line.
    os.write(sys.stdout.fileno(), b"\nStopping everything. This takes some seconds.\n")
    sys.exit(128 + number)
