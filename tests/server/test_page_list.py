"""The list of runs on the server's page: its order, its filters, its search, and what started a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_server import PageServer, Run
from support.html_document import Document

from airflow_provider_crewai.server.page.listing import AHEAD, PER_PAGE

TASK = {
    "dag_id": "weekly",
    "run_id": "scheduled__2026-11-27",
    "task_id": "write",
    "map_index": -1,
    "try_number": 2,
    "url": "https://airflow.example/dags/weekly/runs/x/tasks/write",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(tmp_path) as one:
        yield one


def ids(server: PageServer, query: str = "") -> list[str]:
    """The runs that a page of the list shows, in its order."""
    links = Document(server.see(f"/{query}")).all("a")
    return [(link["href"] or "").removeprefix("/runs/") for link in links if (link.get("id") or "").startswith("run-")]


def links(server: PageServer, query: str = "") -> set[str]:
    return {link["href"] or "" for link in Document(server.see(f"/{query}")).all("a")}


def started_by(server: PageServer, task: Any) -> Run:
    return Run(server.runs.path, server.runs.add({"inputs": {"topic": "x"}, "meta": {"airflow": task}}))


def test_what_is_at_work_and_what_asks_stand_before_all_others(server: PageServer) -> None:
    runs = {
        state: server.run(state=state) for state in ("RUNNING", "PAUSED", "STARTED", "SUCCESS", "FAILED", "PENDING")
    }
    for state, run in runs.items():
        run.now(state)
    wanted = ("STARTED", "RUNNING", "PAUSED", "PENDING", "FAILED", "SUCCESS")
    assert ids(server) == [runs[state].kickoff_id for state in wanted]


@pytest.mark.parametrize("state", ["PAUSED", "PENDING"])
def test_two_hundred_runs_that_wait_do_not_hide_the_one_at_work(server: PageServer, state: str) -> None:
    at_work, ended = server.run(topic="the one"), server.run(topic="ended")
    for _ in range(200):
        server.run().now(state)
    at_work.now("RUNNING", unit="task", total=3)
    ended.now("SUCCESS", took=1)
    assert ids(server)[0] == at_work.kickoff_id
    assert len(ids(server)) == 1 + (AHEAD + 1 if state == "PAUSED" else PER_PAGE)
    assert ids(server, "?state=working") == [at_work.kickoff_id]
    assert ids(server, "?state=succeeded") == [ended.kickoff_id]
    assert (f"Waiting for an answer {200 if state == 'PAUSED' else ''}".strip() in Document(server.see("/")).words) is (
        state == "PAUSED"
    )


def test_every_filter_says_how_many_it_leaves_and_leads_there(server: PageServer) -> None:
    for state, count in {"RUNNING": 1, "STARTED": 1, "PAUSED": 3, "FAILED": 2}.items():
        for _ in range(count):
            server.run().now(state)
    words = Document(server.see("/")).words
    assert "All 7 At work 2 Waiting for an answer 3 Failed 2" in words
    assert {f"/?state={key}" for key in ("working", "asking", "failed")} <= links(server)
    assert len(ids(server, "?state=asking")) == 3
    current = [link for link in Document(server.see("/?state=asking")).all("a") if "aria-current" in link]
    assert [link.get("id") for link in current] == ["filter-asking"]


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ("tides", {"tides"}),
        ("TIDES", {"tides"}),
        ("潮", {"kanji"}),
        ("inner", {"deep"}),
        ("42", {"number"}),
        ("audience", {"deep"}),
        ("100%", {"percent"}),
        ("a_b", {"under"}),
        ("weekly", {"airflow"}),
        ('"', {"quote"}),
        ("nothing like it", set()),
        ("\ud800", set()),
    ],
)
def test_a_search_looks_into_inputs_at_any_depth_and_into_the_names_of_the_task(
    server: PageServer, sought: str, found: set[str]
) -> None:
    runs = {
        "tides": server.run(topic="The tides of June"),
        "kanji": server.run(topic="潮"),
        "deep": server.run(audience=[{"x": "an inner word"}]),
        "number": server.run(n=42),
        "percent": server.run(topic="100% sure"),
        "sure": server.run(topic="100 sure"),
        "under": server.run(topic="a_b"),
        "axb": server.run(topic="axb"),
        "quote": server.run(topic='say "this"'),
        "airflow": started_by(server, TASK),
    }
    query = "".join(f"%{byte:02x}" for byte in sought.encode("utf-8", "surrogatepass"))
    assert ids(server, f"?q={query}") == [run.kickoff_id for name, run in reversed(runs.items()) if name in found]


def test_a_search_finds_a_run_by_the_beginning_of_its_id(server: PageServer) -> None:
    run, _ = server.run(), server.run()
    assert ids(server, f"?q={run.kickoff_id[:8]}") == [run.kickoff_id]


def test_a_search_and_a_filter_go_together_and_links_keep_both(server: PageServer) -> None:
    for state in ("FAILED", "SUCCESS"):
        for topic in ("tides", "winds"):
            server.run(topic=topic).now(state)
    page = Document(server.see("/?state=failed&q=tides"))
    assert len(ids(server, "?state=failed&q=tides")) == 1
    assert {"/?q=tides", "/?state=succeeded&q=tides"} <= {link["href"] or "" for link in page.all("a")}
    assert {"type": "hidden", "name": "state", "value": "failed"} in page.all("input")
    assert page.all("html")[0]["data-refresh"] == "/?state=failed&q=tides"


def test_older_runs_stand_on_further_pages(server: PageServer) -> None:
    made = [server.run(number=number).kickoff_id for number in range(PER_PAGE + 10)]
    assert ids(server) == made[:9:-1]
    assert ids(server, "?page=2") == made[9::-1]
    assert "/?page=2" in links(server)
    assert "/" in links(server, "?page=2")
    assert ids(server, "?page=3") == []
    assert "No run is like that." in server.see("/?page=3")


@pytest.mark.parametrize("number", ["x", "-1", "0", "\u00b2", "9" * 30, "9" * 5000])
@pytest.mark.parametrize("name", ["page", "state", "q"])
def test_a_query_that_means_nothing_does_no_harm(server: PageServer, name: str, number: str) -> None:
    server.see(f"/?{name}=" + "".join(f"%{byte:02x}" for byte in number.encode()))


def test_a_run_that_asks_is_listed_with_its_question(server: PageServer) -> None:
    server.run().ask("q", "task", "Is the brief good?")
    assert "Is the brief good?" in Document(server.see("/")).text


# ---- what started a run ---------------------------------------------------------------------------


def test_a_run_says_which_try_of_which_task_started_it_and_leads_there(server: PageServer) -> None:
    run = started_by(server, TASK)
    for path in ("/", f"/runs/{run.kickoff_id}"):
        page = Document(server.see(path))
        assert all(name in page.words for name in ("weekly", "scheduled__2026-11-27"))
        assert "write, try 2" in page.words
        (link,) = (each for each in page.all("a") if each["href"] == TASK["url"])
        assert "noopener" in (link.get("rel") or "")


def test_a_mapped_task_is_named_with_its_place(server: PageServer) -> None:
    started_by(server, TASK | {"map_index": 3})
    assert "weekly · write[3], try 2" in Document(server.see("/")).words


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil.example", "/dags/x", "data:text/html,x", "http://[", 7, None]
)
def test_only_a_url_of_the_web_becomes_a_link_to_airflow(server: PageServer, url: object) -> None:
    run = started_by(server, TASK | {"url": url})
    for path in ("/", f"/runs/{run.kickoff_id}"):
        page = Document(server.see(path))
        assert "write, try 2" in page.words
        assert all((link["href"] or "").startswith(("/runs", "/?", "/", "#")) for link in page.all("a"))
        assert str(url) not in {link["href"] for link in page.all("a")} - {"/"}


@pytest.mark.parametrize(
    "said", [None, 7, "text", "half \ud800", [], {}, {"dag_id": 1}, {"dag_id": "x"}, TASK | {"try_number": 10**400}]
)
def test_a_meta_of_any_shape_can_be_listed(server: PageServer, said: object) -> None:
    run = started_by(server, said)
    assert ids(server) == [run.kickoff_id]
    server.see(f"/runs/{run.kickoff_id}")


# ---- secrets --------------------------------------------------------------------------------------


def test_an_input_that_sounds_like_a_secret_is_nowhere_on_a_page(server: PageServer) -> None:
    run = server.run(topic="tides", api_key="s3cret-1", deep=[{"password": "s3cret-2"}])
    run.now("SUCCESS", result="done", took=1)
    page = f"/runs/{run.kickoff_id}"
    for path in ("/", f"/?again={run.kickoff_id}", page, f"{page}/text/inputs"):
        seen = server.see(path)
        assert "tides" in seen
        assert "s3cret" not in seen
    assert json.loads(server.see(f"{page}/text/inputs")) == {
        "topic": "tides",
        "api_key": "***",
        "deep": [{"password": "***"}],
    }
