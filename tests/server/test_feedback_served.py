"""Both clients give a person's feedback to a real crew and a real flow, through each of their three doors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aop_server import Server, Start
from receiver import receiving
from support.callers import CALLERS, Caller
from support.server import LOSE_ANSWER, PASS, Plan, Scripted, faults

from airflow_provider_crewai.client.aio import AsyncCrewClient
from airflow_provider_crewai.client.feedback import APPROVED, NO_HOOKS, Fate, Given
from airflow_provider_crewai.client.settings import Settings, read_settings
from airflow_provider_crewai.client.sync import CrewClient
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import Feedback, Kickoff, Question, Run

PROJECTS = Path(__file__).parent / "projects"


class Talker:
    """One of the two clients, connected to a server."""

    def __init__(self, caller: Caller, server: Server, url: str = "") -> None:
        self._blocking = caller.name == "sync"
        self.settings = read_settings("crew", host=url or server.url, password=server.token, extra={})
        self._server = server

    def give(self, question: Question, text: str, kickoff_id: str, hooks: Kickoff = NO_HOOKS) -> Given:
        feedback = Feedback(question.key, text)
        if self._blocking:
            return CrewClient(lambda: self.settings).give(feedback, question, kickoff_id, hooks)
        return asyncio.run(self._give_async(feedback, question, kickoff_id, hooks))

    async def _give_async(self, feedback: Feedback, question: Question, kickoff_id: str, hooks: Kickoff) -> Given:
        async def connect() -> Settings:
            return self.settings

        async with AsyncCrewClient(connect) as client:
            return await client.give(feedback, question, kickoff_id, hooks)

    def question(self, kickoff_id: str, other_than: str = "") -> Question:
        self._server.asked(kickoff_id, other_than)
        run: Run = CrewClient(lambda: self.settings).get_status(kickoff_id)
        assert run.question is not None
        return run.question


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    return request.param


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scribe") / "calls"


@pytest.fixture
def review(shared: Start, calls: Path) -> Server:
    return shared(str(PROJECTS / "review"), environment={"SCRIBE_CALLS": str(calls)})


@pytest.fixture
def approval(shared: Start) -> Server:
    return shared(str(PROJECTS / "approval"))


def test_a_crew_asks_two_rounds_and_is_told_the_webhook_again(review: Server, caller: Caller) -> None:
    talker = Talker(caller, review)
    with receiving() as human:
        hooks = Kickoff(human_input_webhook=human.url)
        kickoff_id = review.kickoff({"topic": "tides"}, humanInputWebhookUrl=human.url)
        first = talker.question(kickoff_id)
        assert first.flow_id is None
        assert talker.give(first, "Make it shorter", kickoff_id, hooks).fate is Fate.SENT
        second = talker.question(kickoff_id, other_than=first.task_id)
        assert "Make it shorter" in second.output
        assert [told.json()["task_id"] for told in human.wait_for(2)] == [first.task_id, second.task_id]
    assert talker.give(second, APPROVED, kickoff_id).fate is Fate.SENT
    review.wait(kickoff_id, "SUCCESS")


def test_a_flow_is_answered_by_its_id_and_takes_the_outcome(approval: Server, caller: Caller) -> None:
    talker = Talker(caller, approval)
    kickoff_id = approval.kickoff({"title": "Tides"})
    question = talker.question(kickoff_id)
    assert (question.flow_id, question.options) == (kickoff_id, ("approved", "rejected"))
    assert talker.give(question, "no, shorter", kickoff_id).fate is Fate.SENT
    again = talker.question(kickoff_id, other_than=question.task_id)
    assert again.key != question.key
    assert talker.give(again, "approved", kickoff_id).fate is Fate.SENT
    assert approval.wait(kickoff_id, "SUCCESS")["result_json"] == {"title": "Tides", "drafts": 2}


def test_a_flow_that_a_deployment_hides_is_answered_by_its_id_too(shared: Start, caller: Caller) -> None:
    server = shared(str(PROJECTS / "approval"), "--strict-aop")
    talker = Talker(caller, server)
    kickoff_id = server.kickoff({"title": "Tides"})
    server.wait(kickoff_id, "PAUSED")
    bare = CrewClient(lambda: talker.settings).get_status(kickoff_id).question
    assert bare == Question(kickoff_id, flow_id=kickoff_id)
    assert talker.give(bare, "approved", kickoff_id).fate is Fate.SENT
    assert CrewClient(lambda: talker.settings).get_status(kickoff_id).question is None
    server.wait(kickoff_id, "SUCCESS")


def test_the_own_url_of_a_question_takes_the_feedback_without_a_token(approval: Server, caller: Caller) -> None:
    talker = Talker(caller, approval)
    with receiving() as human:
        kickoff_id = approval.kickoff({"title": "Tides"}, humanInputWebhookUrl=human.url)
        (told,) = human.wait_for(1)
    question = Question(told.json()["request"]["id"], flow_id=kickoff_id, callback_url=told.json()["callback_url"])
    assert talker.give(question, "approved", kickoff_id).fate is Fate.SENT
    approval.wait(kickoff_id, "SUCCESS")


def test_whoever_comes_second_is_told_so(review: Server, caller: Caller) -> None:
    talker = Talker(caller, review)
    kickoff_id = review.kickoff({"topic": "tides"})
    question = talker.question(kickoff_id)
    assert review.resume(kickoff_id, question.task_id, "ok").status == 200
    given = talker.give(question, "Make it longer", kickoff_id)
    assert given.fate is Fate.TOO_LATE
    assert f"to run {kickoff_id} came too late" in given.said
    review.wait(kickoff_id, "SUCCESS")


def test_a_question_that_nobody_asked_is_an_error(review: Server, caller: Caller) -> None:
    talker = Talker(caller, review)
    kickoff_id = review.kickoff({"topic": "tides"})
    talker.question(kickoff_id)
    assert talker.give(Question("made-up"), "ok", kickoff_id).fate is Fate.TOO_LATE
    with pytest.raises(CrewError, match="it did not ask this question"):
        talker.give(Question("made-up"), "ok", "no-such-run")
    review.ask("POST", f"/stop/{kickoff_id}")


def test_feedback_whose_answer_is_lost_arrives_once(approval: Server, caller: Caller) -> None:
    plan = Plan("POST /resume_feedback", [LOSE_ANSWER, PASS])
    with Scripted(faults(approval.url, plan)) as proxy:
        talker = Talker(caller, approval, proxy.url)
        kickoff_id = approval.kickoff({"title": "Tides"})
        assert talker.give(talker.question(kickoff_id), "approved", kickoff_id).fate is Fate.ARRIVED
    assert len(plan.met) == 1
    assert approval.wait(kickoff_id, "SUCCESS")["result_json"] == {"title": "Tides", "drafts": 1}


def test_a_question_with_a_url_elsewhere_is_answered_at_the_crew(approval: Server, caller: Caller) -> None:
    with Scripted(lambda _: pytest.fail("feedback went to a stranger")) as stranger:
        kickoff_id = approval.kickoff({"title": "Tides"})
        talker = Talker(caller, approval)
        asked = talker.question(kickoff_id)
        question = Question(asked.task_id, flow_id=kickoff_id, callback_url=f"{stranger.url}/feedback")
        assert talker.give(question, "approved", kickoff_id).fate is Fate.SENT
        assert not stranger.seen
    approval.wait(kickoff_id, "SUCCESS")
