"""The written and the generated documents against what they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from candor.errors import CandorError
from scripts import generate_docs
from serving.config import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_readme_is_short_and_its_first_commands_are_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 200
    block = re.search(r"```sh\n(.*?)```", readme, flags=re.DOTALL)
    assert block is not None
    commands = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    assert commands == ["make demo", "make test"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert all(f" {command}" in ci for command in commands)


def test_commands_in_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, flags=re.MULTILINE))
        assert named <= targets, document


def test_each_chapter_has_one_picture() -> None:
    chapters = sorted((ROOT / "docs" / "architecture").glob("*.md"))
    assert [chapter.name[:2] for chapter in chapters] == [f"{n:02}" for n in range(1, len(chapters) + 1)]
    assert all(chapter.read_text(encoding="utf-8").count("```mermaid") == 1 for chapter in chapters)


def test_every_setting_is_in_the_reference() -> None:
    text = generate_docs.configuration()
    for section, field in Settings.model_fields.items():
        fields = getattr(field.annotation, "model_fields", {})
        assert all(f"| `{section}.{key}` |" in text and f"`CANDOR_{section.upper()}__{key.upper()}`" in text for key in fields)
    assert "(required)" in text
    assert "| `server.port` | integer, >= 1, <= 65535 | `8000` |" in text


def test_every_error_is_in_the_reference() -> None:
    text = generate_docs.errors()
    assert "| `overloaded` | 503 | yes |" in text
    assert all(f"| `{kind.code}` |" in text for kind in CandorError.__subclasses__() if kind.__module__ == "candor.errors")


def test_every_command_is_in_the_reference() -> None:
    text = generate_docs.cli()
    assert all(f"\n## candor {name}\n" in text for name in ("draft", "models list", "serve", "evaluate", "calibrate"))
    assert "| `--data` | path | (required) |" in text


# The API's document takes longest; `make check` compares it with what another process wrote.
@pytest.mark.parametrize("name", sorted(generate_docs.PAGES.keys() - {"openapi.json"}))
def test_pages_are_the_same_each_time(name: str) -> None:
    assert generate_docs.PAGES[name]() == generate_docs.PAGES[name]()


def test_check_names_a_stale_page_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_docs, "PAGES", {"page.md": lambda: "new\n"})
    (tmp_path / "page.md").write_text("old\n")
    assert generate_docs.main(["--check"], tmp_path) == 1
    told = capsys.readouterr().err
    assert "docs/reference/page.md is not what the code says" in told
    assert "-old\n+new\n" in told
    assert (tmp_path / "page.md").read_text() == "old\n"
    assert generate_docs.main([], tmp_path) == 0
    assert generate_docs.main(["--check"], tmp_path) == 0


def test_a_page_that_cant_be_made_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> str:
        raise ImportError("No module named 'serving.gone'")

    monkeypatch.setattr(generate_docs, "PAGES", {"page.md": missing, "other.md": lambda: "text\n"})
    assert generate_docs.main([], tmp_path) == 1
    assert "docs/reference/page.md: can't be made: No module named 'serving.gone'" in capsys.readouterr().err
    assert (tmp_path / "other.md").exists()
