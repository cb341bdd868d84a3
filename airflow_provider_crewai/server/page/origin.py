"""What started a run: the Airflow task that the `meta` of its kickoff names, as our operator writes it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_crewai.wire.model import JSON

_LONGEST = 300
_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Origin:
    """A try of a task in Airflow.

    :param map_index: which one of a mapped task; None if it is not mapped.
    :param url: its page in Airflow, over http(s); None if the kickoff names no such URL.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None
    try_number: int | None
    url: str | None

    @property
    def task(self) -> str:
        """Return the task's name, with its place in a mapped task, and its try."""
        place = "" if self.map_index is None else f"[{self.map_index}]"
        attempt = "" if self.try_number is None else f", try {self.try_number}"
        return f"{self.task_id}{place}{attempt}"


def origin_of(said: JSON) -> Origin | None:
    """Read `meta.airflow` of a kickoff, which anybody may have written; None if it names no task."""
    if not isinstance(said, dict):
        return None
    dag_id, run_id, task_id = (_text(said.get(name)) for name in ("dag_id", "run_id", "task_id"))
    if not dag_id or not task_id:
        return None
    index, attempt = _number(said.get("map_index")), _number(said.get("try_number"))
    return Origin(dag_id, run_id, task_id, None if index == -1 else index, attempt, _http(said.get("url")))


def _text(said: JSON) -> str:
    return said[:_LONGEST] if isinstance(said, str) else ""


def _number(said: JSON) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) and abs(said) < _MOST else None


def _http(said: JSON) -> str | None:
    try:
        parts = urlsplit(said) if isinstance(said, str) else None
    except ValueError:
        return None
    return str(said) if parts and parts.scheme in ("http", "https") and parts.hostname else None
