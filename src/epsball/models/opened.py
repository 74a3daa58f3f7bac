"""A network from any file this package reads: its own checkpoints and run folders, ONNX files, others' weights, Python files.

What a file does not say is never guessed: in which order it takes the pixels of a picture, how its inputs were normalised, and
what architecture its weights are of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

from epsball.errors import BadConfig, BadShape, did_you_mean
from epsball.graph.onnx import is_onnx, load_onnx
from epsball.models.adapters import ChannelsLast
from epsball.models.base import Normalise
from epsball.models.foreign import arch_name, load_weights
from epsball.models.program import made_by
from epsball.models.recognised import refuse_foreign
from epsball.models.store import FILE, load_model
from epsball.storage import read_description

if TYPE_CHECKING:
    from epsball.graph.graph import Shape

Layout = Literal["nchw", "nhwc"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_WEIGHTS = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar", ".safetensors")
_FILES = (
    "give a run folder, a .safetensors checkpoint, an .onnx file, weights (.pt, .pth, .safetensors) with --arch, or model.py:make"
)
_HOW = "say how the file reads a picture: nchw (channels first, as data sets store them) or nhwc (channels last)"


@dataclass(frozen=True)
class Reading:
    """What a file of a network does not say.

    Attributes:
        layout: the order in which an ONNX file takes the pixels of a picture: "nchw" or "nhwc"; inputs stay (C, H, W). None: the
            shapes alone must leave no choice.
        mean: of the inputs it was trained on, one number a channel or one for all; None: it takes inputs as they are.
        std: likewise.
        threshold: of a network with one output: class 1 is above it.
        arch: what a file of weights alone is of: a registered model and its options, such as "mlp:hidden=[20,20]".
        shape: of one input, where neither the file nor the data say it.

    Raises:
        BadConfig: an unknown layout, or a mean without a deviation.
    """

    layout: Layout | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    threshold: float = 0.0
    arch: str | None = None
    shape: Shape | None = None

    def __post_init__(self) -> None:
        if self.layout is not None and self.layout not in LAYOUTS:
            fix = did_you_mean(self.layout, LAYOUTS) or f"use {' or '.join(LAYOUTS)}"
            raise BadConfig(f"unknown layout {self.layout!r}", where="layout", fix=fix)
        if (self.mean is None) != (self.std is None):
            raise BadConfig("a mean without a deviation, or the reverse", where="mean, std", fix="give both or neither")

    def given(self) -> dict[str, Any]:
        """What was said, for the record; nothing for a file read as it is."""
        said = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, (v, default) in said.items() if v != default}


def open_model(path: Path, data_shape: Shape | None = None, reading: Reading | None = None) -> tuple[nn.Module, Shape]:
    """A network in evaluation mode on the CPU, and the shape of one of its inputs.

    Args:
        path: a run folder, a .safetensors checkpoint, an .onnx or .onnx.gz file; a .pt, .pth or .safetensors file of weights, for
            an `arch`, `file.pth:1` where it holds a list of several; or `model.py:make`, a function that is run.
        data_shape: of the inputs it will be given. An ONNX file that declares another shape with as many elements takes them where
            only one order is usual (axes of size 1, pictures of one channel declared flat), or in the order of the layout.
        reading: what the file does not say. None: it says all.

    Raises:
        BadFile: missing, truncated, foreign or malformed.
        BadShape: the file can be read in two orders, or not in the layout's.
        BadConfig: a layout, an architecture or a normalisation that is missing or has no place.
        UnsupportedOp: an ONNX operator that is not covered.
        MissingExtra: onnx is not installed.
    """
    reading = reading or Reading()
    data_shape = data_shape or reading.shape
    file, part = _parted(path)
    if reading.layout is not None and not is_onnx(file):
        raise BadConfig("a layout is of ONNX files: this network takes (C, H, W)", where=str(path), fix="leave it out")
    if is_onnx(file):
        _says_its_own(path, reading)
        network = load_onnx(file)
        module, shape = _laid_out(network, network.input_shape, data_shape, reading.layout, str(path))
    elif file.suffix == ".py":
        _says_its_own(path, reading)
        module, shape = made_by(file, part), _known(data_shape, path)
    elif _is_ours(file, reading):
        _says_its_own(path, reading)
        module, architecture, _ = load_model(file)
        shape = architecture.input_shape
        if reading.shape not in (None, shape):
            raise BadShape(f"this checkpoint takes inputs {shape}, not {reading.shape}", where=str(path), fix="leave shape out")
        if reading.mean is not None and architecture.mean is not None:
            raise BadConfig("this checkpoint normalises its inputs itself", where=str(path), fix="leave mean and std out")
    else:
        refuse_foreign(file)
        if reading.arch is None and file.is_file():
            what = "weights without their architecture" if file.suffix in _WEIGHTS else "not a network that this package reads"
            fix = "say --arch NAME, in Python arch='NAME': cnn-small, mlp:hidden=[20,20], ...; see: epsball list models"
            raise BadConfig(what, where=str(path), fix=fix if file.suffix in _WEIGHTS else _FILES)
        shape = _known(data_shape, path) if file.is_file() else ()
        module = load_weights(file, part, reading.arch or "", shape)
    if reading.mean is None or reading.std is None:
        return module, shape
    like = next((p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), None)
    layer = Normalise(reading.mean, reading.std, shape)
    return nn.Sequential(layer if like is None else layer.to(like.dtype), module).eval(), shape


def architecture_of(model: Path, reading: Reading) -> str:
    """The name of a network's architecture: a checkpoint of this package gives it, or the reading; "" for any other file."""
    if reading.arch is not None:
        return arch_name(reading.arch)
    found = read_description(model / FILE if model.is_dir() else model)
    described = found.get("architecture") if isinstance(found, Mapping) else None
    return str(described.get("name", "")) if isinstance(described, Mapping) else ""


def _parted(path: Path) -> tuple[Path, str | None]:
    """A file, and the part of it that is named behind a colon."""
    name, colon, part = path.name.rpartition(":")
    return (path.with_name(name), part) if colon and name and not path.exists() else (path, None)


def _is_ours(file: Path, reading: Reading) -> bool:
    """Whether a path is a run folder, a checkpoint of this package, or nothing that could be another kind."""
    if file.suffix == ".safetensors":
        return reading.arch is None or read_description(file) is not None
    return (file.is_dir() and not (file / "saved_model.pb").exists()) or (not file.exists() and file.suffix not in _WEIGHTS)


def _says_its_own(path: Path, reading: Reading) -> None:
    if reading.arch is not None:
        raise BadConfig(
            "an architecture is of files of weights alone: this one says its own", where=str(path), fix="leave arch out"
        )


def _known(shape: Shape | None, path: Path) -> Shape:
    if shape is None:
        raise BadConfig("the file does not say what an input looks like", where=str(path), fix="give shape=(1, 28, 28)")
    return tuple(shape)


def _laid_out(
    network: nn.Module, declared: Shape, data: Shape | None, layout: Layout | None, where: str
) -> tuple[nn.Module, Shape]:
    """The network behind a permutation where its pictures have their channels last, and the shape of one input."""
    if data is None:
        if layout is not None and len(declared) != 3:
            raise BadShape(
                f"the file declares inputs {declared}: how high and wide a picture is cannot be told",
                where=where,
                fix="leave the layout out, or read it with `epsball.graph.onnx.load_onnx(path, input_shape=...)`",
            )
        data = declared if layout != "nhwc" else (declared[2], *declared[:2])
    if math.prod(data) != math.prod(declared):
        return network, declared  # whoever puts inputs beside it says what does not fit
    if layout is None:
        if _alike(data, declared):
            return network, tuple(data)
        raise BadShape(
            f"the file declares inputs {declared}, the data have {tuple(data)}", where=where, fix=f"{_HOW}: --layout nhwc"
        )
    if layout == "nhwc" and len(data) != 3:
        raise BadShape(f"inputs {tuple(data)} have no channels to put last", where=where, fix="leave the layout out")
    ordered = (*data[1:], data[0]) if layout == "nhwc" else tuple(data)
    if not _merges(ordered, declared):
        raise BadShape(
            f"the file declares inputs {declared}, and in the layout {layout} the data have {ordered}", where=where, fix=_HOW
        )
    return (network if layout == "nchw" else nn.Sequential(ChannelsLast(), network).eval()), tuple(data)


def _alike(a: Shape, b: Shape) -> bool:
    """Whether only one order is usual: the same axes beside those of size 1, or at most two of them that the other has merged."""
    a, b = (tuple(n for n in shape if n != 1) for shape in (a, b))
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    return a == b or (len(longer) <= 2 and _merges(longer, shorter))


def _merges(axes: Shape, merged: Shape) -> bool:
    """Whether the second shape has neighbouring axes of the first one as one axis each."""
    ends = [math.prod(axes[:i]) for i in range(len(axes) + 1)]
    return all(math.prod(merged[:i]) in ends for i in range(len(merged) + 1)) and math.prod(axes) == math.prod(merged)
