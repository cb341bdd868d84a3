"""`airflow crewai`: the same verbs within Airflow, and its connections at both entrances."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.providers_manager import ProvidersManager
from aop_server import EXAMPLE
from support.command_line import MODULE, SUCCESS, TOKEN, call, command, crew, environment, running

from airflow_provider_crewai.cli.main import parser
from airflow_provider_crewai.cli.verbs import EPILOG, VERBS
from airflow_provider_crewai.provider_info import get_provider_info

pytestmark = pytest.mark.slow

AIRFLOW = ("airflow", "crewai")
OURS = (MODULE,)
EITHER = pytest.mark.parametrize("program", [AIRFLOW, OURS], ids=["airflow", "python -m"])
COLD = (sys.executable, "-m", *AIRFLOW)
"""How a user starts it. That takes seconds, so most tests fork an Airflow that is loaded already."""
NAMES = [verb.name for verb in VERBS]


def below(parent: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a parser's commands."""
    (commands,) = (each for each in parent._actions if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001
    return dict(commands.choices)


def test_airflow_finds_the_commands_through_the_provider_info() -> None:
    (named,) = get_provider_info()["cli"]
    module, _, name = named.rpartition(".")
    found = {function.__module__: function for function in ProvidersManager().cli_command_functions}
    assert found[module] is getattr(import_module(module), name)


def test_both_entrances_have_the_same_verbs_and_arguments() -> None:
    within, alone = below(below(get_parser())["crewai"]), below(parser())
    assert set(within) == set(alone) == set(NAMES)
    for name in NAMES:
        taken = [[(each.dest, each.option_strings) for each in one[name]._actions] for one in (within, alone)]  # noqa: SLF001
        assert taken[0] == taken[1]


def test_the_help_of_airflow_shows_the_verbs_and_the_exit_codes() -> None:
    verbs = call("--help", launch=COLD)
    assert verbs.code == 0
    assert all(f"{verb.name} " in verbs.out and verb.help in verbs.out for verb in VERBS)
    assert EPILOG in verbs.out


@EITHER
def test_serve_shows_the_help_of_the_server_and_hands_it_its_arguments(program: Sequence[str]) -> None:
    shown = call("serve", "--help", program=program)
    typed = "airflow crewai serve" if program == AIRFLOW else "python -m airflow_provider_crewai serve"
    assert (shown.code, shown.out.partition(" [-h]")[0]) == (0, f"usage: {typed}")
    assert "--slots" in shown.out
    refused = call("serve", "--host", "192.0.2.1", str(EXAMPLE), program=program)
    assert refused.code == 2
    assert "192.0.2.1 is not a loopback address" in refused.err


def test_a_url_needs_no_connection_within_airflow_either() -> None:
    with crew(running(), SUCCESS) as server:
        assert call("inputs", url=server.url, program=AIRFLOW).out == "topic\n"
        arguments = ("kickoff", "--input", "topic=tides", "--wait", "--poll-interval", "0.02", "--json")
        done = call(*arguments, url=server.url, program=AIRFLOW)
    assert (done.code, done.json["result"]) == (0, "A brief on tides.")


def test_an_exit_code_passes_through_airflow_and_the_hint_names_its_command() -> None:
    with crew(running()) as server:
        assert call("status", "run-1", url=server.url, program=AIRFLOW).code == 3
        started = call("kickoff", "--input", "topic=x", url=server.url, program=AIRFLOW)
    assert f"airflow crewai status run-1 --wait --url {server.url}" in started.err


@EITHER
def test_the_default_connection_is_used_where_nothing_is_named(program: Sequence[str]) -> None:
    with crew() as server:
        connection = json.dumps({"conn_type": "crewai", "host": server.url, "password": TOKEN})
        variables = {"AIRFLOW_CONN_CREWAI_DEFAULT": connection, "CREWAI_TOKEN": None}
        assert call("inputs", program=program, **variables).out == "topic\n"
        failed = call("kickoff", "--input", "topc=x", program=program, **variables)
    assert failed.code == 2
    assert "connection 'crewai_default'" in failed.err


@pytest.mark.usefixtures("database")
def test_a_connection_in_the_database_is_found_through_either() -> None:
    with crew() as server:
        add = [
            "connections",
            "add",
            "kept",
            "--conn-type",
            "crewai",
            "--conn-host",
            server.url,
            "--conn-password",
            TOKEN,
        ]
        subprocess.run([*COLD[:-1], *add], check=True, capture_output=True)
        for program, entrance in ((AIRFLOW, "airflow crewai"), (OURS, "python -m airflow_provider_crewai")):
            done = call("kickoff", "--input", "topic=x", "--conn-id", "kept", program=program, CREWAI_TOKEN=None)
            assert (done.code, done.out) == (0, "run-1\n")
            assert f"{entrance} status run-1 --wait --conn-id kept\n" in done.err


@EITHER
def test_a_connection_that_is_not_there_is_named(program: Sequence[str]) -> None:
    done = call("status", "run-1", "--conn-id", "nowhere", "--json", program=program)
    assert (done.code, done.json["outcome"]) == (2, "wrong_use")
    assert "Connection 'nowhere' cannot be read" in done.err


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The URL of the example crew, served by `airflow crewai serve`; its token is in `tmp_path/token`."""
    python = os.environ.get("CREW_PYTHON")
    if not python:
        pytest.fail("CREW_PYTHON must name a Python interpreter that has crewai: these tests run a real crew")
    arguments = ("serve", str(EXAMPLE), "--python", python, "--state", str(tmp_path))
    started = command(*arguments, url=None, launch=COLD)
    with subprocess.Popen(started, env=environment(CREWAI_SERVER_TOKEN=None), stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout
        yield one.stdout.readline().split()[-1]
        one.terminate()
        assert one.wait(60) == 0
        assert one.stdout.read() == "", "stdout holds the one line alone"


def test_what_is_served_here_is_asked_and_run_from_here(served: str, tmp_path: Path) -> None:
    with_token = ("--token-file", str(tmp_path / "token"))
    assert call("inputs", *with_token, url=served).out == "audience\ntopic\n"
    inputs = ("--input", "topic=AI agents", "--input", "audience=engineers")
    done = call("kickoff", *inputs, "--wait", "--json", *with_token, url=served)
    assert (done.code, done.json["state"]) == (0, "succeeded")
    kickoff_id = done.json["kickoff_id"]
    assert call("stop", kickoff_id, *with_token, url=served).err == f"Run {kickoff_id} had already ended.\n"
    for verb in ("status", "stop"):
        assert call(verb, "made-up", *with_token, url=served).code == 6


def test_airflow_loads_nothing_slow_for_the_commands() -> None:
    code = (
        "import sys, airflow.cli.cli_config; before = set(sys.modules)\n"
        "from airflow_provider_crewai.cli.airflow_commands import commands; commands()\n"
        "print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    new = loaded.stdout.splitlines()[-1].split()
    slow = {"requests", "urllib3", "aiohttp", "yarl", "pendulum", "starlette", "uvicorn", "fsspec"}
    assert not {name.partition(".")[0] for name in new} & slow
    late = {f"airflow_provider_crewai.{name}" for name in ("cli.acts", "client.sync", "hooks", "server")}
    assert "airflow_provider_crewai.cli.airflow_commands" in new
    assert not late & set(new)
