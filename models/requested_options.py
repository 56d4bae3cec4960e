"""What each built-in family may be told about a model that somebody registers: its options, checked before its file is looked at.

`input` and `output` are the parts of `options` that later stand under the same names in the version's manifest; a manifest may give an
option in its part or in `options`. docs/models.md explains them at length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from candor.predictions import Task

MAX_SIDE = 4096
_Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Size: TypeAlias = Annotated[list[_Side], Field(min_length=2, max_length=2)]
_Mean: TypeAlias = Annotated[list[Annotated[float, Field(ge=-1e4, le=1e4)]], Field(min_length=3, max_length=3)]
_Std: TypeAlias = Annotated[list[Annotated[float, Field(gt=0, le=1e4)]], Field(min_length=3, max_length=3)]
_Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
_Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

KEEPS_NULL = frozenset({"nms_iou"})  # everything else that is null is as good as left out

SIZE = "[width, height] of the network's input, in pixels."
CROP_PCT = "Share of the resized image that the crop keeps."


class Part(BaseModel):
    """Base of the parts: no unknown keys, no conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Nothing(Part):
    """A part that the family has no options for."""


class Boxes(Part):
    """What every detector may be told of its boxes."""

    score_floor: float | None = Field(None, ge=1e-6, lt=1, description="Boxes that score less are dropped. Default 0.01.")
    nms_iou: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Overlap above which the lower of two boxes of a class is dropped; null where the model does that itself.",
    )
    max_boxes: int | None = Field(None, ge=1, le=10_000, description="Most boxes of one image. Default 300.")


class OnnxInput(Part):
    """How an image becomes the network's input."""

    size: Size | None = Field(None, description=f"{SIZE} Needed where the file takes images of any size.")
    layout: Literal["letterbox", "letterbox-corner", "stretch", "crop"] | None = Field(
        None,
        description="How an image is fitted: scaled with gray around it (in the middle, or the upper left corner), stretched, or cropped.",
    )
    channels: Literal["rgb", "bgr"] | None = Field(None, description="Order of the colours. Default rgb; bgr for YOLOX.")
    scale: float | None = Field(None, gt=0, le=1e6, description="The network sees (pixel / scale - mean) / std. Default 255.")
    mean: _Mean | None = Field(None, description="Of each channel, after the scale. Default: ImageNet's for classifiers, else 0.")
    std: _Std | None = Field(None, description="Of each channel, after the scale. Default: ImageNet's for classifiers, else 1.")
    crop_pct: _Share | None = Field(None, description=f"{CROP_PCT} Default 0.875.")
    crop_mode: Literal["center", "squash"] | None = Field(
        None, description="`center` scales the shorter side, `squash` both. Default center."
    )
    interpolation: Interpolation | None = Field(None, description="Of `crop`. Default bicubic.")


class OnnxOutput(Boxes):
    """What the network's outputs mean; whatever is left out is read off the file, or asked for where it can't be told."""

    head: (
        Literal["ultralytics", "ultralytics-transposed", "ultralytics-end2end", "yolox", "yolov5", "detr", "logits", "probabilities"] | None
    ) = Field(None, description="The kind of output: one of six kinds of detectors, or a classifier's `logits` or `probabilities`.")
    activation: Literal["none", "sigmoid", "softmax"] | None = Field(
        None, description="What makes the head's class figures probabilities: `none` where the file has done it. Heads of detectors only."
    )
    logits: _Name | None = Field(None, description="Name of the output with the class figures, of the head detr.")
    boxes: _Name | None = Field(None, description="Name of the output with the boxes, of the head detr.")
    name: _Name | None = Field(None, description="Name of the output that counts, where the file has several and the head takes one.")
    normalised: bool | None = Field(None, description="Whether boxes are in shares of the input's sides, not in its pixels.")


class OnnxOptions(OnnxInput, OnnxOutput):
    """Options of the family onnx."""


class UltralyticsInput(Part):
    """How an image becomes the network's input."""

    size: Annotated[int, Field(ge=32, le=MAX_SIDE)] | Size | None = Field(
        None, description=f"{SIZE} Multiples of 32; one number for a square. Default: what the model was trained at."
    )


class UltralyticsOptions(UltralyticsInput, Boxes):
    """Options of the family ultralytics."""


class TimmInput(Part):
    """How an image becomes the network's input. What is left out is timm's own for the architecture."""

    architecture: _Name | None = Field(None, description="timm's name of the model that the file is for, such as `resnet50`. Needed.")
    size: Size | None = Field(None, description="[width, height] of the crop.")
    crop_pct: _Share | None = Field(None, description=CROP_PCT)
    crop_mode: Literal["center", "squash", "border"] | None = Field(None, description="As in timm.")
    interpolation: Interpolation | None = Field(None, description="As in timm.")
    mean: _Mean | None = Field(None, description="Of each channel of an image of 0 to 1.")
    std: _Std | None = Field(None, description="Of each channel of an image of 0 to 1.")
    model_args: dict[str, Any] | None = Field(None, description="Further arguments of `timm.create_model`.")


class TimmOptions(TimmInput):
    """Options of the family timm."""


_Head = Annotated[list[Annotated[int, Field(ge=0, le=1000)]], Field(min_length=2, max_length=2)]


class WhisperInput(Part):
    """What the model is told of the speech."""

    language: Annotated[str, Field(min_length=2, max_length=8)] | None = Field(
        None, description="Code of the language that is spoken, such as `en`. Left out, a multilingual model detects it."
    )


class WhisperOptions(WhisperInput):
    """Options of the family whisper."""

    size: _Name | None = Field(None, description="The official size that the file descends from: its attention heads time the words.")
    alignment_heads: Annotated[list[_Head], Field(min_length=1, max_length=1000)] | None = Field(
        None, description="Those heads themselves, as [layer, head] pairs."
    )
    dims: dict[str, int] | None = Field(None, description="The dimensions, for a .safetensors file whose heads are not 64 wide.")


@dataclass(frozen=True, slots=True)
class FamilyOptions:
    """What a manifest may say for one family, by its part."""

    tasks: tuple[Task, ...]
    input: type[Part]
    output: type[Part]
    options: type[Part]

    @property
    def parts(self) -> Mapping[str, type[Part]]:
        """The parts by the name of their field."""
        return {"input": self.input, "output": self.output, "options": self.options}


FAMILIES: Mapping[str, FamilyOptions] = {
    "onnx": FamilyOptions(("detection", "classification"), OnnxInput, OnnxOutput, OnnxOptions),
    "ultralytics": FamilyOptions(("detection",), UltralyticsInput, Boxes, UltralyticsOptions),
    "timm": FamilyOptions(("classification",), TimmInput, Nothing, TimmOptions),
    "whisper": FamilyOptions(("transcription",), WhisperInput, Nothing, WhisperOptions),
}
