"""What a connection says, read once and checked before anything is sent. Pure: no Airflow, no I/O."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_crewai.wire.errors import CrewConfigError

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.1."""

DEFAULT_TIMEOUT = 30.0
"""Seconds for one request. Deployments sleep, and the first call after idle is slow."""

SECRET_LENGTH = 20
"""Characters from which on an extra header's value counts as a secret: shorter ones may be words of the crew's, too."""

_IN_USERINFO = ":!$&'()*+,;="
"""RFC 3986, section 3.2.1: what stands unquoted before a URL's host."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A usable connection to one crew.

    The token, extra headers and the proxy (which may carry a password) are kept out of the repr.

    :param conn_id: the Airflow connection it came from, for messages.
    :param base_url: the crew's URL without a trailing slash.
    :param token: the Bearer or User Bearer token.
    :param timeout: seconds for one whole request.
    :param verify: True, False, or the path of a CA bundle.
    :param proxy: the proxy's URL, or None.
    :param headers: headers sent with each request.
    """

    conn_id: str
    base_url: str
    token: str = field(repr=False)
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """What no log may hold: see `_secrets`. Found out once, since each answer is searched for them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "secrets", _secrets(self.token, self.headers, self.proxy or ""))

    @property
    def request_headers(self) -> dict[str, str]:
        """The headers of every request, the token among them."""
        own = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        return {**self.headers, **own}

    @property
    def transport(self) -> tuple[object, ...]:
        """What two connections must share to share one HTTP session: all but the token."""
        return (self.conn_id, self.base_url, self.timeout, self.verify, self.proxy)

    def __str__(self) -> str:
        return f"connection {self.conn_id!r} ({self.base_url})"


def read_settings(
    conn_id: str,
    *,
    host: str | None,
    port: int | None = None,
    schema: str | None = None,
    password: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Settings:
    """Turn the fields of an Airflow connection into usable settings.

    :param host: the crew's base URL, with any scheme, port and path prefix. `https` where it names no scheme.
    :param port: used where the host names none. The UI sends 0 for an empty field.
    :param schema: `http` or `https`, used where the host names no scheme.
    :param password: the token, with or without the word `Bearer` before it.
    :param extra: timeout, verify, ca_bundle, proxy, headers, allow_http. Nulls are what the UI saves for
        untouched fields and count as absent.
    :raises CrewConfigError: a field is missing or cannot be used; names the connection and the field.
    """
    fields = _Fields(conn_id, extra or {})
    url = fields.url(host, port, schema)
    return Settings(
        conn_id=conn_id,
        base_url=f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}",
        token=fields.token(password),
        timeout=fields.timeout(),
        verify=fields.verify(),
        proxy=_with_scheme(fields.text("proxy") or _environment_proxy(url)),
        headers=fields.headers(),
    )


class _Fields:
    """The fields of one connection, each with its own complaint."""

    def __init__(self, conn_id: str, extra: Mapping[str, Any]) -> None:
        self._conn_id = conn_id
        # Forms save what nobody touched: null in Airflow 3, an empty text in Airflow 2.
        self._extra = {key: value for key, value in extra.items() if value not in (None, "")}

    def url(self, host: str | None, port: int | None, schema: str | None) -> SplitResult:
        text = (host or "").strip()
        if not text:
            raise self._wrong("host", "is empty; set it to the crew's URL, such as https://my-crew-1a2b.crewai.com")
        if "://" not in text:
            scheme = (schema or "").strip().lower()
            text = f"{scheme if scheme in ('http', 'https') else 'https'}://{text}"
        url = self._split(text)
        if port and url.port is None:
            url = self._split(url._replace(netloc=f"{url.netloc.rstrip(':')}:{port}").geturl())
        if url.scheme == "http" and not _is_loopback(url.hostname or "") and not self._flag("allow_http", False):
            raise self._wrong(
                "host", "is an http:// URL, which would send the token unencrypted; use https://, or set "
                "'allow_http' in the connection's extra if that network is trusted",
            )  # fmt: skip
        return url

    def _split(self, text: str) -> SplitResult:
        try:
            url = urlsplit(text)
            url.port  # noqa: B018 - reading it is what checks it
            (url.hostname or "").encode("idna")  # what the libraries do with it, and fail in as many ways
        except ValueError as error:
            raise self._wrong("host", f"is not a URL ({error})") from None
        if url.scheme not in ("http", "https") or not url.hostname or len(text.split()) > 1:
            raise self._wrong("host", "is not an http(s) URL; set it to the crew's URL")
        if url.username is not None or url.query or url.fragment:
            # Not quoted back: what stands before an @ may be a secret.
            raise self._wrong("host", "carries a user, a query or a fragment; only scheme, host, port and path belong")
        return url

    def token(self, password: str | None) -> str:
        token = (password or "").strip().removeprefix("Bearer ").strip()
        if not token:
            raise self._wrong("password", "is empty; set it to the crew's Bearer token or a User Bearer token")
        if not token.isascii() or not token.isprintable():
            raise self._wrong("password", "holds characters that no token has; copy it again, without line breaks")
        return token

    def timeout(self) -> float:
        value = self._extra.get("timeout", DEFAULT_TIMEOUT)
        try:
            seconds = float(value)
        except (TypeError, ValueError, OverflowError):
            seconds = -1.0
        if isinstance(value, bool) or not 0 < seconds <= 3600:  # noqa: PLR2004 - an hour for one request is a mistake
            raise self._wrong("extra.timeout", f"is {value!r}; set it to seconds above 0, at most 3600")
        return seconds

    def verify(self) -> bool | str:
        bundle = self.text("ca_bundle")
        if not self._flag("verify", True):
            return False
        bundle = bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or ""
        if bundle and not os.path.exists(bundle):  # noqa: PTH110 - pathlib costs a Dag file its import
            raise self._wrong("extra.ca_bundle", f"names {bundle!r}, which does not exist on this machine")
        return bundle or True

    def headers(self) -> dict[str, str]:
        headers = self._extra.get("headers", {})
        if isinstance(headers, str):
            headers = _json_or_text(headers)
        if not isinstance(headers, dict) or not all(_is_header(*item) for item in headers.items()):
            raise self._wrong("extra.headers", "must be a JSON object of header names and texts")
        if any(name.lower() == "authorization" for name in headers):
            raise self._wrong("extra.headers", "names Authorization; the token belongs into the password field")
        return dict(headers)

    def text(self, name: str) -> str:
        value = self._extra.get(name, "")
        if not isinstance(value, str):
            raise self._wrong(f"extra.{name}", "must be a text")
        return value.strip()

    def _flag(self, name: str, default: bool) -> bool:
        value = self._extra.get(name, default)
        if isinstance(value, bool):
            return value
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        known = words.get(str(value).strip().lower())
        if known is None:
            raise self._wrong(f"extra.{name}", f"is {value!r}; set it to true or false")
        return known

    def _wrong(self, where: str, why: str) -> CrewConfigError:
        return CrewConfigError(f"Connection {self._conn_id!r}: its {where} {why}. Nothing was sent.")


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_header(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str) or value != value.strip():
        return False
    return _HEADER_NAME.fullmatch(name) is not None and value.isascii() and value.isprintable()


def _is_loopback(hostname: str) -> bool:
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost" or hostname.endswith(".localhost")


def _with_scheme(proxy: str | None) -> str | None:
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _secrets(token: str, headers: Mapping[str, str], proxy: str) -> tuple[str, ...]:
    """Return the token, the proxy's credentials, and the extra headers' values that are long enough to be secrets.

    In each spelling that may come back, the longest first.
    """
    plain = [token, *(value for value in headers.values() if len(value) >= SECRET_LENGTH)]
    spelt = {quoted for secret in plain for quoted in (secret, quote(secret, safe=""))}
    return tuple(sorted(spelt | _credentials(proxy), key=len, reverse=True))


def _credentials(proxy: str) -> set[str]:
    """Return the spellings of a proxy's `user:password`: as it is given, meant, sent, and written in a URL."""
    given = proxy.partition("://")[2].rpartition("@")[0]
    if not given.partition(":")[2]:  # a name alone is no secret
        return set()
    meant = unquote(given)
    sent = base64.b64encode(meant.encode()).decode()
    return {given, meant, sent, quote(meant, safe=_IN_USERINFO), quote(meant, safe="")}


def _environment_proxy(url: SplitResult) -> str | None:
    # Read here for both HTTP libraries: letting each trust the environment by itself would also let a
    # .netrc file replace our Authorization header.
    hostname = url.hostname or ""
    if _is_loopback(hostname) or proxy_bypass(hostname):
        return None
    return getproxies().get(url.scheme)
