"""`python -m airflow_provider_crewai`: what is asked of a crew, what is said where, and the exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command_line import (
    FAILED,
    FAST,
    MODULE,
    STOPPED,
    SUCCESS,
    TOKEN,
    UNKNOWN,
    Done,
    call,
    command,
    crew,
    environment,
    interrupt,
    running,
)
from support.hostile import PAYLOADS, faults
from support.server import Behaviour, Scripted, answer, hang_up, in_turn, reset, says, silence

from airflow_provider_crewai.cli.outcome import OF_VERDICT, Exit, exit_of_error, exit_of_state
from airflow_provider_crewai.cli.verbs import EPILOG, VERBS
from airflow_provider_crewai.client.watch import Verdict
from airflow_provider_crewai.wire import errors
from airflow_provider_crewai.wire.model import RunState

KEYS = {"outcome", "message", "kickoff_id", "state", "result", "result_json", "error", "progress", "usage"}
WAIT = ("--wait", *FAST)
KICKOFF = ("kickoff", "--input", "topic=tides")
RESUME = ("resume", "run-1", "--task", "t-1", "--answer", "fine")
MISSING = answer(422, '{"detail":"Missing inputs: audience"}')
NO_PATH = answer(404, '{"detail":"Not Found"}')
NEVER_WAS = answer(400, '{"detail":"Cannot stop execution. Current state: NOT FOUND"}')
DENIED = answer(401, '{"detail":"Invalid or missing authentication credentials"}')
ASKS: dict[str, Any] = {
    "state": "PAUSED",
    "human_input": {"task_id": "t-9", "message": "Is it good?", "output": "# Draft\n\n- tides"},
}


def without(module: str) -> list[str]:
    """Launch the command line where this module cannot be imported."""
    code = f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_module({MODULE!r}, run_name='__main__')"
    return [sys.executable, "-c", code]


def with_quick_clocks(times: int = 30) -> list[str]:
    """Launch the command line where time passes so many times as fast."""
    code = f"""
import runpy, time
begun, now, since, sleep = time.time(), time.time, time.monotonic, time.sleep
time.time = lambda: begun + (now() - begun) * {times}
time.monotonic = lambda: since() * {times}
time.sleep = lambda seconds: sleep(seconds / {times})
runpy.run_module({MODULE!r}, run_name='__main__')"""
    return [sys.executable, "-c", code]


def nobody() -> str:
    """The URL of a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# ---- exit codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "scripted", "code"),
    [
        (("inputs",), {}, 0),
        (KICKOFF, {}, 0),
        ((*KICKOFF, *WAIT), {"states": [running(), SUCCESS]}, 0),
        (("status", "run-1"), {}, 0),
        (("status", "run-1", *WAIT), {"states": [running(), SUCCESS]}, 0),
        (RESUME, {"states": [UNKNOWN]}, 0),
        (RESUME, {"states": [UNKNOWN, UNKNOWN, running()], "resume": reset}, 0),
        (("stop", "run-1"), {}, 0),
        (("stop", "run-1"), {"stop": answer(400, '{"detail":"Cannot stop execution. Current state: SUCCESS"}')}, 0),
        ((*KICKOFF, *WAIT), {"states": [running(), FAILED]}, 1),
        (("status", "run-1"), {"states": [FAILED]}, 1),
        (("status", "run-1"), {"states": [STOPPED]}, 1),
        (("status", "run-1", *WAIT), {"states": [running(), STOPPED]}, 1),
        (KICKOFF, {"kickoff": MISSING}, 2),
        (("kickoff", "--input", "topc=x"), {}, 2),
        (("kickoff", "--input", "topic"), {}, 2),
        (("kickoff", "--input", "topic:={"), {}, 2),
        (("kickoff", "--inputs", "[1]"), {}, 2),
        (("kickoff", "--inputs", "@/nowhere"), {}, 2),
        (("status", ".."), {}, 2),
        (("inputs", "--extra", '{"timeout": -1}'), {}, 2),
        (("inputs", "--token-file", "/nowhere"), {}, 2),
        (("inputs", "--conn-id", "x"), {}, 2),
        (("inputs", "--patience", "0"), {}, 2),
        (("resume", "run-1", "--answer", "fine"), {"states": [running()]}, 2),
        (RESUME, {}, 2),
        (RESUME, {"states": [ASKS]}, 2),
        (RESUME, {"states": [running()]}, 2),
        (("resume", "run-1", "--answer", "fine"), {"states": [ASKS]}, 0),
        (("resume", "run-1", "--answer", "fine", *FAST[2:]), {"states": [DENIED]}, 4),
        (("resume", "run-1", "--answer", "fine"), {"states": [ASKS], "resume": reset}, 5),
        (("resume", "run-1", "--task", "t-1", "--approve", "--answer", "fine"), {}, 2),
        (("unheard-of",), {}, 2),
        (("status", "run-1"), {"states": [running()]}, 3),
        (("status", "run-1"), {"states": [{"state": "brand new word"}]}, 3),
        (("status", "run-1", "--wait-timeout", "0.1", *FAST), {"states": [running()]}, 3),
        ((*KICKOFF, "--wait-timeout", "0.1", *FAST), {"states": [running()]}, 3),
        (("stop", "run-1"), {"states": [running()], "stop": NO_PATH}, 3),
        (("inputs",), {"inputs": DENIED}, 4),
        ((*KICKOFF, *FAST[2:]), {"kickoff": DENIED}, 4),
        ((*KICKOFF, *FAST[2:]), {"kickoff": answer(503, retry_after="1")}, 4),
        ((*KICKOFF, *FAST[2:]), {"inputs": answer(503)}, 4),
        ((*KICKOFF, *FAST[2:]), {"kickoff": answer(429)}, 4),
        ((*KICKOFF, *FAST[2:]), {"kickoff": answer(402, '{"detail":"execution limit reached"}')}, 4),
        ((*KICKOFF, *FAST[2:]), {"kickoff": answer(302, location="https://elsewhere.example")}, 4),
        ((*KICKOFF, *FAST[2:]), {"inputs": answer(500)}, 4),
        (("status", "run-1", *FAST[2:]), {"states": [answer(502, "<html>")]}, 4),
        (("status", "run-1", "--unreachable-timeout", "0.01", *WAIT), {"states": [hang_up]}, 4),
        (("status", "run-1", "--unreachable-timeout", "0.01", *WAIT), {"states": [running(), NO_PATH]}, 4),
        (("stop", "run-1", *FAST[2:]), {"stop": answer(500)}, 4),
        ((*RESUME, *FAST[2:]), {"states": [UNKNOWN], "resume": answer(503, retry_after="1")}, 4),
        (KICKOFF, {"kickoff": reset}, 5),
        (KICKOFF, {"kickoff": answer(500)}, 5),
        (KICKOFF, {"kickoff": answer(503)}, 5),
        (KICKOFF, {"kickoff": answer(502, "<html>")}, 5),
        (KICKOFF, {"kickoff": says({"no": "id"})}, 5),
        (RESUME, {"states": [UNKNOWN], "resume": reset}, 5),
        (("inputs",), {"inputs": NO_PATH}, 6),
        (("status", "run-1", *WAIT), {"states": [NO_PATH]}, 6),
        (("status", "run-1"), {"states": [UNKNOWN]}, 6),
        (("stop", "run-1"), {"states": [UNKNOWN], "stop": NO_PATH}, 6),
        (("stop", "run-1"), {"stop": NEVER_WAS}, 6),
    ],
)
def test_the_exit_code_says_what_became_of_the_run(arguments: Any, scripted: dict[str, Any], code: int) -> None:
    routes = {name: each for name, each in scripted.items() if name != "states"}
    with crew(*scripted.get("states", ()), **routes) as server:
        done = call(*arguments, url=server.url)
    assert done.code == code, done
    assert "Traceback" not in done.err


def test_nobody_at_the_url_is_out_of_reach() -> None:
    url = nobody()
    done = call("inputs", *FAST[2:], url=url)
    assert (done.code, done.out) == (4, "")
    assert url in done.err


def test_each_verdict_and_each_error_has_its_code() -> None:
    assert set(OF_VERDICT) == set(Verdict)
    assert OF_VERDICT[Verdict.LOST] is Exit.NOT_FOUND
    may_have_arrived = errors.CrewTransportError("reset", sent=True)
    assert exit_of_error(may_have_arrived) is Exit.UNREACHABLE
    assert exit_of_error(may_have_arrived, once=True) is Exit.MAY_HAVE_STARTED
    assert {exit_of_state(state) for state in RunState if state.is_alive} == {Exit.STILL_RUNNING}


def test_a_mistake_of_this_program_does_not_look_like_a_run_that_failed() -> None:
    done = call("status", "run-1", url="http://127.0.0.1:1", launch=without("requests"))
    assert (done.code, done.out) == (70, "")
    assert "Traceback" in done.err


def test_the_exit_codes_stand_in_one_place_of_the_help() -> None:
    whole = call("--help").out
    assert EPILOG in whole
    assert all(f"{code.value:>3}  {code.meaning}" in EPILOG for code in Exit)
    for verb in VERBS:
        if verb.epilog:
            own = call(verb.name, "--help").out
            assert "crewai --help" in own
            assert Exit.MAY_HAVE_STARTED.meaning not in own


def test_wrong_use_sends_nothing() -> None:
    with crew() as server:
        for arguments in (("kickoff", "--input", "topic"), ("inputs", "--conn-id", "x"), ("status", "")):
            assert call(*arguments, url=server.url).code == 2
        assert server.seen == []


def test_a_misspelt_input_is_refused_before_it_costs_anything_and_can_be_insisted_on() -> None:
    with crew() as server:
        refused = call("kickoff", "--input", "topc=x", url=server.url)
        assert "Did you mean 'topic' instead of 'topc'?" in refused.err
        assert "--no-validate" in refused.err
        assert call("kickoff", "--input", "topc=x", "--no-validate", url=server.url).code == 0
        assert [seen.target for seen in server.seen] == ["/inputs", "/inputs", "/kickoff"]


# ---- what is sent ----------------------------------------------------------------------------------


def test_inputs_come_from_all_sides_and_keep_their_types(tmp_path: Path) -> None:
    whole = '{"topic": "over", "n": 1, "deep": {"x": [null]}}'
    (tmp_path / "inputs.json").write_text(whole)
    single = ("--input", "topic=a=b", "--input", "n:=2.5", "--input", "on:=true", "--input", "text=7")
    wanted = {"topic": "a=b", "n": 2.5, "deep": {"x": [None]}, "on": True, "text": "7"}
    with crew() as server:
        for given in (whole, f"@{tmp_path}/inputs.json", "-"):
            assert call("kickoff", "--inputs", given, *single, url=server.url, stdin=whole).code == 0
        assert [seen.json for seen in server.seen if seen.target == "/kickoff"] == [{"inputs": wanted}] * 3


def test_a_kickoff_carries_all_that_it_is_given(tmp_path: Path) -> None:
    human = {"url": "https://h", "authentication": {"strategy": "bearer", "token": "t"}}
    (tmp_path / "human").write_text(json.dumps(human))
    hooks = {"--task-webhook": "https://t", "--step-webhook": "https://s", "--crew-webhook": "https://c"}
    rest = {"--human-input-webhook": f"@{tmp_path}/human", "--webhooks": '{"url": "https://w"}', "--meta": '{"a": 1}'}
    flags = [each for pair in (hooks | rest | {"--restore-from": "run-0"}).items() for each in pair]
    with crew() as server:
        assert call(*KICKOFF, *flags, url=server.url).code == 0
        assert server.seen[-1].json == {
            "inputs": {"topic": "tides"},
            "meta": {"a": 1},
            "taskWebhookUrl": "https://t",
            "stepWebhookUrl": "https://s",
            "crewWebhookUrl": "https://c",
            "humanInputWebhook": human,
            "webhooks": {"url": "https://w"},
            "restoreFromStateId": "run-0",
        }


@pytest.mark.parametrize(
    ("said", "feedback", "approve"),
    [
        (("--approve",), "Approved.", True),
        (("--feedback", "shorter"), "shorter", False),
        (("--answer", "as you like"), "as you like", None),
    ],
)
def test_a_human_approves_or_asks_for_more_or_lets_the_crew_judge(
    said: tuple[str, ...], feedback: str, approve: bool | None
) -> None:
    with crew(UNKNOWN) as server:
        done = call("resume", "run-1", "--task", "t-1", *said, "--crew-webhook", "https://c", "--json", url=server.url)
        sent = server.seen[-1].json
    assert done.json["resumed"] == {"kickoff_id": "run-2", "status": "resumed", "message": None}
    assert (sent["executionId"], sent["taskId"], sent["crewWebhookUrl"]) == ("run-1", "t-1", "https://c")
    assert (sent["humanFeedback"], sent.get("isApprove")) == (feedback, approve)


def test_an_answer_goes_to_the_question_that_is_open() -> None:
    with crew(ASKS) as server:
        done = call("resume", "run-1", "--approve", url=server.url)
        assert [seen.target for seen in server.seen] == ["/status/run-1", "/status/run-1", "/resume"]
        assert server.seen[-1].json["taskId"] == "t-9"
    assert done.code == 0


def test_a_flow_is_answered_by_its_own_id() -> None:
    with crew({"state": "PAUSED", "flow_id": "run-1"}, resume_feedback=says({"status": "resumed"})) as server:
        done = call("resume", "run-1", "--answer", "publish", "--json", url=server.url)
        assert server.seen[-1].json == {"flow_id": "run-1", "feedback": "publish"}
    assert (done.code, done.json["fate"]) == (0, "sent")


def test_of_several_open_questions_none_is_answered_by_guess() -> None:
    others = [{"task_id": "t-10", "message": "And this?"}, {"task_id": 7}, "x"]
    asks = {"state": "PAUSED", "human_input": {**ASKS["human_input"], "others": others}}
    with crew(asks) as server:
        done = call("resume", "run-1", "--approve", url=server.url)
        assert [seen.target for seen in server.seen] == ["/status/run-1"]
        assert call("resume", "run-1", "--approve", "--task", "t-10", url=server.url).code == 0
        assert server.seen[-1].json["taskId"] == "t-10"
    assert done.code == 2
    assert "Is it good? (task t-9), and the question t-10" in done.err
    assert "--task" in done.err


@pytest.mark.parametrize(("state", "words"), [(running(), "running, 1 of 3 done"), (SUCCESS, "succeeded")])
def test_without_an_open_question_nothing_is_answered(state: dict[str, Any], words: str) -> None:
    with crew(state) as server:
        done = call("resume", "run-1", "--approve", url=server.url)
        assert [seen.target for seen in server.seen] == ["/status/run-1"]
    assert done.code == 2
    assert words in done.err
    assert "Nothing was sent." in done.err
    assert ("--task" in done.err) is (state != SUCCESS)


# ---- what is said where ----------------------------------------------------------------------------


def test_stdout_holds_what_was_asked_for_and_nothing_else() -> None:
    with crew(running(), SUCCESS, inputs=says({"inputs": ["topic", "audience"]})) as server:
        assert call("inputs", url=server.url).out == "topic\naudience\n"
        assert call(*KICKOFF, url=server.url).out == "run-1\n"
        assert call(*KICKOFF, *WAIT, url=server.url).out == "A brief on tides.\n"
        assert call("status", "run-1", url=server.url).out == "A brief on tides.\n"
        assert call("stop", "run-1", url=server.url).out == ""
    with crew(running()) as server:
        assert call("status", "run-1", url=server.url).out == "Run run-1: running, 1 of 3 done, now write (Writer)\n"


def test_status_shows_what_is_to_be_judged_and_how_to_answer() -> None:
    with crew(ASKS) as server:
        done = call("status", "run-1", url=server.url)
        resume = f"resume run-1 --task t-9 --url {server.url}"
    assert done.code == 3
    line, _, *draft = done.out.splitlines()
    assert line == "Run run-1: waiting for a human: Is it good? (task t-9)"
    assert [each.strip() for each in draft] == ["# Draft", "", "- tides"]
    assert resume in done.err


def test_a_structured_answer_is_printed_as_json() -> None:
    with crew(SUCCESS | {"result_json": {"title": "Ebbe"}}) as server:
        assert json.loads(call("status", "run-1", url=server.url).out) == {"title": "Ebbe"}


@pytest.mark.parametrize(
    ("arguments", "states", "told"),
    [
        (
            (*KICKOFF, *WAIT),
            [running(), SUCCESS],
            {
                "outcome": "done",
                "kickoff_id": "run-1",
                "state": "succeeded",
                "result": "A brief on tides.",
                "usage": {"total_tokens": 1200},
            },
        ),
        (
            ("status", "run-1"),
            [running()],
            {
                "outcome": "still_running",
                "state": "running",
                "progress": {"completed": 1, "total": 3, "current": "write", "current_agent": "Writer"},
            },
        ),
        (("status", "run-1", *WAIT), [FAILED], {"outcome": "run_failed", "state": "failed", "error": FAILED["status"]}),
        (("status", "run-1"), [UNKNOWN], {"outcome": "not_found", "state": "not_found", "kickoff_id": "run-1"}),
        (KICKOFF, [], {"outcome": "done", "kickoff_id": "run-1", "state": None}),
        (("stop", "run-1"), [], {"outcome": "done", "kickoff_id": "run-1", "stopped": True}),
        (("inputs",), [], {"outcome": "done", "inputs": ["topic"]}),
        (("inputs", "--extra", "{"), [], {"outcome": "wrong_use", "kickoff_id": None}),
    ],
)
def test_json_is_one_object_with_the_same_keys_always(arguments: Any, states: list[Any], told: dict[str, Any]) -> None:
    with crew(*states) as server:
        done = call(*arguments, "--json", url=server.url)
    assert done.out.count("\n") == 1
    assert done.json.keys() >= KEYS
    assert told.items() <= done.json.items()


def test_a_line_for_each_change_where_nobody_looks_on() -> None:
    with crew(running(1), running(1), running(1), running(2), SUCCESS) as server:
        lines = call(*KICKOFF, *WAIT, url=server.url).err.splitlines()
    assert lines == [
        f"Run run-1 is started over {server.url}.",
        "Run run-1: running, 1 of 3 done, now write (Writer)",
        "Run run-1: running, 2 of 3 done, now write (Writer)",
        "Run run-1 succeeded, less than a second after it was started.",
    ]


def on_a_terminal(server: Scripted, *arguments: str, **changes: str) -> tuple[str, str]:
    """Return what stdout holds, and all that a terminal at stderr got."""
    terminal, stderr = os.openpty()
    process = subprocess.Popen(
        command(*arguments, url=server.url),
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    os.close(stderr)
    got = b""
    try:
        while chunk := os.read(terminal, 65536):
            got += chunk
    except OSError:
        pass  # how Linux says that the other side of a terminal has gone
    finally:
        os.close(terminal)
    out, _ = process.communicate(timeout=30)
    assert TOKEN not in out + got.decode()
    return out, got.decode()


def test_one_line_that_is_written_again_on_a_terminal() -> None:
    states = [running(1), running(1), running(2, "a name much longer than the last one " * 9), SUCCESS]
    with crew(*states) as server:
        out, shown = on_a_terminal(server, *KICKOFF, *WAIT)
    assert out == "A brief on tides.\n"
    started, live, *rest = shown.split("\r\n")
    assert started == f"Run run-1 is started over {server.url}."
    drawn = live.split("\r")
    assert drawn[1].startswith("Run run-1: running, 1 of 3 done, now write (Writer) (less than a second)")
    assert [line.split(" of ")[0] for line in drawn[1:4]] == [f"Run run-1: running, {done}" for done in (1, 1, 2)]
    assert max(map(len, drawn)) < 100, "a line that wraps cannot be written again"
    assert drawn[-1] == "Run run-1 succeeded, less than a second after it was started."
    assert drawn[-2].isspace(), "the last line of progress is wiped"
    assert rest == [""]


@pytest.mark.parametrize("columns", ["100", "30", "12"])
def test_the_live_line_always_ends_with_the_time(columns: str) -> None:
    with crew(running(1, "a name that is long " * 9), SUCCESS) as server:
        _, shown = on_a_terminal(server, "status", "run-1", *WAIT, COLUMNS=columns)
    drawn = [line for line in shown.split("\r") if line.startswith("Run run-1: running") or "second)" in line]
    assert drawn
    assert all(line.endswith("less than a second)") for line in drawn)
    assert columns == "12" or max(map(len, drawn)) < int(columns)


def test_a_question_stands_above_the_live_line() -> None:
    with crew(running(), ASKS, ASKS, SUCCESS) as server:
        _, shown = on_a_terminal(server, "status", "run-1", *WAIT)
    assert shown.count("Run run-1: what is to be judged:\r\n") == 1
    assert "    # Draft\r\n" in shown


@pytest.mark.parametrize("name", [name for name in PAYLOADS if "token" not in name])
def test_what_a_crew_says_gives_no_orders_to_a_terminal(name: str) -> None:
    said = PAYLOADS[name]
    asks = {"state": "PAUSED", "human_input": {"task_id": "t-1", "message": said}}
    with crew(running(1, said), asks, {"state": said}, {"state": "FAILED", "status": said}) as server:
        _, shown = on_a_terminal(server, *KICKOFF, *WAIT)
    lines = shown.replace("\r\n", "\n").replace("\r", "\n")
    assert "The crew says: " in lines
    assert not [*faults(lines)]
    assert len(lines) < 6_000


def test_an_outage_is_told_once() -> None:
    busy = answer(503, "busy")
    with crew(busy, busy, SUCCESS) as server:
        done = call("status", "run-1", "--wait", "--poll-interval", "0.02", url=server.url)
    assert done.code == 0
    assert done.err.splitlines() == [
        f"No usable answer from {server.url} (HTTP 503: busy); it is asked again.",
        "Run run-1 succeeded.",
    ]


def test_what_keeps_a_kickoff_from_being_taken_is_told_while_it_is_tried_and_in_the_end() -> None:
    why = "brief cannot be loaded by python: SyntaxError: invalid syntax (crew.py, line 3)"
    with crew(inputs=answer(503, json.dumps({"detail": why}))) as server:
        done = call(*KICKOFF, "--patience", "1.5", url=server.url)
    assert done.code == 4
    assert done.err.splitlines() == [
        f"No usable answer from {server.url} (HTTP 503: {why}); it is asked again.",
        f"The crew was not started over {server.url}: HTTP 503: {why}.",
    ]


def test_a_reader_that_has_gone_is_no_failed_run() -> None:
    with crew(SUCCESS | {"result": "long " * 100_000}) as server:
        line = f"{sys.executable} -m airflow_provider_crewai status run-1 --url {server.url}; echo $? >&2"
        shell = ["sh", "-c", f"({line}) | head -c 1"]
        done = subprocess.run(shell, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "Run run-1 succeeded.\n0\n"


def test_an_answer_that_the_terminal_cannot_spell_is_printed_all_the_same() -> None:
    with crew(SUCCESS | {"result": "Gezeiten für 潮"}) as server:
        done = call("status", "run-1", url=server.url, PYTHONIOENCODING="ascii")
    assert (done.code, done.out) == (0, "Gezeiten f\\xfcr \\u6f6e\n")


# ---- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "scripted", "words"),
    [
        (KICKOFF, {"kickoff": reset}, ["paid run may have started", "before you start another"]),
        (KICKOFF, {"kickoff": MISSING}, ["was not started", "Missing inputs: audience"]),
        (
            ("status", "run-1", *WAIT),
            {"states": [FAILED]},
            ["run-1 failed.", "The crew says: the model said no", "The run is over"],
        ),
        (
            ("status", "run-1", *WAIT),
            {"states": [NO_PATH]},
            ["No crew answers there", "may go on and cost money"],
        ),
        (
            ("status", "run-1", "--wait-timeout", "0.1"),
            {"states": [running()]},
            ["run-1 did not end", "probably goes on"],
        ),
        (("status", "run-1"), {"states": [DENIED]}, ["run-1 could not be looked at", "may go on"]),
        (("status", "run-1"), {"states": [UNKNOWN]}, ["run-1 is not known", "It is not known whether it goes on"]),
        (("stop", "run-1"), {"stop": DENIED}, ["run-1 could not be stopped", "may go on"]),
        (("stop", "run-1"), {"stop": NO_PATH, "states": [running()]}, ["run-1 GOES ON", "no way to stop it"]),
        (
            ("stop", "run-1"),
            {"stop": NEVER_WAS},
            ["does not know run run-1", "was not stopped", "not known whether it goes on"],
        ),
        (RESUME, {"states": [UNKNOWN], "resume": reset}, ["run-1 may have arrived", "It is not sent again"]),
        (RESUME, {"states": [UNKNOWN], "resume": DENIED}, ["run-1 was not accepted"]),
        (RESUME, {"states": [ASKS]}, ["run-1 asks question 't-9' now, not 't-1'", "Nothing was sent"]),
    ],
)
def test_an_error_names_the_run_the_crew_and_whether_it_goes_on(
    arguments: Any, scripted: dict[str, Any], words: list[str]
) -> None:
    routes = {name: each for name, each in scripted.items() if name != "states"}
    with crew(*scripted.get("states", ()), **routes) as server:
        done = call(*arguments, url=server.url)
        assert server.url in done.err
    assert not [each for each in words if each not in done.err], done.err


def test_a_token_that_is_refused_for_a_minute_of_a_wait_ends_it_and_not_the_run() -> None:
    with crew(running(), DENIED) as server:
        done = call("status", "run-1", *WAIT, url=server.url, launch=with_quick_clocks())
    assert (done.code, done.out) == (4, "")
    assert all(words in done.err for words in (server.url, "run-1", "stopped working", "probably goes on")), done.err


def test_the_command_that_a_message_names_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "the token").write_text(f"{TOKEN}\n")
    with crew() as server:
        started = call(*KICKOFF, "--token-file", f"{tmp_path}/the token", url=server.url, CREWAI_TOKEN=None)
        line = started.err.splitlines()[-1].partition("answer: python ")[2]
        shell = ["sh", "-c", f"{sys.executable} {line}"]
        again = subprocess.run(shell, env=environment(CREWAI_TOKEN=None), capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (0, "A brief on tides.\n")


def test_a_password_in_extra_is_not_repeated() -> None:
    extra = '{"headers": {"X-Gateway": "sesame"}}'
    with crew() as server:
        done = call(*KICKOFF, "--extra", extra, url=server.url)
        assert server.seen[-1].headers["x-gateway"] == "sesame"
    assert "sesame" not in done.err + done.out


# ---- the token -------------------------------------------------------------------------------------


def test_a_token_that_the_crew_echoes_in_an_error_is_not_printed() -> None:
    with crew(inputs=answer(500, json.dumps({"detail": f"Bearer {TOKEN}"}))) as server:
        assert "***" in call("inputs", *FAST[2:], url=server.url).err


def test_an_answer_that_holds_the_token_is_printed_as_it_came_and_told_of() -> None:
    with crew(SUCCESS | {"result": f"the token is {TOKEN}"}) as server:
        done = call("status", "run-1", url=server.url, answers_token=True)
    assert done.out == f"the token is {TOKEN}\n"
    assert "holds a secret of the connection" in done.err


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_without_a_token_both_ways_to_give_one_are_named(empty: str | None) -> None:
    with crew() as server:
        done = call("inputs", url=server.url, CREWAI_TOKEN=empty)
        assert server.seen == []
    assert done.code == 2
    assert "CREWAI_TOKEN" in done.err
    assert "--token-file" in done.err


def test_the_token_file_is_read_again_when_the_token_was_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("an-old-one")

    def renewing(wire: Any) -> None:
        if wire.seen.headers["authorization"] != f"Bearer {TOKEN}":
            file.write_text(TOKEN)
            DENIED(wire)
        else:
            says({"inputs": ["topic"]})(wire)

    with Scripted(in_turn(renewing)) as server:
        assert call("inputs", "--token-file", str(file), url=server.url, CREWAI_TOKEN=None).out == "topic\n"


def test_the_checks_are_those_of_a_connection() -> None:
    done = call("inputs", url="http://my-crew.example")
    assert done.code == 2
    assert "would send the token unencrypted" in done.err


# ---- Ctrl-C ----------------------------------------------------------------------------------------


def test_ctrl_c_while_waiting_says_that_the_run_goes_on_and_how_to_look_again() -> None:
    with crew(running()) as server:
        done = interrupt(*KICKOFF, *WAIT, "--json", server=server, when="/status/")
    assert done.code == 130
    assert done.json["kickoff_id"] == "run-1"
    assert f"Run run-1 goes on over {server.url}" in done.err
    assert f"python -m airflow_provider_crewai status run-1 --wait --url {server.url}\n" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "route", "code", "words"),
    [
        (KICKOFF, "kickoff", 5, "a paid run may have started"),
        (RESUME, "resume", 5, "the run may have the answer"),
        (("stop", "run-1"), "stop", 130, "the run may be stopped, or go on"),
    ],
)
def test_ctrl_c_while_it_is_sent_says_that_it_may_have_arrived(
    arguments: tuple[str, ...], route: str, code: int, words: str
) -> None:
    waits: dict[str, Behaviour] = {route: silence(30)}
    with crew(UNKNOWN, **waits) as server:
        done = interrupt(*arguments, server=server, when=f"/{route}")
        assert server.url in done.err
    assert done.code == code
    assert words in done.err


NOTHING = Done(130, "", "Interrupted. Nothing was sent that changes anything.\n")


def test_ctrl_c_before_the_kickoff_says_that_nothing_was_started() -> None:
    with crew(inputs=silence(30)) as server:
        assert interrupt(*KICKOFF, server=server, when="/inputs") == NOTHING
        assert [seen.target for seen in server.seen] == ["/inputs"]


def test_ctrl_c_between_two_attempts_that_cannot_have_arrived_says_so() -> None:
    with crew(kickoff=answer(503, retry_after="60")) as server:
        done = interrupt(*KICKOFF, server=server, when="/kickoff", said="asked again")
    assert done.code == 130
    assert done.err.splitlines()[-1:] == NOTHING.err.splitlines()


# ---- what it needs ---------------------------------------------------------------------------------


def test_a_crew_is_reached_by_its_url_without_airflow() -> None:
    with crew() as server:
        assert call("inputs", url=server.url, launch=without("airflow")).out == "topic\n"


def test_a_connection_without_airflow_is_refused_with_the_way_out() -> None:
    done = call("inputs", launch=without("airflow"))
    assert done.code == 2
    assert "--url" in done.err


@pytest.mark.parametrize("missing", ["uvicorn", "starlette"])
def test_serving_without_its_extra_names_the_extra(missing: str) -> None:
    done = call("serve", "somewhere", launch=without(missing))
    assert done.code == 2
    assert "pip install 'airflow-provider-crewai[server]'" in done.err
    assert "pip install '.[server]'" in done.err
    assert "Traceback" not in done.err


def test_the_definition_of_the_verbs_loads_nothing_that_is_slow() -> None:
    code = "import sys; import airflow_provider_crewai.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in loaded.stdout.split()}
    assert not tops & {"requests", "urllib3", "aiohttp", "yarl", "pendulum", "starlette", "uvicorn", "airflow"}
    assert "airflow_provider_crewai" in tops
