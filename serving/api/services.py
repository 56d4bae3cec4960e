"""What the routes stand on. One set per process, made when the application starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from models.catalog import Catalog
from serving.calibrations.manifests import Manifests
from serving.calibrations.service import CalibrationService
from serving.composition import read_calibrations, registry_book
from serving.config import Settings
from serving.jobs.runner import JobRunner
from serving.loading import build_catalog
from serving.registry.service import ModelService
from serving.requests import Drafter
from serving.resolving import Resolver
from store import Blobs, Store


@dataclass(frozen=True)
class Services:
    """The use cases and the store behind the routes."""

    settings: Settings
    drafter: Drafter
    store: Store
    blobs: Blobs

    @cached_property
    def manifests(self) -> Manifests:
        """Where the use cases of the calibrations look models up."""
        return Manifests(self.resolver)

    @cached_property
    def catalog(self) -> Catalog:
        """The models of the configuration."""
        return build_catalog(self.settings)

    @cached_property
    def resolver(self) -> Resolver:
        """The models of the configuration and the registered ones, as this process knows them."""
        return registry_book(self.store, self.catalog)

    @cached_property
    def models(self) -> ModelService:
        """The use cases of the registered models."""
        return ModelService(self.store, self.blobs, self.catalog, self.jobs)

    @cached_property
    def calibrations(self) -> CalibrationService:
        """The use cases of the calibrations, made when they are first asked for: only the control part does."""
        return CalibrationService(self.store, self.manifests, read_calibrations(self.settings))

    @cached_property
    def jobs(self) -> JobRunner:
        """The jobs of this process."""
        return JobRunner(self.settings, self.store)


def services_of(request: Request) -> Services:
    """Return the services of the application that serves this request."""
    services: Services = request.app.state.services
    return services
