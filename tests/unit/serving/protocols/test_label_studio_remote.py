"""A client of Label Studio: either kind of token, sent to its own host alone, and its own words where it refuses."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from candor.errors import InvalidRequest, MediaForbidden, MediaUnreachable, ToolError
from serving.media import Called, MediaFetcher
from serving.protocols.label_studio.people import People
from serving.protocols.label_studio.remote import LabelStudio, Remotes
from store.connections import Connection
from tests.unit.serving.protocols.label_studio_recorded import PEOPLE, TOKEN, FakeLabelStudio, tasks

PERSONAL = "eyJhbGciOi.eyJ0b2tlbl.c2lnbmF0dX"


class Host(MediaFetcher):
    """Answers with what is put in, and remembers what it was sent."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, str, str | None]] = []

    async def call(self, method: str, url: str, headers: Any, body: bytes | None = None, *, most: int | None = None) -> Called:
        self.sent.append((method, url, headers.get("Authorization")))
        if "http://10.0.0.1" in url:
            raise MediaForbidden("'10.0.0.1' leads to an address that is not public")
        status, answer = self.answers.pop(0)
        return Called(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), "https://elsewhere/")

    async def fetch(self, url: str, own: Any = None) -> bytes:
        self.sent.append(("GET", url, (own or {}).get("Authorization")))
        return b"bytes"


async def test_a_personal_token_is_traded_for_access_which_is_renewed() -> None:
    now = 0.0
    access = [(200, {"access": f"access{number}"}) for number in range(3)]
    host = Host(access[0], (200, {"id": 1}), (200, {"id": 2}), access[1], (200, {}), (401, {}), access[2], (200, {"id": 3}))
    remote = LabelStudio(host, "https://labels.example/", PERSONAL, lambda: now)
    assert [(await remote.user("1"))["id"], (await remote.user("2"))["id"]] == [1, 2]
    now = 241.0
    await remote.user("1")
    assert (await remote.user("3"))["id"] == 3  # though the access had been taken back
    assert [auth for *_, auth in host.sent if auth] == [f"Bearer access{number}" for number in (0, 0, 1, 1, 2)]
    assert all(PERSONAL not in str(sent) for sent in host.sent)


@pytest.mark.parametrize(
    ("status", "answer", "token", "told"),
    [
        (401, {"detail": "Invalid token."}, TOKEN, "Invalid token.: this legacy token .* personal access token under Account"),
        (401, {"detail": "no"}, None, "the connection has no token"),
        (400, {"detail": "Validation error", "validation_errors": {"title": ["too short"]}}, TOKEN, r"400 .*Validation error.*too short"),
        (301, b"", TOKEN, "redirects to 'https://elsewhere/'"),
        (502, b"<html>", TOKEN, "answered 502 .*no words"),
        (200, b"<html>", TOKEN, "is no Label Studio"),
        (200, [1], TOKEN, "is its version supported"),
    ],
)
async def test_a_refusal_is_told_in_its_own_words(status: int, answer: Any, token: str | None, told: str) -> None:
    with pytest.raises(ToolError, match=told) as raised:
        await LabelStudio(Host((status, answer)), "https://labels.example", token).user("1")
    assert TOKEN not in raised.value.detail
    assert raised.value.answered == (0 if status == 200 else status)


async def test_an_address_inside_says_what_to_set() -> None:
    with pytest.raises(MediaForbidden, match=r"not public; .* add '10.0.0.1' to `media.private_hosts`"):
        await LabelStudio(Host(), "http://10.0.0.1:8080", TOKEN).user("1")


async def test_only_its_own_host_gets_the_token() -> None:
    host = Host()
    remote = LabelStudio(host, "https://labels.example/tool", TOKEN)
    for url in (
        "/data/upload/1/a.png",
        "/tool/data/upload/1/a.png",
        "https://labels.example/x",
        "https://labels.example.evil/x",
        "http://labels.example/x",
        "https://labels.example:8443/x",
        "s3://bucket/a b.png",
    ):
        assert await remote.bytes_of(url, "7") == b"bytes"
    own = f"Token {TOKEN}"
    assert [(url.removeprefix("https://labels.example"), auth) for _, url, auth in host.sent] == [
        ("/tool/data/upload/1/a.png", own),
        ("/tool/data/upload/1/a.png", own),
        ("/x", own),
        (".evil/x", None),
        ("http://labels.example/x", None),
        (":8443/x", None),
        ("/tool/tasks/7/presign/?fileuri=czM6Ly9idWNrZXQvYSBiLnBuZw%3D%3D", own),
    ]
    for url in ("//evil/x", "file:///etc/passwd", "a.png", ""):
        with pytest.raises(InvalidRequest, match="neither an upload"):
            await remote.bytes_of(url, "7")
    with pytest.raises(InvalidRequest, match="by its task"):
        await remote.bytes_of("gs://bucket/a")


async def test_tasks_come_in_pages_that_skip_none() -> None:
    tool = FakeLabelStudio(tasks())
    tool.most = 2
    remote = LabelStudio(tool, "https://labels.example", TOKEN)
    assert [[task["id"] for task in page] async for page in remote.tasks_changed("2", None)] == [[4, 5], [6, 7], [8, 9], [10]]
    assert [[task["id"] for task in page] async for page in remote.tasks_changed("2", "2026-01-05T07:50:16.5")] == [[7, 8], [9]]
    assert [ids async for ids in remote.annotations("2")][2:] == [{"8": ["7"], "9": ["8"]}, {"10": []}]
    assert await remote.newest("2") == "2026-01-05T07:50:18.333451Z"
    assert "token" not in await remote.project("2")


async def test_people_are_named_once_an_hour_and_never_guessed() -> None:
    now = 0.0
    tool = FakeLabelStudio()
    people = People(Remotes(tool), lambda: now)
    of = cast(Connection, SimpleNamespace(id="con_1", url="https://labels.example", token=TOKEN))
    tool.down = True
    with pytest.raises(MediaUnreachable):
        await people.name(of, "1")
    tool.down = False
    with pytest.raises(MediaUnreachable):  # nor asked for a minute: what waits for an answer holds up the others
        await people.name(of, "1")
    now = 60.0
    assert [await people.name(of, user) for user in ("1", "2", "1", "9")] == [PEOPLE["1"], PEOPLE["2"], PEOPLE["1"], "user 9"]
    assert tool.told == [f"GET /api/users/{user}/" for user in (1, 2, 9)]
    tool.people["1"] = "other@example.org"
    now = 3661.0
    assert await people.name(of, "1") == "other@example.org"
    assert await people.name(cast(Connection, SimpleNamespace(id="con_2", url=None, token=None)), "1") == "user 1"


async def test_a_connection_keeps_its_access_until_address_or_token_change_and_is_asked_nothing_without_one() -> None:
    def of(url: str | None, token: str | None) -> Connection:
        return cast(Connection, SimpleNamespace(id="con_1", url=url, token=token))

    remotes = Remotes(Host())
    first = remotes.of(of("https://labels.example", TOKEN))
    assert first is not None
    assert remotes.with_token(of("https://labels.example", TOKEN)) is first
    assert remotes.of(of("https://labels.example", PERSONAL)) is not first
    assert remotes.of(of("https://labels.example", None)) is not None
    assert remotes.with_token(of("https://labels.example", None)) is None
    assert remotes.of(of(None, None)) is None
    assert await People(remotes).name(of("https://labels.example", None), "7") == "user 7"
