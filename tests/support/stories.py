"""Random lives of a run, as the server tells them: a story is a list of phases, and the last one lasts for ever."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from airflow_provider_crewai.client.watch import Patience
from airflow_provider_crewai.wire.errors import (
    CrewConfigError,
    CrewConnectionUnreadable,
    CrewError,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import Response
from support.scripted import EPOCH, Answer, Asked

RUN = "run-1"
PATHS = (f"/status/{RUN}", f"/{RUN}/status")
NO_SUCH_PATH = Response(404, {}, b'{"detail":"Not Found"}')

ALIVE = ("PENDING", "STARTED", "RUNNING", "PAUSED", "brand new word")
ENDED = ("SUCCESS", "FAILED", "REVOKED")
UNSEEN = ("NOT FOUND", "404 about the run")
SPEAKS = frozenset((*ALIVE, *ENDED, *UNSEEN))
"""The acts that say something about the run."""

TURNED_AWAY = ("refused", "429", "429 with a wait", "503 with a wait", "503 with a date")
LOST_ANSWERS = (
    *("reset", "500", "502", "503", "503 with no time", "504", "408", "499"),
    *("html", "truncated", "not an object"),
)
DENIED = ("401", "403")
REFUSED = ("400", "409", "422", "redirect")
UNREAD, WRONG = "unreadable connection", "wrong connection"
NO_CREW = "no such path"
FAULTS = (*TURNED_AWAY, *LOST_ANSWERS, *REFUSED, UNREAD, WRONG)


def state(word: str) -> Callable[[], Response]:
    body = json.dumps({"state": word, "status": "said", "result": "done" if word == "SUCCESS" else None}).encode()
    return lambda: Response(200, {}, body)


def says(status: int, body: bytes = b"", **headers: str) -> Callable[[], Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: Response(status, named, body)


ACTS: dict[str, Callable[[], Response | CrewError]] = {
    **{word: state(word) for word in (*ALIVE, *ENDED, "NOT FOUND")},
    "404 about the run": says(404, b'{"error":"Execution not found"}'),
    "refused": lambda: CrewTransportError("connection refused", sent=False),
    "reset": lambda: CrewTransportError("connection reset", sent=True),
    UNREAD: lambda: CrewConnectionUnreadable("Connection 'crew' cannot be read. Nothing was sent."),
    WRONG: lambda: CrewConfigError("Connection 'crew': its Bearer token (password) is empty. Nothing was sent."),
    NO_CREW: lambda: NO_SUCH_PATH,
    "429": says(429),
    "429 with a wait": says(429, retry_after="40"),
    "503 with a wait": says(503, retry_after="3"),
    "503 with no time": says(503, retry_after="soon"),
    "503 with a date": says(503, retry_after="Thu, 01 Jan 2026 00:05:00 GMT"),
    "redirect": says(302, location="https://elsewhere.example"),
    "html": says(200, b"<html>gateway</html>"),
    "truncated": says(200, b'{"state": "SUCC'),
    "not an object": says(200, b'"SUCCESS"'),
    **{
        code: says(int(code), b'{"detail":"no"}')
        for code in ["400", "401", "403", "408", "409", "422", "499", "500", "502", "503", "504"]
    },
}


NOT_CREWS = ("html", "not an object")
NO_CREWS = (NO_CREW, *NOT_CREWS)
"""By these a URL is no crew's, where no crew ever answered; else they are a gateway's in an outage."""


@dataclass(frozen=True)
class Phase:
    """For so many seconds the server acts like this."""

    seconds: float
    act: str


@dataclass(frozen=True)
class Story:
    """All that happens to one wait.

    :param path: which of the two status paths this deployment speaks.
    :param valid_tokens: which renewals of the token are accepted; None means all.
    """

    phases: tuple[Phase, ...]
    path: int
    latencies: tuple[float, ...]
    chances: tuple[float, ...]
    patience: Patience
    age: float
    seen_alive: bool
    valid_tokens: frozenset[int] | None

    def act_at(self, now: float) -> str:
        """Return what the server does at this time."""
        passed = now - EPOCH
        for phase in self.phases[:-1]:
            if passed < phase.seconds:
                return phase.act
            passed -= phase.seconds
        return self.phases[-1].act

    def server(self) -> Telling:
        """Return a server that tells this story once."""
        return Telling(self)


@dataclass
class Telling:
    """A server that tells a story, and remembers what it did to each request."""

    story: Story
    acts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._latencies = itertools.cycle(self.story.latencies)

    def __call__(self, asked: Asked) -> Answer:
        """Answer a request."""
        self.acts.append(self._act(asked))
        return Answer(ACTS[self.acts[-1]](), next(self._latencies))

    def _act(self, asked: Asked) -> str:
        tokens = self.story.valid_tokens
        if tokens is not None and asked.renewals not in tokens:
            return "401"
        act = self.story.act_at(asked.at)
        # A gateway in trouble is in trouble on every path.
        return act if asked.request.path == PATHS[self.story.path] or act in FAULTS else NO_CREW


def patiences() -> st.SearchStrategy[Patience]:
    return st.builds(
        Patience,
        poll_interval=st.sampled_from([0.5, 2.0, 10.0]),
        max_poll_interval=st.sampled_from([10.0, 60.0, 300.0]),
        deadline=st.one_of(st.none(), st.floats(-100, 3500).map(lambda seconds: EPOCH + seconds)),
        unreachable_timeout=st.sampled_from([0.0, 30.0, 900.0, None]),
        human_input=st.booleans(),
        silent=st.sampled_from([False, False, True]),
    )


def phases() -> st.SearchStrategy[tuple[Phase, ...]]:
    acts = st.one_of(*map(st.sampled_from, (ALIVE, UNSEEN, FAULTS, FAULTS, (NO_CREW,), DENIED, ENDED)))
    seconds = st.sampled_from([0.4, 3.0, 25.0, 59.0, 200.0, 1500.0])
    return st.lists(st.builds(Phase, seconds, acts), min_size=1, max_size=6).map(tuple)


def stories() -> st.SearchStrategy[Story]:
    tokens = st.frozensets(st.integers(0, 4), max_size=4)
    return st.builds(
        Story,
        phases=phases(),
        path=st.integers(0, 1),
        latencies=st.lists(st.sampled_from([0.0, 0.2, 3.0, 30.0]), min_size=1, max_size=3).map(tuple),
        chances=st.lists(st.floats(0, 0.999), min_size=1, max_size=3).map(tuple),
        patience=patiences(),
        age=st.sampled_from([0.0, 0.0, 50.0, 5000.0]),
        seen_alive=st.booleans(),
        valid_tokens=st.one_of(st.none(), st.none(), tokens),
    )
