"""Says why Airflow does not give a connection, without the secrets that Airflow's own message may quote."""

from __future__ import annotations

import re

from airflow_provider_crewai.wire.errors import CrewConfigError, CrewConnectionUnreadable
from airflow_provider_crewai.wire.words import line

_CREDENTIALS = re.compile(r"//[^/@\s]*@")


def unreadable(conn_id: str, error: Exception, cure: str) -> CrewConfigError:
    """Return the error of a connection that Airflow does not give.

    :param cure: a sentence that says what to add if the connection is missing.
    """
    # Airflow's message may quote a connection's URI, which may hold a token.
    words = line(f"{type(error).__name__}: {_CREDENTIALS.sub('//***@', str(error))}")
    if isinstance(error, PermissionError):  # Airflow 3 raises it if its API denies this task the connection
        return CrewConfigError(f"Airflow denies this task the connection {conn_id!r} ({words}). Nothing was sent.")
    # Airflow (2.11 to 3.4) also says that a connection is missing when the secrets backend did not answer.
    return CrewConnectionUnreadable(
        f"Connection {conn_id!r} cannot be read ({words}). If it is missing, {cure} Nothing was sent."
    )
