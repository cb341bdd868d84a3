"""What a connection says is understood once, or named: whatever anybody writes into its fields."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import get_auth_from_url, should_bypass_proxies
from yarl import URL

from airflow_provider_crewai.client.fields import LABELS, OPTIONS
from airflow_provider_crewai.client.settings import Settings, read_settings
from airflow_provider_crewai.wire import words
from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.words import scrub

TOKEN = "tok-5e3c1a77-do-not-tell"
URL_ = "https://crew.example"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE",
             "SSL_CERT_DIR")  # fmt: skip


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def read(host: str | None = URL_, password: str | None = TOKEN, **fields: Any) -> Settings:
    return read_settings("crew", host=host, password=password, **fields)


def refused(host: str | None = URL_, password: str | None = TOKEN, **fields: Any) -> str:
    """The words with which these fields are refused."""
    with pytest.raises(CrewConfigError) as error:
        read(host, password, **fields)
    return str(error.value)


# ---- any connection ----------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["https://", "http://", "socks5://", "user", ":", "@", "/", "//", "..", "%41", "%2e", "%", "[", "]", "::1", "10.1.2.3",
     "127.1", "crew", ".example", ".", "-", "_", "ü", "ß", "ǰ", "。", "xn--", ":99999", ":0", ":443", ":8443", "?a=b", "#f", " ", "\t",
     "\n", "\x00", "\ud800", "\\", "é%FC", "localhost", "%25eth0", "kickoff", "prefix"]
)  # fmt: skip
WORDS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=20))
VALUES: st.SearchStrategy[Any] = st.one_of(
    WORDS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dictionaries(WORDS, WORDS, max_size=2),
    st.lists(WORDS, max_size=2),
)
EXTRAS = st.one_of(
    WORDS,
    st.dictionaries(st.one_of(st.sampled_from(OPTIONS), WORDS), VALUES, max_size=3),
    st.none(),
    VALUES.map(json.dumps),
)
CONNECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "host": st.one_of(VALUES, WORDS, WORDS.map("https://crew.example{}".format), WORDS.map("https://{}".format)),
        "port": st.one_of(st.integers(-1, 70000), VALUES),
        "schema": st.one_of(st.none(), st.sampled_from(["http", "https", "prefix"]), WORDS, VALUES),
        "login": st.one_of(st.none(), WORDS, VALUES),
        "password": st.one_of(st.none(), WORDS.map(f"{{}}{TOKEN}".format), WORDS, VALUES),
        "extra": EXTRAS,
    },
)


def attempt(**fields: Any) -> Settings | CrewConfigError:
    try:
        return read(**fields)
    except CrewConfigError as error:
        return error


@given(CONNECTIONS)
def test_any_connection_gives_settings_or_an_error_that_names_it_and_a_field(fields: dict[str, Any]) -> None:
    result = attempt(**fields)
    assert TOKEN not in f"{result} {result!r}"
    if isinstance(result, Settings):
        assert_understood_alike(result.base_url)
        return
    assert str(result).startswith("Connection 'crew': its ")
    assert any(f"{label} ({name})" in str(result) for name, label in LABELS.items())
    assert result.__suppress_context__ or result.__context__ is None


@given(WORDS)
def test_any_proxy_is_understood_alike_or_named(text: str) -> None:
    for proxy in (text, f"http://{text}", f"http://{text}@proxy.example"):
        result = attempt(extra={"proxy": proxy})
        if isinstance(result, CrewConfigError):
            assert "its Proxy (extra.proxy) " in str(result)
        else:
            assert result.proxy is None or assert_understood_alike(result.proxy)


def assert_understood_alike(url: str) -> bool:
    """Ask the URL classes of both HTTP libraries."""
    one, other = URL(url, encoded=True), requests.Request("GET", url).prepare().url
    assert other
    parts = requests.compat.urlparse(other)
    assert (one.scheme, one.raw_host, one.port) == (parts.scheme, parts.hostname, parts.port or one.port)
    assert one.raw_path == (parts.path or "/")
    for each in (one, URL(url)):
        assert (each.user or "", each.password or "") == get_auth_from_url(url)
        assert (each.host, each.port) == (one.host, one.port)
    return True


# ---- the URL -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": " https://Crew.Example/ \n"}, "https://crew.example"),
        ({"host": "HTTPS://crew.example:443//a//b/"}, "https://crew.example/a/b"),
        ({"host": "https://crew.example."}, "https://crew.example"),
        ({"host": "https://crew.example", "port": 443}, "https://crew.example"),
        ({"host": "https://crew.example:443/", "port": 443}, "https://crew.example"),
        ({"host": "https://crew.example/a", "port": 8443}, "https://crew.example:8443/a"),
        ({"host": "crew.example", "schema": "HTTPS"}, "https://crew.example"),
        ({"host": "https://crew.example", "schema": "https"}, "https://crew.example"),
        ({"host": "https://crew.example", "schema": "a/b"}, "https://crew.example/a/b"),
        ({"host": "https://bücher.example"}, "https://xn--bcher-kva.example"),
        ({"host": "https://straße.example/ü"}, "https://xn--strae-oqa.example/%C3%BC"),
        ({"host": "https://crew.example/%7ea%2fb"}, "https://crew.example/~a%2Fb"),
        ({"host": "https://[2001:DB8:0::1]:8443"}, "https://[2001:db8::1]:8443"),
        ({"host": "http://[::1]:8000"}, "http://[::1]:8000"),
        ({"host": "http://localhost:8000"}, "http://localhost:8000"),
        ({"host": "https://my_crew.example"}, "https://my_crew.example"),
        ({"host": "http://::1", "port": 8000}, "http://[::1]:8000"),
        ({"host": "2001:db8::1", "schema": "https"}, "https://[2001:db8::1]"),
        ({"host": "https://crew.example", "port": "8443"}, "https://crew.example:8443"),
    ],
)
def test_a_url_has_one_form(fields: dict[str, Any], url: str) -> None:
    assert read(**fields).base_url == url


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"host": "my-crew"}, "Crew URL (host) has no scheme; begin it with https://"),
        ({"host": "localhost:8000"}, "Crew URL (host) has no scheme"),
        ({"host": "crew.example", "schema": "prefix"}, "Crew URL (host) has no scheme"),
        ({"host": "ftp://crew.example"}, "Crew URL (host) is not an http(s) URL"),
        ({"host": "https://"}, "Crew URL (host) is not an http(s) URL"),
        ({"host": "https://me@crew.example"}, "Crew URL (host) holds a user"),
        ({"host": "https://@crew.example"}, "Crew URL (host) holds a user"),
        ({"host": "https://crew.example?"}, "Crew URL (host) holds a user, a query"),
        ({"host": "https://crew.example:99999"}, "Crew URL (host) is not a URL; its host or port"),
        ({"host": "https://crew.example:0"}, "Crew URL (host) names port 0"),
        ({"host": "https://crew .example"}, "Crew URL (host) holds spaces"),
        ({"host": "https://crew\t.example"}, "Crew URL (host) holds spaces or characters"),
        ({"host": "https://cr%65w.example"}, "Crew URL (host) names a host that is not valid"),
        ({"host": "https://crew..example"}, "Crew URL (host) names a host that is not valid"),
        ({"host": "https://" + "x" * 64}, "Crew URL (host) names a host that is not valid"),
        ({"host": "https://-ü-.example"}, "(IDNA)"),
        ({"host": "https://127.1"}, "looks like an IP address but is not one"),
        ({"host": "https://0x7f.0.0.1"}, "looks like an IP address but is not one"),
        ({"host": "https://[fe80::1%25eth0]"}, "names an IPv6 address with a zone"),
        ({"host": "https://crew.example/a/../b"}, "Crew URL (host) holds '.' or '..'"),
        ({"host": "https://crew.example/%2E%2e/b"}, "Crew URL (host) holds '.' or '..'"),
        ({"host": "https://crew.example/100%"}, "Crew URL (host) holds a % that escapes nothing"),
        ({"host": "https://crew.example/kickoff"}, "Crew URL (host) ends with the API's own path /kickoff"),
        ({"host": "https://crew.example/inputs/"}, "ends with the API's own path /inputs"),
        ({"host": "https://crew.example/a/status/123"}, "the API's own path /status"),
        ({"host": "https://crew.example/123/status"}, "the API's own path /status"),
        ({"host": "https://crew.example:8443", "port": 443}, "Port (port) is 443, but the URL names 8443"),
        ({"host": "https://crew.example:443", "port": 8443}, "Port (port) is 8443, but the URL names 443"),
        ({"host": "crew.example:443", "schema": "https", "port": 80}, "Port (port) is 80, but the URL names 443"),
        ({"host": "https://crew.example", "port": 99999}, "Port (port) "),
        ({"host": "https://crew.example", "port": "many"}, "Port (port) is not a number"),
        ({"host": "https://crew.example", "port": -1}, "Port (port) is not a number"),
        ({"host": "https://https://crew.example"}, "Crew URL (host) holds :// twice"),
        ({"host": ["https://crew.example"]}, "Crew URL (host) must be a text"),
        ({"schema": 1.5}, "Schema (schema) must be a text"),
        ({"login": True}, "Login (login) must be a text"),
        ({"password": {"token": "x"}}, "Bearer token (password) must be a text"),
        ({"host": "https://crew.example", "schema": "http"}, "the schema says http"),
        ({"host": "https://crew.example/a", "schema": "b"}, "Schema (schema) holds a path, but the URL has one, too"),
        (
            {"host": "https://crew.example", "schema": "https://"},
            "Schema (schema) is neither http nor https nor a path",
        ),
        (
            {"host": "https://crew.example", "schema": "kickoff"},
            "Schema (schema) ends with the API's own path /kickoff",
        ),
        ({"login": "me"}, "Login (login) is set"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_a_url_that_cannot_be_understood_names_the_field(fields: dict[str, Any], says: str) -> None:
    assert says in refused(**fields)


def test_the_token_of_a_uri_without_its_colon_is_not_shown() -> None:
    assert TOKEN not in refused(login=TOKEN, password=None)


# ---- the token ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["{}", " {}\n", "Bearer {}", "bearer {}", "BEARER   {}", "Bearer\t{}", "Token {}", "Authorization: Bearer {}",
              "authorization:{}", "Bearer: {}", "BEARER:{}", "User Bearer {}", "TOKEN={}", "Authorization=Bearer {}"]
)  # fmt: skip
def test_a_token_is_understood_with_what_people_copy_along(given: str) -> None:
    assert read(password=given.format(TOKEN)).token == TOKEN


@pytest.mark.parametrize(
    "given", ['"{}"', "'{}'", "{} x", "Basic {}", "Bearer Bearer {}", "{}\r\nX-A: b", "ü{}", "{}\x00"]
)
def test_a_token_that_is_none_is_named_and_not_shown(given: str) -> None:
    words = refused(password=given.format(TOKEN))
    assert "its Bearer token (password) holds spaces, quotes or other characters that no token has" in words
    assert TOKEN not in words


def test_a_token_of_digits_is_understood_as_json_has_it() -> None:
    assert read(password=2026112715).token == "2026112715"  # type: ignore[arg-type]  # what a JSON may hold


@pytest.mark.parametrize("given", [None, "", " ", "Bearer", "Bearer ", "Authorization: Bearer"])
def test_no_token_is_named(given: str | None) -> None:
    assert "its Bearer token (password) is empty" in refused(password=given)


# ---- extra -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"time_out": 5}, "Extra (extra) holds 'time_out', which is not an option; did you mean 'timeout' (Request timeout)?"),
        ({"Timeout": 5}, "did you mean 'timeout' (Request timeout)? The options are: "),
        ({"proxies": "http://p"}, "did you mean 'proxy' (Proxy)? The options are: "),
        ({"colour": "red"}, "Extra (extra) holds 'colour', which is not an option. The options are: timeout, verify"),
        ({TOKEN: ""}, None),
        ({TOKEN: "x"}, "Extra (extra) holds a key, which is not an option"),
        ("[1]", "Extra (extra) is not a JSON object"),
        ('"text"', "Extra (extra) is not a JSON object"),
        ("timeout=5", "Extra (extra) is not a JSON object"),
        ("[" * 100_000, "Extra (extra) is not a JSON object"),
        ({"timeout": "soon"}, "Request timeout (extra.timeout) is 'soon'"),
        ({"timeout": True}, "Request timeout (extra.timeout) is True"),
        ({"timeout": "nan"}, "Request timeout (extra.timeout) is 'nan'"),
        ({"verify": "/etc/ca.pem"}, "Verify TLS (extra.verify) is '/etc/ca.pem'; set it to true or false"),
        ({"headers": "X-A: b"}, "Extra headers (extra.headers) must be a JSON object"),
        ({"headers": {"X-A": 5}}, "Extra headers (extra.headers) must be a JSON object: header names, each with a text"),
        ({"headers": {"Host": "x"}}, "Extra headers (extra.headers) names host, which each request sets itself"),
        ({"headers": {"X-A": "b", "x-a": "c"}}, "Extra headers (extra.headers) names x-a twice"),
        ({"headers": {"X-A": "b"}, "secret_headers": '{"x-A": "c"}'}, "Secret headers (extra.secret_headers) names x-a twice"),
        ({"secret_headers": {"Authorization": "x"}}, "Secret headers (extra.secret_headers) names Authorization"),
    ],
)  # fmt: skip
def test_an_extra_that_cannot_be_understood_names_the_field(extra: Any, says: str | None) -> None:
    if says is None:
        assert read(extra=extra)
    else:
        assert says in refused(extra=extra)
        assert TOKEN not in refused(extra=extra)


@pytest.mark.parametrize(
    "extra",
    [
        {"timeout": 5},
        '{"timeout": 5}',
        {"timeout": "5"},
        {"extra__crewai__timeout": 5, "extra__crewai__proxy": ""},
        {"extra__crewai__timeout": 6, "timeout": 5},
        {"extra__crewai__timeout": 5, "timeout": None},
        {"timeout": 5, "verify": " ", "headers": "\n", "proxy": None},
        {"__extra__": '{"timeout": 5}'},
        {"__extra__": '{"timeout": 6}', "timeout": 5},
    ],
    ids=repr,
)
def test_an_option_is_understood_in_each_way_in_which_airflow_saves_it(extra: Any) -> None:
    assert read(extra=extra).timeout == 5


# ---- the proxy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "proxy"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("http://Proxy.example/", "http://proxy.example:80"),
        ("HTTP://proxy.example:3128", "http://proxy.example:3128"),
        ("http://me:p%40ss@proxy.example", "http://me:p%40ss@proxy.example:80"),
        ("http://me:p^ss@proxy.example", "http://me:p%5Ess@proxy.example:80"),
        ("http://me@proxy.example", "http://me:@proxy.example:80"),
        ("http://:@proxy.example", "http://proxy.example:80"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("http://bücher.example:1", "http://xn--bcher-kva.example:1"),
    ],
)
def test_a_proxy_has_one_form(given: str, proxy: str) -> None:
    assert read(extra={"proxy": given}).proxy == proxy


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("socks5://127.0.0.1:1080", "is a proxy of the kind 'socks5'; only an HTTP proxy can be used"),
        ("ftp://proxy.example", "is a proxy of the kind 'ftp'"),
        ("https://proxy.example", "is an https:// URL; only a proxy that is reached over http:// can be used"),
        ("http://proxy.example:99999", "is not a URL; its host or port cannot be read"),
        ("http://proxy.example:0", "names port 0"),
        ("http://", "names no host"),
        ("http://me:pw@", "names no host"),
        ("http://proxy.example/proxy.pac", "holds a path or a query"),
        ("http://pro\x01xy.example", "holds spaces or characters that no URL has"),
        ("http://pro xy.example", "holds spaces"),
        ("http://ü:ж@proxy.example", "has a user or password that cannot be sent"),
        ("http://me:%FC@proxy.example", "has a user or password that cannot be sent"),
        ("http://me:a%0ab@proxy.example", "has a user or password with control characters"),
        ("http://:pw@proxy.example", "needs a user name without a colon"),
        ("http://a%3ab:pw@proxy.example", "needs a user name without a colon"),
        ("http://proxy..example", "names a host that is not valid"),
    ],
)
@pytest.mark.parametrize("variable", [None, "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_that_not_both_shells_can_use_names_where_it_was_given(
    given: str, says: str, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, given)
        assert f"the environment variable {variable} {says}" in refused()
    else:
        assert f"its Proxy (extra.proxy) {says}" in refused(extra={"proxy": given})


NO_PROXY = [
    ("", "https://10.1.2.3", False),
    ("*", "https://crew.example", True),
    ("10.0.0.0/8", "https://10.1.2.3", True),
    ("10.0.0.0/8", "https://11.1.2.3", False),
    ("10.1.2.3", "https://10.1.2.3", True),
    ("10.1.2.3", "https://10.1.2.30", False),
    ("example", "https://crew.example", True),
    (".example", "https://crew.example", True),
    ("other.example , crew.example", "https://crew.example", True),
    ("crew.example:8443", "https://crew.example:8443", True),
    ("crew.example:8443", "https://crew.example:9443", False),
    ("ew.example", "https://crew.example", False),
    ("crew.example:443", "https://crew.example", False),
    ("2001:db8::1", "https://[2001:db8::1]", True),
    ("CREW.EXAMPLE", "https://crew.example", True),
]


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(("listed", "url", "direct"), NO_PROXY)
def test_no_proxy_means_what_it_means_to_requests(
    listed: str, url: str, direct: bool, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv(variable, listed)
    assert (read(url).proxy is None) is direct
    assert should_bypass_proxies(url, None) is direct


def test_a_proxy_of_the_environment_is_the_one_that_requests_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    assert read().proxy == "http://all.example:1"
    monkeypatch.setenv("HTTPS_PROXY", "http://upper.example:1")
    assert read().proxy == "http://upper.example:1"
    monkeypatch.setenv("https_proxy", "lower.example:1")
    assert read().proxy == "http://lower.example:1"
    assert read(extra={"proxy": "http://own.example:1"}).proxy == "http://own.example:1"
    assert read("http://localhost:8000").proxy is None


def test_a_list_of_hosts_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "\udce9/8")
    assert "the environment variable NO_PROXY holds characters" in refused("https://10.1.2.3")


# ---- whom to trust -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of one's own, in a file whose name says nothing, as a mounted secret's key has."""
    folder = tmp_path_factory.mktemp("own")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=own",
               "-keyout", folder / "key", "-out", folder / "ca"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder / "ca"


def trusted(settings: Settings) -> int:
    return settings.tls.cert_store_stats()["x509"]


def test_a_bundle_is_read_whatever_it_is_called(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trusted(read(extra={"ca_bundle": str(certificate)})) == 1
    assert trusted(read()) > 50
    for variable in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(certificate))
        assert trusted(read()) == 1


def test_a_directory_of_hashed_certificates_is_a_bundle(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(certificate.read_bytes())
    assert "holds no certificate under its hash; run `openssl rehash`" in refused(extra={"ca_bundle": str(tmp_path)})
    (tmp_path / "0a1b2c3d.0").write_bytes(certificate.read_bytes())
    assert read(extra={"ca_bundle": str(tmp_path)}).tls.verify_mode is ssl.CERT_REQUIRED
    monkeypatch.setenv("SSL_CERT_DIR", f"/no/such/folder:{tmp_path}")
    assert read().tls.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "text", ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
@pytest.mark.parametrize("variable", [None, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_without_a_certificate_is_named(
    text: str, variable: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    bundle.write_text(text)
    if variable:
        monkeypatch.setenv(variable, str(bundle))
        words = refused()
        assert f"the environment variable {variable} names" in words
    else:
        words = refused(extra={"ca_bundle": str(bundle)})
        assert "its CA bundle (extra.ca_bundle) names" in words
    assert str(bundle) in words


@pytest.mark.parametrize("path", ["/no/such/file", "nul\0", "x" * 5000])
def test_a_bundle_that_is_not_there_is_named(path: str) -> None:
    words = refused(extra={"ca_bundle": path})
    assert "its CA bundle (extra.ca_bundle) names" in words
    assert words.isprintable()
    assert len(words) < 400


def test_certificates_in_the_place_of_a_bundles_path_are_named_and_not_shown() -> None:
    words = refused(extra={"ca_bundle": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"})
    assert "its CA bundle (extra.ca_bundle) holds the certificates themselves; put them into a file" in words
    assert "c2VjcmV0" not in words


def test_a_bundle_is_read_once_and_again_when_it_changes(certificate: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "ca"
    bundle.write_bytes(certificate.read_bytes())
    first = read(extra={"ca_bundle": str(bundle)}).tls
    assert read(extra={"ca_bundle": str(bundle)}).tls is first
    bundle.write_bytes(certificate.read_bytes() * 2)
    assert read(extra={"ca_bundle": str(bundle)}).tls is not first
    assert read().tls is read().tls


def test_nobody_is_checked_where_verification_is_off() -> None:
    tls = read(extra={"verify": "false", "ca_bundle": "/no/such/file"}).tls
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_NONE, False)


# ---- secrets -----------------------------------------------------------------------------------------


def test_each_secret_is_known_and_masked_however_it_is_spelt() -> None:
    extra = {
        "proxy": "http://an%40user:pass%2Fword!@proxy.example",
        "headers": {"X-Team": "engineering", "X-Key": "a-long-key/with a slash"},
        "secret_headers": '{"X-Pin": "12345678"}',
    }
    settings = read(extra=extra)
    secrets = set(settings.secrets)
    basic = base64.b64encode(b"an@user:pass/word!").decode()
    assert {TOKEN, "pass/word!", "an@user:pass/word!", basic, "a-long-key/with a slash", "12345678"} == secrets
    for said in (
        "pass%2Fword%21",
        "pass%2fword!",
        r"pass\/word!",
        "a-long-key%2Fwith%20a%20slash",
        "an%40user%3Apass/word!",
    ):
        assert scrub(said, settings.secrets) == "***"
    assert not {"engineering", "an@user"} & secrets
    assert [len(secret) for secret in settings.secrets] == sorted(map(len, settings.secrets), reverse=True)
    assert settings.request_headers["X-Pin"] == "12345678"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30))
def test_a_secret_is_searched_for_where_it_is_long_enough_to_be_one(token: str) -> None:
    settings = attempt(password=token)
    if isinstance(settings, CrewConfigError):
        return
    assert (settings.token in settings.secrets) is (len(settings.token) >= words.SHORTEST_SECRET)
    assert all(len(secret) >= words.SHORTEST_SECRET for secret in settings.secrets)
