"""The use cases of teams' own models: register, look at, point aliases to, retire, delete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from candor.errors import CandorError, Conflict, InvalidRequest, UnknownAlias, UnknownModel
from models.catalog import Catalog
from models.requested import Requested, check_name
from serving.jobs.kinds import MODEL_VALIDATION
from serving.jobs.runner import JobRunner
from store import Blobs, Store
from store.aliases import Aliases, AliasMove, Target
from store.audit import Actor
from store.registry import Alias, RegisteredVersion, Registry

_ALIAS = re.compile(r"(?!ver_|sha256)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LEAST_PREFIX = 8  # hex digits that name a version
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Artifact:
    """The file that a version is made from: an upload of its team."""

    upload: str
    filename: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Pointing:
    """What an alias is asked to point to, in the caller's words: `sha256:…`, `ver_…`, `name@sha256:…` or another alias."""

    version: str
    canary: str | None = None
    share: float = 0.0


class ModelService:
    """The registered models of all teams; each sees its own alone."""

    def __init__(self, store: Store, blobs: Blobs, catalog: Catalog, jobs: JobRunner) -> None:
        self._store = store
        self._registry = Registry(store)
        self._aliases = Aliases(store)
        self._blobs = blobs
        self._catalog = catalog
        self._jobs = jobs

    def check_new(self, name: str) -> None:
        """Refuse a name that no team may register.

        Raises:
            InvalidRequest: it is no name of a model.
            Conflict: it is a model of the configuration.
        """
        check_name(name)
        if name in self._catalog.entries:
            raise Conflict(f"{name} is a model of this server's configuration, which every team uses: register yours under another name")

    async def register(self, actor: Actor, name: str, requested: Requested, artifact: Artifact) -> RegisteredVersion:
        """Begin a version, which a job validates before it may draft.

        Raises:
            InvalidRequest, Conflict: the name is not one, or is taken; or the model is for another task.
        """
        self.check_new(name)
        newest = await self._registry.of_model(actor.team, name, limit=1)
        if newest and newest[0].state != "failed" and newest[0].task != requested.task:
            raise Conflict(f"{name} is a model for {newest[0].task}, not {requested.task}: register this one under another name")
        told = {name: getattr(artifact, name) for name in Artifact.__slots__}
        added = await self._registry.add(actor, name, requested.task, {**requested.as_request(), "artifact": told})
        job = await self._jobs.start(MODEL_VALIDATION, {"version": added.id}, actor.team)
        await self._registry.attach(added.id, job.id)
        return replace(added, job=job.id)

    async def versions(self, team: str, name: str, after: str | None, limit: int) -> list[RegisteredVersion]:
        """Return a model's versions, the newest first.

        Raises:
            UnknownModel: the team has registered no model of that name.
        """
        found = await self._registry.of_model(team, name, after=after, limit=limit)
        if not found and after is None:
            raise self._unknown(name)
        return found

    async def version(self, team: str, name: str, selector: str) -> RegisteredVersion:
        """Return the version that `ver_…`, `sha256:<8 hex and more>`, `name@sha256:…` or an alias names.

        Raises:
            UnknownModel: the model has no such version.
        """
        selector = selector.removeprefix(f"{name}@")
        if selector.startswith("sha256:"):
            return await self._by_digest(team, name, selector)
        if selector.startswith("ver_"):
            found = await self._registry.get(selector, team)
            if found.model == name:
                return found
            raise UnknownModel(f"{selector} is a version of {found.model}, not of {name}")
        try:
            alias = await self._aliases.get(team, name, selector)
        except UnknownAlias as error:
            raise UnknownModel(f"{name} has no version and no alias {selector!r}: GET /v1/models/{name}/versions lists them") from error
        return await self._by_digest(team, name, alias.version.partition("@")[2])

    async def retire(self, actor: Actor, name: str, selector: str) -> RegisteredVersion:
        """Let a version draft no more.

        Raises:
            UnknownModel, InUse, Conflict: see `Registry.retire`.
        """
        found = await self.version(actor.team, name, selector)
        return await self._registry.retire(actor, found.id)

    async def delete(self, actor: Actor, name: str, selector: str) -> None:
        """Delete a version, and its files where nothing else needs them. One that is being validated is cancelled first.

        Raises:
            UnknownModel, InUse: see `Registry.delete`.
        """
        found = await self.version(actor.team, name, selector)
        if found.state == "validating" and found.job is not None:
            await self._jobs.cancel(found.job, actor.team)
        for sha256 in await self._registry.delete(actor, found.id):
            try:
                await self._blobs.remove(sha256)
            except CandorError as error:  # the version is gone; its file takes room, and that is all
                _log.warning("blob_not_removed", sha256=sha256, detail=error.detail)

    async def aliases(self, team: str, name: str) -> list[Alias]:
        """Return a model's aliases.

        Raises:
            UnknownModel: the team has registered no model of that name.
        """
        found = await self._aliases.of_model(team, name)
        if not found:
            await self.versions(team, name, None, 1)
        return found

    async def pointing_to(self, version: RegisteredVersion) -> list[str]:
        """Return the aliases that point to a version, also as a canary."""
        if version.version is None:
            return []
        found = await self._aliases.of_model(version.team, version.model)
        return [one.alias for one in found if version.version in (one.version, one.canary)]

    async def move(self, actor: Actor, name: str, alias: str, to: Pointing, if_revision: int | None) -> Alias:
        """Point an alias to a version, with a canary or without.

        Raises:
            InvalidRequest: the alias is no name for one, or the split makes no sense.
            UnknownModel, Conflict: see `Aliases.move`.
        """
        _check_alias(alias)
        if not 0 <= to.share <= 1:
            raise InvalidRequest(f"canary.share is a number from 0 to 1, not {to.share}")
        version = await self._named(actor.team, name, to.version)
        canary = None if to.canary is None else await self._named(actor.team, name, to.canary)
        if canary == version:
            raise InvalidRequest("canary.version is the version itself: name another one, or no canary")
        return await self._aliases.move(actor, name, alias, Target(version, canary, to.share if canary else 0.0), if_revision=if_revision)

    async def remove_alias(self, actor: Actor, name: str, alias: str, if_revision: int | None) -> None:
        """Take an alias away; see `Aliases.remove`."""
        await self._aliases.remove(actor, name, alias, if_revision=if_revision)

    async def roll_back(self, actor: Actor, name: str, alias: str, if_revision: int | None) -> Alias:
        """Point an alias to where it was before; see `Aliases.roll_back`."""
        return await self._aliases.roll_back(actor, name, alias, if_revision=if_revision)

    async def history(self, team: str, name: str, alias: str, before: int | None, limit: int) -> list[AliasMove]:
        """Return an alias's moves; see `Aliases.history`."""
        return await self._aliases.history(team, name, alias, before=before, limit=limit)

    async def artifact(self, team: str, told: Mapping[str, Any]) -> Artifact:
        """Return an upload of the team's as the file of a version.

        Raises:
            UnknownUpload: the team has no such upload.
            InvalidRequest: its content is not what the caller says.
        """
        sha256 = await self._store.upload_sha256(told["upload"], team)
        if told.get("sha256") not in (None, sha256):
            raise InvalidRequest(f"artifact.sha256 is not the upload's, which is {sha256}: upload the file again")
        size = await self._blobs.size(sha256)
        if size is None:
            raise InvalidRequest(f"the file of upload {told['upload']!r} is gone: upload it again")
        return Artifact(told["upload"], told.get("filename") or "model", sha256, size)

    async def _named(self, team: str, name: str, selector: str) -> str:
        """Return the full name of a version; whether it is ready is seen when the alias moves."""
        found = await self.version(team, name, selector)
        if found.version is None:
            raise Conflict(f"{found.id} is {found.state}: an alias points to ready versions alone")
        return found.version

    async def _by_digest(self, team: str, name: str, selector: str) -> RegisteredVersion:
        digits = selector.removeprefix("sha256:").lower()
        if len(digits) < _LEAST_PREFIX:
            raise UnknownModel(f"{selector!r} names no version: at least {_LEAST_PREFIX} hex digits do")
        found = await self._registry.by_digest(team, name, f"sha256:{digits}")
        if len(found) != 1:
            what = "several versions" if found else "no version"
            raise UnknownModel(f"{name} has {what} {selector!r}: GET /v1/models/{name}/versions lists them")
        return found[0]

    def _unknown(self, name: str) -> UnknownModel:
        if name in self._catalog.entries:
            return UnknownModel(f"{name} is a model of the configuration, not a registered one: GET /v1/models shows it")
        return UnknownModel(f"there is no registered model {name!r}: GET /v1/models lists what there is")


def _check_alias(alias: str) -> None:
    if not _ALIAS.fullmatch(alias):
        raise InvalidRequest(
            f"an alias is up to 100 letters, digits and . _ -, and doesn't begin like a version: {alias[:120]!r} is not one"
        )
