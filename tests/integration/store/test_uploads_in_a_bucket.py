"""Uploads in parts whose parts lie in an object store: any server takes the next one, whatever it has listed before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from store import Blobs, Store
from store.uploads import PartialUploads
from tests.integration.store.test_object_store import objects, place, server, store  # noqa: F401 - fixtures

CONTENT = os.urandom(2**21 + 7)
SHA = hashlib.sha256(CONTENT).hexdigest()
PART = 2**20


async def test_parts_go_through_the_bucket(place: str, store: Store, tmp_path: Path) -> None:  # noqa: F811
    def gateway(number: int) -> PartialUploads:
        return PartialUploads(store, Blobs(place, store), place, tmp_path / str(number), PART)

    upload = (await gateway(0).create("a", len(CONTENT), SHA, 2**30)).id
    for number, offset in enumerate(range(0, len(CONTENT), PART)):
        assert len(objects(place)) == number
        now = await gateway(number).put_part(upload, "a", offset, CONTENT[offset : offset + PART])
    assert now.complete
    assert objects(place) == [SHA]
    assert await Blobs(place, store).get(upload, "a") == CONTENT


async def test_dropped_parts_leave_the_bucket(place: str, store: Store, tmp_path: Path) -> None:  # noqa: F811
    uploads = PartialUploads(store, Blobs(place, store), place, tmp_path, PART)
    upload = (await uploads.create("a", len(CONTENT), SHA, 2**30)).id
    await uploads.put_part(upload, "a", 0, CONTENT[:PART])
    assert len(objects(place)) == 1
    await uploads.drop(upload, "a")
    assert objects(place) == []
