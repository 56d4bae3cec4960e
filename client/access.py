"""What a client may do with API keys and the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from client.answers import AuditEntry, Key, NewKey
from client.calls import Call, Flow, address, ask, json_body, told, told_list
from client.methods import Listing, Method
from client.pages import Pages


def keys() -> Flow[list[Key]]:
    """Return the team's API keys, without what they are used with.

    Raises:
        ClientError: the key may not, or the server can't be asked.
    """
    return ask(Call("GET", address("keys"), told_list(Key, "keys")))


def create_key(name: str, scopes: Sequence[str], *, expires_in_seconds: int | None = None) -> Flow[NewKey]:
    """Make an API key. What it is used with is told this once.

    Where the connection breaks it is not tried again, which could leave one that nobody knows of.

    Raises:
        ClientError: a scope is unknown, the key may not, the connection broke, or the server can't be asked.
    """
    lifetime = {} if expires_in_seconds is None else {"expires_in_seconds": expires_in_seconds}
    wanted = {"name": name, "scopes": list(scopes), **lifetime}
    return ask(Call("POST", address("keys"), told(NewKey, "key"), json_body(wanted), once=True))


def revoke_key(key_id: str) -> Flow[Key]:
    """Revoke an API key.

    Raises:
        ClientError: there is none of that id, or the server can't be asked.
    """
    return ask(Call("DELETE", address("keys", key_id), told(Key, "id")))


def audit(action: str | None = None, target: str | None = None) -> Pages[AuditEntry]:
    """Go through who did what, newest first; one kind of action or one target, where that is named.

    Raises:
        ClientError: the key may not, or the server can't be asked.
    """
    return Pages(AuditEntry, address("audit"), "entries", {"action": action, "target": target})


class AccessCalls:
    """What a client may do with API keys and the audit log."""

    keys = Method(keys)
    create_key = Method(create_key)
    revoke_key = Method(revoke_key)
    audit = Listing(audit)
