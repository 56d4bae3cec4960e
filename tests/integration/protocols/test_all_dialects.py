"""What holds in every dialect: arms show in none, and what is asked counts for the team that asks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import sqlalchemy as sa

from candor.drafts import Draft
from serving.protocols.cvat.invocation import shapes_of
from serving.protocols.open_inference.answers import tensors
from serving.protocols.openai.answers import written
from serving.protocols.openai.reading import Asked, Format
from serving.protocols.roboflow.answers import predicted
from serving.protocols.roboflow.reading import Filter
from serving.protocols.x_anylabeling.answers import drafted
from store.tables import drafts as table
from tests.unit.serving.keys import caller, with_keys
from tests.unit.serving.served import Server, running
from tests.unit.store.drafts import draft

SECRET = "secret"
_SAME = {"id": "drf_1", "created_at": datetime(2026, 1, 1, tzinfo=UTC), "confidence": 0.9}
_B64 = base64.b64encode(b"image").decode()
_TENSORS = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [_B64]}]}
_ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "cvat": ("/api/function_invocations", {"json": {"image": _B64}, "headers": {"x-nuclio-function-name": "model-finder"}}),
    "open_inference": ("/v2/models/finder/infer", {"json": _TENSORS}),
    "openai": ("/openai/v1/audio/transcriptions", {"files": {"file": ("a.wav", b'{"units": 2}')}}),
    "roboflow": ("/roboflow/infer/object_detection", {"json": {"model_id": "finder/1", "image": {"type": "base64", "value": _B64}}}),
    "x_anylabeling": ("/x-anylabeling/v1/predict", {"json": {"model": "finder", "image": _B64}}),
}


def _of_an_image(arm: str, route: str) -> Draft:
    box = {"id": "drf.0", "label": SECRET, "xyxy": [1.0, 2.0, 30.0, 40.0], "confidence": 0.9, "raw": {"score": 0.9}}
    payload = {"image_size": [64, 48], "route": route, "priority": 0.5, "labels": [box]}
    return draft(arm=arm, task="detection", payload=payload, **_SAME)


def _of_speech(arm: str, route: str) -> Draft:
    word = {"id": "drf.0", "text": SECRET, "start": 0.0, "end": 1.0, "confidence": 0.9}
    payload = {
        "language": "en",
        "duration": 1.0,
        "text": SECRET,
        "no_speech": False,
        "route": route,
        "priority": 0.5,
        "segments": [{"text": SECRET, "start": 0.0, "end": 1.0, "confidence": 0.9, "words": [word]}],
    }
    return draft(arm=arm, task="transcription", payload=payload, **_SAME)


def _rendered(arm: str, route: str) -> list[str]:
    """An image's and a recording's draft in every dialect."""
    seen, heard = _of_an_image(arm, route), _of_speech(arm, route)
    images: list[Any] = [shapes_of(seen, None), tensors("detection", [seen], []), predicted(seen, [SECRET], Filter()), drafted(seen, 0, ())]
    texts = [written(heard, Asked(b"", None, form, ("word", "segment"), False, ()))[0].decode() for form in get_args(Format)]
    streamed = written(heard, Asked(b"", None, "json", (), True, ()))[0].decode()
    return [*(json.dumps(one) for one in images), json.dumps(tensors("transcription", [heard], [])), *texts, streamed]


@pytest.mark.parametrize(("arm", "route"), [("withheld", "review"), ("withheld", "from_scratch"), ("assisted", "from_scratch")])
def test_what_is_not_to_be_seen_stands_in_no_dialect(arm: str, route: str) -> None:
    assert all(SECRET in one for one in _rendered("assisted", "review"))
    assert not [one for one in _rendered(arm, route) if SECRET in one or (arm == "withheld" and "0.9" in one)]


def test_no_dialect_shows_an_arm_or_what_is_raw() -> None:
    for arm in ("withheld", "honeypot", "twin", "assisted"):
        images = _rendered(arm, "review")[:5]
        assert not [one for one in images if any(word in one for word in ("withheld", "honeypot", "twin", "assisted", '"raw"', '\\"raw'))]
    assert _rendered("honeypot", "review") == _rendered("assisted", "review")


async def _asks(server: Server, name: str, key: Mapping[str, str]) -> httpx.Response:
    path, sent = _ASKED[name]
    headers = {**sent.get("headers", {}), **({"Token": key["Authorization"].partition(" ")[2]} if name == "x_anylabeling" else key)}
    return await server.client.post(path, **{**sent, "headers": headers})


async def test_each_counts_for_the_team_that_asks_and_takes_a_key_that_may_draft(folder: Path) -> None:
    async with running(with_keys(folder, teams={"items_per_minute": 1})) as server:
        await server.ready()
        for name in _ASKED:
            team = name.replace("_", "-")
            assert (await _asks(server, name, await caller(server, team, "review", "register"))).status_code == 403, name
            key = await caller(server, team, "draft")
            first, second = await _asks(server, name, key), await _asks(server, name, key)
            assert (first.status_code, second.status_code) == (200, 429), (name, first.text, second.text)
            assert int(second.headers["retry-after"]) > 0
            assert await server.services.store.read(sa.select(table.c.id).where(table.c.team == team)), name
