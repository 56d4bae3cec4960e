"""What is found of a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of a connection: whether it is right, and in words what is so, or what to do."""

    name: str
    ok: bool
    told: str
