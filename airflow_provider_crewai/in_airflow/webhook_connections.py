"""Where does a webhook go that is given as `conn://ID`? Read from that connection, just before the kickoff."""

from __future__ import annotations

from airflow_provider_crewai.client.webhooks import Endpoint
from airflow_provider_crewai.in_airflow.compat import BaseHook
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewConnectionUnreadable


def endpoint(conn_id: str) -> Endpoint:
    """Read a webhook's connection: the whole URL as host, and a token as password, or a login with its password.

    :raises CrewConnectionUnreadable: Airflow does not give it.
    :raises CrewConfigError: its host is no URL.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except Exception as error:
        # What kind of error a missing connection is differs between Airflow's versions and secrets backends.
        raise CrewConnectionUnreadable(
            f"Connection {conn_id!r} of a webhook cannot be read ({type(error).__name__}: {error}). Nothing was sent."
        ) from error
    url = (connection.host or "").strip()
    if not url.startswith(("http://", "https://")):
        raise CrewConfigError(
            f"The host of connection {conn_id!r} is not the webhook's whole URL: write https://… into it. Nothing was "
            "sent."
        )
    return Endpoint(url, connection.login, connection.password)
