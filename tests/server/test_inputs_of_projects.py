"""Which inputs a project needs, which it brings itself, and of which type they are."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from loader import Load, write

BASE = """
from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, before_kickoff, crew, task

@CrewBase
class Ledger:
    agents_config = {}
    tasks_config = {}
HOOK
    @agent
    def clerk(self) -> Agent:
        return Agent(role="Clerk", goal="Write", backstory="Writes")

    @task
    def note(self) -> Task:
        return Task(description="Write on {subject} for {reader}", expected_output="It", agent=self.clerk()MORE)

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)
"""


def crew(hook: str = "", more: str = "") -> str:
    lines = "\n".join(f"        {line}" for line in hook.splitlines())
    method = f"\n    @before_kickoff\n    def prepare(self, inputs):\n{lines}\n" if hook else ""
    return BASE.replace("HOOK", method).replace("MORE", more)


def described(load: Load, directory: Path, **files: str) -> dict[str, Any]:
    said = load(write(directory, **files))
    assert "described" in said, said
    answer: dict[str, Any] = said["described"]
    return answer


@pytest.mark.parametrize(
    ("hook", "inputs", "required"),
    [
        ("return inputs", "reader subject", "reader subject"),
        ("inputs['reader'] = 'all'\nreturn inputs", "reader subject", "subject"),
        ("return {**inputs, 'reader': 'all'}", "reader subject", "subject"),
        ("return dict(inputs, reader='all')", "reader subject", "subject"),
        ("inputs.setdefault('reader', 'all')\nreturn inputs", "reader subject", "subject"),
        ("inputs.update(reader='all')\nreturn inputs", "reader subject", "subject"),
        ("inputs |= {'reader': 'all'}\nreturn inputs", "reader subject", "subject"),
        ("mine = inputs.copy()\nmine['reader'] = 'all'\nreturn mine", "reader subject", "subject"),
        ("inputs['reader'] = inputs['readers'][0]\nreturn inputs", "reader subject readers", "subject readers"),
        ("inputs['reader'] = inputs.get('who')\nreturn inputs", "reader subject who", "subject"),
        ("if 'reader' not in inputs:\n  inputs['reader'] = 'all'\nreturn inputs", "reader subject", "subject"),
        ("return {name: str(value) for name, value in inputs.items()}", "reader subject", "reader subject"),
        ("print(inputs)\nreturn inputs", "reader subject", "reader subject"),
        ("return self.filled(inputs)", "reader subject", ""),
        ("inputs.update(self.known())\nreturn inputs", "reader subject", ""),
        ("for name in ('reader', 'subject'):\n  inputs[name] = 'x'\nreturn inputs", "reader subject", ""),
    ],
)
def test_what_a_hook_fills_in_is_not_demanded_and_what_it_reads_is(
    load: Load, tmp_path: Path, hook: str, inputs: str, required: str
) -> None:
    said = described(load, tmp_path, crew__py=crew(hook))
    assert (said["inputs"], said["required"]) == (inputs.split(), required.split())


def test_a_name_in_the_name_of_an_output_file_is_an_input(load: Load, tmp_path: Path) -> None:
    said = described(load, tmp_path, crew__py=crew(more=', output_file="{folder}/note.md"'))
    assert said["inputs"] == ["reader", "subject", "folder"]
    assert said["required"] == said["inputs"]
    assert said["prompted"] == ["reader", "subject"], "a deployment lists these"


YEAR = str(datetime.now().astimezone().year)
RUN = "from crew import Ledger\n\ndef run():\n    {}\n\nif __name__ == '__main__':\n    run()\n"
MAINS = {
    "inputs = {'subject': 'ink', 'reader': 'all'}\n    Ledger().crew().kickoff(inputs=inputs)": {"subject": "ink", "reader": "all"},
    "Ledger().crew().kickoff({'subject': 'ink'})": {"subject": "ink"},
    "what = 'ink'\n    Ledger().crew().kickoff(inputs={'subject': f'red {what}', 'pages': [1, 2]})": {"subject": "red ink", "pages": [1, 2]},
    "from datetime import datetime\n    Ledger().crew().kickoff(inputs={'subject': str(datetime.now().year)})": {"subject": YEAR},
    "from datetime import datetime\n    Ledger().crew().kickoff(inputs={'subject': datetime.now().strftime('%Y')})": {"subject": YEAR},
    "import os\n    Ledger().crew().kickoff(inputs={'subject': os.getenv('NOT_SET', 'ink')})": {"subject": "ink"},
    "Ledger().crew().kickoff(inputs={'subject': input('What? '), 'reader': 'all'})": {"reader": "all"},
    "inputs = open('inputs.json').read()\n    Ledger().crew().kickoff(inputs=inputs)": {},
    "Ledger().crew().kickoff()": {},
    "a = b\n    b = a\n    Ledger().crew().kickoff(inputs={'subject': a})": {},
}  # fmt: skip


@pytest.mark.parametrize("start", MAINS)
def test_what_main_py_passes_is_offered_and_not_demanded(load: Load, tmp_path: Path, start: str) -> None:
    said = described(load, tmp_path, crew__py=crew(), main__py=RUN.format(start))
    assert said["defaults"] == MAINS[start]
    assert said["required"] == [name for name in ("reader", "subject") if name not in MAINS[start]]
    assert set(MAINS[start]) <= set(said["inputs"])


def test_main_py_of_several_crews_tells_only_what_is_passed_to_this_one(load: Load, tmp_path: Path) -> None:
    start = (
        "from crew import Ledger\n\ndef first():\n    Other().crew().kickoff(inputs={'subject': 'no'})\n\n"
        "def second():\n    Ledger().crew().kickoff(inputs={'subject': 'ink'})\n"
    )
    assert described(load, tmp_path, crew__py=crew(), main__py=start)["defaults"] == {"subject": "ink"}


def test_a_flow_tells_types_and_values_of_its_state(load: Load, tmp_path: Path) -> None:
    flow = (
        "from enum import Enum\nfrom crewai.flow import Flow, start\nfrom pydantic import BaseModel\n\n"
        "class Tone(str, Enum):\n    DRY = 'dry'\n    WARM = 'warm'\n\n"
        "class State(BaseModel):\n    subject: str = ''\n    pages: int = 3\n    tone: Tone = Tone.DRY\n"
        "    words: int | None = None\n    names: list[str] = []\n\n"
        "class Ledger(Flow[State]):\n    @start()\n    def begin(self): return self.state.subject\n"
    )
    said = described(load, tmp_path, main__py=flow)
    assert said["types"] == {
        "subject": {"type": "string"},
        "pages": {"type": "integer"},
        "tone": {"type": "string", "enum": ["dry", "warm"]},
        "words": {"type": "integer"},
        "names": {"type": "array"},
    }
    assert said["defaults"] == {"pages": 3, "tone": "dry"}
    assert said["required"] == []
