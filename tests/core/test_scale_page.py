"""docs/scale.md says what the model of many runs says, and the model says what the provider's own code does."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import scale_model
import scale_simulation
from scale_model import Cost, Load
from scale_simulation import BOUND, CHECKED, Found, off

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()


@cache
def simulated(load: Load) -> Found:
    return scale_simulation.simulate(load)


@pytest.mark.parametrize("table", scale_model.TABLES, ids=lambda table: table.__name__)
def test_the_page_shows_what_the_model_prints(table: Callable[[], str]) -> None:
    assert table() in PAGE, "run benchmarks/scale_model.py, and put what it prints into docs/scale.md"


@pytest.mark.parametrize("load", CHECKED, ids=str)
def test_the_model_agrees_with_the_simulation(load: Load) -> None:
    found = simulated(load)
    assert abs(off(load.looks_per_second, found.looks_per_second)) < BOUND
    assert abs(off(load.late, found.late)) < BOUND
    assert f"{BOUND:.0%}".replace("%", " %") in PAGE


def test_no_end_is_seen_later_than_the_model_says() -> None:
    for load in CHECKED:
        assert max(simulated(load).ends) <= load.at_most_late


def test_the_page_shows_what_the_simulation_prints() -> None:
    assert scale_simulation.table(simulated) in PAGE


def test_the_intervals_that_the_page_suggests_keep_all_looks_within_a_core() -> None:
    for name, intervals in scale_model.SUGGESTED.items():
        assert Cost(Load(100_000, scale_model.LENGTHS[name], *intervals)).looking <= 1


def test_a_loop_of_the_capacity_that_the_page_suggests_is_not_half_busy() -> None:
    full = Load(scale_model.CAPACITY, 3_600, capacity=scale_model.CAPACITY)
    assert Cost(full).busiest < 0.5
