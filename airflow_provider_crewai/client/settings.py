"""Reads a connection once and checks it before anything is sent. Pure: no Airflow, no requests.

Both shells get the same results, so the two HTTP libraries cannot read a setting differently.
"""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from airflow_provider_crewai.client import addresses, defaults, proxies, trust
from airflow_provider_crewai.client.fields import LABELS, OPTIONS, Complaint, wrong
from airflow_provider_crewai.wire import words
from airflow_provider_crewai.wire.model import Run

T = TypeVar("T")

RUN_IN_URL = "{kickoff_id}"
"""What stands for the run in the URL of a run's page."""

LONG_HEADER = 20
"""Characters. An extra header's value this long or longer counts as a secret; a shorter one may be a word that the crew
uses, too."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.1."""

_OUR_HEADERS = re.compile(
    "accept|accept-encoding|connection|content-(encoding|length|type)|expect|host|keep-alive|te|trailer|"
    "transfer-encoding|upgrade"
)
"""Headers that a request sets itself. The two HTTP libraries would treat a second one differently."""

_SCHEME_OF_A_TOKEN = re.compile(
    r"(authorization\s*[:=]\s*)?(((user\s+)?bearer|token)(\s*[:=]\s*|\s+|$))?", re.IGNORECASE
)
"""What people copy along with a token."""

_API_PATH = re.compile(r"/(kickoff|inputs|resume|status|stop)$|/(status|stop)/[^/]+$")
"""The API's own paths, which follow the crew's URL."""

_IN_USERINFO = ":!$&'()*+,;="
"""RFC 3986, section 3.2.1: the signs that may stand unquoted before a URL's host."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A connection to one crew, checked and ready to use.

    The token, extra headers and the proxy (which may carry a password) are kept out of the repr.

    :param conn_id: the Airflow connection it came from, for messages.
    :param base_url: the crew's URL in its normal form, without a trailing slash.
    :param token: the Bearer or User Bearer token, without that word.
    :param timeout: seconds for one whole request.
    :param tls: whom to trust; made once for each bundle, and made again when the bundle has changed.
    :param proxy: `http://host:port` or `http://user:password@host:port`, or None. `NO_PROXY` is taken into account.
    :param headers: headers sent with each request.
    :param secret_headers: the same, and their values are secrets.
    :param run_url: the URL of a run's page, with `{kickoff_id}` in it, or None.
    """

    conn_id: str
    base_url: str
    token: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)
    timeout: float = defaults.REQUEST_TIMEOUT
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    run_url: str | None = None
    secrets: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """What no message may hold, in each spelling, the longest first. Computed once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "secrets", _secrets(self))

    @property
    def request_headers(self) -> dict[str, str]:
        """Return the headers of every request, with the token."""
        own = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        return {**self.headers, **self.secret_headers, **own}

    @property
    def transport(self) -> tuple[object, ...]:
        """Return what two connections must have in common to share an HTTP session: all but token and headers."""
        return (self.conn_id, self.base_url, self.timeout, self.tls, self.proxy)

    def page_of(self, run: Run) -> str | None:
        """Return the URL of a run's page: as the connection says, else on the deployment itself if that names one."""
        if self.run_url is not None:
            return self.run_url.replace(RUN_IN_URL, quote(run.kickoff_id, safe=""))
        return None if run.page is None else urljoin(self.base_url, run.page)

    def __str__(self) -> str:
        return f"connection {self.conn_id!r} ({self.base_url})"


def read_settings(
    conn_id: str,
    *,
    host: str | None,
    port: int | None = None,
    schema: str | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: Mapping[str, Any] | str | None = None,
) -> Settings:
    """Turn the fields of an Airflow connection into usable settings, or name the field that cannot be used.

    If the connection does not set them, the proxy comes from the environment (`HTTPS_PROXY`, `NO_PROXY` and the like,
    as `requests` reads them), and so does whom to trust (see `trust.VARIABLES`).

    :param host: the crew's base URL, with its scheme, and with any port and path prefix.
    :param port: used if the host names none. The UI sends 0 for an empty field.
    :param schema: `http` or `https` if the host names no scheme; else a path prefix, because Airflow puts the path of a
        connection's URI there.
    :param login: not used; if it is set, the error asks to empty it.
    :param password: the token, with or without a word such as `Bearer` before it.
    :param extra: the options in `fields.OPTIONS`, as a mapping or as Airflow's JSON text. The UI saves null for an
        untouched field; null counts as absent.
    :raises CrewConfigError: a field is missing or cannot be used; names the connection and the field.
    """
    fields = _Fields(conn_id, extra)
    fields.check_login(fields.text("login", login))
    url = fields.url(fields.text("host", host), port, fields.text("schema", schema))
    headers, secret_headers = fields.headers()
    return Settings(
        conn_id=conn_id,
        base_url=url.geturl(),
        token=fields.token(fields.text("password", password)),
        tls=fields.tls(),
        timeout=fields.timeout(),
        proxy=fields.proxy(url),
        headers=headers,
        secret_headers=secret_headers,
        run_url=fields.run_url(),
    )


class _Fields:
    """The fields of one connection. Each is read, or refused with an error that names it."""

    def __init__(self, conn_id: str, extra: Mapping[str, Any] | str | None) -> None:
        self._conn_id = conn_id
        self._extra = self._understood("extra", _options, extra)

    def _understood(self, where: str, read: Callable[..., T], *values: object) -> T:
        try:
            return read(*values)
        except Complaint as why:
            raise wrong(self._conn_id, where, str(why)) from None

    def text(self, where: str, value: object) -> str:
        """Return one of Airflow's own fields as text. JSON may give any type: a token of digits becomes a number."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        return self._understood(where, _text, "" if value is None else value)

    def check_login(self, login: str) -> None:
        if login:
            # Not quoted: the token of `crewai://token@host` ends up here, and Airflow does not mask it.
            raise wrong(
                self._conn_id, "login", "is set, but a crew takes no login; empty it, and put the token into the "
                "password (in a URI, after a colon: crewai://:TOKEN@...)",
            )  # fmt: skip

    def url(self, host: str, port: int | None, word: str) -> SplitResult:
        scheme = word.lower() if word.lower() in addresses.DEFAULT_PORTS else ""
        url = self._understood("host", _crew_url, host, scheme)
        if port:
            url = self._understood("port", _with_port, url, port)
        if word and not scheme:
            url = self._understood("schema", _with_prefix, url, word)
        url = url._replace(netloc=addresses.authority(url))
        if url.scheme == "http" and not addresses.is_loopback(url.hostname or "") and not self._flag("allow_http"):
            raise wrong(
                self._conn_id, "host", "is an http:// URL, which would send the token unencrypted; use https://, or "
                "set 'allow_http' in the connection's extra if you trust that network",
            )  # fmt: skip
        return url

    def token(self, password: str) -> str:
        return self._understood("password", _token, password)

    def timeout(self) -> float:
        return self._understood("extra.timeout", _seconds, self._extra.get("timeout", defaults.REQUEST_TIMEOUT))

    def tls(self) -> ssl.SSLContext:
        bundle = self._text("ca_bundle")
        if not self._flag("verify", default=True):
            return trust.trusting_everyone()
        if bundle:
            return self._understood("extra.ca_bundle", trust.trusting, bundle)
        for variable in trust.VARIABLES:
            if bundle := os.environ.get(variable, ""):
                return self._understood(variable, trust.trusting, bundle)
        return trust.trusting(trust.usual_bundle())

    def run_url(self) -> str | None:
        return self._understood("extra.run_url", _run_url, self._text("run_url"))

    def proxy(self, url: SplitResult) -> str | None:
        if given := self._text("proxy"):
            return self._understood("extra.proxy", proxies.normal_proxy, given)
        if found := self._understood("NO_PROXY", proxies.environment_proxy, url):
            text, variable = found
            return self._understood(variable, proxies.normal_proxy, text)
        return None

    def headers(self) -> tuple[dict[str, str], dict[str, str]]:
        plain = self._understood("extra.headers", _headers, self._extra.get("headers", {}))
        secret = self._understood("extra.secret_headers", _headers, self._extra.get("secret_headers", {}))
        self._understood("extra.secret_headers", _check_names, [*plain, *secret])
        return plain, secret

    def _text(self, name: str) -> str:
        return self._understood(f"extra.{name}", _text, self._extra.get(name, ""))

    def _flag(self, name: str, *, default: bool = False) -> bool:
        return self._understood(f"extra.{name}", _flag, self._extra.get(name, default))


# ---- URL and token ---------------------------------------------------------------------------------


def _crew_url(text: str, scheme: str) -> SplitResult:
    if not text:
        raise Complaint("is empty; set it to the crew's URL, such as https://my-crew-1a2b.crewai.com")
    if "://" not in text and not scheme:
        raise Complaint(
            "has no scheme; begin it with https://, such as https://my-crew-1a2b.crewai.com (in a URI: "
            "crewai://https://:TOKEN@my-crew-1a2b.crewai.com)"
        )
    begin, _, rest = text.rpartition("://")
    if "://" in begin:
        raise Complaint("holds :// twice; write the scheme only once")
    url = addresses.split(f"{begin or scheme}://{addresses.bracketed(rest)}")
    if url.scheme not in addresses.DEFAULT_PORTS or not url.hostname:
        raise Complaint("is not an http(s) URL; set it to the crew's URL")
    if scheme and scheme != url.scheme:
        raise Complaint(f"begins with {url.scheme}://, but the schema says {scheme}; set only one of them")
    if "@" in url.netloc or "?" in text or "#" in text:
        # Not quoted back: what stands before an @ may be a secret.
        raise Complaint("holds a user, a query or a fragment; only scheme, host, port and path belong there")
    host = addresses.with_port(addresses.normal_host(url.hostname), url.port)
    return SplitResult(url.scheme, host, _prefix(url.path), "", "")


def _prefix(path: str) -> str:
    normal = addresses.normal_path(path)
    if found := _API_PATH.search(normal):
        word = found[1] or found[2]
        raise Complaint(f"ends with the API's own path /{word}; remove that, so that only the crew's URL is left")
    return normal


def _with_port(url: SplitResult, port: object) -> SplitResult:
    if not isinstance(port, int | str) or not re.fullmatch(r"\d{1,5}", f"{port}", re.ASCII):
        raise Complaint("is not a number from 1 to 65535; correct it, or empty it")
    port = int(port)
    if url.port not in (None, port):
        raise Complaint(f"is {port}, but the URL names {url.port}; set only one of them")
    return addresses.split(f"{url.scheme}://{addresses.with_port(url.hostname or '', port)}{url.path}")


def _with_prefix(url: SplitResult, word: str) -> SplitResult:
    if "://" in word or not word.isprintable() or set(word) & set(" ?#"):
        raise Complaint("is neither http nor https nor a path; empty it, and put the whole URL into the host")
    if url.path:
        raise Complaint("holds a path, but the URL has one, too; set only one of them")
    return url._replace(path=_prefix(word))


def _token(given: str) -> str:
    scheme = _SCHEME_OF_A_TOKEN.match(given)
    token = given[scheme.end() :] if scheme else given
    if not token:
        raise Complaint("is empty; set it to the crew's Bearer token or a User Bearer token")
    if not token.isascii() or not token.isprintable() or set(token) & set(" \"'`"):
        raise Complaint(
            "holds spaces, quotes or other characters that no token has; copy it again, without line breaks"
        )
    return token


def _run_url(text: str) -> str | None:
    if not text:
        return None
    url = addresses.split(text.replace(RUN_IN_URL, "run"))
    host, _, rest = text.partition("://")[2].partition("/")
    # Not in the host: the deployment chooses the id, and would choose where the link leads.
    names_run = RUN_IN_URL in rest and RUN_IN_URL not in host
    if url.scheme not in addresses.DEFAULT_PORTS or not url.hostname or "@" in host or not names_run:
        raise Complaint(
            f"is not an http(s) URL with {RUN_IN_URL} in its path, such as https://my.host/runs/{RUN_IN_URL}"
        )
    return text


# ---- extra -----------------------------------------------------------------------------------------


def _options(extra: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Return the options that somebody has set, under their present names.

    Forms also save untouched fields: as null in Airflow 3, as an empty text in Airflow 2.
    """
    given = _json(extra) if isinstance(extra, str) else extra or {}
    if not isinstance(given, Mapping):
        raise Complaint('is not a JSON object; write it as {"timeout": 30}, or empty it')
    if "__extra__" in given:  # the key under which Airflow puts a whole extra into a URI
        given = {**_options(given["__extra__"]), **{key: given[key] for key in given if key != "__extra__"}}
    spelt = {key: str(key).removeprefix("extra__crewai__") for key in given}  # as Airflow below 2.3 saved its form
    # The present spelling comes last, so it wins.
    ordered = sorted(given, key=lambda key: spelt[key] == key)
    options = {spelt[key]: given[key] for key in ordered if not _is_empty(given[key])}
    _check_options(options)
    return options


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _check_options(options: Iterable[str]) -> None:
    for name in options:
        if name not in OPTIONS:
            # Quoted only if it is one word: in a URI a secret may have slipped in there.
            shown = f"{name!r}" if re.fullmatch(r"\w{1,40}", name, re.ASCII) else "a key"
            import difflib  # late: a Dag file imports this module, and no option of it is misspelt

            near = difflib.get_close_matches(name[:40].lower(), OPTIONS, 1)
            meant = f"; did you mean {near[0]!r} ({LABELS['extra.' + near[0]]})?" if near else "."
            raise Complaint(f"holds {shown}, which is not an option{meant} The options are: {', '.join(OPTIONS)}")


def _json(text: str) -> object:
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return text


def _seconds(value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # a wrong type raises
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 < seconds <= 3600:  # noqa: PLR2004 - an hour for one request is a mistake
        raise Complaint(f"is {_shown(value)}; set it to seconds above 0, at most 3600")
    return seconds


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Complaint("must be a text")
    return value.strip()


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    known = words.get(str(value).strip().lower())
    if known is None:
        raise Complaint(f"is {_shown(value)}; set it to true or false")
    return known


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 40 else "something longer"  # noqa: PLR2004 - what a message can hold


# ---- headers ---------------------------------------------------------------------------------------


def _headers(given: object) -> dict[str, str]:
    headers = _json(given) if isinstance(given, str) else given
    if not isinstance(headers, dict) or not all(_is_header(*item) for item in headers.items()):
        raise Complaint("must be a JSON object: header names, each with a text")
    _check_names(headers)
    return dict(headers)


def _is_header(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str) or value != value.strip():
        return False
    return _HEADER_NAME.fullmatch(name) is not None and value.isascii() and value.isprintable()


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in map(str.lower, names):
        if name == "authorization":
            raise Complaint("names Authorization; put the token into the password field instead")
        if name == "proxy-authorization":
            raise Complaint("names Proxy-Authorization; put the proxy's user and password into its URL instead")
        if _OUR_HEADERS.fullmatch(name):
            raise Complaint(f"names {name}, which each request sets itself")
        if name in seen:
            raise Complaint(f"names {name} twice")
        seen.add(name)


# ---- secrets ---------------------------------------------------------------------------------------


def _secrets(settings: Settings) -> tuple[str, ...]:
    """Return what no message may hold: the token, secret header values, and the proxy's credentials.

    `wire.words.scrub` knows how a server may escape a secret that it repeats.
    """
    long_headers = [value for value in settings.headers.values() if len(value) >= LONG_HEADER]
    plain = [settings.token, *settings.secret_headers.values(), *long_headers, *_credentials(settings.proxy or "")]
    return tuple(sorted({secret for secret in plain if len(secret) >= words.SHORTEST_SECRET}, key=len, reverse=True))


def _credentials(proxy: str) -> list[str]:
    """Return a proxy's password and its `user:password`, both plain and as sent."""
    url = urlsplit(proxy)
    if not url.password:  # a name alone is no secret
        return []
    user, password = unquote(url.username or ""), unquote(url.password)
    meant = f"{user}:{password}"
    return [password, meant, base64.b64encode(meant.encode("latin-1")).decode()]
