"""The life of a calibration: it is made or imported, promoted, doubted, rolled back. Nothing is ever changed in place."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calibration.record import CalibrationRecord
from candor.drafts import Draft
from candor.errors import CalibrationMisfit, InvalidRequest, UnknownModel, WrongTask
from candor.manifest import Manifest
from models.catalog import Catalog
from serving.calibrations.book import Book, InForce, unfit
from store import Store
from store.calibrations import CalibrationEvent, Calibrations, StoredCalibration

_WHOLE = re.compile(r"@sha256:[0-9a-f]{64}\Z")
_OFF_LOOP = 2**16  # bytes from which a record is read in a thread


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored calibration with what it is now: whether it is in force, and why it can't be (empty where it can)."""

    stored: StoredCalibration
    in_force: bool
    misfit: str

    @property
    def record(self) -> CalibrationRecord:
        """The record, held against its id.

        Raises:
            InvalidRequest: it is of another release, whose records this one can't read.
        """
        return CalibrationRecord.from_json(self.stored.record)


@dataclass(frozen=True, slots=True)
class VersionCalibration:
    """What is in force for one model version, and all that was done, the oldest first."""

    manifest: Manifest
    now: InForce
    history: Sequence[CalibrationEvent]


class CalibrationService:
    """The use cases behind `/v1/calibrations`. `configured` are the configuration's records, by model name."""

    def __init__(self, store: Store, catalog: Catalog, configured: Mapping[str, CalibrationRecord]) -> None:
        self._calibrations = Calibrations(store)
        self._catalog = catalog
        self._book = Book(self._calibrations, configured)

    async def take(self, body: bytes) -> Kept:
        """Store a record that was made elsewhere. It is not in force before it is promoted.

        Raises:
            InvalidRequest: it is no such record, or was changed after it was made: its id is the hash of its content.
        """
        record = await asyncio.to_thread(_record, body) if len(body) > _OFF_LOOP else _record(body)
        return await self.add(record, "import")

    async def add(self, record: CalibrationRecord, origin: str) -> Kept:
        """Store a record; one that is stored already stays as it is."""
        stored = await self._calibrations.add(record.as_json(), origin)
        await self._book.read()
        return self._kept(stored)

    async def get(self, calibration_id: str) -> Kept:
        """Return one calibration.

        Raises:
            UnknownCalibration: there is none of that id.
        """
        stored = await self._calibrations.get(calibration_id)
        await self._book.read()
        return self._kept(stored)

    async def newest(self, model: str | None, version: str | None, after: str | None, limit: int) -> list[Kept]:
        """Return calibrations, the newest first: of one model, of one version of it, or all.

        Raises:
            InvalidRequest: a version without its model.
            UnknownModel, UnknownAlias: there is no such model, or no such version here.
            UnknownCalibration: there is no calibration `after`.
        """
        if version is not None and model is None:
            raise InvalidRequest("version needs model: ?model=NAME&version=sha256:…")
        exact = None if version is None else self._named(f"{model}@{version}")
        found = await self._calibrations.newest(model=None if exact else model, model_version=exact, after=after, limit=limit)
        await self._book.read()
        return await asyncio.to_thread(lambda: [self._kept(stored) for stored in found])  # many records' hashes take a while

    async def promote(self, calibration_id: str, detail: Mapping[str, Any]) -> VersionCalibration:
        """Put a calibration in force for the version that it was made for, in every replica within two seconds.

        Promoted again while an alarm doubts it, it is trusted again; otherwise a second time changes nothing.

        Raises:
            UnknownCalibration: there is none of that id.
            CalibrationMisfit: its version is not installed here, or shows boxes from another threshold.
        """
        manifest, reason = self._fit(await self._calibrations.get(calibration_id))
        if manifest is None or reason:
            raise CalibrationMisfit(f"{calibration_id} can't be put in force: {reason}")
        found = await self._of(manifest)
        if found.now.calibration != calibration_id or found.now.unverified_since is not None:
            await self._calibrations.record_event(manifest.version, calibration_id, "promoted", detail)
            found = await self._of(manifest)
        return found

    async def roll_back(
        self, model: str, version: str, detail: Mapping[str, Any], *, from_calibration: str | None = None
    ) -> VersionCalibration:
        """Put the calibration in force that was so before the newest promotion; under all of them is the configuration's.

        Raises:
            UnknownModel, UnknownAlias: there is no such model, or no such version here.
            NothingToRollBack: nothing is promoted; or `from_calibration` is given, and another one is in force by now.
        """
        manifest = self._manifest(f"{model}@{version}")
        await self._calibrations.roll_back(manifest.version, detail, from_calibration=from_calibration)
        return await self._of(manifest)

    async def of_version(self, model: str, version: str) -> VersionCalibration:
        """Return what is in force for a version.

        Raises:
            UnknownModel, UnknownAlias: there is no such model, or no such version here.
        """
        return await self._of(self._manifest(f"{model}@{version}"))

    async def as_now(self, draft: Draft) -> Draft:
        """Return a stored draft as it is to be read now: unverified while an alarm about its calibration is open."""
        await self._book.refresh()
        since = self._book.doubted_since(draft.model_version, draft.calibration)
        return draft.doubted(since) if since else draft

    async def _of(self, manifest: Manifest) -> VersionCalibration:
        await self._book.read()
        return VersionCalibration(manifest, self._book.current(manifest), await self._calibrations.events(manifest.version))

    def _named(self, reference: str) -> str:
        """The whole name of a version; one that is written out whole need not be installed here."""
        return reference if _WHOLE.search(reference) else self._manifest(reference).version

    def _manifest(self, reference: str) -> Manifest:
        return self._catalog.resolve(reference).manifest

    def _fit(self, stored: StoredCalibration) -> tuple[Manifest | None, str]:
        """Return the version that a calibration was made for, where it is here, and why it can't be applied to it."""
        try:
            manifest = self._manifest(stored.model_version)
        except (UnknownModel, WrongTask) as error:
            return None, f"it was made for {stored.model_version}, which is not installed here. {error.detail}"
        try:
            return manifest, unfit(CalibrationRecord.from_json(stored.record), manifest)
        except InvalidRequest as error:  # of a newer release
            return manifest, error.detail

    def _kept(self, stored: StoredCalibration) -> Kept:
        manifest, reason = self._fit(stored)
        return Kept(stored, manifest is not None and self._book.current(manifest).calibration == stored.id, reason)


def _record(body: bytes) -> CalibrationRecord:
    try:
        value = json.loads(body, parse_constant=_no_constant)
        return CalibrationRecord.from_json(value)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError too
        raise InvalidRequest(f"the body is not a calibration record in JSON: {error}") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
