"""A version never stays `validating`: what its job could not say any more is said here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from candor.errors import WorkerLost
from serving.jobs.problems import as_problem
from store import Store
from store.jobs import Job
from store.registry import Registry
from store.validations import abandoned


def failed_report(problem: Mapping[str, Any], checks: Sequence[Mapping[str, Any]] = (), **more: Any) -> dict[str, Any]:
    """Return the report of a version that may not draft."""
    empty: dict[str, Any] = {
        "memory_bytes": None,
        "speed": [],
        "device": "cpu",
        "max_batch": None,
        "samples": "",
        "scan": {},
        "seconds": 0.0,
    }
    return {**empty, **more, "passed": False, "checks": list(checks), "problem": dict(problem)}


async def settle_lost(store: Store, job: Job, problem: Mapping[str, Any]) -> None:
    """Let the version fail whose validation was cancelled or is lost."""
    await Registry(store).fail(job.request["version"], failed_report(problem))


async def settle_abandoned(store: Store) -> None:
    """Let every version fail that says `validating` while no job validates it."""
    for one in await abandoned(store):
        lost = WorkerLost("the server stopped before this version was validated: register it again")
        await Registry(store).fail(one.version_id, failed_report(one.error or as_problem(lost)))
