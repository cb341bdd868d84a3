"""The rows of `scripts/chaos`, as far as they can be judged without being played."""

import re
import subprocess
from pathlib import Path

import pytest
from chaos import ROWS
from chaos_at_size import ROWS_AT_SIZE
from chaos_stage import Row

CHECKOUT = Path(__file__).parents[2]
DAG_FILES = "".join(path.read_text() for path in (CHECKOUT / "tests" / "chaos" / "dags").glob("*.py"))
ALL = (*ROWS, *ROWS_AT_SIZE)


def test_no_two_rows_have_one_name() -> None:
    """The name tells which requests to the crew belong to which row."""
    assert len({row.name for row in ALL}) == len(ALL)


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_each_row_names_a_dag_that_there_is(row: Row) -> None:
    assert re.search(rf'"(chaos_)?{row.dag}"', DAG_FILES)


@pytest.mark.parametrize(("word", "code"), [("cleared", 0), ("no such row", 2)])
def test_words_that_name_no_row_are_an_error(word: str, code: int) -> None:
    finished = subprocess.run(
        (CHECKOUT / "scripts" / "chaos", "--list", word), capture_output=True, text=True, check=False
    )
    assert finished.returncode == code, finished.stderr
