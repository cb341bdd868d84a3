"""Which defaults has an admin set for all tasks? `[crewai]` in Airflow's configuration.

An argument of a task wins over the configuration, and the configuration over `client.defaults`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_args

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.killing import OnKill
from airflow_provider_crewai.client.ledger import OnChangedInputs, OnClear, OnOrphanedKickoff, OnOutputMismatch
from airflow_provider_crewai.client.watch import CENTURY

T = TypeVar("T")

SECTION = "crewai"


class Unset(enum.Enum):
    """What an argument is that its author did not give: None may mean "for ever"."""

    UNSET = "as configured"


UNSET = Unset.UNSET

_LONGEST_SIZE = 18
"""The most digits of a number of bytes."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the section.

    :param default: as it is written in the configuration.
    :param sensitive: whether Airflow hides it, and also takes it from `…_cmd` and `…_secret`.
    :param read: turns the text into the value; raises a ValueError that says what to set it to.
    """

    default: str
    help: str
    read: Callable[[str], Any]
    example: str | None = None
    sensitive: bool = False


@cache  # each look-up of Airflow's takes some 20 microseconds, and each task of each Dag asks for all
def configured(name: str) -> Any:
    """Return what the configuration says about an option, else its default. It is read once in a process.

    :raises ValueError: it cannot be used; names the option and what to set it to.
    """
    # Late: Airflow reads our provider info, and so this module, while it is being imported itself.
    from airflow_provider_crewai.in_airflow.compat import conf

    option = OPTIONS[name]
    text = conf.get(SECTION, name, fallback=option.default).strip()
    try:
        return option.read(text)
    except ValueError as cure:
        raise ValueError(f"[{SECTION}] {name} in Airflow's configuration is {text!r}; set it to {cure}.") from None


def chosen(name: str, given: T | Unset) -> T:
    """Return the argument that an author gave, else what is configured."""
    if given is UNSET:
        value: T = configured(name)
        return value
    assert not isinstance(given, Unset)  # noqa: S101 - for mypy: UNSET is the only one
    return given


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= CENTURY:
        raise ValueError("seconds above 0")
    return seconds


def _limit(text: str) -> float | None:
    if text.lower() == "none":
        return None
    try:
        return _seconds(text)
    except ValueError as cure:
        raise ValueError(f"{cure}, or none to wait for ever") from None


def _bytes(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if not text.isdecimal() or len(text) > _LONGEST_SIZE:
        raise ValueError("a number of bytes, or none for any size")
    return int(text)


def _base_url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s?#]+", text, re.IGNORECASE):
        raise ValueError("a URL that begins with https:// and has no query")
    return text.rstrip("/")


def _one_of(words: Any) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in get_args(words):
            raise ValueError(" or ".join(get_args(words)))
        return text

    return read


OPTIONS: dict[str, Option] = {
    "ledger_path": Option(
        "",
        "Where tasks keep the records of their runs: a path in object storage that all workers share. "
        "Airflow below 3.3 needs it, because it has no task state store. From 3.4 it "
        "lets on_clear='reattach' work even if a clear discards the task state.",
        str,
        "s3://my-bucket/crewai-ledger",
    ),
    "webhook_base_url": Option(
        "",
        "How a deployment reaches this Airflow's api-server: its base URL, as seen from outside. Then each task gives "
        "its deployment signed URLs: to tell what the crew asks a human, and which run a kickoff started. Needs "
        "Airflow 3.1 and [api] secret_key.",
        _base_url,
        "https://airflow.example.com",
    ),
    "flow_webhook_secret": Option(
        "",
        "The secrets with which CrewAI's platform signs what it tells of the questions of flows, separated by blanks: "
        "one for each webhook that leads to /crewai/calls/flows of this Airflow.",
        lambda text: tuple(text.split()),
        sensitive=True,
    ),
    "poll_interval": Option(f"{defaults.POLL_INTERVAL:g}", "Seconds between two looks at a run, at least.", _seconds),
    "max_poll_interval": Option(
        f"{defaults.MAX_POLL_INTERVAL:g}", "Seconds between two looks at a run, at most.", _seconds
    ),
    "unreachable_timeout": Option(
        f"{defaults.UNREACHABLE_TIMEOUT:g}",
        "Seconds for which the API may fail to answer before a task gives up; none waits for ever.",
        _limit,
    ),
    "timeout": Option(
        f"{defaults.WAIT:g}",
        "Seconds after which a CrewKickoffOperator stops waiting for its run; none waits for ever.",
        _limit,
    ),
    "on_kill": Option("stop", "stop or leave a run that its task no longer waits for.", _one_of(OnKill)),
    "on_clear": Option(
        "rerun", "rerun starts a new run after a clear; reattach takes the earlier run up.", _one_of(OnClear)
    ),
    "on_changed_inputs": Option(
        "rerun", "rerun or fail if a retry finds other inputs than the run was started with.", _one_of(OnChangedInputs)
    ),
    "on_orphaned_kickoff": Option(
        "fail",
        "fail or rerun if an earlier try may have started a run that nobody can name.",
        _one_of(OnOrphanedKickoff),
    ),
    "on_output_mismatch": Option(
        "fail",
        "fail, or rerun the crew on a retry, if its answer is not what output_type says.",
        _one_of(OnOutputMismatch),
    ),
    "max_xcom_bytes": Option(
        f"{defaults.MAX_XCOM_BYTES}",
        "Bytes of JSON above which an answer goes to the task's result_path, or a warning says so; none for any size.",
        _bytes,
    ),
}


def section() -> dict[str, Any]:
    """Return the section as provider info declares it."""
    options = {
        name: {
            "description": option.help,
            "version_added": "0.1.0",
            "type": "string",
            "example": option.example,
            "sensitive": option.sensitive,
            "default": option.default,
        }
        for name, option in OPTIONS.items()
    }
    return {"description": "Defaults for all tasks that run crews. An argument of a task wins.", "options": options}
