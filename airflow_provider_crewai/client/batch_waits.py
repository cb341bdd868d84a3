"""Waits for the runs of a batch in a worker: one look after another, until the worker has something else to do."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_crewai.client import flows
from airflow_provider_crewai.client.batch_pace import News, Pace
from airflow_provider_crewai.client.shell import silent
from airflow_provider_crewai.client.watch import Again, Ending, Watch


def until_news(
    watches: Sequence[Watch], pace: Pace, dialect: flows.Dialect, observe: flows.Observe = silent
) -> flows.Flow[list[Ending]]:
    """Look at the runs, each at its own pace, until enough of them have ended to be worth a wave.

    :param observe: called after each look with its result, an answer or an error, and the time.
    :return: how the waiting for those ended.
    """
    news = News(pace, len(watches))
    reply = yield flows.Pause(0)
    due = {watch: reply.now + watch.first(reply.now, reply.chance) for watch in watches}
    while not news.is_worth_it(now := (yield flows.Pause(0)).now):
        at = min([*due.values(), *filter(None, [news.wakes_at(now)])])
        now = (yield flows.Pause(max(at - now, 0.0))).now
        if (watch := _first(due, now)) is not None:
            del due[watch]
            step = yield from flows.look_once(watch, dialect, observe)
            if isinstance(step, Again):
                due[watch] = (yield flows.Pause(0)).now + step.seconds
            else:
                news.add(step)
    return news.endings


def _first(due: dict[Watch, float], now: float) -> Watch | None:
    """Return the watch whose look has been due for longest, or None if none is."""
    watch = min(due, key=due.__getitem__, default=None)
    return watch if watch is not None and due[watch] <= now else None
