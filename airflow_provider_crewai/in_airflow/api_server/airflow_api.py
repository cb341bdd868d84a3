"""Asks Airflow's own API, in the same process, as the person who looks at a page.

So Airflow decides who may see what, masks what it masks everywhere, and no table of its database is named here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import httpx
from fastapi import HTTPException, status

from airflow_provider_crewai.in_airflow.batch_store import BATCH
from airflow_provider_crewai.in_airflow.ledger_store import KEY
from airflow_provider_crewai.in_airflow.link import CrewRunLink
from airflow_provider_crewai.in_airflow.xcom import CREW_BATCH, CREW_RUN, KICKOFF_ID

WHO = ("authorization", "cookie")
"""The headers that say who asks."""

RETURNED = "return_value"
ACTS = "included_events=clear&included_events=patch_task_instance&included_events=patch_dag_run"
"""What the story tells of what people did, as the audit log names it."""

CLEARS = "included_events=post_clear_task_instances&order_by=-id&limit=50"
"""How the audit log is asked for clears. It names their tasks in a text, so it cannot look for those of one task."""


AT_ONCE = 8
"""So many questions of all viewers together are asked at a time. Each takes a connection of the database and a thread,
of which an api-server has 15 and 40 (3.3.2): eighty questions at once waited for each other for half a minute."""

PAGES = 10
"""So many pages of a batch's record are read, the newest ones: each holds what came of some items."""


@dataclass(frozen=True, slots=True)
class TaskKey:
    """Which task instance is looked at."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    @property
    def path(self) -> str:
        """Return its path in Airflow's API, without the map index."""
        return (
            f"/api/v2/dags/{_quoted(self.dag_id)}/dagRuns/{_quoted(self.run_id)}/taskInstances/{_quoted(self.task_id)}"
        )

    @property
    def ui(self) -> str:
        """Return its path in Airflow's UI."""
        mapped = f"/mapped/{self.map_index}" if self.map_index >= 0 else ""
        return f"/dags/{_quoted(self.dag_id)}/runs/{_quoted(self.run_id)}/tasks/{_quoted(self.task_id)}{mapped}"


@dataclass(frozen=True, slots=True)
class Known:
    """What Airflow knows of a task instance. Its texts come from people, tasks and crews.

    :param task: the task instance, as Airflow's API gives it.
    :param tries: all its tries, the oldest first.
    :param acts: what people did to it: the entries of the audit log, if the person may read them.
    :param record: the task's record of its run; empty if there is none.
    :param batch: the task's record of its batch; empty if there is none.
    :param pages: the newest pages of that record, the oldest first.
    :param xcoms: its XComs by key.
    """

    task: Mapping[str, Any]
    tries: tuple[Mapping[str, Any], ...] = ()
    acts: tuple[Mapping[str, Any], ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, Any] = field(default_factory=dict)
    pages: tuple[Any, ...] = ()
    xcoms: Mapping[str, Any] = field(default_factory=dict)


class AirflowApi:
    """Airflow's API, asked by one person.

    :param app: Airflow's own app.
    :param headers: those of the person's request.
    """

    def __init__(self, app: Any, headers: Mapping[str, str]) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._headers = {name: headers[name] for name in WHO if name in headers}

    async def known(self, key: TaskKey) -> Known:
        """Return what Airflow knows of a task instance.

        :raises HTTPException: Airflow does not show it to this person (401, 403), or there is none (404).
        """
        async with httpx.AsyncClient(
            transport=self._transport, base_url="http://airflow", headers=self._headers
        ) as client:
            one = key.path if key.map_index < 0 else f"{key.path}/{key.map_index}"
            answer = await _get(client, one)
            if not answer.is_success:
                raise HTTPException(answer.status_code, _detail(answer))
            return await self._more(client, key, one, answer.json())

    async def _more(self, client: httpx.AsyncClient, key: TaskKey, one: str, task: dict[str, Any]) -> Known:
        index = f"map_index={key.map_index}"
        log = f"dag_id={_quoted(key.dag_id)}&run_id={_quoted(key.run_id)}&task_id={_quoted(key.task_id)}"
        names = (CREW_RUN, CREW_BATCH, KICKOFF_ID, RETURNED, CrewRunLink().xcom_key)
        clears_of_dag = f"/api/v2/eventLogs?dag_id={_quoted(key.dag_id)}&{CLEARS}"
        tries, acts, clears, record, batch, *xcoms = await asyncio.gather(
            _asked(client, f"{one}/tries", "task_instances"),
            _asked(client, f"/api/v2/eventLogs?{log}&{ACTS}&limit=50", "event_logs"),
            _asked(client, clears_of_dag, "event_logs"),
            _asked(client, f"{key.path}/state-store/{KEY}?{index}", "value"),
            _asked(client, f"{key.path}/state-store/{BATCH}?{index}", "value"),
            *(_asked(client, f"{key.path}/xcomEntries/{name}?{index}&deserialize=true", "value") for name in names),
        )
        batch = batch if isinstance(batch, dict) else {}
        pages = [
            _asked(client, f"{key.path}/state-store/{BATCH}.{number}?{index}", "value") for number in _newest_of(batch)
        ]
        return Known(
            task,
            tuple(tries or ()),
            (*(acts or ()), *(clear for clear in clears or () if _is_of(clear, key))),
            record if isinstance(record, dict) else {},
            batch,
            tuple(await asyncio.gather(*pages)),
            {name: value for name, value in zip(names, xcoms, strict=True) if value is not None},
        )


def _newest_of(batch: Mapping[str, Any]) -> range:
    """Return the numbers of the pages to read. People may edit what is stored."""
    first, end = batch.get("first_page"), batch.get("pages")
    if not isinstance(first, int) or not isinstance(end, int):
        return range(0)
    return range(max(first, end - PAGES, 0), end)


def _quoted(part: str) -> str:
    return quote(part, safe="")


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def _get(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """Ask Airflow, when it is this question's turn."""
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)):
        return await client.get(path)


async def _asked(client: httpx.AsyncClient, path: str, name: str) -> Any:
    """Return a part of an answer, or None: not there, not for this person, or not in this version of Airflow.

    :raises HTTPException: it is an XCom that is not for this person (403): the crew's answer would tell what it holds.
    """
    answer = await _get(client, path)
    if answer.status_code == status.HTTP_403_FORBIDDEN and "/xcomEntries/" in path:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "You may not read the XComs of this task.")
    return answer.json().get(name) if answer.status_code == status.HTTP_200_OK else None


def _is_of(clear: Mapping[str, Any], key: TaskKey) -> bool:
    """Return whether a clear was of this task: a user names tasks by their ids, or by ids and map indexes."""
    try:
        asked = json.loads(clear.get("extra") or "{}")
        names = asked.get("task_ids") or []
        return asked.get("dag_run_id") == key.run_id and (key.task_id in names or [key.task_id, key.map_index] in names)
    except (ValueError, TypeError, AttributeError):
        return False


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail"))
    except (ValueError, AttributeError):
        return answer.reason_phrase
