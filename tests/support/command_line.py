"""The command line as a process, against a crew whose every answer is scripted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import warm
from support.server import Behaviour, Scripted, Seen, answer, in_turn, says

REPOSITORY = Path(__file__).parents[2]
TOKEN = "tok-9f2b6c1e-do-not-tell"
MODULE = "airflow_provider_crewai"
LAUNCH = (sys.executable, "-m", MODULE)
FAST = ("--poll-interval", "0.02", "--patience", "0.1")


@dataclass(frozen=True)
class Done:
    """What a command left behind. The token is nowhere in it: that was checked."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which holds one JSON object and nothing else."""
        return json.loads(self.out)


def crew(*states: object, **routes: Behaviour) -> Scripted:
    """A crew whose run goes through these states; `kickoff`, `inputs`, `resume` and `stop` may be behaviours.

    :param states: the bodies of the answers to `/status/run-1`, or behaviours; the last one goes on.
    """
    usual: dict[str, Callable[[Seen], Behaviour]] = {
        "inputs": lambda _: says({"inputs": ["topic"]}),
        "kickoff": lambda _: says({"kickoff_id": "run-1"}),
        "status": in_turn(*(each if callable(each) else says(each) for each in states or (SUCCESS,))),
        "resume": lambda _: says({"kickoff_id": "run-2", "status": "resumed"}),
        "stop": lambda _: says({"status": "stopped"}),
    }
    given = {name: in_turn(behaviour) for name, behaviour in routes.items()}
    return Scripted(lambda seen: _route(usual | given, seen))


def _route(routes: Mapping[str, Callable[[Seen], Behaviour]], seen: Seen) -> Behaviour:
    if seen.headers.get("authorization") != f"Bearer {TOKEN}":
        return answer(401, json.dumps({"detail": f"not with {seen.headers.get('authorization')}"}))
    place = seen.target.split("/")[1]
    return routes[place](seen) if place in routes else answer(404, '{"detail":"Not Found"}')


SUCCESS = {"state": "SUCCESS", "result": "A brief on tides.", "usage_metrics": {"total_tokens": 1200}}
FAILED = {"state": "FAILED", "status": "the model said no"}
STOPPED = {"state": "REVOKED", "status": None}
UNKNOWN = {"state": "NOT FOUND", "status": "Task not found"}


def running(completed: int = 1, current: str = "write") -> dict[str, Any]:
    """The answer about a run that goes on."""
    progress = {"completed": completed, "total": 3, "current": current, "current_agent": "Writer"}
    return {"state": "RUNNING", "status": "Task is Running", "progress": progress}


def environment(**changes: str | None) -> dict[str, str]:
    """The environment of a command, with the token."""
    own = {"PYTHONPATH": str(REPOSITORY), "CREWAI_TOKEN": TOKEN, "COLUMNS": "100", **changes}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return kept | {name: value for name, value in own.items() if value is not None}


def command(*arguments: str, url: str | None, launch: Sequence[str] = LAUNCH) -> list[str]:
    """The whole command, about the crew at a URL."""
    return [*launch, *arguments, *(() if url is None else ("--url", url))]


def call(
    *arguments: str,
    url: str | None = None,
    program: Sequence[str] = (MODULE,),
    launch: Sequence[str] | None = None,
    stdin: str = "",
    answers_token: bool = False,
    **changes: str | None,
) -> Done:
    """Run a command to its end.

    :param program: its module and first arguments. A Python that has loaded it already forks.
    :param launch: how to start it in a Python of its own instead. So does a variable for Python itself.
    :param answers_token: whether what the crew answers, which nobody alters, is the token itself.
    """
    if launch is None and any(name.startswith("PYTHON") for name in changes):
        launch = (sys.executable, "-m", *program)
    whole = command(*arguments, url=url, launch=launch or program)
    run = _started if launch else warm.run
    code, out, err = run(whole, environment(**changes), stdin)
    assert TOKEN not in err + ("" if answers_token else out)
    return Done(code, out, err)


def _started(whole: Sequence[str], environment: Mapping[str, str], said: str) -> tuple[int, str, str]:
    done = subprocess.run(
        whole,
        env=environment,
        input=said,
        capture_output=True,
        text=True,
        timeout=240,  # a machine under load: only what hangs is wrong
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def interrupt(*arguments: str, server: Scripted, when: str, said: str = "") -> Done:
    """Press Ctrl-C when a request to this target has come, and these words were said on stderr."""
    with subprocess.Popen(
        command(*arguments, url=server.url),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        try:
            until(lambda: any(seen.target.startswith(when) for seen in server.seen))
            heard = process.stderr.readline() if said else ""
            assert said in heard
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert TOKEN not in out + heard + err
    return Done(process.returncode, out, heard + err)


def until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
