"""What torch image models have in common: batches, threads, figures that are not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from candor.errors import Internal, ModelUnavailable
from candor.families import Device
from models.families._device import best_device, bucket, torch_dtype
from models.families._image_boxes import Candidates
from models.families._image_run import ImageRunner
from models.families._yolo_run import Raw, choose


class Means(nn.Module):
    """Gives the mean of each image, and remembers the sizes of batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        self.seen.append(len(images))
        return images.float().mean((1, 2, 3))[:, None] * self.weight, None


def images(count: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return [np.full((4, 6, 3), value, np.uint8) for value in range(count)]


def test_a_batch_is_run_whole_with_its_threads_and_in_order() -> None:
    network = Means()
    runner = ImageRunner(network, Device(threads=1, max_batch=8))
    torch.set_num_threads(2)
    means, nothing = runner.run(images(5))
    assert means[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert nothing is None
    assert network.seen == [5]
    assert torch.get_num_threads() == 1
    assert (runner.memory(), runner.sizes()) == (4, [1])


def test_compiled_batches_are_padded_to_buckets_and_cut_again() -> None:
    network = Means()
    runner = ImageRunner(network, Device(max_batch=12))
    runner._buckets = True  # as on a GPU with `compile`
    assert runner.sizes() == [1, 2, 4, 8, 12]
    for count in (1, 3, 9, 13):
        (means, _) = runner.run(images(count))
        assert means[:, 0].tolist() == list(range(count))
    assert network.seen == [1, 4, 12, 13]
    assert [bucket(size, 12) for size in (1, 2, 3, 5, 8, 9, 12)] == [1, 2, 4, 8, 8, 12, 12]


def test_a_model_that_gives_nan_in_its_arithmetic_does_not_start() -> None:
    network = Means()
    network.weight.data.fill_(float("nan"))
    with pytest.raises(ModelUnavailable, match="float32"):
        ImageRunner(network, Device()).warmup((8, 8))


def test_an_image_without_finite_figures_fails_alone() -> None:
    classes = torch.full((3, 2, 4), -9.0)
    classes[0, 1, 2] = 1.0
    classes[1, 0, 0] = float("nan")
    first, second, third = choose(Raw(torch.zeros(3, 2, 4), classes), 0.01)
    assert isinstance(first, Candidates)
    assert (first.class_index.tolist(), first.logit.tolist()) == ([2], [1.0])
    assert isinstance(second, Internal)
    assert isinstance(third, Candidates)
    assert len(third.logit) == 0


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert best_device() == "cpu"
    assert torch_dtype(Device(dtype="float16")) == torch.float32
    with pytest.raises(ModelUnavailable, match="sees no GPU"):
        ImageRunner(Means(), Device(name="cuda:0"))
