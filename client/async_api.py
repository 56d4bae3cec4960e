"""The Python client of a Candor server, for programs that await.

async with AsyncClient() as candor:
    async for draft in candor.draft_paths(["photos"], DraftOptions(task="detection")):
        print(draft["item"], draft.get("labels", draft.get("error")))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path

import httpx

from client import drafting, projects
from client.access import AccessCalls
from client.answers import Draft, Ready, Review, Reviewed
from client.api import read_ready
from client.async_connection import AsyncConnection
from client.bulk import BATCH_BYTES, HELD_BYTES, Send, batches_async, draft_batch, in_order_async
from client.calibrations import CalibrationCalls
from client.drafting import DraftCalls, DraftOptions, Item
from client.files import MediaFile, S, find_media
from client.projects import ProjectCalls
from client.registry import RegistryCalls
from client.webhooks import WebhookCalls


class AsyncClient(DraftCalls, RegistryCalls, CalibrationCalls, ProjectCalls, WebhookCalls, AccessCalls, AsyncConnection):
    """A connection to one Candor server, for one event loop.

    A request that fails for a passing reason is tried again with the same Idempotency-Key, so that nothing is drafted twice. Where a
    task is cancelled, nothing of it goes on; a loop over drafts that is left early ends its requests when the iterator is closed, which
    `contextlib.aclosing` does at once.
    """

    async def draft_paths(
        self, paths: Iterable[Path | str], options: DraftOptions = drafting.ANY, *, batch: int = 16, jobs: int = 4
    ) -> AsyncGenerator[Draft, None]:
        """Draft all images or recordings under files and folders: `settle`, then `draft_found`.

        Raises:
            ClientError: the task can't be told, or a request as a whole failed; what came before has been yielded.
            FileNotFoundError: one of the paths does not exist.
        """
        found = await asyncio.to_thread(find_media, [Path(path) for path in paths])
        options = await self.settle(found, options)
        async with aclosing(self.draft_found(found.files, options, batch=batch, jobs=jobs)) as drafts:
            async for draft in drafts:
                yield draft

    def draft_found(
        self, files: Iterable[MediaFile] | AsyncIterable[MediaFile], options: DraftOptions, *, batch: int = 16, jobs: int = 4
    ) -> AsyncGenerator[Draft, None]:
        """Draft many files; entries come in the files' order, as soon as they can.

        At most `jobs` requests of `batch` files run at once. An item that failed for a passing reason is sent again; a file that
        can't be read is answered with an error of its own, `unreadable_file`.

        Raises:
            ClientError: a request as a whole failed; what came before has been yielded.
        """
        return self._in_bulk(lambda some: drafting.draft_files(some, options), files, (batch, BATCH_BYTES), jobs)

    def draft_items(
        self, items: Iterable[Item] | AsyncIterable[Item], options: DraftOptions = drafting.ANY, *, batch: int = 16, jobs: int = 4
    ) -> AsyncGenerator[Draft, None]:
        """Draft many items that are no files here, as `draft_found` does. They are taken as they are needed, a few batches ahead.

        Raises:
            ClientError: a request as a whole failed; what came before has been yielded.
        """
        return self._in_bulk(lambda some: drafting.draft(some, options), items, (batch, HELD_BYTES), jobs)

    async def report_all(
        self, reviews: Iterable[Review] | AsyncIterable[Review], *, batch: int = 1000, jobs: int = 1
    ) -> AsyncGenerator[Reviewed, None]:
        """Report many reviews, `batch` in a request; entries come in the reviews' order.

        Raises:
            ClientError: a request as a whole failed; what came before has been yielded.
        """

        async def send(some: Sequence[Review]) -> list[Reviewed]:
            return await self.run(projects.report(some))

        async with aclosing(in_order_async(send, batches_async(reviews, batch), jobs)) as results:
            async for answers in results:
                for answer in answers:
                    yield answer

    async def ready(self) -> Ready:
        """Return `{"ready": bool, "models": […]}` of this moment; asked once, ready or not.

        Raises:
            ClientError: nothing answers yet, or something that is not Candor.
        """
        try:
            response = await self._http.get("/readyz", timeout=5.0)
        except httpx.TransportError as error:
            raise self._link.unreachable(error) from error
        return read_ready(response)

    async def _in_bulk(
        self, send: Send[S], entries: Iterable[S] | AsyncIterable[S], batch: tuple[int, int], jobs: int
    ) -> AsyncGenerator[Draft, None]:
        async def draft(some: Sequence[S]) -> list[Draft]:
            return await self.run(draft_batch(send, some, self.retries))

        async with aclosing(in_order_async(draft, batches_async(entries, *batch), jobs)) as results:
            async for answers in results:
                for answer in answers:
                    yield answer
