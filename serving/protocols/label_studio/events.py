"""What Label Studio reports of annotations: put down at once, and made reviews of afterwards.

Label Studio waits one second for an answer, tells nothing twice, and does not keep what it could not deliver. So a report is answered as
soon as it is in the queue, and what is behind it happens here, again and again until it goes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from candor.drafts import Draft
from candor.errors import CandorError, InvalidRequest, NotFound
from candor.mapping import vocabulary
from serving.api.reviews import intake_from
from serving.api.services import Services
from serving.outgoing import ATTEMPTS, wait
from serving.protocols.label_studio import edits
from serving.protocols.label_studio.config import layout, read
from serving.protocols.label_studio.connected import Choices
from serving.protocols.label_studio.edits import Report
from serving.protocols.label_studio.finals import Final, final_of
from serving.protocols.label_studio.labels import own_labels
from serving.protocols.label_studio.people import People
from serving.reviewing.derive import labels_of
from serving.reviewing.gold import GoldService
from serving.reviewing.intake import Reported
from store import Store
from store.audit import Actor
from store.connections import Connection, Connections
from store.label_studio_annotations import Annotation, Annotations
from store.label_studio_events import Event, Events, New
from store.label_studio_tasks import Tasks
from store.moments import utc_now
from store.outcomes import Outcomes
from store.projects import Projects
from store.reviews import Reviews

_log = structlog.get_logger(__name__)

MADE, CHANGED, BULK, DELETED = "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED", "ANNOTATIONS_DELETED"
SEEN = "SEEN"  # of ours: found by asking Label Studio

_KEPT = (
    *("id", "task", "result", "was_cancelled", "ground_truth", "created_at", "updated_at", "lead_time", "completed_by", "updated_by"),
    "parent_prediction",
)
_AT_ONCE = 20  # events that are claimed together: they are dealt with one after another, within their lease
_FROM_MODEL = ("prediction", "prediction-changed")  # the origins of regions that a prediction brought


async def received(store: Store, connection: Connection, body: Mapping[str, Any]) -> None:
    """Put down what a webhook brought, and nothing else. What is not about annotations, or of another project, is not kept.

    Raises:
        StorageUnavailable: it could not be put down.
    """
    await Events(store).add(connection.id, kept(connection, body))


def kept(connection: Connection, body: Mapping[str, Any]) -> list[New]:
    """Return what is kept of a webhook's body: an event for each annotation. The project's invite token, for one, is not."""
    action, project = body.get("action"), body.get("project")
    if action not in (MADE, CHANGED, BULK, DELETED) or not isinstance(project, Mapping):
        return []
    of = {"id": str(project.get("id")), "label_config": project.get("label_config")}
    if connection.remote_project not in (None, of["id"]):
        _log.warning("label_studio_other_project", connection=connection.id, project=of["id"])
        return []
    if action == DELETED:
        gone = [str(one.get("id")) for one in _mappings(body.get("annotations"))]
        return [New(DELETED, {"annotation": id_, "project": of["id"]}) for id_ in gone]
    return [told(action, one, of) for one in _mappings(body.get("annotation"))]


def told(action: str, annotation: Mapping[str, Any], project: Mapping[str, Any], id_: str | None = None) -> New:
    """Return an event about one annotation. `project` has its `id` and `label_config`."""
    return New(action, {"annotation": {name: annotation.get(name) for name in _KEPT}, "project": dict(project)}, id_)


class Reports:
    """Makes reviews of what was reported, for one store."""

    def __init__(self, services: Services, people: People, clock: Callable[[], datetime] = utc_now) -> None:
        store = services.store
        self._services = services
        self._people = people
        self._clock = clock
        self._events, self._annotations = Events(store, clock), Annotations(store, clock)
        self._connections, self._projects = Connections(store), Projects(store)
        self._drafts, self._tasks, self._reviews = Outcomes(store), Tasks(store), Reviews(store)
        self._intake = intake_from(services)
        self._gold = GoldService(store, services.manifests, self._intake)

    async def work(self) -> int:
        """Deal with what is due, and return how many events that were. One that fails waits for its next turn; the others go on.

        Raises:
            StorageUnavailable: the store refuses; what was not dealt with is taken up again later.
        """
        claimed = await self._events.claim(_AT_ONCE)
        by_connection: dict[str, list[Event]] = {}
        for event in claimed:
            by_connection.setdefault(event.connection, []).append(event)
        ended = await asyncio.gather(*(self._each(some) for some in by_connection.values()), return_exceptions=True)
        if broken := next((one for one in ended if one is not None), None):
            raise broken
        return len(claimed)

    async def _each(self, events: Sequence[Event]) -> None:
        """Deal with one connection's events, one after another."""
        for event in events:
            try:
                if event.attempts > ATTEMPTS:  # whoever tried it never came to an end
                    raise InvalidRequest(event.error or "the server stopped each time that it dealt with this")
                await self._deal(event)
            except CandorError as error:
                await self._put_off(event, error.detail)
            except Exception as error:  # noqa: BLE001 - a bug must not hold up what comes after it
                _log.exception("label_studio_event_broke", event_id=event.id)
                await self._put_off(event, repr(error))
            else:
                await self._events.done(event.id)

    async def _put_off(self, event: Event, error: str) -> None:
        again = wait(event.attempts)
        await self._events.failed(event.id, error, again)
        _log.warning("label_studio_event_failed", event_id=event.id, connection=event.connection, error=error, given_up=again is None)

    async def _deal(self, event: Event) -> None:
        connection = await self._connections.get(event.connection)
        if event.action == DELETED:
            await self._deleted(connection, str(event.body["annotation"]), str(event.body["project"]))
            return
        project = event.body["project"]
        created = None if event.action == SEEN else event.action != CHANGED
        report = edits.read(event.body["annotation"], str(project["id"]), created=created)
        await self._left(connection, report, str(project.get("label_config") or ""))

    async def _left(self, connection: Connection, report: Report, config: str) -> None:
        """Take in how somebody left an annotation."""
        known = await self._row(connection, report)
        if known is not None and (known.deleted or known.updated_at == report.moment):
            return  # it is told by a webhook, and found by asking too
        draft = await self._known_draft(connection, report, known) or await self._draft_of(connection, report)

        def noted(row: Annotation) -> Mapping[str, Any]:
            return {} if draft is None or row.deleted else {"edits": edits.with_edit(row.edits or {}, report)}

        row = await self._annotations.change(connection.id, report.id, report.task, noted)
        if row.deleted:
            return
        if draft is not None and report.moment in (row.edits or {}):
            await self._review(connection, report, draft, row, config)
        gold = await self._gild(connection, report, row, draft, config)

        def landed(row: Annotation) -> Mapping[str, Any]:
            return {"updated_at": max(row.updated_at, report.moment), "gold": gold}

        await self._annotations.change(connection.id, report.id, report.task, landed)

    async def _review(self, connection: Connection, report: Report, draft: Draft, row: Annotation, config: str) -> None:
        final = None if report.skipped else (await self._final(connection, report, draft, config)).label
        entry = Reported(
            event_of(connection, report.id, report.by),
            draft=draft.id,
            reviewer=await self._people.name(connection, report.by),
            final=final,
            seconds=edits.seconds_of(row.edits or {}, report.by),
            finished_at=report.at,
            skipped=report.skipped,
        )
        (answer,) = await self._intake.take([entry], connection.team)
        if answer.error is not None:
            raise answer.error

    async def _deleted(self, connection: Connection, annotation: str, project: str) -> None:
        """Take back what all who worked on an annotation did. Label Studio says its id and no more."""
        row = await self._annotations.change(connection.id, annotation, "", lambda _: {"deleted": True})
        last = max((datetime.fromisoformat(at) for at in row.edits or {}), default=None)
        # A deletion has no time of its own: it counts as of now, unless Label Studio's clock is ahead.
        later = None if last is None or last < self._clock() else last + timedelta(milliseconds=1)
        entries = [
            Reported(
                event_of(connection, annotation, by), reviewer=await self._people.name(connection, by), finished_at=later, deleted=True
            )
            for by in edits.people_of(row.edits or {})
        ]
        answers = await self._intake.take(entries, connection.team) if entries else []
        if wrong := next((one.error for one in answers if one.error is not None and not isinstance(one.error, NotFound)), None):
            raise wrong
        if row.gold:
            await self._ungild(connection, f"{project}:{row.task}")

    async def _row(self, connection: Connection, report: Report) -> Annotation | None:
        rows = await self._annotations.of_tasks(connection.id, [report.task])
        return next((row for row in rows if row.annotation == report.id), None)

    async def _known_draft(self, connection: Connection, report: Report, known: Annotation | None) -> Draft | None:
        """Return the draft that earlier reports of an annotation were about: it stays so, though its task may have a newer one since."""
        people = edits.people_of((known.edits if known is not None else None) or {})
        found = await self._reviews.drafts_of(connection.team, [event_of(connection, report.id, by) for by in people])
        ids = list(dict.fromkeys(found.values()))
        return (await self._drafts.drafts(ids)).get(ids[0]) if ids else None

    async def _draft_of(self, connection: Connection, report: Report) -> Draft | None:
        """Return the draft that an annotation began with; None where it began with none of ours.

        Regions keep their ids, and so name their draft. Where none is left, or none was shown, the task's row does: of an annotation
        that began with a prediction, unless another model's regions are in it.
        """
        item = f"{report.project}:{report.task}"
        regions = {str(region.get("id")) for region in report.result}
        named = Counter(id_.rpartition(".")[0] for id_ in regions if id_.startswith("drf_"))
        mine = [one for one in (await self._drafts.drafts(list(named))).values() if _is_of(one, connection, item)]
        if mine:
            return max(mine, key=lambda one: (named[one.id], one.created_at))
        others = any(region.get("origin") in _FROM_MODEL for region in report.result)
        if others or not report.from_prediction:
            return None
        row = (await self._tasks.of(connection.id, [report.task])).get(report.task)
        if row is None or row.draft is None or row.item != item:
            return None
        return (await self._drafts.drafts([row.draft])).get(row.draft)

    async def _final(self, connection: Connection, report: Report, draft: Draft | None, config: str) -> Final:
        project = await self._projects.get(connection.team, connection.project)
        task = draft.task if draft is not None else Choices.of(connection).task or project.body.get("task")
        place = layout(read(config), task)
        words = labels_of(project.body) or await self._words(connection, project.body.get("model"), draft)
        named = own_labels(words, place)
        names = {theirs: ours for ours, theirs in reversed(named.items())}
        size, drafted = None, None
        if draft is not None:
            told, labels = draft.payload.get("image_size"), draft.payload.get("labels") or []
            size = (float(told[0]), float(told[1])) if told else None
            drafted = labels[0]["label"] if labels else None
        final = final_of(report.result, place, names, size=size, drafted=drafted)
        if final.notes:
            _log.info("label_studio_annotation_simplified", connection=connection.id, annotation=report.id, notes=final.notes[:5])
        return final

    async def _words(self, connection: Connection, model: str | None, draft: Draft | None) -> list[str]:
        """Return the labels of a project that names none: those of its model."""
        reference = draft.model_version if draft is not None else model
        own = list(vocabulary(draft.payload) or ()) if draft is not None else []
        if reference is None:
            return own
        try:
            return [*(await self._services.manifests.manifest(reference, connection.team)).labels, *own]
        except CandorError:
            return own

    async def _gild(self, connection: Connection, report: Report, row: Annotation, draft: Draft | None, config: str) -> bool:
        """Make a ground truth gold where the connection says so, and take back what is one no more; return whether it is gold now."""
        wanted = report.ground_truth and not report.skipped and Choices.of(connection).gold_from_ground_truth
        if row.updated_at > report.moment:  # a later word of it was heard first
            return row.gold
        item = f"{report.project}:{report.task}"
        if not wanted:
            if row.gold:
                await self._ungild(connection, item)
            return False
        final = await self._final(connection, report, draft, config)
        body = json.dumps({"items": [{"item": item, "truth": final.label}]}).encode()
        done = await self._gold.put(_actor(connection), connection.project, body, "json")
        if item in done.errors:
            raise InvalidRequest(f"the ground truth can't be gold: {done.errors[item]}")
        return True

    async def _ungild(self, connection: Connection, item: str) -> None:
        try:
            await self._gold.remove(_actor(connection), connection.project, [item])
        except NotFound:  # somebody has removed it since
            return


def event_of(connection: Connection, annotation: str, user: str) -> str:
    """Return the name of the review that one person made with one annotation."""
    return f"ls:{connection.id}:{annotation}:{user}"


def _actor(connection: Connection) -> Actor:
    return Actor(connection.team, connection.id)


def _is_of(draft: Draft, connection: Connection, item: str) -> bool:
    return (draft.team, draft.project, draft.item) == (connection.team, connection.project, item) and draft.arm != "twin"


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    found = value if isinstance(value, list) else [value]
    return [one for one in found if isinstance(one, Mapping)]
