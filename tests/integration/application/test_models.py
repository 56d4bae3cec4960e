"""Teams' own models over the API: registered, looked at, pointed to, drafted with, retired and deleted, without a restart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from candor.fake import FakeModel
from serving.config import Settings
from serving.jobs.runner import JobRunner
from tests.unit.serving.registering import manifest_of, no_tending, ready, register, settle
from tests.unit.serving.served import Server, image, is_problem, running

VERSIONS = "/v1/models/mine/versions"
ALIASES = "/v1/models/mine/aliases"


@pytest.fixture
async def server(settings: Settings, loaded: dict[str, FakeModel], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(JobRunner, "tend", no_tending)
    monkeypatch.setattr("serving.registry.book.FRESH_SECONDS", 0.0)
    async with running(settings) as made:
        made.loaded = loaded
        yield made


async def point(server: Server, version: str, alias: str = "production", canary: Any = None, if_match: str = "*") -> Any:
    headers = {"If-Match": if_match}
    return await server.client.put(f"{ALIASES}/{alias}", json={"version": version.partition("@")[2], "canary": canary}, headers=headers)


async def test_a_model_is_registered_and_drafts_without_a_restart(server: Server) -> None:
    told = await register(server, labels=("cow", "pig"), notes="of the farm")
    assert (told["state"], told["model"], told["version"], told["family"]) == ("validating", "mine", None, "fake")
    assert told["request"]["artifact"]["sha256"] == hashlib.sha256(b"w").hexdigest()
    assert (await server.client.get(f"/v1/jobs/{told['job']}")).json()["job"]["kind"] == "model_validation"
    assert "validating" in is_problem(await server.draft([image()], model="mine"), 503, "model_unavailable")
    settled = await settle(server.services.store, server.services.blobs, told["id"])
    (draft,) = await server.drafts([image()], "/v1/drafts", model="mine")
    assert draft["model_version"] == settled.version
    assert {label["label"] for label in draft["labels"]} <= {"cow", "pig"}
    assert draft["confidence_status"] == "uncalibrated"
    detail = (await server.client.get(f"{VERSIONS}/{told['id']}")).json()
    assert (detail["state"], detail["version"], detail["aliases"]) == ("ready", settled.version, ["production"])
    assert detail["report"]["passed"] is True
    assert detail["manifest"]["owner"] == "default"
    (listed,) = [one for one in (await server.client.get("/v1/models")).json()["models"] if one["registered"]]
    assert (listed["name"], listed["version"], listed["state"], listed["aliases"]) == ("mine", settled.version, "ready", ["production"])


async def test_a_large_file_is_named_by_its_upload(server: Server) -> None:
    upload = (await server.client.post("/v1/uploads", content=b"weights")).json()
    told = {"manifest": manifest_of(), "artifact": {"upload": upload["id"], "filename": "m.onnx", "sha256": upload["sha256"]}}
    answer = await server.client.post(VERSIONS, json=told)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{VERSIONS}/{answer.json()['id']}"
    assert answer.json()["request"]["artifact"] == {
        "upload": upload["id"],
        "filename": "m.onnx",
        "sha256": upload["sha256"],
        "bytes": 7,
    }
    told["artifact"]["sha256"] = "0" * 64
    assert "artifact.sha256" in is_problem(await server.client.post(VERSIONS, json=told), 422, "invalid_request")
    told["artifact"] = {"upload": "upl_none"}
    is_problem(await server.client.post(VERSIONS, json=told), 404, "unknown_upload")


@pytest.mark.parametrize(
    ("name", "form", "code", "told"),
    [
        ("finder", {"manifest": manifest_of()}, "conflict", "configuration"),
        ("-x", {"manifest": manifest_of()}, "invalid_request", "a model's name"),
        ("mine", {"manifest": {**manifest_of(), "lables": []}}, "invalid_request", "labels"),
        ("mine", {"manifest": manifest_of(), "sha256": "0" * 64}, "invalid_request", "send it again"),
        ("mine", {"manifest": manifest_of(), "other": "x"}, "invalid_request", "no field 'other'"),
        ("mine", {}, "invalid_request", "manifest"),
    ],
)
async def test_what_can_not_be_registered_is_refused_and_kept_nowhere(
    server: Server, name: str, form: dict[str, Any], code: str, told: str
) -> None:
    written = {key: value if isinstance(value, str) else json.dumps(value) for key, value in form.items()}
    answer = await server.client.post(f"/v1/models/{name}/versions", data=written, files={"artifact": ("w", b"weights")})
    assert told in is_problem(answer, answer.status_code, code)
    assert not await server.services.blobs.exists(hashlib.sha256(b"weights").hexdigest())
    is_problem(await server.client.get(f"/v1/models/{name}/versions"), 404, "unknown_model")


async def test_an_alias_moves_splits_and_goes_back(server: Server) -> None:
    one, two = await ready(server, labels=("one",)), await ready(server, labels=("two",))
    moved = await point(server, two, if_match='"1"')
    assert (moved.json()["version"], moved.headers["etag"]) == (two, '"2"')
    is_problem(await point(server, one, if_match='"1"'), 409, "conflict")
    (draft,) = await server.drafts([image("a")], model="mine")
    assert draft["model_version"] == two
    await point(server, one, canary={"version": two.partition("@")[2], "share": 0.5})
    found = await server.drafts([image(f"item-{n}") for n in range(60)], model="mine@production")
    shares = Counter(draft["model_version"] for draft in found)
    assert 15 <= shares[two] <= 45
    assert shares[one] + shares[two] == 60
    again = await server.drafts([image(f"item-{n}") for n in range(60)], model="mine")
    assert [draft["id"] for draft in again] == [draft["id"] for draft in found]
    (listed,) = [model for model in (await server.client.get("/v1/models")).json()["models"] if model["registered"]]
    assert listed["splits"] == [{"alias": "production", "version": one, "canary": two, "share": 0.5}]
    back = await server.client.post(f"{ALIASES}/production/rollback")
    assert (back.json()["version"], back.json()["canary"], back.json()["revision"]) == (two, None, 4)
    (draft,) = await server.drafts([image("b")], model="mine")
    assert draft["model_version"] == two
    page = (await server.client.get(f"{ALIASES}/production/history", params={"limit": 3})).json()
    assert [move["revision"] for move in page["history"]] == [4, 3, 2]
    rest = (await server.client.get(f"{ALIASES}/production/history", params={"after": page["next"]})).json()
    assert [(move["revision"], move["version"], move["canary"]) for move in rest["history"]] == [(1, one, None)]
    assert rest["next"] is None


async def test_versions_and_aliases_are_named_exactly(server: Server) -> None:
    one = await ready(server)
    digest = one.partition("@")[2]
    for name in (digest, digest[:15], one, "production", digest.upper().replace("SHA256", "sha256")):
        assert (await server.client.get(f"{VERSIONS}/{name}")).json()["version"] == one
    for name in (digest[:14], "sha256:" + "0" * 64, "canary", "ver_none"):
        is_problem(await server.client.get(f"{VERSIONS}/{name}"), 404, "unknown_model")
    assert "at least 8" in is_problem(await server.draft([image()], model=f"mine@{digest[:14]}"), 404, "unknown_model")
    is_problem(await server.draft([image()], model="mine@canary"), 404, "unknown_alias")
    is_problem(await point(server, one, alias="sha256:x"), 422, "invalid_request")
    is_problem(await point(server, one, canary={"version": digest, "share": 0.5}), 422, "invalid_request")
    is_problem(await point(server, one, canary={"version": digest, "share": 1.5}), 422, "invalid_request")
    is_problem(await point(server, "x@ver_none"), 404, "unknown_model")
    is_problem(await server.draft([image()], "/v1/transcription/drafts", model="mine"), 409, "wrong_task")
    is_problem(await server.client.get("/v1/models/finder/versions"), 404, "unknown_model")


async def test_a_version_in_use_stays_and_a_retired_one_drafts_no_more(server: Server) -> None:
    one, two = await ready(server, labels=("one",)), await ready(server, labels=("two",))
    (draft,) = await server.drafts([image("a")], model=one)
    where = f"{VERSIONS}/{one.partition('@')[2]}"
    assert "mine@production" in is_problem(await server.client.post(f"{where}/retire"), 409, "in_use")
    await point(server, two)
    assert "1 drafts" in is_problem(await server.client.delete(where), 409, "in_use")
    assert (await server.client.post(f"{where}/retire")).json()["state"] == "retired"
    assert "retired" in is_problem(await server.draft([image("b")], model=one), 503, "model_unavailable")
    is_problem(await point(server, one), 409, "conflict")
    is_problem(await server.client.post(f"{ALIASES}/production/rollback"), 409, "nothing_to_roll_back")
    assert (await server.client.get(f"/v1/drafts/{draft['id']}")).json()["model_version"] == one


async def test_a_deleted_version_takes_its_files_along_and_its_alias_goes_first(server: Server) -> None:
    one = await ready(server)
    detail = (await server.client.get(f"{VERSIONS}/production")).json()
    (sha256,) = detail["manifest"]["files"].values()
    assert await server.services.blobs.exists(sha256)
    is_problem(await server.client.delete(f"{VERSIONS}/{detail['id']}"), 409, "in_use")
    assert (await server.client.delete(f"{ALIASES}/production")).status_code == 204
    assert "has no alias" in is_problem(await server.draft([image()], model="mine"), 404, "unknown_alias")
    assert (await server.client.delete(f"{VERSIONS}/{detail['id']}")).status_code == 204
    assert not await server.services.blobs.exists(sha256)
    is_problem(await server.draft([image()], model=one), 404, "unknown_model")


async def test_deleting_what_is_validated_cancels_its_job(server: Server) -> None:
    told = await register(server)
    assert (await server.client.delete(f"{VERSIONS}/{told['id']}")).status_code == 204
    assert (await server.client.get(f"/v1/jobs/{told['job']}")).json()["job"]["state"] == "cancelled"
    is_problem(await server.client.get(f"{VERSIONS}/{told['id']}"), 404, "unknown_model")


async def test_versions_are_listed_in_pages(server: Server) -> None:
    ids = [(await register(server, weights=b"%d" % n))["id"] for n in range(3)]
    page = (await server.client.get(VERSIONS, params={"limit": 2})).json()
    assert [one["id"] for one in page["versions"]] == ids[:0:-1]
    rest = (await server.client.get(VERSIONS, params={"after": page["next"]})).json()
    assert ([one["id"] for one in rest["versions"]], rest["next"]) == (ids[:1], None)


async def test_what_does_not_fit_here_is_told_and_what_validation_measured_bounds_the_batch(
    server: Server, loaded: dict[str, FakeModel]
) -> None:
    await ready(server, "huge", report={"memory_bytes": 1 << 40}, weights=b"h")
    (entry,) = await server.drafts([image()], "/v1/drafts", model="huge")
    assert entry["error"]["code"] == "model_unavailable"
    assert "engine.cache_bytes" in entry["error"]["detail"]
    await ready(server, "small", report={"max_batch": 2}, options={"base": 0.001})
    await server.drafts([image(f"{n}") for n in range(12)], "/v1/drafts", model="small")
    assert max(loaded["small"].batches) == 2


async def test_the_schema_of_the_manifest_is_published(server: Server) -> None:
    found = (await server.client.get("/v1/schemas/manifest")).json()
    assert found["properties"].keys() >= {"family", "task", "labels"}
