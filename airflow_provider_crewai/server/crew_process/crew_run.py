"""A crew's run: reports its tasks as they go, and resumes where an earlier process of the run died."""

from __future__ import annotations

import time
from typing import Any

from .events import Webhooks
from .human import Humans, approves, set_provider
from .listeners import agent_of, listen_to_crew, name_of
from .loading import Loaded
from .report import AskedQuestion, Report
from .results import text_and_json
from .usage import Usage


def run_crew(crew: Any, loaded: Loaded, report: Report, hooks: Webhooks) -> None:
    """Kick a crew off, or resume it after its finished tasks, and report its result.

    :raises BaseException: whatever the crew raises.
    """
    positions = {str(task.id): position for position, task in enumerate(crew.tasks)}
    humans = Humans(report, positions, hooks.human_input)
    set_provider(humans)
    _resume(crew, report, humans)
    usage = Usage(report, crew.calculate_usage_metrics)
    listen_to_crew(report, positions, hooks, usage)
    report.running("task", len(crew.tasks))
    crew.stream = False  # a streaming crew returns chunks instead of its result
    with usage.kept():
        output = crew.kickoff(inputs={**loaded.defaults, **(report.request.get("inputs") or {})})
    hooks.flush()
    _report_success(_last_output(crew) if output is None else output, report, hooks, usage.so_far())


def _last_output(crew: Any) -> Any:
    # Most hooks that return nothing were meant to look at the result only, and the result is paid for.
    print("The crew's kickoff returned nothing, so its last task's output is the result.")  # noqa: T201 - the run's log
    return next((task.output for task in reversed(crew.tasks) if task.output), None)


def _report_success(output: Any, report: Report, hooks: Webhooks, usage: dict[str, int]) -> None:
    result, result_json = text_and_json(output)
    report.succeeded(
        lambda: hooks.crew(result, result_json, usage),
        result=result,
        result_json=result_json,
        usage_metrics=usage,
    )


def _resume(crew: Any, report: Report, humans: Humans) -> None:
    """Skip the tasks that an earlier process of this run finished, and heed a human's answer that came meanwhile."""
    finished = report.finished_steps()
    asked = report.last_question()
    if asked and asked.is_answered and asked.step not in finished:
        if approves(asked):
            finished[asked.step] = _finish(crew.tasks[asked.step], asked, report)
        else:
            humans.go_on_from(asked)
    for position, task in enumerate(crew.tasks):
        if position in finished:
            task.output = _output_of(task, finished[position])
    if finished:
        # crewai's own mark of a restored crew, which begins with the first task that has no output
        # (`Crew._get_execution_start_index`, 1.15.2 to 1.15.30).
        crew.checkpoint_kickoff_event_id = report.kickoff_id


def _finish(task: Any, asked: AskedQuestion, report: Report) -> dict[str, Any]:
    output = _approved_output(task, asked)
    report.step_ended(asked.step, name_of(task), agent_of(task), time.time(), output)
    return output


def _output_of(task: Any, kept: dict[str, Any]) -> Any:
    from crewai.tasks.task_output import TaskOutput

    fields = {key: kept.get(key) for key in ("name", "description", "expected_output", "agent", "output_format")}
    model = task.output_pydantic
    structured = {"json_dict": kept.get("output_json")}
    if kept.get("output_format") == "pydantic" and model is not None:
        structured = {"pydantic": model.model_validate(kept.get("output_json"))}
    return TaskOutput(raw=kept["output"], **fields, **structured)


def _approved_output(task: Any, asked: AskedQuestion) -> dict[str, Any]:
    pydantic, json_dict = task._export_output(asked.output)  # noqa: SLF001 - what crewai does with an approved answer
    structured = pydantic.model_dump() if pydantic else json_dict
    return {
        "name": task.name,
        "description": task.description,
        "expected_output": task.expected_output,
        "agent": agent_of(task) or "",
        "output_format": task._get_output_format().value,  # noqa: SLF001 - the same
        "output": asked.output,
        "output_json": structured,
    }
