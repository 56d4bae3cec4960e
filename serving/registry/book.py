"""The registered models as this process knows them: at most a second behind the database.

So an alias that is moved reaches every replica within a second, without a restart, and a request waits for at most one short query a
second: while nothing was written, that reads one number. A reference that is not known is looked up at once, but only a few times a
second, so that a flood of wrong names is none of queries.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from candor.errors import ModelUnavailable, UnknownAlias, UnknownModel, WrongTask
from candor.manifest import Manifest
from candor.predictions import Task
from models.catalog import Catalog
from serving.access import OPERATOR_TEAM
from serving.fresh import Fresh
from serving.resolving import AliasView, CatalogResolver, Choice, RegisteredModel
from store.registry import PRODUCTION, Alias, Content, Registry, RegistryStanding, VersionRow

FRESH_SECONDS = 1.0
UNKNOWN_SECONDS = 0.25  # between two looks for what is not known
_LEAST_PREFIX = 8  # hex digits that name a version


@dataclass(slots=True)
class _Model:
    """One team's model: its versions, the oldest first, and its aliases."""

    task: Task
    versions: list[VersionRow] = field(default_factory=list)
    aliases: dict[str, Alias] = field(default_factory=dict)


class RegistryBook:
    """Looks up models of the configuration, which come first and are every team's, and those that teams registered."""

    def __init__(
        self,
        registry: Registry,
        catalog: Catalog,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._registry = registry
        self._sleep = sleep
        self._catalog = catalog
        self._configured = CatalogResolver(catalog)
        self._number = -1
        self._models: Mapping[tuple[str, str], _Model] = {}
        self._contents: dict[str, Content] = {}  # of versions by their id; what a version is never changes
        self._by_name: Mapping[str, Content] = {}
        self._fresh = Fresh(self.read, "registry", clock)

    async def refresh(self, reference: str | None = None, team: str = OPERATOR_TEAM) -> None:
        """Read again where the last time is a second ago, or something unknown is asked for; see `Resolver.refresh`.

        Who asks for something unknown waits until a look is due: it may have been written a moment ago.
        """
        if reference is not None and not self._knows(reference, team):
            await self._sleep(max(0.0, UNKNOWN_SECONDS - self._fresh.age))
        await self._fresh.refresh(lambda: self._stale(reference, team))

    async def read(self) -> None:
        """Read what was written since the last time.

        Raises:
            StorageUnavailable: the database can't be read; what was known stays.
        """
        number = await self._registry.number()  # first: what is written meanwhile is read again the next time
        if number == self._number:
            return
        standing = await self._registry.standing()
        ready = {row.id for row in standing.versions if row.version is not None}
        if missing := ready - self._contents.keys():
            self._contents |= {content.id: content for content in await self._registry.contents(missing)}
        self._contents = {version: content for version, content in self._contents.items() if version in ready}
        self._by_name = {content.manifest.version: content for content in self._contents.values()}
        self._models = _models(standing)
        self._number = number

    def resolve(self, reference: str, task: Task | None, team: str) -> Choice:
        """Return what a reference stands for now; see `Resolver.resolve`."""
        name, at, selector = reference.partition("@")
        if name in self._catalog.entries:
            return self._configured.resolve(reference, task, team)
        model = self._model(name, team)
        if task is not None and model.task != task:
            raise WrongTask(f"{name} is a model for {model.task}, not {task}")
        if selector.startswith("sha256:"):
            return Choice(self._usable(_one(name, model, selector)))
        alias = model.aliases.get(selector if at else PRODUCTION)
        if alias is None:
            raise _no_alias(name, model, selector if at else "")
        content = self._by_name.get(alias.version)
        if content is None:  # removed between two reads
            raise UnknownModel(f"{alias.version} is gone: ask again")
        canary = self._by_name.get(alias.canary) if alias.canary else None
        if canary is None:
            return Choice(content.manifest)
        return Choice(content.manifest, canary.manifest, alias.share, f"{team}/{name}@{alias.alias}")

    def manifest(self, reference: str, team: str) -> Manifest:
        """Return a version's manifest, also a retired one's; see `Resolver.manifest`."""
        name, _, selector = reference.partition("@")
        if name in self._catalog.entries or not selector.startswith("sha256:"):
            return self.resolve(reference, None, team).manifest
        row = _one(name, self._model(name, team), selector)
        return self._contents[row.id].manifest if row.id in self._contents else self._usable(row)

    def task(self, reference: str, team: str) -> Task:
        """Return what a model is for; see `Resolver.task`."""
        name = reference.partition("@")[0]
        return self._configured.task(name, team) if name in self._catalog.entries else self._model(name, team).task

    def registered(self, team: str, task: Task | None = None) -> list[RegisteredModel]:
        """Return the models that the team has registered, by name. A model of the configuration hides one of its name."""
        return [
            self._registered(name, model)
            for (owner, name), model in sorted(self._models.items())
            if owner == team and task in (None, model.task) and name not in self._catalog.entries
        ]

    def manifests(self) -> list[Manifest]:
        """Return what every registered version is, of all teams."""
        return [content.manifest for content in self._by_name.values()]

    def content(self, version: str) -> Content | None:
        """Return what a registered version is, by its full name; None where there is none."""
        return self._by_name.get(version)

    def _stale(self, reference: str | None, team: str) -> bool:
        age = self._fresh.age
        return age >= FRESH_SECONDS or (age >= UNKNOWN_SECONDS and reference is not None and not self._knows(reference, team))

    def _knows(self, reference: str, team: str) -> bool:
        name, at, selector = reference.partition("@")
        if name in self._catalog.entries:
            return True
        model = self._models.get((team, name))
        if model is None:
            return False
        if selector.startswith("sha256:"):
            return any(row.state == "ready" for row in _fitting(name, model, selector))
        return (selector if at else PRODUCTION) in model.aliases

    def _model(self, name: str, team: str) -> _Model:
        if (found := self._models.get((team, name))) is not None:
            return found
        known = [*self._catalog.entries, *(name for owner, name in self._models if owner == team)]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownModel(f"there is no model {name!r}.{meant} This server has: {', '.join(sorted(known)) or 'none'}")

    def _usable(self, row: VersionRow) -> Manifest:
        """Return the manifest of a version that may draft."""
        content = self._contents.get(row.id)
        if row.state != "ready" or content is None:
            raise ModelUnavailable(f"{row.version} is {row.state}, and drafts no more: name another version, or register this one again")
        return content.manifest

    def _registered(self, name: str, model: _Model) -> RegisteredModel:
        default = model.aliases.get(PRODUCTION)
        ready = [row.version for row in model.versions if row.state == "ready"]
        version = default.version if default else ready[-1] if ready else None
        content = self._by_name.get(version) if version else None
        views = tuple(AliasView(one.alias, one.version, one.canary, one.share) for one in model.aliases.values())
        return RegisteredModel(name, model.task, model.versions[-1].state, content.manifest if content else None, views)


def _models(standing: RegistryStanding) -> dict[tuple[str, str], _Model]:
    found: dict[tuple[str, str], _Model] = {}
    for row in standing.versions:  # ids sort by time; the newest says what the model is for
        model = found.setdefault((row.team, row.model), _Model(row.task))
        model.task = row.task if row.state in ("ready", "validating") else model.task
        model.versions.append(row)
    for alias in standing.aliases:
        found[alias.team, alias.model].aliases[alias.alias] = alias
    return found


def _fitting(name: str, model: _Model, selector: str) -> list[VersionRow]:
    digits = selector.removeprefix("sha256:").lower()
    begins = f"{name}@sha256:{digits}"
    return [row for row in model.versions if len(digits) >= _LEAST_PREFIX and row.version is not None and row.version.startswith(begins)]


def _one(name: str, model: _Model, selector: str) -> VersionRow:
    fitting = _fitting(name, model, selector)
    if len(fitting) == 1:
        return fitting[0]
    short = len(selector.removeprefix("sha256:")) < _LEAST_PREFIX
    what = f"at least {_LEAST_PREFIX} hex digits name a version" if short else "several fit" if fitting else "there is none"
    raise UnknownModel(f"no one version of {name} is {selector!r} ({what}). There are: {_listed(model.versions)}")


def _no_alias(name: str, model: _Model, selector: str) -> UnknownAlias | ModelUnavailable:
    have = ", ".join(model.aliases) or "none"
    if selector:
        return UnknownAlias(f"{name} has no alias {selector!r}: it has {have}; a version is written {name}@sha256:<hex>")
    if not model.aliases and model.versions[-1].state in ("validating", "failed"):
        newest = model.versions[-1]
        return ModelUnavailable(
            f"{name} has no version that is ready: {newest.id} is {newest.state}. GET /v1/models/{name}/versions tells more"
        )
    return UnknownAlias(f"{name} has no alias {PRODUCTION!r}, which its name alone stands for: it has {have}. Move it, or name a version")


def _listed(rows: Iterable[VersionRow]) -> str:
    names = [row.version.partition("@")[2][: len("sha256:") + 16] for row in rows if row.version is not None]
    return ", ".join(names) or "none"
