"""What the routes stand on. One set per process, made when the application starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from serving.calibrations.fit_jobs import FitJobs
from serving.calibrations.outcomes import Intake
from serving.calibrations.service import CalibrationService
from serving.composition import read_calibrations
from serving.config import Settings
from serving.loading import build_catalog
from serving.requests import Drafter
from store import Blobs, Store


@dataclass(frozen=True)
class Services:
    """The use cases and the store behind the routes."""

    settings: Settings
    drafter: Drafter
    store: Store
    blobs: Blobs

    @cached_property
    def calibrations(self) -> CalibrationService:
        """The use cases of the calibrations; this and what follows only the control part asks for."""
        return CalibrationService(self.store, build_catalog(self.settings), read_calibrations(self.settings))

    @cached_property
    def intake(self) -> Intake:
        """The use case of the outcomes."""
        return Intake(self.store, build_catalog(self.settings))

    @cached_property
    def fit_jobs(self) -> FitJobs:
        """The fits that run in processes of their own."""
        return FitJobs(self.settings, self.store, build_catalog(self.settings))

    async def close(self) -> None:
        """End what the routes have started."""
        if "fit_jobs" in self.__dict__:
            await self.fit_jobs.close()


def services_of(request: Request) -> Services:
    """Return the services of the application that serves this request."""
    services: Services = request.app.state.services
    return services
