"""Bring a database to the newest schema."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from candor.errors import StorageUnavailable
from store import dialects


def migrate(url: str) -> None:
    """Make or bring up to date the tables behind a SQLAlchemy URL. Several processes may call it at once; one works, the rest wait.

    Blocks, and runs an event loop of its own: call it in a thread where one is running.

    Raises:
        InvalidRequest: the URL is wrong.
        StorageUnavailable: the database or its folder refused, or it was made by a newer Candor.
    """
    with dialects.migration_lock(url):
        try:
            asyncio.run(_migrate(url))
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise StorageUnavailable(f"the database can't be migrated: {getattr(error, 'orig', None) or error}") from error


async def _migrate(url: str) -> None:
    engine = dialects.for_writing(dialects.make_engine(url))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(dialects.use_wal)
            async with connection.begin():
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection) -> None:
    dialects.lock_schema(connection)
    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Return Alembic's configuration, made here and not in an alembic.ini; store/migrations/env.py works on `connection`."""
    config = Config()
    config.set_main_option("script_location", "store:migrations")
    config.attributes["connection"] = connection
    return config
