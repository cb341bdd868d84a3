"""What is on record of a batch: which items wait, which runs may go on, what has ended.

One small object is written again and again. It names the runs that may go on, and has one letter for each item. What
has ended goes to *pages* with its answer, each of which is written once, before the record that counts it.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from airflow_provider_crewai.client.ledger import Record, stored_number
from airflow_provider_crewai.wire.codec import fault_of_id
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.times import iso

VERSION = 1
ABOUT = (
    "What this task knows of its batch. If you delete it, the task forgets its runs: the next try starts all items "
    "again, which costs money, and runs that still go on are neither stopped nor taken up. `states` has a letter for "
    "each item: . waits, o its run goes on, l left: nobody knows how its run ends, s succeeded, f failed, x stopped, "
    "r refused: no run was started, m its answer is not what the task expects."
)
"""For the person who finds the record in Airflow's UI or in a file."""

PAGE_SIZE = 48_000
"""Bytes of one page. Airflow's task state store warns above 65,535 (`[state_store] max_value_storage_bytes`, 3.3)."""


class ItemState(enum.StrEnum):
    """Where an item of a batch is, as one letter of the record."""

    WAITS = "."
    OPEN = "o"
    LEFT = "l"
    SUCCEEDED = "s"
    FAILED = "f"
    STOPPED = "x"
    REFUSED = "r"
    MISMATCHED = "m"

    @property
    def is_failure(self) -> bool:
        """Return whether the item has no answer, and will get none in this try."""
        return self not in (ItemState.WAITS, ItemState.OPEN, ItemState.SUCCEEDED)


class Left(enum.StrEnum):
    """Why a try waits no longer for a run that may go on."""

    MAY_HAVE_STARTED = "a kickoff was sent and its answer was lost"
    LOST = "the deployment does not know the run"
    TOO_LARGE = "its answer is too large to be read"


@dataclass(frozen=True, slots=True)
class Open:
    """A run that may go on.

    :param item: the item's name, see `named`.
    :param at: epoch second of the intent, just before the kickoff was sent.
    :param kickoff_id: the run, or None as long as the kickoff has not been answered.
    :param left: why this try waits no longer for it, or None if it does.
    :param took: the seconds that it took, if an earlier try has read its end.
    """

    item: str
    at: float
    kickoff_id: str | None = None
    left: Left | None = None
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an item ended.

    :param index: the item's place in the list whose fingerprint is `among`.
    :param at: epoch second of the kickoff, or None if no run was started.
    :param answer: the crew's, as the next task gets it, or None if it gave none.
    :param error: why there is no answer, or none that fits; in words.
    :param usage: token counts, by the API's own names.
    :param seconds: from the kickoff to the end as we saw it, or None if no run was started.
    """

    item: str
    index: int
    among: str
    state: ItemState
    kickoff_id: str | None = None
    at: float | None = None
    answer: JSON = None
    error: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Slow:
    """Why no kickoff is sent for a while: a rate limit, a quota, an outage.

    :param since: epoch second of the first of the failures in a row; `count` of them.
    :param until: epoch second until which none is sent.
    :param why: in words.
    :param is_outage: whether the deployment is in trouble; else it only asks for patience.
    """

    since: float
    until: float
    count: int
    why: str
    is_outage: bool = False


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch, as its tries write it down.

    :param task: the batch as a whole, as the record of a run describes it: `kickoff_id` is the batch's own id, and
        `fingerprint` is that of the list.
    :param states: a letter for each item, in the order of the inputs.
    :param open: the runs that may go on, by the item's index.
    :param first_page: the first page that counts. A batch that begins anew leaves the older ones alone.
    :param pages: the number of the next page.
    :param tokens: of all runs that have ended.
    :param seconds: what those took together, and `timed` how many they are.
    :param wave_at: epoch second at which runs were last started or read.
    :param slow: why no kickoff is sent for a while, or None.
    """

    task: Record
    states: str
    open: Mapping[int, Open] = field(default_factory=dict)
    first_page: int = 0
    pages: int = 0
    tokens: int = 0
    seconds: float = 0.0
    timed: int = 0
    wave_at: float = 0.0
    slow: Slow | None = None

    @property
    def batch_id(self) -> str:
        """Return the batch's own id."""
        return str(self.task.kickoff_id)

    @property
    def waiting(self) -> list[int]:
        """Return the items that have no run yet."""
        return [index for index, state in enumerate(self.states) if state == ItemState.WAITS]

    @property
    def watched(self) -> dict[int, Open]:
        """Return the runs that this try waits for."""
        return {index: run for index, run in self.open.items() if run.left is None and run.kickoff_id is not None}

    @property
    def count(self) -> Counter[ItemState]:
        """Return how many items are in which state."""
        return Counter(map(ItemState, self.states))

    @property
    def failures(self) -> int:
        """Return how many items have no answer, and will get none in this try."""
        return sum(count for state, count in self.count.items() if state.is_failure)

    @property
    def usual(self) -> float | None:
        """Return the seconds that a run takes on average, or None if none has ended yet."""
        return self.seconds / self.timed if self.timed else None

    def opened(self, index: int, item: str, at: float) -> BatchRecord:
        """Return the record with the intent to start an item's run."""
        return self._with(index, ItemState.OPEN, Open(item, at))

    def submitted(self, index: int, kickoff_id: str) -> BatchRecord:
        """Return the record with the run that the kickoff started. The deployment takes kickoffs again."""
        known = replace(self.open[index], kickoff_id=kickoff_id, left=None)
        return replace(self._with(index, ItemState.OPEN, known), slow=None)

    def withdrawn(self, index: int) -> BatchRecord:
        """Return the record without an intent: no run was started."""
        return self._with(index, ItemState.WAITS, None)

    def left(self, index: int, why: Left) -> BatchRecord:
        """Return the record with a run that this try waits for no longer, though it may go on."""
        return self._with(index, ItemState.LEFT, replace(self.open[index], left=why))

    def ended(self, index: int, outcome: Outcome) -> BatchRecord:
        """Return the record with an item that has ended. Its outcome goes to a page."""
        ended = self._with(index, outcome.state, None)
        if outcome.seconds is None or self.open[index].took is not None:  # the latter is counted
            return ended
        tokens = self.tokens + int(outcome.usage.get("total_tokens", 0))
        return replace(ended, tokens=tokens, seconds=self.seconds + outcome.seconds, timed=self.timed + 1)

    def slowed(self, slow: Slow | None) -> BatchRecord:
        """Return the record with the reason why no kickoff is sent for a while, or with none."""
        return replace(self, slow=slow)

    def _with(self, index: int, state: ItemState, run: Open | None) -> BatchRecord:
        others = {other: each for other, each in self.open.items() if other != index}
        states = f"{self.states[:index]}{state}{self.states[index + 1 :]}"
        return replace(self, states=states, open=others if run is None else others | {index: run})

    def to_json(self) -> JSONObject:
        """Return what is stored. People see it in the UI, so it says what it is."""
        count: JSONObject = {state.name.lower(): count for state, count in self.count.items()}
        runs: JSONObject = {str(index): _open_to_json(run) for index, run in self.open.items()}
        told: JSONObject = {"about": ABOUT, "version": VERSION, "count": count, "states": self.states, "open": runs}
        plain = {name: getattr(self, name) for name in _NUMBERS}
        return (
            told | plain | {"tokens": self.tokens, "slow": self.slow and asdict(self.slow), "task": self.task.to_json()}
        )

    @classmethod
    def from_json(cls, stored: JSON) -> BatchRecord:
        """Return the record that was stored.

        :raises CrewLedgerError: it is not our record, or its version is unknown.
        """
        try:
            return cls._from_object(stored)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CrewLedgerError(
                f"The stored record of this task's batch cannot be understood: {str(stored)[:500]!r}. Nothing was "
                "sent, because runs that it names may go on: look on the crew's page. A retry fails in the same way "
                "until somebody deletes the record (`crewai_batch` in the task state store, or its file below [crewai] "
                "ledger_path)"
            ) from error

    @classmethod
    def _from_object(cls, stored: JSON) -> BatchRecord:
        if not isinstance(stored, dict) or stored["version"] != VERSION:
            raise ValueError(stored)
        runs: dict[str, JSONObject] = stored["open"]  # type: ignore[assignment]  # a wrong type raises below
        slow: JSONObject | None = stored["slow"]  # type: ignore[assignment]  # nor is this one checked here
        record = cls(
            Record.from_json(stored["task"]),
            str(stored["states"]),
            {int(index): _open_from_json(run) for index, run in runs.items()},
            slow=None if slow is None else _slow_from_json(slow),
            tokens=int(stored["tokens"]),  # type: ignore[arg-type]  # whatever was stored
            **{name: kind(stored_number(stored[name])) for name, kind in _NUMBERS.items()},
        )
        may_go_on = {index for index, state in enumerate(record.states) if ItemState(state) in _MAY_GO_ON}
        if may_go_on != set(record.open):
            raise ValueError(stored)
        return record


_MAY_GO_ON = (ItemState.OPEN, ItemState.LEFT)
_NUMBERS: dict[str, type] = {
    "first_page": int,
    "pages": int,
    "seconds": float,
    "timed": int,
    "wave_at": float,
}


def _open_to_json(run: Open) -> JSONObject:
    return {**asdict(run), "left": run.left and run.left.name.lower(), "kickoff_sent_at": iso(run.at)}


def _open_from_json(run: JSONObject) -> Open:
    left = None if run["left"] is None else Left[str(run["left"]).upper()]
    return Open(str(run["item"]), stored_number(run["at"]), _id(run["kickoff_id"]), left, _seconds(run["took"]))


def _id(stored: JSON) -> str | None:
    if stored is not None and fault_of_id(stored):  # type: ignore[arg-type]  # whatever was stored
        raise ValueError(stored)
    return None if stored is None else str(stored)


def _seconds(stored: JSON) -> float | None:
    return None if stored is None else stored_number(stored)


def _slow_from_json(slow: JSONObject) -> Slow:
    since, until, count = (stored_number(slow[name]) for name in ("since", "until", "count"))
    return Slow(since, until, int(count), str(slow["why"]), bool(slow["is_outage"]))


def named(fingerprints: Iterable[str]) -> tuple[str, ...]:
    """Return the items' names. Equal items are counted, so that each has a name of its own.

    An item is known by what is sent for it, so a retry finds it again where somebody has added or removed others.
    """
    seen: Counter[str] = Counter()
    names = []
    for fingerprint in fingerprints:
        short = fingerprint[:16]
        seen[short] += 1
        names.append(short if seen[short] == 1 else f"{short}.{seen[short]}")
    return tuple(names)


def list_fingerprint(names: Sequence[str]) -> str:
    """Return a short digest of a whole list of items."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]


def pages_of(outcomes: Iterable[Outcome]) -> Iterator[JSONObject]:
    """Yield the pages for outcomes. A page holds several, as long as it stays small."""
    page: list[JSON] = []
    size = 0
    for outcome in outcomes:
        told = {**asdict(outcome), "state": outcome.state.name.lower()}
        size += (length := len(json.dumps(told)))
        if page and size > PAGE_SIZE:
            yield {"version": VERSION, "outcomes": page}
            page, size = [], length
        page.append(told)
    if page:
        yield {"version": VERSION, "outcomes": page}


def outcomes_on(page: JSON) -> list[Outcome]:
    """Return the outcomes of a page.

    :raises CrewLedgerError: it is not a page of ours, or is missing.
    """
    try:
        return _outcomes_on(page)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CrewLedgerError(
            "A page of this task's batch is missing or cannot be understood, so answers that were paid for are not at "
            "hand. Nothing was sent. Look for `crewai_batch.<number>` beside the record, or clear the task to run all "
            "items again"
        ) from error


def _outcomes_on(page: JSON) -> list[Outcome]:
    if not isinstance(page, dict) or page["version"] != VERSION:
        raise ValueError(page)
    told: list[JSONObject] = page["outcomes"]  # type: ignore[assignment]  # a wrong type raises below
    return [_outcome_from_json(each) for each in told]


def _outcome_from_json(told: JSONObject) -> Outcome:
    usage: JSONObject = told["usage"]  # type: ignore[assignment]  # a wrong type raises below
    return Outcome(
        str(told["item"]),
        int(stored_number(told["index"])),
        str(told["among"]),
        ItemState[str(told["state"]).upper()],
        _id(told["kickoff_id"]),
        _seconds(told["at"]),
        told["answer"],
        None if told["error"] is None else str(told["error"]),
        {name: int(count) for name, count in usage.items()},  # type: ignore[arg-type]  # nor is this one checked
        _seconds(told["seconds"]),
    )
