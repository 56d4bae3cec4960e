"""timm classifiers that people have: a local checkpoint or an official name, written down as safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import httpx
import huggingface_hub
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from timm.data import infer_imagenet_subset, resolve_data_config
from timm.models import load_state_dict
from torch import Tensor, nn

from candor.errors import InvalidRequest, ModelUnavailable, UnsafeArtifact
from candor.families import Adopted
from models.families._budget import Budget
from models.families._image_labels import labels_of

WEIGHTS = "model.safetensors"
_CONFIG = ("crop_pct", "crop_mode", "interpolation", "mean", "std")
_FIXED = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "checkpoint_path", "cache_dir", "model_name"}
    | {"num_classes", "in_chans", "features_only", "scriptable", "exportable", "no_jit", "kwargs_filter"}
)
_PROBE_SECONDS = 10.0


def take_in(source: str, folder: Path, options: Mapping[str, Any]) -> Adopted:
    """Write a classifier's weights into `folder`.

    `source` is the path of a `.safetensors`, `.pth`, `.pt` or `.bin` file, or timm's name of a model on its hub
    (`resnet50.a1_in1k`). Options:

    - `architecture`: timm's name of the model that a local file is for. Needed there.
    - `labels`: `imagenet1k`, `coco80`, a text file or a list. Needed for a local file and for a model that is not on ImageNet-1k.
    - `size` ([width, height]), `crop_pct`, `crop_mode`, `interpolation`, `mean`, `std`: where they differ from timm's own.
    - `model_args`: further arguments of `timm.create_model`.

    Raises:
        UnsafeArtifact: the file would run code, or is another model's.
        ModelUnavailable: there is no such file, or the name can't be fetched.
        InvalidRequest: an option is wrong or missing.
    """
    if unknown := sorted(set(options) - {"architecture", "labels", "size", "model_args", *_CONFIG}):
        raise InvalidRequest(f"unknown options {', '.join(unknown)} of the family timm")
    path, arguments = Path(source).expanduser(), _arguments(options.get("model_args") or {})
    if path.is_file():
        name, network = _local(path, options, arguments)
    else:
        name, network = source, _official(source, arguments)
    described = _config(network, options)
    _try(name, network, described["size"])
    save_file({key: tensor.detach().clone().contiguous() for key, tensor in network.state_dict().items()}, folder / WEIGHTS)
    classes, labels = int(network.num_classes), options.get("labels")  # type: ignore[arg-type]
    if labels in (None, "from-model") and not path.is_file() and infer_imagenet_subset(network) == "imagenet-1k":
        labels = "imagenet1k"
    return Adopted(
        labels=labels_of(labels, classes),
        input={"architecture": name, **described, **({"model_args": arguments} if arguments else {})},
        licence="unknown" if path.is_file() else str(network.pretrained_cfg.get("license") or "unknown"),  # type: ignore[union-attr,operator]
    )


def _try(name: str, network: nn.Module, size: Sequence[int]) -> None:
    """Run one gray image.

    Raises:
        InvalidRequest: the network does not take images of this size, or gives no logits for them.
    """
    try:
        with torch.inference_mode():
            logits = network.eval()(torch.zeros(1, 3, size[1], size[0]))
    except (RuntimeError, AssertionError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidRequest(f"timm's {name} can't be run on images of {size[0]} x {size[1]}: {reason}. Set options.size") from error
    if not isinstance(logits, Tensor) or list(logits.shape) != [1, int(network.num_classes)]:  # type: ignore[arg-type]
        raise InvalidRequest(f"timm's {name} gives no logits for an image: it is no classifier")


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments of an architecture: only its measures, nothing that reads or fetches a file.

    Raises:
        InvalidRequest: one is not a plain value, or is not the operator's to give.
    """
    if wrong := sorted(_FIXED & given.keys()):
        raise InvalidRequest(f"options.model_args may not hold {', '.join(wrong)}: give the arguments of the architecture alone")
    for key, value in given.items():
        if not all(isinstance(one, str | int | float | bool) for one in (value if isinstance(value, list) else [value])):
            raise InvalidRequest(f"options.model_args.{key} is a number, a text, true, false, or a list of them, not {value!r}")
    return dict(given)


def _config(network: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Preprocessing: timm's for this model, with the operator's over it."""
    given = {key: options[key] for key in _CONFIG if key in options}
    if "size" in options:
        width, height = options["size"]
        given["input_size"] = (3, height, width)
    config = resolve_data_config(given, model=network)
    _, height, width = config["input_size"]
    values = {key: config[key] for key in _CONFIG}
    return {"size": [width, height], **values, "mean": list(values["mean"]), "std": list(values["std"])}


def _local(path: Path, options: Mapping[str, Any], arguments: dict[str, Any]) -> tuple[str, nn.Module]:
    name = options.get("architecture")
    if not name or not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name}*")[:5]) if name else ""
        raise InvalidRequest(
            f"set options.architecture to timm's name of the model that {path.name} is for, such as resnet50{f' or {near}' if near else ''}"
        )
    state = _state(path)
    classifier = _created(name, arguments, state).pretrained_cfg.get("classifier")
    last = state.get(f"{classifier}.weight") if isinstance(classifier, str) else None
    labels = options.get("labels")
    if labels in (None, "from-model"):
        raise InvalidRequest(f"set options.labels to the labels of {path.name}: `imagenet1k`, a file with one label a line, or a list")
    classes = len(last) if last is not None else len(labels_of(labels, None))
    network = _created(name, {**arguments, "num_classes": classes}, state)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UnsafeArtifact(f"{path.name} does not hold the weights of timm's {name}: {' '.join(str(error).split())[:300]}") from error
    return name, network


def _created(name: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor]) -> Any:
    try:
        with Budget(state.values()):
            return timm.create_model(name, pretrained=False, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidRequest(f"timm can't build {name} with options.model_args {dict(arguments)}: {reason}") from error


def _state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint; only tensors and plain values are let in."""
    try:
        state = load_state_dict(str(path), weights_only=True)
    except (UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError, AttributeError, TypeError) as error:
        if isinstance(error, UnpicklingError) or isinstance(error.__cause__, UnpicklingError):
            raise UnsafeArtifact(
                f"{path.name} is refused: it is no checkpoint of plain weights, and loading it could run code. Save the model's "
                "state_dict as .safetensors where it was trained"
            ) from error
        raise UnsafeArtifact(f"{path.name} is no checkpoint: {' '.join(str(error).split())[:200]}") from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UnsafeArtifact(f"{path.name} holds more than a model's weights")
    return dict(state)


def _official(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Fetch a model with timm's own code."""
    if not timm.is_model(name) or name.partition(".")[2] not in ("", *_tags(name)):
        base = name.partition(".")[0]
        near = ", ".join((timm.list_pretrained(f"{base}.*") or timm.list_pretrained(f"*{base}*"))[:5])
        raise ModelUnavailable(
            f"{name!r} is neither a file nor a pretrained model of timm{f' (near it: {near})' if near else ''}: correct the source"
        )
    hub = timm.get_pretrained_cfg(name).hf_hub_id
    unreachable = ModelUnavailable(
        f"the weights of {name} can't be fetched from the model hub: where it can't be reached, copy them to this machine and name them as "
        f"source `file:PATH`, with the options `architecture: {name.partition('.')[0]}` and `labels`"
    )
    if not _reachable() and not isinstance(huggingface_hub.try_to_load_from_cache(str(hub), WEIGHTS), str):
        raise unreachable  # at once: the hub's own client tries for most of a minute
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    except (OSError, RuntimeError, ValueError, httpx.HTTPError) as error:
        raise unreachable from error
    return network


def _tags(name: str) -> list[str]:
    """Tags of the pretrained weights of an architecture: `a1_in1k` of `resnet50.a1_in1k`."""
    base = name.partition(".")[0]
    return [found.partition(".")[2] for found in timm.list_pretrained(f"{base}.*")]


def _reachable() -> bool:
    try:
        httpx.head(huggingface_hub.constants.ENDPOINT, timeout=_PROBE_SECONDS)
    except (httpx.HTTPError, OSError):
        return False
    return True
