"""Signs the URLs of this Airflow that a deployment may call about one run.

A URL is for one purpose and one kickoff of one try of one task instance, until it expires. Whoever has it can do that
and nothing else, so nothing needs to be kept about it: the api-server reads in the URL itself what it is for.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from airflow_provider_crewai.in_airflow.compat import HAS_RUN_PAGES, shared_secret
from airflow_provider_crewai.in_airflow.config import configured
from airflow_provider_crewai.in_airflow.link import MOUNT
from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSONObject

Purpose = Literal["question", "events", "task"]
"""What a URL is given to: the webhook for human input, the one for streamed events, or the one of each crew task."""

LIFETIME = 30 * 24 * 3600.0
"""Seconds for which a URL holds where the task waits for ever."""

GRACE = 24 * 3600.0
"""Seconds for which a URL holds after the task's deadline: a call may be late, and a clock may be wrong."""

LONGEST_TOKEN = 8 * 1024
"""The most characters of a token: five names of 250 characters take a quarter of it."""

PATH = f"{MOUNT}/calls"
"""The path below Airflow's base URL where the plugin takes calls."""

NO_BASE_URL = "[crewai] webhook_base_url is not set, so no deployment knows how to reach this Airflow"
NO_KEY = (
    "[api] secret_key is not set, so each process of Airflow makes up its own and cannot read what another has signed"
)
NO_RECEIVER = "only Airflow 3.1 and later can take calls from a deployment"


class InvalidTokenError(Exception):
    """A token that this Airflow has not signed, or that holds no longer.

    :param expired: whether we signed it, once.
    """

    def __init__(self, why: str, *, expired: bool = False) -> None:
        super().__init__(why)
        self.expired = expired


@dataclass(frozen=True, slots=True)
class Claims:
    """What a URL allows.

    :param purpose: what calls it. Streamed events and crew tasks name the run that a kickoff started.
    :param sent: the epoch second that the task's record gives for the kickoff; no two kickoffs of a task share it.
    :param expires: epoch second after which the URL is refused.
    """

    purpose: Purpose
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    sent: float
    expires: float

    @property
    def needs_bearer(self) -> bool:
        """Return whether each call brings a bearer token, too: live deployments authenticate what they stream.

        Whether they do so for human input is not known, and a task's webhook cannot carry credentials.
        """
        return self.purpose == "events"

    def __str__(self) -> str:
        index = f" [{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{index}, Dag run {self.run_id}, try {self.try_number}"


def why_none() -> str | None:
    """Return why no deployment can call this Airflow, or None if one can.

    :raises CrewConfigError: the address that an admin has set is none.
    """
    if not HAS_RUN_PAGES:
        return NO_RECEIVER
    if not _base_url():
        return NO_BASE_URL
    return None if shared_secret() else NO_KEY


def signed(ti: Any, purpose: Purpose, sent: float, deadline: float | None) -> str | None:
    """Return the URL that a deployment may call about a kickoff of this try, or None; see `why_none`.

    :param sent: the epoch second that the record gives for the kickoff.
    :param deadline: the epoch second at which the task stops waiting, or None.
    """
    if why_none():
        return None
    index = getattr(ti, "map_index", None)
    expires = sent + LIFETIME if deadline is None else deadline + GRACE
    claims = Claims(
        purpose, ti.dag_id, ti.run_id, ti.task_id, -1 if index is None else index, ti.try_number, sent, expires
    )
    return f"{_base_url()}{PATH}/{_token(claims)}"


def _base_url() -> str:
    try:
        return str(configured("webhook_base_url"))
    except ValueError as error:
        raise CrewConfigError(f"{error} Nothing was sent.") from None


def as_webhook(url: str) -> JSONObject:
    """Return a webhook for a signed URL: with a bearer of its own, which no URL and no access log holds."""
    return {"url": url, "authentication": {"strategy": "bearer", "token": bearer(url.rpartition("/")[2])}}


def bearer(token: str) -> str:
    """Return the bearer token that belongs to a signed URL's token.

    :raises InvalidTokenError: this Airflow cannot sign.
    """
    return _text(_hmac(b"bearer", token))


def is_signed(body: bytes, signature: str, timestamp: str) -> bool:
    """Return whether a call of the platform was signed with one of the secrets that an admin has given us.

    :param signature: `sha256=` and the hex HMAC of the timestamp, a dot and the body.
    """
    digests = (
        hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        for secret in configured("flow_webhook_secret")
    )
    return any(hmac.compare_digest(f"sha256={digest}".encode(), signature.encode()) for digest in digests)


def read(token: str, now: float) -> Claims:
    """Return what a token allows.

    :raises InvalidTokenError: it was not signed by this Airflow, or it has expired.
    """
    told, _, signature = token[:LONGEST_TOKEN].partition(".")
    if not hmac.compare_digest(signature.encode(), _text(_hmac(b"url", told)).encode()):
        raise InvalidTokenError("it was not signed with this Airflow's [api] secret_key")
    claims = _claims(told)
    if now >= claims.expires:
        raise InvalidTokenError("it has expired", expired=True)
    return claims


def _claims(told: str) -> Claims:
    try:
        claims = Claims(**json.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4))))
        if claims.purpose in get_args(Purpose):
            return claims
    except TypeError:
        pass
    raise InvalidTokenError("another version of this provider signed it")


def _token(claims: Claims) -> str:
    # It begins with `eyJ`, like a JWT: such a text is masked in the logs of Airflow's processes, access logs too.
    told = _text(json.dumps(asdict(claims), separators=(",", ":")).encode())
    return f"{told}.{_text(_hmac(b'url', told))}"


def _hmac(use: bytes, text: str) -> bytes:
    secret = shared_secret()
    if not secret:
        raise InvalidTokenError(NO_KEY)
    key = hmac.digest(secret.encode(), b"airflow-provider-crewai " + use, hashlib.sha256)
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
