"""The order in which things happen: generators, written once and driven by both shells.

A flow yields a step and receives a `Reply`. It has no clock, no sleep and no randomness of its own: the time and a
random number come with each reply.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from airflow_provider_crewai.client import policy
from airflow_provider_crewai.client.dialogue import Heard
from airflow_provider_crewai.client.watch import Again, Ending, Watch
from airflow_provider_crewai.wire import codec
from airflow_provider_crewai.wire.errors import (
    CrewAuthError,
    CrewError,
    CrewMayHaveStarted,
    CrewNotACrew,
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
    RunState,
)

T = TypeVar("T")

LONGEST_BACKOFF = 15.0
"""The most seconds between two attempts of a one-shot call: a worker is waiting."""


NOTHING_RESUMED = "'NoneType' object is not subscriptable"
"""How a resume fails that named a wrong execution id (crewai 1.15, 2026-10)."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait this many seconds. Zero only asks for the time.

    :param trouble: what went wrong, if we try again after the wait: a person may be waiting, too.
    :param until: the epoch second until which we try.
    """

    seconds: float
    trouble: CrewError | None = None
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Connect:
    """Read the connection, if that was not done yet."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection could be read.

    :param crew: the crew's base URL.
    """

    crew: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Read the connection again before the next request: the last answer was a 401 or 403.

    :param trouble: that answer, if what is sent again is a kickoff, a resume or a stop.
    """

    trouble: CrewError | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Read the record of this task's run.

    :param page: a page beside the record, or nothing for the record itself.
    """

    page: str = ""


@dataclass(frozen=True, slots=True)
class Save:
    """Write the record of this task's run; None erases it.

    :param page: a page beside the record, or nothing for the record itself.
    """

    record: JSONObject | None
    page: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was on record, or None if there was nothing."""

    record: JSON


@dataclass(frozen=True, slots=True)
class Hear:
    """Ask Airflow what it knows of a run's questions: what webhooks brought, and whether a person has responded."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a shell gives back for a step.

    :param now: the time after the step, epoch seconds.
    :param chance: a random number in [0, 1).
    :param queued: seconds for which a request waited for one of our own connections: nobody's silence.
    :param answer: the response to a request, the stored record, the connected crew, or the error instead.
    """

    now: float
    chance: float = 0.0
    answer: Response | Stored | Connected | Heard | CrewError | None = None
    queued: float = 0.0

    def read(self, read: Callable[[Response], T]) -> T:
        """Decode the answer.

        :raises CrewError: no answer came, or it cannot be read.
        """
        if isinstance(self.answer, Response):
            return read(self.answer)
        raise self.error()

    def error(self) -> CrewError:
        """Return the error that came in place of an answer."""
        if isinstance(self.answer, CrewError):
            return self.answer
        raise TypeError(self.answer)


Step = Request | Pause | Connect | Renew | Load | Save | Hear
Flow = Generator[Step, Reply, T]
Attempt = Generator[Step, Reply, tuple[T | CrewError, Reply]]
"""A flow of one attempt: its result, or the error instead, with the reply that brought it."""
Observe = Callable[[Run | CrewError, float], None]
Check = Callable[[CrewInputs], None]
"""Gets the inputs that the crew lists, before a run is started; raises to refuse it."""
Mark = tuple[int, bool, tuple[str, ...], bytes]
"""What two answers that mean the same have in common: status, whether whole, what not to show, a digest of the body."""
Say = Callable[[str], None]
"""Gets a sentence that says what happens and why."""


@dataclass(slots=True)
class Dialect:
    """Which of the two status paths this deployment knows, once we have found out, and what it said last.

    :param said: the last answer about each run that goes on, and what marks its bytes.
    """

    path: str = codec.STATUS_PATHS[0]
    known: bool = False
    said: dict[str, tuple[Mark, Run]] = field(default_factory=dict, repr=False)

    @property
    def other(self) -> str:
        """Return the path that was not tried yet."""
        first, second = codec.STATUS_PATHS
        return second if self.path == first else first

    def read(self, kickoff_id: str, response: Response) -> Run:
        """Read an answer about a run. Most looks bring the same bytes again, and so the same value.

        :raises CrewError: the answer cannot be read.
        """
        mark = _mark(response)
        said = self.said.pop(kickoff_id, None)
        run = said[1] if said and said[0] == mark else codec.read_status(kickoff_id, response)
        if run.state.is_alive:
            self.said[kickoff_id] = (mark, run)
        return run


# ---- one-shot calls: for a worker, which waits a little --------------------------------------------


def connect(patience: float, deadline: float = math.inf) -> Flow[str]:
    """Read the connection, and return the crew's base URL. A secrets backend may be away for a moment."""
    return (yield from _patiently(_connect, policy.out_of_reach, patience, deadline))


def get_inputs(patience: float, deadline: float = math.inf) -> Flow[CrewInputs]:
    """Ask which inputs the crew wants."""
    request = codec.inputs_request()

    def again(error: CrewError) -> bool:
        return policy.may_send_again(request, error) and not isinstance(error, CrewNotACrew)

    return (yield from _patiently(lambda: _ask(request, codec.read_inputs), again, patience, deadline))


def wake(check: Check | None, patience: float, deadline: float = math.inf) -> Flow[None]:
    """Ask a deployment for its inputs until it is awake. This costs nothing.

    A kickoff to a sleeping deployment may be lost on the way. Any answer of a crew that is awake is enough, unless the
    inputs must be checked.

    :raises CrewAuthError: the token is refused.
    :raises CrewNotACrew: the URL is not a crew's.
    :raises CrewError: it did not wake up in time, or `check` refused.
    """
    try:
        request = codec.inputs_request()
        listed = yield from _patiently(
            lambda: _ask(request, codec.read_inputs), policy.may_be_asleep, patience, deadline
        )
    except CrewError as error:
        if not policy.may_be_kicked_off(error):
            raise
        if check is None:
            return
        listed = yield from get_inputs(patience, deadline)
    if check:
        check(listed)


def kickoff(body: Kickoff, patience: float, check: Check | None = None) -> Flow[str]:
    """Wake the crew, start a run and return its kickoff_id.

    :raises CrewMayHaveStarted: it was sent, and no usable answer came back. It is not sent again.
    """
    yield from wake(check, patience)
    return (yield from kickoff_awake(body, patience))


def kickoff_awake(body: Kickoff, patience: float, deadline: float = math.inf) -> Flow[str]:
    """Start a run of a crew that is awake, and return its kickoff_id.

    :param deadline: the epoch second after which the kickoff is not sent.
    :raises CrewMayHaveStarted: it was sent, and no usable answer came back. It is not sent again.
    """
    try:
        return (yield from _perform(codec.kickoff_request(body), _usable_id, patience, deadline))
    except CrewError as error:
        if not policy.may_have_arrived(error):
            raise
        raise CrewMayHaveStarted(
            f"A kickoff was sent, but no kickoff_id came back ({error}). A paid run may have started, and the API has "
            "no way to look for it. The kickoff was not sent again.",
            kickoff_id=None,
        ) from error


def _usable_id(response: Response) -> str:
    kickoff_id = codec.read_kickoff(response)
    if fault := codec.fault_of_id(kickoff_id):
        raise CrewProtocolError(f"its kickoff_id cannot be used, because it {fault}")
    return kickoff_id


def get_status(kickoff_id: str, dialect: Dialect, patience: float) -> Flow[Run]:
    """Look at a run, patiently."""
    again = partial(policy.may_send_again, codec.status_request(kickoff_id))
    return (yield from _patiently(lambda: look(kickoff_id, dialect), again, patience))


def resume(resumption: Resumption, patience: float) -> Flow[Resumed]:
    """Answer a crew that waits for a human. Not sent again once it may have arrived."""
    return (yield from _perform(codec.resume_request(resumption), codec.read_resume, patience))


def post_feedback(request: Request, patience: float) -> Flow[Resumed]:
    """Send a person's feedback through one of the three doors. Not sent again once it may have arrived."""
    read = codec.read_resume if request.url is None else codec.read_callback
    return (yield from _perform(request, read, patience))


def stop(kickoff_id: str, patience: float) -> Flow[bool]:
    """Stop a run. True if it was stopped, False if it had already ended.

    :raises CrewNotFound: the deployment cannot stop runs; the run goes on.
    """
    return (yield from _perform(codec.stop_request(kickoff_id), codec.read_stop, patience))


def _perform(request: Request, read: Callable[[Response], T], patience: float, deadline: float = math.inf) -> Flow[T]:
    """Send a request until it is answered, as often as `policy` allows, for `patience` seconds."""
    again = partial(policy.may_send_again, request)
    return (yield from _patiently(lambda: _ask(request, read, deadline), again, patience, deadline))


def _patiently(
    attempt: Callable[[], Attempt[T]],
    again: Callable[[CrewError], bool],
    patience: float,
    deadline: float = math.inf,
) -> Flow[T]:
    """Try until it succeeds, for `patience` seconds, while `again` says so. No attempt begins after the deadline."""
    failures, now = 0, (yield Pause(0)).now
    until = min(now + patience, deadline)
    while True:
        answer, reply = yield from attempt()
        if not isinstance(answer, CrewError):
            return answer
        failures += 1
        wait = policy.backoff(failures, longest=LONGEST_BACKOFF, chance=reply.chance)
        wait = max(wait, policy.retry_after(answer, reply.now))
        if not again(answer) or reply.now + wait > until:
            raise answer
        if (yield Pause(wait, answer, until)).now >= deadline:  # a sleep may take longer
            raise answer


def _connect() -> Attempt[str]:
    reply = yield Connect()
    if isinstance(reply.answer, Connected):
        return reply.answer.crew, reply
    return reply.error(), reply


def _ask(request: Request, read: Callable[[Response], T], deadline: float = math.inf) -> Attempt[T]:
    """Send a request once; after a 401 or 403 read the credentials again and send it once more before the deadline.

    A request that got a 401 was not carried out, so this is also safe for a kickoff.
    """
    reply = yield request
    try:
        try:
            return reply.read(read), reply
        except CrewAuthError as error:
            if (yield Renew(None if request.idempotent else error)).now >= deadline:
                raise
            reply = yield request
            return reply.read(read), reply
    except CrewError as error:
        return error, reply


# ---- looking and waiting ---------------------------------------------------------------------------


def look(kickoff_id: str, dialect: Dialect) -> Attempt[Run]:
    """Look at a run once, on the path that this deployment knows.

    A 404 that is not about the run may mean that it knows the other path; we try that once and remember it. Only a 404
    on both paths means that no crew is there.
    """
    read = partial(dialect.read, kickoff_id)
    seen, reply = yield from _ask(codec.status_request(kickoff_id, dialect.path), read)
    if isinstance(seen, CrewNotFound) and not dialect.known:
        other, reply = yield from _ask(codec.status_request(kickoff_id, dialect.other), read)
        if isinstance(other, Run):
            dialect.path = dialect.other
        if not isinstance(other, CrewNotFound):
            seen = other
    dialect.known = dialect.known or isinstance(seen, Run)
    return seen, reply


def _mark(response: Response) -> Mark:
    # Not the body itself: thousands of runs may wait in one process.
    digest = hashlib.blake2b(response.body, digest_size=16).digest()
    return response.status, response.whole, response.secrets, digest


def wait(watch: Watch, dialect: Dialect, observe: Observe) -> Flow[Ending]:
    """Wait for a run until it ends, or until `watch` gives up, which is not an error. Sleeps before the first look.

    :param observe: called after each look with its result, an answer or an error, and the time.
    :raises CrewConfigError: the watch's kickoff_id is not valid.
    """
    reply = yield Pause(0)
    yield Pause(watch.first(reply.now, reply.chance))
    while isinstance(step := (yield from look_once(watch, dialect, observe)), Again):
        yield Pause(step.seconds)
    return step


def look_once(watch: Watch, dialect: Dialect, observe: Observe) -> Flow[Again | Ending]:
    """Look now, and let the watch decide what to do next.

    :raises CrewConfigError: the watch's kickoff_id is not valid.
    """
    seen, reply = yield from look(watch.kickoff_id, dialect)
    if _shows_nothing(seen) and watch.dialogue is not None and watch.dialogue.also is not None:
        seen, reply = yield from _look_elsewhere(seen, watch.kickoff_id, watch.dialogue.also, dialect)
    observe(seen, reply.now)
    if isinstance(seen, CrewError):
        return watch.missed(seen, reply.now, reply.chance, reply.queued)
    if watch.dialogue is not None and not seen.state.is_final:
        heard = (yield Hear()).answer
        if isinstance(heard, Heard):
            watch.dialogue.heard = heard
    return watch.saw(seen, reply.now, reply.chance)


def _look_elsewhere(seen: Run | CrewError, kickoff_id: str, also: str, dialect: Dialect) -> Attempt[Run]:
    """Look at a run that its own id hides, under the id that the answer to a resume named.

    A deployment answers each resume with a new id, also if it named no run that waits. Which of the two shows the end
    is not known (crewai 1.15, 2026-10), so the first end that is seen counts.
    """
    other, reply = yield from look(also, dialect)
    if not isinstance(other, Run) or _shows_nothing(other) or _resumed_nothing(other):
        return seen, reply
    return replace(other, kickoff_id=kickoff_id), reply


def _shows_nothing(seen: Run | CrewError) -> bool:
    return isinstance(seen, Run) and seen.state is RunState.NOT_FOUND


def _resumed_nothing(run: Run) -> bool:
    """Return whether a resume named no run that waits. It fails by itself then; the run that we wait for does not."""
    return run.state is RunState.FAILED and NOTHING_RESUMED in (run.reason or "")
