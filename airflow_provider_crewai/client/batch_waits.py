"""TEMP."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_crewai.client import flows
from airflow_provider_crewai.client.batch_pace import News, Pace
from airflow_provider_crewai.client.shell import silent
from airflow_provider_crewai.client.watch import Again, Ending, Watch


def until_news(
    watches: Sequence[Watch], pace: Pace, dialect: flows.Dialect, observe: flows.Observe = silent
) -> flows.Flow[list[Ending]]:
    """TEMP."""
    news = News(pace, len(watches))
    reply = yield flows.Pause(0)
    due = [(reply.now + watch.first(reply.now, reply.chance), index) for index, watch in enumerate(watches)]
    while True:
        now = (yield flows.Pause(0)).now
        if news.is_worth_it(now):
            return news.endings
        at = min([time for time, _ in due] + ([w] if (w := news.wakes_at(now)) else []))
        yield flows.Pause(max(at - now, 0))
        for time, index in sorted(due):
            if time <= at:
                due.remove((time, index))
                step = yield from flows.look_once(watches[index], dialect, observe)
                if isinstance(step, Again):
                    due.append(((yield flows.Pause(0)).now + step.seconds, index))
                else:
                    news.add(step)
                break
