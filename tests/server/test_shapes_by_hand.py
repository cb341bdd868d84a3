"""Projects that people write by hand, without crewai's scaffold: served, or refused with what to do."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from loader import Load, pyproject, write

from airflow_provider_crewai.server.project import Project

HEAD = "from crewai import Agent, Crew, Process, Task\n"
PARTS = """
clerk = Agent(role="Clerk", goal="Write", backstory="Writes")
note = Task(description="Write on {subject}", expected_output="It", agent=clerk)
"""
BUILT = "Crew(agents=[clerk], tasks=[note])"
INDENTED = PARTS.replace("\n", "\n    ")
FACTORY = f"def build_crew():{INDENTED}\n    return {BUILT}\n"
PLAIN_CLASS = f"class Office:\n    def crew(self):{PARTS.replace(chr(10), chr(10) + ' ' * 8)}\n        return {BUILT}\n"
OF_SUBJECT = FACTORY.replace("build_crew()", "build_crew(subject: str, tone='dry')").replace('"Write on', 'f"Write on')

SERVED: dict[str, tuple[dict[str, str], list[str]]] = {
    "a function without annotation": ({"crew__py": HEAD + FACTORY}, ["subject"]),
    "a function that returns more than its crew": ({"crew__py": HEAD + FACTORY.replace(BUILT, f"{BUILT}, 'a log'")}, ["subject"]),
    "an async function": ({"crew__py": HEAD + FACTORY.replace("def", "async def", 1)}, ["subject"]),
    "a plain class": ({"crew__py": HEAD + PLAIN_CLASS}, ["subject"]),
    "a Crew in main.py": ({"main__py": HEAD + PARTS + f"team = {BUILT}\n"}, ["subject"]),
    "a function in main.py": ({"main__py": HEAD + FACTORY}, ["subject"]),
    "a main.py that imports all": (
        {"main__py": "from office import build_crew\nif __name__ == '__main__':\n    build_crew().kickoff()\n", "office__py": HEAD + FACTORY},
        ["subject"],
    ),
    "another file": ({"app__py": HEAD + FACTORY}, ["subject"]),
    "another file in a package": ({"src__office__team__py": HEAD + PLAIN_CLASS, "src/office/__init__.py": ""}, ["subject"]),
    "a package's own module": ({"office/__init__.py": HEAD + FACTORY}, ["subject"]),
    "a function with an argument": ({"crew__py": HEAD + OF_SUBJECT}, ["subject", "tone"]),
    "a class with an argument": (
        {"crew__py": HEAD + PLAIN_CLASS.replace("    def crew", "    def __init__(self, subject):\n        self.subject = subject\n\n    def crew", 1)},
        ["subject"],
    ),
    "a crew whose project has a script beside it": ({"crew__py": HEAD + FACTORY, "run__py": "from crew import build_crew\nbuild_crew().kickoff()\n"}, ["subject"]),
    "modules beside crew.py": (
        {"pyproject__toml": pyproject("crew"), "src__tiny__crew__py": "from tools.units import UNIT\n" + HEAD + FACTORY, "src__tiny__tools__units__py": "UNIT = 1"},
        ["subject"],
    ),
    "the author's class of Crew": (
        {"crew__py": HEAD + "class Mine(Crew):\n    pass\n" + FACTORY.replace("return Crew(", "return Mine(").replace("build_crew()", "build_crew() -> Crew")},
        ["subject"],
    ),
    "arguments that are read on import": (
        {"crew__py": "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--n', default=1)\nN = parser.parse_args().n\n" + HEAD + FACTORY},
        ["subject"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SERVED)
def test_a_shape_by_hand_is_served(load: Load, tmp_path: Path, case: str) -> None:
    files, inputs = SERVED[case]
    said = load(write(tmp_path, **files))
    assert said.get("described", {}).get("inputs") == inputs, said
    assert len(set(chain(*said["makes"]))) == sum(map(len, said["makes"]))


def test_an_argument_is_an_input_and_needed_if_it_has_no_default(load: Load, tmp_path: Path) -> None:
    typed = OF_SUBJECT.replace("tone='dry'", "pages: int, names: list[str], tone='dry'")
    said = load(write(tmp_path, crew__py=HEAD + typed))["described"]
    assert said["required"] == ["subject", "names", "pages"]
    assert said["defaults"] == {"tone": "dry"}
    assert said["types"] == {"pages": {"type": "integer"}, "names": {"type": "array"}}


def test_a_dict_that_is_an_argument_has_whichever_keys_its_author_reads(load: Load, tmp_path: Path) -> None:
    keyed = FACTORY.replace("build_crew()", "build_crew(papers: dict[str, str])")
    keyed = keyed.replace('"Write on {subject}"', "papers['plan'] + papers.get('list', '')")
    said = load(write(tmp_path, crew__py=HEAD + keyed))["described"]
    assert (said["inputs"], said["required"]) == (["papers"], ["papers"])
    assert said["types"] == {"papers": {"type": "object"}}


KICKOFF = f"{HEAD}{PARTS}\nteam = {BUILT}\n"
ASKS_AT_ONCE = 'print(team.kickoff(inputs={"subject": "ink"}))'
REFUSED: dict[str, tuple[dict[str, str], list[str]]] = {
    "a kickoff on import": (
        {"main__py": f"{KICKOFF}{ASKS_AT_ONCE}\n"},
        ["ModelAskedWhileLoading: main.py:7 kicks a crew off", 'under `if __name__ == "__main__":` there: print(team.kickoff('],
    ),
    "a kickoff in a function that is called on import": (
        {"main__py": f"{KICKOFF}def main():\n    {ASKS_AT_ONCE}\nmain()\n"},
        ["main.py:9 kicks a crew off", "there: main()"],
    ),
    "an error that follows the refusal": (
        {"main__py": f"{KICKOFF}try:\n    result = team.kickoff()\nexcept Exception as error:\n    print(error)\nprint(result)\n"},
        ["ModelAskedWhileLoading: main.py:8 kicks a crew off"],
    ),
    "an asynchronous kickoff": (
        {"main__py": f"{KICKOFF}import asyncio\nasyncio.run(team.kickoff_async())\n"},
        ["main.py:8 kicks a crew off", "there: asyncio.run("],
    ),
    "an agent that works on import": ({"crew__py": f"{KICKOFF}clerk.kickoff('hi')\n"}, ["crew.py:7 kicks a crew off, or asks a model"]),
    "a model that is asked on import": ({"crew__py": f"{KICKOFF}from crewai import LLM\nLLM(model='gpt-4o').call('hi')\n"}, ["crew.py:8 kicks a crew off, or asks a model"]),
    "a flow that starts on import": (
        {"main__py": "from crewai.flow import Flow, start\nclass It(Flow):\n    @start()\n    def begin(self): pass\nIt().kickoff()\n"},
        ["main.py:5 kicks a crew off"],
    ),
    "a function that kicks off and returns the crew": (
        {"crew__py": HEAD + FACTORY.replace("return", "team =") + "    team.kickoff()\n    return team\n"},
        ["crew.py:7 (build_crew) kicks a crew off", "Let the function return the Crew"],
    ),
    "a question at the terminal": ({"crew__py": f"TOPIC = input('Topic? ')\n{HEAD}{FACTORY}"}, ["EOFError", "(crew.py:1)", "has none. Take the value from the inputs"]),
    "an exit": ({"crew__py": "import sys\nsys.exit(3)"}, ["SystemExit: 3 (crew.py:2) The project ends its own process"]),
    "arguments that a command line must have": (
        {"crew__py": "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('topic')\nparser.parse_args()"},
        ["SystemExit: 2 (crew.py:4) The project reads a command line"],
    ),
    "a variable that is not set": (
        {"crew__py": "import os\n\nREGION = os.environ['OFFICE_REGION']\n"},
        ["KeyError: 'OFFICE_REGION' (crew.py:3) OFFICE_REGION is not set: set it in the environment or in the project's .env."],
    ),
    "an error deep in the project": (
        {"crew__py": "import board\n", "board__py": "import os\n\nos.environ['A'] = os.getenv('NOT_SET')\n"},
        ["TypeError: str expected, not NoneType (board.py:3)"],
    ),
    "an error that was passed on": (
        {"crew__py": "try:\n    import board\nexcept Exception as error:\n    raise RuntimeError('no board') from error\n", "board__py": "1/0\n"},
        ["RuntimeError: no board (board.py:1)"],
    ),
    "a line that is no Python": ({"crew__py": "import board\n", "board__py": "def (\n"}, ["SyntaxError: invalid syntax", "(board.py:1)"]),
    "a file beside the script": (
        {"src__tiny__crew__py": "TEXT = open('data/names.txt').read()\n", "src__tiny__data__names__txt": "Ann"},
        ["(src/tiny/crew.py:1) The working directory of a run is {here}, and data/names.txt is in {here}/src/tiny: start the server with that folder"],
    ),
    "an argument that no kickoff can give": (
        {"crew__py": HEAD + FACTORY.replace("build_crew()", "build_crew(agent: Agent)")},
        ["build_crew in {here}/crew.py cannot be served: it needs the argument agent, which is a Agent"],
    ),
    "two functions": (
        {"crew__py": HEAD + FACTORY + FACTORY.replace("build_crew", "other")},
        ["{here}/crew.py has more than one crew: build_crew, other. Name one as module:attribute, such as crew:build_crew"],
    ),
    "crews in other files": (
        {"crew__py": "X = 1", "office__teams__py": HEAD + FACTORY + PLAIN_CLASS},
        ["{here}/crew.py has no @CrewBase class", "from that folder: office.teams:build_crew, office.teams:Office"],
    ),
    "a folder that holds projects": (
        {"desk/pyproject.toml": pyproject("crew"), "desk/src/tiny/crew.py": HEAD + FACTORY},
        ["no crew or flow in {here}", "It holds other projects. Start the server with one of these folders as its PROJECT: {here}/desk"],
    ),
    "a function that keeps its crew to itself": (
        {"main__py": f"{HEAD}def main():{INDENTED}\n    print({BUILT}.kickoff())\n\nif __name__ == '__main__':\n    main()\n"},
        ["These functions build a Crew and keep it to themselves: main.py:2 (main). Let one return its Crew"],
    ),
    "a module of a folder that is a project of its own": (
        {"apps/desk/office/team.py": "from parts import x\n" + HEAD + FACTORY, "apps/desk/parts/x.py": ""},
        ["No module named 'parts'", "(apps/desk/office/team.py:1) parts is in {here}/apps/desk: start the server with that folder"],
    ),
    "several scripts": (
        {"one__py": HEAD + FACTORY, "two__py": HEAD + PLAIN_CLASS},
        ["no crew or flow in {here}", "Name one as module:attribute, from that folder: one:build_crew, two:Office"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_says_where_and_what_to_do(load: Load, tmp_path: Path, case: str) -> None:
    files, expected = REFUSED[case]
    said = load(write(tmp_path, **files))
    for part in expected:
        assert part.format(here=tmp_path) in said.get("error", said)


def test_a_refused_kickoff_that_the_project_survives_is_no_error(load: Load, tmp_path: Path) -> None:
    tried = f"{KICKOFF}try:\n    print(team.kickoff())\nexcept Exception as error:\n    print(error)\n"
    assert load(write(tmp_path, crew__py=tried))["described"]["inputs"] == ["subject"]


def test_a_module_may_have_a_name_that_is_no_identifier(load: Load, tmp_path: Path) -> None:
    name = "scripts.01-desk:build_crew"
    assert Project.named(name).target == name
    assert load(write(tmp_path, **{"scripts/01-desk.py": HEAD + FACTORY}), name)["described"]["inputs"] == ["subject"]
