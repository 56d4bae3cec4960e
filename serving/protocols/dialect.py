"""What the layers around the routes need to know of another tool's protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Response

from candor.errors import CandorError


@dataclass(frozen=True, slots=True)
class Dialect:
    """One tool's protocol.

    `problem` returns an error as the tool understands it; None: as the native API. `own_key`: its clients send their key in a place of
    their own, or a secret in the address: its routes ask who calls, with `serving.api.access.authenticated`. `secret_at` is the
    place of such a secret in the address split at its slashes: no log shows it. A prefix that ends with a slash stands for all
    beneath it, another one for exactly itself.
    """

    name: str
    prefixes: tuple[str, ...]
    problem: Callable[[CandorError], Response] | None = None
    own_key: bool = False
    secret_at: int | None = None
