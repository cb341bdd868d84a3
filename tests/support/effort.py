"""How many random examples a test takes: few before a commit, many in CI and with `scripts/test --long`.

The one place that decides it, for hypothesis as for tests that throw their own dice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T")

LONG = os.environ.get("CI", "false") not in ("", "false")
_QUICK_SHARE = 7  # a prime, so that a share of all combinations of some values still has each of the values
_FEWEST = 20


def examples(most: int) -> int:
    """Return how many examples to take now, where a long run takes so many."""
    return most if LONG else min(most, max(_FEWEST, most // _QUICK_SHARE))


def share(cases: Sequence[T]) -> Sequence[T]:
    """Return the cases to take now, where a long run takes them all."""
    return cases if LONG else cases[::_QUICK_SHARE]


def load_profile() -> None:
    """Let hypothesis take the same examples on every machine, without a clock."""
    settings.register_profile(
        "laws",
        deadline=None,
        derandomize=True,
        max_examples=examples(200),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    settings.load_profile("laws")
