"""Records from their header to their last line: begun, gone on with, cut short, or not written at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from epsball.errors import BadConfig, BadFile
from epsball.record.continued import BATCH, batches, continued, going_on
from epsball.record.folder import RunFolder
from epsball.record.heading import Heading, Identity
from epsball.record.journal import Raw, read
from epsball.record.lines import DoneLine, InstanceLine, LayerLine, Line, SummaryLine

HEADING = Heading("bounds", {"steps": 3}, Identity("a", "b", "c", "float32"), 0, "cpu", "float32")
LAYERS = [LayerLine(name=name, method="ibp", neurons=3) for name in "ab"]


def _lines(folder: Path) -> list[Raw]:
    return read(folder / "record.jsonl")


def _types(folder: Path) -> list[str]:
    return [line["type"] for line in _lines(folder)]


def test_header_lines_and_done(tmp_path):
    with continued(tmp_path / "r", HEADING) as record:
        record.append(*LAYERS)
        record.append(SummaryLine(verb="bounds"))
        assert len(_lines(tmp_path / "r")) == 4  # what was appended is there before the end
        assert record.of(LayerLine) == LAYERS
        assert record.of(InstanceLine) == []
    assert _types(tmp_path / "r") == ["header", "layer", "layer", "summary", "done"]
    header, first, *_ = _lines(tmp_path / "r")
    assert header["config"]["steps"] == 3
    assert header["verb"] == "bounds"
    assert first == {"type": "layer", "name": "a", "method": "ibp", "neurons": 3}


def _fail(folder: Path) -> None:
    with continued(folder, HEADING) as record:
        record.append(LAYERS[0])
        raise KeyboardInterrupt


def test_a_run_that_failed_keeps_its_lines_and_is_not_done(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _fail(tmp_path / "r")
    assert _types(tmp_path / "r") == ["header", "layer"]
    with pytest.raises(BadConfig, match="holds a run already"), continued(tmp_path / "r", HEADING):
        pass


def test_a_run_that_is_gone_on_with_knows_its_lines_and_has_one_header(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _fail(tmp_path / "r")
    with continued(tmp_path / "r", HEADING, resume=True) as record:
        assert record.lines == LAYERS[:1]
        record.append(LAYERS[1])
        assert record.lines == LAYERS
    assert _types(tmp_path / "r") == ["header", "layer", "layer", "done"]


def test_another_run_is_refused_and_left_as_it_is(tmp_path):
    with continued(tmp_path / "r", HEADING):
        pass
    held = (tmp_path / "r" / "record.jsonl").read_bytes()
    other = replace(HEADING, config={"steps": 4})
    with pytest.raises(BadConfig, match="steps = 3 there and 4 here"), continued(tmp_path / "r", other, resume=True):
        pass
    assert (tmp_path / "r" / "record.jsonl").read_bytes() == held


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"type":"opinion","index":1}', "unknown type 'opinion'"),
        ('{"type":"layer","name":"c","method":"ibp","neurons":3,"mood":"good"}', "malformed 'layer' line in a run record: mood"),
        ('{"type":"layer","name":"c","method":"ibp","neurons":3,"width":NaN}', "NaN is no finite number"),
        ('{"type":"layer","name":"c","method":"ibp","neurons":3,"width":-1e999}', "-1e999 is no finite number"),
    ],
)
def test_a_record_that_holds_something_else_is_not_gone_on_with(tmp_path, text, says):
    with pytest.raises(KeyboardInterrupt):
        _fail(tmp_path / "r")
    path = tmp_path / "r" / "record.jsonl"
    path.write_text(path.read_text() + text + "\n")
    held = path.read_bytes()
    with pytest.raises(BadFile, match=says) as caught, continued(tmp_path / "r", HEADING, resume=True):
        pass
    assert caught.value.where == f"{path}:3"
    assert caught.value.fix
    assert path.read_bytes() == held


def test_a_folder_that_is_open_gets_no_done(tmp_path):
    with RunFolder(tmp_path / "r") as folder, going_on(folder, HEADING) as record:
        record.append(LAYERS[0])
    assert _types(tmp_path / "r") == ["header", "layer"]


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line: Line = DoneLine()
    with continued(None, HEADING) as record:
        record.append(line, *LAYERS)
    assert record.lines == [line, *LAYERS]
    assert not list(tmp_path.iterdir())


def test_batches_hold_every_index_once():
    found = list(batches(range(2 * BATCH + 7)))
    assert [len(batch) for batch in found] == [BATCH, BATCH, 7]
    assert [i for batch in found for i in batch] == list(range(2 * BATCH + 7))
