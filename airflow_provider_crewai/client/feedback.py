"""Gives a run a person's feedback at most once, through the right door, and loses none.

A crew takes feedback at `/resume`, a flow at `/resume_feedback` or where its webhook says. None of these doors may be
knocked at twice: a flow's id is the same in each round, so a second time would answer the next question. So the record
says that a feedback is about to be sent before it is sent, and that it was sent after it. If a process dies in between,
or the answer is lost, we look at the run:

    what the run shows                               what we do
    -----------------------------------------------  -----------------------------------------------------------
    it is over, goes on, or asks something else      it arrived
    it asks the same, longer than a request lasts    it did not arrive: send it again
    it does not show what it asks                    we cannot know: never send it twice, and say so
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from airflow_provider_crewai.client import flows, policy
from airflow_provider_crewai.client.begin import load_record
from airflow_provider_crewai.client.ledger import Record
from airflow_provider_crewai.wire import codec
from airflow_provider_crewai.wire.errors import (
    CrewApiError,
    CrewCallbackRefused,
    CrewChangedFeedback,
    CrewError,
    CrewFeedbackInDoubt,
    CrewLedgerError,
)
from airflow_provider_crewai.wire.model import (
    JSON,
    Feedback,
    JSONObject,
    Kickoff,
    Question,
    Request,
    Resumed,
    Resumption,
    Run,
    RunState,
)
from airflow_provider_crewai.wire.times import moment

APPROVED = "Approved."
"""This text makes a live crew go on: it judges the text and ignores `isApprove` (crewai 1.15, 2026-10)."""

SETTLED = 60.0
"""Seconds after which a request that was lost arrives no more: a gateway may hold it for so long."""

LOOK_AGAIN = 5.0
"""Seconds between two looks at a run that may or may not have the feedback."""

NOT_ASKED, ANSWERED = (404, 409, 410), (409, 410)
"""HTTP statuses that say that nobody asks this; and those that can say nothing else."""

NO_HOOKS = Kickoff()


class Fate(enum.StrEnum):
    """What became of a feedback. The record holds these words."""

    SENT = "sent"
    ARRIVED = "arrived"
    TOO_LATE = "too late"


Sent = Literal["no", "about to"] | Fate


@dataclass(frozen=True, slots=True)
class Given:
    """What became of a feedback.

    :param fate: SENT: the crew took it. ARRIVED: whether it did was not heard, but the run no longer asks. TOO_LATE:
        the run did not ask any more, so it was not used.
    :param said: the same as a sentence, with the run's id.
    :param also: the id under which a deployment says that the run goes on, if it is another one.
    :param resumed: all that the crew said then. It proves nothing.
    """

    fate: Fate
    said: str
    also: str | None = None
    resumed: Resumed = field(default_factory=Resumed)


@dataclass(frozen=True, slots=True)
class Note:
    """What a record says of a feedback.

    :param task_id: the crew task of the question, and `flow_id` its flow: where to send it on a retry.
    :param sent: "no", "about to", or what became of it.
    :param tried_at: when it was last about to be sent, epoch seconds.
    """

    feedback: Feedback
    task_id: str
    flow_id: str | None = None
    sent: Sent = "no"
    tried_at: float = 0.0
    also: str | None = None

    def to_json(self) -> JSONObject:
        """Return what is stored in the record."""
        rest = {name: value for name, value in asdict(self).items() if name != "feedback"}
        return {**asdict(self.feedback), **rest}

    @classmethod
    def of(cls, record: Record | None) -> Note | None:
        """Return what a record says of the last feedback, or None."""
        stored = record.feedback if record else None
        if stored is None:
            return None
        return cls(
            Feedback(
                str(stored.get("question")),
                str(stored.get("text")),
                _text(stored.get("option")),
                _text(stored.get("by")),
                _number(stored.get("at")),
            ),
            str(stored.get("task_id")),
            _text(stored.get("flow_id")),
            _sent(stored.get("sent")),
            _number(stored.get("tried_at")),
            _text(stored.get("also")),
        )


def pending(record: Record | None) -> tuple[Feedback, Question] | None:
    """Return the feedback on record that is not known to have arrived, with its question, or None."""
    note = Note.of(record)
    if note is None or isinstance(note.sent, Fate):
        return None
    return note.feedback, Question(note.task_id, flow_id=note.flow_id)


def give(
    feedback: Feedback,
    question: Question,
    kickoff_id: str,
    hooks: Kickoff,
    dialect: flows.Dialect,
    patience: float,
    say: flows.Say,
    *,
    recorded: bool = True,
    again: bool = True,
) -> flows.Flow[Given]:
    """Give a run a person's feedback to its question, at most once.

    :param hooks: the kickoff whose webhooks are sent again: a crew that goes on without them forgets them.
    :param patience: seconds for which we try one call.
    :param say: called with a sentence when something goes wrong that we can mend.
    :param recorded: whether the shell keeps a record. If there is one of this run, the feedback is written there.
    :param again: whether to wait until it is certain that it did not arrive, and to send it again then. Otherwise we
        look once.
    :raises CrewFeedbackInDoubt: it was sent, now or by an earlier try, and the run does not show whether it arrived.
    :raises CrewChangedFeedback: another feedback to this question was sent, or may have been.
    :raises CrewLedgerError: the record cannot be read or written. Nothing was sent.
    :raises CrewError: it was not sent, or was refused. It stays on record, and a retry sends it.
    """
    record = (yield from load_record()) if recorded else None
    record = record if record and record.kickoff_id == kickoff_id else None
    delivery = _Delivery(feedback, question, kickoff_id, hooks, dialect, patience, say, record, again)
    return (yield from delivery.run())


class Standing(enum.Enum):
    """Whether a run still asks a question, as far as a look shows."""

    OPEN = enum.auto()
    CLOSED = enum.auto()
    UNKNOWN = enum.auto()


def standing(question: Question, run: Run) -> Standing:
    """Return whether a run still asks a question.

    A deployment hides a crew that waits for a human (`NOT FOUND`), and names only the id of a flow that does. Then we
    cannot tell one round from the next.
    """
    if run.state.is_final or run.state in (RunState.PENDING, RunState.RUNNING):
        return Standing.CLOSED
    asked = run.question
    if run.state is not RunState.PAUSED or asked is None or not (_has_own_id(question) and _has_own_id(asked)):
        return Standing.UNKNOWN
    return Standing.OPEN if question.task_id in (asked.task_id, *asked.others) else Standing.CLOSED


def _has_own_id(question: Question) -> bool:
    return question.task_id != question.flow_id


@dataclass(slots=True)
class _Delivery:
    """One feedback on its way."""

    feedback: Feedback
    question: Question
    kickoff_id: str
    hooks: Kickoff
    dialect: flows.Dialect
    patience: float
    say: flows.Say
    record: Record | None
    again: bool

    def run(self) -> flows.Flow[Given]:
        note = Note.of(self.record)
        if note is None or self._is_about_another_question(note):
            if note is not None and not isinstance(note.sent, Fate):
                yield from self._give_up(note)
            return (yield from self._first())
        if note.sent != "no" and note.feedback.text != self.feedback.text:
            raise self._changed(note)
        match note.sent:
            case Fate() as fate:
                return self._given(fate, note.also)
            case "about to":
                self.say(f"{self._it} was about to be sent when an earlier try ended. Looking whether it arrived.")
                if (yield from self._arrived(note.tried_at)):
                    return (yield from self._end(Fate.ARRIVED, note.tried_at))
                return (yield from self._send())
        return (yield from self._first())

    def _is_about_another_question(self, note: Note) -> bool:
        if note.feedback.question != self.feedback.question:
            return True
        # A person was asked again and answered later: in another round of a flow, to which a deployment gives the same
        # name, or because nobody could see whether the first answer arrived. Both times are of one clock.
        asked_again = note.sent == "about to" or not _has_own_id(self.question)
        return asked_again and self.feedback.at > note.feedback.at

    def _give_up(self, note: Note) -> flows.Flow[None]:
        """Say that an earlier feedback may not have been delivered, and wait until it cannot arrive any more."""
        what = "was not sent" if note.sent == "no" else "may not have arrived"
        self.say(f"{_of(note.feedback, self.kickoff_id)} {what}. Now the later one is given.")
        if note.sent == "about to":
            now = (yield flows.Pause(0)).now
            yield flows.Pause(max(0.0, min(note.tried_at, now) + SETTLED - now))

    def _first(self) -> flows.Flow[Given]:
        """Send it for the first time, unless the run no longer asks."""
        yield from self._note("no")
        run = yield from flows.get_status(self.kickoff_id, self.dialect, self.patience)
        if standing(self.question, run) is Standing.CLOSED:
            return (yield from self._end(Fate.TOO_LATE))
        return (yield from self._send())

    def _send(self) -> flows.Flow[Given]:
        until = (yield flows.Pause(0)).now + self.patience
        while True:
            tried_at = (yield flows.Pause(0)).now
            yield from self._note("about to", tried_at)
            try:
                resumed = yield from self._post()
            except CrewError as error:
                if not policy.may_have_arrived(error):
                    return (yield from self._refused(error))
                if (yield from self._arrived(tried_at, error)):
                    return (yield from self._end(Fate.ARRIVED, tried_at))
                yield from self._written("no")
                if (yield flows.Pause(0)).now >= until:
                    raise
                self.say(f"{self._it} did not arrive ({error}). It is sent again.")
            else:
                also = resumed.kickoff_id if resumed.kickoff_id != self.kickoff_id else None
                return replace((yield from self._end(Fate.SENT, tried_at, also)), resumed=resumed)

    def _post(self) -> flows.Flow[Resumed]:
        if self.question.callback_url is None:
            return (yield from flows.post_feedback(self._own_door(), self.patience))
        try:
            request = codec.callback_request(self.question.callback_url, self.feedback.text)
            return (yield from flows.post_feedback(request, self.patience))
        except CrewCallbackRefused as refused:
            if self.question.flow_id is None:
                raise
            self.say(f"{refused} It is sent to the crew's own address.")
            return (yield from flows.post_feedback(self._own_door(), self.patience))

    def _own_door(self) -> Request:
        """Return the request that answers the question at the crew's own address."""
        if self.question.flow_id is not None:
            return codec.feedback_request(self.question.flow_id, self.feedback.text)
        text = self.feedback.text
        return codec.resume_request(
            Resumption(self.kickoff_id, self.question.task_id, text, _verdict(self.feedback), self.hooks)
        )

    def _refused(self, error: CrewError) -> flows.Flow[Given]:
        """Find out whether it was refused because the run no longer asks: somebody else was faster."""
        yield from self._written("no")
        if isinstance(error, CrewApiError) and error.status in NOT_ASKED:
            seen, _ = yield from flows.look(self.kickoff_id, self.dialect)
            stands = standing(self.question, seen) if isinstance(seen, Run) else Standing.UNKNOWN
            if stands is Standing.CLOSED or (stands is Standing.UNKNOWN and error.status in ANSWERED):
                return (yield from self._end(Fate.TOO_LATE))
        raise error

    def _arrived(self, tried_at: float, error: CrewError | None = None) -> flows.Flow[bool]:
        """Return whether a feedback arrived whose answer we do not have.

        :raises CrewFeedbackInDoubt: the run does not show it.
        """
        now = (yield flows.Pause(0)).now
        settled = min(tried_at, now) + SETTLED
        patient = max(settled, now + self.patience)
        while True:
            seen, reply = yield from flows.look(self.kickoff_id, self.dialect)
            stands = standing(self.question, seen) if isinstance(seen, Run) else Standing.UNKNOWN
            if stands is Standing.CLOSED:
                return True
            if not self.again:
                raise self._in_doubt(tried_at, error)
            if (left := (settled if isinstance(seen, Run) else patient) - reply.now) <= 0:
                if stands is Standing.OPEN:
                    return False
                raise self._in_doubt(tried_at, error)
            yield flows.Pause(min(LOOK_AGAIN, left))

    def _note(self, sent: Sent, tried_at: float = 0.0, also: str | None = None) -> flows.Flow[None]:
        """Write down how far the feedback is.

        :raises CrewLedgerError: it cannot be written, and so must not be sent.
        """
        if (error := (yield from self._written(sent, tried_at, also))) is not None:
            raise CrewLedgerError(
                f"{error} Without the record a crash could lead to a second feedback, so nothing was sent to run "
                f"{self.kickoff_id}. A retry tries again."
            )

    def _end(self, fate: Fate, tried_at: float = 0.0, also: str | None = None) -> flows.Flow[Given]:
        if error := (yield from self._written(fate, tried_at, also)):
            self.say(f"{self._it} is {fate.value}, but this could not be recorded ({error}).")
        return self._given(fate, also)

    def _written(self, sent: Sent, tried_at: float = 0.0, also: str | None = None) -> flows.Flow[CrewError | None]:
        if self.record is None:
            return None
        note = Note(self.feedback, self.question.task_id, self.question.flow_id, sent, tried_at, also)
        self.record = replace(self.record, feedback=note.to_json())
        answer = (yield flows.Save(self.record.to_json())).answer
        return answer if isinstance(answer, CrewError) else None

    # -- what a person reads ----------------------------------------------------------------------------

    @property
    def _it(self) -> str:
        return _of(self.feedback, self.kickoff_id)

    def _given(self, fate: Fate, also: str | None = None) -> Given:
        return Given(fate, f"{self._it} {_SAID[fate]}", also)

    def _in_doubt(self, tried_at: float, error: CrewError | None) -> CrewFeedbackInDoubt:
        at = moment(tried_at)
        what = f"was sent at {at}, but its answer was lost ({error})" if error else f"was about to be sent at {at}"
        return CrewFeedbackInDoubt(
            f"{self._it} {what}, and the run does not show whether it arrived. It is not sent again, because it could "
            "answer the next question. Look at the run: if it still asks, answer it there.",
            kickoff_id=self.kickoff_id,
        )

    def _changed(self, note: Note) -> CrewChangedFeedback:
        was = "was sent" if note.sent is Fate.SENT else "may have been sent"
        return CrewChangedFeedback(
            f"Another feedback to the same question of run {self.kickoff_id} {was} at {moment(note.tried_at)}. Nothing "
            "was sent now."
        )


_SAID: dict[Fate, str] = {
    Fate.SENT: "was sent.",
    Fate.ARRIVED: "is no longer waited for: it arrived, or another one did first, or the run ended.",
    Fate.TOO_LATE: "came too late: the run no longer asks this. Somebody answered elsewhere, or the run ended.",
}


def _of(feedback: Feedback, kickoff_id: str) -> str:
    by = f" of {feedback.by}" if feedback.by else ""
    return f"The feedback{by} to run {kickoff_id}"


def _verdict(feedback: Feedback) -> bool | None:
    """Return `isApprove`, which the reference wants and a live crew ignores. None leaves it to the text."""
    if feedback.text == APPROVED:
        return True
    return None if feedback.option is None else False


def _sent(stored: JSON) -> Sent:
    if stored == "no":
        return "no"
    # What cannot be understood may have been sent.
    return Fate(stored) if stored in tuple(Fate) else "about to"


def _text(stored: JSON) -> str | None:
    return None if stored is None else str(stored)


def _number(stored: JSON) -> float:
    return float(stored) if isinstance(stored, int | float) else 0.0
