"""What a file of a network is, by its bytes and the names inside it. Nothing of it is run, and no pickle is opened."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from epsball.errors import BadFile

if TYPE_CHECKING:
    from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
_KERAS = "export it where Keras runs, model.export('net.onnx', format='onnx'), and give net.onnx"
_ARCHIVES = (  # names that stand in one kind of zip alone, what that is, and what to do
    (
        ("archive_format", "serialized_exported_program.json"),
        "a program of torch.export (.pt2): torch's reader of it unpickles, so that the file could execute code",
        "where you trust it, name a Python file: net.py:make, with def make(): return torch.export.load('net.pt2').module()",
    ),
    (
        ("constants.pkl",),
        "a TorchScript archive: it holds a program, which this package does not run",
        "where you trust it, save its weights, torch.save(torch.jit.load(path).state_dict(), 'w.pt'), and give it with --arch NAME",
    ),
    (("model.weights.h5",), "a Keras model", _KERAS),
)


def refuse_foreign(path: Path) -> None:
    """Raise for a file or folder of a known kind that this package does not read; return for any other.

    Raises:
        BadFile: TorchScript, torch.export, Keras, TensorFlow or arrays of numpy; the message says which, and what to do.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            raise BadFile("a TensorFlow SavedModel", where=str(path), fix="export it to ONNX with tf2onnx, and give the .onnx file")
        return
    found = _kind(path)
    if found is not None:
        what, fix = found
        raise BadFile(what, where=str(path), fix=fix)


def _kind(path: Path) -> tuple[str, str] | None:
    try:
        with path.open("rb") as file:
            if file.read(len(_HDF5)) == _HDF5:
                return "a Keras or HDF5 file", _KERAS
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return None  # whoever reads it says what is wrong with it
    inside = {name.partition("/")[2] or name for name in names}
    for marks, what, fix in _ARCHIVES:
        if inside.intersection(marks):
            return what, fix
    if names and all(name.endswith(".npy") for name in names):
        return "arrays of numpy: data, and no network", "give a network; `epsball data add NAME PATH` adds arrays as data"
    return None
