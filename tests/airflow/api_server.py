"""Airflow's own api-server, over a real socket, with a database of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn
from airflow_api import eventually

from airflow_provider_crewai.in_airflow.link import run_page_path

BEGAN = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class Api:
    """An api-server that knows one Dag run, and a user of it.

    :param made: how many task instances were made.
    """

    url: str
    made: list[str] = field(default_factory=list)

    def task(
        self,
        state: str | None = "deferred",
        *,
        xcoms: dict[str, Any] | None = None,
        fields: dict[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        earlier: tuple[str, ...] = (),
        map_index: int = -1,
    ) -> str:
        """Put a task instance into the database; return the path of its page."""
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session
        from sqlalchemy import insert
        from uuid6 import uuid7

        task_id = f"brief{len(self.made)}"
        self.made.append(task_id)
        names = {"dag_id": "d", "run_id": "r", "task_id": task_id, "map_index": map_index}
        row = names | {
            "pool": "default_pool",
            "pool_slots": 1,
            "start_date": BEGAN,
            "max_tries": 3,
            "executor_config": {},
        }
        with create_session() as session:
            run = _dag_run(session)
            number = len(earlier) + 1
            session.execute(insert(TaskInstance).values(id=uuid7(), state=state, try_number=number, **row))
            for past, was in enumerate(earlier, 1):
                from airflow.models.taskinstancehistory import TaskInstanceHistory

                history = row | {"task_instance_id": uuid7(), "try_number": past, "end_date": BEGAN}
                session.execute(insert(TaskInstanceHistory).values(state=was, **history))
            for key, value in (xcoms or {}).items():
                session.execute(insert(XComModel).values(dag_run_id=run, key=key, value=value, **names))
            if fields is not None:
                session.execute(insert(RenderedTaskInstanceFields).values(rendered_fields=fields, **names))
            if record is not None:
                text = json.dumps(record)
                session.execute(
                    insert(TaskStateStoreModel).values(dag_run_id=run, key="crewai_run", value=text, **names)
                )
        return run_page_path("d", "r", task_id, map_index)

    def get(self, path: str, role: str | None = "viewer", **headers: str) -> httpx.Response:
        """Ask as a user with this role; an empty role is nobody."""
        cookies = {"_token": token_of(role)} if role != "" else {}
        return httpx.get(self.url + path, headers=headers, cookies=cookies, trust_env=False, timeout=30)

    def page(self, path: str) -> str:
        """Return the page as its reader sees it."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


def token_of(role: str | None) -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token: str = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="somebody", role=role))
    return token


def _dag_run(session: Any) -> int:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.types import DagRunType
    from sqlalchemy import select

    known = session.scalar(select(DagRun.id).where(DagRun.dag_id == "d", DagRun.run_id == "r"))
    if known is not None:
        return int(known)
    session.add(DagBundleModel(name="bundle"))
    session.flush()
    session.add(DagModel(dag_id="d", bundle_name="bundle", is_stale=False))
    session.flush()
    run = DagRun(dag_id="d", run_id="r", logical_date=BEGAN, run_after=BEGAN, run_type=DagRunType.MANUAL)
    session.add(run)
    session.flush()
    return int(run.id)


@contextmanager
def served() -> Iterator[Api]:
    """Serve Airflow's API and our plugin's."""
    from airflow.api_fastapi.app import create_app

    options = {"port": 0, "log_level": "warning", "timeout_graceful_shutdown": 2}
    server = uvicorn.Server(uvicorn.Config(create_app(apps="core"), **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started or None, "the api-server to start", interval=0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Api(f"http://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(10)
