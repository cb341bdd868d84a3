"""The README's first command, as a newcomer gives it."""

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_scripts_demo_ends_well_and_shows_the_answer() -> None:
    command = (str(CHECKOUT / "scripts" / "demo"), "--exit")
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "The crew's answer" in finished.stdout
    assert "kickoff_id: " in finished.stdout
