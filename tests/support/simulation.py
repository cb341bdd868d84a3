"""Thousands of lives of one task: tries that are killed at any step, answers that are lost, retries, clears.

    cd tests && python -m support.simulation --schedules 100000

Each schedule is one task instance with a store that outlives its tries and a remote world of runs that cost
money. Each try begins a run, or takes one up, and as a rule waits for it. After every step of every try the world checks
what must never happen (`World.check_*`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from airflow_provider_crewai.client.begin import Begun, Plan, begin
from airflow_provider_crewai.client.flows import Dialect, Step, wait
from airflow_provider_crewai.client.ledger import Claim, Rules
from airflow_provider_crewai.client.messages import error_of, said
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch
from airflow_provider_crewai.wire.errors import (
    CrewAnswerNotFetched,
    CrewError,
    CrewLedgerError,
    CrewMayHaveStarted,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import JSON, JSONObject, Kickoff, Request, Response
from support.scripted import EPOCH, Answer, Asked, HorizonError, ScriptedShell

KICKOFFS = ("ok", "lost, started", "lost, not started", "502, started", "503, started", "503", "html, started", "refused",
            "503 with a wait", "429", "422", "401")  # fmt: skip
STARTED = frozenset({"ok", "lost, started", "502, started", "503, started", "html, started"})
TURNED_AWAY = frozenset({"refused", "503 with a wait", "429", "401"})
"""After these a kickoff may be sent again in the same try."""
NOT_STARTED = TURNED_AWAY | {"422"}
WAKES = ("ok", "503", "reset", "401", "404", "500")
ASLEEP = frozenset({"503", "reset"})
LOOKS = ("truth", "reset", "502", "401", "html")
STOPS = ("ok", "404", "reset, stopped", "reset, not stopped", "html")
LOADS = ("ok", "error")
SAVES = ("ok", "error, kept", "error, lost")
CALLS = ("none", "at once", "after 30 s", "after 90 s", "twice", "of another try", "forged")
"""How a run calls home that a kickoff has started."""
CHANGES = ("nothing", "cleared", "other inputs", "cleared with other inputs")
"""What may happen to the task before its next try."""
FATES = ("goes on", "SUCCESS", "FAILED", "REVOKED", "waits for a human", "forgotten")
"""What may happen to a run before the next try, or after so many seconds of its life."""
TIMEOUT, UNREACHABLE_TIMEOUT, LONGEST_LOOK = 3600.0, 900.0, 1.0
"""Seconds: how long a try waits, how long it bears a silent API, and what a look takes at most."""

LOST = CrewTransportError("connection lost", sent=True)
ANSWERS: dict[str, Response | CrewError] = {
    "refused": CrewTransportError("connection refused", sent=False),
    "html": Response(200, {}, b"<html>gateway</html>"),
    "503 with a wait": Response(503, {"retry-after": "1"}),
    **{code: Response(int(code), {}, b'{"detail":"no"}') for code in ["401", "404", "422", "429", "500", "502", "503"]},
}


class KilledError(BaseException):
    """The process of a try ended here. No code of ours sees it."""


class BrokenLawError(AssertionError):
    """Something happened that must never happen."""


@dataclass
class RemoteRun:
    """A run that costs money while it is alive.

    :param ends_at: when its fate takes its course, epoch seconds.
    :param recorded: whether our record ever named it; one that it never named is an orphan.
    :param superseded: the try that left it behind because a rule said so.
    """

    kickoff_id: str
    inputs: str
    max_tries: int
    ends_at: float
    fate: str
    word: str = "RUNNING"
    alive: bool = True
    recorded: bool = False
    superseded: int | None = None

    def meet(self, fate: str) -> None:
        """Let its fate take its course."""
        if fate == "forgotten":
            self.alive, self.word = False, "NOT FOUND"
        elif fate == "waits for a human" and self.alive:
            self.word = "NOT FOUND"
        elif fate in ("SUCCESS", "FAILED", "REVOKED") and self.alive:
            self.alive, self.word = False, fate


@dataclass(frozen=True)
class Try:
    """What happens before and during one try.

    :param lasts: seconds after which a run that it starts meets its `fate`.
    :param timeout: seconds after which it stops waiting, and kicks off no more.
    :param killed: the number of the step and whether it still took effect, or None.
    """

    change: str = "nothing"
    fates: tuple[str, ...] = ()
    kickoffs: tuple[str, ...] = ("ok",)
    looks: tuple[str, ...] = ("truth",)
    stops: tuple[str, ...] = ("ok",)
    load: str = "ok"
    saves: tuple[str, ...] = ("ok",)
    calls: tuple[str, ...] = ("none",)
    lasts: float = 10_000.0
    fate: str = "SUCCESS"
    wakes: tuple[str, ...] = ("ok",)
    timeout: float = TIMEOUT
    killed: tuple[int, bool] | None = None


@dataclass(frozen=True)
class Schedule:
    """One task instance from its first try to its last.

    :param listens: whether a run is asked to call home.
    :param waits: whether a try that is not killed waits for its run; else it ends where it would begin to.
    """

    rules: Rules
    tries: tuple[Try, ...]
    stop_replaced: bool = False
    human_input: bool = False
    listens: bool = False
    waits: bool = False


@dataclass
class World:
    """The remote world, the store and the task instance, with the laws that they must obey.

    :param calls: the calls home: when it comes, the kickoff that it is about, and the run that it names.
    :param blind: whether this try may not see the recorded run.
    :param awake: whether the crew has shown in this try that it is awake.
    :param sent: what became of each kickoff of this try.
    :param deadline: when this try stops waiting, epoch seconds.
    """

    rules: Rules
    claim: Claim = field(default_factory=lambda: Claim("A", "https://crew.example", 0, 2))
    runs: dict[str, RemoteRun] = field(default_factory=dict)
    record: JSON = None
    calls: list[tuple[float, float, str]] = field(default_factory=list)
    now: float = EPOCH
    blind: bool = False
    awake: bool = False
    sent: list[str] = field(default_factory=list)
    deadline: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    # -- what the flow meets ------------------------------------------------------------------------

    def start_try(self, plan: Try) -> None:
        """Let happen what happens before a try, and begin it."""
        self.say(f"try: {plan}")
        for run, fate in zip(reversed(self.runs.values()), plan.fates, strict=False):
            run.meet(fate)
        tries = self.claim.try_number + 1
        cleared = plan.change.startswith("cleared")
        inputs = {"A": "B", "B": "A"}[self.claim.fingerprint] if "inputs" in plan.change else self.claim.fingerprint
        most = max(self.claim.max_tries + 1, tries + 2) if cleared else self.claim.max_tries
        self.claim = replace(self.claim, try_number=tries, max_tries=most, fingerprint=inputs)
        self.acts = {
            "wake": iter_for_ever(plan.wakes),
            "kickoff": iter_for_ever(plan.kickoffs),
            "look": iter_for_ever(plan.looks),
            "stop": iter_for_ever(plan.stops),
            "save": iter_for_ever(plan.saves),
            "call": iter_for_ever(plan.calls),
        }
        self.load_act = plan.load
        self.plan = plan
        self.awake, self.sent, self.deadline = False, [], self.now + plan.timeout
        self.refuses = self._must_refuse()

    def load(self) -> JSON:
        """Answer the flow's `Load`."""
        if self.load_act == "error":
            raise CrewLedgerError("the store is out of order")
        return self.record

    def save(self, record: JSONObject | None) -> None:
        """Answer the flow's `Save`."""
        act = next(self.acts["save"])
        self.say(f"save ({act}): {record}")
        self.counts[f"save: {act}"] += 1
        if act != "error, lost":
            self._keep(json.loads(json.dumps(record)))
        if act != "ok":
            raise CrewLedgerError("the store is out of order")

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request."""
        request = asked.request
        for each in self.runs.values():
            if each.ends_at <= asked.at:
                each.meet(each.fate)
        if request.path == "/inputs":
            return Answer(self._wake(), 0.2)
        if request.path == "/kickoff":
            return Answer(self._kick_off(asked), 0.3)
        _, verb, kickoff_id = request.path.split("/")
        run = self.runs[unquote(kickoff_id)]
        return Answer(self._stop(run) if verb == "stop" else self._look(run), 0.1)

    def _wake(self) -> Response | CrewError:
        act = next(self.acts["wake"])
        self.say(f"wake: {act}")
        self.counts[f"wake: {act}"] += 1
        self.awake = act not in ASLEEP and act != "401"
        return {"ok": Response(200, {}, b'{"inputs":[]}'), "reset": LOST}.get(act) or ANSWERS[act]

    def _kick_off(self, asked: Asked) -> Response | CrewError:
        act = next(self.acts["kickoff"])
        self.say(f"kickoff: {act}")
        self.counts[f"kickoff: {act}"] += 1
        self.check_that_a_kickoff_may_be_sent(asked.request)
        self.law(self.awake, "a kickoff is sent to a deployment that may be asleep")
        self.law(asked.at < self.deadline, "a kickoff is sent after the deadline")
        self.law(TURNED_AWAY.issuperset(self.sent), f"a kickoff is sent again after {self.sent}")
        self.sent.append(act)
        if act not in STARTED:
            return LOST if act == "lost, not started" else ANSWERS[act]
        self.counts["runs"] += 1
        ends_at, fate = asked.at + self.plan.lasts, self.plan.fate
        run = RemoteRun(f"run-{len(self.runs) + 1}", self.claim.fingerprint, self.claim.max_tries, ends_at, fate)
        self.runs[run.kickoff_id] = run
        self._will_call(run, asked)
        if act == "ok":
            return Response(200, {}, json.dumps({"kickoff_id": run.kickoff_id}).encode())
        return ANSWERS.get(act.removesuffix(", started"), LOST)

    def _will_call(self, run: RemoteRun, asked: Asked) -> None:
        webhooks = (asked.request.body or {}).get("webhooks")
        if not isinstance(webhooks, dict):
            return
        act = next(self.acts["call"])
        self.counts[f"call home: {act}"] += 1
        self.say(f"calls home: {act}")
        sent = float(str(webhooks["url"]).rpartition("/")[2])
        delays = {"after 30 s": [30.0], "after 90 s": [90.0], "at once": [0.0], "twice": [0.0, 1.0]}.get(act, [])
        self.calls += [(asked.at + delay, sent, run.kickoff_id) for delay in delays]
        if act == "of another try":
            self.calls.append((asked.at, sent - 60.0, run.kickoff_id))
        if act == "forged":
            self.calls.append((asked.at, sent + 0.5, "forged"))

    def heard(self, sent: float, now: float) -> str | None:
        """Return the run that has called home about a kickoff."""
        return next((run for at, about, run in self.calls if at <= now and about == sent), None)

    def _look(self, run: RemoteRun) -> Response | CrewError:
        act = next(self.acts["look"])
        self.counts[f"look: {act}"] += 1
        truth = Response(200, {}, json.dumps({"state": run.word, "status": "said"}).encode())
        return {"truth": truth, "reset": LOST}.get(act) or ANSWERS[act]

    def _stop(self, run: RemoteRun) -> Response | CrewError:
        act = next(self.acts["stop"])
        self.counts[f"stop: {act}"] += 1
        self.say(f"stop {run.kickoff_id}: {act}")
        if act in ("ok", "reset, stopped"):
            run.meet("REVOKED")
        if act == "ok":
            return Response(200, {}, b'{"status":"stopped"}')
        return LOST if act.startswith("reset") else ANSWERS[act]

    def say(self, what: str) -> None:
        """Note what happened, for the one who has to find out why."""
        self.trace.append(f"{self.claim.try_number}: {what}")

    # -- what must never happen ---------------------------------------------------------------------

    def _keep(self, record: JSON) -> None:
        self.record = record
        mine = isinstance(record, dict) and record["try_number"] == self.claim.try_number
        if isinstance(record, dict) and record["kickoff_id"] is not None:
            self._named(record)
        elif mine:
            self._leave_behind()
        if not mine:
            # Nothing was started, so nothing was left behind either.
            for run in self.runs.values():
                run.superseded = None if run.superseded == self.claim.try_number else run.superseded

    def _named(self, record: dict[str, Any]) -> None:
        self.refuses = False
        run = self.runs.get(record["kickoff_id"])
        self.law(run is not None, "the record names a run that does not exist")
        assert run is not None
        run.recorded, run.superseded, run.max_tries = True, None, record["max_tries"]
        self.law(record["fingerprint"] == run.inputs, "the record names a run of other inputs")

    def _leave_behind(self) -> None:
        """Check that a rule allows each run that an intent leaves behind alive."""
        for run in self.unresolved():
            self.law(self.may_be_left(run), f"a second run is started beside {run}, and no rule said so")
            run.superseded = self.claim.try_number

    def may_be_left(self, run: RemoteRun) -> bool:
        """Whether the author's rules, or the user, say that this run may be replaced while it goes on."""
        cleared = run.max_tries < self.claim.max_tries
        if not run.recorded:
            return cleared or self.rules.on_orphaned_kickoff == "rerun"
        changed = run.inputs != self.claim.fingerprint
        return (cleared and self.rules.on_clear == "rerun") or (changed and self.rules.on_changed_inputs == "rerun")

    def unresolved(self) -> list[RemoteRun]:
        """The runs that cost money and that no rule has given up."""
        return [run for run in self.runs.values() if run.alive and run.superseded is None]

    def check_that_a_kickoff_may_be_sent(self, request: Request) -> None:
        """A kickoff is sent only with its intent on record, and only if no rule forbids it."""
        self.law(request.method == "POST" and not request.idempotent, "a kickoff is sent as if it could be repeated")
        self.law(not self.refuses, "a kickoff is sent though an earlier one is unresolved, or the record unreadable")
        intent = self.record
        known = isinstance(intent, dict) and intent["kickoff_id"] is None
        self.law(known, "a kickoff is sent without an intent on record")
        assert isinstance(intent, dict)
        mine = (intent["try_number"], intent["max_tries"], intent["fingerprint"])
        claim = self.claim
        self.law(
            mine == (claim.try_number, claim.max_tries, claim.fingerprint), "the intent on record is another try's"
        )

    def _must_refuse(self) -> bool:
        record = self.record
        if self.load_act == "error" or (record is not None and not isinstance(record, dict)):
            return True
        if record is None or record.get("kickoff_id") is not None:
            return False
        cleared = int(str(record["max_tries"])) < self.claim.max_tries
        return not cleared and self.rules.on_orphaned_kickoff == "fail"

    def check_after_a_try(self) -> None:
        """Every run that costs money is on record, or the record warns that there is one."""
        record = self.record
        if not isinstance(record, dict):
            self.law(record is not None or not self.unresolved(), f"nobody knows any more of {self.unresolved()}")
            return
        if record["kickoff_id"] is None:
            return
        named = str(record["kickoff_id"])
        self.law(named in self.runs, "the record names a run that does not exist")
        others = [run for run in self.unresolved() if run.kickoff_id != named]
        self.law(not others, f"nobody knows any more of {others}")

    def check_outcome(self, outcome: Begun | CrewError, now: float) -> None:
        """What a try says it waits for exists, and what called home in time is not given up."""
        record = self.record
        if isinstance(outcome, CrewMayHaveStarted) and isinstance(record, dict):
            called = self.heard(float(record["at"]), now)
            self.law(called is None, f"run {called} has called home, and is given up")
        if not isinstance(outcome, Begun):
            return
        self.law(outcome.kickoff_id in self.runs, "a try waits for a run that does not exist")
        run = self.runs[outcome.kickoff_id]
        self.law(run.inputs == self.claim.fingerprint, "a try waits for a run of other inputs")
        failed = run.word in ("FAILED", "REVOKED")
        self.law(self.blind or not (outcome.adopted and failed), "a try takes up a run that has failed")

    def check_ending(self, ending: Ending) -> None:
        """What a try says about its run is so, and it says it in time."""
        run, verdict, late = self.runs[ending.kickoff_id], ending.verdict, ending.at - self.deadline
        # A try that took up a run after its deadline still looks once.
        self.law(late <= LONGEST_LOOK or self.sent == [], f"a try went on for {late} s past its deadline")
        words = {Verdict.SUCCEEDED: "SUCCESS", Verdict.FAILED: "FAILED", Verdict.STOPPED: "REVOKED"}
        self.law(words.get(verdict, run.word) == run.word, f"a run that is {run.word} is said to have {verdict}")
        self.law(verdict is not Verdict.LOST or run.word == "NOT FOUND", f"a run that is {run.word} is said to be lost")
        self.law(verdict is not Verdict.TIMED_OUT or late >= 0, "a try gave up before its deadline")
        out_of_sight = verdict in (Verdict.UNREACHABLE, Verdict.AUTH_LOST, Verdict.UNWATCHABLE)
        self.law(self.blind or not out_of_sight, "a try could not see what was there to be seen")
        self._check_what_is_said(ending, run)

    def _check_what_is_said(self, ending: Ending, run: RemoteRun) -> None:
        if ending.verdict is Verdict.SUCCEEDED:
            return
        error = error_of(ending, where="the crew")
        over = "goes on" not in " ".join(said(ending, started_at=None, after="", look=()))
        self.law(over or not ending.is_unread, "a run that was seen to end is said to go on")
        unread = isinstance(error, CrewAnswerNotFetched)
        self.law(not unread or not run.alive, "a run that goes on is said to have been seen to end")

    def law(self, holds: bool, what: str) -> None:
        """Insist."""
        if not holds:
            raise BrokenLawError("\n".join([what, *self.trace]))


def iter_for_ever(acts: Iterable[str]) -> Any:
    """Go through the acts; the last one goes on."""
    acts = tuple(acts)
    return itertools.chain(acts, itertools.repeat(acts[-1]))


class MortalShell(ScriptedShell):
    """A shell whose process may be killed before or after any step takes effect."""

    killed: tuple[int, bool] | None = None

    def carry_out(self, step: Step) -> Any:
        """Carry out one step, and perhaps never return."""
        number = len(self.steps) + 1
        if self.killed == (number, False):
            self.steps.append(step)
            raise KilledError
        reply = super().carry_out(step)
        if self.killed == (number, True):
            raise KilledError
        return reply


def live(schedule: Schedule) -> World:
    """Live through a schedule.

    :raises BrokenLawError: something happened that must never happen; holds the trace.
    """
    world = World(schedule.rules)
    world.counts["schedules"] += 1
    for plan in schedule.tries:
        live_try(world, plan, schedule)
    return world


def live_try(world: World, plan: Try, schedule: Schedule) -> list[Step]:
    """Live through one try; return the steps that it took."""
    world.start_try(plan)
    world.blind = any(look != "truth" for look in plan.looks)
    world.counts["tries"] += 1
    shell = MortalShell(world, itertools.repeat(0.5), store=world, now=world.now)
    shell.killed = plan.killed

    def seal(kickoff: Kickoff, sent: float) -> Kickoff:
        return replace(kickoff, webhooks={"url": f"https://airflow.example/{sent!r}"})

    kickoff = Kickoff({"topic": world.claim.fingerprint})
    todo = Plan(
        kickoff,
        world.claim,
        world.rules,
        stop_replaced=schedule.stop_replaced,
        patience=10.0,
        deadline=world.deadline,
        **({"seal": seal, "listen": lambda sent: world.heard(sent, shell.now)} if schedule.listens else {}),
    )
    try:
        outcome = _begin(shell, todo, world)
        world.check_after_a_try()
        world.check_outcome(outcome, shell.now)
        if schedule.waits and isinstance(outcome, Begun):
            world.check_ending(_wait(shell, outcome, world, human_input=schedule.human_input))
    except KilledError:
        world.counts[f"killed {'after' if plan.killed and plan.killed[1] else 'before'} a {name(shell.steps[-1])}"] += 1
        world.counts["kills"] += 1
        world.check_after_a_try()
        world.now = shell.now + 1
        return shell.steps
    world.check_after_a_try()
    world.now = shell.now + 60
    return shell.steps


def _begin(shell: MortalShell, plan: Plan, world: World) -> Begun | CrewError:
    try:
        outcome: Begun | CrewError = shell.drive(begin(plan, Dialect(), world.say))
    except CrewError as error:
        outcome = error
    world.say(f"outcome: {outcome!r}")
    world.counts[f"outcome: {_kind(outcome)}"] += 1
    return outcome


def _wait(shell: MortalShell, begun: Begun, world: World, *, human_input: bool) -> Ending:
    patience = Patience(deadline=world.deadline, unreachable_timeout=UNREACHABLE_TIMEOUT, human_input=human_input)
    watch = Watch(begun.kickoff_id, patience, started_at=begun.at, seen_alive=True, last=begun.last)
    try:
        ending = shell.drive(wait(watch, Dialect(), lambda _seen, _now: None))
    except HorizonError:
        world.law(holds=False, what="a try never ends")
        raise
    world.say(f"ending: {ending.verdict}")
    world.counts[f"ending: {ending.verdict}"] += 1
    return ending


def name(step: Step) -> str:
    """What a step is called in the summary."""
    if isinstance(step, Request):
        return {"inputs": "wake", "kickoff": "kickoff", "status": "look", "stop": "stop"}[step.path.split("/")[1]]
    return type(step).__name__.lower()


def _kind(outcome: Begun | CrewError) -> str:
    if isinstance(outcome, Begun):
        return "took up a run" if outcome.adopted else "started a run"
    return type(outcome).__name__


# ---- schedules --------------------------------------------------------------------------------------


def any_rules() -> list[Rules]:
    """All that an author can say."""
    return [
        Rules(changed, orphaned, clear)
        for changed in ("rerun", "fail")
        for orphaned in ("fail", "rerun")
        for clear in ("rerun", "reattach")
    ]


def random_schedule(dice: random.Random) -> Schedule:
    """Throw the dice for everything."""
    tries = tuple(_random_try(dice) for _ in range(dice.randint(2, 7)))
    said = {
        "stop_replaced": dice.random() < 0.5,
        "human_input": dice.random() < 0.3,
        "listens": dice.random() < 0.5,
    }
    return Schedule(dice.choice(any_rules()), tries, waits=True, **said)


def _random_try(dice: random.Random) -> Try:
    def some(acts: tuple[str, ...], good: float) -> tuple[str, ...]:
        return tuple(acts[0] if dice.random() < good else dice.choice(acts) for _ in range(3))

    return Try(
        change="nothing" if dice.random() < 0.5 else dice.choice(CHANGES),
        fates=tuple(dice.choice(FATES) if dice.random() < 0.5 else "goes on" for _ in range(4)),
        wakes=some(WAKES, 0.7),
        kickoffs=some(KICKOFFS, 0.4),
        looks=some(LOOKS, 0.7),
        stops=some(STOPS, 0.5),
        load="error" if dice.random() < 0.05 else "ok",
        saves=some(SAVES, 0.9),
        calls=some(CALLS, 0.2),
        lasts=dice.choice((5.0, 120.0, 1800.0, 10_000.0)),
        fate=dice.choice(("SUCCESS", "SUCCESS", "FAILED", "REVOKED", "waits for a human", "forgotten")),
        timeout=dice.choice((TIMEOUT, TIMEOUT, TIMEOUT, 12.0, 2.0)),
        killed=(dice.randint(1, dice.choice((10, 30))), dice.random() < 0.5) if dice.random() < 0.5 else None,
    )


def every_crash(schedule: Schedule, *, at: int) -> Iterable[Schedule]:
    """Yield the schedule with the given try killed before and after each of its steps."""
    world = World(schedule.rules)
    steps: list[Step] = []
    for plan in schedule.tries[: at + 1]:
        steps = live_try(world, replace(plan, killed=None), schedule)
    for number in range(1, len(steps) + 1):
        for took_effect in (False, True):
            tries = list(schedule.tries)
            tries[at] = replace(tries[at], killed=(number, took_effect))
            yield replace(schedule, tries=tuple(tries))


def simulate(schedules: int, seed: int = 0, progress: Callable[[int], None] = lambda _: None) -> Counter[str]:
    """Live through so many random schedules, and count what happened.

    :raises BrokenLawError: with the schedule's own seed and its trace.
    """
    counts: Counter[str] = Counter()
    for number in range(seed, seed + schedules):
        try:
            counts += live(random_schedule(random.Random(number))).counts  # noqa: S311 - dice
        except BrokenLawError as error:
            raise BrokenLawError(f"seed {number}: {error}") from None
        progress(number)
    return counts


def summary(counts: Counter[str]) -> str:
    """Write the counts, one a line."""
    return "\n".join(f"{count:>9}  {what}" for what, count in sorted(counts.items()))


def main() -> None:
    """Run a simulation as long as somebody wants."""
    parser = argparse.ArgumentParser(description="Kill, lose and retry, and check that no run is ever started twice.")
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(summary(simulate(arguments.schedules, arguments.seed)))  # noqa: T201 - a command prints


if __name__ == "__main__":
    main()
