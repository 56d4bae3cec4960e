"""The use case that everything stands on: items in, stored drafts out.

    bytes -> stored draft? -> engine -> calibration -> commit -> answer

One drafter serves one task in this process. It knows no HTTP and no Ray.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from candor.drafts import Draft, Timings
from candor.errors import CandorError, DeadlineExceeded, InvalidRequest, MediaTooLarge, ModelUnavailable, NoItems, NotReady, TooManyItems
from candor.ids import new_id
from candor.policy import decided
from candor.predictions import Prediction, Task
from candor.tasks import SPECS, TOP_K, Rendering, render
from models.catalog import Catalog
from serving import metrics
from serving.access import OPERATOR_TEAM
from serving.admission import Admission
from serving.arms.assigning import Arms
from serving.arms.planting import Making
from serving.calibrations.book import Book, InForce
from serving.config import Settings
from serving.engine import Engine
from serving.listing import configured, registered, without_version
from serving.media import MediaFetcher
from serving.passages import Answer, Got, Passage, answering, if_any_was_ready, shown_again
from serving.projects.views import ProjectView, ProjectViews
from serving.requests import DraftRequest, DraftResult, Item, ItemResult, ModelStatus
from serving.resolving import Choice, RegisteredModel, Resolver
from serving.room import Room
from serving.versions import State
from serving.webhooks.announcing import Announcer
from store import Blobs, Store

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where items' bytes and stored drafts come from."""

    store: Store
    blobs: Blobs
    fetcher: MediaFetcher


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is looked up for a request: what its model stands for, which calibration is in force, and what its project wants."""

    resolver: Resolver
    book: Book
    projects: ProjectViews
    arms: Arms


class LocalDrafter:
    """Drafts one task with an engine in this process."""

    def __init__(
        self,
        task: Task,
        default_model: str,
        catalog: Catalog,
        engine: Engine,
        sources: Sources,
        settings: Settings,
        knowledge: Knowledge,
    ) -> None:
        self.task = task
        self._default = default_model
        self._catalog = catalog
        self._engine = engine
        self._sources = sources
        self._limits = settings.limits
        self._request_seconds = settings.server.request_seconds
        self._resolver, self._book, self._projects = knowledge.resolver, knowledge.book, knowledge.projects
        self._arms = knowledge.arms
        self._admission = Admission(self._limits.queued_items, self._limits.queued_bytes, settings.teams.queue_share)
        self._room = Room(self._limits.queued_bytes)
        self._announcer = Announcer(sources.store)
        self._cold = 0  # items of requests that came for a version which was not loaded
        self._warming = False
        self._not_installed = ""  # why the default model could not be

    async def draft(self, request: DraftRequest) -> DraftResult:
        """Draft the items; see `serving.requests.Drafter`."""
        if not request.items:
            raise NoItems("send at least one item")
        if len(request.items) > self._limits.items:
            raise TooManyItems(f"{len(request.items)} items; one request takes at most {self._limits.items}: send several requests")
        if request.task not in (None, self.task):
            raise InvalidRequest(f"this address drafts {self.task}; the request asks for {request.task}")
        seconds = min(request.timeout or self._request_seconds, self._request_seconds)
        deadline = asyncio.get_running_loop().time() + seconds
        await self._projects.refresh()
        project = self._projects.view(request.team, request.project)
        reference = request.model or project.model or self._default
        await self._resolver.refresh(reference, request.team)
        choice = self._resolve(reference, request.team)
        await self._book.refresh()
        size = sum(len(item.media.data or b"") for item in request.items)
        with (
            self._admission.admit(len(request.items), size, request.team),
            metrics.held(self.task, len(request.items)),
            self._cold_room(choice, len(request.items)),
        ):
            return if_any_was_ready(await self._split(choice, request, project, deadline))

    async def models(self, team: str = OPERATOR_TEAM) -> list[ModelStatus]:
        """Return the models of this task: the configuration's, and those that the team registered."""
        await self._resolver.refresh(team=team)
        await self._book.refresh()
        configured = [self._status(name) for name, entry in self._catalog.entries.items() if entry.task == self.task]
        return configured + [self._registered(model) for model in self._resolver.registered(team, self.task)]

    async def warm(self) -> None:
        """Install, load and warm the default model ahead of the first request. What goes wrong shows in `models`."""
        self._warming = True
        try:
            await asyncio.to_thread(self._catalog.install, self._default.partition("@")[0])
            await self._engine.warm(self._catalog.resolve(self._default, self.task).manifest.version)
        except CandorError as error:
            if self._catalog.installed(self._default.partition("@")[0]) is None:
                self._not_installed = error.detail
            _log.error("model_unavailable", model=self._default, detail=error.detail)
        except Exception:  # noqa: BLE001 - a family's own bug; `models` shows the state as failed
            _log.exception("model_unavailable", model=self._default)
        finally:
            self._warming = False

    async def close(self) -> None:
        """Finish what is running, then unload."""
        await self._engine.close()
        await self._announcer.close()

    def _resolve(self, reference: str, team: str) -> Choice:
        try:
            return self._resolver.resolve(reference, self.task, team)
        except ModelUnavailable as error:
            if not self._is_default(reference):
                raise
            if self._warming:
                raise NotReady(f"{reference} is being installed", retry_after=5) from error
            raise ModelUnavailable(self._not_installed or error.detail) from error

    @contextmanager
    def _cold_room(self, choice: Choice, items: int) -> Iterator[None]:
        """Let items that wait for a load take half of the room at most: what is loaded keeps the rest."""
        manifests = (choice.manifest, choice.canary) if choice.canary else (choice.manifest,)
        cold = [one.version for one in manifests if self._engine.state(one.version)[0] != "ready"]
        if not cold:
            yield
            return
        if self._cold and self._cold + items > self._limits.queued_items // 2:
            raise self._not_loaded(cold[0])
        self._cold += items
        try:
            yield
        finally:
            self._cold -= items

    def _too_late(self, version: str) -> CandorError:
        """What an item is told whose time ran out: a load goes on, for whoever asks next."""
        if self._engine.state(version)[0] == "loading":
            return self._not_loaded(version)
        return DeadlineExceeded("this request's time ran out before the item was drafted")

    def _not_loaded(self, version: str) -> NotReady:
        return NotReady(f"{version} is being loaded: ask again in a moment", retry_after=self._engine.expected_seconds(version))

    def _is_default(self, reference: str) -> bool:
        return reference.partition("@")[0] == self._default.partition("@")[0]

    def _absent(self, name: str) -> tuple[State, str]:
        """Where a model stands that is not installed."""
        if self._is_default(name) and self._warming:
            return "loading", "it is being installed"
        if self._is_default(name) and self._not_installed:
            return "failed", self._not_installed
        return "available", "it is not installed yet"

    async def _split(self, choice: Choice, request: DraftRequest, project: ProjectView, deadline: float) -> DraftResult:
        """Draft each item with its version; one entry per item, in order."""
        places: dict[str, list[int]] = {}
        manifests = {manifest.version: manifest for manifest in (choice.manifest, choice.canary) if manifest}
        for place, item in enumerate(request.items):
            places.setdefault(choice.of(item.id).version, []).append(place)
        passages = [
            Passage(
                replace(request, items=tuple(request.items[place] for place in some)),
                manifests[version],
                self._book.current(manifests[version]),
                project,
                deadline,
            )
            for version, some in places.items()
        ]
        results: dict[int, ItemResult] = {}
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._draft(passage)) for passage in passages]
        except ExceptionGroup as failed:  # who asks knows the errors and not groups of them
            raise failed.exceptions[0] from None
        for some, task in zip(places.values(), running, strict=True):
            results |= dict(zip(some, task.result().results, strict=True))
        return DraftResult(choice.manifest.version, tuple(results[place] for place in range(len(request.items))))

    async def _draft(self, passage: Passage) -> DraftResult:
        """Items whose bytes are at hand go together; each one that is fetched goes on its own, as it comes."""
        items = passage.request.items
        at_hand = [i for i, item in enumerate(items) if item.media.data is not None or item.error]
        groups = ([at_hand] if at_hand else []) + [[i] for i in range(len(items)) if i not in set(at_hand)]
        answers: dict[int, Answer] = {}
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    (group, tasks.create_task((self._group if group == at_hand else self._fetched)([items[i] for i in group], passage)))
                    for group in groups
                ]
        except ExceptionGroup as failed:  # who asks, maybe in another process, knows the errors and not groups of them
            raise failed.exceptions[0] from None
        for group, task in running:
            answers |= dict(zip(group, task.result(), strict=True))
        made = {answer.result.draft.id for answer in answers.values() if answer.new and answer.result.draft}
        in_order = await self._stored([answers[i] for i in range(len(items))], passage)
        self._announcer.drafts_ready(draft for answer in in_order if (draft := answer.result.draft) and draft.id in made)
        for answer in in_order:
            metrics.item(self.task, answer.result.draft, answer.result.error)
        return DraftResult(passage.manifest.version, tuple(answer.result for answer in in_order))

    async def _stored(self, answers: list[Answer], passage: Passage) -> list[Answer]:
        """Store what is new, and return the answers: under a review policy each new item draws what it is shown."""
        new = [answer.result.draft for answer in answers if answer.new and answer.result.draft]
        desk, review, manifest = passage.desk, passage.project.review, passage.manifest
        if not new:
            return answers
        if desk is None or review is None:
            await self._sources.store.save(new)
            return answers
        making = Making(passage.project.policy, manifest.labels, passage.project.labels)
        shown = await self._arms.assign(desk, review, new, making)
        own = {draft.id: draft for draft in new}
        return [
            shown_again(answer.result.item, shown[answer.result.item], draft.media_sha256)
            if answer.new and (draft := answer.result.draft) and draft.id in own
            else answer
            for answer in answers
        ]

    async def _fetched(self, items: Sequence[Item], passage: Passage) -> list[Answer]:
        """Fetch and draft one item. A short request can name a lot of bytes: they wait for room, as what is sent does at the door."""
        (item,) = items
        try:
            async with asyncio.timeout_at(passage.deadline):
                held = await self._room.take(self._limits.item_bytes)
        except TimeoutError:
            return [Answer(ItemResult(item.id, error=_not_fetched()))]
        try:
            got = await self._get(item, passage)
            held += self._room.change(len(got.data) - held)
            return await self._answers([got], passage)
        finally:
            self._room.change(-held)

    async def _group(self, items: Sequence[Item], passage: Passage) -> list[Answer]:
        return await self._answers(await asyncio.gather(*(self._get(item, passage) for item in items)), passage)

    async def _answers(self, got: Sequence[Got], passage: Passage) -> list[Answer]:
        drawn: dict[str, Draft] = {}
        if passage.desk is not None and (items := [one.item.id for one in got if one.error is None]):
            drawn = {item: passage.as_now(draft) for item, draft in (await self._arms.shown(passage.desk, items)).items()}
        stored: dict[str, list[Draft]] = {}
        if not passage.request.fresh and (known := [one.sha256 for one in got if one.error is None and one.item.id not in drawn]):
            version, calibration = passage.manifest.version, passage.calibration.calibration
            stored = await self._sources.store.find(version, calibration, known, passage.request.team)
        answers = {sha256: answering(drafts, passage.calibration) for sha256, drafts in stored.items()}
        return list(await asyncio.gather(*(self._one(one, drawn, answers.get(one.sha256, []), passage) for one in got)))

    async def _get(self, item: Item, passage: Passage) -> Got:
        """Get one item's bytes; an error stays with the item."""
        start = time.perf_counter()
        try:
            if item.error is not None:
                raise item.error
            if item.kind not in (None, SPECS[self.task].media):
                raise InvalidRequest(f"{self.task} takes {SPECS[self.task].media}; this item is {item.kind}")
            async with asyncio.timeout_at(passage.deadline):
                data = await self._bytes(item, passage.request.team)
            if len(data) > self._limits.item_bytes:
                raise MediaTooLarge(f"the item has {len(data):,} bytes; an item may have {self._limits.item_bytes:,}")
        except CandorError as error:
            return Got(item, error=error)
        except TimeoutError:
            return Got(item, error=_not_fetched())
        sha256 = hashlib.sha256(data).hexdigest() if len(data) < 1 << 20 else await asyncio.to_thread(_sha256, data)
        seconds = time.perf_counter() - start if item.media.data is None else 0.0
        return Got(item, data, sha256, seconds)

    async def _bytes(self, item: Item, team: str) -> bytes:
        media = item.media
        if media.data is not None:
            return media.data
        if media.url is not None:
            return await self._sources.fetcher.fetch(media.url)
        return await self._sources.blobs.get(media.upload or "", team, self._limits.item_bytes)

    async def _one(self, got: Got, drawn: Mapping[str, Draft], stored: Sequence[Draft], passage: Passage) -> Answer:
        """Answer one item from what is stored, else from the model."""
        item, request = got.item, passage.request
        if got.error is not None:
            return Answer(ItemResult(item.id, error=got.error))
        if found := self._known(got, drawn, stored, passage):
            return found
        try:
            async with asyncio.timeout_at(passage.deadline):
                prediction, timings = await self._engine.predict(passage.manifest.version, got.data, key=request.fairness_key)
        except CandorError as error:
            return Answer(ItemResult(item.id, error=error))
        except TimeoutError:
            return Answer(ItemResult(item.id, error=self._too_late(passage.manifest.version)))
        return Answer(ItemResult(item.id, self._made(got, passage, prediction, replace(timings, fetch=got.seconds))), new=True)

    def _known(self, got: Got, drawn: Mapping[str, Draft], stored: Sequence[Draft], passage: Passage) -> Answer | None:
        """Answer one item from the draft that it drew, else from its own stored one or one of the same bytes; None where there is none."""
        item, request, policy = got.item, passage.request, passage.project.policy
        if item.id in drawn:
            return shown_again(item.id, drawn[item.id].again(), got.sha256)
        stored = [draft for draft in stored if draft.label_map == passage.project.label_map]
        for draft in stored if passage.desk is None else ():
            if draft.item == item.id and draft.project == request.project and draft.arm != "twin":
                return Answer(ItemResult(item.id, draft.again()))
        # every item has one draft that the model made, whatever was shown: that it lends to others tells nothing of its arm
        made = (draft for draft in stored if draft.arm != "honeypot")
        alike = next((draft for draft in made if self._projects.view(request.team, draft.project).policy == policy), None)
        if alike is None:
            return None
        copied = alike.for_item(new_id("drf"), item.id, request.project, datetime.now(UTC))
        return Answer(ItemResult(item.id, copied), new=True)

    def _made(self, got: Got, passage: Passage, prediction: Prediction, timings: Timings) -> Draft:
        manifest, draft_id = passage.manifest, new_id("drf")
        project, confidences = passage.project, passage.calibration.confidences(prediction, manifest)
        shown = confidences if project.policy.badge else replace(confidences, badges=None)
        top_k = len(manifest.labels) if project.labels else TOP_K  # a mapping sums over all classes
        payload = render(self.task, prediction, shown, Rendering(draft_id, manifest.labels, manifest.display_threshold, top_k))
        payload = project.labels.mapped(self.task, payload) if project.labels else payload
        payload = decided(self.task, payload, project.policy, calibrated=confidences.labels is not None)
        return Draft(
            id=draft_id,
            item=got.item.id,
            task=self.task,
            model_version=manifest.version,
            calibration=confidences.calibration,
            confidence_status=confidences.status,
            confidence=SPECS[self.task].confidence(payload),
            payload=payload,
            timings=timings,
            media_sha256=got.sha256,
            created_at=datetime.now(UTC),
            project=passage.request.project,
            team=passage.request.team,
            label_map=project.label_map,
            unverified_since=passage.calibration.unverified_since if confidences.calibration else None,
        )

    def _status(self, name: str) -> ModelStatus:
        found = self._catalog.installed(name)
        calibration = self._book.current(found.manifest) if found else InForce(None)
        state, detail = self._engine.state(found.manifest.version) if found else self._absent(name)
        manifest = found.manifest if found else None
        return configured(self._catalog.entry(name), manifest, calibration, state, detail, default=self._is_default(name))

    def _registered(self, model: RegisteredModel) -> ModelStatus:
        calibration = self._book.current(model.manifest) if model.manifest else InForce(None)
        state, detail = self._engine.state(model.manifest.version) if model.manifest else without_version(model)
        return registered(model, calibration, state, detail)


def _not_fetched() -> DeadlineExceeded:
    return DeadlineExceeded("the item could not be fetched within this request's time")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
