from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from candor.errors import StorageUnavailable
from store import dialects, migrate
from store.schema import alembic_config
from store.tables import metadata


async def test_migrations_make_the_tables(url: str) -> None:
    await asyncio.to_thread(migrate, url)
    engine = dialects.make_engine(url)
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda synchronous: compare_metadata(MigrationContext.configure(synchronous, opts={"compare_type": True}), metadata)
        )
    await engine.dispose()
    assert differences == []


async def test_migrating_again_changes_nothing(url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(2)))
    await asyncio.to_thread(migrate, url)
    engine = dialects.make_engine(url)
    async with engine.connect() as connection:
        versions = (await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).scalars().all()
    await engine.dispose()
    assert versions == ScriptDirectory.from_config(alembic_config()).get_heads()


async def test_a_migration_waits_for_another_process(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialects, "BUSY_SECONDS", 0.01)
    with dialects.migration_lock(url), pytest.raises(StorageUnavailable, match="another process"):
        await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(migrate, url)
