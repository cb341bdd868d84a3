"""The hooks, and what Airflow learns about their connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.execution_time.comms import GetConnection
from conftest import Clock
from in_memory import Airflow
from scripted_crew import INPUTS, TOKEN, Answer, ScriptedCrew, error, success

from airflow_provider_crewai.client.feedback import Fate
from airflow_provider_crewai.client.watch import Patience, Verdict, Watch
from airflow_provider_crewai.hooks import TEST_PATIENCE, AsyncCrewHook, CrewHook
from airflow_provider_crewai.wire import errors
from airflow_provider_crewai.wire.model import Feedback, Kickoff, Question, Resumption, RunState

HOOKS = Kickoff(human_input_webhook="conn://reviews")

# ---- the Test button -------------------------------------------------------------------------------


def press_test(airflow: Airflow, **fields: Any) -> tuple[bool, str]:
    airflow.connections["crewai_default"] |= fields
    with airflow.connected():
        return CrewHook().test_connection()


def test_a_crew_that_answers_is_named_with_its_inputs(airflow: Airflow, crew: ScriptedCrew) -> None:
    assert press_test(airflow) == (True, f"The crew at {crew.url} answers. It takes: topic, audience.")
    assert [asked.path for asked in crew.asked] == ["/inputs"]


def test_a_crew_without_inputs_is_right_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.inputs = []
    assert press_test(airflow) == (True, f"The crew at {crew.url} answers. It takes: no inputs.")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (error(401, "Not authenticated"), "The crew refused the token (HTTP 401: Not authenticated). Copy the Bearer"),
        (error(403, "Forbidden"), "The crew refused the token (HTTP 403: Forbidden)."),
        (error(404, "Not Found"), "Something answers there, but it is not a crew (HTTP 404: Not Found). Set the host"),
        (error(405, "No"), "Something answers there, but it is not a crew (HTTP 405: No). Set the host"),
        (
            Answer(200, b"<html><h1>Hello</h1></html>"),
            "it is not a crew (HTTP 200, but not JSON: 'Hello'). Set the host",
        ),
        (
            Answer(200, {"status": "ok"}),
            "it is not a crew (HTTP 200, but nothing under 'inputs': '{\"status\": \"ok\"}').",
        ),
        (Answer(302, b"", {"Location": "https://app.example/login"}), "redirected to https://app.example/login"),
        (error(503, "asleep", Retry_After="60"), "The crew did not say which inputs it takes: HTTP 503: asleep"),
    ],
    ids=["401", "403", "404", "405", "a page", "another API", "redirect", "503"],
)
def test_a_connection_that_does_not_work_says_what_to_do(
    airflow: Airflow, crew: ScriptedCrew, answer: Answer, says: str
) -> None:
    crew.always("/inputs", answer)
    works, message = press_test(airflow)
    assert not works
    assert says in message
    assert TOKEN not in message


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"password": ""}, "its Bearer token (password) is empty; set it to the crew's Bearer token"),
        ({"host": ""}, "its Crew URL (host) is empty; set it to the crew's URL"),
        ({"host": "http://crew.example"}, "its Crew URL (host) is an http:// URL"),
        ({"extra": {"verify": "perhaps"}}, "its Verify TLS (extra.verify) is 'perhaps'; set it to true or false"),
        ({"extra": {"headers": {"Authorization": "x"}}}, "its Extra headers (extra.headers) names Authorization"),
        ({"extra": {"ca_bundle": "/no/such/file.pem"}}, "its CA bundle (extra.ca_bundle) names '/no/such/file.pem'"),
        (
            {"extra": {"time_out": 5}},
            "its Extra (extra) holds 'time_out', which is not an option; did you mean 'timeout' (Request",
        ),
        ({"extra": [1]}, "its Extra (extra) is not a JSON object"),
        ({"extra": "timeout=5"}, "its Extra (extra) is not a JSON object"),
        ({"login": "me"}, "its Login (login) is set"),
        ({"extra": {"proxy": "socks5://127.0.0.1:1080"}}, "its Proxy (extra.proxy) is a proxy of the kind 'socks5'"),
    ],
    ids=["no token", "no URL", "http", "verify", "headers", "bundle", "key", "list", "text", "login", "socks"],
)
def test_a_connection_that_cannot_be_used_names_the_field(
    airflow: Airflow, crew: ScriptedCrew, fields: dict[str, Any], says: str
) -> None:
    works, message = press_test(airflow, **fields)
    assert not works
    assert f"Connection 'crewai_default': {says}" in message
    assert crew.asked == []


def test_fields_that_nobody_touched_in_the_form_count_as_absent(airflow: Airflow, crew: ScriptedCrew) -> None:
    untouched = dict.fromkeys(("timeout", "verify", "ca_bundle", "proxy", "headers", "allow_http"))
    assert press_test(airflow, port=0, login=None, extra=untouched)[0]
    assert len(crew.asked) == 1


def unserved(crew: ScriptedCrew) -> str:
    with ScriptedCrew() as gone:
        return gone.url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (unserved, "was asked without a proxy: check the Crew URL (host)."),
        (lambda _: "https://no-such-host.invalid", "https://no-such-host.invalid was asked without a proxy"),
        (
            lambda crew: crew.url.replace("http:", "https:"),
            "Set the CA bundle (extra.ca_bundle) where its certificate is",
        ),
    ],
    ids=["refused", "no such name", "no TLS"],
)
def test_what_cannot_be_reached_is_told_at_once(
    airflow: Airflow, crew: ScriptedCrew, url: Callable[[ScriptedCrew], str], says: str
) -> None:
    started = time.monotonic()
    works, message = press_test(airflow, host=url(crew))
    assert time.monotonic() - started < TEST_PATIENCE / 2
    assert not works
    assert message.startswith("The crew did not say which inputs it takes: ")
    assert says in message


@pytest.mark.parametrize(
    "answer", [Answer(200, b"<html>log in</html>"), error(405, "Method Not Allowed"), error(500, "oops")], ids=["HTML", "405", "500"]
)  # fmt: skip
def test_what_does_not_wake_up_is_asked_once(airflow: Airflow, crew: ScriptedCrew, answer: Answer) -> None:
    crew.always("/inputs", answer)
    assert not press_test(airflow)[0]
    assert len(crew.asked) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_deployment_that_wakes_up_is_waited_for(airflow: Airflow, crew: ScriptedCrew, status: int) -> None:
    crew.once("/inputs", error(status, "asleep"), error(status, "asleep"))
    works, message = press_test(airflow)
    assert works, message
    assert len(crew.asked) == 3


def test_a_connection_that_cannot_be_read_is_told_at_once(airflow: Airflow) -> None:
    airflow.connections.clear()
    with airflow.connected():
        works, message = CrewHook().test_connection()
    assert not works
    assert "Connection 'crewai_default' cannot be read" in message


# ---- the methods -----------------------------------------------------------------------------------


def test_both_hooks_do_the_same(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/resume", Answer(body={"kickoff_id": "run-9", "status": "resumed"}))
    airflow.connections["reviews"] = {"conn_type": "http", "host": "https://me.example/hook"}
    with airflow.connected():
        blocking = blocking_calls(crew)
        awaited = asyncio.run(async_calls(crew))
    assert blocking == awaited
    assert blocking[0] == tuple(INPUTS)
    assert blocking[2:] == [RunState.RUNNING, "run-9", Fate.SENT, True, False, Verdict.STOPPED]
    given = [asked.body for asked in crew.asked if asked.path == "/resume"][1::2]
    assert [body["humanInputWebhookUrl"] for body in given] == ["https://me.example/hook"] * 2


def blocking_calls(crew: ScriptedCrew) -> list[Any]:
    hook = CrewHook()
    crew.story("RUNNING")
    kickoff_id = hook.kickoff(Kickoff(inputs=dict(INPUTS)))
    return [
        hook.get_inputs().names,
        bool(kickoff_id),
        hook.get_status(kickoff_id).state,
        hook.resume(Resumption(kickoff_id, "task-1", "Approved.")).kickoff_id,
        hook.give(Feedback("task-1", "Approved."), Question("task-1"), "hidden", HOOKS).fate,
        hook.stop(kickoff_id),
        hook.stop(kickoff_id),
        hook.wait(Watch(kickoff_id, Patience(0.001, 0.002), started_at=0)).verdict,
    ]


async def async_calls(crew: ScriptedCrew) -> list[Any]:
    crew.story("RUNNING")
    async with AsyncCrewHook() as hook:
        kickoff_id = await hook.kickoff(Kickoff(inputs=dict(INPUTS)))
        return [
            (await hook.get_inputs()).names,
            bool(kickoff_id),
            (await hook.get_status(kickoff_id)).state,
            (await hook.resume(Resumption(kickoff_id, "task-1", "Approved."))).kickoff_id,
            (await hook.give(Feedback("task-1", "Approved."), Question("task-1"), "hidden", HOOKS)).fate,
            await hook.stop(kickoff_id),
            await hook.stop(kickoff_id),
            (await hook.wait(Watch(kickoff_id, Patience(0.001, 0.002), started_at=0))).verdict,
        ]


def test_the_two_hooks_have_the_same_methods() -> None:
    def methods(hook: type) -> set[str]:
        return {name for name in vars(hook) if not name.startswith("_")}

    forms = {"get_connection_form_widgets", "get_ui_field_behaviour", "test_connection"}
    names = {"conn_name_attr", "default_conn_name", "conn_type", "hook_name"}
    assert methods(CrewHook) - forms - names - {"get_conn"} == methods(AsyncCrewHook) - {"get_async_conn"}


def test_a_wait_tells_what_it_sees(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", "PENDING", "RUNNING", success())
    seen = []
    with airflow.connected():
        watch = Watch("run-1", Patience(0.001, 0.002), started_at=0)
        CrewHook().wait(watch, lambda run, _: seen.append(run.state.value))
    assert seen == ["pending", "running", "succeeded"]


def test_a_missing_connection_names_itself_and_what_to_add(airflow: Airflow, clock: Clock) -> None:
    with airflow.connected(), pytest.raises(errors.CrewConfigError, match="Connection 'nowhere' cannot be read"):
        CrewHook("nowhere").get_inputs()


def test_the_token_is_in_no_repr(airflow: Airflow) -> None:
    with airflow.connected():
        hook = CrewHook()
        hook.get_inputs()
        assert TOKEN not in repr([hook.settings(), hook.get_conn().settings, str(hook.get_conn().settings)])


def test_headers_of_a_gateway_are_sent_with_each_request(airflow: Airflow, crew: ScriptedCrew) -> None:
    assert press_test(airflow, extra={"headers": '{"X-Gateway": "open"}'})[0]
    assert crew.asked[0].headers["x-gateway"] == "open"


def test_a_secret_header_is_sent_with_each_request_and_shown_to_nobody(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/inputs", error(401, "no key-5e3c here"))
    works, message = press_test(airflow, extra={"secret_headers": '{"X-Gateway-Key": "key-5e3c"}'})
    assert not works
    assert crew.asked[0].headers["x-gateway-key"] == "key-5e3c"
    assert "key-5e3c" not in message


# ---- a connection as a URI ---------------------------------------------------------------------------


def as_uri(uri: str, airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is read of a connection that stands in the environment as a URI, or why it cannot be used."""
    monkeypatch.setenv("AIRFLOW_CONN_CREW_BY_URI", uri)
    with airflow.connected():
        try:
            settings = CrewHook("crew_by_uri").settings()
        except errors.CrewConfigError as error:
            return str(error)
    return f"{settings.token} {settings.base_url} {settings.timeout:g}"


@pytest.mark.parametrize(
    ("uri", "read"),
    [
        ("crewai://https://:tok-1234@crew.example", "tok-1234 https://crew.example 30"),
        ("crewai://https://:tok-1234@crew.example/a%2Fb?timeout=5", "tok-1234 https://crew.example/a/b 5"),
        ("crewai://https://:tok-1234@crew.example:8443/a?__extra__=%7B%22timeout%22%3A5%7D", "tok-1234 https://crew.example:8443/a 5"),
        ("crewai://:tok-1234@crew.example/https", "tok-1234 https://crew.example 30"),
        ("crewai://:tok-1234@https%3A%2F%2Fcrew.example/a", "tok-1234 https://crew.example/a 30"),
        ("crewai://:tok-1234@crew.example/a", "its Crew URL (host) has no scheme"),
        ("crewai://https://tok-1234@crew.example", "its Login (login) is set"),
        ("crewai://https://:tok-1234@crew.example?time_out=5", "its Extra (extra) holds 'time_out'"),
        ("crewai://https://:tok-1234@crew.example/kickoff", "its Schema (schema) ends with the API's own path"),
        ("crewai://https://:tok-1234@crew.example?__extra__=nonsense", "its Extra (extra) is not a JSON object"),
    ],
)  # fmt: skip
def test_a_uri_is_understood_whole_or_what_is_not_is_named(
    uri: str, read: str, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = as_uri(uri, airflow, monkeypatch)
    assert read in heard
    assert "tok-1234" not in heard or heard.startswith("tok-1234 ")


# ---- one look-up for all who start together -------------------------------------------------------------


class SlowAirflow(Airflow):
    """An Airflow whose secrets backend takes its time."""

    async def asend(self, msg: Any) -> Any:
        await asyncio.sleep(0.3)
        return await super().asend(msg)


@pytest.fixture
def slow(crew: ScriptedCrew) -> SlowAirflow:
    return SlowAirflow({"crewai_default": crew.connection})


def test_a_hundred_hooks_that_start_together_look_their_connection_up_once(
    slow: SlowAirflow, crew: ScriptedCrew
) -> None:
    async def together() -> float:
        async with asyncio.timeout(10):
            started = asyncio.get_running_loop().time()
            await asyncio.gather(*(AsyncCrewHook().settings() for _ in range(100)))
            return asyncio.get_running_loop().time() - started

    with slow.connected():
        assert asyncio.run(together()) < 3
    assert slow.count(GetConnection) == 1


def test_a_token_that_was_refused_to_many_is_read_anew_once(slow: SlowAirflow, crew: ScriptedCrew) -> None:
    async def together() -> None:
        async with AsyncCrewHook() as first:
            await first.get_inputs()
            crew.token = "a-new-token"
            slow.connections["crewai_default"] = crew.connection
            hooks = [AsyncCrewHook() for _ in range(20)]
            await asyncio.gather(*(hook.get_inputs() for hook in hooks))
            await asyncio.gather(*(hook._client.close() for hook in hooks if hook._client))  # noqa: SLF001 - as `async with` does

    with slow.connected():
        asyncio.run(together())
    assert slow.count(GetConnection) == 2


def test_a_backend_that_fails_is_asked_again_by_the_next(airflow: Airflow) -> None:
    connections, airflow.connections = airflow.connections, {}

    async def twice() -> None:
        with pytest.raises(errors.CrewConnectionUnreadable):
            await AsyncCrewHook().settings()
        airflow.connections = connections
        await AsyncCrewHook().settings()

    with airflow.connected():
        asyncio.run(twice())
    assert airflow.count(GetConnection) == 2


def test_what_airflow_says_of_a_connection_that_it_cannot_give_shows_no_token(airflow: Airflow) -> None:
    class Strict(CrewHook):
        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            raise ValueError(f"Invalid connection string: crewai://me:{TOKEN}@crew.example.\n{conn_id}")

    class Denied(CrewHook):
        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            raise PermissionError(f"Access denied for connection {conn_id!r}")

    with pytest.raises(
        errors.CrewConnectionUnreadable, match=r"Invalid connection string: crewai://\*\*\*@crew"
    ) as raised:
        Strict().settings()
    assert TOKEN not in str(raised.value)
    with pytest.raises(errors.CrewConfigError, match="Airflow denies this task the connection") as denied:
        Denied().settings()
    assert not isinstance(denied.value, errors.CrewConnectionUnreadable)
