"""Which failures the retry policy retries, and that it survives in a Dag."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, RetryAction
from airflow.serialization.serialized_objects import DagSerialization
from crew_tasks import FAST, brief
from in_memory import LOGICAL_DATE, Airflow
from scripted_crew import ScriptedCrew, error, failure

from airflow_provider_crewai.in_airflow.compat import reschedule
from airflow_provider_crewai.in_airflow.failing import FREE_OR_NEVER
from airflow_provider_crewai.operators import CrewBatchOperator
from airflow_provider_crewai.retries import CrewRetryPolicy
from airflow_provider_crewai.wire import errors

RUN = {"kickoff_id": "run-1"}
LATER = RetryAction.RESCHEDULE if reschedule else None
"""From Airflow 3.4 on."""
NEVER, AGAIN, AIRFLOWS = RetryAction.FAIL, RetryAction.RETRY, RetryAction.DEFAULT
DECISIONS: dict[str, tuple[BaseException, RetryAction]] = {
    "unreadable connection": (errors.CrewConnectionUnreadable("not there, or the vault is away"), AGAIN),
    "killed": (errors.CrewTaskKilled("told to end"), AGAIN),
    "too late": (errors.CrewTooLate("the deadline has passed"), AGAIN),
    "connection": (errors.CrewConfigError("no token"), NEVER),
    "token": (errors.CrewAuthError("401", status=401), NEVER),
    "inputs": (errors.CrewInputError("422", status=422), NEVER),
    "wrong URL": (errors.CrewNotFound("404", status=404), NEVER),
    "unknown run": (errors.CrewUnknownRun("400", status=400), NEVER),
    "no crew": (errors.CrewNotACrew("a page"), NEVER),
    "quota": (errors.CrewQuotaError("402", status=402), LATER or NEVER),
    "changed inputs": (errors.CrewChangedInputs("changed"), NEVER),
    "changed feedback": (errors.CrewChangedFeedback("another one was sent"), NEVER),
    "feedback in doubt": (errors.CrewFeedbackInDoubt("lost", **RUN), AGAIN),
    "nothing asked": (errors.CrewNothingAsked("it works", **RUN), AGAIN),
    "callback": (errors.CrewCallbackRefused("leads elsewhere"), NEVER),
    "batch": (errors.CrewBatchFailed("3 of 5 items have no answer", **RUN), AGAIN),
    "may have started": (errors.CrewMayHaveStarted("lost", kickoff_id=None), NEVER),
    "auth lost": (errors.CrewRunAuthLost("401", **RUN), AGAIN),
    "unwatchable": (errors.CrewRunUnwatchable("no token", **RUN), AGAIN),
    "stopped": (errors.CrewRunStopped("stopped", **RUN), NEVER),
    "failed": (errors.CrewRunFailed("out of tokens", **RUN), NEVER),
    "rate limit": (errors.CrewRateLimited("429", status=429), LATER or AGAIN),
    "waking up": (errors.CrewServerError("503", status=503), LATER or AGAIN),
    "server": (errors.CrewServerError("500", status=500), AGAIN),
    "no answer": (errors.CrewTransportError("refused", sent=False), AGAIN),
    "too large": (errors.CrewAnswerTooLarge("100 MB"), AGAIN),
    "not fetched": (errors.CrewAnswerNotFetched("it succeeded", **RUN), AGAIN),
    "not stored": (errors.CrewAnswerNotStored("the bucket is away", **RUN), AGAIN),
    "mismatch": (errors.CrewAnswerMismatch("title: Field required", **RUN), NEVER),
    "unreachable": (errors.CrewRunUnreachable("silent", **RUN), AGAIN),
    "timed out": (errors.CrewRunTimedOut("late", **RUN), AGAIN),
    "unanswered": (errors.CrewRunUnanswered("it asked", **RUN), AGAIN),
    "lost": (errors.CrewRunLost("gone", **RUN), AGAIN),
    "record": (errors.CrewLedgerError("unreadable"), AGAIN),
    "not ours": (ValueError("a callback"), AIRFLOWS),
    "Airflow's": (KeyboardInterrupt(), AIRFLOWS),
}


@pytest.mark.parametrize(("error", "action"), DECISIONS.values(), ids=DECISIONS.keys())
def test_what_can_get_better_is_retried_and_nothing_else(error: BaseException, action: RetryAction) -> None:
    decision = CrewRetryPolicy().evaluate(error, 1, 3)
    assert decision.action is action
    assert (decision.reason is None) is (action is AIRFLOWS)


@pytest.mark.parametrize(("said", "retried"), [("Rate limit reached", True), ("no tides on Mars", False)])
def test_a_batch_is_retried_for_the_words_of_its_failed_runs(
    airflow: Airflow, crew: ScriptedCrew, said: str, retried: bool
) -> None:
    policy = CrewRetryPolicy(retry_failures=["rate limit"])
    crew.story(failure(said))
    task = CrewBatchOperator(task_id="briefs", inputs=[{"topic": "tides"}], retries=1, retry_policy=policy, **FAST)
    assert airflow.task(task).finish().state == ("up_for_retry" if retried else "failed")


def test_every_error_of_ours_is_decided_here() -> None:
    def subclasses(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*map(subclasses, kind.__subclasses__()))

    abstract = {errors.CrewError, errors.CrewApiError, errors.CrewRunError, errors.CrewProtocolError}
    decided = {type(error) for error, _ in DECISIONS.values()}
    # A test before this one may have left behind what `failing` makes: an error that is also one of Airflow's.
    ours = {kind for kind in subclasses(errors.CrewError) if vars(errors)[kind.__name__] is kind}
    assert ours - abstract <= decided


@pytest.mark.parametrize(
    ("words", "said", "retried"),
    [
        (["rate limit"], "litellm.RateLimitError: Rate Limit reached", True),
        (["Overloaded", "rate limit"], "OVERLOADED", True),
        (["rate limit"], "ValueError: no tides on Mars", False),
        ([], "anything", False),
        (["connection", "retry", "run-1"], "KeyError: 'topic'", False),
    ],
)
def test_a_failed_run_is_retried_only_by_its_words(words: list[str], said: str, retried: bool) -> None:
    text = f"Run run-1 failed: {said}. It was started over connection 'overloaded'. A retry starts a new run."
    error = errors.CrewRunFailed(text, **RUN, reason=said)
    assert CrewRetryPolicy(words).evaluate(error, 1, 3).action is (AGAIN if retried else NEVER)


@pytest.mark.parametrize(
    ("header", "delay"),
    [("90", timedelta(seconds=90)), (None, None), ("soon", None), ("0", None), ("999999999", timedelta(hours=6))],
)
def test_a_rate_limit_is_retried_when_the_server_said_and_within_reason(
    header: str | None, delay: timedelta | None
) -> None:
    error = errors.CrewRateLimited("429", status=429, retry_after=header)
    assert CrewRetryPolicy().evaluate(error, 1, 3).retry_delay == delay


def test_zero_reschedules_nothing() -> None:
    policy = CrewRetryPolicy(reschedule_for=timedelta(0))
    assert policy.evaluate(errors.CrewRateLimited("429", status=429), 1, 3).action is AGAIN
    assert policy.evaluate(errors.CrewQuotaError("402", status=402), 1, 3).action is NEVER


@pytest.mark.skipif(not reschedule, reason="from Airflow 3.4 on")
def test_a_reschedule_comes_when_the_server_said_and_is_bounded() -> None:
    error = errors.CrewRateLimited("429", status=429, retry_after="90")
    decision = CrewRetryPolicy(reschedule_for=timedelta(hours=2)).evaluate(error, 1, 3)
    assert decision.retry_delay == timedelta(seconds=90)
    assert decision.reschedule_timeout == timedelta(hours=2)


@pytest.mark.parametrize("error", [errors.CrewRunFailed("out of tokens", **RUN), ValueError("a callback")])
def test_in_a_chain_the_next_policy_is_asked_about_what_this_one_leaves(error: Exception) -> None:
    assert CrewRetryPolicy(None).evaluate(error, 1, 3).action is AIRFLOWS


@pytest.mark.skipif(not reschedule, reason="from Airflow 3.4 on")
def test_airflows_own_chain_takes_it() -> None:
    from airflow.sdk import ChainRetryPolicy, ExceptionRetryPolicy, RetryRule

    theirs = ExceptionRetryPolicy([RetryRule(exception=errors.CrewRunFailed, action=AGAIN)])
    chain = ChainRetryPolicy([CrewRetryPolicy(None), theirs])
    assert chain.evaluate(errors.CrewRunFailed("out of tokens", **RUN), 1, 3).action is AGAIN
    assert chain.evaluate(errors.CrewAuthError("401", status=401), 1, 3).action is NEVER


@pytest.mark.parametrize("kind", [errors.CrewMayHaveStarted, errors.CrewAnswerMismatch])
def test_what_leads_to_a_second_run_is_retried_only_where_the_author_accepts_it(kind: Any) -> None:
    error = kind("lost", kickoff_id=None)
    error.rerun = True
    assert CrewRetryPolicy().evaluate(error, 1, 3).action is AGAIN


@pytest.mark.parametrize("kind", FREE_OR_NEVER)
def test_what_somebody_has_to_mend_is_retried_only_where_that_costs_nothing(kind: type[errors.CrewRunError]) -> None:
    error = kind("no retry finds it", **RUN)
    error.retry_helps = False
    assert CrewRetryPolicy().evaluate(error, 1, 3).action is NEVER


@pytest.mark.parametrize(
    "policy",
    [CrewRetryPolicy(), CrewRetryPolicy(["rate limit", "ä"]), CrewRetryPolicy(None, reschedule_for=timedelta(hours=1))],
)
def test_it_survives_being_stored(policy: CrewRetryPolicy) -> None:
    stored = json.loads(json.dumps(policy.serialize()))
    again: Any = CrewRetryPolicy.deserialize(stored)
    assert vars(again) == vars(policy)


def test_a_task_with_the_policy_survives_the_serialization_of_its_dag() -> None:
    with DAG("with_policy", schedule=None, start_date=LOGICAL_DATE) as dag:
        brief(retries=3, retry_policy=CrewRetryPolicy(["rate limit"]))
    stored = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    task = DagSerialization.from_dict(stored).get_task("brief")
    assert task.retries == 3


def test_a_policy_given_to_all_tasks_of_a_dag_works_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(failure("out of tokens"))
    with DAG(
        "defaults",
        schedule=None,
        start_date=LOGICAL_DATE,
        default_args={"retries": 2, "retry_policy": CrewRetryPolicy()},
    ):
        task = brief()
    assert airflow.task(task).finish().state == "failed"


@pytest.mark.skipif(not reschedule, reason="from Airflow 3.4 on")
def test_a_task_that_its_policy_may_reschedule_does_not_say_that_it_is_not_retried(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.always("/kickoff", error(429, "Plan quota exceeded"))
    outcome = airflow.task(brief(retries=2, retry_policy=CrewRetryPolicy())).finish()
    assert "The task's retry policy decides whether it is tried again later" in outcome.told
    assert "The task is not retried" not in outcome.told
