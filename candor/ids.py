"""Identifiers: a prefix that names the kind, then a ULID, so that ids sort by time."""

from __future__ import annotations

from ulid import ULID


def new_id(prefix: str) -> str:
    """Return a fresh id such as `drf_01JD…`; safe to call from any thread or process."""
    return f"{prefix}_{ULID()}"
