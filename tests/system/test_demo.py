"""The README's first command, as a newcomer gives it."""

import http.client
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

CHECKOUT = Path(__file__).parents[2]
DEMO = str(CHECKOUT / "scripts" / "demo")


@pytest.mark.left_to_ci  # the test below goes the same way, up to Ctrl-C
@pytest.mark.parametrize("options", [(), ("--ask",)])
def test_scripts_demo_ends_well_and_shows_the_answer(options: tuple[str, ...]) -> None:
    command = (DEMO, "--exit", *options)
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for words in ("The crew's answer", "kickoff_id: ", "The crew's run: http://127.0.0.1:", "all stopped"):
        assert words in finished.stdout
    drafts = re.findall(r"its draft: (.*)", finished.stdout)
    assert len(drafts) == (2 if "--ask" in options else 0)
    if drafts:
        assert "Reworked" not in drafts[0]
        assert "Reworked as you asked: Say where the tides come in." in drafts[1]


def test_its_last_link_leads_to_the_run_and_ctrl_c_says_that_it_stops() -> None:
    with subprocess.Popen((DEMO,), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout
        said = "".join(up_to("Ctrl-C stops everything.", demo.stdout))
        link = re.search(r"The crew's run: (http://\S+)", said)
        assert link, said
        where, login = urlsplit(link[1]), link[1].partition("/login")[2]
        there, _ = asked(where.netloc, "/login" + login)
        kickoff_id = re.search(r"kickoff_id: (\S+)", said)
        assert kickoff_id
        assert there["Location"].endswith(f"/runs/{kickoff_id[1]}")
        cookie = there["Set-Cookie"].partition(";")[0]
        assert "Succeeded" in asked(where.netloc, there["Location"], cookie)[1]
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
    assert "Stopping everything." in rest
    assert rest.rstrip().endswith("all stopped")
    assert demo.returncode == 128 + signal.SIGINT


def up_to(words: str, lines: Iterator[str]) -> Iterator[str]:
    """What is said up to some words."""
    for line in lines:
        yield line
        if words in line:
            return


def asked(host: str, path: str, cookie: str = "") -> tuple[http.client.HTTPMessage, str]:
    with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
        connection.request("GET", path, headers={"Cookie": cookie})
        response = connection.getresponse()
        return response.headers, response.read().decode()
