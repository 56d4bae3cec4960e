"""What the use cases of the calibrations need to know of models: the manifest behind a reference, as one team sees it."""

from __future__ import annotations

from candor.manifest import Manifest
from serving.resolving import Resolver


class Manifests:
    """Looks model versions up, also those that draft no more."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def manifest(self, reference: str, team: str) -> Manifest:
        """Return the manifest of `name`, `name@alias` or `name@sha256:<hex>`.

        Raises:
            UnknownModel, UnknownAlias: the team has no such model, version or alias; neither has the configuration.
            ModelUnavailable: it is configured, but not installed.
        """
        await self._resolver.refresh(reference, team)
        return self._resolver.manifest(reference, team)
