"""Files of a folder or of a zip archive by name, read one at a time: nothing is extracted, and no link is followed out."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from epsball.errors import BadFile

_LIMIT = 2**24  # bytes of one file


class Tree(Protocol):
    """Named files; names have forward slashes, from the root that holds the set."""

    @property
    def names(self) -> frozenset[str]:
        """Every file."""
        ...

    def read(self, name: str) -> bytes:
        """One file.

        Raises:
            BadFile: it is missing, damaged, or larger than any file of the set can be.
        """
        ...


@dataclass(frozen=True)
class FolderTree:
    """Files below a folder."""

    path: Path

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())

    def read(self, name: str) -> bytes:
        path = self.path / name
        try:
            if path.stat().st_size > _LIMIT:
                raise _oversized(str(path))
            return path.read_bytes()
        except OSError as error:
            raise BadFile(f"a file of the set cannot be read: {error.strerror}", where=str(path), fix=_AGAIN) from error


@dataclass(frozen=True)
class ZipTree:
    """Files of a zip archive below one of its folders.

    Attributes:
        path: the archive.
        root: the folder inside it, empty or with a slash at its end.
        file: the archive, open.
    """

    path: Path
    root: str
    file: zipfile.ZipFile

    @cached_property
    def names(self) -> frozenset[str]:
        start = len(self.root)
        return frozenset(name[start:] for name in self.file.namelist() if name.startswith(self.root) and not name.endswith("/"))

    def read(self, name: str) -> bytes:
        where = f"{self.path}: {self.root}{name}"
        try:
            member = self.file.getinfo(self.root + name)
            if member.file_size > _LIMIT:
                raise _oversized(where)
            return self.file.read(member)
        except (KeyError, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise BadFile(f"a file of the archive is missing or damaged: {error}", where=where, fix=_AGAIN) from error


_AGAIN = "use a whole copy of the set"


def open_tree(path: Path, mark: str) -> FolderTree | ZipTree:
    """The tree below the shallowest folder that holds the file `mark`, in a folder or a zip archive.

    Raises:
        BadFile: neither a folder nor a zip archive, or nothing of that name in it.
    """
    if path.is_dir():
        found = sorted((p.parent for p in (*path.glob(mark), *path.glob(f"*/{mark}"))), key=lambda p: len(p.parts))
        if not found:
            raise _unmarked(path, mark)
        return FolderTree(found[0])
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadFile(f"neither a folder nor a whole zip archive: {reason}", where=str(path), fix=_AGAIN) from error
    roots = sorted((name.removesuffix(mark) for name in file.namelist() if f"/{name}".endswith(f"/{mark}")), key=len)
    if not roots:
        raise _unmarked(path, mark)
    return ZipTree(path, roots[0], file)


def _unmarked(path: Path, mark: str) -> BadFile:
    return BadFile(f"no {mark} in it", where=str(path), fix="give the official archive, its folder, or a part in the same layout")


def _oversized(where: str) -> BadFile:
    return BadFile(f"more than {_LIMIT:,} bytes", where=where, fix=_AGAIN)
