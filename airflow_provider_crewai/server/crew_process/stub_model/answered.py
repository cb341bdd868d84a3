"""The answers: marked text that says what it answers, JSON by a schema, a tool's call, or one of several options."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .asked import Ask
from .by_schema import filled
from .choosing import chosen

_SUBJECT_LENGTH = 200


@dataclass(frozen=True)
class StubReply:
    """The answer: text, or a call of a tool with its arguments as JSON."""

    text: str
    tool: str | None = None

    def words(self) -> int:
        """Return how many words the answer has."""
        return len(self.text.split())

    def parts(self) -> list[str]:
        """Return the text word by word, for streaming."""
        return re.findall(r"\S+\s*|\s+", self.text)


def answer(ask: Ask) -> StubReply:
    """Answer a request, always with the same answer."""
    mark = f"[stub:{ask.model}]"
    subject = _subject(ask)
    if ask.tool:
        name, parameters = ask.tool
        return StubReply(json.dumps(filled(parameters, mark, subject, ask.last())), name)
    if ask.schema:
        return StubReply(_in_the_format_asked_for(ask, json.dumps(filled(ask.schema, mark, subject, ask.last()))))
    return StubReply(_in_the_format_asked_for(ask, _text(ask, f"{mark} This stands for the answer to: {subject}")))


def _text(ask: Ask, text: str) -> str:
    if ask.schema is not None:
        text = json.dumps({"answer": text})
    elif options := re.search(r"\nPossible outcomes: (.*)", ask.last()):
        text = chosen(options[1].split(", "), ask.last())
    elif "READY or NOT READY" in ask.last() or '"READY: ' in ask.last():
        text += "\nREADY: I am ready to execute the task."
    return text


def _in_the_format_asked_for(ask: Ask, text: str) -> str:
    """Write the answer as the last step of ReAct, if the prompt asks for that."""
    if any("Final Answer:" in said for role, said in ask.messages if role in {"system", "user"}):
        return f"Thought: I now can give a great answer\nFinal Answer: {text}"
    return text


def _subject(ask: Ask) -> str:
    """Say in one line what the request asks: crewai's current task, if any, and the feedback on the last answer."""
    tasks = [said.group(1) for _, text in ask.messages if (said := re.search(r"Current Task:\s*(.*)", text))]
    feedback = re.search(r"(?:User feedback:|You got human feedback.*\n)\s*(.*)", ask.last())
    subject = tasks[-1] if tasks else next((line for line in ask.last().splitlines() if line.strip()), "nothing")
    if feedback and tasks:
        subject = f"{_shortened(subject)} (after the feedback: {feedback.group(1)})"
    return _shortened(subject)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SUBJECT_LENGTH else f"{text[:_SUBJECT_LENGTH]}…"
