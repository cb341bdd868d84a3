"""What holds for every wait, whatever the server does: checked over random stories in virtual time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from hypothesis import example, given, settings
from support.effort import examples
from support.scripted import (
    EPOCH,
    Answer,
    Asked,
    AsyncScriptedShell,
    Exchange,
    HorizonError,
    ScriptedShell,
    gathered,
    run_virtually,
)
from support.stories import (
    ACTS,
    ALIVE,
    DENIED,
    ENDED,
    NO_CREW,
    NO_CREWS,
    PATHS,
    SPEAKS,
    UNREAD,
    UNSEEN,
    WRONG,
    Patience,
    Phase,
    Story,
    Telling,
    stories,
)

from airflow_provider_crewai.client.flows import Dialect, Pause, Renew, wait
from airflow_provider_crewai.client.messages import WIDTH, error_of, said
from airflow_provider_crewai.client.watch import GRACE, LOGIN_GRACE, PACE, Again, Ending, Sight, Verdict, Watch
from airflow_provider_crewai.wire.errors import CrewAnswerNotFetched, CrewAnswerTooLarge, CrewError, CrewServerError
from airflow_provider_crewai.wire.model import Request, Run, RunState

HORIZON = EPOCH + 4_000
HAIR = 1e-5
"""Seconds that doubles lose when they count from 1970."""

WAITS = {"429 with a wait": 40.0, "503 with a wait": 3.0}
VERDICTS = {"SUCCESS": Verdict.SUCCEEDED, "FAILED": Verdict.FAILED, "REVOKED": Verdict.STOPPED}


@dataclass
class Look:
    """One look at the run: one to four requests without a pause between them."""

    exchanges: list[Exchange]
    acts: list[str]

    @property
    def at(self) -> float:
        return self.exchanges[0].at

    @property
    def until(self) -> float:
        return self.exchanges[-1].until

    @cached_property
    def act(self) -> str:
        """What the look came to."""
        told = [act for act in self.acts if act in SPEAKS]
        return told[-1] if told else self.acts[-1]

    @property
    def speaks(self) -> bool:
        """Whether it says something about the run."""
        return self.act in SPEAKS


@dataclass
class Watched:
    """A wait that has been lived through."""

    story: Story
    shell: ScriptedShell
    telling: Telling
    ending: Ending | None
    observed: list[tuple[Run | CrewError, float]]

    @cached_property
    def looks(self) -> list[Look]:
        pairs = zip(self.shell.log, self.telling.acts, strict=True)
        groups = itertools.groupby(pairs, key=lambda pair: pair[0].look)
        return [Look(*map(list, zip(*group, strict=True))) for _, group in groups]

    def trailing(self, *acts: str, skip: tuple[str, ...] = ()) -> list[Look]:
        """The last looks that came to one of these acts, with none but `skip` between them."""
        streak = itertools.takewhile(lambda look: look.act in (*acts, *skip), reversed(self.looks))
        return [look for look in streak if look.act in acts]

    @property
    def missed(self) -> list[Look]:
        """The last looks that said nothing about the run."""
        return list(itertools.takewhile(lambda look: not look.speaks, reversed(self.looks)))


def make(story: Story, kind: type[ScriptedShell] = ScriptedShell) -> tuple[ScriptedShell, Telling, Watch]:
    telling = story.server()
    shell = kind(telling, itertools.cycle(story.chances), horizon=HORIZON)
    return shell, telling, Watch("run-1", story.patience, started_at=EPOCH - story.age, seen_alive=story.seen_alive)


def live(story: Story) -> Watched:
    shell, telling, watch = make(story)
    observed: list[tuple[Run | CrewError, float]] = []
    try:
        ending = shell.drive(wait(watch, Dialect(), lambda sight, now: observed.append((sight, now))))
    except HorizonError:
        ending = None
        _forget_half_a_look(shell, telling, observed)
    return Watched(story, shell, telling, ending, observed)


def _forget_half_a_look(shell: ScriptedShell, telling: Telling, observed: list[tuple[Run | CrewError, float]]) -> None:
    """The end of the virtual world may come in the middle of a look."""
    whole = list(dict.fromkeys(exchange.look for exchange in shell.log))[: len(observed)]
    shell.log = [exchange for exchange in shell.log if exchange.look in whole]
    del telling.acts[len(shell.log) :]


# ---- the laws -------------------------------------------------------------------------------------


def there_is_one_ending_or_a_reason_to_go_on(seen: Watched) -> None:
    if seen.ending is None:
        last, patience = seen.story.phases[-1].act, seen.story.patience
        assert patience.deadline is None
        endless = patience.silent or patience.unreachable_timeout is None
        assert last in ALIVE or (patience.human_input and last in UNSEEN) or endless
        return
    assert seen.ending.kickoff_id == "run-1"
    assert isinstance(seen.shell.steps[-1], Request)
    assert seen.ending.at == seen.looks[-1].until


def it_comes_no_later_than_one_look_after_the_deadline(seen: Watched) -> None:
    if (deadline := seen.story.patience.deadline) is None:
        return
    assert seen.ending is not None
    assert seen.looks[-1].at <= max(deadline, EPOCH) + HAIR
    if seen.ending.verdict is Verdict.TIMED_OUT:
        assert seen.ending.at >= deadline


def success_and_failure_are_what_the_last_answer_said(seen: Watched) -> None:
    assert seen.ending is not None
    act = seen.looks[-1].act
    assert VERDICTS.get(act) is (seen.ending.verdict if seen.ending.verdict in VERDICTS.values() else None)


def nothing_is_asked_after_a_final_answer(seen: Watched) -> None:
    assert not any(look.act in ENDED for look in seen.looks[:-1])


def a_connection_that_somebody_has_to_mend_ends_it_at_once(seen: Watched) -> None:
    hopeless = [look for index, look in enumerate(seen.looks) if _is_hopeless(seen, index)]
    if seen.ending and seen.ending.verdict is Verdict.UNWATCHABLE:
        assert hopeless == seen.looks[-1:]
        assert seen.ending.error is not None
    else:
        assert not hopeless


def _is_hopeless(seen: Watched, index: int) -> bool:
    """A wrong connection, or no crew where none was ever seen to answer."""
    answered = seen.story.seen_alive or any(look.speaks for look in seen.looks[:index])
    act = seen.looks[index].act
    return (act == WRONG and not seen.story.patience.silent) or (act in NO_CREWS and not answered)


def unreachable_needs_the_whole_patience_without_an_answer(seen: Watched) -> None:
    patience, missed = seen.story.patience, seen.missed
    if seen.ending and seen.ending.verdict is Verdict.UNREACHABLE:
        assert patience.unreachable_timeout is not None
        assert not patience.silent
        assert missed[0].until - missed[-1].until >= patience.unreachable_timeout
        assert missed[0].act not in DENIED
        assert (seen.ending.since, seen.ending.error is None) == (missed[-1].until, False)
    elif len(missed) > 1 and missed[1].act not in DENIED:
        # Every look but the last was followed by another, so the patience was not used up yet.
        assert missed[1].until - missed[-1].until < _budget(patience, patience.unreachable_timeout)


def a_login_is_lost_when_the_token_was_refused_for_a_whole_minute(seen: Watched) -> None:
    denied = list(itertools.takewhile(lambda look: look.act in DENIED, reversed(seen.looks)))
    if seen.ending and seen.ending.verdict is Verdict.AUTH_LOST:
        assert not seen.story.patience.silent
        assert denied[0].until - denied[-1].until >= LOGIN_GRACE
        assert (seen.ending.since, seen.ending.error is None) == (denied[-1].until, False)
    elif len(denied) > 1:
        assert denied[1].until - denied[-1].until < _budget(seen.story.patience, LOGIN_GRACE)


def _budget(patience: Patience, seconds: float | None) -> float:
    return math.inf if seconds is None or patience.silent else seconds


def lost_needs_the_whole_grace_without_a_sight_of_it(seen: Watched) -> None:
    assert seen.ending is not None
    last_alive = max((index for index, look in enumerate(seen.looks) if look.act in ALIVE), default=-1)
    unseen = [look for look in seen.looks[last_alive + 1 :] if look.act in UNSEEN]
    seen_alive = seen.story.seen_alive or last_alive >= 0
    assert seen.ending.seen_alive == (seen_alive or seen.looks[-1].act in ENDED)
    waits_for_human = seen.story.patience.human_input or seen.story.patience.silent
    if seen.ending.verdict is Verdict.LOST:
        assert not waits_for_human
        assert unseen[-1].until - unseen[0].until >= GRACE
        assert seen.ending.since == unseen[0].until
    elif not waits_for_human and len(unseen) > 1:
        before = unseen[-1] if unseen[-1] is not seen.looks[-1] else unseen[-2]
        assert before.until - unseen[0].until < GRACE


def a_denied_token_is_renewed_exactly_once_before_it_is_given_up(seen: Watched) -> None:
    steps = [step for step in seen.shell.steps if isinstance(step, Request | Renew | Pause)]
    acts = iter(seen.telling.acts)
    told = [(step, next(acts) if isinstance(step, Request) else "") for step in steps[: _answered(seen, steps)]]
    renewed = False
    for (step, act), (after, _) in itertools.pairwise(told):
        if isinstance(step, Request) and act in DENIED and not renewed:
            assert isinstance(after, Renew)
        elif isinstance(step, Renew):
            assert isinstance(after, Request)
            renewed = True
            continue
        else:
            assert not isinstance(after, Renew)
        renewed = False
    if seen.ending and seen.ending.verdict is Verdict.AUTH_LOST:
        assert all(act in DENIED for act in seen.telling.acts[-2:])
        assert seen.shell.renewals >= 2


def _answered(seen: Watched, steps: list[object]) -> int:
    """How many steps were carried out to their end: the horizon may have cut the last one."""
    asked = [index for index, step in enumerate(steps) if isinstance(step, Request)]
    return asked[len(seen.shell.log)] if len(asked) > len(seen.shell.log) else len(steps)


def the_other_path_is_tried_after_a_404_and_the_right_one_is_kept(seen: Watched) -> None:
    asked = [(exchange.asked.request.path, act) for exchange, act in _told(seen)]
    assert all(path in PATHS for path, _ in asked)
    assert asked[0][0] == PATHS[0]
    for (path, act), (after, _) in itertools.pairwise(asked):
        if path == PATHS[0] and after == PATHS[1]:
            assert act == NO_CREW
    answered = [path for path, act in asked if act in SPEAKS]
    if answered:
        first = next(index for index, (_, act) in enumerate(asked) if act in SPEAKS)
        assert {path for path, _ in asked[first:]} == {answered[0]}


def _told(seen: Watched) -> Iterator[tuple[Exchange, str]]:
    return zip(seen.shell.log, seen.telling.acts, strict=True)


def the_pace_is_a_part_of_the_runs_age(seen: Watched) -> None:
    patience, born = seen.story.patience, EPOCH - seen.story.age
    for (before, after), budget in zip(itertools.pairwise(seen.looks), _budgets(seen), strict=False):
        pause = after.at - before.until
        pace = min(max(PACE * (before.until - born), patience.poll_interval), patience.max_poll_interval)
        longest = pace if before.speaks else max(patience.max_poll_interval, _asked_wait(before))
        assert pause <= longest + HAIR
        cuts = [cut for cut in (patience.deadline, budget) if cut is not None]
        shortest = max(patience.poll_interval, 0.0 if before.speaks else _asked_wait(before))
        assert pause >= shortest - HAIR or any(abs(after.at - cut) < HAIR for cut in cuts)


def _budgets(seen: Watched) -> Iterator[float | None]:
    """After each look: when the grace, or the patience with a silent API or a refused token, would be used up."""
    silent, unseen, denied = None, None, None
    patience = seen.story.patience
    for look in seen.looks:
        silent = None if look.speaks else (silent or look.until)
        denied = (denied or look.until) if look.act in DENIED else None
        unseen = None if look.act in ALIVE else (unseen or (look.until if look.act in UNSEEN else None))
        if denied is not None:
            yield denied + LOGIN_GRACE
        elif silent is not None:
            yield silent + _budget(patience, patience.unreachable_timeout)
        else:
            yield unseen + GRACE if unseen is not None else None


def _asked_wait(look: Look) -> float:
    if look.act == "503 with a date":
        return max(0.0, EPOCH + 300 - look.until)
    return WAITS.get(look.act, 0.0)


def every_look_is_observed_once_and_in_order(seen: Watched) -> None:
    observed = [(isinstance(sight, Run), now) for sight, now in seen.observed]
    assert observed == [(look.speaks, look.until) for look in seen.looks]


def what_is_said_ends_each_sentence_once(seen: Watched) -> None:
    assert seen.ending is not None
    if seen.ending.verdict is not Verdict.SUCCEEDED:
        lines = said(seen.ending, started_at=None, after="A retry looks again.", look=())
        assert ".." not in " ".join(lines)
        assert all(len(line) <= WIDTH or len(line.split()) == 1 for line in lines)


ALWAYS = (
    there_is_one_ending_or_a_reason_to_go_on,
    it_comes_no_later_than_one_look_after_the_deadline,
    nothing_is_asked_after_a_final_answer,
    a_connection_that_somebody_has_to_mend_ends_it_at_once,
    unreachable_needs_the_whole_patience_without_an_answer,
    a_login_is_lost_when_the_token_was_refused_for_a_whole_minute,
    a_denied_token_is_renewed_exactly_once_before_it_is_given_up,
    the_other_path_is_tried_after_a_404_and_the_right_one_is_kept,
    the_pace_is_a_part_of_the_runs_age,
    every_look_is_observed_once_and_in_order,
)
AT_THE_END = (
    success_and_failure_are_what_the_last_answer_said,
    lost_needs_the_whole_grace_without_a_sight_of_it,
    what_is_said_ends_each_sentence_once,
)


def told(*phases: tuple[float, str], **fields: object) -> Story:
    """A story by hand."""
    known: dict[str, object] = {
        "phases": tuple(Phase(*phase) for phase in phases),
        "path": 0,
        "latencies": (0.2,),
        "chances": (0.5,),
        "patience": Patience(deadline=EPOCH + 3600),
        "age": 0.0,
        "seen_alive": False,
        "valid_tokens": None,
    }
    return Story(**{**known, **fields})  # type: ignore[arg-type]


@settings(max_examples=examples(1200))
@given(stories())
@example(told((60, "RUNNING"), (30, "NOT FOUND"), (1, "SUCCESS"), path=1))
@example(told((100, "RUNNING"), (1, "NOT FOUND"), seen_alive=True))
@example(told((30, "RUNNING"), (60, NO_CREW), (60, UNREAD), (1, WRONG)))
@example(told((30, "NOT FOUND"), (20, NO_CREW), (1, "SUCCESS")))
def test_every_wait_obeys_every_law_of_waiting(story: Story) -> None:
    seen = live(story)
    for law in ALWAYS if seen.ending is None else (*ALWAYS, *AT_THE_END):
        law(seen)


@settings(max_examples=examples(1000))
@given(stories())
def test_an_event_loop_changes_nothing_about_a_wait(story: Story) -> None:
    alone = live(story)
    crowd = run_virtually(_crowd([story, told((90, "RUNNING"), (1, "SUCCESS"))]))[0]
    assert repr(crowd.shell.log) == repr(alone.shell.log)
    assert repr(crowd.ending) == repr(alone.ending)


async def _crowd(crowd: list[Story]) -> list[Watched]:
    """Live through many stories at once, in one event loop."""
    return await gathered(*map(_live, crowd))


async def _live(story: Story) -> Watched:
    shell, telling, watch = make(story, AsyncScriptedShell)
    assert isinstance(shell, AsyncScriptedShell)
    observed: list[tuple[Run | CrewError, float]] = []
    try:
        ending = await shell.drive_async(wait(watch, Dialect(), lambda sight, now: observed.append((sight, now))))
    except HorizonError:
        ending = None
        _forget_half_a_look(shell, telling, observed)
    return Watched(story, shell, telling, ending, observed)


# ---- the same laws by hand, where the story matters ------------------------------------------------


def verdict(story: Story) -> Verdict:
    ending = live(story).ending
    assert ending is not None
    return ending.verdict


def human(seconds: float = 3600) -> Patience:
    return Patience(deadline=EPOCH + seconds, human_input=True)


def test_a_run_never_seen_is_lost_after_the_grace_but_where_a_human_is_declared() -> None:
    ending = live(told((1, "NOT FOUND"))).ending
    assert ending is not None
    assert ending.verdict is Verdict.LOST
    assert GRACE <= ending.at - EPOCH < GRACE + 5
    assert not ending.seen_alive
    assert verdict(told((1, "NOT FOUND"), patience=human())) is Verdict.TIMED_OUT
    assert verdict(told((2000, "NOT FOUND"), (1, "SUCCESS"), patience=human())) is Verdict.SUCCEEDED


def test_a_run_that_appears_within_the_grace_is_waited_for() -> None:
    assert verdict(told((55, "NOT FOUND"), (5, "RUNNING"), (1, "SUCCESS"))) is Verdict.SUCCEEDED


def test_a_run_that_waits_for_a_declared_human_is_waited_for_until_the_deadline() -> None:
    assert verdict(told((30, "RUNNING"), (1, "NOT FOUND"), patience=human())) is Verdict.TIMED_OUT
    assert verdict(told((30, "RUNNING"), (2000, "NOT FOUND"), (1, "SUCCESS"), patience=human())) is Verdict.SUCCEEDED


def test_a_run_that_vanishes_where_no_human_is_declared_is_lost_and_known_to_have_lived() -> None:
    ending = live(told((30, "RUNNING"), (1, "NOT FOUND"))).ending
    assert ending is not None
    assert (ending.verdict, ending.seen_alive) == (Verdict.LOST, True)


def test_an_outage_within_the_patience_is_survived() -> None:
    for fault in (
        "refused",
        "reset",
        "503",
        "502",
        "html",
        "429",
        "truncated",
        "422",
        NO_CREW,
        UNREAD,
    ):
        assert verdict(told((10, "RUNNING"), (700, fault), (1, "SUCCESS"))) is Verdict.SUCCEEDED


def test_an_outage_of_twenty_minutes_ends_the_wait_by_default_and_is_survived_with_more_patience() -> None:
    told_phases = ((10, "RUNNING"), (1200, "refused"), (1, "SUCCESS"))
    ending = live(told(*told_phases)).ending
    assert ending is not None
    assert ending.verdict is Verdict.UNREACHABLE
    assert ending.since is not None
    assert 900 <= ending.at - ending.since < 901
    patient = Patience(deadline=EPOCH + 3600, unreachable_timeout=1800)
    assert verdict(told(*told_phases, patience=patient)) is Verdict.SUCCEEDED


def test_an_outage_beyond_the_patience_is_unreachable_and_never_a_failure() -> None:
    for fault in ("refused", "500", "html", "400"):
        assert verdict(told((10, "RUNNING"), (1, fault))) is Verdict.UNREACHABLE


def test_a_connection_that_leads_to_no_crew_ends_the_wait_for_a_run_never_seen_and_no_other() -> None:
    story = told((1, NO_CREW))
    ending = live(story).ending
    assert ending is not None
    assert (ending.verdict, type(ending.error).__name__) == (Verdict.UNWATCHABLE, "CrewNotFound")
    assert len(live(story).looks) == 1
    assert verdict(told((1, NO_CREW), seen_alive=True)) is Verdict.UNREACHABLE
    assert verdict(told((600, NO_CREW), (1, "SUCCESS"), seen_alive=True)) is Verdict.SUCCEEDED


def test_a_deployment_of_the_old_path_that_is_in_trouble_is_not_taken_for_none() -> None:
    for fault in ("503", "502", "refused"):
        shell = ScriptedShell(_in_trouble_on_the_old_path(fault), itertools.repeat(0.5), horizon=HORIZON)
        watch = Watch("run-1", Patience(deadline=EPOCH + 3600), started_at=EPOCH)
        assert shell.drive(wait(watch, Dialect(), lambda _run, _now: None)).verdict is Verdict.SUCCEEDED


def _in_trouble_on_the_old_path(fault: str) -> Callable[[Asked], Answer]:
    def server(asked: Asked) -> Answer:
        act = "SUCCESS" if asked.at > EPOCH + 60 else fault
        return Answer(ACTS[NO_CREW if asked.request.path == PATHS[0] else act](), 0.2)

    return server


def test_a_connection_that_is_wrong_ends_the_wait_and_one_that_cannot_be_read_does_not() -> None:
    for seen_alive in (False, True):
        story = told((1, WRONG), seen_alive=seen_alive)
        assert verdict(story) is Verdict.UNWATCHABLE
        assert len(live(story).looks) == 1
        away = told((600, UNREAD), (1, "SUCCESS"), seen_alive=seen_alive)
        assert verdict(away) is Verdict.SUCCEEDED
        assert verdict(told((1, UNREAD), seen_alive=seen_alive)) is Verdict.UNREACHABLE


def test_a_renewed_token_goes_on_and_a_dead_one_ends_the_wait_after_a_minute() -> None:
    alive = told((30, "RUNNING"), (1, "SUCCESS"), valid_tokens=frozenset({1}))
    assert verdict(alive) is Verdict.SUCCEEDED
    assert live(alive).shell.renewals == 1
    for dead in (
        told((30, "RUNNING"), (1, "SUCCESS"), valid_tokens=frozenset()),
        told((30, "RUNNING"), (1, "403")),
        told((30, "RUNNING"), (1, "401"), patience=Patience(deadline=EPOCH + 3600, unreachable_timeout=None)),
    ):
        ending = live(dead).ending
        assert ending is not None
        assert (ending.verdict, round(ending.at - (ending.since or 0))) == (Verdict.AUTH_LOST, LOGIN_GRACE)
    assert verdict(told((30, "RUNNING"), (50, "401"), (1, "SUCCESS"))) is Verdict.SUCCEEDED


def test_the_connection_is_read_anew_at_each_look_that_is_refused() -> None:
    seen = live(told((30, "RUNNING"), (1, "401")))
    assert seen.shell.renewals == sum(look.act == "401" for look in seen.looks) > 3


def test_without_a_limit_an_outage_is_waited_for_for_ever() -> None:
    for fault in ("refused", "502", UNREAD, "429"):
        endless = told((10, "RUNNING"), (1, fault), patience=Patience(unreachable_timeout=None))
        assert live(endless).ending is None


def test_a_server_that_asks_for_a_year_is_looked_at_again_within_an_hour() -> None:
    watch = Watch("run-1", Patience(unreachable_timeout=None), started_at=EPOCH)
    error = CrewServerError("503", status=503, retry_after=str(365 * 86_400))
    assert watch.missed(error, EPOCH, 0.5) == Again(3600.0)


def test_an_answer_that_is_too_large_here_ends_the_watch() -> None:
    watch = Watch("run-1", Patience(), started_at=EPOCH, seen_alive=True)
    ending = watch.missed(CrewAnswerTooLarge("the answer is larger than 262144 bytes"), EPOCH, 0.5)
    assert isinstance(ending, Ending)
    assert ending.verdict is Verdict.TOO_LARGE


# ---- what one watch saw is not lost to the next --------------------------------------------------------

HOW = {"SUCCESS": "succeed", "FAILED": "fail", "REVOKED": "be stopped"}


@settings(max_examples=examples(600))
@given(stories(), stories())
def test_whatever_the_worker_cannot_see_it_never_contradicts_what_the_trigger_saw(first: Story, second: Story) -> None:
    sight = live(first).ending
    if sight is None:
        return
    shell, telling, _ = make(second)
    watch = Watch("run-1", second.patience, started_at=EPOCH, seen_alive=sight.seen_alive, last=sight.last)
    try:
        ending = shell.drive(wait(watch, Dialect(), lambda _seen, _now: None))
    except HorizonError:
        return
    if ending.verdict in VERDICTS.values():
        return
    error = error_of(ending, where="connection 'crew'")
    lines = said(ending, started_at=None, after="", look=())
    alive_since = any(act in ALIVE for act in telling.acts)
    ended = VERDICTS.get(_word(sight)) and not alive_since
    assert isinstance(error, CrewAnswerNotFetched) is bool(ended)
    if ended:
        assert f"was seen to {HOW[_word(sight)]} at 2026-01-01 " in lines[0]
        assert "The run is over." in lines
        assert not any("goes on" in line for line in lines)


def _word(ending: Ending) -> str:
    return next((word for word, verdict in VERDICTS.items() if verdict is ending.verdict), "")


def test_what_was_seen_to_end_is_not_taken_for_a_run_that_waits_for_a_human() -> None:
    over = Sight(RunState.SUCCEEDED, EPOCH)
    watch = Watch("run-1", human(), started_at=EPOCH, seen_alive=True, last=over)
    shell, _, _ = make(told((1, "NOT FOUND")))
    ending = shell.drive(wait(watch, Dialect(), lambda _seen, _now: None))
    assert (ending.verdict, ending.is_unread) == (Verdict.LOST, True)


def test_a_deployment_of_the_old_path_is_asked_on_the_new_one_once() -> None:
    paths = [exchange.asked.request.path for exchange in live(told((60, "RUNNING"), (1, "SUCCESS"), path=1)).shell.log]
    assert paths[:2] == list(PATHS)
    assert set(paths[1:]) == {PATHS[1]}


def test_a_finished_run_is_found_even_where_the_deadline_has_passed() -> None:
    late = told((1, "SUCCESS"), patience=Patience(deadline=EPOCH - 50))
    assert verdict(late) is Verdict.SUCCEEDED
    assert len(live(late).shell.log) == 1


def test_an_unknown_word_counts_as_running_until_the_deadline() -> None:
    assert verdict(told((1, "brand new word"))) is Verdict.TIMED_OUT


def test_a_timeout_during_an_outage_names_the_outage() -> None:
    ending = live(told((10, "RUNNING"), (1, "502"), patience=Patience(deadline=EPOCH + 100))).ending
    assert ending is not None
    assert (ending.verdict, type(ending.error).__name__) == (Verdict.TIMED_OUT, "CrewServerError")
    assert ending.since is not None


def test_what_another_watch_saw_counts() -> None:
    lost = Watch("run-1", Patience(), started_at=EPOCH, unknown_since=EPOCH - GRACE)
    silent = Watch("run-1", Patience(), started_at=EPOCH, missing_since=EPOCH - 900)
    for watch, phases in ((lost, (1, "NOT FOUND")), (silent, (1, "502"))):
        shell, _, _ = make(told(phases))
        assert shell.drive(wait(watch, Dialect(), lambda _run, _now: None)).verdict in (
            Verdict.LOST,
            Verdict.UNREACHABLE,
        )
        assert len(shell.log) == 1
