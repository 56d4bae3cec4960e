"""A real PostgreSQL for tests: one server a session, a fresh database with all tables for each test that asks for `postgres_url`.

The server is one that `CANDOR_TEST_POSTGRES` names by URL (its user must be allowed to make databases), or is started by
scripts/postgres and removed at the end.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from store import dialects, migrate

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "postgres"


@contextmanager
def cluster() -> Iterator[str]:
    """Yield the URL of a server of its own. Without PostgreSQL the test is skipped."""
    folder = Path(tempfile.mkdtemp(prefix="candor-postgres-"))
    try:
        yield start(folder)
    finally:
        remove(folder)


def start(folder: Path) -> str:
    """Start the server in a folder, anew or where it was stopped, and return its URL."""
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, check=False, timeout=120)
    if "not installed" in started.stderr:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr
    return started.stdout.strip()


def stop(folder: Path) -> None:
    """Stop the server in a folder as if it had been killed."""
    subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)


def remove(folder: Path) -> None:
    """Stop the server in a folder and delete it."""
    subprocess.run([SCRIPT, "remove", folder], check=True, timeout=60)


@contextmanager
def fresh_database(server: str, template: str = "template0") -> Iterator[str]:
    """Yield the URL of a new database on a server, made from another one that nobody is connected to."""
    name = f"candor_{uuid4().hex[:12]}"
    run(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        run(server, f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, *statements: str) -> list[list[tuple[object, ...]]]:
    """Run statements, each on its own, and return the rows of each. Also where an event loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _run(url, statements)).result()


async def _run(url: str, statements: tuple[str, ...]) -> list[list[tuple[object, ...]]]:
    engine = dialects.make_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            results = [await connection.exec_driver_sql(statement) for statement in statements]
            return [[tuple(row) for row in result] if result.returns_rows else [] for result in results]
    finally:
        await engine.dispose()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of the session's server."""
    given = os.environ.get("CANDOR_TEST_POSTGRES")
    if given:
        yield given
        return
    with cluster() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a database with all tables, to make others from: that is quicker than to migrate each."""
    with fresh_database(postgres_server) as url:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(migrate, url).result()
        yield str(sa.make_url(url).database)


@pytest.fixture
def postgres_empty_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database without tables."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """The URL of a fresh database with all tables."""
    with fresh_database(postgres_server, postgres_template) as url:
        yield url
