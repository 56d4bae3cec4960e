"""Connect a project to one of Label Studio, wholly: its labeling config is checked, it is told where to ask for drafts and where to report
reviews, and whether all of that works is looked at. What is wrong is told with what to do."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from candor.errors import CandorError, Conflict, InvalidRequest, ToolError, UnknownProject
from serving.api.services import Services
from serving.media import MediaFetcher
from serving.projects.body import ProjectBody
from serving.projects.service import ProjectService
from serving.protocols.label_studio.checking import check
from serving.protocols.label_studio.connected import TOOL, Choices
from serving.protocols.label_studio.findings import Finding
from serving.protocols.label_studio.fitting import fitted
from serving.protocols.label_studio.remote import LabelStudio
from serving.protocols.label_studio.wiring import NoWebhook, Wiring, base_url, secret_in
from store.audit import Actor
from store.connections import Connection, Connections
from store.projects import Project, Projects

HEADER = "X-Candor-Webhook"
_HEADER_BYTES = 32


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be connected. Without `url` nothing is wired: the address is pasted into Label Studio by hand, and it is never called."""

    candor_url: str
    url: str | None = None
    token: str | None = None
    remote_project: str | None = None
    choices: Choices = field(default_factory=Choices)


@dataclass(frozen=True, slots=True)
class Made:
    """A connection, and what was found of it. `base` is the address for Label Studio, where its secret was made just now."""

    connection: Connection
    base: str | None
    findings: tuple[Finding, ...]
    new: bool = True


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection with its secret, which was made just now, or which Label Studio has already."""

    connection: Connection
    secret: str
    secret_is_new: bool
    new: bool


class Connecting:
    """Connects the projects of one server."""

    def __init__(self, services: Services, fetcher: MediaFetcher) -> None:
        self._services = services
        self._fetcher = fetcher
        self._connections = Connections(services.store)

    async def connect(self, actor: Actor, project: str, wish: Wish) -> Made:
        """Connect a project of the actor's team, which is made where there is none; where it is connected to that project of Label Studio
        already, mend that. Where this raises, nothing is left of a new connection.

        Raises:
            InvalidRequest: something does not fit, or Label Studio can't call Candor; the detail says what to do.
            Conflict: the project of Label Studio asks another backend, or another project of Candor.
            ToolError: Label Studio refuses, such as the token.
            MediaForbidden, MediaUnreachable: Candor may not call Label Studio, or it does not answer.
        """
        if wish.url is None:
            await self._made_project(actor, project, wish)
            connection, secret = await self._add(actor, project, wish)
            return Made(connection, base_url(wish.candor_url, project, secret), await self.check(connection))
        return await self._wire(actor, project, wish, LabelStudio(self._fetcher, wish.url, wish.token))

    async def check(self, connection: Connection) -> tuple[Finding, ...]:
        """Look at whether a connection works, from Label Studio's side as far as Candor may ask it. Raises nothing: that is a finding."""
        remote = None if connection.url is None else LabelStudio(self._fetcher, connection.url, connection.token)
        return await check(self._services, connection, remote)

    async def end(self, actor: Actor, connection: Connection) -> tuple[Finding, ...]:
        """End a connection, and take its row and webhook out of Label Studio; where that can't be done, it is a finding."""
        findings: tuple[Finding, ...] = ()
        if connection.url is not None and connection.remote_project is not None:
            wiring = Wiring(LabelStudio(self._fetcher, connection.url, connection.token), connection.remote_project)
            try:
                for secret in {one for row in await wiring.backends() if (one := secret_in(row.get("url")))}:
                    if await self._is_of(secret, connection):
                        await wiring.remove(secret)
            except CandorError as error:
                findings = (Finding("label_studio", False, f"the ML backend and its webhook stay in Label Studio: {error.detail}"),)
        await self._connections.end(actor, connection.id)
        return findings

    async def _wire(self, actor: Actor, project: str, wish: Wish, remote: LabelStudio) -> Made:
        found = await _remote_project(remote, wish.remote_project)
        wish = replace(wish, remote_project=str(found["id"]))
        wiring = Wiring(remote, str(found["id"]))
        rows = await wiring.backends()
        known = await self._known(actor, project, rows) or await self._earlier(actor, project, wish)
        before = await self._project(actor.team, project)
        fit = await fitted(self._services, actor.team, before, wish.choices, str(found.get("label_config") or ""), known)
        wish = replace(wish, choices=replace(wish.choices, task=fit.task))
        await self._made_project(actor, project, wish)
        opened = await self._opened(actor, project, wish, known, rows)
        base = base_url(wish.candor_url, project, opened.secret)
        try:
            findings = await self._tell(actor, opened.connection, wiring, (base, rows, found))
        except BaseException:
            if opened.new:
                await self._connections.end(actor, opened.connection.id)
            raise
        connection = await self._connections.get(opened.connection.id)
        return Made(connection, base if opened.secret_is_new else None, (*findings, *await self.check(connection)), opened.new)

    async def _tell(
        self, actor: Actor, connection: Connection, wiring: Wiring, what: tuple[str, list[Mapping[str, Any]], Mapping[str, Any]]
    ) -> tuple[Finding, ...]:
        """Tell Label Studio where to ask and to report."""
        base, rows, found = what
        row = await wiring.set_backend(base, rows)
        findings = []
        header = Choices.of(connection).header or {"name": HEADER, "value": secrets.token_urlsafe(_HEADER_BYTES)}
        try:
            await wiring.set_webhook(base, header)
        except NoWebhook as error:
            findings.append(Finding("webhook", False, error.detail))
        except BaseException:
            if not any(secret_in(one.get("url")) for one in rows):
                await wiring.remove(secret_in(base))  # a row without its webhook would draft, and no review would ever be told of
            raise
        else:  # from now on nothing is taken without it
            await self._connections.change(actor, connection.id, settings={**connection.settings, "header": header})
        if (before := await wiring.show(row, found)) is not None:
            findings.append(Finding("shown", True, f"the project showed the predictions {before!r}; it shows Candor's drafts now"))
        return tuple(findings)

    async def _opened(self, actor: Actor, project: str, wish: Wish, known: Connection | None, rows: list[Mapping[str, Any]]) -> _Opened:
        """Make the connection, or take the one that is known; it keeps the secret that Label Studio has, so that nothing is lost where this
        fails later."""
        if known is None:
            return _Opened(*await self._add(actor, project, wish), secret_is_new=True, new=True)
        fields = {"url": wish.url, "token": wish.token, "remote_project": wish.remote_project}
        header = {"header": known.settings["header"]} if known.settings.get("header") else {}
        known = await self._connections.change(actor, known.id, **fields, settings={**_settings(wish.choices), **header})
        for row in rows:
            kept = secret_in(row.get("url"))
            if kept is not None and await self._is_of(kept, known):
                return _Opened(known, kept, secret_is_new=False, new=False)
        return _Opened(known, await self._connections.renew(actor, known.id), secret_is_new=True, new=False)

    async def _known(self, actor: Actor, project: str, rows: list[Mapping[str, Any]]) -> Connection | None:
        """Return the connection whose address Label Studio has.

        Raises:
            Conflict: it is another project's.
        """
        for row in rows:
            kept = secret_in(row.get("url"))
            owner = None if kept is None else await self._connections.by_secret(kept)
            if owner is None:
                continue
            if owner.team == actor.team and owner.project == project and owner.tool == TOOL:
                return owner
            which = f"project {owner.project!r}, by {owner.id}" if owner.team == actor.team else "a project of another team"
            raise Conflict(f"this project of Label Studio is connected to {which}: end that connection first")
        return None

    async def _earlier(self, actor: Actor, project: str, wish: Wish) -> Connection | None:
        """Return the project's connection to that project of Label Studio, which may have lost its row there."""
        same = (TOOL, wish.url, wish.remote_project)
        found = await self._connections.of_project(actor.team, project)
        return next((one for one in found if (one.tool, one.url, one.remote_project) == same), None)

    async def _is_of(self, secret: str, connection: Connection) -> bool:
        found = await self._connections.by_secret(secret)
        return found is not None and found.id == connection.id

    async def _add(self, actor: Actor, project: str, wish: Wish) -> tuple[Connection, str]:
        fields = {"url": wish.url, "token": wish.token, "remote_project": wish.remote_project}
        return await self._connections.add(actor, project, TOOL, **fields, settings=_settings(wish.choices))

    async def _project(self, team: str, name: str) -> Project | None:
        try:
            return await Projects(self._services.store).get(team, name)
        except UnknownProject:
            return None

    async def _made_project(self, actor: Actor, name: str, wish: Wish) -> None:
        if await self._project(actor.team, name) is None:
            body = ProjectBody.model_validate({"model": wish.choices.model, "task": wish.choices.task})
            await ProjectService(self._services.store, self._services.resolver).put(actor, name, body)


async def _remote_project(remote: LabelStudio, wanted: str | None) -> Mapping[str, Any]:
    """Return the project of Label Studio that is named by its id, or by its title where that is one project's alone."""
    try:
        version = await remote.json("GET", "/api/version")
    except ToolError as error:
        raise InvalidRequest(f"what answers there is no Label Studio: {error.detail}") from error
    if not isinstance(version, Mapping) or "label-studio-os-package" not in version:
        raise InvalidRequest("what answers there is no Label Studio: give the address that it has in the browser, without a page's path")
    if wanted is not None and wanted.isdecimal():
        try:
            return await remote.project(wanted)
        except ToolError as error:
            if error.answered not in (403, 404):
                raise
    projects = (await remote.json("GET", "/api/projects/", params={"page_size": 100})).get("results") or []
    named = [one for one in projects if one.get("title") == wanted]
    if len(named) == 1:
        return await remote.project(str(named[0]["id"]))
    if named:
        raise InvalidRequest(
            f"more than one project of Label Studio is called {wanted!r}: name its id, {' or '.join(str(one['id']) for one in named)}"
        )
    there = ", ".join(f"{one['id']} {str(one.get('title'))[:40]!r}" for one in projects[:10]) or "none"
    raise InvalidRequest(f"Label Studio has no project {wanted or ''} that this token may see; its projects: {there}")


def _settings(choices: Choices) -> dict[str, Any]:
    """Return choices as they are stored: what has its default is left out, but for the task, on which drafts and labels must agree."""
    named = {name: getattr(choices, name) for name in Choices.__slots__}
    return {name: value for name, value in named.items() if value != getattr(Choices(), name)}


def is_address(url: str) -> bool:
    """Whether an address may stand for a server: http or https, a host, no user name, nothing after the path."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in ("http", "https") and bool(parsed.host) and not (parsed.userinfo or parsed.query or parsed.fragment)
