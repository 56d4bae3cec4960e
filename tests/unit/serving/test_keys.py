"""Keys made on the server's own machine."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from candor.errors import InvalidRequest, UnknownTeam
from client.cli import app
from serving.composition import opened_store
from serving.config import Settings
from serving.keys import create_key, first_key, framed
from store.audit import entries
from store.teams import Teams
from tests.unit.serving.keys import with_keys


@pytest.fixture
def locked(folder: Path) -> Settings:
    return with_keys(folder)


@pytest.fixture
def config(locked: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"storage": {"database_url": locked.storage.database_url, "blobs": str(tmp_path / "blobs")}}))
    return path


def test_the_first_key_is_made_once(locked: Settings, settings: Settings) -> None:
    assert first_key(settings) is None  # nobody is asked for one
    key = first_key(locked)
    assert key is not None
    assert re.fullmatch(r"cdr_[0-9A-Z]{26}_[\w-]{43}", key)
    assert first_key(locked) is None
    told = framed("http://127.0.0.1:9", key).splitlines()
    assert f"    export CANDOR_API_KEY={key}" in told
    assert f"    {key}" in told


def test_a_key_is_made_in_the_database_of_a_configuration(locked: Settings, config: Path) -> None:
    result = CliRunner().invoke(
        app, ["keys", "create", "mine", "--scopes", "admin,draft", "--expires-in-days", "3", "--config", str(config)]
    )
    assert result.exit_code == 0, result.stderr

    async def made() -> None:
        async with opened_store(locked) as (store, _):
            (key,) = await Teams(store).keys("default")
            assert result.stdout == f"cdr_{key.id.removeprefix('key_')}_{result.stdout.split('_', 2)[2]}"
            assert (key.scopes, key.name, key.created_by) == (("admin", "draft"), "mine", "operator")
            assert key.expires_at is not None
            assert (key.expires_at - key.created_at).days in (2, 3)
            assert [(one.action, one.key) for one in await entries(store, "default")] == [("key.created", "operator")]

    asyncio.run(made())
    with pytest.raises(UnknownTeam):
        create_key(config, "none", "mine", ["draft"], None)
    with pytest.raises(InvalidRequest, match="'root' is no scope"):
        create_key(config, "default", "mine", ["root"], None)
    refused = CliRunner().invoke(app, ["keys", "create", "mine", "--scopes", "root", "--config", str(config)])
    assert (refused.exit_code, refused.stdout) == (2, "")


def test_without_keys_the_server_stays_on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDOR_SERVER__AUTH", "keys")  # --no-auth says otherwise, until the test ends
    config = tmp_path / "open.yaml"
    config.write_text("server: {host: 0.0.0.0, allow_remote: true}")
    result = CliRunner().invoke(app, ["serve", "--no-auth", "--config", str(config)])
    assert result.exit_code == 2
    assert "server.auth is none" in result.stderr
    assert "beyond loopback" in result.stderr
