"""A flow's run: kicks it off, pauses it without a process when it asks a human, and resumes it with the answer."""

from __future__ import annotations

from typing import Any

from .chatting import take_turn
from .events import Webhooks
from .human import Feedback, Humans, Inputs, feedback_for_a_flow, set_provider
from .listeners import listen_to_flow
from .loading import Loaded
from .report import AskedQuestion, Report
from .results import text_and_json
from .run_settings import RunSettings
from .usage import Calls, Usage


def keep_flows_in(path: str) -> None:
    """Keep the states of all flows in one file. A flow may start from another run's state, or in another process."""
    from crewai.flow.persistence.factory import set_flow_persistence_factory
    from crewai.flow.persistence.sqlite import SQLiteFlowPersistence

    set_flow_persistence_factory(lambda: SQLiteFlowPersistence(path))


def run_flow(flow: Any, settings: RunSettings, loaded: Loaded, report: Report, hooks: Webhooks) -> None:
    """Kick a flow off, or resume it with a human's answer, until it ends or asks, and report that.

    :raises BaseException: whatever the flow raises.
    """
    from crewai.flow.async_feedback.types import HumanFeedbackPending

    _connect_humans(report, hooks)
    calls = Calls()
    usage = Usage(report, calls.used)
    listen_to_flow(report, hooks, calls, usage)
    report.running("method", None)
    flow.stream = False
    with usage.kept():
        result = _result_of_flow(flow, loaded, report)
    hooks.flush()
    if isinstance(result, HumanFeedbackPending):
        _pause(settings, loaded, result.context, report, hooks, flow)
    else:
        _report_success(result, report, hooks, usage.so_far())


def _connect_humans(report: Report, hooks: Webhooks) -> None:
    from crewai.flow.flow_config import flow_config

    flow_config.hitl_provider = Feedback()
    flow_config.input_provider = Inputs(report, hooks.human_input)
    set_provider(Humans(report, {}, hooks.human_input))


def _report_success(result: Any, report: Report, hooks: Webhooks, usage: dict[str, int]) -> None:
    said, result_json = text_and_json(result)
    report.succeeded(
        lambda: hooks.crew(said, result_json, usage),
        result=said,
        result_json=result_json,
        usage_metrics=usage,
        flow_id=report.kickoff_id,
    )


def _result_of_flow(flow: Any, loaded: Loaded, report: Report) -> Any:
    asked = report.last_question()
    if asked and asked.kind == "flow" and asked.is_answered:
        return _paused_flow(flow, asked).resume(feedback_for_a_flow(asked))
    request = report.request
    if chat := request.get("chat"):
        return take_turn(flow, chat)
    # As live, the state of a flow has the id of its run.
    inputs = {"id": report.kickoff_id, **loaded.defaults, **(request.get("inputs") or {})}
    return flow.kickoff(inputs=inputs, restore_from_state_id=request.get("restoreFromStateId") or None)


def _paused_flow(flow: Any, asked: AskedQuestion) -> Any:
    from crewai.flow.flow import Flow

    kind, definition = type(flow), flow._definition  # noqa: SLF001 - a declared flow's only identity
    declared = {"definition": definition} if kind is Flow else {}
    paused = kind.from_pending(asked.context, **declared)
    waiting = paused.pending_feedback
    # The stored context holds only the model's name (1.15.30). An author's own model class cannot be made from that.
    waiting.llm = definition.methods[waiting.method_name].human_feedback.llm
    return paused


def _pause(settings: RunSettings, loaded: Loaded, context: Any, report: Report, hooks: Webhooks, flow: Any) -> None:
    def tell(question_id: str) -> None:
        hooks.flow_feedback(question_id, context, flow.state, loaded.name, f"{settings.callback}/{question_id}")

    report.ask(
        "flow",
        report.steps_begun() - 1,
        context.message,
        str(context.method_output),
        tell,
        options=context.emit,
        context=context.flow_id,
    )
