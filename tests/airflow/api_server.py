"""Airflow's own api-server, over a real socket, with a database of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn
from airflow_api import eventually

from airflow_provider_crewai.in_airflow.compat import TaskStateInDatabase, put_xcom_in_database
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
        batch: dict[str, Any] | None = None,
        pages: tuple[dict[str, Any], ...] = (),
        earlier: tuple[str, ...] = (),
        map_index: int = -1,
    ) -> str:
        """Put a task instance into the database; return the path of its page."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from sqlalchemy import insert
        from uuid6 import uuid7

        task_id, ti_id = f"brief{len(self.made)}", uuid7()
        self.made.append(task_id)
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id=task_id, map_index=map_index)
        row = {"dag_id": "d", "run_id": "r", "task_id": task_id, _index(TaskInstance): map_index} | {
            "pool": "default_pool",
            "pool_slots": 1,
            "start_date": BEGAN,
            "max_tries": 3,
            "executor_config": {},
        }
        with create_session() as session:
            _dag_run(session)
            number = len(earlier) + 1
            session.execute(insert(TaskInstance).values(id=ti_id, state=state, try_number=number, **row))
            for past, was in enumerate(earlier, 1):
                _archive(session, row | {"state": was, "try_number": past, "end_date": BEGAN})
            for key, value in (xcoms or {}).items():
                put_xcom_in_database(ti, key, value, session)
            if fields is not None:
                _render(session, ti, ti_id, fields)
            numbered = [(f"crewai_batch.{number}", page) for number, page in enumerate(pages)]
            for key, kept in (("crewai_run", record), ("crewai_batch", batch), *numbered):
                if kept is not None:
                    TaskStateInDatabase(ti, session).set(key, kept, retention=None)
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


def _index(model: Any) -> str:
    """Return the name of a model's map index: 3.4 keeps it under another one."""
    return "region_index" if hasattr(model, "region_index") else "map_index"


def _archive(session: Any, row: dict[str, Any]) -> None:
    """Put an earlier try into the database. From 3.4 on it is an instance like the present one."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import insert
    from uuid6 import uuid7

    if hasattr(TaskInstance, "working_set"):
        session.execute(insert(TaskInstance).values(id=uuid7(), working_set=None, **row))
        return
    from airflow.models.taskinstancehistory import TaskInstanceHistory

    session.execute(insert(TaskInstanceHistory).values(task_instance_id=uuid7(), **row))


def _render(session: Any, ti: Any, ti_id: Any, fields: dict[str, Any]) -> None:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
    from sqlalchemy import insert

    names = {"task_instance_id": ti_id} if hasattr(Rendered, "task_instance_id") else vars(ti)
    session.execute(insert(Rendered).values(rendered_fields=fields, **names))


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
