"""Let all tasks of a project that nobody has annotated wait for their drafts, which are pushed: without a person who opens each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candor.errors import InvalidRequest
from serving.protocols.label_studio.drafting import task_of
from serving.protocols.label_studio.predicting import waiting
from serving.protocols.label_studio.remote import LabelStudio
from serving.protocols.label_studio.tools import Tools
from store.connections import Connection
from store.label_studio_tasks import Tasks


async def queue_all(tools: Tools, connection: Connection) -> int:
    """Queue tasks without annotation that have no draft of this version yet; return how many. What was queued stays, should this break off.

    Raises:
        InvalidRequest: the connection has no address to push to, or nothing of the labeling config fits.
        ToolError, MediaForbidden, MediaUnreachable: Label Studio can't be asked for its tasks.
        StorageUnavailable: the database can't be used.
    """
    if connection.url is None or connection.remote_project is None:
        raise InvalidRequest("drafts can't be pushed without Label Studio's address and token: connect again, with both")
    remote = LabelStudio(tools.fetcher, connection.url, connection.token)
    xml = (await remote.project(connection.remote_project)).get("label_config")
    desk = await tools.predicting.desk(connection, xml, settled=False)
    tasks, queued = Tasks(tools.services.store), 0
    async for some in remote.tasks_changed(connection.remote_project, None):
        found = [task_of(one, connection.remote_project, desk.standing.layout.data_key) for one in some if _wants_draft(one, desk.version)]
        await tasks.queue(connection.id, [waiting(one.id, one.item, one.value) for one in found])
        queued += len(found)
        tools.pusher.wake()  # the first are drafted while the last are still asked for
    return queued


def _wants_draft(task: Mapping[str, Any], version: str) -> bool:
    if task.get("total_annotations") or task.get("cancelled_annotations"):
        return False
    return not any(one.get("model_version") == version for one in task.get("predictions") or ())
