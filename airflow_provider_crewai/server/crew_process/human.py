"""Asking a human: what a crew's task or a flow's method waits for, and what the answer means.

Nothing of crewai's is imported with this module: the project's `.env` is read first, and says what crewai finds then.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from .report import AskedQuestion, Report

LOOK_EVERY = 0.25
"""Seconds between two looks for an answer: a human does not notice them, and a look costs microseconds."""

_APPROVALS = re.compile(
    r"(yes|ok|okay|approved?|accept(ed)?|lgtm|(it )?looks good( to me)?|perfect|good|great|fine|go ahead|proceed|done)"
    r"([,;]? (thanks|thank you))?",
    re.IGNORECASE,
)


def is_approval(feedback: str) -> bool:
    """Whether a text approves, as the live service infers it: a short plain "Approved." does, anything else does not.

    Nothing at all approves too: that is crewai's own rule at a terminal.
    """
    return not feedback.strip() or bool(_APPROVALS.fullmatch(feedback.strip().rstrip(".! ")))


class Ended(SystemExit):
    """The run was ended from outside while it waited."""


class Humans:
    """crewai's own interface to humans (`crewai.core.providers.human_input`), answered through the database.

    It has all methods of that protocol, which are the same in 1.15.2 and 1.15.30, without naming it as its base.

    The run's process waits, so that it goes on exactly where it was. If it dies, the conversation that a question
    kept lets another process go on from there.

    :param asks: called with each question's id and what is to be judged, to tell somebody.
    """

    def __init__(self, report: Report, positions: dict[str, int], asks: Any) -> None:
        self._report = report
        self._positions = positions
        self._asks = asks
        self._left_behind: AskedQuestion | None = None

    def go_on_from(self, asked: AskedQuestion) -> None:
        """Take up a conversation that another process of this run began, when its task comes again."""
        self._left_behind = asked

    def setup_messages(self, context: Any) -> bool:
        """Where the task was sent back by a human before this process began, begin with that conversation."""
        asked = self._left_behind
        if asked is None or asked.step != self._position(context):
            return False
        self._left_behind = None
        context.messages[:] = asked.context
        context.messages.append(context._format_feedback_message(asked.feedback))  # noqa: SLF001 - part of the interface
        return True

    def post_setup_messages(self, context: Any) -> None:
        """Add nothing to the conversation that crewai has set up."""

    def handle_feedback(self, formatted_answer: Any, context: Any) -> Any:
        """Ask until a human is content; each time they are not, let the agent try again."""
        answer = formatted_answer
        while context.ask_for_human_input and not self._is_content(answer, context):
            answer = context._invoke_loop()  # noqa: SLF001 - part of the interface
        context.ask_for_human_input = False
        return answer

    async def handle_feedback_async(self, formatted_answer: Any, context: Any) -> Any:
        """Do the same without blocking the crew's event loop."""
        answer = formatted_answer
        while context.ask_for_human_input and not await asyncio.to_thread(self._is_content, answer, context):
            answer = await context._ainvoke_loop()  # noqa: SLF001 - part of the interface
        context.ask_for_human_input = False
        return answer

    def _is_content(self, answer: Any, context: Any) -> bool:
        output = answer.output if isinstance(answer.output, str) else answer.output.model_dump_json()
        message = "Approve the result, or say what should be better."
        step = self._position(context)
        question_id = self._report.ask(
            "task",
            step,
            message,
            output,
            lambda question_id: self._asks(question_id, output),
            context=[*context.messages],
        )
        asked = wait(self._report, question_id)
        if approves(asked):
            return True
        context.messages.append(context._format_feedback_message(asked.feedback))  # noqa: SLF001 - part of the interface
        return False

    def _position(self, context: Any) -> int:
        return self._positions.get(str(getattr(context.task, "id", "")), 0)


def set_provider(humans: Humans) -> None:
    """Let crews ask humans through us."""
    from crewai.core.providers import human_input

    human_input.set_provider(humans)


class Inputs:
    """crewai's interface for `Flow.ask()` (`crewai.flow.input_provider`), answered through the database.

    :param asks: called with each question's id and its text, to tell somebody.
    """

    def __init__(self, report: Report, asks: Any) -> None:
        self._report = report
        self._asks = asks

    def request_input(self, message: str, flow: Any, metadata: dict[str, Any] | None = None) -> str | None:
        """Ask, and wait for the answer; None if crewai has given it up, of which it says nothing here."""
        del flow, metadata  # crewai's signature
        step = max(0, self._report.steps_begun() - 1)
        question_id = self._report.ask("ask", step, message, "", lambda question_id: self._asks(question_id, message))
        return wait(self._report, question_id).feedback


class Feedback:
    """crewai's interface for `@human_feedback` (`crewai.flow.async_feedback`): lets the flow end its process.

    crewai keeps the flow's state itself, so a flow that waits for a human needs no process.
    """

    def request_feedback(self, context: Any, flow: Any) -> str:
        """Pause the flow."""
        from crewai.flow.async_feedback.types import HumanFeedbackPending

        del flow  # crewai's signature
        raise HumanFeedbackPending(context=context)


def approves(asked: AskedQuestion) -> bool:
    """Whether an answer approves: as it says, else as its text is understood."""
    return is_approval(asked.feedback or "") if asked.approved is None else asked.approved


def feedback_for_a_flow(asked: AskedQuestion) -> str:
    """Return the text that a flow is told, which it maps to one of its outcomes."""
    if asked.feedback or asked.approved is None:
        return asked.feedback or ""
    return "approved" if asked.approved else "rejected"


def wait(report: Report, question_id: str) -> AskedQuestion:
    """Wait until a question is answered, or given up.

    :raises Ended: the run was ended instead.
    """
    while not report.is_closed(question_id):
        time.sleep(LOOK_EVERY)
    if not report.go_on():
        raise Ended(1)
    return report.question(question_id)
