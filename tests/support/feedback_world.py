"""Thousands of lives of one feedback: tries that are killed at any step, answers that are lost, others who are faster.

    cd tests && python -m support.feedback_world --schedules 100000

A run asks one question after the other. A person answers each in Airflow; the task's tries give the feedback until one
is told what became of it. The run is a crew or a flow, on a local server, which says what it asks, or on a deployment,
which does not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_crewai.client.feedback import NO_HOOKS, Fate, Given, Note, give
from airflow_provider_crewai.client.flows import Dialect, Pause, Save, Step
from airflow_provider_crewai.client.ledger import Record
from airflow_provider_crewai.wire.errors import (
    CrewChangedFeedback,
    CrewError,
    CrewFeedbackInDoubt,
    CrewLedgerError,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import JSON, Feedback, JSONObject, Question, Request, Response
from support.scripted import EPOCH, Answer, Asked
from support.simulation import BrokenLawError, KilledError, MortalShell

KINDS = ("crew, served here", "flow, served here", "crew, deployed", "flow, deployed", "flow, called back")
POSTS = ("ok", "lost, arrived", "lost, not arrived", "lost, arrives late", "500, arrived", "502, not arrived",
         "html, arrived", "refused", "503 with a wait", "401", "422", "somebody is faster")  # fmt: skip
ARRIVES = frozenset({"ok", "lost, arrived", "500, arrived", "html, arrived"})
LOOKS = ("truth", "reset", "502", "401", "html")
SAVES = ("ok", "error, kept", "error, lost")
MEANWHILE = ("nothing", "answered elsewhere", "answered elsewhere and asked again", "run stopped")
LATE = 40.0
"""Seconds that a gateway holds a request after its client has given up."""

WORKS = 20.0
"""Seconds that the run works between two questions."""

PATIENCE = 10.0

LOST = CrewTransportError("connection lost", sent=True)
ANSWERS: dict[str, Response | CrewError] = {
    "refused": CrewTransportError("connection refused", sent=False),
    "reset": LOST,
    "lost": LOST,
    "html": Response(200, {}, b"<html>gateway</html>"),
    "503 with a wait": Response(503, {"retry-after": "1"}),
    **{code: Response(int(code), {}, b'{"detail":"no"}') for code in ("401", "404", "409", "422", "500", "502")},
}


_RECORD = Record("same", "https://crew.example", try_number=1, max_tries=9, at=EPOCH, kickoff_id="run-1")


@dataclass(frozen=True)
class Try:
    """What happens before and during one try.

    :param killed: the number of the step and whether it still took effect, or None.
    """

    meanwhile: str = "nothing"
    posts: tuple[str, ...] = ("ok",)
    looks: tuple[str, ...] = ("truth",)
    saves: tuple[str, ...] = ("ok",)
    load: str = "ok"
    killed: tuple[int, bool] | None = None


@dataclass(frozen=True)
class Schedule:
    """One run of a task that asks, and the tries that give the first question's feedback and then the next one's."""

    kind: str
    tries: tuple[Try, ...]


@dataclass
class World:
    """The run, the record and the person, with the laws that they must obey.

    :param asks: the number of the question that the run asks or will ask next; None once it is over.
    :param opens_at: when it asks that, epoch seconds.
    :param came: the feedbacks that arrived, for each question.
    :param said_at: when the person gave the feedback to each question, which a retry keeps.
    :param late: requests that are still on their way: when they arrive, and what they hold.
    """

    kind: str
    asks: int | None = 1
    opens_at: float = EPOCH
    came: dict[int, list[str]] = field(default_factory=dict)
    late: list[tuple[float, str, JSONObject]] = field(default_factory=list)
    record: JSON = field(default_factory=_RECORD.to_json)
    now: float = EPOCH
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    said_at: dict[int, float] = field(default_factory=dict)
    interfered: bool = False

    def question(self, number: int) -> Question:
        """The question as the task learned of it."""
        own, flow = f"ask-{number}", None if self.kind.startswith("crew") else "run-1"
        if self.kind == "flow, deployed":
            return Question("run-1", flow_id=flow)
        url = f"https://app.crewai.com/{own}" if self.kind == "flow, called back" else None
        return Question(own, f"Question {number}?", flow_id=flow, callback_url=url)

    def start_try(self, plan: Try) -> None:
        """Let happen what happens before a try."""
        self.say(f"try: {plan}")
        self.acts = {name: for_ever(getattr(plan, name)) for name in ("posts", "looks", "saves")}
        self.load_act = plan.load
        self._pass(self.now)
        if plan.meanwhile == "run stopped":
            self.asks = None
        elif plan.meanwhile != "nothing" and self.is_open(self.now):
            self._take(self.now, "somebody else's")
            self.interfered = True
            self.now += WORKS + 1 if plan.meanwhile.endswith("again") else 1

    def is_open(self, now: float) -> bool:
        """Whether the run asks at this moment."""
        return self.asks is not None and now >= self.opens_at

    # -- what the flow meets ------------------------------------------------------------------------

    def load(self) -> JSON:
        """Answer the flow's `Load`."""
        if self.load_act == "error":
            raise CrewLedgerError("the store is out of order.")
        return self.record

    def save(self, record: JSONObject | None) -> None:
        """Answer the flow's `Save`."""
        act = next(self.acts["saves"])
        self.say(f"save ({act}): {record and record['feedback']}")
        if act != "error, lost":
            self.record = json.loads(json.dumps(record))
        if act != "ok":
            raise CrewLedgerError("the store is out of order.")

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request."""
        self._pass(asked.at)
        request = asked.request
        if request.method == "GET":
            return Answer(self._look(asked.at), 0.1)
        return Answer(self._post(request, asked.at), 0.3)

    def _look(self, now: float) -> Response | CrewError:
        act = next(self.acts["looks"])
        self.counts[f"look: {act}"] += 1
        truth = Response(200, {}, json.dumps(self._status(now)).encode())
        return truth if act == "truth" else ANSWERS[act]

    def _status(self, now: float) -> JSONObject:
        if not self.is_open(now):
            return {"state": "SUCCESS" if self.asks is None else "RUNNING"}
        if self.kind == "crew, deployed":
            return {"state": "NOT FOUND"}
        flow = None if self.kind.startswith("crew") else "run-1"
        told: JSON = None if "served" not in self.kind else {"task_id": f"ask-{self.asks}", "message": "?"}
        return {"state": "PAUSED", "flow_id": flow, "human_input": told}

    def _post(self, request: Request, now: float) -> Response | CrewError:
        act = next(self.acts["posts"])
        self.say(f"post {request.url or request.path} at {now - EPOCH:g}: {act}")
        self.counts[f"post: {act}"] += 1
        self.law(not request.idempotent, "a feedback is sent as if it could be repeated")
        self.law(Note.of(Record.from_json(self.record)).sent == "about to", "it is sent without a record of that")  # type: ignore[union-attr]  # there is one
        assert request.body is not None
        if act == "somebody is faster" and self.is_open(now):
            self._take(now, "somebody else's")
        if act == "lost, arrives late":
            self.late.append((now + LATE, request.url or request.path, request.body))
            return LOST
        if act in ARRIVES or act == "somebody is faster":
            answer = self._arrive(now, request.url or request.path, request.body)
            return answer if act in ("ok", "somebody is faster") else ANSWERS[act.partition(",")[0]]
        return ANSWERS[act.partition(",")[0]]

    def _pass(self, now: float) -> None:
        for each in [each for each in self.late if each[0] <= now]:
            self.late.remove(each)
            self._arrive(*each)

    def _arrive(self, now: float, door: str, body: JSONObject) -> Response | CrewError:
        """Let a feedback arrive at the crew, whether or not its own answer does."""
        text = str(body.get("humanFeedback", body.get("feedback")))
        for_which = str(body.get("taskId") or door.rpartition("/")[2])
        live = self.kind == "crew, deployed"
        taken = self.is_open(now) and for_which in (f"ask-{self.asks}", "resume_feedback")
        if taken or live:
            self.came.setdefault(self.asks or 0, []).append(text) if taken else None
            self.law(text == f"feedback {self.asks}" or not taken or self._is_excused(), f"{text} answers {self.asks}")
        if taken:
            self._take(now, text, noted=True)
        if taken or live:
            return Response(200, {}, json.dumps({"kickoff_id": "run-2"}).encode())
        return ANSWERS["409"]

    def _is_excused(self) -> bool:
        # The door of a flow takes its id, which is the same in each round: it cannot refuse what was for an earlier one.
        return self.kind in ("flow, deployed", "flow, served here") and self.interfered

    def _take(self, now: float, text: str, *, noted: bool = False) -> None:
        assert self.asks is not None
        if not noted:
            self.came.setdefault(self.asks, []).append(text)
        self.say(f"question {self.asks} is answered at {now - EPOCH:g}: {text}")
        self.law(self.came[self.asks].count(f"feedback {self.asks}") <= 1, "a feedback arrived twice")
        self.asks, self.opens_at = (self.asks + 1 if self.asks < LAST else None), now + WORKS

    def say(self, what: str) -> None:
        """Note what happened, for the one who has to find out why."""
        self.trace.append(f"{self.now - EPOCH:g}: {what}")

    # -- what must never happen ---------------------------------------------------------------------

    def check(self, number: int, outcome: Given | CrewError, now: float) -> None:
        """What a try says about the feedback to a question is so, and a feedback that did not arrive is on record."""
        self._pass(now)
        self.say(f"outcome: {outcome!r}")
        mine = f"feedback {number}" in self.came.get(number, [])
        closed = self.asks is None or self.asks > number
        note = Note.of(Record.from_json(self.record))
        on_its_way = any(f"feedback {number}" in json.dumps(body) for _, _, body in self.late)
        match outcome:
            case Given(fate=Fate.TOO_LATE):
                self.law(closed and not mine, "it is said to be too late, but it is not")
            case Given(fate=Fate.ARRIVED):
                self.law(closed, "it is said to have arrived, but the run still asks")
            case Given():
                self.law(
                    mine or self._is_excused() or self.kind == "crew, deployed", "it is said to be sent, but is not"
                )
            case CrewFeedbackInDoubt():
                self.law("served" not in self.kind or self.blind, "it could be seen whether it arrived")
                self._check_that_it_is_kept(note, number)
            case CrewChangedFeedback():
                self.law(holds=False, what="nobody changed the feedback")
            case _ if self.load_act == "error":
                pass  # it says nothing of what an earlier try may have sent
            case _:
                self.law(not mine and not on_its_way, f"it arrived, but the error says that it did not: {outcome}")
                self._check_that_it_is_kept(note, number)

    def _check_that_it_is_kept(self, note: Note | None, number: int) -> None:
        kept = note is not None and note.feedback.text == f"feedback {number}" and note.sent in ("no", "about to")
        self.law(kept or self.forgetful, "the feedback is neither delivered nor on record")

    def law(self, holds: bool, what: str) -> None:
        """Insist."""
        if not holds:
            raise BrokenLawError("\n".join([self.kind, what, *self.trace]))

    blind = forgetful = False
    """Whether this try's looks may fail, and its store."""


LAST = 3
"""How many questions the run asks."""


def for_ever(acts: Iterable[str]) -> Any:
    """Go through the acts; the last one goes on."""
    acts = tuple(acts)
    return itertools.chain(acts, itertools.repeat(acts[-1]))


def live(schedule: Schedule) -> World:
    """Live through a schedule.

    :raises BrokenLawError: something happened that must never happen; holds the trace.
    """
    world = World(schedule.kind)
    world.counts["schedules"] += 1
    number = 1
    for plan in schedule.tries:
        _, settled = live_try(world, plan, number)
        if settled:
            number += 1
            world.now = max(world.now, world.opens_at)
        if number > LAST or (settled and world.asks is None):
            break
    return world


def live_try(world: World, plan: Try, number: int) -> tuple[list[Step], bool]:
    """Live through one try. Return its steps, and whether the feedback to this question needs no other try."""
    world.start_try(plan)
    world.blind = any(look != "truth" for look in plan.looks)
    world.forgetful = plan.load != "ok" or any(save != "ok" for save in plan.saves)
    shell = MortalShell(world, itertools.repeat(0.5), store=world, now=world.now)
    shell.killed = plan.killed
    question = world.question(number)
    said = Feedback(question.key, f"feedback {number}", by="ada", at=world.said_at.setdefault(number, world.now))
    try:
        flow = give(said, question, "run-1", NO_HOOKS, Dialect(), PATIENCE, world.say)
        outcome: Given | CrewError = shell.drive(flow)
    except KilledError:
        world.counts[
            f"killed {'after' if shell.killed and shell.killed[1] else 'before'} a {name(shell.steps[-1])}"
        ] += 1
        world.now = shell.now + 1
        return shell.steps, False
    except CrewError as error:
        outcome = error
    world.counts[f"outcome: {outcome.fate if isinstance(outcome, Given) else type(outcome).__name__}"] += 1
    world.check(number, outcome, shell.now)
    world.now = shell.now + 1
    return shell.steps, isinstance(outcome, Given)


def name(step: Step) -> str:
    """What a step is called in the summary."""
    if isinstance(step, Request):
        return "look" if step.method == "GET" else "post"
    if isinstance(step, Save) and step.record:
        return f"save of {step.record['feedback']['sent']!r}"  # type: ignore[index,call-overload]  # ours
    return "pause" if isinstance(step, Pause) else type(step).__name__.lower()


def random_schedule(dice: random.Random) -> Schedule:
    """Throw the dice for everything."""
    return Schedule(dice.choice(KINDS), tuple(_random_try(dice) for _ in range(dice.randint(2, 7))))


def _random_try(dice: random.Random) -> Try:
    def some(acts: tuple[str, ...], good: float) -> tuple[str, ...]:
        return tuple(acts[0] if dice.random() < good else dice.choice(acts) for _ in range(3))

    return Try(
        meanwhile="nothing" if dice.random() < 0.8 else dice.choice(MEANWHILE),
        posts=some(POSTS, 0.3),
        looks=some(LOOKS, 0.8),
        saves=some(SAVES, 0.9),
        load="error" if dice.random() < 0.05 else "ok",
        killed=(dice.randint(1, dice.choice((10, 25))), dice.random() < 0.5) if dice.random() < 0.5 else None,
    )


def every_crash(schedule: Schedule) -> Iterable[Schedule]:
    """Yield the schedule with its first try killed before and after each of its steps."""
    first, *others = schedule.tries
    steps, _ = live_try(World(schedule.kind), first, 1)
    for number in range(1, len(steps) + 1):
        for took_effect in (False, True):
            yield replace(schedule, tries=(replace(first, killed=(number, took_effect)), *others))


def simulate(schedules: int, seed: int = 0) -> Counter[str]:
    """Live through so many random schedules, and count what happened.

    :raises BrokenLawError: with the schedule's own seed and its trace.
    """
    counts: Counter[str] = Counter()
    for number in range(seed, seed + schedules):
        try:
            counts += live(random_schedule(random.Random(number))).counts  # noqa: S311 - dice
        except BrokenLawError as error:
            raise BrokenLawError(f"seed {number}: {error}") from None
    return counts


def main() -> None:
    """Run a simulation as long as somebody wants."""
    parser = argparse.ArgumentParser(description="Kill, lose and retry, and check that no feedback arrives twice.")
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts = simulate(arguments.schedules, arguments.seed)
    print("\n".join(f"{count:>9}  {what}" for what, count in sorted(counts.items())))  # noqa: T201 - a command prints


if __name__ == "__main__":
    main()
