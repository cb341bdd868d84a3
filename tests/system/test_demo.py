"""The README's first command, as a newcomer gives it."""

import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("options", [(), ("--ask",)])
def test_scripts_demo_ends_well_and_shows_the_answer(options: tuple[str, ...]) -> None:
    command = (str(CHECKOUT / "scripts" / "demo"), "--exit", *options)
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for words in ("The crew's answer", "kickoff_id: ", "The crew's own page: http://127.0.0.1:"):
        assert words in finished.stdout
    assert ("the crew asks: Approve the result" in finished.stdout) == ("--ask" in options)
