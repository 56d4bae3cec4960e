"""Pickles that would run something: none of them ever does, whatever they lie in, and whichever family they are sent to."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from candor.errors import UnsafeArtifact
from candor.families import get_family
from tests.hostile import good, pickles
from tests.integration.validation.trying import examined, refused

READERS = ("timm", "whisper", "ultralytics")
ALL = {**pickles.LIVE, **pickles.OTHERS}
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # torch, of those it did not write


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def settled(marker: Path) -> bool:
    """Whether the marker is there, or comes within a moment: some would start a process that makes it."""
    time.sleep(0.02)
    return marker.exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("gadget", pickles.LIVE)
def test_the_gadgets_are_live(gadget: str, marker: Path) -> None:
    """Unpickled by a reader that trusts them they run: what the other tests show is not that they are broken."""
    with suppress(TypeError, AttributeError):  # after it ran
        pickle.loads(pickles.LIVE[gadget](str(marker)))  # noqa: S301 - it makes an empty file
    for _ in range(100):
        if marker.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{gadget} does nothing")


@pytest.mark.parametrize("container", pickles.CONTAINERS)
@pytest.mark.parametrize("gadget", ALL)
def test_none_runs_by_way_of_a_validation(gadget: str, container: str, marker: Path, tmp_path: Path) -> None:
    path = pickles.CONTAINERS[container](tmp_path / "model.pt", ALL[gadget](str(marker)))
    for family in (*READERS, "onnx"):
        assert "model.pt" in refused(examined(path, family, tmp_path / family))
    assert not settled(marker), f"{gadget} in {container} ran"


@pytest.mark.parametrize("container", ["raw", "zip", "legacy", "second-data", "zip-behind"])
@pytest.mark.parametrize("gadget", ALL)
def test_none_runs_where_the_scanner_is_passed_over(gadget: str, container: str, marker: Path, tmp_path: Path) -> None:
    """The scanner is a second opinion: the families' own readers run nothing either."""
    path = pickles.CONTAINERS[container](tmp_path / "model.pt", ALL[gadget](str(marker)))
    for family in READERS:
        adopted = tmp_path / family
        adopted.mkdir()
        options = {"architecture": good.ARCHITECTURE, "labels": good.LABELS} if family == "timm" else {}
        with pytest.raises(UnsafeArtifact):
            get_family(family).adopt(str(path), adopted, options)
    assert not settled(marker), f"{gadget} in {container} ran"


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".bin", ".pth", ".pkl", ""])
def test_a_name_changes_nothing(suffix: str, marker: Path, tmp_path: Path) -> None:
    for number, container in enumerate((pickles.raw, pickles.torch_zip)):
        path = container(tmp_path / f"model{number}{suffix}", pickles.LIVE["os.system"](str(marker)))
        for family in (*READERS, "onnx"):
            refused(examined(path, family, tmp_path / family))
            assert not settled(marker)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(8)
        made.settimeout(0.2)
        yield made


@pytest.mark.parametrize("container", ["raw", "zip", "legacy"])
def test_none_reaches_the_network(container: str, listener: socket.socket, tmp_path: Path) -> None:
    payload = pickles.SOCKET(str(listener.getsockname()[1]))
    path = pickles.CONTAINERS[container](tmp_path / "model.pt", payload)
    for family in READERS:
        refused(examined(path, family, tmp_path / family))
    with pytest.raises(TimeoutError):
        listener.accept()
    pickle.loads(payload).close()  # noqa: S301 - a reader that trusts it connects
    listener.accept()[0].close()


def test_the_scanners_findings_are_in_the_report(marker: Path, tmp_path: Path) -> None:
    path = pickles.torch_zip(tmp_path / "model.pt", pickles.LIVE["partial"](str(marker)))
    found = examined(path, "timm", tmp_path / "there")
    assert found["scan"] == {
        "format": "zip",
        "scanner": "picklescan",
        "globals": ["functools partial", "os system"],
        "dangerous": ["functools partial", "os system"],
    }
    assert "ONNX" in refused(found)


ACTIVATIONS = ["__import__('os').system('touch {}')", "torch.nn.SiLU(__import__('os').system('touch {}'))", "torch.load('{}')"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_description_of_layers_is_no_code(activation: str, marker: Path, tmp_path: Path) -> None:
    """Ultralytics evaluates the name of an activation in its description."""
    path = good.ultralytics_checkpoint(tmp_path / "model.pt", activation=activation.format(marker))
    assert "activation" in refused(examined(path, "ultralytics", tmp_path / "there"))
    assert not settled(marker)


@pytest.mark.parametrize(
    "layer", ["torch.hub.load", "nn.Module.register_module", "os", "eval", "TorchVision", "nn.modules.module.os.system"]
)
def test_a_description_names_layers_only(layer: str, tmp_path: Path) -> None:
    backbone = [[-1, 1, layer, ["x"]], [-1, 1, "Conv", [16, 3, 2]]]
    path = good.ultralytics_checkpoint(tmp_path / "model.pt", backbone=backbone)
    assert "no layer" in refused(examined(path, "ultralytics", tmp_path / "there"))
