"""Faults of the wire: answers that are held, lost, replaced or refused. A row of `scripts/chaos` has one of them."""

from collections.abc import Callable

from aiohttp import web
from chaos_stage import Stage
from fault_proxy import LOST, Exchange, Fault, Refusal


def hold(when: Callable[[Exchange], bool]) -> Callable[[Stage], Fault]:
    """Hold the first answer that fits until the row lets it go."""

    def of(stage: Stage) -> Fault:
        async def fault(exchange: Exchange) -> web.StreamResponse | None:
            if not stage.reached and when(exchange):
                stage.reached = True
                await stage.go_on.wait()
            return None

        return fault

    return of


def hold_each_first_look(stage: Stage) -> Fault:
    """Hold the first look at each run until the row lets them go: each is started, and not yet deferred."""
    looked: set[str] = set()

    async def fault(exchange: Exchange) -> web.StreamResponse | None:
        if is_look(exchange) and exchange.kickoff_id not in looked:
            looked.add(exchange.kickoff_id)
            await stage.go_on.wait()
        return None

    return fault


def hold_run(stage: Stage) -> Fault:
    """Let the run go on until the row lets it end: until then a success reads as running, and can be stopped."""

    async def fault(exchange: Exchange) -> web.StreamResponse | None:
        if stage.go_on.is_set():
            return None
        if exchange.path.startswith("/stop/"):
            return web.json_response({"status": "stopped"})
        return web.json_response({"state": "RUNNING"}) if is_look(exchange) and is_success(exchange) else None

    return fault


def is_kickoff(exchange: Exchange) -> bool:
    return exchange.path == "/kickoff"


def is_feedback(exchange: Exchange) -> bool:
    return exchange.path == "/resume"


def is_look(exchange: Exchange) -> bool:
    return exchange.path.startswith("/status/")


def is_success(exchange: Exchange) -> bool:
    return exchange.answer.get("state") == "SUCCESS"


class NthKickoff:
    """True for the answer to the kickoff of that number: the runs before it are on record."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, exchange: Exchange) -> bool:
        self.left -= is_kickoff(exchange)
        return self.left == 0


class SecondSuccess:
    """True for the second answer that says SUCCESS: the trigger has seen the first."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, exchange: Exchange) -> bool:
        self.count += is_look(exchange) and is_success(exchange)
        return self.count == 2


def lose_kickoff(stage: Stage) -> Fault:
    """Lose the first answer to a kickoff."""
    return answer_kickoff(stage, lambda: LOST)


def answer_kickoff(stage: Stage, answer: Callable[[], web.Response]) -> Fault:
    """Answer something else to the first kickoff, which the crew has heard."""

    async def fault(exchange: Exchange) -> web.StreamResponse | None:
        if is_kickoff(exchange) and not stage.reached:
            stage.reached = True
            return answer()
        return None

    return fault


def bare_503_to_the_kickoff(stage: Stage) -> Fault:
    """Answer 503 without Retry-After to a kickoff that was passed on, as gateways do."""
    return answer_kickoff(stage, lambda: web.Response(status=503, text="upstream connect error"))


def refuse_login_after_success(stage: Stage) -> Fault:
    """Answer 401 to each look after the first that said SUCCESS, until the row mends the login."""

    async def fault(exchange: Exchange) -> web.StreamResponse | None:
        if not (is_look(exchange) and is_success(exchange)) or stage.go_on.is_set():
            return None
        seen, stage.reached = stage.reached, True
        return web.json_response({"detail": "Invalid token"}, status=401) if seen else None

    return fault


def answer_looks(*answers: Callable[[], web.StreamResponse]) -> Callable[[Stage], Fault]:
    """Replace the answers to the first looks by these, one for each."""

    def of(_: Stage) -> Fault:
        left = list(answers)

        async def fault(exchange: Exchange) -> web.StreamResponse | None:
            return left.pop(0)() if left and is_look(exchange) else None

        return fault

    return of


def bad_gateway() -> web.Response:
    return web.Response(status=502, text="<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html")


def too_many() -> web.Response:
    return web.json_response({"detail": "slow down"}, status=429, headers={"Retry-After": "3"})


def truncated() -> web.Response:
    return web.Response(body=b'{"state": "SUCC', content_type="application/json")


def elsewhere() -> web.Response:
    return web.Response(status=302, headers={"Location": "https://elsewhere.example/"})


def strange() -> web.Response:
    return web.json_response({"state": "CONTEMPLATING", "status": "Hmm"})


def not_found() -> web.Response:
    return web.json_response({"state": "NOT FOUND", "status": "Task not found or Invalid kickoff id"})


def cannot_stop(_: Stage) -> Refusal:
    """Be a deployment that has no way to stop a run."""

    async def refusal(path: str) -> web.StreamResponse | None:
        return web.json_response({"detail": "Not Found"}, status=404) if path.startswith("/stop/") else None

    return refusal


def lose_feedback(stage: Stage) -> Refusal:
    """Hold the first feedback until the row lets it go, and lose it then: the crew never hears of it."""

    async def refusal(path: str) -> web.StreamResponse | None:
        if path != "/resume" or stage.reached:
            return None
        stage.reached = True
        await stage.go_on.wait()
        return LOST

    return refusal
