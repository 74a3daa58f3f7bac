"""The example scripts run, from their first cell to their last, in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def played(tmp_path: Path, name: str, *arguments: object) -> str:
    paths = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": paths}
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_images_in_ten_minutes(tmp_path):
    told = played(tmp_path, "images_in_ten_minutes.py", 5, tmp_path / "runs")
    plain, certified = (float(rate) for rate in re.findall(r"verified (\d\.\d+)", told))
    assert certified > plain
    assert (tmp_path / "runs/report.html").stat().st_size > 10_000


@pytest.mark.shared
def test_a_table_end_to_end(tmp_path, shared):
    told = played(tmp_path, "a_table_end_to_end.py", shared / "data/german-credit/german_credit.csv", 3, tmp_path / "runs")
    assert "duration_in_month + [0, 6] (whole)" in told
    assert (tmp_path / "runs/report.html").exists()


def test_someone_elses_onnx(tmp_path):
    pytest.importorskip("onnx")
    told = played(tmp_path, "someone_elses_onnx.py")
    assert "(4,) -> 3 classes" in told
    assert "eps 0.001: 20 samples" in told
    assert (tmp_path / "runs/onnx/report.html").exists()


def test_verify_your_own_module(tmp_path):
    assert "eps 0.1:" in played(tmp_path, "verify_your_own_module.py")


def test_every_example_is_played():
    text = Path(__file__).read_text()
    assert all(f'"{path.name}"' in text for path in EXAMPLES)
