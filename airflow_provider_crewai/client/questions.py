"""Makes a form of a crew's question, and feedback of what a person chose and wrote. Pure: no clock, no Airflow.

A live crew judges the text alone: a short plain "Approved." lets it go on, and it works on everything else. A flow maps
the text to one of its outcomes. So the option that a person chose decides what is sent:

    chosen            text    what is sent
    ----------------  ------  -------------------------------------------------------------
    Approve           any     Approved.
    Ask for changes   given   the text
    Ask for changes   none    nothing: the person is asked again
    a flow's outcome  none    the outcome
    a flow's outcome  given   the outcome, a colon, and the text
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.dialogue import FEEDBACK, Responded
from airflow_provider_crewai.client.feedback import APPROVED
from airflow_provider_crewai.wire.model import Feedback, JSONObject, Question
from airflow_provider_crewai.wire.times import duration, moment
from airflow_provider_crewai.wire.words import line

APPROVE = "Approve"
CHANGES = "Ask for changes"
WIDTH = 90
"""The most characters of a line of code: a form cuts a longer one off."""

SUBJECT = 150
"""The most characters of a subject."""


class UnclearResponse(ValueError):
    """A response that cannot be sent. Its text says what is missing."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and by which rules.

    :param kickoff_id: the run.
    :param crew: the crew's base URL, or None if it is not known.
    :param page: the URL of the run's page, or None.
    :param patience: seconds that a person has for each question, or None.
    :param then: what happens after that: `fail`, or an option.
    :param keeps_first_form: whether Airflow shows the first question's form for each later one (below 3.4).
    """

    kickoff_id: str
    crew: str | None = None
    page: str | None = None
    patience: float | None = None
    then: str = defaults.ON_HUMAN_TIMEOUT
    keeps_first_form: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """What a person sees: a subject of one line, a body in Markdown, and the options of which to choose one."""

    subject: str
    body: str
    options: tuple[str, ...]

    @property
    def params(self) -> JSONObject:
        """Return the one text field, as Airflow describes fields."""
        # Null is allowed, so that a form without a text can be sent.
        schema: JSONObject = {"type": ["string", "null"], "format": "multiline", "title": "Feedback"}
        return {FEEDBACK: {"value": "", "description": "Your words to the crew", "schema": schema}}


def form_of(question: Question, asker: Asker, now: float, word: str | None = None) -> Form:
    """Return the form for a question.

    :param now: the epoch second.
    :param word: what to say first, for example why the question is asked again.
    """
    parts = [word and f"**{word}**", _who(question, asker, now), _judged(question), _rules(question, asker)]
    return Form(_subject(question, asker), "\n\n".join(part for part in parts if part), options_of(question))


def options_of(question: Question) -> tuple[str, ...]:
    """Return what a person may choose: a flow's outcomes, else to approve or to ask for changes."""
    return tuple(dict.fromkeys(question.options)) or (APPROVE, CHANGES)


def feedback_of(key: str, response: Responded) -> Feedback:
    """Return what to send.

    :param key: of the question that was asked.
    :raises UnclearResponse: something is missing.
    """
    option, written = response.chosen[0], response.text.strip()
    if option == CHANGES and not written:
        raise UnclearResponse(f"{CHANGES} needs a text that says what to change.")
    match option:
        case _ if option == APPROVE:
            text = APPROVED
        case _ if option == CHANGES:
            text = response.text
        case _:
            text = f"{option}: {response.text}" if written else option
    return Feedback(key, text, option, response.by, response.at)


def _subject(question: Question, asker: Asker) -> str:
    if asker.keeps_first_form:
        return line(f"{_crew(asker)} asks a person", SUBJECT)
    asks = f": {question.message}" if question.message else " asks a person"
    return line(f"{question.crew_task or _crew(asker)}{asks}", SUBJECT)


def _crew(asker: Asker) -> str:
    host = urlsplit(asker.crew or "").netloc
    return f"The crew at {host}" if host else "The crew"


def _who(question: Question, asker: Asker, now: float) -> str:
    crew = f" of `{_code(asker.crew)}`" if asker.crew else ""
    task = f", crew task *{_plain(question.crew_task)}*" if question.crew_task else ""
    flow = ", a flow" if question.flow_id else ""
    who = f"Run `{_code(asker.kickoff_id)}`{crew}{task}{flow},"
    if not question.message:
        return f"{who} asks a person since {moment(now)}."
    return f"{who} asked at {moment(now)}:\n\n{_quoted(question.message)}"


def _judged(question: Question) -> str | None:
    return f"**To be judged:**\n\n{_quoted(_laid_out(question.output))}" if question.output else None


def _laid_out(output: str) -> str:
    """Return JSON as a block of code, a line for each value, if that alters nothing and each line is seen whole.

    Any other text is Markdown, whose long lines are wrapped.
    """
    try:
        laid_out = json.dumps(json.loads(output), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return output
    same = "".join(laid_out.split()) == "".join(output.split())
    seen = all(len(line) <= WIDTH for line in laid_out.splitlines())
    # No line of it begins with a backtick, so nothing in it can end the block.
    return f"```json\n{laid_out}\n```" if same and seen and laid_out.startswith(("{", "[")) else output


_OUTCOMES = "The crew gets the outcome that you choose, and your text with it."
_VERDICTS = (
    f"*{APPROVE}* sends “{APPROVED}”, without your text, and the crew goes on. *{CHANGES}* sends your text, and the "
    "crew tries again."
)


def _rules(question: Question, asker: Asker) -> str:
    told = [_OUTCOMES if question.options else _VERDICTS]
    if asker.patience is not None:
        then = "the task fails" if asker.then == defaults.ON_HUMAN_TIMEOUT else f"*{_plain(asker.then)}* is chosen"
        told.append(f"Each question waits for {duration(asker.patience)}; then {then}.")
    page = f"[the run's page]({asker.page})" if asker.page else "the log of the task"
    if asker.keeps_first_form:
        told.append(f"If the crew asks again, this form stays as it is. The present question is on {page}.")
    elif asker.page:
        told.append(f"More is on {page}.")
    return "\n\n".join(told)


def _quoted(text: str) -> str:
    """Return a crew's Markdown as a quotation: nothing in it can look like our words, and it loads no picture."""
    shown = text.replace("![", "!\\[")
    return "\n".join(f"> {each}".rstrip() for each in shown.splitlines())


def _plain(text: str) -> str:
    return "".join(f"\\{sign}" if sign in r"\`*_[]<>!#|~" else sign for sign in line(text))


def _code(text: str | None) -> str:
    return (text or "").replace("`", "'")
