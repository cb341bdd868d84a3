"""Says in OpenLineage which run of which crew a task waited for. Imported only where its provider asks for it."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define
from openlineage.client.facet_v2 import RunFacet

FACET = "crewai_run"
"""The name of the facet among those of the task's run."""


@define
class CrewRunFacet(RunFacet):
    """A run of a crew.

    :param crew: the crew's base URL.
    :param ending: how the task's waiting ended, as in the XCom `crew_run`.
    :param isOver: whether the run is certainly over.
    :param usage: token counts by the API's own names.
    :param error: the crew's own words if the run failed, at most a few lines.
    """

    kickoffId: str  # noqa: N815 - as all facets are written
    crew: str | None
    ending: str | None
    isOver: bool  # noqa: N815 - the same
    usage: dict[str, int]
    error: str | None = None

    _additional_skip_redact: ClassVar[list[str]] = ["kickoffId", "crew", "ending"]


def lineage_of(crew_run: dict[str, Any], error: str | None) -> OperatorLineage[Any, RunFacet]:
    """Return the lineage of a task whose waiting ended.

    :param crew_run: see `client.summary`.
    :param error: the crew's own words, or None.
    """
    facet = CrewRunFacet(
        kickoffId=crew_run["kickoff_id"],
        crew=crew_run["crew"],
        ending=crew_run["ending"],
        isOver=crew_run["is_over"],
        usage=crew_run["usage"],
        error=error,
    )
    return OperatorLineage(run_facets={FACET: facet})
