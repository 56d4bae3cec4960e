"""What torch detectors have in common: the figures of their anchors, and the choice of candidates among them on the device."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from candor.errors import CandorError, Internal
from models.families._image_boxes import SLACK, Candidates, product_logit


class Raw(NamedTuple):
    """Single-precision figures of every anchor of a batch of images."""

    boxes: Tensor  # (n, anchors, 4) xyxy in pixels of the network's input
    classes: Tensor  # (n, anchors, classes) logits
    objectness: Tensor | None = None  # (n, anchors) logits; the score is then the product of the two sigmoids


def choose(raw: Raw, floor: float) -> list[Candidates | CandorError]:
    """Return each image's anchors whose best class scores about `floor` or more, with exact logits.

    An image whose figures are not finite gets an error instead.
    """
    with torch.inference_mode():
        best, index = raw.classes.max(-1)
        score = best.sigmoid() if raw.objectness is None else best.sigmoid() * raw.objectness.sigmoid()
        finite = score.isfinite().all(1).tolist()
        image, anchor = (score >= floor * SLACK).nonzero(as_tuple=True)
        chosen = image, anchor
        boxes = raw.boxes[chosen].double().cpu().numpy()
        logit = best[chosen].double().cpu().numpy()
        if raw.objectness is not None:
            logit = product_logit(raw.objectness[chosen].double().cpu().numpy(), logit)
        classes = index[chosen].cpu().numpy()
        counts = torch.bincount(image, minlength=len(finite)).cpu().numpy()
    ends = np.cumsum(counts)[:-1]
    parts = zip(np.split(boxes, ends), np.split(classes, ends), np.split(logit, ends), finite, strict=True)
    return [Candidates(*figures) if fine else Internal("the model gave no finite figures for this image") for *figures, fine in parts]
