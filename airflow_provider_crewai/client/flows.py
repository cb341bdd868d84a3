"""In which order things happen: generators, written once and driven by both shells.

A flow yields a step and receives a `Reply`. It owns no clock, no sleep and no randomness: the time and a
random number come with each reply.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_crewai.client import policy
from airflow_provider_crewai.client.watch import Again, Ending, Watch
from airflow_provider_crewai.wire import codec
from airflow_provider_crewai.wire.errors import (
    CrewAuthError,
    CrewError,
    CrewMayHaveStarted,
    CrewNotFound,
    CrewProtocolError,
)
from airflow_provider_crewai.wire.model import (
    JSON,
    CrewInputs,
    JSONObject,
    Kickoff,
    Request,
    Response,
    Resumed,
    Resumption,
    Run,
)

T = TypeVar("T")

CALL_PATIENCE = 120.0
"""Seconds for which a one-shot call is tried by default: a deployment that sleeps takes a minute to wake."""

LONGEST_BACKOFF = 15.0
"""Seconds between two attempts of a one-shot call, at most: somebody is waiting in a worker."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds. Zero asks for nothing but the time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Renew:
    """Read the connection again before the next request: the last answer was a 401 or 403."""


@dataclass(frozen=True, slots=True)
class Load:
    """Read the record of this task's run."""


@dataclass(frozen=True, slots=True)
class Save:
    """Write the record of this task's run; None erases it."""

    record: JSONObject | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What was on record, or None where there is nothing."""

    record: JSON


@dataclass(frozen=True, slots=True)
class Reply:
    """What a shell gives back for a step.

    :param now: the time after the step, epoch seconds.
    :param chance: a random number in [0, 1).
    :param answer: the response to a request, the stored record, or the error that took its place.
    """

    now: float
    chance: float = 0.0
    answer: Response | Stored | CrewError | None = None

    def read(self, read: Callable[[Response], T]) -> T:
        """Decode the answer.

        :raises CrewError: no answer came, or it cannot be read.
        """
        if isinstance(self.answer, Response):
            return read(self.answer)
        raise self.answer if isinstance(self.answer, CrewError) else TypeError(self.answer)


Step = Request | Pause | Renew | Load | Save
Flow = Generator[Step, Reply, T]
Outcome = Generator[Step, Reply, tuple[T | CrewError, Reply]]
"""A flow of one attempt: what came, or the error in its place, with the reply it came in."""
Observe = Callable[[Run | CrewError, float], None]


@dataclass(slots=True)
class Dialect:
    """Which of the two status paths this deployment speaks, once that is known."""

    path: str = codec.STATUS_PATHS[0]
    known: bool = False

    @property
    def other(self) -> str:
        """The path that was not tried yet."""
        first, second = codec.STATUS_PATHS
        return second if self.path == first else first


# ---- one-shot calls: for a worker, which waits a little --------------------------------------------


def get_inputs(patience: float) -> Flow[CrewInputs]:
    """Ask which inputs the crew wants."""
    return (yield from _perform(codec.inputs_request(), codec.read_inputs, patience))


def kickoff(body: Kickoff, patience: float) -> Flow[str]:
    """Start a run and return its kickoff_id.

    :raises CrewMayHaveStarted: it was sent, and no usable answer came back. It is not sent again.
    """
    try:
        return (yield from _perform(codec.kickoff_request(body), _usable_id, patience))
    except CrewError as error:
        if not policy.may_have_arrived(error):
            raise
        raise CrewMayHaveStarted(
            f"A kickoff was sent, but its answer was lost ({error}). A paid run may have started, and the API "
            "has no way to look for it. It was not sent again.",
            kickoff_id=None,
        ) from error


def _usable_id(response: Response) -> str:
    kickoff_id = codec.read_kickoff(response)
    if fault := codec.fault_of_id(kickoff_id):
        raise CrewProtocolError(f"its kickoff_id is of no use, since it {fault}")
    return kickoff_id


def get_status(kickoff_id: str, dialect: Dialect, patience: float) -> Flow[Run]:
    """Look at a run, patiently."""

    def look_once() -> Outcome[Run]:
        return look(kickoff_id, dialect)

    return (yield from _patiently(codec.status_request(kickoff_id), look_once, patience))


def resume(resumption: Resumption, patience: float) -> Flow[Resumed]:
    """Answer a crew that waits for a human. Not sent again once it may have arrived."""
    return (yield from _perform(codec.resume_request(resumption), codec.read_resume, patience))


def stop(kickoff_id: str, patience: float) -> Flow[bool]:
    """Stop a run. True if it was stopped, False if it had already ended.

    :raises CrewNotFound: the deployment cannot stop runs; the run goes on.
    """
    return (yield from _perform(codec.stop_request(kickoff_id), codec.read_stop, patience))


def _perform(request: Request, read: Callable[[Response], T], patience: float) -> Flow[T]:
    """Send a request until it is answered, as often as `policy` allows and patience lasts."""

    def ask_once() -> Outcome[T]:
        return _ask(request, read)

    return (yield from _patiently(request, ask_once, patience))


def _patiently(request: Request, attempt: Callable[[], Outcome[T]], patience: float) -> Flow[T]:
    failures, started = 0, (yield Pause(0)).now
    while True:
        answer, reply = yield from attempt()
        if not isinstance(answer, CrewError):
            return answer
        failures += 1
        wait = policy.backoff(failures, longest=LONGEST_BACKOFF, chance=reply.chance)
        wait = max(wait, policy.retry_after(answer, reply.now))
        if not policy.may_send_again(request, answer) or reply.now + wait > started + patience:
            raise answer
        yield Pause(wait)


def _ask(request: Request, read: Callable[[Response], T]) -> Outcome[T]:
    """Send a request once; after a 401 or 403 read the credentials again and send it once more.

    An answer of 401 was not carried out, so this is safe for a kickoff too.
    """
    reply = yield request
    try:
        try:
            return reply.read(read), reply
        except CrewAuthError:
            yield Renew()
            reply = yield request
            return reply.read(read), reply
    except CrewError as error:
        return error, reply


# ---- looking and waiting ---------------------------------------------------------------------------


def look(kickoff_id: str, dialect: Dialect) -> Outcome[Run]:
    """Look at a run once, on the path this deployment speaks.

    A 404 that is not about the run may mean the other path; it is tried once and remembered. Only a 404 on both
    says that there is no crew.
    """

    def read(response: Response) -> Run:
        return codec.read_status(kickoff_id, response)

    seen, reply = yield from _ask(codec.status_request(kickoff_id, dialect.path), read)
    if isinstance(seen, CrewNotFound) and not dialect.known:
        other, reply = yield from _ask(codec.status_request(kickoff_id, dialect.other), read)
        if isinstance(other, Run):
            dialect.path = dialect.other
        if not isinstance(other, CrewNotFound):
            seen = other
    dialect.known = dialect.known or isinstance(seen, Run)
    return seen, reply


def wait(watch: Watch, dialect: Dialect, observe: Observe) -> Flow[Ending]:
    """Wait for a run until it ends, or until `watch` gives up, which is no error. Sleeps before the first look.

    :param observe: called with what each look came to, an answer or an error, and the time.
    :raises CrewConfigError: what the watch looks for is no kickoff_id.
    """
    reply = yield Pause(0)
    yield Pause(watch.first(reply.now, reply.chance))
    while isinstance(step := (yield from look_once(watch, dialect, observe)), Again):
        yield Pause(step.seconds)
    return step


def look_once(watch: Watch, dialect: Dialect, observe: Observe) -> Flow[Again | Ending]:
    """Look now, and let the watch judge.

    :raises CrewConfigError: what the watch looks for is no kickoff_id.
    """
    seen, reply = yield from look(watch.kickoff_id, dialect)
    observe(seen, reply.now)
    if isinstance(seen, CrewError):
        return watch.missed(seen, reply.now, reply.chance)
    return watch.saw(seen, reply.now, reply.chance)
