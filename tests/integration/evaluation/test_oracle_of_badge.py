"""The badge's threshold and bounds against MAPIE's, which brings scikit-learn along and is slow to import."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.risk_control import BinaryClassificationController
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

from calibration.threshold import bounded_p, select_badge, thresholds
from tests.unit.calibration.test_threshold import drawn


@pytest.mark.filterwarnings("ignore:Fixed sequence testing requires a monotonic risk")  # of MAPIE, which looks at more than the order
@pytest.mark.parametrize(("seed", "n", "epsilon"), [(0, 500, 0.05), (1, 1000, 0.05), (2, 1000, 0.02), (3, 3000, 0.02)])
def test_mapies_controller_chooses_the_same_threshold(seed: int, n: int, epsilon: float) -> None:
    p, y = drawn(np.random.default_rng(seed), n)
    grid = np.array(list(thresholds(p, None, epsilon, 0.05)))
    controller = BinaryClassificationController(
        lambda x: np.column_stack([1 - x, x]),
        "precision",
        1 - epsilon,
        confidence_level=0.95,
        list_predict_params=grid,
        fwer_method="fixed_sequence",
    )
    controller.calibrate(p, y.astype(int))
    found, _ = select_badge(p, y, epsilon=epsilon)
    assert found is not None
    assert found.threshold == controller.best_predict_param == min(controller.valid_predict_params)


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.3])
def test_mapie_bounds_the_mean_of_losses_alike(epsilon: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        losses = rng.beta(0.05, 0.6, size=rng.integers(1, 300)) * (rng.random() < 0.9)
        mean, n = losses.mean(keepdims=True), len(losses)
        expected = min(1.0, float(compute_hoeffding_bentkus_p_value(mean, n, epsilon)[0, 0]))
        assert bounded_p(losses, epsilon) == pytest.approx(expected)
