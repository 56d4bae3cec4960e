"""The same drafts come out of `single`, one replica behind Ray's own Python proxy, as out of `tasks` behind HAProxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.serving.running import Server, running, write_config
from tests.integration.serving.test_drafts import PICTURES, answered, assert_same, files


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, real_config: Callable[..., dict[str, Any]]) -> Iterator[Server]:
    config = real_config(server={"topology": "single", "ingress": "python"})
    with running(write_config(tmp_path_factory.mktemp("single"), config)) as found:
        yield found


def test_both_topologies_draft_the_same(client: httpx.Client, single: Server, samples_by_name: dict[str, bytes]) -> None:
    pictures = files(*((name, samples_by_name[name]) for name in PICTURES))
    fresh = {"Cache-Control": "no-cache"}
    with single.client() as other:
        for task in ("detection", "classification"):
            ours = answered(client.post(f"/v1/{task}/drafts?include=raw", files=pictures, headers=fresh))
            theirs = answered(other.post(f"/v1/{task}/drafts?include=raw", files=pictures, headers=fresh))
            for one, two in zip(ours, theirs, strict=True):
                assert one["model_version"] == two["model_version"]
                assert_same(one, two)
        speech = files(("jfk.wav", samples_by_name["jfk.wav"]))
        (one,) = answered(client.post("/v1/transcription/drafts", files=speech, headers=fresh))
        (two,) = answered(other.post("/v1/drafts", files=speech, headers=fresh))
        assert one["text"] == two["text"]


def test_single_serves_everything_from_one_replica(single: Server) -> None:
    single.replica("candor")
    with single.client() as client:
        assert client.get("/readyz").json()["ready"]
        answer = client.post("/v1/detection/drafts", json={"items": []})
        assert answer.json()["code"] == "no_items"
        assert len(answer.headers.get_list("x-request-id")) == 1
    with pytest.raises(AssertionError):
        single.replica("detection")
