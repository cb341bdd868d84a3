"""The values that travel between us and a deployed crew, frozen and typed.

Nothing here knows a key of the API: `codec` is the only reader and writer of bodies.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
JSONObject = dict[str, JSON]


class RunState(enum.StrEnum):
    """The state of a run, whatever spelling the deployment used for it."""

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
        """Whether a run in this state can never change again."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED)

    @property
    def is_alive(self) -> bool:
        """Whether a run in this state is known to the deployment and still goes on."""
        return not self.is_final and self is not RunState.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, counted in crew tasks (or flow methods)."""

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
    """What a run that waits wants to be told. Only the local server says it; a deployment tells a webhook alone."""

    task_id: str
    message: str = ""
    output: str = ""

    def __str__(self) -> str:
        said = self.message or "it wants to be told something"
        return f"{said} (task {self.task_id})"


@dataclass(frozen=True, slots=True)
class Run:
    """One answer about a run. Its words are printable and short; a run that goes on holds no answer.

    :param word: the state as the deployment spells it.
    :param text: the deployment's sentence about the state.
    :param error: why the run failed or was stopped, for a message: some lines at most.
    :param reason: the same in full, printable and without our secrets. It may be megabytes.
    :param result: what a run that succeeded answered, as it came.
    :param result_json: the same as JSON, where the deployment gives it.
    :param remarks: what a person should know of the answer, as in "The answer …": that it holds the token, say.
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
    remarks: tuple[str, ...] = ()

    @property
    def answer(self) -> JSON:
        """What the crew answered: `result_json` where there is one, else the text."""
        return self.result if self.result_json is None else self.result_json


@dataclass(frozen=True, slots=True)
class Kickoff:
    """Everything a kickoff may carry. Only `inputs` reaches the crew's prompts.

    `None` fields are left out of the body. Values keep their JSON types: a flow needs the real type.
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
        """Whether somebody is told when the crew waits for a human."""
        return bool(self.human_input_webhook)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A human's answer to a crew that waits.

    `hooks` is the kickoff whose webhooks are sent again, since a resume without them loses them.
    """

    kickoff_id: str
    task_id: str
    feedback: str
    approve: bool | None = None
    hooks: Kickoff = field(default_factory=Kickoff)


@dataclass(frozen=True, slots=True)
class Resumed:
    """The answer to a resume. It proves nothing: the service says 200 to made-up ids too."""

    kickoff_id: str | None = None
    status: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class CrewInputs:
    """The names that `GET /inputs` lists: a hint, since a flow requires none of them."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What to send.

    :param idempotent: whether it may be sent twice without harm.
    :param secrets: what must not be shown where its answer repeats the body: the credentials of webhooks.
    :param long_answer: whether what is asked for may be long, as the result of a run may.
    """

    method: str
    path: str
    body: JSONObject | None = field(default=None, repr=False)
    idempotent: bool = True
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)
    long_answer: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, undecoded and unaltered. Header names are lower case.

    :param secrets: what must not be shown when a person is told of the answer; an answer itself is never altered.
    :param whole: False where only the beginning of a long body was read.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)
    whole: bool = True
