"""What a person reads when the server starts: where the page is, where the token is, and how Airflow finds the crew."""

from __future__ import annotations

import json
import re

from airflow_provider_crewai.server.access import Token

CONN_ID = "crewai_default"


def banner(name: str, url: str, page: str, token: Token, conn_id: str = CONN_ID) -> str:
    """Return the lines about a project that is served.

    :param url: the base URL of its API.
    :param page: the link that opens its page, once.
    :param conn_id: the Airflow connection that leads to it.
    """
    lines = (
        f"{name} is served at {url}",
        f"  to open its page in a browser, once and within ten minutes: {page}",
        f"  the token: {token.hint}",
        "  for Airflow, in the shell that starts it:",
        f"  {connection(url, token, conn_id)}",
    )
    return "\n".join(lines) + "\n"


def connection(url: str, token: Token, conn_id: str) -> str:
    """Return the shell command that makes the Airflow connection.

    `export` is part of the shell: the token is on no command line, which others could read.
    """
    head = json.dumps({"conn_type": "crewai", "host": url})[:-1]
    variable = "AIRFLOW_CONN_" + re.sub(r"\W", "_", conn_id, flags=re.ASCII).upper()
    return f"""export {variable}='{head}, "password": "'{token.shell}'"}}'"""
