"""How much is tested: a part of it before a commit, all of it in CI and with `scripts/test --long`.

The one place that decides it: for hypothesis, for tests that throw their own dice, and for tests that CI alone runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
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


def leave_out(config: pytest.Config, items: list[pytest.Item], left: Callable[[pytest.Item], bool]) -> None:
    """Take the tests for which this is false; all of them in a long run, and where some are named."""
    if LONG or config.option.keyword or any(".py" in argument for argument in config.args):
        return
    config.hook.pytest_deselected(items=[item for item in items if left(item)])
    items[:] = [item for item in items if not left(item)]


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
