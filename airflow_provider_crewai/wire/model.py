"""The values that we exchange with a deployed crew, frozen and typed.

Nothing here knows a key of the API: only `codec` reads and writes bodies.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
JSONObject = dict[str, JSON]


class RunState(enum.StrEnum):
    """The state of a run, however the deployment spells it."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Return whether a run in this state can never change again."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED)

    @property
    def is_alive(self) -> bool:
        """Return whether the deployment knows a run in this state, and the run is still going."""
        return not self.is_final and self is not RunState.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, counted in crew tasks (or in flow methods)."""

    completed: int | None = None
    total: int | None = None
    current: str | None = None
    current_agent: str | None = None

    def __str__(self) -> str:
        done = "?" if self.completed is None else str(self.completed)
        steps = done if self.total is None else f"{done} of {self.total}"
        where = f", now {self.current}" if self.current else ""
        who = f" ({self.current_agent})" if self.current and self.current_agent else ""
        return f"{steps} done{where}{who}"


@dataclass(frozen=True, slots=True)
class Question:
    """What a waiting run asks a human. Only the local server reports it; a deployment tells only a webhook.

    :param task_id: the crew task's id; for a flow that names none, its flow_id.
    :param output: what the human is to judge.
    :param options: the outcomes of a flow, of which the feedback chooses one.
    :param flow_id: the flow that asks, or None if a crew does.
    :param callback_url: where a webhook wants the feedback to go.
    :param crew_task: the crew task's name, or how its description begins.
    :param others: the task_ids of what else the run asks at the same time.
    """

    task_id: str
    message: str = ""
    output: str = ""
    options: tuple[str, ...] = ()
    flow_id: str | None = None
    callback_url: str | None = field(default=None, repr=False)
    crew_task: str = ""
    others: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return what distinguishes it from each other question of its run. A flow's ids are the same in each round."""
        if self.flow_id is None:
            return self.task_id
        asked = "\0".join((self.message, self.output, *self.options)).encode("utf-8", "surrogatepass")
        return f"{self.task_id} {hashlib.sha256(asked).hexdigest()[:16]}"

    def __str__(self) -> str:
        said = self.message or "the crew asks a question"
        return f"{said} (task {self.task_id})"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a person said to a question.

    :param question: the question's `key`.
    :param text: what is sent, unchanged.
    :param option: the option that was chosen, if there were any.
    :param by: who said it, by the name that Airflow knows.
    :param at: when, epoch seconds.
    """

    question: str
    text: str
    option: str | None = None
    by: str | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """One answer about a run. Its texts are printable and short; while the run goes on, it holds no answer.

    :param word: the state as the deployment spells it.
    :param text: the deployment's sentence about the state.
    :param error: why the run failed or was stopped, for a message: at most a few lines.
    :param reason: the same in full, printable and without our secrets. It may be megabytes.
    :param result: the answer of a run that succeeded, unchanged.
    :param result_json: the same as JSON, if the deployment gives it.
    :param usage: token counts, by the API's own names.
    :param origin: what started the run, in the deployment's word; None up to crewai 1.15.21.
    :param page: the path of the run's own page. Only the local server has one.
    :param events: how many events of which type the deployment counted.
    :param remarks: what a person should know about the answer, such as "holds a secret". Each follows "The answer …".
    """

    kickoff_id: str
    state: RunState
    word: str = ""
    text: str | None = None
    error: str | None = None
    reason: str | None = field(default=None, repr=False)
    result: JSON = None
    result_json: JSON = None
    progress: Progress | None = None
    question: Question | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    origin: str | None = None
    page: str | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def answer(self) -> JSON:
        """Return the crew's answer: `result_json` if there is one, else the text."""
        return self.result if self.result_json is None else self.result_json


@dataclass(frozen=True, slots=True)
class Kickoff:
    """Everything that a kickoff may carry. Only `inputs` reach the crew's prompts.

    Fields that are `None` are left out of the body. Values keep their JSON types, because a flow needs the real type.
    """

    inputs: JSONObject = field(default_factory=dict)
    meta: JSONObject | None = None
    task_webhook_url: str | None = None
    step_webhook_url: str | None = None
    crew_webhook_url: str | None = None
    human_input_webhook: str | JSONObject | None = field(default=None, repr=False)
    webhooks: JSONObject | None = field(default=None, repr=False)
    restore_from_state_id: str | None = None

    @property
    def declares_human_input(self) -> bool:
        """Return whether somebody is told when the crew waits for a human."""
        return bool(self.human_input_webhook)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A human's answer to a crew that waits.

    `hooks` is the kickoff whose webhooks we send again, because a resume without them loses them.
    """

    kickoff_id: str
    task_id: str
    feedback: str
    approve: bool | None = None
    hooks: Kickoff = field(default_factory=Kickoff)


@dataclass(frozen=True, slots=True)
class Resumed:
    """The answer to a resume. It proves nothing: the service also answers 200 to made-up ids."""

    kickoff_id: str | None = None
    status: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class CrewInputs:
    """The names that `GET /inputs` lists. They are a hint, because a flow requires none of them."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What to send.

    :param idempotent: whether it may be sent twice without harm.
    :param secrets: what must not be shown if the answer repeats the body: the credentials of webhooks.
    :param long_answer: whether the answer may be long, as the result of a run may be.
    :param url: where to send it instead of the crew's `path`. It gets none of the connection's headers, no token above
        all, and only hosts that `client.callbacks` allows.
    """

    method: str
    path: str
    body: JSONObject | None = field(default=None, repr=False)
    idempotent: bool = True
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)
    long_answer: bool = False
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, not decoded and not changed. Header names are lower case.

    :param secrets: what must not be shown in messages about the answer. The answer itself is never changed.
    :param whole: False if only the beginning of a long body was read.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)
    whole: bool = True
