"""Listens to a run's events on crewai's event bus, and writes them into its record."""

from __future__ import annotations

import threading
from typing import Any

from .events import Webhooks, is_replayed, step_fields, task_fields
from .happenings import KINDS, Happenings
from .report import Report
from .results import text_and_json
from .usage import Calls, Usage, used_by


class _CrewListener:
    """Reports the tasks of one crew. A crew may kick off another crew, whose tasks do not count."""

    def __init__(self, report: Report, positions: dict[str, int], usage: Usage) -> None:
        self._report = report
        self._positions = positions
        self._usage = usage

    def started(self, _: Any, event: Any) -> None:
        task, at = event.task, event.timestamp.timestamp()
        if (position := self._positions.get(str(task.id))) is not None:
            self._report.step_started(position, name_of(task), agent_of(task), at)

    def completed(self, _: Any, event: Any) -> None:
        task, at = event.task, event.timestamp.timestamp()
        if (position := self._positions.get(str(task.id))) is not None:
            fields = task_fields(event.output)
            kept = {**fields, "output_format": event.output.output_format.value}
            self._report.step_ended(position, name_of(task), fields["agent"], at, kept)
            self._report.note(last_executed_task=self._report.signed(fields))
            self._usage.note()

    def model_called(self, _: Any, event: Any) -> None:
        position, used = self._positions.get(event.task_id), used_by(event)
        if position is not None and used:
            self._report.step_used(position, event.task_name, event.timestamp.timestamp(), used.total_tokens)
        self._usage.note()


def listen_to_crew(report: Report, positions: dict[str, int], hooks: Webhooks, usage: Usage) -> None:
    """Report a crew's tasks.

    :param positions: the position of each task, by its id.
    """
    from crewai.events import LLMCallCompletedEvent, TaskCompletedEvent, TaskStartedEvent, crewai_event_bus

    listener = _CrewListener(report, positions, usage)
    crewai_event_bus.on(LLMCallCompletedEvent)(listener.model_called)
    crewai_event_bus.on(TaskStartedEvent)(listener.started)
    crewai_event_bus.on(TaskCompletedEvent)(listener.completed)
    listen_to_all(report)
    hooks.listen(crewai_event_bus)


class _FlowListener:
    """Reports a flow's methods. Their positions are the order in which they begin; events come on several threads."""

    def __init__(self, report: Report, calls: Calls, usage: Usage) -> None:
        self._report = report
        self._calls = calls
        self._usage = usage
        self._lock = threading.Lock()

    def started(self, _: Any, event: Any) -> None:
        at = event.timestamp.timestamp()
        with self._lock:
            self._report.step_started(self._report.position(event.method_name), event.method_name, None, at)

    def finished(self, _: Any, event: Any) -> None:
        output, at = {"output": text_and_json(event.result)[0]}, event.timestamp.timestamp()
        with self._lock:
            self._report.step_ended(self._report.position(event.method_name), event.method_name, None, at, output)

    def task_started(self, _: Any, event: Any) -> None:
        self._report.at_work(agent_of(event.task))

    def task_completed(self, _: Any, event: Any) -> None:
        self._report.note(last_executed_task=self._report.signed(task_fields(event.output)))

    def model_called(self, _: Any, event: Any) -> None:
        self._calls.add(event)
        self._usage.note()

    def input_received(self, _: Any, event: Any) -> None:
        if event.response is None:
            self._report.give_up(event.message)


def listen_to_flow(report: Report, hooks: Webhooks, calls: Calls, usage: Usage) -> None:
    """Report a flow's methods, and the tasks of the crews in it."""
    from crewai import events
    from crewai.events.types.flow_events import FlowInputReceivedEvent

    listener, bus = _FlowListener(report, calls, usage), events.crewai_event_bus
    bus.on(FlowInputReceivedEvent)(listener.input_received)
    bus.on(events.LLMCallCompletedEvent)(listener.model_called)
    bus.on(events.MethodExecutionStartedEvent)(listener.started)
    bus.on(events.MethodExecutionFinishedEvent)(listener.finished)
    bus.on(events.TaskStartedEvent)(listener.task_started)
    bus.on(events.TaskCompletedEvent)(listener.task_completed)
    listen_to_all(report)
    hooks.listen(bus)


def listen_to_all(report: Report) -> None:
    """Report the agents' last step, and whatever happens in short."""
    from crewai import events
    from crewai.events import ToolUsageFinishedEvent, crewai_event_bus

    happenings = Happenings(report.database, report.kickoff_id)

    def happened(_: Any, event: Any) -> None:
        if not is_replayed():
            happenings.keep(event)

    for kind in (getattr(events, name, None) for name in KINDS):
        if kind is not None:
            crewai_event_bus.on(kind)(happened)

    def used(source: Any, event: Any) -> None:
        if fields := step_fields(source, event):
            report.note(last_step=report.signed(fields))

    crewai_event_bus.on(ToolUsageFinishedEvent)(used)


def name_of(task: Any) -> str:
    """Return the name of a crew task, or the beginning of its description."""
    return str(task.name or " ".join(task.description.split())[:60])


def agent_of(task: Any) -> str | None:
    """Return the role of a crew task's agent, if it has one."""
    return task.agent.role.strip() if task.agent else None
