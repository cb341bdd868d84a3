"""What the server does again and again. Whatever goes wrong is said, and nothing else stops for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Generic, ParamSpec

SAY_AGAIN = 60.0
"""Seconds after which the same trouble is logged again. Some chores come four times a second."""

_P = ParamSpec("_P")

log = logging.getLogger(__name__)


class Chore(Generic[_P]):
    """Something to do again and again.

    :param act: does it.
    :param every: seconds from one time to the next, where the caller does not decide.
    """

    def __init__(self, act: Callable[_P, object], every: float = 0.0) -> None:
        self._act = act
        self._every = every
        self._done_at = float("-inf")
        self._said = ""
        self._said_at = 0.0

    def do_if_due(self, *what: _P.args, **how: _P.kwargs) -> None:
        """Do it, if it was not done for long enough."""
        if time.monotonic() - self._done_at >= self._every:
            self._done_at = time.monotonic()
            self.do(*what, **how)

    def do(self, *what: _P.args, **how: _P.kwargs) -> None:
        """Do it. What goes wrong, such as a full disk, is logged; the next time may succeed."""
        try:
            self._act(*what, **how)
        except Exception as error:
            if self._is_news(f"{type(error).__name__}: {error}"):
                name = getattr(self._act, "__qualname__", repr(self._act))
                log.exception("the server could not look after its runs (%s), and goes on", name)

    def _is_news(self, trouble: str) -> bool:
        if trouble == self._said and time.monotonic() - self._said_at < SAY_AGAIN:
            return False
        self._said, self._said_at = trouble, time.monotonic()
        return True
