"""Takes the calls of deployments: what a crew asks a human, and which run a kickoff started.

Nobody is logged in here: the URL says what is allowed, and it is checked before anything of the call is read. A call
is refused with a few words, and neither an answer nor the log repeats any of it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Annotated, NoReturn

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from airflow_provider_crewai.in_airflow.api_server.delivery import (
    UndeliverableError,
    deliver_question,
    deliver_start,
    deliver_to_who_waits,
)
from airflow_provider_crewai.in_airflow.config import configured
from airflow_provider_crewai.in_airflow.link import MOUNT
from airflow_provider_crewai.in_airflow.metrics import called
from airflow_provider_crewai.in_airflow.signed_urls import PATH, Claims, InvalidTokenError, bearer, is_signed, read
from airflow_provider_crewai.wire.errors import CrewProtocolError
from airflow_provider_crewai.wire.webhook_calls import read_flow_request, read_human_input, read_start

log = logging.getLogger(__name__)

LONGEST_BODY = 1024 * 1024
"""The most bytes of a call: far more than a person can judge."""

SKEW = 300.0
"""Seconds by which the clock of who signs a call may differ from ours."""

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_THREADS = ThreadPoolExecutor(4, thread_name_prefix="crew-calls")
"""So the database keeps neither the event loop nor a thread of Airflow's waiting."""

calls = APIRouter()


async def patience() -> float:
    """Return the seconds in which a call must have arrived."""
    return 10.0


Patience = Annotated[float, Depends(patience)]


@calls.post(f"{PATH.removeprefix(MOUNT)}/flows")
async def take_from_flow(request: Request, within: Patience) -> Response:
    """Take the question of a flow, whose webhook is set in the platform's dashboard and signs each call."""
    signature = _of_now(request)
    body = await _body(request, None, within)
    if not is_signed(body, *signature):
        _refuse(HTTPStatus.FORBIDDEN, "its signature is wrong", None)
    return await _delivered(None, lambda: deliver_to_who_waits(read_flow_request(body), time.time()))


@calls.post(PATH.removeprefix(MOUNT) + "/{token}")
async def take(token: str, request: Request, within: Patience) -> Response:
    """Take a call: see what its URL allows, read it, and put it where its task finds it."""
    claims = _allowed(token, request)
    body = await _body(request, claims, within)
    return await _delivered(claims, lambda: _deliver(claims, body))


def _of_now(request: Request) -> tuple[str, str]:
    """Return the signature and the timestamp of a call, if it was signed just now: one that is repeated later is not.

    A body is read only of who knows that much, where an admin expects calls at all.
    """
    signature, timestamp = (request.headers.get(name, "") for name in ("x-signature", "x-timestamp"))
    if not configured("flow_webhook_secret"):
        _refuse(HTTPStatus.FORBIDDEN, "[crewai] flow_webhook_secret is not set", None)
    if not (signature and timestamp.isdecimal() and abs(int(timestamp[:20]) - time.time()) <= SKEW):
        _refuse(HTTPStatus.FORBIDDEN, "it has no signature of now", None)
    return signature, timestamp


def _allowed(token: str, request: Request) -> Claims:
    try:
        claims = read(token, time.time())
    except InvalidTokenError as error:
        _refuse(HTTPStatus.GONE if error.expired else HTTPStatus.FORBIDDEN, str(error), None)
    given = request.headers.get("authorization")
    if given is None and not claims.needs_bearer:
        return claims
    if not hmac.compare_digest((given or "").encode(), f"Bearer {bearer(token)}".encode()):
        _refuse(HTTPStatus.UNAUTHORIZED, "its bearer token is wrong", claims)
    return claims


async def _body(request: Request, claims: Claims | None, within: float) -> bytes:
    """Return the body of a call, if it is JSON, arrives in time and is not too long: nothing longer is read."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        _refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "its content type is not application/json", claims)
    if (length := request.headers.get("content-length", "")).isdecimal() and int(length[:20]) > LONGEST_BODY:
        _refuse_length(claims)
    body = bytearray()
    try:
        async with asyncio.timeout(within):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    _refuse_length(claims)
    except TimeoutError:
        _refuse(HTTPStatus.REQUEST_TIMEOUT, f"it did not arrive within {within:g} seconds", claims)
    except ClientDisconnect:
        _refuse(HTTPStatus.BAD_REQUEST, "it was cut off", claims)
    return bytes(body)


def _refuse_length(claims: Claims | None) -> NoReturn:
    _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"it has more than {LONGEST_BODY:,} bytes", claims)


async def _delivered(claims: Claims | None, deliver: Callable[[], bool]) -> Response:
    try:
        called("kept" if await asyncio.get_running_loop().run_in_executor(_THREADS, deliver) else "known")
        return JSONResponse({"status": "kept"}, headers=HEADERS)
    except CrewProtocolError as error:
        _refuse(HTTPStatus.BAD_REQUEST, str(error), claims)
    except UndeliverableError as error:
        _refuse(HTTPStatus.CONFLICT, str(error), claims)
    except Exception as error:  # noqa: BLE001 - the database's errors are of any class, and may repeat the body
        _refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"it cannot be kept now ({type(error).__name__})", claims)


def _deliver(claims: Claims, body: bytes) -> bool:
    if claims.purpose == "question":
        return deliver_question(claims, read_human_input(body), time.time())
    return deliver_start(claims, read_start(body), time.time())


def _refuse(status: HTTPStatus, why: str, claims: Claims | None) -> NoReturn:
    """Refuse a call, and say why in the log, without anything of the call."""
    called("refused")
    log.warning("A call of a deployment is refused: %s (%s).", why, claims or "for no task that we know")
    raise HTTPException(status, f"Refused: {why}.", HEADERS)
