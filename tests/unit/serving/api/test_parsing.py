"""Requests as they arrive: JSON that is wrong, forms, limits. An item that is wrong is answered in its place."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.unit.serving.served import Server, audio, image, is_problem, running, settings_in

DETECTION = "/v1/detection/drafts"
BOUNDARY = "--------boundary"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with tiny limits."""
    folder = tmp_path_factory.mktemp("small") / "server"
    shutil.copytree(template, folder)
    async with running(settings_in(folder, limits={"items": 3, "item_bytes": 300_000, "body_bytes": 2_000_000})) as made:
        yield made


async def post(server: Server, body: bytes | str, content_type: str = "application/json", path: str = DETECTION) -> httpx.Response:
    return await server.client.post(path, content=body, headers={"content-type": content_type})


# --- JSON: the whole request


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("nonsense", "not JSON"),
        ("null", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('"x"', "not a JSON object"),
        ("{}", "items: Field required"),
        ('{"items": null}', "items"),
        ('{"items": {}}', "items"),
        ('{"items": "abc"}', "items"),
        ('{"items": [], "extra": NaN}', "not JSON"),
        ('{"items": [{"id": "a", "image": {"base64": "YQ=="}}], "model": Infinity}', "not JSON"),
        ('{"items": [1], "project": 3}', "project"),
        ('{"items": [1], "project": ""}', "project"),
        ('{"items": [1], "task": "segmentation"}', "task"),
        ('{"items": [1], "model": ["finder"]}', "model"),
        ('{"items": [1], "include": "raw"}', "include"),
        ('{"items": [1], "include": ["score"]}', "include"),
        ('{"items": [1], "threshold": 0.5}', "threshold: Extra inputs"),
        ('{"items": [1]} trailing', "not JSON"),
        ('{"items": ["\\ud800"]}', "not JSON"),
        ("[" * 5000, "not JSON"),
        ('{"items":' * 5000, "not JSON"),
        ('{"items": [' + "9" * 10_000 + "]}", ""),
    ],
)
async def test_json_that_is_no_request(steady: Server, body: str, told: str) -> None:
    answer = await post(steady, body)
    if told:
        assert told in is_problem(answer, 422, "invalid_request")
    else:
        assert answer.status_code in (200, 422)


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b'{"items": ["\xff"]}', b"\x00" * 100, '{"items": []}'.encode("utf-16")])
async def test_bytes_that_are_no_text(steady: Server, body: bytes) -> None:
    is_problem(await post(steady, body), 422, "invalid_request")


async def test_the_last_of_two_equal_keys_counts(steady: Server) -> None:
    answer = await post(steady, '{"items": [1, 2], "items": [{"id": "a", "id": "b", "image": {"base64": "YQ=="}}]}')
    assert [entry["item"] for entry in answer.json()["drafts"]] == ["b"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"])
async def test_json_of_every_name_is_read(steady: Server, content_type: str) -> None:
    assert (await post(steady, json.dumps({"items": [image()]}), content_type)).status_code == 200


async def test_json_without_a_type_is_read(steady: Server) -> None:
    request = steady.client.build_request("POST", DETECTION, content=json.dumps({"items": [image()]}))
    request.headers.pop("content-type", None)
    assert (await steady.client.send(request)).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png", "multipart/mixed", ";"])
async def test_other_types_are_refused(steady: Server, content_type: str) -> None:
    answer = await post(steady, json.dumps({"items": [image()]}), content_type)
    if content_type != ";":
        assert "application/json or multipart/form-data" in is_problem(answer, 422, "invalid_request")


# --- JSON: one item


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (None, "object"),
        (7, "object"),
        ([], "object"),
        ({}, "id: Field required"),
        ({"image": {"base64": "YQ=="}}, "id: Field required"),
        ({"id": "", "image": {"base64": "YQ=="}}, "id"),
        ({"id": 5, "image": {"base64": "YQ=="}}, "id"),
        ({"id": "x" * 513, "image": {"base64": "YQ=="}}, "id"),
    ],
)
async def test_an_item_without_a_usable_id_is_known_by_its_place(steady: Server, item: Any, told: str) -> None:
    good, bad = await steady.drafts([image("good"), item])
    assert "error" not in good
    assert bad["item"] == "items[1]"
    assert bad["error"]["code"] == "invalid_request"
    assert told in bad["error"]["detail"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "exactly one of image and audio"),
        ({"image": {"base64": "YQ=="}, "audio": {"base64": "YQ=="}}, "exactly one of image and audio"),
        ({"image": None}, "exactly one of image and audio"),
        ({"image": {}}, "exactly one of url, base64 and upload"),
        ({"image": {"base64": "YQ==", "url": "http://x/"}}, "exactly one of url, base64 and upload"),
        ({"image": "YQ=="}, "image"),
        ({"image": {"base64": 5}}, "image.base64"),
        ({"image": {"base64": "YQ==", "width": 5}}, "image.width: Extra inputs"),
        ({"image": {"base64": "YQ=="}, "bbox": []}, "bbox: Extra inputs"),
        ({"image": {"base64": "YQ"}}, "base64"),
        ({"image": {"base64": "Y*Q=="}}, "base64"),
        ({"image": {"base64": "data:image/png;base64,YQ=="}}, "base64"),
        ({"image": {"base64": "ÄÖ=="}}, "base64"),
        ({"image": {"url": "not a url"}}, ""),
        ({"image": {"url": ""}}, ""),
        ({"image": {"upload": ""}}, ""),
        ({"video": {"base64": "YQ=="}}, "video"),
    ],
)
async def test_a_wrong_item_is_answered_in_its_place(steady: Server, body: Any, told: str) -> None:
    first, bad, last = await steady.drafts([image("first"), {"id": "bad", **body}, image("last")])
    assert ("error" in first, "error" in last) == (False, False)
    assert bad["item"] == "bad"
    assert 400 <= bad["error"]["status"] < 500
    assert told in bad["error"]["detail"]


async def test_an_id_of_512_characters_is_kept(steady: Server) -> None:
    (draft,) = await steady.drafts([image("ü" * 512)])
    assert draft["item"] == "ü" * 512


async def test_two_items_may_share_an_id(steady: Server) -> None:
    one, other = await steady.drafts([image("a", b"one"), image("a", b"other")])
    assert one["item"] == other["item"]
    assert one["id"] != other["id"]


# --- limits


@pytest.mark.parametrize("path", [DETECTION, "/v1/drafts"])
async def test_a_request_needs_items(steady: Server, path: str) -> None:
    is_problem(await post(steady, '{"items": []}', path=path), 422, "no_items")


async def test_a_request_has_a_most_of_items(small: Server) -> None:
    assert len(await small.drafts([image(name) for name in "abc"])) == 3
    assert "at most 3" in is_problem(await small.draft([image(name) for name in "abcd"], DETECTION), 413, "too_many_items")
    assert "at most 3" in is_problem(await small.draft([0] * 100_000, DETECTION), 413, "too_many_items")


async def test_an_item_has_a_most_of_bytes(small: Server) -> None:
    good, bad, also_bad = await small.drafts([image("a", b"x" * 300_000), image("b", b"x" * 300_001), image("c", b"x" * 300_004)])
    assert "error" not in good
    for entry in (bad, also_bad):
        assert entry["error"]["code"] == "media_too_large"
        assert "300,000" in entry["error"]["detail"]


async def test_a_body_that_says_that_it_is_too_large_is_not_read(small: Server) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield pytest.fail("the body was read")

    for length in ("2000001", "9" * 5000):
        answer = await small.client.post(DETECTION, content=never(), headers={"content-length": length})
        assert "2,000,000 bytes" in is_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize("content_type", ["application/json", f"multipart/form-data; boundary={BOUNDARY}"])
@pytest.mark.parametrize("path", [DETECTION, "/v1/drafts", "/v1/uploads"])
async def test_a_body_that_does_not_say_so_is_read_no_further(small: Server, path: str, content_type: str) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="items"; filename="a"\r\n\r\n'.encode()
        while True:
            read += 1
            yield b"x" * 100_000

    answer = await small.client.post(path, content=endless(), headers={"content-type": content_type})
    code = "media_too_large" if path == "/v1/uploads" else "body_too_large"
    is_problem(answer, 413, code)
    assert read <= 21


# --- forms


def files(*items: tuple[str, str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (name, data)) for field, name, data in items]


async def test_a_form_is_drafted_like_json(steady: Server) -> None:
    sent = files(("items", "b.png", b"b"), ("image", "a.png", b"a"), ("items", "c", b"c"))
    answer = await steady.client.post(DETECTION, files=sent, data={"project": "p", "model": "finder@production", "task": "detection"})
    found = answer.json()["drafts"]
    assert [draft["item"] for draft in found] == ["b.png", "a.png", "c"]
    assert {draft["project"] for draft in found} == {"p"}
    (as_json,) = await steady.drafts([image("b.png", b"b")], project="p")
    assert as_json["id"] == found[0]["id"]


@pytest.mark.parametrize("include", ["raw", "raw,raw"])
async def test_a_form_may_ask_for_raw_scores(steady: Server, include: str) -> None:
    sent = files(("items", "a", b"a"))
    shown = (await steady.client.post(DETECTION, files=sent, data={"include": include})).json()["drafts"][0]
    assert "raw" in shown["labels"][0]
    hidden = (await steady.client.post(DETECTION, files=sent)).json()["drafts"][0]
    assert "raw" not in hidden["labels"][0]
    in_query = (await steady.client.post(f"{DETECTION}?include=raw", files=sent)).json()["drafts"][0]
    assert "raw" in in_query["labels"][0]


@pytest.mark.parametrize(
    ("field", "name", "kind", "task"),
    [
        ("items", "a.wav", "application/octet-stream", "transcription"),
        ("items", "a", "audio/flac", "transcription"),
        ("items", "talk.mp4", "video/mp4", "transcription"),
        ("audio", "a.png", "image/png", "transcription"),
    ],
)
async def test_a_files_field_type_or_name_tells_its_media(steady: Server, field: str, name: str, kind: str, task: str) -> None:
    answer = await steady.client.post("/v1/drafts", files=[(field, (name, b"x", kind))])
    assert answer.json()["drafts"][0]["task"] == task


async def test_a_file_that_tells_nothing_needs_a_task(steady: Server) -> None:
    sent = files(("items", "a", b"x"))
    assert "say which task" in is_problem(await steady.client.post("/v1/drafts", files=sent), 422, "invalid_request")
    assert (await steady.client.post("/v1/drafts", files=sent, data={"task": "detection"})).status_code == 200


async def test_a_file_of_the_wrong_media_fails_alone(steady: Server) -> None:
    answer = await steady.client.post(DETECTION, files=files(("audio", "a.wav", b"x"), ("image", "b", b"x")))
    bad, good = answer.json()["drafts"]
    assert bad["error"]["code"] == "invalid_request"
    assert "error" not in good


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"threshold": "1"}, "unknown form fields threshold"),
        ({"task": "segmentation"}, "task"),
        ({"include": "scores"}, "include"),
        ({"project": ""}, "project"),
        ({"items": "not a file"}, "files"),
        ({"model": "x" * 70_000}, "the multipart form is not valid"),
        ({f"field{n}": "x" for n in range(17)}, "fields"),
    ],
)
async def test_a_form_with_wrong_fields(steady: Server, data: Any, told: str) -> None:
    answer = await steady.client.post(DETECTION, files=files(("items", "a", b"a")), data=data)
    assert told in is_problem(answer, 422, "invalid_request")


async def test_a_form_field_that_should_be_text_is_no_file(steady: Server) -> None:
    answer = await steady.client.post(DETECTION, files=files(("items", "a", b"a"), ("project", "p.txt", b"p")))
    assert "project" in is_problem(answer, 422, "invalid_request")


async def test_a_form_has_the_same_limits(small: Server) -> None:
    is_problem(await small.client.post(DETECTION, data={"project": "p"}, files=[("include", (None, "raw"))]), 422, "no_items")
    for count in (4, 5, 50):
        sent = files(*(("items", str(n), b"x") for n in range(count)))
        assert "at most 3" in is_problem(await small.client.post(DETECTION, files=sent), 413, "too_many_items")
    large = await small.client.post(DETECTION, files=files(("items", "a", b"x" * 300_001), ("items", "b", b"x" * 300_000)))
    bad, good = large.json()["drafts"]
    assert bad["error"]["code"] == "media_too_large"
    assert "error" not in good


async def test_a_file_without_a_usable_name_is_known_by_its_place(steady: Server) -> None:
    sent = files(("items", "x" * 513, b"a"), ("items", "x" * 512, b"a"))
    answer = await steady.client.post(DETECTION, files=sent)
    assert [entry["item"] for entry in answer.json()["drafts"]] == ["items[0]", "x" * 512]


def part(disposition: str, data: str = "x") -> str:
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n{data}\r\n--{BOUNDARY}--\r\n"


@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile")  # Starlette leaves the file of a part that breaks off to the collector
@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        f"--{BOUNDARY}",
        f"--{BOUNDARY}\r\n\r\n",
        f"--{BOUNDARY}\r\nContent-Disposition\r\n\r\nx\r\n--{BOUNDARY}--",
        part("form-data"),
        part("form-data; name"),
        part('form-data; filename="a"'),
        part('form-data; name="items"; filename="a"')[:-20],
        f"--{BOUNDARY}--\r\n",
    ],
)
async def test_a_form_that_is_broken(steady: Server, body: str) -> None:
    answer = await post(steady, body, f"multipart/form-data; boundary={BOUNDARY}")
    is_problem(answer, 422, "no_items" if body == f"--{BOUNDARY}--\r\n" else "invalid_request")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 5000])
async def test_a_form_without_a_usable_boundary(steady: Server, kind: str) -> None:
    is_problem(await post(steady, part('form-data; name="items"; filename="a"'), kind), 422, "invalid_request")


@pytest.mark.parametrize(
    "charset", ["undefined", "idna", "punycode", "rot13", "base64", "raw_unicode_escape", "unicode_escape", "utf-7", "utf-16", "x"]
)
async def test_a_form_in_a_hostile_charset(steady: Server, charset: str) -> None:
    sent = part('form-data; name="items"; filename="+\\ud800a..' + "x" * 70 + '"')
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}; charset={charset}", "idempotency-key": "k"}
    answer = await steady.client.post(DETECTION, content=sent, headers=headers)
    assert "UTF-8" in is_problem(answer, 422, "invalid_request")


@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile")
async def test_a_form_that_breaks_off_loses_no_item_in_silence(steady: Server) -> None:
    whole = part('form-data; name="items"; filename="a"').removesuffix("--\r\n") + "\r\n"
    body = whole + 'Content-Disposition: form-data; name="items"; filename="b"\r\n\r\nhalf of'
    answer = await post(steady, body, f"multipart/form-data; boundary={BOUNDARY}")
    assert "breaks off" in is_problem(answer, 422, "invalid_request")


# --- headers


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "-inf", "soon", "", "1e999", "0x10"])
async def test_a_wrong_time_limit_is_refused(steady: Server, value: str) -> None:
    answer = await steady.draft([image()], DETECTION, headers={"x-request-timeout-seconds": value})
    assert "X-Request-Timeout-Seconds" in is_problem(answer, 422, "invalid_request")


async def test_a_large_body_is_parsed_off_the_loop_alike(steady: Server) -> None:
    large = base64.b64encode(b"x" * 300_000).decode()
    (draft,) = await steady.drafts([{"id": "a", "image": {"base64": large}}])
    assert "error" not in draft
    is_problem(await post(steady, '{"items": [' + '"' + large + '"'), 422, "invalid_request")


async def test_an_unknown_include_in_the_query_is_refused(steady: Server) -> None:
    assert "include" in is_problem(await steady.draft([image()], f"{DETECTION}?include=scores"), 422, "invalid_request")


async def test_audio_is_not_an_image(steady: Server) -> None:
    bad, good = await steady.drafts([audio("a"), image("b")])
    assert "detection takes image; this item is audio" in bad["error"]["detail"]
    assert "error" not in good
