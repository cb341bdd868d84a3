"""Projects of every kind, loaded by a real crewai: set CREW_PYTHON, and CREW_PYTHON_OLDEST for a second version."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import scaffolds
from loader import Load, Loader, pyproject, write

log = logging.getLogger(__name__)


# ---- what crewai's own command makes --------------------------------------------------------------


def whole(expected: dict[str, Any]) -> dict[str, Any]:
    """A description with what most projects say alike."""
    of_flows = {"conversational": False} if expected.get("kind") == "flow" else {}
    return {"defaults": {}, "types": {}, "prompted": expected["inputs"]} | of_flows | expected


CONTENT_FLOW = ["plan_content", "generate_content", "save_content"]
EXPECTED: dict[str, dict[str, Any]] = {
    "classic": {
        "kind": "crew",
        "name": "Classic",
        "inputs": ["current_year", "topic"],
        "required": [],
        "defaults": {"topic": "AI LLMs", "current_year": str(datetime.now().astimezone().year)},
        "tasks": [
            {"name": "research_task", "agent": "{topic} Senior Data Researcher"},
            {"name": "reporting_task", "agent": "{topic} Reporting Analyst"},
        ],
    },
    "json_crew": {
        "kind": "crew",
        "name": "json-crew",
        "inputs": [],
        "required": [],
        "tasks": [{"name": "research_task", "agent": "Senior Researcher"}],
    },
    "flow": {
        "kind": "flow",
        "name": "ContentFlow",
        "inputs": ["topic", "outline", "draft", "final_post"],
        "types": {name: {"type": "string"} for name in ("topic", "outline", "draft", "final_post")},
        "required": [],
        "tasks": [{"name": name, "agent": None} for name in CONTENT_FLOW],
    },
    "declared_flow": {
        "kind": "flow",
        "name": "DeclaredFlow",
        "inputs": ["topic"],
        "defaults": {"topic": "AI agents"},
        "required": [],
        "tasks": [{"name": "start", "agent": None}],
    },
}


@pytest.fixture(scope="module")
def scaffold(python: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    home = tmp_path_factory.mktemp("scaffolds")

    return lambda kind: scaffolds.made(python, kind, home)


@pytest.mark.parametrize("kind", scaffolds.KINDS)
def test_a_scaffold_of_crewais_loads_unchanged(load: Load, scaffold: Callable[[str], Path], kind: str) -> None:
    said = load(scaffold(kind))
    assert said.get("described") == whole({"human_input": False} | EXPECTED[kind]), said


@pytest.mark.parametrize("kind", scaffolds.KINDS)
def test_a_scaffold_is_made_anew_each_time(load: Load, scaffold: Callable[[str], Path], kind: str) -> None:
    makes = load(scaffold(kind))["makes"]
    assert len(set(chain(*makes))) == sum(map(len, makes))


@pytest.mark.parametrize("kind", scaffolds.KINDS)
def test_loading_starts_no_thread(python: str, scaffold: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    loader = Loader(python, tmp_path, warm="cold")
    said = loader(scaffold(kind))
    loader.end()
    log.info("%s: loaded in %.2f s, made in %.2f s", kind, said["loaded_in"], said["made_in"])
    assert said["threads"] == 1


# ---- small projects -------------------------------------------------------------------------------


CREW = """
from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task

@CrewBase
class Tiny:
    agents_config = {}
    tasks_config = {}

    @agent
    def writer(self) -> Agent:
        return Agent(role="Writer of {topic} ", goal="Write", backstory='Answers {"title": "..."}')

    @task
    def write(self) -> Task:
        return Task(description="About {topic} for {audience}", expected_output="Text", agent=self.writer(), human_input=True)

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)
"""
TINY = {
    "kind": "crew",
    "name": "Tiny",
    "inputs": ['"title": "..."', "audience", "topic"],
    "required": ["audience", "topic"],
    "defaults": {},
    "tasks": [{"name": "write", "agent": "Writer of {topic}"}],
    "human_input": True,
}
FLOW = """
from crewai.flow import Flow, start
from pydantic import BaseModel

class Topic(BaseModel):
    topic: str = ""

class Small(Flow[Topic]):
    @start()
    def begin(self):
        return self.state.topic
"""
SMALL = {
    "kind": "flow",
    "name": "Small",
    "inputs": ["topic"],
    "types": {"topic": {"type": "string"}},
    "required": [],
    "defaults": {},
    "tasks": [{"name": "begin", "agent": None}],
    "human_input": False,
}
JSON_CREW = """{
  // Comments are allowed,
  "name": "from json",
  "agents": ["writer"],
  "tasks": [{"name": "write", "description": "About {topic} for {audience}", "expected_output": "Text", "agent": "writer"}],
  "inputs": {"topic": "rain"}, // and so are trailing commas.
}"""
JSON_AGENT = '{"role": "Writer", "goal": "Write", "backstory": "Writes", "llm": "openai/gpt-4o"}'
FROM_JSON = {
    "kind": "crew",
    "name": "from json",
    "inputs": ["audience", "topic"],
    "required": ["audience"],
    "defaults": {"topic": "rain"},
    "tasks": [{"name": "write", "agent": "Writer"}],
    "human_input": False,
}
FLOW_YAML = """
schema: crewai.flow/v1
name: Declared
state:
  type: dict
  default: {topic: rain, count: 1}
methods:
  begin:
    start: true
    do: {call: expression, expr: state.topic}
    human_feedback: {message: Is it good}
"""
DECLARED = {
    "kind": "flow",
    "name": "Declared",
    "inputs": ["topic", "count"],
    "required": [],
    "defaults": {"topic": "rain", "count": 1},
    "tasks": [{"name": "begin", "agent": None}],
    "human_input": True,
}


PROJECTS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "a bare crew.py": ({"crew__py": CREW}, TINY),
    "a bare main.py": ({"main__py": FLOW}, SMALL),
    "a bare crew.jsonc": ({"crew__jsonc": JSON_CREW, "agents__writer__json": JSON_AGENT}, FROM_JSON),
    "a bare flow.yaml": ({"flow__yaml": FLOW_YAML}, DECLARED),
    "crew.py with the main.py of a scaffold": (
        {"crew__py": CREW, "main__py": "from crew import Tiny\n\n\ndef run(): Tiny().crew().kickoff()"},
        TINY,
    ),
    "src and no pyproject": ({"src__tiny__crew__py": CREW}, TINY),
    "a package without src": ({"tiny__crew__py": CREW, "pyproject__toml": pyproject("crew")}, TINY),
    "the package of the project's name": (
        {"pyproject__toml": pyproject(name="My-Tiny"), "src__my_tiny__crew__py": CREW, "src__other__crew__py": "1/0"},
        TINY,
    ),
    "a flow that has a crew.py": (
        {"pyproject__toml": pyproject("flow"), "src__tiny__main__py": FLOW, "src__tiny__crew__py": "1/0"},
        SMALL,
    ),
    "a crew that has a flow.yaml": ({"pyproject__toml": pyproject("crew"), "crew__py": CREW, "flow__yaml": "-"}, TINY),
    "a definition before a module": (
        {
            "pyproject__toml": pyproject("crew", definition="my/own.json"),
            "my__own__json": JSON_CREW,
            "my__agents__writer__jsonc": JSON_AGENT,
            "src__tiny__crew__py": "1/0",
        },
        FROM_JSON,
    ),
    "the flow that others do not derive from": (
        {"main__py": FLOW.replace("Small(", "Base(") + "\nclass Small(Base):\n    @start()\n    def begin(self): pass"},
        SMALL,
    ),
    "the flow that kickoff() uses": (
        {"main__py": FLOW + "\nclass Other(Flow): pass\n\ndef kickoff():\n    Small().kickoff()"},
        SMALL,
    ),
    "a flow that main.py imports": ({"main__py": "from flows import Small", "flows__py": FLOW}, SMALL),
    "a crew that crew.py imports": (
        {"src__tiny__crew__py": "from tiny.crews import Tiny", "src__tiny__crews__py": CREW},
        TINY,
    ),
    "a function that returns a Crew": (
        {
            "crew__py": "from crewai import Crew\nimport tiny\ndef write() -> Crew: return tiny.Tiny().crew()",
            "tiny__py": CREW,
        },
        TINY | {"name": "write"},
    ),
}


@pytest.mark.parametrize("case", PROJECTS)
def test_a_project_is_found_where_crewai_looks_and_where_people_put_it(load: Load, tmp_path: Path, case: str) -> None:
    files, expected = PROJECTS[case]
    said = load(write(tmp_path / "project", **files))
    assert said.get("described") == whole(expected), said
    assert (said["kind"], said["name"]) == (expected["kind"], expected["name"])
    assert len(set(chain(*said["makes"]))) == sum(map(len, said["makes"]))
    assert said["cwd"] == str(tmp_path / "project")


def test_modules_have_their_own_names(load: Load, tmp_path: Path) -> None:
    write(tmp_path, src__tiny__crew__py="from .parts import *", src__tiny__parts__py=CREW, pyproject__toml=pyproject())
    assert sorted(load(tmp_path)["modules"]) == ["tiny", "tiny.crew", "tiny.parts"]


# ---- module:attribute -----------------------------------------------------------------------------

THINGS = (
    CREW
    + FLOW
    + """
tiny, crew, small = Tiny(), Tiny().crew(), Small()

def make_tiny(): return Tiny()
def make_crew() -> Crew: return Tiny().crew()
def make_class(): return Tiny
def make_small() -> Flow: return Small()
def make_any(): return Small()
class Plain:
    def crew(self): return Tiny().crew()
"""
)
CREWS = ["Tiny", "tiny", "crew", "make_tiny", "make_crew", "make_class", "Plain"]


@pytest.mark.parametrize("attribute", [*CREWS, "Small", "small", "make_small", "make_any"])
def test_an_attribute_may_be_whatever_leads_to_a_crew_or_flow(load: Load, tmp_path: Path, attribute: str) -> None:
    said = load(write(tmp_path, src__things__py=THINGS), f"things:{attribute}")
    expected = TINY if attribute in CREWS else SMALL
    assert said["described"] == whole(expected | {"name": said["name"]})
    assert said["kind"] == expected["kind"] or attribute == "make_any"
    if attribute != "small":
        assert len(set(chain(*said["makes"]))) == sum(map(len, said["makes"]))


# ---- inputs ---------------------------------------------------------------------------------------

STATES = {
    "class State(BaseModel):\n  topic: str = ''\n  count: int = 0\n  id: str = ''\n  history: list = []": [
        "topic",
        "count",
        "id",
        "history",
    ],
    "class State(BaseModel):\n  b: str = ''\n  a: str = ''": ["b", "a"],
    "class State(FlowState):\n  b: str = ''\n  a: str = ''": ["b", "a"],
    "State = dict": [],
}


@pytest.mark.parametrize("state", STATES)
def test_the_inputs_of_a_flow_are_the_fields_that_its_state_declares(load: Load, tmp_path: Path, state: str) -> None:
    imports = "from pydantic import BaseModel\nfrom crewai.flow.flow import Flow, FlowState, start\n"
    flow = "\nclass It(Flow[State]):\n  @start()\n  def begin(self): pass"
    assert load(write(tmp_path, main__py=imports + state + flow))["described"]["inputs"] == STATES[state]


def test_a_method_with_human_feedback_is_human_input(load: Load, tmp_path: Path) -> None:
    feedback = FLOW.replace("@start()", "@start()\n    @human_feedback(message='Good?')")
    write(tmp_path, main__py="from crewai.flow.human_feedback import human_feedback\n" + feedback)
    assert load(tmp_path)["described"]["human_input"] is True


# ---- the environment ------------------------------------------------------------------------------

DOTENV = "FROM_FILE=file\nFROM_BOTH=file"


@pytest.mark.parametrize(
    ("files", "wins"),
    [({"crew__py": CREW}, "environment"), ({"main__py": FLOW}, "environment"), ({"flow__yaml": FLOW_YAML}, "file")],
)
def test_dotenv_wins_where_crewai_has_it_win(load: Load, tmp_path: Path, files: dict[str, str], wins: str) -> None:
    write(tmp_path, **files)
    (tmp_path / ".env").write_text(DOTENV)
    said = load(tmp_path, ask=("FROM_FILE", "FROM_BOTH"), FROM_BOTH="environment")
    assert said["environment"] == {"FROM_FILE": "file", "FROM_BOTH": wins}


# ---- errors ---------------------------------------------------------------------------------------

TWO_FLOWS = FLOW + "\nclass Other(Flow): pass"
ERRORS: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "nothing": ({}, ".", ["LookupError: no crew or flow in {here}", "crew.py or crew.jsonc", "main.py or flow.yaml", "module:attribute"]),
    "no flow": ({"pyproject__toml": pyproject("flow"), "crew__py": CREW}, ".", ["LookupError: no flow in {here}", "main.py or flow.yaml"]),
    "two places": (
        {"src__a__crew__py": CREW, "src__b__crew__py": CREW},
        ".",
        ["LookupError: {here} has more than one crew or flow: src/a/crew.py, src/b/crew.py. Name one as module:attribute"],
    ),
    "two kinds": ({"crew__py": CREW, "flow__yaml": FLOW_YAML}, ".", ["more than one crew or flow: crew.py, flow.yaml"]),
    "two crews": ({"crew__py": CREW + CREW.replace("Tiny", "Other")}, ".", ["{here}/crew.py has more than one crew: Tiny, Other", "crew:Tiny"]),
    "two flows": ({"main__py": TWO_FLOWS}, ".", ["{here}/main.py has more than one flow: Small, Other", "such as main:Small"]),
    "no crew in crew.py": ({"crew__py": "from crewai import Crew"}, ".", ["LookupError: {here}/crew.py has no @CrewBase class"]),
    "no flow in main.py": ({"main__py": "from crewai.flow import Flow"}, ".", ["LookupError: {here}/main.py has no Flow"]),
    "an error of the project's": ({"crew__py": "1/0"}, ".", ["ZeroDivisionError: division by zero"]),
    "an exit of the project's": ({"crew__py": "raise SystemExit(3)"}, ".", ["SystemExit: 3"]),
    "a package that is missing": (
        {"crew__py": "import not_there"},
        ".",
        ["ModuleNotFoundError: No module named 'not_there' (crew.py:1) ", "python finds it neither in {here} nor ", "Install it there"],
    ),
    "a package that is missing behind another error": (
        {
            "crew__jsonc": JSON_CREW.replace('"agent"', '"output_pydantic": {"python": "shapes.Shape"}, "agent"'),
            "agents__writer__jsonc": JSON_AGENT,
            "shapes__py": "import not_there",
        },
        ".",
        ["JSONProjectError: {here}/crew.jsonc: ", " (shapes.py:1) ", "python finds not_there neither in {here} nor ", "Install it there"],
    ),
    "a package that is missing, and a question whether to install it": (
        {"crew__py": "try:\n    import not_there\nexcept ImportError:\n    input('Install it?')"},
        ".",
        ["EOFError: ", " (crew.py:2) ", "python finds not_there neither in {here} nor ", "Install it there"],
    ),
    "a tool of an old crewai": (
        {"crew__py": "from crewai_tools import BaseTool"},
        ".",
        ["ImportError: cannot import name 'BaseTool' from 'crewai_tools'", "(crew.py:1) It has moved: from crewai.tools import BaseTool."],
    ),
    "a crew of an old crewai": (
        {"crew__py": "from crewai import Crew\ncrew = Crew(agents=[], tasks=[], verbose=2)"},
        ".",
        ["ValidationError: 1 validation error for Crew", "(crew.py:2) verbose was a number once. Now it is True or False."],
    ),
    "a module that is missing": ({}, "not_there:crew", ["ModuleNotFoundError: No module named 'not_there' ", "neither in {here} nor "]),
    "an attribute that is missing": ({"things__py": THINGS}, "things:other", ["LookupError: {here}/things.py has no other. Its crews and flows: Tiny"]),
    "an attribute that is something else": ({"things__py": "x = 1"}, "things:x", ["LookupError: x is a int: neither a crew, a flow, nor a function"]),
    "a target that is nothing": ({}, "not-there", ["LookupError: 'not-there' is neither a directory in {here} nor module:attribute"]),
    "no TOML": ({"pyproject__toml": "["}, ".", ["LookupError: {here}/pyproject.toml is not TOML: "]),
    "another type": ({"pyproject__toml": pyproject("tool")}, ".", ["LookupError: {here}/pyproject.toml: [tool.crewai] type is 'tool'"]),
    "a definition that is not there": (
        {"pyproject__toml": pyproject("crew", definition="crew.jsonc")},
        ".",
        ["LookupError: {here}/pyproject.toml: [tool.crewai] definition = 'crew.jsonc' is not a file of the project"],
    ),
    "a definition outside": ({"pyproject__toml": pyproject("flow", definition="../flow.yaml")}, ".", ["'../flow.yaml' is not a file of the project"]),
    "a definition of no type": ({"pyproject__toml": pyproject(definition="x")}, ".", ['needs type = "crew" or type = "flow" beside it']),
    "no JSON": ({"crew__jsonc": "{"}, ".", ["JSONProjectValidationError: {here}/crew.jsonc: invalid JSON at line 1, column 2"]),
    "an agent that is missing": ({"crew__jsonc": JSON_CREW}, ".", ["{here}/crew.jsonc: agent 'writer' not found in {here}/agents"]),
    "no YAML": ({"flow__yaml": "a: b: c"}, ".", ["LookupError: {here}/flow.yaml does not define a flow: mapping values are not allowed"]),
    "no flow in YAML": ({"flow__yaml": "methods: 1"}, ".", ["LookupError: {here}/flow.yaml does not define a flow: ", "methods"]),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_says_which_file_and_what_is_wrong(load: Load, tmp_path: Path, case: str) -> None:
    files, target, expected = ERRORS[case]
    said = load(write(tmp_path, **files), target)
    for part in expected:
        assert part.format(here=tmp_path) in said.get("error", said)


def test_another_module_of_the_same_name_is_not_taken_for_the_project(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, project = write(tmp_path / "other", crew__py=CREW), write(tmp_path / "project", crew__py=CREW)
    monkeypatch.setenv("PYTHONPATH", f"{other}{os.pathsep}{project}")
    loader = Loader(python, tmp_path, warm="cold")
    said = loader(project)
    loader.end()
    assert said["error"].startswith(f"LookupError: crew is {other / 'crew.py'}, not {project / 'crew.py'}: ")
