"""What README.md promises a newcomer, with its own commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import newcomer

DATA = newcomer.ROOT.parent / "shared" / "data"


@pytest.mark.skipif(
    not (DATA / "models" / "yolox_nano.onnx").is_file(), reason="needs the model and the labelled photos, which are not shipped"
)
def test_from_a_model_file_to_calibrated_drafts_by_readme_alone(tmp_path: Path) -> None:
    steps, drafts = newcomer.run(DATA, tmp_path)
    assert sum(step.seconds for step in steps[1:]) < newcomer.MOST, steps
    assert [draft["model_version"].partition("@")[0] for draft in drafts] == ["my-yolox"] * 4
    assert all(map(newcomer.honest, drafts)), drafts
    assert any(draft["labels"] for draft in drafts)
    for step in steps:
        print(f"{step.seconds:.1f} s  {step.command}")  # noqa: T201
