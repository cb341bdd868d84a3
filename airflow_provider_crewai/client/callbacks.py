"""Says where feedback may go that a question's own `callback_url` names.

A webhook brings that URL, and whoever can call the webhook chooses it. So it could make a worker call a host that only
workers reach (server-side request forgery). Feedback goes only to

- the crew's own address, as the connection names it: the local server answers there, and a host of your own, too;
- crewai.com and its subdomains over https, where the vendor's service takes feedback (docs.crewai.com, HITL workflows).

No token of ours goes along: the URL itself is the permission. Where it is refused, a flow can still be answered by its
flow_id at the crew's own address.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from airflow_provider_crewai.client.addresses import authority, split
from airflow_provider_crewai.client.fields import Complaint
from airflow_provider_crewai.wire.errors import CrewCallbackRefused

VENDOR = "crewai.com"


def callback(url: str, crew: str) -> str:
    """Return a question's `callback_url` in a form that every HTTP library understands alike.

    :param crew: the crew's base URL.
    :raises CrewCallbackRefused: it is no URL, or leads to a host where no feedback may go.
    """
    try:
        parts = split(url)
        origin = _origin(parts)
    except Complaint as complaint:
        raise CrewCallbackRefused(f"The question's callback_url {complaint}. Nothing was sent there.") from None
    if origin != _origin(urlsplit(crew)) and not _is_the_vendors(parts.scheme, authority(parts)):
        raise CrewCallbackRefused(
            f"The question's callback_url leads to {origin}. Feedback goes only to the crew's own address and to "
            f"https://{VENDOR}. Nothing was sent there."
        )
    return f"{origin}{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"


def _origin(parts: SplitResult) -> str:
    if parts.scheme not in ("http", "https"):
        raise Complaint("is not an http:// or https:// URL")
    if "@" in parts.netloc or "\\" in parts.netloc or not f"{parts.path}{parts.query}".isascii():
        raise Complaint("holds what a callback_url does not have: a login, or characters beyond ASCII")
    return f"{parts.scheme}://{authority(parts)}"


def _is_the_vendors(scheme: str, host: str) -> bool:
    return scheme == "https" and (host == VENDOR or host.endswith(f".{VENDOR}"))
