"""One run: a fresh crew or flow is kicked off, told of as it goes, and its end written down, whatever that is."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from . import loading, models
from .events import Webhooks, step_fields, task_fields
from .human import Feedback, Humans, Inputs, approves, feedback_for_a_flow
from .loading import Loaded
from .report import Asked, Report, plain
from .settings import FLOWS, Settings


def main(settings: Settings, kickoff_id: str, lock: str) -> NoReturn:
    """Load the project and run a kickoff in this very process, which ends with it, whatever threads it has left."""
    keep_to_itself(int(lock))
    code = 1
    try:
        code = _load_and_run(settings, kickoff_id)
    except BaseException:  # noqa: BLE001 - nobody else will tell of it
        traceback.print_exc()
    leave(code)


def keep_to_itself(lock: int) -> None:
    """See that no process which this one starts holds its lock on, by which the server knows that the run lives."""
    os.set_inheritable(lock, False)
    # A file, since closing it twice, in a child of a child, does nothing.
    os.register_at_fork(after_in_child=os.fdopen(lock, "rb").close)


def _load_and_run(settings: Settings, kickoff_id: str) -> int:
    report = Report(settings.database, kickoff_id)
    try:
        loaded, settings = load(settings)
    except BaseException as error:  # noqa: BLE001 - whatever a project raises on import is how the run ended
        return _failed(report, error)
    return run(settings, loaded, kickoff_id, report)


def load(settings: Settings) -> tuple[Loaded, Settings]:
    """Import the project, with its models where the settings want them.

    :returns: it, and the settings for another process: a stub that was started has a URL now.
    :raises Exception: whatever the project's modules raise.
    """
    llm = settings.llm

    def ready() -> None:
        nonlocal llm
        llm = models.use(settings.llm)
        # Before a flow is defined, as where its state is kept may be asked then; else that is asked when it is made.
        _keep_flows_in(f"{settings.home}/{FLOWS}")

    loaded = loading.load(settings.target, Path(settings.directory), ready)
    return loaded, replace(settings, llm=llm)


def run(settings: Settings, loaded: Loaded, kickoff_id: str, report: Report | None = None) -> int:
    """Run a kickoff of a project that is loaded already; returns the exit code."""
    report = report or Report(settings.database, kickoff_id)
    if not report.has_process(os.getpid()):
        return 0
    hooks = Webhooks(kickoff_id, report.request, report.send)
    # Now, since a project's .env may name another one, which its runs would then share.
    os.environ["CREWAI_STORAGE_DIR"] = str(settings.folder(kickoff_id) / "storage")
    try:
        made = loaded.make()
        if loading.kind_of(made) == "flow":
            _run_flow(made, settings, loaded, report, hooks)
        else:
            _run_crew(made, loaded, report, hooks)
    except BaseException as error:  # noqa: BLE001 - whatever a crew raises, even SystemExit, is how the run ended
        hooks.flush()
        return _failed(report, error)
    return 0


def words(error: BaseException) -> str:
    """Write an error as the live service does, by its type and text, with what to do where a model is out of reach."""
    said = f"{type(error).__name__}: {error}"
    advice = models.advice(error)
    return f"{said} {advice}" if advice else said


def leave(code: int) -> NoReturn:
    """End this process at once: what it inherited from its parent is not its to clean up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _failed(report: Report, error: BaseException) -> int:
    traceback.print_exc()
    report.failed(words(error))
    return 1


# ---- crews ----------------------------------------------------------------------------------------


def _run_crew(crew: Any, loaded: Loaded, report: Report, hooks: Webhooks) -> None:
    positions = {str(task.id): position for position, task in enumerate(crew.tasks)}
    humans = Humans(report, positions, hooks.human_input)
    _set_provider(humans)
    _go_on_from(crew, report, humans)
    _listen_to_crew(report, positions, hooks)
    report.running("task", len(crew.tasks))
    crew.stream = False  # a streaming crew answers with chunks: what is wanted is the result
    output = crew.kickoff(inputs={**loaded.defaults, **(report.request.get("inputs") or {})})
    hooks.flush()
    usage, result_json = output.token_usage.model_dump(), output.to_dict() or None
    report.succeeded(
        lambda: hooks.crew(output.raw, result_json, usage),
        result=output.raw,
        result_json=result_json,
        usage_metrics=usage,
    )


def _listen_to_crew(report: Report, positions: dict[str, int], hooks: Webhooks) -> None:
    from crewai.events import TaskCompletedEvent, TaskStartedEvent, crewai_event_bus

    # A crew may kick off another one, whose tasks do not count: only its own do.
    def started(_: Any, event: Any) -> None:
        if (position := positions.get(str(event.task.id))) is not None:
            report.step_started(position, _name(event.task), _agent(event.task), event.timestamp.timestamp())

    def completed(_: Any, event: Any) -> None:
        if (position := positions.get(str(event.task.id))) is not None:
            task = task_fields(event.output)
            kept = {**task, "output_format": event.output.output_format.value}
            report.step_ended(position, _name(event.task), task["agent"], event.timestamp.timestamp(), kept)
            report.note(last_executed_task=report.signed(task))

    crewai_event_bus.on(TaskStartedEvent)(started)
    crewai_event_bus.on(TaskCompletedEvent)(completed)
    _listen_to_tools(report)
    hooks.listen(crewai_event_bus)


def _go_on_from(crew: Any, report: Report, humans: Humans) -> None:
    """Where an earlier process of this run died: skip what it finished, and heed what a human said meanwhile."""
    finished = report.finished_steps()
    asked = report.last_question()
    if asked and asked.is_answered and asked.step not in finished:
        if approves(asked):
            task = crew.tasks[asked.step]
            finished[asked.step] = output = _approved_output(task, asked)
            report.step_ended(asked.step, _name(task), _agent(task), time.time(), output)
        else:
            humans.go_on_from(asked)
    for position, task in enumerate(crew.tasks):
        if position in finished:
            task.output = _output_of(task, finished[position])
    if finished:
        # crewai's own mark of a crew that was restored: it begins with the first task that has no output
        # (`Crew._get_execution_start_index`, 1.15.2 to 1.15.30).
        crew.checkpoint_kickoff_event_id = report.kickoff_id


def _output_of(task: Any, kept: dict[str, Any]) -> Any:
    from crewai.tasks.task_output import TaskOutput

    fields = {key: kept.get(key) for key in ("name", "description", "expected_output", "agent", "output_format")}
    model = task.output_pydantic
    structured = {"json_dict": kept.get("output_json")}
    if kept.get("output_format") == "pydantic" and model is not None:
        structured = {"pydantic": model.model_validate(kept.get("output_json"))}
    return TaskOutput(raw=kept["output"], **fields, **structured)


def _approved_output(task: Any, asked: Asked) -> dict[str, Any]:
    pydantic, json_dict = task._export_output(asked.output)  # noqa: SLF001 - what crewai does with an approved answer
    structured = pydantic.model_dump() if pydantic else json_dict
    return {
        "name": task.name,
        "description": task.description,
        "expected_output": task.expected_output,
        "agent": _agent(task) or "",
        "output_format": task._get_output_format().value,  # noqa: SLF001 - the same
        "output": asked.output,
        "output_json": structured,
    }


# ---- flows ----------------------------------------------------------------------------------------


def _run_flow(flow: Any, settings: Settings, loaded: Loaded, report: Report, hooks: Webhooks) -> None:
    from crewai.flow.async_feedback.types import HumanFeedbackPending
    from crewai.flow.flow_config import flow_config

    flow_config.hitl_provider = Feedback()
    flow_config.input_provider = Inputs(report, hooks.human_input)
    _set_provider(Humans(report, {}, hooks.human_input))
    _listen_to_flow(report, hooks)
    report.running("method", None)
    flow.stream = False
    result = _result_of_flow(flow, loaded, report)
    hooks.flush()
    if isinstance(result, HumanFeedbackPending):
        _pause(settings, loaded, result.context, report, hooks, flow)
        return
    said, result_json = _flow_answer(result)
    usage = flow.usage_metrics.model_dump()
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
    # The live service gives a flow's state the id of its run.
    inputs = {"id": report.kickoff_id, **loaded.defaults, **(request.get("inputs") or {})}
    return flow.kickoff(inputs=inputs, restore_from_state_id=request.get("restoreFromStateId") or None)


def _paused_flow(flow: Any, asked: Asked) -> Any:
    from crewai.flow.flow import Flow

    kind, definition = type(flow), flow._definition  # noqa: SLF001 - a declared flow's only identity
    declared = {"definition": definition} if kind is Flow else {}
    paused = kind.from_pending(asked.context, **declared)
    waiting = paused.pending_feedback
    # The stored context has the model's name alone (1.15.30), from which a model of the author's own cannot be made.
    waiting.llm = definition.methods[waiting.method_name].human_feedback.llm
    return paused


def _pause(settings: Settings, loaded: Loaded, context: Any, report: Report, hooks: Webhooks, flow: Any) -> None:
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


def _listen_to_flow(report: Report, hooks: Webhooks) -> None:
    from crewai.events import (
        MethodExecutionFinishedEvent,
        MethodExecutionStartedEvent,
        TaskCompletedEvent,
        TaskStartedEvent,
        crewai_event_bus,
    )
    from crewai.events.types.flow_events import FlowInputReceivedEvent

    lock = threading.Lock()  # events come on several threads, and a method's position is the order of its coming

    def started(_: Any, event: Any) -> None:
        with lock:
            report.step_started(
                report.position(event.method_name), event.method_name, None, event.timestamp.timestamp()
            )

    def finished(_: Any, event: Any) -> None:
        with lock:
            position, at = report.position(event.method_name), event.timestamp.timestamp()
            report.step_ended(position, event.method_name, None, at, {"output": _flow_answer(event.result)[0]})

    def task_started(_: Any, event: Any) -> None:
        report.at_work(_agent(event.task))

    def task_completed(_: Any, event: Any) -> None:
        report.note(last_executed_task=report.signed(task_fields(event.output)))

    def input_received(_: Any, event: Any) -> None:
        if event.response is None:
            report.give_up(event.message)

    crewai_event_bus.on(FlowInputReceivedEvent)(input_received)
    crewai_event_bus.on(MethodExecutionStartedEvent)(started)
    crewai_event_bus.on(MethodExecutionFinishedEvent)(finished)
    crewai_event_bus.on(TaskStartedEvent)(task_started)
    crewai_event_bus.on(TaskCompletedEvent)(task_completed)
    _listen_to_tools(report)
    hooks.listen(crewai_event_bus)


def _flow_answer(result: Any) -> tuple[Any, Any]:
    """Return a flow's result as text and, where it is structured, as JSON."""
    if hasattr(result, "raw") and hasattr(result, "to_dict"):  # a crew's output
        return result.raw, result.to_dict() or None
    if hasattr(result, "model_dump"):
        return result.model_dump_json(), result.model_dump(mode="json")
    if isinstance(result, dict | list):
        return plain(result), result if isinstance(result, dict) else None
    return None if result is None else str(result), None


def _keep_flows_in(path: str) -> None:
    # One file for all runs: a flow is forked from another run's state, and goes on in another process.
    from crewai.flow.persistence.factory import set_flow_persistence_factory
    from crewai.flow.persistence.sqlite import SQLiteFlowPersistence

    set_flow_persistence_factory(lambda: SQLiteFlowPersistence(path))


# ---- both -----------------------------------------------------------------------------------------


def _set_provider(humans: Humans) -> None:
    from crewai.core.providers.human_input import set_provider

    set_provider(humans)


def _listen_to_tools(report: Report) -> None:
    from crewai.events import ToolUsageFinishedEvent, crewai_event_bus

    def used(source: Any, event: Any) -> None:
        if fields := step_fields(source, event):
            report.note(last_step=report.signed(fields))

    crewai_event_bus.on(ToolUsageFinishedEvent)(used)


def _name(task: Any) -> str:
    return str(task.name or " ".join(task.description.split())[:60])


def _agent(task: Any) -> str | None:
    return task.agent.role.strip() if task.agent else None
