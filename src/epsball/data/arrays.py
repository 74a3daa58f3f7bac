"""Arrays by name in a file, `.npz` or `.pt`. Neither is read with pickle: an array of objects, or a class, is refused."""

from __future__ import annotations

import math
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from epsball.data import stored
from epsball.errors import BadConfig, BadData, BadFile, did_you_mean
from epsball.types import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LARGEST = 2**34  # bytes of all arrays together
SUFFIXES = (".pt", ".pth")
Keys = Mapping[str, str]  # what an array is -> what its file calls it
WHOLE = ("x", "y")  # inputs and labels that are not split yet
_SAME: Keys = {key: key for key in stored.KEYS}


def keys_of(text: str) -> Keys:
    """The keys of "x=images,y=labels", or of four of x_train, y_train, x_test, y_test; none: as they are.

    Raises:
        BadConfig: another form, an unknown name, or one that is missing.
    """
    if not text:
        return _SAME
    pairs = [part.split("=", 1) for part in text.split(",")]
    found = {pair[0].strip(): pair[-1].strip() for pair in pairs if len(pair) == 2}
    how = "give --keys x=NAME,y=NAME, or x_train=NAME,y_train=NAME,x_test=NAME,y_test=NAME"
    if len(found) < len(pairs) or set(found) not in (set(WHOLE), set(stored.KEYS)) or not all(found.values()):
        raise BadConfig(f"{text!r} does not name the arrays", where="--keys", fix=how)
    return found


def read(path: Path, keys: Keys = _SAME) -> dict[str, Tensor]:
    """The arrays of a file, by what they are.

    Raises:
        BadFile: missing, damaged, foreign or too large; an array is not there.
        BadData: an array of another kind of numbers.
    """
    if not path.is_file():
        raise BadFile(
            "no such file or folder", where=str(path), fix="give an .npz or .pt file, a folder of idx files or one of pictures"
        )
    found = _from_pt(path, keys) if path.suffix.lower() in SUFFIXES else _from_npz(path, keys)
    return {key: _tensor(array, key, str(path)) for key, array in found.items()}


def _present(names: Iterable[str], keys: Keys, path: Path, how: str) -> None:
    have = list(names)
    missing = [name for name in keys.values() if name not in have]
    if missing:
        hint = did_you_mean(missing[0], have)
        held = f"name them by --keys x=...,y=...: it holds {', '.join(have[:8]) or 'nothing'}"
        fix = "; ".join(filter(None, (hint, held, _saving(how))))
        raise BadFile(f"a{how} without {', '.join(missing)}", where=str(path), fix=fix)


def _saving(how: str) -> str:
    given = ", ".join(f"{k}={k}" for k in stored.KEYS)
    return f"save it with numpy.savez(path, {given})" if "npz" in how else f"save it with torch.save(dict({given}), path)"


def _from_npz(path: Path, keys: Keys) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise BadFile("not a whole .npz file", where=str(path), fix="save it with numpy.savez; give a folder for idx files")
    try:
        _declared(path, keys)
        with np.load(path, allow_pickle=False) as file:
            _present(file.files, keys, path, "n .npz file")
            return {key: np.asarray(file[name]) for key, name in keys.items()}
    except (ValueError, KeyError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise BadFile(
            f"not a whole .npz file of plain arrays: {error}", where=str(path), fix="save it with numpy.savez, without objects"
        ) from error


def _from_pt(path: Path, keys: Keys) -> dict[str, np.ndarray]:
    if path.stat().st_size > LARGEST:
        raise BadFile(f"a file of more than {LARGEST} bytes", where=str(path), fix="store fewer examples, or pictures as uint8")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadFile(
            "the file holds more than tensors: it was refused unread, for it could execute code",
            where=str(path),
            fix=_saving(".pt") + ", with tensors alone",
        ) from error
    except Exception as error:  # torch's reader raises whatever a damaged file leads it into
        raise BadFile(f"a damaged .pt file: {type(error).__name__}", where=str(path), fix="copy or save it again") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadFile("no tensors by name", where=str(path), fix=_saving(".pt"))
    _present(map(str, found), keys, path, " .pt file")
    wrong = next((name for name in keys.values() if found[name].layout != torch.strided or found[name].is_quantized), None)
    if wrong is not None:
        raise BadData(f"{wrong} is no plain tensor", where=str(path), fix="save tensor.to_dense(), without quantization")
    total = sum(found[name].numel() * found[name].element_size() for name in keys.values())
    if total > LARGEST:  # a tensor of stride 0 is larger than its file
        raise BadFile(f"tensors of {total} bytes, where at most {LARGEST} are read", where=str(path), fix="store fewer examples")
    return {key: _plain(found[name], name, str(path)) for key, name in keys.items()}


def _plain(tensor: Tensor, name: str, where: str) -> np.ndarray:
    found = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    try:
        return found.resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise BadData(f"{name} holds {tensor.dtype}", where=where, fix="store integers or floats") from error


def _declared(path: Path, keys: Keys) -> None:
    """Raise unless the arrays are as large as their headers say, and small enough to be read; nothing is unpacked to find out.

    Raises:
        BadFile: a header declares more than its data, or all of them more than is read.
    """
    total = 0
    with zipfile.ZipFile(path) as file:
        for member in (info for info in file.infolist() if info.filename.removesuffix(".npy") in keys.values()):
            with file.open(member) as raw:
                readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, _, dtype = readers[np.lib.format.read_magic(raw)](raw)
                size, header = math.prod(shape) * dtype.itemsize, raw.tell()
            total += size
            if size + header != member.file_size and not dtype.hasobject:
                raise BadFile(
                    f"{member.filename} declares {size} bytes of numbers and holds {member.file_size - header}",
                    where=str(path),
                    fix="save it again with numpy.savez",
                )
    if total > LARGEST:
        raise BadFile(
            f"an .npz file of {total} bytes unpacked, where at most {LARGEST} are read",
            where=str(path),
            fix="store fewer examples, or pictures as uint8",
        )


def _tensor(array: np.ndarray, key: str, where: str) -> Tensor:
    wanted = "iu" if key.startswith("y") else "f"
    if array.dtype.kind not in wanted and not (wanted == "f" and array.dtype == np.uint8):
        kinds = "integers" if wanted == "iu" else "uint8 (pictures) or floats"
        raise BadData(f"{key} holds {array.dtype}", where=where, fix=f"store {kinds}")
    dtype = np.int64 if wanted == "iu" else np.uint8 if array.dtype == np.uint8 else np.float32
    return torch.from_numpy(np.ascontiguousarray(array, dtype=dtype))
