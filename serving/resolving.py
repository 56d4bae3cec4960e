"""What a reference to a model stands for now: `name`, `name@alias` or `name@sha256:<hex>`, as one team sees it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from candor.manifest import Manifest
from candor.predictions import Task
from models.catalog import Catalog
from serving.access import OPERATOR_TEAM


@dataclass(frozen=True, slots=True)
class Choice:
    """A version, and one that takes a share of the items from it.

    Which item goes where is drawn by a hash of its id, so that an item that is asked for again gets the same version. `salt` names the
    alias: two splits draw independently.
    """

    manifest: Manifest
    canary: Manifest | None = None
    share: float = 0.0  # of the canary, 0 to 1
    salt: str = ""

    def of(self, item: str) -> Manifest:
        """Return the version that drafts an item."""
        if self.canary is None:
            return self.manifest
        drawn = int.from_bytes(hashlib.sha256(f"{self.salt}\0{item}".encode(errors="surrogatepass")).digest()[:8], "big") / 2**64
        return self.canary if drawn < self.share else self.manifest


@dataclass(frozen=True, slots=True)
class AliasView:
    """Where an alias points now; the names are versions in full."""

    alias: str
    version: str
    canary: str | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One registered model as its team sees it. `manifest` is what its name alone stands for, else its newest ready version's, if any.

    `state` is the newest version's: where nothing is ready it says why.
    """

    name: str
    task: Task
    state: str
    manifest: Manifest | None
    aliases: tuple[AliasView, ...]


class Resolver(Protocol):
    """Where drafting looks models up."""

    async def refresh(self, reference: str | None = None, team: str = OPERATOR_TEAM) -> None:
        """See to it that what `resolve` answers is at most a second old, and that a version registered just now is known.

        Raises nothing: where the database can't be read, what was known stays.
        """

    def resolve(self, reference: str, task: Task | None, team: str) -> Choice:
        """Return what a reference stands for.

        Raises:
            UnknownModel, UnknownAlias: the team has no such model, version or alias.
            WrongTask: the model is for another task than `task`.
            ModelUnavailable: it is configured, but not installed; or its version is not ready.
        """

    def manifest(self, reference: str, team: str) -> Manifest:
        """Return the version that a reference stands for, also one that is retired: what it drafted is still looked at.

        Raises:
            CandorError: as `resolve`.
        """

    def task(self, reference: str, team: str) -> Task:
        """Return what a model is for.

        Raises:
            UnknownModel: the team has no such model.
        """

    def registered(self, team: str, task: Task | None = None) -> list[RegisteredModel]:
        """Return the models that the team has registered, of one task or all."""


class CatalogResolver:
    """The models of the configuration alone."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def refresh(self, reference: str | None = None, team: str = OPERATOR_TEAM) -> None:
        """The catalog reads the disk each time."""

    def resolve(self, reference: str, task: Task | None, team: str) -> Choice:
        """Return the installed version; every team may use it."""
        return Choice(self._catalog.resolve(reference, task).manifest)

    def manifest(self, reference: str, team: str) -> Manifest:
        """Return the installed version's manifest."""
        return self._catalog.resolve(reference).manifest

    def task(self, reference: str, team: str) -> Task:
        """Return the model's task."""
        return self._catalog.entry(reference.partition("@")[0]).task

    def registered(self, team: str, task: Task | None = None) -> list[RegisteredModel]:
        """Nothing is registered here."""
        return []
