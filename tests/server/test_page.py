"""What the page shows and does, to anybody who speaks HTTP; `test_page_in_a_browser` is about those who see it."""

from __future__ import annotations

import http.client
import http.cookiejar
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from page_server import FLOW, HINT, TOKEN, PageServer
from receiver import receiving
from starlette.requests import Request
from starlette.responses import Response
from support.html_document import Document

from airflow_provider_crewai.server.page.forms import MAX_FORM
from airflow_provider_crewai.server.page.sessions import MOST_SESSIONS, SESSION_SECONDS, TICKET_SECONDS, Sessions
from airflow_provider_crewai.server.project import Description, ProjectError
from airflow_provider_crewai.server.records import open_question

HOSTILE = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    '"><svg onload="window.pwned = 1">',
    "' autofocus onfocus='window.pwned = 1",
    "</textarea></pre></title></style><script>window.pwned = 1</script><!--",
    "<form action='https://evil.example'><input name=key><base href='https://evil.example'>",
    "[click](javascript:window.pwned=1) {{ 7 * 7 }} {% raw %} &lt;b&gt;",
]
UGLY = "nul \x00 surrogate \ud800 bell \x07 \x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 c1 \x9b \u202ebidi"
DOOR = re.compile(r"^/at/[0-9a-f]{32}(?=/)")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
POLICY = (
    "default-src 'none'",
    "style-src 'self'",
    "script-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(tmp_path) as one:
        yield one


def skeleton(html: str) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(attributes)) for tag, attributes in Document(html).elements]


# ---- who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/runs/x", "/runs/x/text/log"])
def test_without_a_session_there_is_only_the_login_form(server: PageServer, path: str) -> None:
    server.run(topic="secret")
    seen = server.ask("GET", path, cookie="")
    assert seen.status == 401
    assert HINT in seen.text
    assert {"secret", TOKEN, "brief"}.isdisjoint(Document(seen.text).text.split())
    assert [each["action"] for each in Document(seen.text).all("form")] == ["/login"]


@pytest.mark.parametrize("path", ["/runs", "/runs/x/stop", "/questions/x", "/logout"])
def test_without_a_session_nothing_is_done(server: PageServer, path: str) -> None:
    fields: dict[str, str | list[str]] = {"input.topic": "x", "input.audience": "y"}
    assert server.send(path, fields, cookie="").status == 401
    assert server.listed(9) == []


def test_a_ticket_lets_in_once(server: PageServer) -> None:
    ticket = server.page.ticket()
    assert server.ask("HEAD", ticket, cookie="").status == 401, "a look at the link does not use it up"
    seen = server.ask("GET", ticket, cookie="")
    assert (seen.status, DOOR.sub("", seen.headers["Location"])) == (303, "/")
    assert server.ask("GET", "/", cookie=seen.headers["Set-Cookie"].partition(";")[0]).status == 200
    again = server.ask("GET", ticket, cookie="")
    assert (again.status, again.headers["Set-Cookie"]) == (401, None)
    assert "has been used" in again.text


@pytest.mark.parametrize(
    ("wanted", "page"),
    [
        ("/runs/x", "/runs/x"),
        ("//evil.example/x", "/x"),
        ("https://evil.example/x", "/x"),
        ("", "/"),
        ("javascript:x", "/x"),
    ],
)
def test_a_ticket_leads_to_a_page_of_this_server(server: PageServer, wanted: str, page: str) -> None:
    link = f"{server.page.ticket()}&next={quote(wanted)}"
    assert DOOR.sub("", server.ask("GET", link, cookie="").headers["Location"]) == page
    again = server.ask("GET", link, cookie="")
    assert {"type": "hidden", "name": "next", "value": page} in Document(again.text).all("input")


def test_a_made_up_ticket_lets_nobody_in(server: PageServer) -> None:
    assert server.ask("GET", "/login?ticket=x", cookie="").status == 401


def test_the_token_lets_in(server: PageServer) -> None:
    seen = server.send("/login", {"token": f" {TOKEN}\n", "next": "/runs/x"}, cookie="")
    assert (seen.status, DOOR.sub("", seen.headers["Location"])) == (303, "/runs/x")
    name, _, attributes = seen.headers["Set-Cookie"].partition(";")
    assert {"HttpOnly", "SameSite=strict"} <= {each.strip() for each in attributes.split(";")}
    assert TOKEN not in name


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "\ud800"])
def test_another_token_lets_nobody_in(server: PageServer, token: str) -> None:
    seen = server.ask(
        "POST",
        "/login",
        "token=" + "".join(f"%{byte:02x}" for byte in token.encode("utf-8", "surrogatepass")),
        cookie="",
        Origin=server.url,
    )
    assert (seen.status, seen.headers["Set-Cookie"]) == (401, None)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/x",
        "//evil.example/x",
        "/\\evil.example/x",
        "\\\\evil.example/x",
        "javascript:x",
        "x\r\nSet-Cookie: a=b",
        "http://[",
        "//[evil.example",
        "/at/another/runs/x",
    ],
)
def test_a_login_never_leads_to_another_site(server: PageServer, path: str) -> None:
    seen = server.send("/login", {"token": TOKEN, "next": path}, cookie="")
    assert seen.headers["Location"].startswith("/")
    assert DOOR.sub("", seen.headers["Location"])[1:2] not in ("/", "\\")
    assert DOOR.match(seen.headers["Location"])
    assert len(seen.headers.get_all("Set-Cookie") or []) == 1


def test_a_session_survives_a_restart_and_ends_with_the_token(server: PageServer, tmp_path: Path) -> None:
    with PageServer(tmp_path) as restarted, PageServer(tmp_path, token="another") as other:
        assert restarted.ask("GET", "/", cookie=server.cookie).status == 200
        assert other.ask("GET", "/", cookie=server.cookie).status == 401
        value = server.cookie.partition("=")[2]
        assert other.ask("GET", "/", cookie=other.cookie.partition("=")[0] + "=" + value).status == 401


@pytest.mark.parametrize("value", ["", ".", "x", "9999999999.x.", "9999999999.x.00", "\u00e9.\u00e9.\u00e9", "nan.x.y"])
def test_a_made_up_session_is_none(server: PageServer, value: str) -> None:
    name = server.cookie.partition("=")[0]
    assert server.ask("GET", "/", cookie=f"{name}={value}".encode().decode("latin-1")).status == 401


def test_tickets_and_sessions_end_in_time() -> None:
    clock = [1_000_000.0]
    access = Sessions(TOKEN, lambda: clock[0])
    fresh, old = access.ticket(), access.ticket()
    response = Response()
    access.open(response)
    cookie = response.headers["set-cookie"].partition(";")[0]
    request = Request({"type": "http", "headers": [(b"cookie", cookie.encode())]})
    clock[0] += TICKET_SECONDS - 1
    assert access.redeem(fresh)
    clock[0] += 2
    assert not access.redeem(old)
    assert access.session(request)
    clock[0] += SESSION_SECONDS
    assert access.session(request) is None


def test_logging_out_ends_the_session_also_for_who_has_copied_the_cookie(server: PageServer, tmp_path: Path) -> None:
    other = server.ask("GET", server.page.ticket(), cookie="").headers["Set-Cookie"].partition(";")[0]
    seen = server.send("/logout", {})
    assert (seen.status, seen.headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in seen.headers["Set-Cookie"]
    assert server.ask("GET", "/", cookie=server.cookie).status == 401
    with PageServer(tmp_path) as restarted:
        assert restarted.ask("GET", "/", cookie=server.cookie).status == 401
    assert server.ask("GET", "/", cookie=other).status == 200, "another browser's session goes on"


def test_a_session_is_none_at_another_server_with_the_same_token(server: PageServer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with PageServer(tmp_path / "other") as other:
        name, _, value = server.cookie.partition("=")
        other_name = other.cookie.partition("=")[0]
        assert other_name != name
        for cookie in (server.cookie, f"{other_name}={value}"):
            assert other.ask("GET", "/", cookie=cookie).status == 401


class Browser:
    """Follows redirects and keeps cookies as browsers do: by host and path, whatever the port."""

    def __init__(self) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, url: str) -> str:
        with suppress(urllib.error.HTTPError), self._opener.open(url, timeout=30) as response:
            response.read()
            return str(response.url)
        return ""


def test_a_browser_shows_a_sessions_cookie_to_no_other_server(server: PageServer) -> None:
    browser = Browser()
    home = browser.get(server.url + server.page.ticket())
    assert DOOR.match(home.removeprefix(server.url))
    assert browser.get(home) == home
    with receiving() as other:
        for path in ("/", "/at/", "/at/x/", "/runs/x", "/login"):
            browser.get(other.url + path)
    assert len(other.received) == 5
    assert [one.headers["Cookie"] for one in other.received] == [None] * 5


def test_a_session_is_good_at_its_own_door_alone(server: PageServer) -> None:
    seen = server.ask("GET", server.page.ticket(), cookie="")
    cookie, door = seen.headers["Set-Cookie"].partition(";")[0], seen.headers["Location"]
    assert f"Path={door.rstrip('/')};" in seen.headers["Set-Cookie"]
    assert server.ask("GET", door, cookie=cookie).status == 200
    assert server.ask("GET", door, cookie=server.cookie).status == 401
    assert server.ask("GET", "/at/x/", cookie=cookie).status == 401


def test_all_links_of_a_page_stay_within_its_door(server: PageServer) -> None:
    seen = server.ask("GET", server.page.ticket(), cookie="")
    server.cookie, door = seen.headers["Set-Cookie"].partition(";")[0], seen.headers["Location"]
    run = server.run(topic="x")
    run.ask("q", "task", "Good?", "x" * 30_000)
    for path in ("", f"runs/{run.kickoff_id}"):
        page = Document(server.see(door + path))
        links = [each["href"] or "" for each in page.all("a")] + [each["action"] or "" for each in page.all("form")]
        assert len(links) > 2
        assert {link for link in links if not link.startswith((door, "#main"))} == set()
        for link in {each["href"] or "" for each in page.all("a")} - {"#main"}:
            assert server.ask("GET", link).status == 200
    seen = server.send(f"{door}runs", {"input.topic": "a", "input.audience": "b"})
    assert seen.headers["Location"].startswith(f"{door}runs/")


def test_no_more_than_so_many_sessions_are_kept() -> None:
    responses = [Response() for _ in range(MOST_SESSIONS + 1)]
    clock = iter(range(10_000))
    access = Sessions(TOKEN, lambda: float(next(clock)))
    for response in responses:
        access.open(response)
    cookies = [response.headers["set-cookie"].partition(";")[0] for response in responses]
    requests = [Request({"type": "http", "headers": [(b"cookie", cookie.encode())]}) for cookie in cookies]
    assert [access.session(request) is not None for request in requests] == [False] + [True] * MOST_SESSIONS


def test_a_question_that_nobody_answered_in_time_is_not_shown_as_answered(server: PageServer) -> None:
    run = server.run()
    run.ask("q", "ask", "Your name?")
    run.give_up("q")
    run.now("RUNNING")
    seen = server.see(f"/runs/{run.kickoff_id}")
    assert "Not answered in time" in seen
    assert "Answered " not in seen


# ---- where a form comes from ----------------------------------------------------------------------

ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1", "Sec_Fetch_Site": "same-site"},
    {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "none"},
    {},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_form_from_elsewhere_does_nothing(server: PageServer, headers: dict[str, str]) -> None:
    run = server.run()
    run.ask("q", "task", "Good?")
    body = f"key={server.key()}&input.topic=a&input.audience=b&approved=yes&token={TOKEN}"
    for path in ("/runs", f"/runs/{run.kickoff_id}/stop", "/questions/q", "/login", "/logout"):
        seen = server.ask("POST", path, body, **headers)
        assert (seen.status, seen.headers["Set-Cookie"]) == (403, None)
    assert [each.state for each in server.listed(9)] == ["PAUSED"]
    assert open_question(server.runs.questions(run.kickoff_id))


@pytest.mark.parametrize(
    "headers", [{"Sec_Fetch_Site": "same-origin", "Origin": "null"}, {"Sec_Fetch_Site": "same-origin"}, {}]
)
def test_a_form_of_ours_is_taken_whatever_the_browsers_age(server: PageServer, headers: dict[str, str]) -> None:
    body = f"key={server.key()}&input.topic=a&input.audience=b"
    assert server.ask("POST", "/runs", body, **(headers or {"Origin": server.url})).status == 303


@pytest.mark.parametrize("key", ["", "0" * 64, "\u00e9"])
def test_a_form_without_the_sessions_key_does_nothing(server: PageServer, key: str) -> None:
    assert server.send("/runs", {"key": key, "input.topic": "a", "input.audience": "b"}).status == 403
    assert server.listed(9) == []


def test_another_sessions_key_is_none(server: PageServer) -> None:
    key, other = server.key(), server.ask("GET", server.page.ticket(), cookie="").headers["Set-Cookie"]
    server.cookie = other.partition(";")[0]
    assert server.send("/runs", {"key": key}).status == 403


def test_a_form_beyond_bounds_is_refused(server: PageServer) -> None:
    assert server.send("/runs", {"inputs": "x" * MAX_FORM}).status == 413
    assert server.send("/runs", {f"f{n}": "" for n in range(1001)}).status == 400
    assert server.ask("POST", "/runs", "caf\u00e9", Origin=server.url).status == 400


# ---- what is shown --------------------------------------------------------------------------------


def everywhere(server: PageServer, text: str) -> list[str]:
    """Let a project and its runs say a text wherever they can say anything; returns the pages that show it."""
    server.backend.described = Description(
        "crew", text, [text], defaults={text: text}, tasks=[{"name": text, "agent": text}] * 3
    )
    runs = []
    for state in ("RUNNING", "PAUSED", "SUCCESS", "FAILED", "REVOKED"):
        run = server.run(**{text: text, "list": [text, {text: text}]})
        run.step(0, text, text, text)
        run.step(1, text, text)
        run.ask(f"{state} 1 {text}", "task", text, text)
        server.runs.answer(f"{state} 1 {text}".replace("\ud800", "?"), text.replace("\ud800", "?"), approved=False)
        run.ask(f"{state} 2 {text}", "flow", text, text, [text, text])
        run.now(state, text, result=text, result_json={text: text}, unit="task", total=3, usage_metrics={text: 12})
        server.backend.logs[run.kickoff_id] = text
        runs.append(f"/runs/{run.kickoff_id}")
    ids = [path.rpartition("/")[2] for path in runs]
    return ["/", f"/?again={ids[0]}", f"/compare?run={ids[2]}&run={ids[3]}", *runs]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_crew_says_is_never_markup(tmp_path: Path, text: str) -> None:
    for folder in ("harmless", "hostile"):
        (tmp_path / folder).mkdir()
    with PageServer(tmp_path / "harmless") as harmless, PageServer(tmp_path / "hostile") as hostile:
        pages = zip(everywhere(harmless, re.sub("[a-z]", "x", text)), everywhere(hostile, text), strict=True)
        for tame, wild in pages:
            html = hostile.see(wild)
            assert skeleton(html) == skeleton(harmless.see(tame))
            assert text in Document(html).text
            for link in Document(html).all("a"):
                assert (link["href"] or "").startswith(("/", "#"))


def test_a_login_form_escapes_the_address_it_is_at(server: PageServer) -> None:
    tame, wild = (server.ask("GET", path, cookie="").text for path in ("/runs/x", "/runs/%22%3E%3Cscript%3E"))
    assert skeleton(tame) == skeleton(wild)


def test_what_has_no_shape_is_shown_as_signs(server: PageServer) -> None:
    for path in everywhere(server, UGLY):
        html = server.see(path)
        assert not {chr(code) for code in (*range(32), *range(0x7F, 0xA0))} - {"\n", "\t"} & set(html)
        assert "nul \u2400 surrogate \ufffd bell \u2407 red link c1 \ufffd" in Document(html).text


def test_a_text_keeps_its_first_line_break(server: PageServer) -> None:
    run = server.run()
    run.now("SUCCESS", result="\n\nbegins late")
    assert 'aria-label="Result">\n\n\nbegins late</pre>' in server.see(f"/runs/{run.kickoff_id}")


def test_ten_megabytes_are_cut_on_the_page_and_whole_behind_a_link(server: PageServer) -> None:
    huge = "<b>\u00e9\n" * 2_500_000
    run = server.run(topic=huge)
    run.step(0, "survey", "Researcher", huge)
    run.ask("q", "task", "Good?", huge)
    run.now("SUCCESS", result=huge, result_json={"huge": huge})
    server.backend.logs[run.kickoff_id] = huge
    page = f"/runs/{run.kickoff_id}"
    assert len(server.see("/")) < 20_000
    assert len(server.see(page)) < 400_000
    for what in ("result", "step-0", "question-q"):
        seen = server.ask("GET", f"{page}/text/{what}")
        assert seen.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert seen.text == huge
    assert json.loads(server.see(f"{page}/text/json")) == {"huge": huge}
    assert json.loads(server.see(f"{page}/text/inputs")) == {"topic": huge}
    assert huge.endswith(server.see(f"{page}/text/log"))


def test_what_cannot_be_encoded_can_be_read(server: PageServer) -> None:
    run = server.run()
    run.now("SUCCESS", result=UGLY)
    assert server.see(f"/runs/{run.kickoff_id}/text/result") == UGLY.replace("\ud800", "?")


@pytest.mark.parametrize("what", ["nothing", "step-0", "step-x", "question-x", "step", ""])
def test_a_text_that_is_not_there_is_not_found(server: PageServer, what: str) -> None:
    assert server.ask("GET", f"/runs/{server.run().kickoff_id}/text/{what}").status == 404


def test_every_answer_has_the_headers_of_a_careful_page(server: PageServer) -> None:
    run = server.run()
    run.now("SUCCESS", result="x")
    paths = [
        "/",
        "/login",
        "/login?ticket=x",
        server.page.ticket(),
        f"/runs/{run.kickoff_id}",
        "/runs/x",
        f"/runs/{run.kickoff_id}/text/result",
    ]
    answers = [server.ask("GET", path) for path in (*paths, "/page/page.css", "/page/page.js", "/page/icon.svg")]
    answers += [
        server.ask("GET", "/", cookie=""),
        server.send("/runs", {}),
        server.send("/runs", {"inputs": "{}"}, Origin="x"),
    ]
    for seen in answers:
        assert {name: seen.headers[name] for name in HEADERS} == HEADERS
        policy = [each.strip() for each in seen.headers["Content-Security-Policy"].split(";")]
        assert set(POLICY) <= set(policy)
        assert "unsafe" not in str(policy)


@pytest.mark.parametrize("name", ["page.py", "../__init__.py", "..%2f__init__.py", "%2e%2e%2faccess.py"])
def test_no_other_file_is_served(server: PageServer, name: str) -> None:
    assert server.ask("GET", f"/page/{name}").status == 404


WORDS = {
    "PENDING": "Waiting for a free slot",
    "STARTED": "Starting",
    "RUNNING": "Running",
    "PAUSED": "Waiting for an answer",
    "SUCCESS": "Succeeded",
    "FAILED": "Failed",
    "REVOKED": "Stopped",
}


@pytest.mark.parametrize(("state", "words"), WORDS.items())
def test_every_state_is_told_in_words(server: PageServer, state: str, words: str) -> None:
    run = server.run(topic="AI agents")
    run.now(state)
    for path in ("/", f"/runs/{run.kickoff_id}"):
        assert words in Document(server.see(path)).text


def test_a_run_shows_how_far_it_is_and_what_comes(server: PageServer) -> None:
    run = server.run(topic="AI agents")
    run.step(0, "survey", "Researcher", "Found three things", took=125)
    run.step(1, "outline", "Editor")
    run.now("RUNNING", unit="task", total=3)
    page = Document(server.see(f"/runs/{run.kickoff_id}"))
    assert "survey took 2 minutes 5 seconds Researcher Output: Found three things" in page.words
    assert "outline at it for less than a second Editor brief to come" in page.words
    assert {"max": "3", "value": "1", "aria-label": "Progress"} in page.all("progress")
    assert "1 of 3 done, now outline (Editor)" in Document(server.see("/")).words


def test_a_run_that_ended_shows_its_usage_and_is_not_looked_at_again(server: PageServer) -> None:
    run = server.run()
    run.now("SUCCESS", result="Done", took=61, usage_metrics={"total_tokens": 1250, "note": "many", "cached": 0})
    page = Document(server.see(f"/runs/{run.kickoff_id}"))
    assert "Took 1 minute 1 second Ended" in page.words
    assert "Total tokens 1,250" in page.words
    assert "data-refresh" not in page.all("html")[0]


@pytest.mark.parametrize(
    "answer",
    [
        {"unit": "method", "total": None},
        {"unit": "task", "total": 0},
        {"usage_metrics": 7},
        {"result": {"a": [1]}},
        {"result": None, "result_json": []},
    ],
)
def test_an_answer_of_any_shape_can_be_shown(server: PageServer, answer: dict[str, object]) -> None:
    for state in ("RUNNING", "SUCCESS"):
        run = server.run()
        run.now(state, **answer)
        server.see(f"/runs/{run.kickoff_id}")
    server.see("/")


def test_a_run_is_found_by_the_id_that_a_resume_made_up(server: PageServer) -> None:
    run = server.run(topic="AI agents")
    assert run.kickoff_id in server.see(f"/runs/{server.runs.alias(run.kickoff_id)}")


def test_what_is_not_there_is_not_found(server: PageServer) -> None:
    assert server.ask("GET", "/runs/x").status == 404
    assert server.send("/runs/x/stop", {}).status == 404
    assert server.send("/questions/x", {}).status == 404


# ---- what can be done -----------------------------------------------------------------------------


def kicked_off(server: PageServer) -> dict[str, object]:
    inputs = server.runs.inputs(server.listed(1)[0].kickoff_id)
    assert isinstance(inputs, dict)
    return {**inputs}


def test_a_form_kicks_off_with_text_as_it_was_typed(server: PageServer) -> None:
    seen = server.send("/runs", {"input.topic": '{"a": 1}\r\n2', "input.audience": "7"})
    assert (seen.status, seen.headers["Location"]) == (303, f"/runs/{server.listed(1)[0].kickoff_id}")
    assert kicked_off(server) == {"topic": '{"a": 1}\n2', "audience": "7"}


def test_a_form_kicks_off_with_types_where_they_are_asked_for(server: PageServer) -> None:
    server.send("/runs", {"input.topic": '["a", null]', "input.audience": "7", "json": ["topic", "audience"]})
    assert kicked_off(server) == {"topic": ["a", None], "audience": 7}


def test_inputs_as_one_object_keep_everything(server: PageServer) -> None:
    inputs = {"topic": "", "audience": [1.5, {"a": None}], "extra": True}
    assert server.send("/runs", {"inputs": json.dumps(inputs)}).status == 303
    assert kicked_off(server) == inputs


def test_defaults_are_filled_in_with_their_types(server: PageServer) -> None:
    server.backend.described = FLOW
    html = server.see("/")
    assert ">\nthe sea</textarea>" in html
    boxes = {box["value"]: "checked" in box for box in Document(html).all("input") if box.get("type") == "checkbox"}
    assert boxes == {"topic": False, "lines": True}
    server.send("/runs", {"input.topic": "", "input.lines": "4", "json": "lines"})
    assert kicked_off(server) == {"lines": 4}, "what is left empty takes its default"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"input.topic": "AI"}, "Missing inputs: audience"),
        ({"input.topic": "AI", "input.audience": "{", "json": "audience"}, "audience: this is not JSON"),
        ({"input.topic": "AI", "input.audience": "NaN", "json": "audience"}, "NaN is not JSON"),
        ({"inputs": "[1]"}, "must be a JSON object"),
        ({"inputs": "{" * 10}, "The inputs: this is not JSON"),
        ({"inputs": '{"a":' * 100_000}, "The inputs: The JSON is nested more than 200 levels deep"),
    ],
)
def test_a_form_that_cannot_be_is_shown_again_as_it_was_typed(
    server: PageServer, fields: dict[str, str | list[str]], problem: str
) -> None:
    seen = server.send("/runs", fields)
    assert seen.status == 422
    text = Document(seen.text).text
    assert problem in text
    assert all(str(value) in text for name, value in fields.items() if name != "json")
    assert server.listed(1) == []


def test_an_earlier_runs_inputs_can_be_used_again(server: PageServer) -> None:
    run = server.run(topic="AI", audience=["a"], extra=1)
    html = server.see(f"/?again={run.kickoff_id}")
    assert ">\nAI</textarea>" in html
    assert {"type": "checkbox", "name": "json", "value": "audience", "checked": None} in Document(html).all("input")
    assert {"id": "whole", "open": None} in Document(html).all("details"), "the form has no field for `extra`"


def test_a_project_that_cannot_be_loaded_says_why_and_its_runs_are_still_there(server: PageServer) -> None:
    run = server.run(topic="AI agents")
    server.backend.described = ProjectError("brief cannot be loaded: ModuleNotFoundError: No module named '<nowhere>'")
    page = Document(server.see("/"))
    assert "No module named '<nowhere>'" in page.text
    assert "need not be restarted" in page.text
    assert "AI agents" in page.text
    assert server.send("/runs", {"inputs": "{}"}).status == 503
    assert run.kickoff_id in server.see(f"/runs/{run.kickoff_id}")


@pytest.mark.parametrize(
    ("kind", "options", "fields", "feedback", "approved"),
    [
        ("task", None, {"approved": "yes", "feedback": ""}, "", True),
        ("task", None, {"approved": "yes", "feedback": "Nice"}, "Nice", True),
        ("task", None, {"approved": "no", "feedback": " Shorter.\r\nPlease "}, "Shorter.\nPlease", False),
        ("flow", None, {"approved": "yes", "feedback": ""}, "", True),
        ("flow", None, {"feedback": "Shorter"}, "Shorter", None),
        ("flow", ["publish", "redo"], {"outcome": "redo", "feedback": ""}, "redo", None),
        ("flow", ["publish", "redo"], {"outcome": "redo", "feedback": "Shorter"}, "redo\n\nShorter", None),
        ("ask", None, {"feedback": "42"}, "42", None),
    ],
)
def test_an_answer_is_kept(
    server: PageServer,
    kind: str,
    options: list[str] | None,
    fields: dict[str, str | list[str]],
    feedback: str,
    approved: bool | None,
) -> None:
    run = server.run()
    run.ask("a b?c", kind, "Good?", "A draft", options)
    document = Document(server.see(f"/runs/{run.kickoff_id}"))
    assert [form["action"] for form in document.all("form")][2] == "/questions/a%20b%3Fc"
    offered = {(button.get("name"), button.get("value")) for button in document.all("button")}
    wanted = {(name, value) for name, value in fields.items() if name != "feedback"} or {(None, None)}
    assert wanted <= offered
    seen = server.send("/questions/a%20b%3Fc", fields)
    assert (seen.status, seen.headers["Location"]) == (303, f"/runs/{run.kickoff_id}")
    answered = server.runs.question("a b?c")
    assert answered
    assert (answered.feedback, answered.approved) == (feedback, approved)


def test_the_first_answer_counts_and_the_second_person_is_told(server: PageServer) -> None:
    run = server.run()
    run.ask("q", "task", "Good?")
    server.send("/questions/q", {"approved": "no", "feedback": "First"})
    seen = server.send("/questions/q", {"approved": "yes", "feedback": "Second"})
    assert seen.status == 409
    assert "the first one counts" in seen.text
    assert "First" in seen.text


def test_a_run_can_be_stopped_once(server: PageServer) -> None:
    run = server.run()
    run.now("RUNNING")
    path = f"/runs/{run.kickoff_id}/stop"
    assert path in [form["action"] for form in Document(server.see(f"/runs/{run.kickoff_id}")).all("form")]
    assert server.send(path, {}).status == 303
    assert server.listed(1)[0].state == "REVOKED"
    assert server.send(path, {}).status == 409
    assert path not in server.see(f"/runs/{run.kickoff_id}")


def test_a_kickoff_never_happens_by_a_link(server: PageServer) -> None:
    for path in ("/runs", "/questions/x", "/runs/x/stop", "/logout"):
        assert server.ask("GET", path).status in (http.client.METHOD_NOT_ALLOWED, http.client.NOT_FOUND)
