"""`[crewai]` in Airflow's configuration: defaults that an admin sets once for all tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from crew_tasks import sensor

from airflow_provider_crewai.in_airflow.config import OPTIONS, configured, section
from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.sensors import CrewStatusSensor

ARGUMENTS = sorted(OPTIONS.keys() - {"ledger_path", "webhook_base_url", "flow_webhook_secret"})
OTHER = {
    "poll_interval": ("7", 7.0),
    "max_poll_interval": ("700.5", 700.5),
    "unreachable_timeout": ("none", None),
    "timeout": ("3600", 3600.0),
    "on_kill": ("leave", "leave"),
    "on_clear": ("reattach", "reattach"),
    "on_changed_inputs": ("fail", "fail"),
    "on_orphaned_kickoff": ("rerun", "rerun"),
    "on_output_mismatch": ("rerun", "rerun"),
    "max_xcom_bytes": ("none", None),
}
WRONG = {
    "poll_interval": ("soon", "seconds above 0"),
    "max_poll_interval": ("0", "seconds above 0"),
    "unreachable_timeout": ("-1", "seconds above 0, or none to wait for ever"),
    "timeout": ("nan", "seconds above 0, or none to wait for ever"),
    "on_kill": ("kill", "stop or leave"),
    "on_clear": ("", "rerun or reattach"),
    "on_changed_inputs": ("ignore", "rerun or fail"),
    "on_orphaned_kickoff": ("adopt", "fail or rerun"),
    "on_output_mismatch": ("ignore", "fail or rerun"),
    "max_xcom_bytes": ("1e6", "a number of bytes, or none for any size"),
}
HELD_IN = {
    "on_kill": "kill_policy",
    "on_clear": "rules.on_clear",
    "on_changed_inputs": "rules.on_changed_inputs",
    "on_orphaned_kickoff": "rules.on_orphaned_kickoff",
    "on_output_mismatch": "rules.on_output_mismatch",
}


def held(task: object, name: str) -> object:
    """Return what a task took for an argument."""
    for part in HELD_IN.get(name, name).split("."):
        task = getattr(task, part)
    return task


@pytest.fixture(autouse=True)
def _another_process() -> Iterator[None]:
    configured.cache_clear()
    yield
    configured.cache_clear()


def configure(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"AIRFLOW__CREWAI__{name.upper()}", text)
    configured.cache_clear()


def plain(**options: object) -> CrewKickoffOperator:
    return CrewKickoffOperator(task_id="brief", inputs={}, **options)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_is_configured_wins_over_the_default_and_an_argument_over_both(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    default, (text, value) = held(plain(), name), OTHER[name]
    assert default != value
    configure(monkeypatch, name, text)
    assert held(plain(), name) == value
    assert held(plain(**{name: default}), name) == default


@pytest.mark.parametrize("name", ["poll_interval", "max_poll_interval", "unreachable_timeout"])
def test_the_sensor_takes_what_is_configured_for_waiting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    configure(monkeypatch, name, OTHER[name][0])
    assert held(CrewStatusSensor(task_id="answer", kickoff_id="run-1"), name) == OTHER[name][1]


def test_the_configured_timeout_is_none_of_the_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "timeout", "1")
    assert sensor(timeout=60).timeout == 60


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_cannot_be_used_names_the_option_and_the_cure(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, cure = WRONG[name]
    configure(monkeypatch, name, text)
    with pytest.raises(
        ValueError, match=rf"\[crewai\] {name} in Airflow's configuration is '{text}'; set it to {cure}"
    ):
        plain()


def test_an_argument_keeps_a_wrong_option_from_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "timeout", "never")
    assert plain(timeout=timedelta(hours=1)).timeout == timedelta(hours=1)


@pytest.mark.parametrize("text", ["airflow.example.com", "ftp://x", "https://", "https://x/?a=b", "https://a b"])
def test_an_address_that_no_deployment_can_call_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    configure(monkeypatch, "webhook_base_url", text)
    with pytest.raises(ValueError, match=r"\[crewai\] webhook_base_url .* set it to a URL"):
        configured("webhook_base_url")


def test_each_option_has_help_and_a_default_that_can_be_read() -> None:
    for name, option in section()["options"].items():
        assert option["description"].endswith("."), name
        assert configured(name) == OPTIONS[name].read(option["default"])
