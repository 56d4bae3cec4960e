"""Records what OpenCV's Darknet importer makes of YOLOv3-tiny: the boxes of some pictures, before suppression.

OpenCV 5 can't read Darknet's files, so this runs in an environment of its own, once:

    pip install "opencv-python-headless<5"
    python record_opencv.py yolov3-tiny.cfg yolov3-tiny.weights PICTURES… > opencv_yolov3_tiny.json

Both files are those of the archive that `models/builtin/yolov3_tiny.py` pins. The pictures are lossless (PNG), so that no decoder
matters. Nothing of Candor is used.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIDE = 416
LEAST_SCORE = 0.01


def letterbox(image: Any) -> tuple[Any, float, float, int, int]:
    """Scale to fit and fill with gray, in the middle; return the frame, the scales and the offsets."""
    height, width = image.shape[:2]
    scale = min(SIDE / height, SIDE / width)
    inner = round(width * scale), round(height * scale)
    left, top = round((SIDE - inner[0]) / 2 - 0.1), round((SIDE - inner[1]) / 2 - 0.1)
    frame = np.full((SIDE, SIDE, 3), 114, np.uint8)
    frame[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return frame, inner[0] / width, inner[1] / height, left, top


def record(network: Any, path: Path) -> dict[str, Any]:
    """Return every anchor whose best class scores at least LEAST_SCORE, in pixels of the picture, unclipped."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    frame, scale_x, scale_y, left, top = letterbox(image)
    network.setInput(cv2.dnn.blobFromImage(frame, 1 / 255, swapRB=True))
    rows = np.concatenate(network.forward(network.getUnconnectedOutLayersNames())).astype(np.float64)
    classes, scores = rows[:, 5:].argmax(1), rows[:, 5:].max(1)
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1) * SIDE
    boxes = (boxes - [left, top, left, top]) / [scale_x, scale_y, scale_x, scale_y]
    kept = np.flatnonzero(scores >= LEAST_SCORE)
    return {
        "xyxy": boxes[kept].round(5).tolist(),
        "class_index": classes[kept].tolist(),
        "score": scores[kept].round(7).tolist(),
    }


def main() -> None:
    """Write the record to standard output."""
    config, weights, *pictures = sys.argv[1:]
    text = Path(config).read_text()
    # OpenCV sets scores below a head's threshold to zero, at 0.2 unless the network says otherwise.
    network = cv2.dnn.readNetFromDarknet(  # type: ignore[attr-defined] # OpenCV 4 only
        np.frombuffer(text.replace("[yolo]", "[yolo]\nthresh=0.001").encode(), np.uint8), np.fromfile(weights, np.uint8)
    )
    network.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    found = {Path(path).name: record(network, Path(path)) for path in pictures}
    json.dump({"opencv": cv2.__version__, "least_score": LEAST_SCORE, "pictures": found}, sys.stdout)


if __name__ == "__main__":
    main()
