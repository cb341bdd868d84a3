"""Reads the connection of a webhook that is given as `conn://ID`, just before the kickoff."""

from __future__ import annotations

from airflow_provider_crewai.client.webhooks import Endpoint
from airflow_provider_crewai.in_airflow.compat import BaseHook
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewConnectionUnreadable


def endpoint(conn_id: str) -> Endpoint:
    """Return where a webhook's connection leads.

    The host holds the whole URL. The password holds a token, or the login and password hold credentials.

    :raises CrewConnectionUnreadable: Airflow cannot read the connection.
    :raises CrewConfigError: its host is not a URL.
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except Exception as error:
        # The type of the error for a missing connection differs between Airflow's versions and secrets backends.
        raise CrewConnectionUnreadable(
            f"The webhook's connection {conn_id!r} cannot be read ({type(error).__name__}: {error}). Nothing was sent."
        ) from error
    url = (connection.host or "").strip()
    if not url.startswith(("http://", "https://")):
        raise CrewConfigError(
            f"The host of connection {conn_id!r} must be the webhook's whole URL, such as https://…. Nothing was sent."
        )
    return Endpoint(url, connection.login, connection.password)
