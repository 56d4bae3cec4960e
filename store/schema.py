"""Bring a database to the newest schema."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError

from candor.errors import StorageUnavailable
from store import dialects

T = TypeVar("T")


def migrate(url: str, revision: str = "head") -> None:
    """Make or bring up to date the tables behind a SQLAlchemy URL. Several processes may call it at once; one works, the rest wait.

    Blocks, and runs an event loop of its own: call it in a thread where one is running.

    Raises:
        InvalidRequest: the URL is wrong.
        StorageUnavailable: the database or its folder refused, or it was made by a newer Candor.
    """
    in_transaction(url, partial(_upgrade, revision))


def downgrade(url: str, revision: str) -> None:
    """Bring the tables back to an older revision; what only newer ones hold is lost. `base`: no tables at all.

    Raises:
        InvalidRequest, StorageUnavailable: as for `migrate`.
    """
    in_transaction(url, partial(_downgrade, revision))


def revision_of(url: str) -> str | None:
    """Return the revision of a database's tables; None where there are none.

    Raises:
        InvalidRequest, StorageUnavailable: as for `migrate`.
    """
    return in_transaction(url, lambda connection: MigrationContext.configure(connection).get_current_revision())


def in_transaction(url: str, work: Callable[[sa.Connection], T]) -> T:
    """Do work while no other process migrates, and commit it. Blocks, as `migrate` does, and raises what that does."""
    with dialects.migration_lock(url):
        try:
            return asyncio.run(_done(url, work))
        except (sa.exc.SQLAlchemyError, CommandError, OSError) as error:
            raise StorageUnavailable(f"the database can't be migrated: {getattr(error, 'orig', None) or error}") from error


async def _done(url: str, work: Callable[[sa.Connection], T]) -> T:
    engine = dialects.for_writing(dialects.make_engine(url, patient=True))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(dialects.use_wal)
            async with connection.begin():
                await connection.run_sync(dialects.lock_schema)
                return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _upgrade(revision: str, connection: sa.Connection) -> None:
    command.upgrade(alembic_config(connection), revision)


def _downgrade(revision: str, connection: sa.Connection) -> None:
    command.downgrade(alembic_config(connection), revision)


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Return Alembic's configuration, made here and not in an alembic.ini; store/migrations/env.py works on `connection`."""
    config = Config()
    config.set_main_option("script_location", "store:migrations")
    config.attributes["connection"] = connection
    return config
