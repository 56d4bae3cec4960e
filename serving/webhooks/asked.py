"""Whether a webhook can be what somebody asks for."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from candor.errors import InvalidRequest
from store.webhooks import Event

OF_PROJECTS: tuple[Event, ...] = ("drafts.ready", "alarm.raised", "alarm.cleared")


def require_url(url: str, schemes: Sequence[str]) -> None:
    """Refuse what can never be sent to. Where a name leads is looked at each time: it may change.

    Raises:
        InvalidRequest: the detail says why.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidRequest("url is not a valid URL") from error
    if parsed.scheme not in schemes or not parsed.host:
        raise InvalidRequest(f"url is a whole address, such as https://example.org/candor; schemes that are allowed: {', '.join(schemes)}")
    if parsed.userinfo:
        raise InvalidRequest("url holds a user name or password; what is sent is signed instead: check the signature")


def require_events(events: Sequence[Event], project: str | None) -> None:
    """Refuse events that a project has none of: the webhook would wait for them in vain.

    Raises:
        InvalidRequest: the detail says why.
    """
    if project is not None and (others := [event for event in events if event not in OF_PROJECTS]):
        raise InvalidRequest(f"{', '.join(others)}: such events belong to no project. Leave `project` out, or make a webhook of their own")
