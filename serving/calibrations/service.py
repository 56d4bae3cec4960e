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
from candor.errors import CalibrationMisfit, Forbidden, InvalidRequest, UnknownModel, WrongTask
from candor.manifest import Manifest
from serving.access import OPERATOR_TEAM, Principal
from serving.calibrations.book import Book, InForce, unfit
from serving.calibrations.manifests import Manifests
from store import Store
from store.calibrations import CalibrationEvent, Calibrations, StoredCalibration, unknown

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
    """The use cases behind `/v1/calibrations`. `configured` are the configuration's records, by model name.

    Every team sees the calibrations of the configuration's models, which the operator team alone may change; those of a registered
    model are seen and changed by its team alone. To others they do not exist.
    """

    def __init__(self, store: Store, models: Manifests, configured: Mapping[str, CalibrationRecord]) -> None:
        self._calibrations = Calibrations(store)
        self._models = models
        self._book = Book(self._calibrations, configured)

    async def take(self, body: bytes, who: Principal, request_id: str = "") -> Kept:
        """Store a record that was made elsewhere. It is not in force before it is promoted.

        Raises:
            InvalidRequest: it is no such record, or was changed after it was made: its id is the hash of its content.
            Forbidden, UnknownModel: it is for a model that is not the team's own.
        """
        record = await asyncio.to_thread(_record, body) if len(body) > _OFF_LOOP else _record(body)
        return await self.add(record, "import", who, request_id)

    async def add(self, record: CalibrationRecord, origin: str, who: Principal, request_id: str = "") -> Kept:
        """Store a record; one that is stored already stays as it is.

        Raises:
            Forbidden, UnknownModel: it is for a model that is not the team's own.
        """
        manifest, problem = await self._known(record.model_version, who)
        if not _visible(manifest, who):
            raise UnknownModel(problem)
        _must_own(manifest, who)
        stored = await self._calibrations.add(record.as_json(), origin, who.actor(request_id))
        await self._book.read()
        return self._kept(stored, manifest, problem)

    async def get(self, calibration_id: str, who: Principal) -> Kept:
        """Return one calibration.

        Raises:
            UnknownCalibration: there is none of that id that the team may see.
        """
        stored = await self._calibrations.get(calibration_id)
        manifest, problem = await self._known(stored.model_version, who)
        if not _visible(manifest, who):
            raise unknown(calibration_id)
        await self._book.read()
        return self._kept(stored, manifest, problem)

    async def newest(self, who: Principal, model: str | None, version: str | None, after: str | None, limit: int) -> list[Kept]:
        """Return calibrations that the team may see, the newest first: of one model, of one version of it, or all.

        Raises:
            InvalidRequest: a version without its model.
            UnknownModel, UnknownAlias: there is no such model, or no such version here.
            UnknownCalibration: there is no calibration `after`.
        """
        if version is not None and model is None:
            raise InvalidRequest("version needs model: ?model=NAME&version=sha256:…")
        exact = None if version is None else await self._named(f"{model}@{version}", who)
        known: dict[str, tuple[Manifest | None, str]] = {}
        found: list[StoredCalibration] = []
        while len(found) < limit:
            page = await self._calibrations.newest(model=None if exact else model, model_version=exact, after=after, limit=limit)
            for name in {stored.model_version for stored in page} - set(known):
                known[name] = await self._known(name, who)
            found += [stored for stored in page if _visible(known[stored.model_version][0], who)]
            if len(page) < limit:
                break
            after = page[-1].id
        await self._book.read()  # and many records' hashes take a while:
        return await asyncio.to_thread(lambda: [self._kept(stored, *known[stored.model_version]) for stored in found[:limit]])

    async def promote(self, calibration_id: str, detail: Mapping[str, Any], who: Principal, request_id: str = "") -> VersionCalibration:
        """Put a calibration in force for the version that it was made for, in every replica within two seconds.

        Promoted again while an alarm doubts it, it is trusted again; otherwise a second time changes nothing.

        Raises:
            UnknownCalibration: there is none of that id that the team may see.
            Forbidden: its model is shared, and the operator's to change.
            CalibrationMisfit: its version is not installed here, or shows boxes from another threshold.
        """
        stored = await self._calibrations.get(calibration_id)
        manifest, problem = await self._known(stored.model_version, who)
        if not _visible(manifest, who):
            raise unknown(calibration_id)
        _must_own(manifest, who)
        reason = _misfit(stored, manifest, problem)
        if manifest is None or reason:
            raise CalibrationMisfit(f"{calibration_id} can't be put in force: {reason}")
        found = await self._of(manifest)
        if found.now.calibration != calibration_id or found.now.unverified_since is not None:
            await self._calibrations.record_event(manifest.version, calibration_id, "promoted", detail, who.actor(request_id))
            found = await self._of(manifest)
        return found

    async def roll_back(
        self,
        reference: str,
        detail: Mapping[str, Any],
        who: Principal,
        request_id: str = "",
        *,
        from_calibration: str | None = None,
    ) -> VersionCalibration:
        """Put the calibration in force that was so before the newest promotion; under all of them is the configuration's.

        Raises:
            UnknownModel, UnknownAlias: there is no such model, or no such version here.
            Forbidden: the model is shared, and the operator's to change.
            NothingToRollBack: nothing is promoted; or `from_calibration` is given, and another one is in force by now.
        """
        manifest = await self.own(reference, who)
        await self._calibrations.roll_back(manifest.version, detail, from_calibration=from_calibration, actor=who.actor(request_id))
        return await self._of(manifest)

    async def of_version(self, reference: str, who: Principal) -> VersionCalibration:
        """Return what is in force for a version, `name@alias` or `name@sha256:<hex>`.

        Raises:
            UnknownModel, UnknownAlias: there is no such model, or no such version here.
        """
        return await self._of(await self._models.manifest(reference, who.team))

    async def own(self, reference: str, who: Principal) -> Manifest:
        """Return the version behind a reference, if the caller may change what is in force for it.

        Raises:
            UnknownModel, UnknownAlias: there is no such model, or no such version here.
            Forbidden: the model is shared, and the operator's to change.
        """
        manifest = await self._models.manifest(reference, who.team)
        _must_own(manifest, who)
        return manifest

    async def as_now(self, draft: Draft) -> Draft:
        """Return a stored draft as it is to be read now: unverified while an alarm about its calibration is open."""
        await self._book.refresh()
        since = self._book.doubted_since(draft.model_version, draft.calibration)
        return draft.doubted(since) if since else draft

    async def _of(self, manifest: Manifest) -> VersionCalibration:
        await self._book.read()
        return VersionCalibration(manifest, self._book.current(manifest), await self._calibrations.events(manifest.version))

    async def _named(self, reference: str, who: Principal) -> str:
        """The whole name of a version; one that is written out whole need not be installed here."""
        return reference if _WHOLE.search(reference) else (await self._models.manifest(reference, who.team)).version

    async def _known(self, model_version: str, who: Principal) -> tuple[Manifest | None, str]:
        """Return a version as the caller sees it, or why there is none."""
        try:
            manifest = await self._models.manifest(model_version, who.team)
        except (UnknownModel, WrongTask) as error:
            return None, f"it was made for {model_version}, which is not installed here. {error.detail}"
        return manifest, ""

    def _kept(self, stored: StoredCalibration, manifest: Manifest | None, problem: str) -> Kept:
        in_force = manifest is not None and self._book.current(manifest).calibration == stored.id
        return Kept(stored, in_force, _misfit(stored, manifest, problem))


def _visible(manifest: Manifest | None, who: Principal) -> bool:
    """Whether a caller may see the calibrations of a version. Whose a version was that is gone, nobody knows: the operator sees to them."""
    return who.team == OPERATOR_TEAM if manifest is None else manifest.owner in ("", who.team)


def _must_own(manifest: Manifest | None, who: Principal) -> None:
    if who.team != (manifest.owner if manifest and manifest.owner else OPERATOR_TEAM):
        raise Forbidden("the model is shared by all teams: only the operator's team changes its calibrations. Register a model of your own")


def _misfit(stored: StoredCalibration, manifest: Manifest | None, problem: str) -> str:
    """Say why a calibration can't be applied to its version; empty where it can."""
    if manifest is None:
        return problem
    try:
        return unfit(CalibrationRecord.from_json(stored.record), manifest)
    except InvalidRequest as error:  # of a newer release
        return error.detail


def _record(body: bytes) -> CalibrationRecord:
    try:
        value = json.loads(body, parse_constant=_no_constant)
        return CalibrationRecord.from_json(value)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError too
        raise InvalidRequest(f"the body is not a calibration record in JSON: {error}") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
