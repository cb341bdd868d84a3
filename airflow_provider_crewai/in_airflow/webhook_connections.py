"""Reads the connections of webhooks that are given as `conn://ID`, just before a request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_crewai.client.webhooks import Endpoint, with_connections
from airflow_provider_crewai.in_airflow.compat import BaseHook
from airflow_provider_crewai.in_airflow.unreadable import unreadable
from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import Kickoff

_CURE = "add one with that id: the webhook's whole URL as host."


def connected(kickoff: Kickoff) -> Kickoff:
    """Replace each `conn://ID` of a kickoff's webhooks with what that connection says.

    :raises CrewConfigError: a connection cannot be used.
    """
    return with_connections(kickoff, endpoint)


def endpoint(conn_id: str) -> Endpoint:
    """Return where a webhook's connection leads.

    The host holds the whole URL. The password holds a token, or the login and password hold credentials.

    :raises CrewConnectionUnreadable: Airflow cannot read the connection.
    :raises CrewConfigError: its host is not a URL, or it holds what no webhook uses.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except Exception as error:
        # The type of the error for a missing connection differs between Airflow's versions and secrets backends.
        raise unreadable(conn_id, error, _CURE) from error
    url = f"{connection.host or ''}".strip()
    if not re.match(r"https?://\S+$", url, re.IGNORECASE):
        raise CrewConfigError(
            f"The host of connection {conn_id!r} must be the webhook's whole URL, such as https://…. Nothing was sent."
        )
    if unused := ", ".join(_unused(connection, url)):
        raise CrewConfigError(
            f"Connection {conn_id!r} of a webhook holds {unused}, which a webhook does not use. Write the whole URL "
            "into the host, and empty the rest. Nothing was sent."
        )
    return Endpoint(url, *(value and f"{value}" for value in (connection.login, connection.password)))


def _unused(connection: Any, url: str) -> Iterator[str]:
    if connection.port:
        yield "a port"
    if connection.schema and connection.schema.lower() != url.partition(":")[0].lower():
        yield "a schema"
    extra = connection.extra_dejson
    # Forms save null or an empty text for what nobody touched.
    if any(extra.values()) if isinstance(extra, dict) else extra:
        yield "an extra"
