"""Tasks of Label Studio a page at a time, for who looks at how far they are: as `store.label_studio_tasks`, which works with them."""

from __future__ import annotations

import sqlalchemy as sa

from store.label_studio_tasks import State, TaskRow
from store.store import Store
from store.tool_tables import label_studio_tasks as tasks


async def page(store: Store, connection: str, state: State | None, after: str | None, limit: int) -> list[TaskRow]:
    """Return a connection's tasks by their ids as texts, of one state or all; `after` is the last of the page before."""
    chosen = sa.select(tasks).where(tasks.c.connection == connection, tasks.c.task > (after or ""))
    if state is not None:
        chosen = chosen.where(tasks.c.state == state)
    return [TaskRow(**row._mapping) for row in await store.read(chosen.order_by(tasks.c.task).limit(limit))]
