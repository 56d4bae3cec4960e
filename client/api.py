"""The Python client of a Candor server. HTTP only: it imports no model, no array library and nothing of the server.

with Client() as candor:
    for draft in candor.draft_paths(["photos"], DraftOptions(task="detection")):
        print(draft["item"], draft.get("labels", draft.get("error")))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import httpx

from client import drafting, projects
from client.access import AccessCalls
from client.answers import Draft, Ready, Review, Reviewed
from client.bulk import BATCH_BYTES, HELD_BYTES, Send, draft_batch, in_order
from client.calibrations import CalibrationCalls
from client.connection import DEFAULT_URL, Connection
from client.drafting import DraftCalls, DraftOptions, Item
from client.files import Found, MediaFile, S, batches, find_media
from client.projects import ProjectCalls
from client.registry import RegistryCalls
from client.responses import object_of
from client.webhooks import WebhookCalls

__all__ = ["DEFAULT_URL", "Client", "Draft", "DraftOptions", "Found", "Item"]


class Client(DraftCalls, RegistryCalls, CalibrationCalls, ProjectCalls, WebhookCalls, AccessCalls, Connection):
    """A connection to one Candor server; may be used from many threads.

    A request that fails for a passing reason is tried again with the same Idempotency-Key, so that nothing is drafted twice.
    """

    def draft_paths(
        self, paths: Iterable[Path | str], options: DraftOptions = drafting.ANY, *, batch: int = 16, jobs: int = 4
    ) -> Iterator[Draft]:
        """Draft all images or recordings under files and folders: `settle`, then `draft_found`.

        Raises:
            ClientError: the task can't be told, or a request as a whole failed; what came before has been yielded.
            FileNotFoundError: one of the paths does not exist.
        """
        found = find_media(map(Path, paths))
        options = self.settle(found, options)
        return self.draft_found(found.files, options, batch=batch, jobs=jobs)

    def draft_found(self, files: Iterable[MediaFile], options: DraftOptions, *, batch: int = 16, jobs: int = 4) -> Iterator[Draft]:
        """Draft many files; entries come in the files' order, as soon as they can.

        At most `jobs` requests of `batch` files run at once. An item that failed for a passing reason is sent again; a file that
        can't be read is answered with an error of its own, `unreadable_file`.

        Raises:
            ClientError: a request as a whole failed; what came before has been yielded.
        """
        return self._in_bulk(lambda some: drafting.draft_files(some, options), files, (batch, BATCH_BYTES), jobs)

    def draft_items(
        self, items: Iterable[Item], options: DraftOptions = drafting.ANY, *, batch: int = 16, jobs: int = 4
    ) -> Iterator[Draft]:
        """Draft many items that are no files here, as `draft_found` does. They are taken as they are needed, a few batches ahead.

        Raises:
            ClientError: a request as a whole failed; what came before has been yielded.
        """
        return self._in_bulk(lambda some: drafting.draft(some, options), items, (batch, HELD_BYTES), jobs)

    def report_all(self, reviews: Iterable[Review], *, batch: int = 1000, jobs: int = 1) -> Iterator[Reviewed]:
        """Report many reviews, `batch` in a request; entries come in the reviews' order.

        Raises:
            ClientError: a request as a whole failed; what came before has been yielded.
        """

        def send(some: Sequence[Review]) -> list[Reviewed]:
            return self.run(projects.report(some))

        for answers in in_order(send, batches(reviews, batch), jobs):
            yield from answers

    def ready(self) -> Ready:
        """Return `{"ready": bool, "models": […]}` of this moment; asked once, ready or not.

        Raises:
            ClientError: nothing answers yet, or something that is not Candor.
        """
        try:
            response = self._http.get("/readyz", timeout=5.0)
        except httpx.TransportError as error:
            raise self._link.unreachable(error) from error
        return read_ready(response)

    def _in_bulk(self, send: Send[S], entries: Iterable[S], batch: tuple[int, int], jobs: int) -> Iterator[Draft]:
        def draft(some: Sequence[S]) -> list[Draft]:
            return self.run(draft_batch(send, some, self.retries))

        for answers in in_order(draft, batches(entries, *batch), jobs):
            yield from answers


def read_ready(response: httpx.Response) -> Ready:
    """Read an answer about readiness.

    Raises:
        UnexpectedAnswer: it is something else.
    """
    answer = object_of(response, "ready")
    return {"ready": bool(answer["ready"]), "models": list(answer.get("models", []))}
