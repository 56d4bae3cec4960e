"""Whatever is sent, the answer is a documented one: never a 5xx, and one entry for each item, in order."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from candor.errors import CandorError
from tests.unit.serving.served import PROBLEM, Server, running, settings_in

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile")]
thorough = settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
PATHS = ("/v1/drafts", "/v1/detection/drafts", "/v1/transcription/drafts", "/v1/classification/drafts")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A small server that fetches nothing."""
    folder = tmp_path_factory.mktemp("fuzzed") / "server"
    shutil.copytree(template, folder)
    limits = {"items": 8, "item_bytes": 2_000, "body_bytes": 20_000}
    async with running(settings_in(folder, limits=limits, media={"allowed_hosts": ["nowhere.invalid"]})) as made:
        yield made


def documented(answer: httpx.Response) -> None:
    """Assert that the answer is one that the API describes."""
    assert answer.status_code < 500, answer.text
    told = answer.json()
    if answer.status_code == 200:
        assert answer.headers["content-type"] == "application/json"
        assert told.keys() == {"model_version", "drafts"}
        for entry in told["drafts"]:
            assert ("error" in entry) != ("id" in entry)
    else:
        assert answer.headers["content-type"] == PROBLEM
        assert {"type", "title", "status", "code", "detail", "retryable"} <= told.keys()
        assert told["status"] == answer.status_code
        assert told["code"] in CODES


def kinds(root: type[CandorError]) -> set[str]:
    return {root.code} | {code for kind in root.__subclasses__() for code in kinds(kind)}


CODES = kinds(CandorError) - {"internal"}

texts = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["a", "finder", "namer@production", "finder@sha256:0", "detection", "raw", "YQ=="]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just("x" * 600) | st.just(10**400)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12)
names = st.sampled_from(["items", "project", "task", "model", "include", "id", "image", "audio", "url", "base64", "upload"])
near = st.dictionaries(names, values | st.dictionaries(names, values, max_size=3), max_size=4)
media = st.fixed_dictionaries(
    {}, optional={"base64": texts | st.just("YQ=="), "url": texts | st.just("http://127.0.0.1/"), "upload": texts}
)
items = st.fixed_dictionaries({"id": texts | values}, optional={"image": media | values, "audio": media | values}) | values
requests = st.fixed_dictionaries(
    {"items": st.lists(items, max_size=9)},
    optional={"project": texts, "task": texts | values, "model": texts, "include": st.lists(st.just("raw")) | values},
)


@thorough
@given(body=values | near | requests, path=st.sampled_from(PATHS))
@example(body={"items": [{"id": "\ud800", "image": {"base64": "YQ=="}}]}, path=PATHS[1])
@example(body={"items": [{"id": "a", "image": {"base64": "YQ=="}}], "project": "\udfff"}, path=PATHS[1])
@example(body={"items": [{"id": "a", "image": {"upload": "\x00"}}], "model": "finder@\x00"}, path=PATHS[1])
async def test_any_json(target: Server, body: Any, path: str) -> None:
    documented(await target.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"}))


pieces = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="items"; filename="a.png"',
        b'Content-Disposition: form-data; name="project"',
        b"Content-Disposition: form-data; name=items; filename*=utf-8''%ff",
        b"Content-Type: image/png",
        b"Content-Transfer-Encoding: base64",
        b'{"items": [',
        b"]}",
    ]
)
raw = st.lists(pieces | st.binary(max_size=12), max_size=20).map(b"".join)
quoted = st.binary(max_size=8).map(lambda value: value.translate(None, b'\r\n"'))
fields = st.sampled_from([b"items", b"image", b"audio", b"project", b"task", b"model", b"include"])
parts = st.builds(
    lambda field, name, data: b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (field, name, data),
    fields | quoted,
    st.just(b"") | quoted.map(lambda name: b'; filename="%s"' % name),
    st.sampled_from([b"detection", b"raw", b"finder", b"x"]) | st.binary(max_size=20),
)
forms = st.lists(parts, max_size=6).map(lambda some: b"".join(some) + b"--b--\r\n")
types = st.sampled_from(
    ["application/json", "multipart/form-data; boundary=b", "multipart/form-data; boundary=b; charset=utf-16", "text/plain", "", "a/b;;="]
) | st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=30)


@thorough
@given(body=raw | forms, kind=types | st.just("multipart/form-data; boundary=b"), path=st.sampled_from(PATHS))
async def test_any_bytes(target: Server, body: bytes, kind: str, path: str) -> None:
    documented(await target.client.post(path, content=body, headers={b"content-type": kind.encode("latin-1")}))


header_values = (
    st.binary(max_size=40).map(lambda value: value.replace(b"\r", b"").replace(b"\n", b"")) | st.just(b"9" * 5000) | st.just(b"k")
)
headers = st.dictionaries(
    st.sampled_from(
        [b"idempotency-key", b"x-request-id", b"x-request-timeout-seconds", b"cache-control", b"content-length", b"accept", b"host"]
    ),
    header_values,
    max_size=4,
)
GOOD = json.dumps({"items": [{"id": "a", "image": {"base64": "YQ=="}}]}).encode()


@thorough
@given(given_headers=headers, query=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
async def test_any_headers_and_query(target: Server, given_headers: dict[bytes, bytes], query: str) -> None:
    request = httpx.Request("POST", "http://candor/v1/detection/drafts", params={"include": query} if query else {}, content=GOOD)
    request.headers = httpx.Headers([*given_headers.items(), (b"content-type", b"application/json")])
    answer = await target.client.send(request)
    documented(answer)
    assert answer.headers["x-request-id"].isascii()


@thorough
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "BREW"]),
    path=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
)
@example(method="GET", path="v1/drafts/%00")
@example(method="GET", path="v1/drafts/%ff%fe")
@example(method="GET", path="v1/drafts/drf_' OR 1=1 --")
@example(method="GET", path="problems/%2e%2e%2f")
async def test_any_address(target: Server, method: str, path: str) -> None:
    answer = await target.client.request(method, "/" + quote(path.lstrip("/"), safe="/%"))
    if answer.status_code not in (200, 307):
        documented(answer)


def encoded(data: bytes) -> dict[str, Any]:
    return {"base64": base64.b64encode(data).decode()}


ids = st.text(min_size=1, max_size=8)
good = st.builds(
    lambda item_id, data: {"id": item_id, "image": encoded(data)}, ids, st.binary(min_size=1, max_size=8).filter(lambda d: d[:1] != b"{")
)
bad = st.one_of(
    st.builds(lambda item_id: {"id": item_id, "image": encoded(b"")}, ids),
    st.builds(
        lambda item_id, step: {"id": item_id, "image": encoded(b'{"fail": "%s"}' % step)}, ids, st.sampled_from([b"prepare", b"infer"])
    ),
    st.builds(lambda item_id: {"id": item_id, "audio": encoded(b"x")}, ids),
    st.builds(lambda item_id: {"id": item_id, "image": encoded(b"x" * 2001)}, ids),
    st.builds(lambda item_id: {"id": item_id, "image": {"upload": "none"}}, ids),
    st.builds(lambda item_id: {"id": item_id, "image": {"url": "http://10.0.0.1/"}}, ids),
    st.builds(lambda item_id: {"id": item_id}, ids),
    st.sampled_from([{"image": encoded(b"x")}, None, 3, {"id": ""}]),
)
marked = st.lists(st.tuples(st.just(True), good) | st.tuples(st.just(False), bad), min_size=1, max_size=7)


@thorough
@given(marked=marked)
async def test_every_item_has_its_entry(target: Server, marked: list[tuple[bool, Any]]) -> None:
    answer = await target.client.post(PATHS[1], json={"items": [item for _, item in marked]})
    assert answer.status_code == 200, answer.text
    entries = answer.json()["drafts"]
    assert len(entries) == len(marked)
    for position, (entry, (fine, item)) in enumerate(zip(entries, marked, strict=True)):
        assert ("error" not in entry) is fine, entry
        named = isinstance(item, dict) and item.get("id")
        assert entry["item"] == (named or f"items[{position}]")
        if not fine:
            assert 400 <= entry["error"]["status"] < 500
