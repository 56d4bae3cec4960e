"""What Label Studio keeps of a connection: the row of the ML backend that it asks for drafts, and the webhook that it reports to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from candor.errors import Conflict, InvalidRequest, ToolError
from serving.protocols.label_studio.remote import LabelStudio

TITLE = "Candor"
_OURS = re.compile(r"/label-studio/[^/]+/([A-Za-z0-9_-]{43})(?:/webhook)?/?")
_BLOCKED = ("reserved network address", "local network", "banned")
_HINT_BLOCKED = (
    "start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false in its environment, both of them, or it calls no "
    "address inside your network; then connect again"
)


def base_url(candor_url: str, project: str, secret: str) -> str:
    """Return the address that Label Studio is given."""
    return f"{candor_url.rstrip('/')}/label-studio/{quote(project, safe='')}/{secret}"


def secret_in(url: Any) -> str | None:
    """Return the secret in an address that some Candor gave; None where it is not of that form."""
    found = _OURS.search(str(url))
    return found[1] if found and found.end() == len(str(url)) else None


class NoWebhook(ToolError):
    """Label Studio takes no webhook at this address. Reviews are still found: Candor asks for them."""

    code, title = "no_webhook", "The labeling tool takes no webhook at this address"


class Wiring:
    """The row and the webhook of one project of Label Studio."""

    def __init__(self, remote: LabelStudio, project: str) -> None:
        self._remote = remote
        self._project = project

    async def backends(self) -> list[Mapping[str, Any]]:
        """Return the project's ML backends in the order in which Label Studio asks them: it asks the first alone.

        While it answers, Label Studio calls the health and setup of each.
        """
        found = await self._remote.json("GET", "/api/ml", params={"project": self._project})
        return sorted(_mappings(found), key=lambda row: int(row["id"]))

    async def webhooks(self) -> list[Mapping[str, Any]]:
        """Return the project's webhooks that lead to a Candor."""
        found = await self._remote.json("GET", "/api/webhooks/", params={"project": self._project})
        return [hook for hook in _mappings(found) if secret_in(hook.get("url"))]

    async def set_backend(self, base: str, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Make the row, or mend the one that a Candor has in `rows`, the project's; others of a Candor are removed.

        Raises:
            Conflict: the project has another ML backend before it.
            InvalidRequest: Label Studio can't or may not call Candor; the detail says what to do.
        """
        ours = [row for row in rows if secret_in(row.get("url"))]
        if rows and rows[0] not in ours[:1]:
            raise Conflict(
                f"project {self._project} of Label Studio has the ML backend {rows[0].get('title')!r} already, and asks its first alone: "
                "remove that under Settings, Model; then connect again"
            )
        body = {"url": base, "project": int(self._project), "auth_method": "NONE", "is_interactive": False}
        try:
            if ours:
                row = await self._remote.json("PATCH", f"/api/ml/{ours[0]['id']}", body)
            else:
                row = await self._remote.json("POST", "/api/ml/", {**body, "title": TITLE})
        except ToolError as error:
            if not ours:
                await self.remove(secret_in(base))  # Label Studio may have kept half of it: a row without its webhook
            raise _told(error, base) from error
        for other in ours[1:]:
            await self._remote.json("DELETE", f"/api/ml/{other['id']}")
        return _mapping(row)

    async def set_webhook(self, base: str, header: Mapping[str, str]) -> Mapping[str, Any]:
        """Make the webhook, or mend the one that Label Studio made with the row, so that it comes with a header; others of a Candor go.

        Raises:
            NoWebhook: Label Studio does not take the address for a webhook's.
            InvalidRequest: it may not call Candor; the detail says what to do.
        """
        url = base + "/webhook"
        hooks = sorted(await self.webhooks(), key=lambda hook: hook["url"] != url)
        body = {"url": url, "headers": {header["name"]: header["value"]}, "send_payload": True, "send_for_all_actions": True}
        try:
            if hooks:
                made = await self._remote.json("PATCH", f"/api/webhooks/{hooks[0]['id']}/", {**body, "is_active": True})
            else:
                made = await self._remote.json("POST", "/api/webhooks/", {**body, "project": int(self._project)})
        except ToolError as error:
            raise _told(error, base) from error
        for other in hooks[1:]:
            await self._remote.json("DELETE", f"/api/webhooks/{other['id']}/")
        return _mapping(made)

    async def show(self, row: Mapping[str, Any], project: Mapping[str, Any]) -> str | None:
        """Have the project show the row's predictions, which it does by the row's title; return what it showed before, if that differs."""
        before, title = project.get("model_version"), row.get("title")
        if before == title:
            return None
        await self._remote.json("PATCH", f"/api/projects/{self._project}/", {"model_version": title})
        return str(before) if before else None

    async def remove(self, secret: str | None) -> None:
        """Remove the rows and webhooks whose address has a secret; others have none, and are not ours."""
        if secret is None:
            return
        for row in await self.backends():
            if secret_in(row.get("url")) == secret:
                await self._remote.json("DELETE", f"/api/ml/{row['id']}")
        for hook in await self.webhooks():
            if secret_in(hook.get("url")) == secret:
                await self._remote.json("DELETE", f"/api/webhooks/{hook['id']}/")


def _told(error: ToolError, base: str) -> InvalidRequest | NoWebhook:
    """Return what Label Studio's refusal means, without the secret that its words may hold."""
    words = error.detail.replace(secret_in(base) or base, "…")
    candor = base.partition("/label-studio/")[0]
    if any(part in words for part in _BLOCKED):
        return InvalidRequest(f"{words}: {_HINT_BLOCKED}")
    if "Can't connect to ML backend" in words or "Can't resolve hostname" in words:
        return InvalidRequest(
            f"Label Studio can't reach Candor at {candor}: name, as `candor_url` (--candor-url), the address at which its machine reaches "
            "this server, and see to it that no firewall is between them"
        )
    if "valid URL" in words:
        return NoWebhook(
            f"Label Studio does not take {candor} for a webhook: it wants a host name with a dot, `localhost` or an IP address. Reviews "
            "are found by asking for them instead, a little later"
        )
    return InvalidRequest(words)


def _mapping(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise ToolError("Label Studio answered in a form that Candor does not know: is its version supported?")
    return found


def _mappings(found: Any) -> list[Mapping[str, Any]]:
    if isinstance(found, Mapping):  # a page
        found = found.get("results")
    return [_mapping(one) for one in found or []]
