"""Lives of one batch: waves that are killed at any step, answers that are lost, retries, clears, changed lists.

    cd tests && python -m support.batch_world --lives 10000

A life is one task instance whose batch is tried several times, with a store and pages that outlive its tries and a
deployment of runs that cost money. A try is driven as the operator drives it: a wave; then time passes until the worker
wakes for what has ended; until nothing runs and nothing waits. After each step the world checks what must never happen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from airflow_provider_crewai.client.batch_pace import Pace
from airflow_provider_crewai.client.batch_record import (
    PAGE_SIZE,
    BatchRecord,
    ItemState,
    Outcome,
    list_fingerprint,
    named,
    outcomes_on,
)
from airflow_provider_crewai.client.batch_results import results_of
from airflow_provider_crewai.client.batch_waits import until_news
from airflow_provider_crewai.client.batch_wave import (
    SLOWEST,
    BatchPlan,
    Wave,
    begin_batch,
    load_batch,
    load_outcomes,
    wave,
)
from airflow_provider_crewai.client.flows import Dialect, Load, Save, Step
from airflow_provider_crewai.client.ledger import Claim, Rules
from airflow_provider_crewai.client.watch import GRACE, Patience, Watch
from airflow_provider_crewai.wire.errors import (
    CrewAnswerTooLarge,
    CrewError,
    CrewLedgerError,
    CrewMayHaveStarted,
    CrewQuotaError,
    CrewRateLimited,
    CrewServerError,
    CrewTaskKilled,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import JSON, JSONObject, Kickoff, Response, Run
from support.scripted import EPOCH, Answer, Asked, Records
from support.simulation import (
    ANSWERS,
    ASLEEP,
    LOST,
    STARTED,
    BrokenLawError,
    KilledError,
    MortalShell,
    RemoteRun,
    name,
    summary,
)

Odds = Mapping[str, float]
"""How often each act comes, by its weight."""

SIZE = 50
UNREACHABLE_TIMEOUT = 900.0
PATIENCE = 20.0
POLL_INTERVAL = 2.0
TOKENS = (0, 100, 100_000, -5, 10**14)
"""What runs say that they took; nobody checks it."""

LIMITS: dict[str, Response] = {
    "429 for a minute": Response(429, {"retry-after": "60"}, b'{"detail":"slower"}'),
    "402": Response(402, {}, b'{"detail":"the monthly quota of executions is used up"}'),
}
TROUBLE = STARTED - {"ok"} | {"lost, not started", "503", "503 with a wait", "refused"}
"""After these the deployment may be in trouble."""
REFUSALS = frozenset({"422"})
"""After these the item has no answer."""


@dataclass(frozen=True)
class Weather:
    """What the deployment and the store do in one try.

    :param first: what becomes of the first kickoffs.
    :param silent: from and until how many seconds after the try's begin the deployment does not answer.
    """

    wakes: Odds = field(default_factory=lambda: {"ok": 1})
    kickoffs: Odds = field(default_factory=lambda: {"ok": 1})
    looks: Odds = field(default_factory=lambda: {"truth": 1})
    stops: Odds = field(default_factory=lambda: {"ok": 1})
    saves: Odds = field(default_factory=lambda: {"ok": 1})
    first: tuple[str, ...] = ()
    silent: tuple[float, float] = (0.0, 0.0)


CALM = Weather()
ROUGH = Weather(
    {"ok": 8, "503": 1, "reset": 1, "404": 1, "500": 1},
    {"ok": 60, "lost, started": 2, "lost, not started": 1, "502, started": 1, "503": 1, "html, started": 1, "422": 2,
     "429": 2, "refused": 2, "503 with a wait": 2, "401": 1},
    {"truth": 20, "reset": 1, "502": 1, "401": 1, "html": 1},
    {"ok": 5, "404": 1, "reset, stopped": 1, "reset, not stopped": 1, "html": 1},
    {"ok": 200, "error, kept": 1, "error, lost": 1},
)  # fmt: skip
LIMITED = Weather(kickoffs={"ok": 10, "429": 4, "429 for a minute": 4, "402": 1})
REFUSING = Weather(kickoffs={"ok": 3, "422": 1})
FORGETFUL = Weather(saves={"ok": 20, "error, kept": 1, "error, lost": 1})
LOSING = Weather(kickoffs={"ok": 4, "lost, started": 1, "lost, not started": 1})
WEATHERS = (CALM, CALM, ROUGH, ROUGH, LIMITED, REFUSING, FORGETFUL, LOSING)

CHANGES = (
    "nothing",
    "resumed",
    "cleared",
    "another list",
    "cleared with another list",
    "the same try",
    "another Dag run",
)
"""What may happen to the task before its next try."""
FATES = ("SUCCESS", "FAILED", "REVOKED", "forgotten", "misfit", "too large")
"""How a run may end."""


@dataclass(frozen=True)
class Try:
    """What happens before and during one try.

    :param seed: of the dice for all that the deployment and the store do.
    :param lasts: seconds that a run takes on average.
    :param fates: how runs end.
    :param timeout: seconds after which it stops waiting, and kicks off no more.
    :param killed: the number of the step and whether it still took effect, or None.
    :param forgets: whether the deployment forgets the runs that have ended, before the try.
    :param blinded: the number of the wave in which the trigger found the deployment out of reach, or None.
    :param unwanted: the number of the question whether the task is still wanted that is answered by no, or None.
    """

    seed: int = 0
    change: str = "nothing"
    weather: Weather = CALM
    lasts: float = 600.0
    fates: Odds = field(default_factory=lambda: {"SUCCESS": 1})
    timeout: float = 86_400.0
    killed: tuple[int, bool] | None = None
    forgets: bool = False
    blinded: int | None = None
    unwanted: int | None = None


@dataclass(frozen=True)
class Life:
    """One batch from its first try to its last.

    :param items: the topics of the first list.
    :param resumes: whether the worker loads the record again before each wave, as after a deferral.
    :param in_worker: whether it waits itself, instead of a trigger.
    """

    rules: Rules
    tries: tuple[Try, ...]
    items: tuple[str, ...] = tuple(f"topic {number}" for number in range(SIZE))
    slots: int = 8
    bearable: int | None = None
    stop_replaced: bool = False
    resumes: bool = True
    in_worker: bool = False


@dataclass
class ItemRun(RemoteRun):
    """A run of an item, whose name is `inputs`.

    :param answered: whether its kickoff was answered with its id.
    :param started: the number of the life's try that started it.
    :param read: whether its end is on a page that counts.
    :param ending: how it ended, also once it is forgotten; or None.
    """

    answered: bool = False
    started: int = 0
    read: bool = False
    ending: str | None = None

    @property
    def answer(self) -> str:
        """What its crew writes."""
        return f"{'misfit' if self.fate == 'misfit' else 'answer'} of {self.kickoff_id}"

    @property
    def is_over_badly(self) -> bool:
        """Whether it ended without an answer, so that another run may take its place."""
        return self.ending in ("FAILED", "REVOKED")

    def meet(self, fate: str) -> None:
        """Let its fate take its course."""
        self.ending = fate if self.alive else self.ending
        super().meet(fate)

    def ends(self) -> None:
        """Let its fate take its course."""
        self.meet("SUCCESS" if self.fate in ("misfit", "too large") else self.fate)


@dataclass
class Page:
    """The store of one page."""

    world: BatchWorld
    number: str

    def load(self) -> JSON:
        """Answer the flow's `Load`."""
        return self.world.pages.get(self.number)

    def save(self, page: JSONObject | None) -> None:
        """Answer the flow's `Save`."""
        self.world.save_page(int(self.number), page)


@dataclass
class BatchWorld:
    """The deployment, the store and the task instance, with the laws that they must obey.

    :param pending: the runs whose ends nobody has read, and that no rule has given up.
    :param known: the claim of the try that last wrote the record.
    :param kept: how items ended, by the pages that count.
    :param outcomes: all that is on those pages.
    :param awake: whether the crew has shown in this wave that it is awake.
    :param not_before: the epoch second until which the deployment asked for patience.
    :param refused: the items that the deployment has refused in this wave.
    :param told: what was said in this try.
    :param trouble_since: since when no kickoff came through, and none was answered.
    :param behind: how many seconds the clocks of this try's workers are behind.
    :param largest: the bytes of the largest record.
    """

    life: Life
    claim: Claim = field(default_factory=lambda: Claim("", "https://crew.example", 0, 2, dag_run="2026-01-01"))
    topics: tuple[str, ...] = ()
    runs: dict[str, ItemRun] = field(default_factory=dict)
    by_item: dict[str, list[ItemRun]] = field(default_factory=lambda: defaultdict(list))
    pending: dict[str, ItemRun] = field(default_factory=dict)
    record: JSON = None
    pages: dict[str, JSON] = field(default_factory=dict)
    kept: dict[str, Outcome] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    first_page: int = 0
    counted: int = 0
    now: float = EPOCH
    begun: float = EPOCH
    tried: int = 0
    awake: bool = False
    not_before: float = 0.0
    refused: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    trouble_since: float = float("inf")
    behind: float = 0.0
    largest: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topics = self.life.items
        self.known = self.claim

    # -- the task instance --------------------------------------------------------------------------

    def start_try(self, plan: Try) -> None:
        """Let happen what happens before a try, and begin it."""
        self.plan, self.dice = plan, random.Random(plan.seed)  # noqa: S311 - dice
        self.script = iter(plan.weather.first)
        self.tried += 1
        self.say(f"try: {plan}")
        self.end_what_is_due(self.now)
        for run in self.runs.values():
            if plan.forgets and not run.alive:
                run.meet("forgotten")
        self._change(plan.change)
        self.begun, self.trouble_since, self.behind = self.now, float("inf"), 0.0
        self.deadline = self.now + plan.timeout
        self.not_before, self.refused, self.stops, self.told = 0.0, set(), set(), []
        self.counts[f"change: {plan.change}"] += 1

    def _change(self, change: str) -> None:
        if "list" in change:
            self.topics = another_list(self.topics, self.dice)
        self.names = named(f"{topic:>16}" for topic in self.topics)
        same = change in ("the same try", "resumed")
        tries, most = self.claim.try_number + (not same), self.claim.max_tries
        dag_run = self.claim.dag_run
        if change == "another Dag run":
            tries, dag_run = 1, f"another {self.tried}"
        if "cleared" in change:
            most = max(most + 1, tries + 2)
        self.claim = replace(
            self.claim, fingerprint=list_fingerprint(self.names), try_number=tries, max_tries=most, dag_run=dag_run
        )

    @property
    def kickoffs(self) -> list[Kickoff]:
        """One for each item, which it names."""
        return [
            Kickoff({"topic": topic}, meta={"item": item}) for topic, item in zip(self.topics, self.names, strict=True)
        ]

    def confirm(self) -> None:
        """Say whether the task is still wanted."""
        self.counts["asked whether it is wanted"] += 1
        if self.plan.unwanted is None:
            return
        self.plan = replace(self.plan, unwanted=self.plan.unwanted - 1)
        if self.plan.unwanted == 0:
            raise CrewTaskKilled("the task was ended")

    # -- the store ----------------------------------------------------------------------------------

    def load(self) -> JSON:
        """Answer the flow's `Load`."""
        return self.record

    def save(self, record: JSONObject | None) -> None:
        """Answer the flow's `Save`."""
        self._store(record, self._keep)

    def beside(self, page: str) -> Page:
        """Return the store of a page."""
        return Page(self, page)

    def save_page(self, number: int, page: JSONObject | None) -> None:
        """Answer the `Save` of a page."""
        self.law(number >= self.counted, f"page {number} is written though the record counts it")
        self.counts["pages"] += 1

        def keep(kept: JSON) -> None:
            self.pages[str(number)] = kept
            outcomes = outcomes_on(kept)
            small = len(json.dumps(kept)) < PAGE_SIZE * 1.1 or len(outcomes) == 1
            self.law(small, f"page {number} is large")
            for outcome in outcomes:
                self._check_truth(outcome)

        self._store(page, keep)

    def _store(self, value: JSONObject | None, keep: Callable[[JSON], None]) -> None:
        act = self._throw(self.plan.weather.saves)
        self.counts[f"save: {act}"] += 1
        if act != "error, lost":
            try:
                keep(json.loads(json.dumps(value, allow_nan=False)))
            except (CrewError, ValueError) as error:
                self.law(holds=False, what=f"what is written cannot be read: {error}")
        if act != "ok":
            raise CrewLedgerError("the store is out of order.")

    def _keep(self, stored: JSON) -> None:
        self.record = stored
        record = BatchRecord.from_json(stored)
        self._check_size(stored, record)
        self._count_pages(record)
        running = {run.kickoff_id for run in record.open.values() if run.kickoff_id is not None}
        for kickoff_id in running:
            self._named(kickoff_id, record)
        unnamed = {run.item for run in record.open.values() if run.kickoff_id is None}
        for run in list(self.pending.values()):
            if not (run.kickoff_id in running or (run.inputs in unnamed and not run.recorded)):
                self._leave_behind(run)
        self.known = self.claim

    def _named(self, kickoff_id: str, record: BatchRecord) -> None:
        run = self.runs.get(kickoff_id)
        self.law(run is not None, f"the record names a run that does not exist: {kickoff_id}")
        assert run is not None
        self.law(run.superseded is None, f"the record names a run again that was given up: {run}")
        run.recorded, run.max_tries = True, record.task.max_tries

    def _count_pages(self, record: BatchRecord) -> None:
        if record.first_page != self.first_page:
            self.law(self._is_anew(), "answers were forgotten, and no rule said so")
            self.first_page = self.counted = record.first_page
            self.kept, self.outcomes = {}, []
            for run in self.runs.values():
                run.superseded = self.tried if run.read else run.superseded
        for number in range(self.counted, record.pages):
            for outcome in outcomes_on(self.pages.get(str(number))):
                self._read(outcome)
                self.kept[outcome.item] = outcome
                if outcome.kickoff_id is not None:
                    self.runs[outcome.kickoff_id].read = True
                    self.pending.pop(outcome.kickoff_id, None)
        self.counted = record.pages
        read = {kept.kickoff_id for kept in self.outcomes} - {None}
        self.law(record.timed == len(read), f"{len(read)} runs have ended, and {record.timed} are counted")
        if record.task.try_number == self.claim.try_number and record.task.fingerprint == self.claim.fingerprint:
            self.law(len(record.states) == len(self.names), "the record has not a letter for each item")
            for item, letter in zip(self.names, record.states, strict=True):
                told = letter in ".ol" or (item in self.kept and self.kept[item].state == letter)
                self.law(told, f"the record says {letter} of {item.strip()}, and no page does")

    def _read(self, outcome: Outcome) -> None:
        earlier = [
            each.seconds for each in self.outcomes if outcome.kickoff_id and each.kickoff_id == outcome.kickoff_id
        ]
        self.counts["ends that were read again"] += len(earlier)
        self.law(not earlier or earlier[-1] == outcome.seconds, f"an end that was read before came later: {outcome}")
        self.outcomes.append(outcome)

    def _check_size(self, stored: JSON, record: BatchRecord) -> None:
        size = len(json.dumps(stored))
        self.largest = max(self.largest, size)
        # One that is over may be taken up beyond the slots: a lost one, or one whose answer is read again.
        runs = [self.runs[run.kickoff_id] if run.kickoff_id else None for run in record.open.values() if not run.left]
        at_work = sum(run is None or run.alive for run in runs)
        self.law(at_work <= self.life.slots, f"the record has {at_work} runs at work")
        self.law(size <= 2000 + len(record.states) + 200 * len(record.open), f"the record has {size} bytes")

    # -- the deployment -----------------------------------------------------------------------------

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request."""
        self.end_what_is_due(asked.at)
        since, until = self.plan.weather.silent
        silent = since <= asked.at - self.begun < until
        request = asked.request
        if request.path == "/inputs":
            answer = LOST if silent else self._wake()
            self._note_trouble(not self.awake or silent, asked.at, proves=False)
            return Answer(answer, 0.2)
        if request.path == "/kickoff":
            return Answer(self._kick_off(asked, silent=silent), 0.3)
        _, verb, kickoff_id = request.path.split("/")
        run = self.runs[unquote(kickoff_id)]
        if silent:
            return Answer(LOST, 0.1)
        return Answer(self._stop(run) if verb == "stop" else self._look(run), 0.1)

    def end_what_is_due(self, now: float) -> None:
        """Let the runs meet their fates whose time has come."""
        for run in self.runs.values():
            if run.alive and run.ends_at <= now:
                run.ends()

    def _wake(self) -> Response | CrewError:
        act = self._throw(self.plan.weather.wakes)
        self.counts[f"wake: {act}"] += 1
        self.awake = act not in ASLEEP
        return {"ok": Response(200, {}, b'{"inputs":[]}'), "reset": LOST}.get(act) or ANSWERS[act]

    def _kick_off(self, asked: Asked, *, silent: bool) -> Response | CrewError:
        act = "lost, not started" if silent else next(self.script, None) or self._throw(self.plan.weather.kickoffs)
        body = json.loads(json.dumps(asked.request.body))
        item = body["meta"]["item"]
        self.say(f"{asked.at - EPOCH:.1f} kickoff of {item.strip()}: {act}")
        self.counts[f"kickoff: {act}"] += 1
        self._note_trouble(act in TROUBLE, asked.at)
        self.check_that_a_kickoff_may_be_sent(asked, item)
        if act in LIMITS:
            answer = LIMITS[act]
            self.not_before = asked.at + min(float(answer.headers.get("retry-after", "0")), SLOWEST)
            return answer
        if act in REFUSALS:
            self.refused.add(item)
        if act not in STARTED:
            return LOST if act == "lost, not started" else ANSWERS[act]
        run = self._start(item, asked.at, answered=act == "ok")
        if act == "ok":
            return Response(200, {}, json.dumps({"kickoff_id": run.kickoff_id}).encode())
        return ANSWERS.get(act.removesuffix(", started"), LOST)

    def _note_trouble(self, trouble: bool, at: float, *, proves: bool = True) -> None:
        """Note since when nothing came through."""
        if trouble:
            self.trouble_since = min(self.trouble_since, at)
        elif proves:
            self.trouble_since = float("inf")

    def _start(self, item: str, at: float, *, answered: bool) -> ItemRun:
        self.counts["runs"] += 1
        ends_at, fate = at + self.dice.uniform(0.2, 1.8) * self.plan.lasts, self._throw(self.plan.fates)
        number = f"run-{len(self.runs) + 1}"
        run = ItemRun(number, item, self.claim.max_tries, ends_at, fate, answered=answered, started=self.tried)
        self.runs[number] = self.pending[number] = run
        self.by_item[item].append(run)
        return run

    def _look(self, run: ItemRun) -> Response | CrewError:
        act = self._throw(self.plan.weather.looks)
        self.counts[f"look: {act}"] += 1
        if act != "truth":
            return LOST if act == "reset" else ANSWERS[act]
        if run.fate == "too large" and run.word == "SUCCESS":
            return CrewAnswerTooLarge("too large")
        body: JSONObject = {
            "state": run.word,
            "status": "said",
            "usage_metrics": {"total_tokens": self.dice.choice(TOKENS)},
        }
        return Response(200, {}, json.dumps(body | ({"result": run.answer} if run.word == "SUCCESS" else {})).encode())

    def _stop(self, run: ItemRun) -> Response | CrewError:
        act = self._throw(self.plan.weather.stops)
        self.counts[f"stop: {act}"] += 1
        self.stops.add(run.kickoff_id)
        self.say(f"stop {run.kickoff_id}: {act}")
        if act in ("ok", "reset, stopped"):
            run.meet("REVOKED")
        if act == "ok":
            return Response(200, {}, b'{"status":"stopped"}')
        return LOST if act.startswith("reset") else ANSWERS[act]

    def _throw(self, odds: Odds) -> str:
        return self.dice.choices(tuple(odds), tuple(odds.values()))[0]

    def say(self, what: str) -> None:
        """Note what happened, for the one who has to find out why."""
        self.trace.append(f"{self.tried}: {what}")

    def tell(self, what: str) -> None:
        """Note what the flow says to a person."""
        self.told.append(what)
        self.say(f"said: {what}")

    # -- what must never happen ---------------------------------------------------------------------

    def check_that_a_kickoff_may_be_sent(self, asked: Asked, item: str) -> None:
        """A kickoff is sent only with its intent on record, in time, into a free slot, and for an item without a run."""
        self.law(not asked.request.idempotent, "a kickoff is sent as if it could be repeated")
        self.law(self.awake, "a kickoff is sent to a deployment that may be asleep")
        self.law(asked.at < self.deadline, "a kickoff is sent after the deadline")
        record = BatchRecord.from_json(self.record)
        self._check_intent(record, item)
        slow = record.slow
        self.law(slow is None or asked.at >= slow.until, "a kickoff is sent while they are slowed down")
        self.law(asked.at + self.behind >= self.not_before, "a kickoff is sent before the deployment wants one")
        alive = (run for run in self.pending.values() if run.alive and run.recorded)
        at_work = [run for run in alive if not self._is_left(record, run)]
        self.law(len(at_work) < self.life.slots, f"a kickoff is sent while {len(at_work)} runs are at work")
        bearable = self.life.bearable
        refused = {index for index, other in enumerate(self.names) if other in self.refused}
        failures = len({index for index, each in enumerate(record.states) if ItemState(each).is_failure} | refused)
        self.law(bearable is None or failures <= bearable, f"a kickoff is sent after {failures} failures")
        self._check_that_no_other_run_is_wanted(item)

    def _check_intent(self, record: BatchRecord, item: str) -> None:
        mine = (record.task.try_number, record.task.max_tries, record.task.fingerprint)
        claim = (self.claim.try_number, self.claim.max_tries, self.claim.fingerprint)
        self.law(mine == claim, "the record is another try's")
        intent = record.open.get(self.names.index(item))
        known = intent is not None and intent.kickoff_id is None and intent.left is None and intent.item == item
        self.law(known, "a kickoff is sent without an intent on record")

    def _is_left(self, record: BatchRecord, run: ItemRun) -> bool:
        return any(each.kickoff_id == run.kickoff_id and each.left is not None for each in record.open.values())

    def _check_that_no_other_run_is_wanted(self, item: str) -> None:
        for run in self.by_item[item]:
            misfit = run.fate == "misfit" and run.read and self.life.rules.on_output_mismatch == "rerun"
            over = run.superseded is not None or run.is_over_badly or misfit
            self.law(over, f"item {item.strip()} is started again beside {run}, and no rule said so")
        earlier = self.kept.get(item)
        again = earlier is None or earlier.state is not ItemState.SUCCEEDED
        self.law(again, f"item {item.strip()} is started again though its answer is kept")

    def _leave_behind(self, run: ItemRun) -> None:
        """Check that a rule allows the record to forget a run whose end nobody has read."""
        self.law(self.may_be_left(run), f"the record forgets {run}, and no rule said so")
        self.counts["runs given up by a rule"] += 1
        told = any(run.kickoff_id in said if run.recorded else "was not answered" in said for said in self.told)
        self.law(told, f"nobody is told that {run} is given up")
        run.superseded = self.tried
        del self.pending[run.kickoff_id]

    def may_be_left(self, run: ItemRun) -> bool:
        """Whether the author's rules, or the user, say that this run may be forgotten."""
        rules = self.life.rules
        cleared = run.max_tries < self.claim.max_tries
        dropped = run.inputs not in self.names and (rules.on_changed_inputs == "rerun" or not run.alive)
        if not run.recorded:
            return cleared or dropped or rules.on_orphaned_kickoff == "rerun" or self._is_of_another_dag_run()
        return dropped or self._is_anew()

    def _is_anew(self) -> bool:
        cleared = self.known.max_tries < self.claim.max_tries and self.life.rules.on_clear == "rerun"
        return cleared or self._is_of_another_dag_run()

    def _is_of_another_dag_run(self) -> bool:
        return self.known.dag_run != self.claim.dag_run

    def _check_truth(self, outcome: Outcome) -> None:
        """What a page says of an item is so."""
        self.counts[f"outcome: {outcome.state.name.lower()}"] += 1
        if outcome.among == self.claim.fingerprint:
            self.law(self.names[outcome.index] == outcome.item, f"an outcome is in another item's place: {outcome}")
        if outcome.state is ItemState.REFUSED:
            self.law(outcome.item in self.refused, f"an item was not refused: {outcome}")
            return
        run = self.runs[str(outcome.kickoff_id)]
        self.law(outcome.seconds is not None and outcome.seconds >= 0, f"a run took less than no time: {outcome}")
        self.law(run.inputs == outcome.item, f"an outcome is of another item: {outcome}")
        word = {"succeeded": "SUCCESS", "mismatched": "SUCCESS", "failed": "FAILED", "stopped": "REVOKED"}
        state = outcome.state.name.lower()
        self.law(word[state] == run.ending, f"a run that is {run.ending} is put down as {state}")
        if run.ending == "SUCCESS":
            self.law(outcome.answer == run.answer, f"the answer of {run} is put down as {outcome.answer}")
            self.law((run.fate == "misfit") == (state == "mismatched"), f"the answer of {run} is put down as {state}")

    def check_none_is_lost(self, *, crashed: bool) -> None:
        """Every run whose end nobody has read is on record, or the record warns that there is one."""
        if not self.pending:
            return
        self.law(self.record is not None, "there are runs, and no record")
        record = BatchRecord.from_json(self.record)
        named_ids = {run.kickoff_id for run in record.open.values()}
        unnamed = {run.item for run in record.open.values() if run.kickoff_id is None}
        lost = [run for run in self.pending.values() if run.kickoff_id not in named_ids and run.inputs not in unnamed]
        self.law(not lost, f"nobody knows any more of {lost}")
        unrecorded = (run for run in self.pending.values() if run.answered and not run.recorded)
        orphans = [run for run in unrecorded if run.started == self.tried]
        self.law(len(orphans) <= 1, f"a try leaves {len(orphans)} runs whose kickoffs were answered off the record")
        self.counts["orphans of a crash"] += len(orphans)
        told = crashed or all(any(run.kickoff_id in said for said in self.told) for run in orphans)
        self.law(told, f"nobody is told of {orphans}")

    def check_error(self, error: CrewError, now: float) -> None:
        """A try fails for an outage only after it was borne for as long as the author says."""
        self.law(not isinstance(error, CrewRateLimited | CrewQuotaError), f"a rate limit fails the batch: {error!r}")
        if isinstance(error, CrewServerError | CrewTransportError | CrewMayHaveStarted):
            borne = now - self.trouble_since
            self.law(borne >= UNREACHABLE_TIMEOUT, f"an outage was borne for {borne} s: {error!r}")

    def check_results(self, results: Sequence[JSONObject], record: BatchRecord) -> None:
        """What the batch returns is so, in the order of the inputs."""
        self.law(len(results) == len(self.names), "there is not a result for each item")
        for index, (item, result) in enumerate(zip(self.names, results, strict=True)):
            self._check_result(item, result, record.states[index])

    def _check_result(self, item: str, result: JSONObject, letter: str) -> None:
        state = str(result["state"])
        self.counts[f"result: {state}"] += 1
        run = self.runs.get(str(result["kickoff_id"]))
        self.law(run is None or run.inputs == item, f"the result of {item.strip()} is of another item: {result}")
        words = {"succeeded": "SUCCESS", "failed": "FAILED", "stopped": "REVOKED", "mismatched": "SUCCESS",
                 "too_large": "SUCCESS"}  # fmt: skip
        if state in words:
            ending = run.ending if run else None
            self.law(ending == words[state], f"a run that is {ending} is said to be {result}")
        said = {"s": "succeeded", "f": "failed", "x": "stopped", "m": "mismatched", "r": "refused", ".": "not_started"}
        self.law(said.get(letter, state) == state, f"an item in state {letter} is said to be {result}")
        if state == "succeeded":
            self.law(run is not None and result["answer"] == run.answer, f"an answer is not the run's: {result}")
        if state in ("not_started", "refused"):
            wanted = [each for each in self.pending.values() if each.inputs == item]
            self.law(not wanted, f"{item.strip()} is said to be {state}, but there is {wanted}")

    def check_that_all_is_done(self, record: BatchRecord) -> None:
        """A batch that ends leaves no item waiting, and reads all that ends."""
        self.law(not record.waiting, f"items wait at the end: {record.states}")
        self.law(not record.watched and record.count[ItemState.OPEN] == 0, f"runs go on at the end: {record.states}")
        self.law(len(record.states) == len(self.names), "the record has not a letter for each item")

    def check_that_others_are_stopped(self, record: BatchRecord) -> None:
        """A batch that fails early has asked each run that goes on to stop, if it may."""
        going = {str(run.kickoff_id) for run in record.watched.values()}
        self.law(not self.life.stop_replaced or going <= self.stops, f"nobody has stopped {going - self.stops}")

    def law(self, holds: bool, what: str) -> None:
        """Insist."""
        if not holds:
            raise BrokenLawError("\n".join([what, *self.trace[-400:]]))


def another_list(topics: Sequence[str], dice: random.Random) -> tuple[str, ...]:
    """Return a list without some of the items, with others and with equal ones, in another order."""
    kept = [topic for topic in topics if dice.random() < 0.9]
    some = [f"topic {dice.randint(0, 2 * SIZE)}" for _ in range(len(topics) - len(kept))]
    changed = [*kept, *some]
    if dice.random() < 0.5:
        dice.shuffle(changed)
    return tuple(changed)


class BatchShell(MortalShell):
    """A mortal shell whose store has pages, and takes time."""

    store: BatchWorld  # type: ignore[assignment]  # a store with pages

    def carry_out(self, step: Step) -> Any:
        """Carry out one step, and perhaps never return."""
        if isinstance(step, Load | Save):
            self.now += self.store.dice.choice((0.0, 0.01, 0.1, 2.0))
        return super().carry_out(step)

    def _place(self, page: str) -> Records:
        return self.store.beside(page) if page else self.store


# ---- one try, driven as the operator drives it ------------------------------------------------------


def live(life: Life) -> BatchWorld:
    """Live through a life.

    :raises BrokenLawError: something happened that must never happen; holds the trace.
    """
    world = BatchWorld(life)
    world.counts["lives"] += 1
    for plan in life.tries:
        live_try(world, plan)
    return world


def live_try(world: BatchWorld, plan: Try) -> list[Step]:
    """Live through one try; return the steps that it took."""
    world.start_try(plan)
    world.counts["tries"] += 1
    shell = BatchShell(world, itertools.repeat(0.5), store=world, now=world.now)
    shell.killed = plan.killed
    crashed = False
    try:
        outcome = _attempt(shell, world)
        world.say(f"the try ends: {outcome}")
        world.counts[f"end: {outcome}"] += 1
    except KilledError:
        world.counts[f"killed {'after' if plan.killed and plan.killed[1] else 'before'} a {name(shell.steps[-1])}"] += 1
        world.counts["kills"] += 1
        crashed = True
    world.check_none_is_lost(crashed=crashed)
    world.now = shell.now + world.dice.choice((1.0, 60.0, 5000.0))
    return shell.steps


def _attempt(shell: BatchShell, world: BatchWorld) -> str:
    try:
        return _drive(shell, world)
    except CrewError as error:
        world.say(f"error: {error!r}")
        world.check_error(error, shell.now)
        return type(error).__name__


def _drive(shell: BatchShell, world: BatchWorld) -> str:
    plan = batch_plan(world)
    record = _begin(shell, world, plan)
    ended = [_watch(world, str(run.kickoff_id), shell.now, blinded=False) for run in record.watched.values()]
    for number in itertools.count(1):
        waved = _wave(shell, world, plan, record, ended)
        record = waved.record
        if waved.gave_up is not None:
            return _over(shell, world, record, f"gave up: {waved.gave_up.verdict}")
        if not plan.bears(record):
            world.check_that_others_are_stopped(record)
            return _over(shell, world, record, "failed early")
        if shell.now >= world.deadline and record.waiting and not record.watched:
            return _over(shell, world, record, "too late")
        if not record.watched and not record.waiting:
            world.check_that_all_is_done(record)
            return _over(shell, world, record, "done")
        ended = _looks(shell, world, record) if world.life.in_worker else list(_waits(shell, world, record, number))
    raise AssertionError


def _begin(shell: BatchShell, world: BatchWorld, plan: BatchPlan) -> BatchRecord:
    """Begin a try, or go on with one whose worker died after a deferral."""
    if world.plan.change == "resumed" and world.known == world.claim:
        resumed = shell.drive(load_batch())
        world.counts["resumed" if resumed else "resumed without a record"] += 1
        if resumed:
            return resumed
    return shell.drive(begin_batch(plan, Dialect(), world.tell))


def batch_plan(world: BatchWorld) -> BatchPlan:
    """Return what this try is to do."""
    life = world.life
    return BatchPlan(
        world.kickoffs,
        world.names,
        world.claim,
        life.rules,
        f"batch-{world.tried}",
        life.slots,
        _judge,
        life.bearable,
        UNREACHABLE_TIMEOUT,
        stop_replaced=life.stop_replaced,
        confirm=world.confirm,
        patience=PATIENCE,
        deadline=world.deadline,
    )


def _judge(run: Run) -> tuple[JSON, str | None]:
    return run.answer, "does not fit" if str(run.answer).startswith("misfit") else None


def _wave(shell: BatchShell, world: BatchWorld, plan: BatchPlan, record: BatchRecord, ended: Sequence[Watch]) -> Wave:
    if world.life.resumes:
        stored = shell.drive(load_batch())
        world.law(stored == record, f"the record changes on its way: {stored} {record}")
    world.counts["waves"] += 1
    world.awake, world.refused = False, set()
    waved = shell.drive(wave(plan, record, ended, Dialect(), world.tell))
    world.law(BatchRecord.from_json(world.record) == waved.record, "a wave returns what is not on record")
    return waved


def _over(shell: BatchShell, world: BatchWorld, record: BatchRecord, how: str) -> str:
    outcomes = shell.drive(load_outcomes(record))
    world.check_results(results_of(record, world.names, outcomes), record)
    return how


def _waits(shell: BatchShell, world: BatchWorld, record: BatchRecord, number: int) -> Iterator[Watch]:
    """Let time pass until the worker wakes, and yield watches for the runs that have ended."""
    seen = sorted((_seen_at(world.runs[str(run.kickoff_id)]), str(run.kickoff_id)) for run in record.watched.values())
    wakes = _wakes_at(shell.now, world, record, seen)
    world.counts["slept" if wakes > shell.now else "did not sleep"] += 1
    woken = max(wakes, shell.now + POLL_INTERVAL)
    woken = _through_silence(world, woken) if seen else woken
    now = max(shell.now, min(woken, world.deadline))
    world.end_what_is_due(now)
    behind = world.dice.choice((0.0, 0.0, 0.0, 6.0))  # the clocks of two machines differ
    shell.now, world.behind = now - behind, world.behind + behind
    blinded = world.plan.blinded == number or woken >= wakes + UNREACHABLE_TIMEOUT
    for at, kickoff_id in seen:
        if at <= now or blinded or now >= world.deadline:
            yield _watch(world, kickoff_id, shell.now, blinded=blinded)


def _looks(shell: BatchShell, world: BatchWorld, record: BatchRecord) -> list[Watch]:
    """Wait in the worker, and return watches for the runs that have ended."""
    watches = [_watch(world, str(run.kickoff_id), shell.now, blinded=False) for run in record.watched.values()]
    endings = shell.drive(until_news(watches, _pace(world, record), Dialect()))
    over = {ending.kickoff_id for ending in endings}
    return [watch for watch in watches if watch.kickoff_id in over]


def _through_silence(world: BatchWorld, at: float) -> float:
    """When the worker wakes: a deployment that does not answer shows no end, for as long as the trigger bears that."""
    since, until = (world.begun + seconds for seconds in world.plan.weather.silent)
    return min(until, at + UNREACHABLE_TIMEOUT) if since <= at < until else at


def _seen_at(run: ItemRun) -> float:
    """When a trigger gives its verdict on the run."""
    return run.ends_at + (GRACE if run.fate == "forgotten" or run.word == "NOT FOUND" else 0.0)


def _pace(world: BatchWorld, record: BatchRecord) -> Pace:
    bears = None if world.life.bearable is None else world.life.bearable - record.failures
    wake_at = record.slow.until if record.slow else None
    return Pace(world.life.slots, len(record.waiting), record.wave_at, record.usual, bears, wake_at)


def _wakes_at(now: float, world: BatchWorld, record: BatchRecord, seen: Sequence[tuple[float, str]]) -> float:
    pace = _pace(world, record)
    failed = 0
    for number in range(len(seen) + 1):
        at = max([now, *(when for when, _ in seen[:number])])
        failed = sum(world.runs[run].fate not in ("SUCCESS", "misfit") for _, run in seen[:number])
        wakes = pace.wakes_at([when for when, _ in seen[:number]], failed, len(seen) - number, at)
        upcoming = seen[number][0] if number < len(seen) else float("inf")
        if wakes is not None and wakes <= upcoming:
            return max(wakes, at)
    raise BrokenLawError("the worker never wakes")


def _watch(world: BatchWorld, kickoff_id: str, now: float, *, blinded: bool) -> Watch:
    run = world.runs[kickoff_id]
    patience = Patience(deadline=world.deadline, unreachable_timeout=UNREACHABLE_TIMEOUT)
    unknown = run.ends_at if _seen_at(run) != run.ends_at else None
    missing = now - UNREACHABLE_TIMEOUT if blinded else None
    return Watch(
        kickoff_id,
        patience,
        started_at=run.ends_at,
        seen_alive=True,
        unknown_since=unknown,
        missing_since=missing,
    )


# ---- lives ------------------------------------------------------------------------------------------


def any_rules() -> list[Rules]:
    """All that an author can say."""
    return [
        Rules(*said)  # type: ignore[arg-type]  # each is one of the words
        for said in itertools.product(("rerun", "fail"), ("fail", "rerun"), ("rerun", "reattach"), ("fail", "rerun"))
    ]


def random_life(dice: random.Random, size: int = SIZE) -> Life:
    """Throw the dice for everything."""
    tries = tuple(_random_try(dice, first=number == 0) for number in range(dice.randint(2, 6)))
    return Life(
        dice.choice(any_rules()),
        tries,
        tuple(f"topic {dice.randint(0, 2 * size)}" for _ in range(size)),
        slots=dice.choice((1, 3, 8, 20)),
        bearable=dice.choice((None, None, None, 0, 3)),
        stop_replaced=dice.random() < 0.5,
        resumes=dice.random() < 0.5,
        in_worker=dice.random() < 0.04,
    )


def _random_try(dice: random.Random, *, first: bool) -> Try:
    weather = dice.choice(WEATHERS)
    if dice.random() < 0.2:
        since = dice.uniform(0, 1000)
        weather = replace(weather, silent=(since, since + dice.choice((10.0, 300.0, 3000.0))))
    good = {"SUCCESS": 1.0}
    return Try(
        seed=dice.randrange(1 << 32),
        change="nothing" if first or dice.random() < 0.5 else dice.choice(CHANGES),
        weather=weather,
        lasts=dice.choice((2.0, 60.0, 600.0, 7200.0)),
        fates=good if dice.random() < 0.3 else {"SUCCESS": 12, **dict.fromkeys(FATES[1:], 1)},
        timeout=dice.choice((86_400.0, 86_400.0, 86_400.0, 3600.0, 30.0)),
        killed=(dice.randint(1, dice.choice((10, 60, 300))), dice.random() < 0.5) if dice.random() < 0.5 else None,
        forgets=dice.random() < 0.1,
        blinded=dice.choice((1, 2, 5)) if dice.random() < 0.1 else None,
        unwanted=dice.randint(1, 4) if dice.random() < 0.1 else None,
    )


def simulate(lives: int, seed: int = 0, size: int = SIZE) -> Counter[str]:
    """Live through so many random lives, and count what happened.

    :raises BrokenLawError: with the life's own seed and its trace.
    """
    counts: Counter[str] = Counter()
    for number in range(seed, seed + lives):
        try:
            counts += live(random_life(random.Random(number), size)).counts  # noqa: S311 - dice
        except BrokenLawError as error:
            raise BrokenLawError(f"seed {number}: {error}") from None
    return counts


def main() -> None:
    """Run a simulation as long as somebody wants."""
    parser = argparse.ArgumentParser(description="Kill, lose and retry batches, and check that no item runs twice.")
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=SIZE)
    arguments = parser.parse_args()
    print(summary(simulate(arguments.lives, arguments.seed, arguments.size)))  # noqa: T201 - a command prints


if __name__ == "__main__":
    main()
