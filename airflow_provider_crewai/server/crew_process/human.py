"""Asks a human for a crew's task or a flow's method, waits for the answer, and reads it.

This module does not import crewai on import: the project's `.env` must be read first, since crewai reads it then.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from .report import AskedQuestion, Report

LOOK_EVERY = 0.25
"""Seconds between two looks for an answer. A human does not notice them, and a look takes microseconds."""

_APPROVALS = re.compile(
    r"(yes|ok|okay|approved?|accept(ed)?|lgtm|(it )?looks good( to me)?|perfect|good|great|fine|go ahead|proceed|done)"
    r"([,;]? (thanks|thank you))?",
    re.IGNORECASE,
)


def is_approval(feedback: str) -> bool:
    """Return whether a text approves. As on the live service, a short plain "Approved." does, and most else does not.

    An empty text approves too, as crewai's own rule says at a terminal.
    """
    return not feedback.strip() or bool(_APPROVALS.fullmatch(feedback.strip().rstrip(".! ")))


class Ended(SystemExit):
    """Somebody ended the run while it waited."""


class Humans:
    """crewai's own interface to humans (`crewai.core.providers.human_input`), answered through the database.

    It has all methods of that protocol, which are the same in 1.15.2 and 1.15.30, but does not inherit from it.

    The run's process waits for the answer, and continues exactly where it was. If it dies, another process continues
    with the conversation that was stored with the question.

    :param report: the run's record.
    :param positions: the position of each task, by its id.
    :param asks: sends a webhook; called with each question's id and the output to judge.
    """

    def __init__(self, report: Report, positions: dict[str, int], asks: Any) -> None:
        self._report = report
        self._positions = positions
        self._asks = asks
        self._left_behind: AskedQuestion | None = None

    def go_on_from(self, asked: AskedQuestion) -> None:
        """Continue a conversation of an earlier process of this run, when its task comes again."""
        self._left_behind = asked

    def setup_messages(self, context: Any) -> bool:
        """Begin with the earlier conversation, if a human sent the task back before this process began."""
        asked = self._left_behind
        if asked is None or asked.step != self._position(context):
            return False
        self._left_behind = None
        context.messages[:] = asked.context
        context.messages.append(context._format_feedback_message(asked.feedback))  # noqa: SLF001 - part of the interface
        return True

    def post_setup_messages(self, context: Any) -> None:
        """Leave the conversation as crewai has set it up."""

    def handle_feedback(self, formatted_answer: Any, context: Any) -> Any:
        """Ask until a human approves. After each refusal the agent tries again."""
        answer = formatted_answer
        while context.ask_for_human_input and not self._is_approved(answer, context):
            answer = context._invoke_loop()  # noqa: SLF001 - part of the interface
        context.ask_for_human_input = False
        return answer

    async def handle_feedback_async(self, formatted_answer: Any, context: Any) -> Any:
        """Do the same without blocking the crew's event loop."""
        answer = formatted_answer
        while context.ask_for_human_input and not await asyncio.to_thread(self._is_approved, answer, context):
            answer = await context._ainvoke_loop()  # noqa: SLF001 - part of the interface
        context.ask_for_human_input = False
        return answer

    def _is_approved(self, answer: Any, context: Any) -> bool:
        output = answer.output if isinstance(answer.output, str) else answer.output.model_dump_json()
        asked = wait(self._report, self._ask(output, context))
        if not approves(asked):
            message = context._format_feedback_message(asked.feedback)  # noqa: SLF001 - part of the interface
            context.messages.append(message)
        return approves(asked)

    def _ask(self, output: str, context: Any) -> str:
        return self._report.ask(
            "task",
            self._position(context),
            "Approve the result, or say what should be better.",
            output,
            lambda question_id: self._asks(question_id, output),
            context=[*context.messages],
        )

    def _position(self, context: Any) -> int:
        return self._positions.get(str(getattr(context.task, "id", "")), 0)


def set_provider(humans: Humans) -> None:
    """Let crews ask humans through this object."""
    from crewai.core.providers import human_input

    human_input.set_provider(humans)


class Inputs:
    """crewai's interface for `Flow.ask()` (`crewai.flow.input_provider`), answered through the database.

    :param report: the run's record.
    :param asks: sends a webhook; called with each question's id and its text.
    """

    def __init__(self, report: Report, asks: Any) -> None:
        self._report = report
        self._asks = asks

    def request_input(self, message: str, flow: Any, metadata: dict[str, Any] | None = None) -> str | None:
        """Ask, and wait for the answer. Returns None if crewai has given the question up meanwhile."""
        del flow, metadata  # crewai's signature
        step = max(0, self._report.steps_begun() - 1)
        question_id = self._report.ask("ask", step, message, "", lambda question_id: self._asks(question_id, message))
        return wait(self._report, question_id).feedback


class Feedback:
    """crewai's interface for `@human_feedback` (`crewai.flow.async_feedback`): pauses the flow without a process.

    crewai itself keeps the flow's state meanwhile.
    """

    def request_feedback(self, context: Any, flow: Any) -> str:
        """Pause the flow."""
        from crewai.flow.async_feedback.types import HumanFeedbackPending

        del flow  # crewai's signature
        raise HumanFeedbackPending(context=context)


def approves(asked: AskedQuestion) -> bool:
    """Return whether an answer approves: by its verdict, if it has one, else by its text."""
    return is_approval(asked.feedback or "") if asked.approved is None else asked.approved


def feedback_for_a_flow(asked: AskedQuestion) -> str:
    """Return the text for a flow, which maps it to one of its outcomes."""
    if asked.feedback or asked.approved is None:
        return asked.feedback or ""
    return "approved" if asked.approved else "rejected"


def wait(report: Report, question_id: str) -> AskedQuestion:
    """Wait until a question has an answer, or is given up.

    :raises Ended: somebody ended the run instead.
    """
    while not report.is_closed(question_id):
        time.sleep(LOOK_EVERY)
    if not report.go_on():
        raise Ended(1)
    return report.question(question_id)
