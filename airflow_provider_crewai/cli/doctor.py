"""Examines the way to a crew, from the connection to its answer: a line for each part, with the cure where it is ill.

Nothing is started, and it costs nothing: the crew is asked for its inputs alone.
"""

from __future__ import annotations

import argparse
import platform
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

from airflow_provider_crewai import __version__
from airflow_provider_crewai.cli.crew import Crew, open_crew
from airflow_provider_crewai.cli.outcome import Exit, Outcome, exit_of_error
from airflow_provider_crewai.cli.screen import Screen
from airflow_provider_crewai.client.addresses import DEFAULT_PORTS
from airflow_provider_crewai.client.fields import called
from airflow_provider_crewai.client.messages import advice
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.wire.errors import CrewAuthError, CrewConfigError, CrewError
from airflow_provider_crewai.wire.model import JSON
from airflow_provider_crewai.wire.times import duration, moment
from airflow_provider_crewai.wire.words import listing

SKEW = 60.0
"""Seconds by which the clocks of this machine and the crew may differ."""

_WIDTH = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one part.

    :param code: the exit code if this part is ill.
    """

    part: str
    said: str
    cure: str = ""
    code: Exit = field(default=Exit.DONE, repr=False)

    def __str__(self) -> str:
        words = " ".join(f"{self.said} {self.cure}".split())
        return f"{'ok   ' if self.code is Exit.DONE else 'WRONG'} {self.part:<{_WIDTH}} {words}"


def examine(options: argparse.Namespace, screen: Screen) -> Outcome:
    """Examine all parts. The exit code is that of the first one that is ill."""
    found = [*_findings(options, screen)]
    ill = [each for each in found if each.code is not Exit.DONE]
    told: list[JSON] = [
        {"part": each.part, "ok": each.code is Exit.DONE, "said": each.said, "cure": each.cure or None}
        for each in found
    ]
    said = f"Something is wrong with: {listing([each.part for each in ill])}." if ill else "All is well."
    code = ill[0].code if ill else Exit.DONE
    return Outcome(code, said, "\n".join(map(str, found)), more={"checks": told})


def _findings(options: argparse.Namespace, screen: Screen) -> Iterator[Finding]:
    yield Finding("program", f"airflow-provider-crewai {__version__} on Python {platform.python_version()}.")
    yield _airflow(needed=options.url is None)
    try:
        crew = open_crew(options, screen.note)
    except CrewConfigError as error:
        yield Finding("connection", str(error), code=Exit.WRONG_USE)
        return
    settings = crew.client.settings
    yield Finding("connection", f"{crew.where} can be used.")
    way = [*_way(settings)]
    yield from way
    if all(each.code is Exit.DONE for each in way):
        yield from _answer(crew)


# ---- Airflow --------------------------------------------------------------------------------------


def _airflow(*, needed: bool) -> Finding:
    try:
        from airflow import __version__ as version

        from airflow_provider_crewai.in_airflow import compat
    except ImportError as error:
        if not needed:
            return Finding("airflow", "is not here. Nothing of it is needed, since you named a URL.")
        cure = "Run this where Airflow is installed, or name the crew by --url."
        return Finding("airflow", f"cannot be imported here ({error}).", cure, Exit.WRONG_USE)
    can = {
        "a page of each run (3.1)": compat.HAS_RUN_PAGES,
        "records in the task state store (3.3)": compat.NEVER_EXPIRE is not None,
        "retry policies (3.3)": compat.RetryDecision is not None,
        "the page as a tab of its task (3.4)": compat.HAS_TABS_OF_OWN,
        "retries that use up no try (3.4)": compat.reschedule is not None,
    }
    has = listing([name for name, there in can.items() if there])
    lacks = listing([name for name, there in can.items() if not there])
    words = [f"{version}", *([f"has {has}"] if has else []), *([f"lacks {lacks}"] if lacks else [])]
    return Finding("airflow", f"{'; '.join(words)}.")


# ---- the way --------------------------------------------------------------------------------------


def _way(settings: Settings) -> Iterator[Finding]:
    crew, proxy = urlsplit(settings.base_url), urlsplit(settings.proxy) if settings.proxy else None
    # A proxy's URL may hold a password.
    way = f"http://{proxy.hostname}:{proxy.port}" if proxy else "none; the crew is asked directly"
    yield Finding("proxy", f"{way}.")
    resolved = _resolved(proxy or crew, is_proxy=proxy is not None)
    yield resolved
    if resolved.code is Exit.DONE:
        yield Finding("tls", "the proxy leads there; see the next lines.") if proxy else _tls(crew, settings)


def _resolved(url: SplitResult, *, is_proxy: bool) -> Finding:
    host, port = url.hostname or "", url.port or DEFAULT_PORTS.get(url.scheme)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        where = called("extra.proxy" if is_proxy else "host")
        cure = f"Check the name in the {where}, and this machine's DNS; behind a proxy set {called('extra.proxy')}."
        return Finding("dns", f"{host} has no address ({error}).", cure, Exit.UNREACHABLE)
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    return Finding("dns", f"{host} is {listing([*addresses])}.")


def _tls(url: SplitResult, settings: Settings) -> Finding:
    if url.scheme != "https":
        return Finding("tls", "none: the URL begins with http://, so nothing is encrypted.")
    host, port = url.hostname or "", url.port or DEFAULT_PORTS["https"]
    try:
        with (
            socket.create_connection((host, port), timeout=settings.timeout) as plain,
            settings.tls.wrap_socket(plain, server_hostname=host) as secured,
        ):
            return Finding("tls", f"{secured.version()}, {_certificate(secured)}.")
    except ssl.SSLCertVerificationError as error:
        cure = f"If the certificate is your own, name its CA in the {called('extra.ca_bundle')}. Else check the clock."
        return Finding("tls", f"the certificate is not trusted ({error.verify_message}).", cure, Exit.UNREACHABLE)
    except ssl.SSLError as error:
        cure = f"Is it a server of https? Check the {called('host')}."
        return Finding("tls", f"no secure connection to {host}:{port} ({error.reason}).", cure, Exit.UNREACHABLE)
    except OSError as error:
        cure = f"Check the {called('host')}, firewalls, and whether this machine needs a proxy."
        return Finding("tls", f"nobody answers at {host}:{port} ({error}).", cure, Exit.UNREACHABLE)


def _certificate(secured: ssl.SSLSocket) -> str:
    ends = (secured.getpeercert() or {}).get("notAfter")
    if not isinstance(ends, str):
        return f"the certificate is not checked, because the {called('extra.verify')} is off"
    return f"the certificate is trusted and ends at {moment(ssl.cert_time_to_seconds(ends))}"


# ---- the answer -----------------------------------------------------------------------------------


def _answer(crew: Crew) -> Iterator[Finding]:
    try:
        names = crew.client.get_inputs().names
    except CrewAuthError as error:
        cure = f"Copy the crew's Bearer token into the {called('password')}, CREWAI_TOKEN or the --token-file again."
        yield Finding("token", f"the crew refuses it ({error}).", cure, exit_of_error(error))
    except CrewError as error:
        yield Finding("crew", advice(error), _cure(error), exit_of_error(error))
    else:
        yield Finding("token", "the crew takes it.")
        yield Finding("inputs", f"{listing([*names])}." if names else "the crew lists none.")
    yield from _clock(crew)


def _cure(error: CrewError) -> str:
    is_away = exit_of_error(error) is Exit.UNREACHABLE
    return "Nobody is at that address, or a firewall or a proxy is in the way." if is_away else ""


def _clock(crew: Crew) -> Iterator[Finding]:
    heard = crew.client.heard
    if heard is None:
        return
    told, at = heard
    with suppress(ValueError):
        ahead = at - parsedate_to_datetime(told).timestamp()
        if abs(ahead) <= SKEW:
            yield Finding("clock", "agrees with the crew's.")
        else:
            which = "ahead of" if ahead > 0 else "behind"
            cure = "Set this machine's clock: deadlines and certificates depend on it."
            yield Finding("clock", f"is {duration(abs(ahead))} {which} the crew's.", cure, Exit.UNREACHABLE)
