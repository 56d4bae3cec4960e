"""Reads a server's answers, and tells problems and strangers apart."""

from __future__ import annotations

from typing import Any

import httpx

from client.errors import Refused, UnexpectedAnswer
from client.retries import retry_after

# What a proxy in between answers: too much, or while the server comes and goes
_GATEWAY = frozenset({413, 429, 502, 503, 504})


def refusal(response: httpx.Response) -> Refused | None:
    """Return the problem that an answer is, or None where it is none.

    Raises:
        UnexpectedAnswer: it is an error, and not one of Candor's.
    """
    if response.is_success:
        return None
    problem = _json(response)
    wait, request_id = retry_after(response.headers.get("Retry-After")), response.headers.get("X-Request-Id")
    if isinstance(problem, dict) and "code" in problem:
        return Refused({"status": response.status_code, **problem}, retry_after=wait, request_id=request_id)
    if response.status_code in _GATEWAY:
        status = response.status_code
        detail = f"{response.url} answered {status} {response.reason_phrase}"
        gateway = {"status": status, "code": "gateway", "detail": detail, "retryable": status != 413}
        return Refused(gateway, retry_after=wait, request_id=request_id)
    raise _stranger(response)


def list_of(response: httpx.Response, key: str, length: int | None = None) -> list[dict[str, Any]]:
    """Return the list that an answer holds under `key`.

    Raises:
        UnexpectedAnswer: there is none, or it has another length.
    """
    value: list[dict[str, Any]] = object_of(response, key)[key]
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise _stranger(response)
    return value


def whole(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object that an answer is.

    Raises:
        UnexpectedAnswer: it is something else.
    """
    value = _json(response)
    if not isinstance(value, dict):
        raise _stranger(response)
    return value


def object_of(response: httpx.Response, key: str) -> dict[str, Any]:
    """Return the JSON object of an answer that must have `key`.

    Raises:
        UnexpectedAnswer: it is something else.
    """
    value = whole(response)
    if key not in value:
        raise _stranger(response)
    return value


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _stranger(response: httpx.Response) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"{response.url} answered {response.status_code} {response.reason_phrase}, and not as Candor's API does: is another server there?"
    )
