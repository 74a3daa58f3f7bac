"""Where a run goes by itself: two slices, or two methods, are two folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_verbs import answer, call, trained  # noqa: F401 - the fixture

from epsball.cli.target import run_named, slice_named


@pytest.mark.parametrize(
    ("index", "name"),
    [(":", ""), ("", ""), (":100", "0-100"), ("100:", "100-end"), ("5:9", "5-9"), ("::20", "0-end-by-20"), ("0:9:3", "0-9-by-3"),
     ("7", "7"), ("1, 5,9", "1,5,9"), ("::1", "0-end"), (",".join(map(str, range(200))), "200-5691425f")],
)  # fmt: skip
def test_a_slice_has_a_name(index, name):
    assert slice_named(index) == name


def test_no_part_of_a_name_is_a_path():
    assert run_named("verify", "mnist", "linf", "8/255", "", None, "auto,lp", "1/2") == "verify-mnist-linf-8_255-auto+lp-1_2"


def test_two_slices_and_two_methods_are_four_folders(capsys, trained, tmp_path):  # noqa: F811
    net = tmp_path / "net"
    shutil.copytree(trained, net)
    options = ("verify", net, "--data", "digits", "--eps", "1/16")
    names = [
        Path(answer(capsys, *options, "--index", index, *method)["run"]).name
        for index in (":2", "2:4")
        for method in ((), ("--method", "ibp"))
    ]
    assert names == [f"verify-digits-linf-1_16-{rest}" for rest in ("0-2", "0-2-ibp", "2-4", "2-4-ibp")]
    assert answer(capsys, *options, "--index", ":2", "--resume")["run"] == str(net / names[0])
    certified = ("certify", net, "--data", "digits", "--set", "cap=512", "--sigma", "0.5")
    assert Path(answer(capsys, *certified, "--index", ":2")["run"]).name == "certify-digits-gaussian-0.5-0-2"


def test_pictures_under_noise_go_where_their_slice_says(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for index, name in ((":1", "0-1"), ("1:2", "1-2")):
        code, out, _ = call(capsys, "analyse", "noise", "--data", "digits", "--index", index)
        assert code == 0
        assert f"runs/noise-digits-{name}" in out
        assert (tmp_path / "runs" / f"noise-digits-{name}" / "record.jsonl").is_file()
