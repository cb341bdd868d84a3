"""Which webhooks of a run lead to this Airflow? They bring what the crew asks, and the name of a run that began.

An author's webhooks always win: each kind has one address.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_crewai.wire.model import JSONObject, Kickoff

if TYPE_CHECKING:
    from airflow_provider_crewai.in_airflow.signed_urls import Purpose


def webhooks_of(task: Any) -> Kickoff:
    """Return a kickoff with nothing but the webhooks that a task's author has set.

    :raises CrewConfigError: one cannot be called.
    """
    from airflow_provider_crewai.client.rendered import as_url
    from airflow_provider_crewai.client.webhooks import as_human_input_webhook, as_webhooks

    return Kickoff(
        task_webhook_url=as_url(task.task_webhook_url, "task_webhook_url"),
        step_webhook_url=as_url(task.step_webhook_url, "step_webhook_url"),
        crew_webhook_url=as_url(task.crew_webhook_url, "crew_webhook_url"),
        human_input_webhook=as_human_input_webhook(task.human_input_webhook),
        webhooks=as_webhooks(task.webhooks),
    )


def sealed(kickoff: Kickoff, ti: Any, sent: float, deadline: float | None, *, asks: bool) -> Kickoff:
    """Return the kickoff as it is sent: with the credentials of its webhooks, and with those that lead here.

    :raises CrewConfigError: the connection of a webhook cannot be used.
    """
    from airflow_provider_crewai.in_airflow.webhook_connections import connected

    return _with_our_own(connected(kickoff), ti, sent, deadline, asks=asks)


def _with_our_own(kickoff: Kickoff, ti: Any, sent: float, deadline: float | None, *, asks: bool) -> Kickoff:
    """Add the webhooks that lead here, where the author has none of that kind and this Airflow can be called.

    :param sent: the epoch second that the record gives for the kickoff.
    :param deadline: the epoch second at which the task stops waiting, or None.
    :param asks: whether the task wants to know what the crew asks.
    """
    from airflow_provider_crewai.in_airflow.signed_urls import as_webhook, signed, why_none
    from airflow_provider_crewai.wire.webhook_calls import STARTS

    if why_none():
        return kickoff

    def url(purpose: Purpose) -> str:
        return signed(ti, purpose, sent, deadline) or ""

    if asks and kickoff.human_input_webhook is None:
        kickoff = replace(kickoff, human_input_webhook=as_webhook(url("question")))
    if kickoff.webhooks is None:
        events: JSONObject = {"events": [*STARTS], "realtime": True}
        return replace(kickoff, webhooks=events | as_webhook(url("events")))
    if kickoff.task_webhook_url is None:
        return replace(kickoff, task_webhook_url=url("task"))
    return kickoff


def webhook_for_questions(ti: Any, sent: float) -> Kickoff:
    """Return a kickoff with nothing but the webhook that brings what a crew asks, if this Airflow can be called."""
    from airflow_provider_crewai.in_airflow.signed_urls import as_webhook, signed

    url = signed(ti, "question", sent, None)
    return Kickoff(human_input_webhook=as_webhook(url)) if url else Kickoff()


def calls_home(kickoff: Kickoff) -> bool:
    """Return whether a run that a kickoff starts will call home."""
    from airflow_provider_crewai.in_airflow.signed_urls import why_none

    return why_none() is None and (kickoff.webhooks is None or kickoff.task_webhook_url is None)


def unseen(kickoff: Kickoff) -> str | None:
    """Return which questions the task will not see, and why, or None if it sees all.

    Where a crew waits for a human, a deployment answers NOT FOUND about its run, so looking does not show what it asks.
    """
    from airflow_provider_crewai.in_airflow.signed_urls import why_none

    seen = "It sees those of a flow, and those of a crew on the local server."
    if kickoff.human_input_webhook is not None:
        return f"What a deployed crew asks goes to this task's human_input_webhook, so the task does not see it. {seen}"
    if why := why_none():
        return f"What a deployed crew asks is not seen by this task: {why}. {seen}"
    return None
