"""The list of runs: which ones it shows, in which order, and how many there are.

It reads the database over a connection of its own, so that a long search holds nobody else up.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from airflow_provider_crewai.server.crew_process.run_states import in_sql
from airflow_provider_crewai.server.crew_process.storable import storable
from airflow_provider_crewai.server.page.origin import Origin, origin_of

FILTERS = {
    "working": ("At work", ("STARTED", "RUNNING")),
    "asking": ("Waiting for an answer", ("PAUSED",)),
    "queued": ("Waiting for a free slot", ("PENDING",)),
    "succeeded": ("Succeeded", ("SUCCESS",)),
    "failed": ("Failed", ("FAILED",)),
    "stopped": ("Stopped", ("REVOKED",)),
}
"""What the list can be narrowed to: its word, and the states of the database."""

FIRST = ("working", "asking")
"""What stands before all other runs: it needs somebody's eye."""

AHEAD = 10
"""How many of each stand there. A link leads to the rest."""

PER_PAGE = 50
_LAST_PAGE = 100_000
_LONGEST_SEARCH = 200

_FOUND = """
(?1 = '' OR instr(kickoff_id, ?1) = 1 OR (json_valid(request) AND EXISTS (
    SELECT 1 FROM json_tree(request) WHERE atom LIKE ?2 ESCAPE '\\' OR key LIKE ?2 ESCAPE '\\'
)))
"""
# Only an object is read: a text may hold half a surrogate pair, which sqlite hands out as broken UTF-8.
_AIRFLOW = """
CASE WHEN json_valid(request) AND json_type(request, '$.meta.airflow') = 'object'
THEN json_extract(request, '$.meta.airflow') END
"""
_QUESTION = """
(SELECT substr(message, 1, 1000) FROM questions
WHERE kickoff_id = runs.kickoff_id AND answered_at IS NULL ORDER BY asked_at DESC LIMIT 1)
"""
_FIELDS = f"""
kickoff_id, state, substr(status, 1, 1000) AS status, coalesce(title, '') AS title, created_at, started_at, ended_at,
{_AIRFLOW} AS origin, {_QUESTION} AS question
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person wants the list to show.

    :param narrowed: a key of `FILTERS`, or an empty text for all runs.
    :param sought: what to look for in inputs, ids and the names of what started a run.
    :param page: from 1.
    """

    narrowed: str = ""
    sought: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: QueryParams) -> Wanted:
        """Read a query, whatever it says."""
        narrowed, page = query.get("state", ""), query.get("page", "")
        number = int(page[:9]) if page.isascii() and page.isdecimal() else 1
        sought = query.get("q", "").strip()[:_LONGEST_SEARCH]
        return cls(narrowed if narrowed in FILTERS else "", sought, min(max(number, 1), _LAST_PAGE))

    def query(self, narrowed: str | None = None, page: int = 1) -> str:
        """Return the query of another list with the same search: an empty text, or one that begins with `?`."""
        said = {"state": self.narrowed if narrowed is None else narrowed, "q": self.sought, "page": page > 1 and page}
        return (query := urlencode({name: value for name, value in said.items() if value})) and f"?{query}"


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run as the list shows it, without anything that may be large.

    :param status: the beginning of the sentence that goes with the state.
    :param title: its inputs in one line.
    :param origin: the task in Airflow that started it, if its kickoff names one.
    :param question: the beginning of what it asks a human.
    """

    kickoff_id: str
    state: str
    status: str | None
    title: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    origin: Origin | None
    question: str | None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the list.

    :param more: the query of the list that shows all of it, if this does not.
    """

    title: str
    runs: Sequence[ListedRun]
    total: int
    more: str | None = None


class Listing:
    """Reads the lists of runs.

    :param path: the database, which exists.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA query_only=ON")

    def version(self) -> int:
        """Return a number that changes with each change that somebody makes to the database."""
        return int(self._all("PRAGMA data_version")[0][0])

    def counts(self, sought: str) -> dict[str, int]:
        """Return how many runs each filter leaves of those that a search finds."""
        query = f"SELECT state, count(*) FROM runs WHERE {_FOUND} GROUP BY state"  # noqa: S608 - constants
        found = dict(map(tuple, self._all(query, sought, _pattern(sought))))
        return {key: sum(found.get(state, 0) for state in states) for key, (_, states) in FILTERS.items()}

    def sections(self, wanted: Wanted, counts: dict[str, int]) -> list[Section]:
        """Return the parts of a page of the list: all of one filter, or what needs an eye before the others."""
        if wanted.narrowed:
            return [self._section(wanted, (wanted.narrowed,), counts)]
        ahead = [self._ahead(wanted, key, counts[key]) for key in FIRST if counts[key] and wanted.page == 1]
        rest = [key for key in FILTERS if key not in FIRST]
        return [*ahead, self._section(wanted, rest, counts)]

    def pages(self, wanted: Wanted, counts: dict[str, int]) -> int:
        """Return how many pages the list has."""
        keys = (wanted.narrowed,) if wanted.narrowed else [key for key in FILTERS if key not in FIRST]
        return max(1, -(-sum(counts[key] for key in keys) // PER_PAGE))

    def before(self, kickoff_id: str) -> str | None:
        """Return the id of the run that was kicked off before another one, if there is one."""
        query = (
            "SELECT kickoff_id FROM runs WHERE position < (SELECT position FROM runs WHERE kickoff_id = ?) "
            "ORDER BY position DESC LIMIT 1"
        )
        return next((row[0] for row in self._all(query, kickoff_id)), None)

    def newest(self) -> str | None:
        """Return the id of the run that was kicked off last, if there is one."""
        return next((row[0] for row in self._all("SELECT kickoff_id FROM runs ORDER BY position DESC LIMIT 1")), None)

    def origin(self, kickoff_id: str) -> Origin | None:
        """Return what started a run, if its kickoff says it."""
        query = f"SELECT {_AIRFLOW} FROM runs WHERE kickoff_id = ?"  # noqa: S608 - constants
        return next((_origin(row[0]) for row in self._all(query, kickoff_id)), None)

    def listed(self, keys: Sequence[str], limit: int, offset: int = 0, sought: str = "") -> list[ListedRun]:
        """Return runs that these filters leave and a search finds, the newest first."""
        states = tuple(state for key in keys for state in FILTERS[key][1])
        query = (
            f"SELECT {_FIELDS} FROM runs WHERE state IN {in_sql(states)} AND {_FOUND} "  # noqa: S608 - constants
            "ORDER BY position DESC LIMIT ?3 OFFSET ?4"
        )
        rows = self._all(query, sought, _pattern(sought), limit, offset)
        return [ListedRun(**{**dict(row), "origin": _origin(row["origin"])}) for row in rows]

    def _ahead(self, wanted: Wanted, key: str, total: int) -> Section:
        more = wanted.query(narrowed=key) if total > AHEAD else None
        return Section(FILTERS[key][0], self.listed((key,), AHEAD, sought=wanted.sought), total, more)

    def _section(self, wanted: Wanted, keys: Sequence[str], counts: dict[str, int]) -> Section:
        title = FILTERS[wanted.narrowed][0] if wanted.narrowed else "All others"
        runs = self.listed(keys, PER_PAGE, (wanted.page - 1) * PER_PAGE, wanted.sought)
        return Section(title, runs, sum(counts[key] for key in keys))

    def _all(self, query: str, *values: str | int) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, [storable(value) for value in values]).fetchall()


def _pattern(sought: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", sought)
    return f"%{escaped}%"


def _origin(said: str | None) -> Origin | None:
    return None if said is None else origin_of(json.loads(said))
