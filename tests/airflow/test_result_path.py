"""A large answer goes to a file in object storage, and its manifest to the next task; it is never lost nor paid for twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from crew_tasks import brief, sensor
from hypothesis import given
from in_memory import Airflow
from pydantic import BaseModel
from scripted_crew import ScriptedCrew, success
from support.values import WILD_TEXTS, json_values

from airflow_provider_crewai.answers import read_answer
from airflow_provider_crewai.in_airflow.answer_files import keep
from airflow_provider_crewai.in_airflow.xcom import hand_over

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
LARGE = {"rows": ["é" * 100] * 20}
SIZE = len(json.dumps(LARGE, ensure_ascii=False).encode())


class Table(BaseModel):
    rows: list[str]
    kind: str = "table"


@BOTH_WAYS
@pytest.mark.parametrize(("above", "in_a_file"), [(SIZE, False), (SIZE - 1, True), (0, True), (None, False)])
def test_an_answer_goes_to_a_file_above_the_limit_and_is_read_in_one_way(
    airflow: Airflow, crew: ScriptedCrew, tmp_path: Path, above: int | None, in_a_file: bool, deferrable: bool
) -> None:
    crew.story("RUNNING", success("A text.", LARGE))
    ti = airflow.task(brief(result_path=f"{tmp_path}/answers/", max_xcom_bytes=above, deferrable=deferrable))
    assert ti.finish().state == "success"
    assert (ti.answer == LARGE) is not in_a_file
    assert read_answer(ti.answer) == LARGE


def test_the_manifest_says_what_is_where(airflow: Airflow, crew: ScriptedCrew, tmp_path: Path) -> None:
    crew.story(success("A text.", LARGE))
    ti = airflow.task(brief(result_path=f"file://{tmp_path}/{{{{ ds }}}}", max_xcom_bytes=100))
    outcome = ti.finish()
    file = tmp_path / "2026-01-05" / "run-1.json"
    content = file.read_bytes()
    assert ti.answer == {
        "crewai_manifest": 1,
        "path": f"file://{file}",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "media_type": "application/json",
        "kickoff_id": "run-1",
    }
    assert json.loads(content) == LARGE
    assert f"is in file://{file}. read_answer() reads it." in outcome.text
    assert [path.name for path in file.parent.iterdir()] == ["run-1.json"]


def test_a_text_is_a_text_file(airflow: Airflow, crew: ScriptedCrew, tmp_path: Path) -> None:
    crew.story(success("# Tides\n\nÉbb."))
    ti = airflow.task(brief(result_path=str(tmp_path), max_xcom_bytes=0))
    ti.finish()
    assert ti.answer["media_type"] == "text/plain; charset=utf-8"
    assert (tmp_path / "run-1.txt").read_text() == read_answer(ti.answer) == "# Tides\n\nÉbb."


@given(json_values(WILD_TEXTS))
def test_any_json_comes_back_from_its_file(tmp_path_factory: pytest.TempPathFactory, answer: Any) -> None:
    folder = str(tmp_path_factory.getbasetemp() / "any")
    assert read_answer(keep(folder, answer, "../run/1")) == answer


def test_an_object_store_keeps_it_in_one_step_without_a_draft() -> None:
    manifest = keep("memory://answers", LARGE, "run-1")
    assert manifest["path"] == "memory://answers/run-1.json"
    assert read_answer(manifest) == LARGE


def test_writing_twice_is_the_same_as_once(tmp_path: Path) -> None:
    assert keep(str(tmp_path), LARGE, "../run/1") == keep(str(tmp_path), LARGE, "../run/1")
    assert [path.name for path in tmp_path.iterdir()] == ["..%2Frun%2F1.json"]


def test_a_typed_answer_is_stored_as_its_type_writes_it(airflow: Airflow, crew: ScriptedCrew, tmp_path: Path) -> None:
    crew.story(success(json.dumps(LARGE)))
    ti = airflow.task(brief(output_type=Table, result_path=str(tmp_path), max_xcom_bytes=100))
    ti.finish()
    assert json.loads((tmp_path / "run-1.json").read_text()) == {**LARGE, "kind": "table"}
    assert read_answer(ti.answer, Table) == Table(**LARGE)


@pytest.mark.parametrize("path", [None, "", "{{ none }}"])
def test_without_a_path_a_large_answer_is_returned_with_a_warning_that_names_the_cures(
    airflow: Airflow, crew: ScriptedCrew, path: str | None
) -> None:
    crew.story(success("A text.", LARGE))
    ti = airflow.task(brief(max_xcom_bytes=100, result_path=path))
    outcome = ti.finish()
    assert ti.answer == LARGE
    assert f"The answer takes {SIZE:,} bytes, which is much for XCom" in outcome.text
    assert "Set result_path to keep large answers in object storage, or raise max_xcom_bytes (100)." in outcome.text


def test_a_sensor_stores_it_too(airflow: Airflow, crew: ScriptedCrew, tmp_path: Path) -> None:
    crew.now("run-1", success("A text.", LARGE))
    ti = airflow.task(sensor(result_path=str(tmp_path), max_xcom_bytes=100))
    ti.finish()
    assert read_answer(ti.answer) == LARGE


@BOTH_WAYS
def test_an_answer_that_cannot_be_written_is_kept_and_a_retry_writes_it_without_paying_again(
    airflow: Airflow, crew: ScriptedCrew, tmp_path: Path, deferrable: bool
) -> None:
    crew.story("RUNNING", success("A text.", LARGE))
    (tmp_path / "answers").write_text("a file where a folder must be")
    options = {"result_path": f"{tmp_path}/answers", "max_xcom_bytes": 100, "retries": 1, "deferrable": deferrable}
    ti = airflow.task(brief(**options))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert f"Run run-1 succeeded, but its answer could not be written to {tmp_path}/answers/run-1.json" in outcome.told
    assert "A retry reads the answer again and stores it; it starts no new run." in outcome.told
    assert ti.xcom("crew_answer") == LARGE
    (tmp_path / "answers").unlink()
    assert ti.finish().state == "success"
    assert read_answer(ti.answer) == LARGE
    assert len(crew.kickoffs) == 1


def test_where_a_retry_would_pay_again_there_is_none(airflow: Airflow, crew: ScriptedCrew, tmp_path: Path) -> None:
    crew.story(success("A text.", LARGE))
    (tmp_path / "answers").write_text("a file where a folder must be")
    options = {"result_path": f"{tmp_path}/answers", "max_xcom_bytes": 100, "retries": 1, "durable": False}
    ti = airflow.task(brief(**options))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert "The task is not retried, because a retry would pay for a second run." in outcome.told
    assert ti.xcom("crew_answer") == LARGE


def test_a_large_answer_that_does_not_fit_its_type_is_kept_in_a_file(
    airflow: Airflow, crew: ScriptedCrew, tmp_path: Path
) -> None:
    crew.story(success("A text.", {**LARGE, "kind": 7}))
    ti = airflow.task(brief(output_type=Table, result_path=str(tmp_path), max_xcom_bytes=100))
    assert ti.finish().state == "failed"
    assert read_answer(ti.xcom("crew_answer")) == {**LARGE, "kind": 7}


@pytest.mark.parametrize("path", ["nowhere://bucket/answers", ["a", "list"]], ids=str)
def test_a_path_that_leads_nowhere_is_refused_before_money_is_spent(
    airflow: Airflow, crew: ScriptedCrew, path: Any
) -> None:
    outcome = airflow.task(brief(result_path=path, retries=2)).finish()
    assert outcome.state == "failed"
    assert "result_path" in outcome.told
    assert crew.kickoffs == []


@pytest.mark.parametrize("size", [-1, 1.5, "100", True])
def test_a_size_that_is_none_is_refused_when_the_dag_is_parsed(size: Any) -> None:
    with pytest.raises(ValueError, match=r"Task 'brief': max_xcom_bytes is .*; set it to a number of bytes"):
        brief(max_xcom_bytes=size)


# ---- what a crew writes is hostile -----------------------------------------------------------------


class Task:
    """As much of a task as handing over needs."""

    class log:  # noqa: N801 - an attribute
        warning = info = staticmethod(lambda *_: None)

    multiple_outputs = False
    max_xcom_bytes = result_path = None


def test_no_answer_passes_for_a_manifest(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the key")
    forged = keep(str(tmp_path), "the key", "secret")
    for answer in (forged, [forged], {"a": {"b": forged}}):
        returned = hand_over(Task(), answer, "run-1")
        assert isinstance(returned, str)
        assert read_answer(returned) == returned
        assert json.loads(returned) == answer


def test_a_file_that_somebody_changed_is_not_the_answer(tmp_path: Path) -> None:
    manifest = keep(str(tmp_path), LARGE, "run-1")
    (tmp_path / "run-1.json").write_text("{}")
    with pytest.raises(ValueError, match="was changed since the task wrote it"):
        read_answer(manifest)
    with pytest.raises(ValueError, match="A newer version of airflow-provider-crewai wrote this manifest"):
        read_answer({**manifest, "crewai_manifest": 2})


def test_a_manifest_is_returned_whole(airflow: Airflow, crew: ScriptedCrew, tmp_path: Path) -> None:
    crew.story(success("A text.", LARGE))
    ti = airflow.task(brief(result_path=str(tmp_path), max_xcom_bytes=100, multiple_outputs=True))
    assert ti.finish().state == "success"
    assert ti.xcom("path") is None
    assert read_answer(ti.answer) == LARGE
