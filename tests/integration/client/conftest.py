"""A real application over a real socket, for the clients to ask."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from serving.loading import install_all
from store import schema
from tests.unit.serving.served import Server, running, settings_in


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[Server, str]]:
    """A server and its address."""
    settings = settings_in(tmp_path / "server")
    await asyncio.to_thread(schema.migrate, settings.storage.database_url)
    await asyncio.to_thread(install_all, settings)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        async with running(settings) as server:
            http = uvicorn.Server(uvicorn.Config(server.app, lifespan="off", log_level="error"))
            serving = asyncio.create_task(http.serve([listening]))
            yield server, f"http://127.0.0.1:{listening.getsockname()[1]}"
            http.should_exit = True
            await serving
