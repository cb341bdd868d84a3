"""Opens, reads and closes the Required Action of a task instance (Airflow 3.1+): there is one, for all its questions.

A worker can open it, and nothing else: Airflow lets only a triggerer read and close it (3.1.8 to 3.4.0b2,
`execution_time/supervisor.py` and `jobs/triggerer_job_runner.py`). Opening it again clears an earlier response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from airflow_provider_crewai.client.dialogue import FEEDBACK, Responded
from airflow_provider_crewai.client.questions import Form
from airflow_provider_crewai.in_airflow.compat import conf


def open_action(ti: Any, form: Form, assigned: Sequence[Mapping[str, str]]) -> None:
    """Show a form to people. From a worker; any error of Airflow's may come out of it."""
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    upsert_hitl_detail(
        ti_id=ti.id,
        options=list(form.options),
        subject=form.subject,
        body=form.body,
        params=form.params,
        assigned_users=[{"id": each["id"], "name": each["name"]} for each in assigned],
    )


async def response_to(ti: Any) -> Responded | None:
    """Return a person's response to the action, or None if there is none, or no action. From a triggerer."""
    from airflow.sdk.execution_time.comms import GetHITLDetailResponse

    try:
        said = await _ask(GetHITLDetailResponse(ti_id=ti.id))
    except Exception as error:
        if _status(error) == 404:  # noqa: PLR2004 - HTTP's "there is no such thing"
            return None
        raise
    return Responded.of(said.model_dump()) if said.response_received else None


async def close_action(ti: Any, word: str, text: str) -> bool:
    """Close the action with a word of ours as the chosen option. From a triggerer.

    :return: False if a person has responded meanwhile.
    """
    from airflow.sdk.execution_time.comms import UpdateHITLDetail

    try:
        await _ask(UpdateHITLDetail(ti_id=ti.id, chosen_options=[word], params_input={FEEDBACK: text}))
    except Exception as error:
        if _status(error) == 404:  # noqa: PLR2004 - as above
            return True
        if _status(error) == 409:  # noqa: PLR2004 - HTTP's "somebody was faster"
            return False
        raise
    return True


def action_url(ti: Any) -> str:
    """Return the URL of the action in Airflow's UI, or its path where `[api] base_url` is not set."""
    base = (conf.get("api", "base_url", fallback=None) or "").rstrip("/")
    names = [quote(name, safe="") for name in (ti.dag_id, ti.run_id, ti.task_id)]
    path = "{}/dags/{}/runs/{}/tasks/{}".format(base, *names)
    index = getattr(ti, "map_index", None)
    mapped = "" if index is None or index < 0 else f"/mapped/{index}"
    return f"{path}{mapped}/required_actions"


def is_refused_to_old_attempts(error: Exception) -> bool:
    """Return whether Airflow refused because the task was cleared (3.4: "not a live attempt")."""
    return _status(error) in (403, 409)


async def _ask(message: Any) -> Any:
    """Ask a triggerer's supervisor. If the trigger is cancelled meanwhile, the answer is read all the same.

    Otherwise the next question of any trigger would get it (Airflow 3.1.8: "Response read out of order").
    """
    from airflow.sdk.execution_time import task_runner

    comms: Any = task_runner.SUPERVISOR_COMMS
    return await asyncio.shield(comms.asend(message))


def _status(error: Exception) -> int | None:
    """Return the HTTP status of the api-server's answer, which Airflow packs into its error."""
    detail = getattr(getattr(error, "error", None), "detail", None)
    status = detail.get("status_code") if isinstance(detail, dict) else None
    return status if isinstance(status, int) else None
