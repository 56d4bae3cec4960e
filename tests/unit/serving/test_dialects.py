"""Other tools' addresses are told apart before any route is known, and no log shows a secret of theirs."""

from __future__ import annotations

import pytest

from serving.protocols import dialects
from serving.protocols.dialect import Dialect
from serving.protocols.dialects import dialect_of, told_path

_TOOL = Dialect("tool", ("/tool/", "/exactly"), secret_at=3)


@pytest.fixture(autouse=True)
def _one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialects, "DIALECTS", (_TOOL,))


def test_a_prefix_with_a_slash_stands_for_all_beneath_it() -> None:
    assert dialect_of("/tool/a/b") is _TOOL
    assert dialect_of("/exactly") is _TOOL
    assert dialect_of("/exactly/not") is None
    assert dialect_of("/v1/tool/a") is None


def test_a_log_shows_no_secret() -> None:
    assert told_path("/tool/project/s3cret/predict") == "/tool/project/…/predict"
    assert told_path("/tool/project/") == "/tool/project/"
    assert told_path("/v1/a/b/c") == "/v1/a/b/c"
