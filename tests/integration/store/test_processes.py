"""Several processes, as one per task, on one database."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from candor.errors import Conflict
from store import open_store

ROOT = Path(__file__).resolve().parents[3]

# Opens (and so migrates), then saves in many concurrent calls. Prints each id once it is committed.
SAVES = """
import asyncio, sys
from store import open_store
from tests.unit.store.drafts import draft

async def main(url, calls):
    store = await open_store(url)
    async def save():
        stored = draft()
        await store.save([stored])
        print(stored.id, flush=True)
        await store.find("yolo@1a2b", "cal_1", [stored.media_sha256])
    for _ in range(calls // 16):
        await asyncio.gather(*(save() for _ in range(16)))
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

# Claims one key; prints what came of it.
CLAIMS = """
import asyncio, sys
from candor.errors import Conflict
from store import open_store

async def main(url):
    store = await open_store(url)
    sys.stdin.readline()
    try:
        print(await store.claim("k", "print", 60))
    except Conflict:
        print("running")
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/var/candor.db"
    return str(request.getfixturevalue("postgres_empty_url"))


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(processes: list[subprocess.Popen[str]], said: str = "") -> list[str]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(said)
        process.stdin.flush()
    ended = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, errors) for process, (_, errors) in zip(processes, ended, strict=True)] == [(0, "")] * len(processes)
    return [output for output, _ in ended]


async def stored_of(url: str, ids: list[str]) -> int:
    store = await open_store(url)
    try:
        return len([await store.get(each) for each in ids])
    finally:
        await store.close()


def test_processes_start_together_and_write_together(url: str) -> None:
    outputs = finish([start(SAVES, url, "160") for _ in range(4)])
    ids = [line for output in outputs for line in output.split()]
    assert len(ids) == len(set(ids)) == 4 * 160
    assert asyncio.run(stored_of(url, ids)) == len(ids)


def test_a_key_is_claimed_by_one_process(url: str) -> None:
    outputs = finish([start(CLAIMS, url) for _ in range(4)], said="go\n")
    assert sorted(output.strip() for output in outputs) == ["None", "running", "running", "running"]


def test_a_killed_process_loses_nothing_that_it_confirmed(url: str) -> None:
    process = start(SAVES, url, "1000000")
    assert process.stdout is not None
    ids = [process.stdout.readline().strip() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=60)
    ids += [line for line in rest.split() if len(line) == len(ids[0])]
    assert asyncio.run(stored_of(url, ids)) == len(ids)


async def test_claims_outlive_their_store(url: str) -> None:
    first = await open_store(url)
    await first.claim("k", "print", 60)
    await first.close()
    second = await open_store(url)
    with pytest.raises(Conflict):
        await second.claim("k", "print", 60)
    assert await second.claim("k", "print", 0) is None  # abandoned at once
    await second.close()
