"""The Python client and the command line against the real application over a real socket: their ideas of the wire must be the same."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from client.answers import Version
from client.api import Client, DraftOptions, Item
from client.errors import Refused, Unreachable
from client.retries import Retries
from tests.unit.serving.served import Server

T = TypeVar("T")
LABELS = ["car", "van", "bus"]
MANIFEST = {"schema": 1, "family": "onnx", "task": "classification", "labels": LABELS, "output": {"head": "logits"}, "licence": "MIT"}


async def away(work: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Do the client's blocking work where it does not hold up the server."""
    return await asyncio.to_thread(work, *arguments, **named)


class Breaking(httpx.HTTPTransport):
    """A connection that breaks after so many requests."""

    def __init__(self, requests: int) -> None:
        super().__init__()
        self.left = requests

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        if self.left < 0:
            raise httpx.ReadError("the network is gone")
        return super().handle_request(request)


async def test_a_large_upload_goes_on_after_the_network_was_gone(served: tuple[Server, str], tmp_path: Path) -> None:
    server, url = served
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(40 * 2**20 + 1))
    with Client(url, transport=Breaking(3), retries=Retries(2, 0.0, 0.0)) as candor, pytest.raises(Unreachable):
        await away(candor.upload, path)
    shares: list[float] = []
    with Client(url) as candor:
        upload = await away(candor.upload, path, lambda step, share: shares.append(share) if step == "uploading" else None)
        again = await away(candor.upload, path)
    assert shares[0] == pytest.approx(2 * 8 / 40, abs=0.01)  # two parts of six had arrived
    assert await server.services.blobs.get(upload) == path.read_bytes()
    assert again != upload  # complete at once


def classifier(path: Path, seed: int) -> Path:
    """Write a classifier of a picture's mean colour."""
    weights = np.random.default_rng(seed).normal(size=(3, len(LABELS))).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(LABELS)])
    graph = helper.make_graph(nodes, "classifier", [image], [logits], [numpy_helper.from_array(weights, "weights")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def picture(path: Path) -> Path:
    """Write a picture of one colour."""
    Image.new("RGB", (40, 30), (200, 40, 90)).save(path)
    return path


async def test_from_a_file_to_drafts_and_back_by_the_client(served: tuple[Server, str], tmp_path: Path) -> None:
    _, url = served
    item = Item("a", "image", data=picture(tmp_path / "a.png").read_bytes())
    with Client(url) as candor:

        def register(number: int) -> Version:
            return candor.wait_version(candor.register("mine", classifier(tmp_path / f"{number}.onnx", number), MANIFEST))

        async def drafted_by(model: str) -> str:
            draft = (await away(candor.draft, [item], DraftOptions("classification", model)))[0]
            return str(draft.get("model_version", draft))

        one, two = await away(register, 1), await away(register, 2)
        assert (one["state"], one["aliases"]) == ("ready", ["production"]), one["report"]
        assert (two["state"], two["aliases"]) == ("ready", []), two["report"]
        assert (await away(register, 1))["id"] == one["id"]  # the same content is the version that there is
        assert await drafted_by("mine") == one["version"]
        digest = str(two["version"]).partition("@")[2]
        await away(candor.set_alias, "mine", "beta", digest)
        assert await drafted_by("mine@beta") == two["version"]
        split = await away(lambda: candor.set_alias("mine", "beta", digest, canary=one["id"], share=0.25))
        assert split["canary"] == {"version": one["version"], "share": 0.25}
        assert (await away(candor.rollback_alias, "mine", "beta"))["canary"] is None
        assert [move["revision"] for move in await away(candor.alias_history, "mine", "beta")] == [3, 2, 1]
        with pytest.raises(Refused, match="in_use"):
            await away(candor.retire, "mine", digest)
        await away(candor.remove_alias, "mine", "beta")
        assert (await away(candor.retire, "mine", digest))["state"] == "retired"
        with pytest.raises(Refused, match="in_use"):
            await away(candor.delete_version, "mine", digest)  # a draft refers to it


class Said(NamedTuple):
    """What a command wrote."""

    stdout: str
    stderr: str


async def test_the_same_by_the_command_line(served: tuple[Server, str], tmp_path: Path) -> None:
    _, url = served
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))

    async def run(*words: str | Path, code: int = 0) -> Said:
        command = [str(Path(sys.executable).parent / "candor"), "models", *map(str, words), "--url", url]
        done = await away(subprocess.run, command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
        assert done.returncode == code, done.stderr
        return Said(done.stdout, done.stderr)

    options = ("--head", "logits", "--labels", labels)
    first = await run("register", "mine", "--artifact", classifier(tmp_path / "1.onnx", 1), *options)
    assert "ready" in first.stdout
    assert "candor models calibrate mine" in first.stderr
    assert "3: car, van, bus" in (await run("show", "mine")).stdout
    second = json.loads((await run("register", "mine", "--artifact", classifier(tmp_path / "2.onnx", 2), *options, "--json")).stdout)
    assert "(10%)" in (await run("split", "mine", second["id"], "--share", "0.1")).stderr
    assert "production (10%)" in (await run("versions", "mine")).stdout
    assert f"production (10% {second['version'].partition('@')[2][:19]})" in (await run("list")).stdout
    assert "(10%)" not in (await run("alias", "rollback", "mine")).stderr
    assert "default" not in (await run("alias", "history", "mine")).stdout
    await run("delete", f"mine@{second['id']}")
    assert second["id"] not in (await run("versions", "mine")).stdout
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert "refused: " in (await run("register", "mine", "--artifact", broken, *options, code=2)).stderr
    unknown = await run("register", "mine", "--artifact", broken, *options, "--preprocess", "layuot=crop", code=2)
    assert "`layout`" in unknown.stderr
    assert "no registered model 'none'" in (await run("versions", "none", code=2)).stderr
