"""The pages of randomized smoothing: what they compute from certificates, and pictures under noise."""

from __future__ import annotations

import base64
import csv
import io
import math
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from matplotlib.image import imread, imsave
from scipy.special import ndtri
from scipy.stats import binomtest

import sample_records as sample
from epsball.analysis.noise import gallery, noisy, signal_to_noise, square
from epsball.cli.app import run as epsball
from epsball.data.pictures import read_picture
from epsball.errors import BadConfig, BadFile
from epsball.reporting import write_report
from epsball.reporting.runs import read_runs
from epsball.reporting.sections.noise import noise_tables
from epsball.reporting.sections.smoothing import smoothing_page


@pytest.fixture
def run(tmp_path):
    return sample.write(tmp_path / "certify-0.5", *sample.certify_lines())


def _rows(sheet):
    return list(csv.reader(io.StringIO(unquote(sheet.uri.partition(",")[2]))))[1:]


@pytest.mark.slow
def test_the_curve_is_the_share_of_right_inputs_with_at_least_that_radius(run):
    page = smoothing_page(read_runs([run]))
    lines = [line for line in sample.certify_lines() if line["type"] == "certificate"]
    right = np.array([line["radius"] if line["predicted"] == line["label"] else -1.0 for line in lines])
    for _, radius, accuracy, low, high in _rows(page.curves.sheet):
        held = int((right >= float(radius)).sum())
        limits = binomtest(held, len(lines)).proportion_ci(0.95)
        assert float(accuracy) == held / len(lines)
        assert (float(low), float(high)) == pytest.approx((limits.low, limits.high), abs=1e-9)
    assert float(_rows(page.curves.sheet)[-1][2]) == 0.0  # the curve comes down


@pytest.mark.slow
def test_the_table_counts_abstentions_and_wrong_inputs_as_zero(run):
    (row,) = smoothing_page(read_runs([run])).rows
    lines = [line for line in sample.certify_lines() if line["type"] == "certificate"]
    assert row.abstained == pytest.approx(0.1)
    assert row.accuracy == sum(line["predicted"] == line["label"] for line in lines) / 40
    assert row.radius == pytest.approx(sum(line["radius"] for line in lines if line["predicted"] == line["label"]) / 40)
    assert row.samples == pytest.approx(1019.5)


def test_votes_are_all_counted_and_the_worst_case_is_that_of_the_proof(run):
    ((_, (votes, worst)),) = smoothing_page(read_runs([run])).each
    assert sum(int(row[2]) for row in _rows(votes.sheet)) == 40
    ((index, sigma, p_a, distance),) = _rows(worst.sheet)
    assert float(distance) == pytest.approx(float(sigma) * float(ndtri(float(p_a))))
    line = next(line for line in sample.certify_lines() if line.get("index") == int(index))
    assert float(distance) == pytest.approx(line["radius"])


def test_other_noise_has_no_half_space(tmp_path):
    lines = sample.certify_lines()
    lines[-2]["noise"] = "Uniform(width=0.5)"
    ((_, figures),) = smoothing_page(read_runs([sample.write(tmp_path / "u", *lines)])).each
    assert [figure.title for figure in figures] == ["How sure the votes are"]


def test_noise_has_the_scale_that_is_asked_for_and_averaging_divides_it():
    picture = torch.full((3, 64, 64), 0.5)
    noise = noisy(picture, 0.25, seed=1) - picture
    assert float(noise.std()) == pytest.approx(0.25, rel=0.02)
    assert float(torch.nn.functional.avg_pool2d(noise[None], 4).std()) == pytest.approx(0.25 / 4, rel=0.06)
    assert torch.equal(noisy(picture, 0.0), picture)
    assert signal_to_noise(torch.tensor([[[0.0, 1.0]]]), 0.7071067811865476) == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(BadConfig, match="sigma"):
        noisy(picture, -1.0)


def test_a_gallery_compares_sizes_after_averaging():
    picture = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    lines = list(gallery([("32", picture), ("8", picture[:, ::4, ::4])], [0.0, 0.5], "g"))
    assert [(line.row, line.column) for line in lines] == [
        ("32", "sigma 0"),
        ("32", "sigma 0.5"),
        ("8", "sigma 0"),
        ("8", "sigma 0.5"),
    ]
    pixels = np.frombuffer(base64.b64decode(lines[0].pixels), np.uint8).reshape(lines[0].shape)
    assert np.abs(pixels / 255 - picture.numpy()).max() <= 0.5 / 255 + 1e-6
    large, small = (float(lines[i].note.removesuffix(" dB")) for i in (1, 3))
    assert large == pytest.approx(signal_to_noise(picture, 0.5) + 20 * math.log10(4), abs=0.06)
    assert small == pytest.approx(signal_to_noise(picture[:, ::4, ::4], 0.5), abs=0.06)


def test_a_picture_is_cut_to_its_middle_square():
    picture = torch.zeros(3, 4, 8)
    picture[:, :, 2:6] = 1
    assert torch.equal(square(picture, 4), torch.ones(3, 4, 4))
    assert square(picture, 2).shape == (3, 2, 2)


def test_noise_from_files_to_the_report(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    imsave(tmp_path / "a.png", pixels)
    assert torch.equal((read_picture(tmp_path / "a.png") * 255).round().byte(), torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    folder = tmp_path / "noise"
    options = ("--sizes", "10,20", "--sigmas", "0,0.5", "-o", str(folder), "--quiet")
    assert epsball(["analyse", "noise", str(tmp_path / "a.png"), *options]) == 0
    (table,) = noise_tables(read_runs([folder]).runs[0])
    assert (table.title, table.columns, [name for name, _ in table.rows]) == (
        "a",
        ("sigma 0", "sigma 0.5"),
        ["10 pixels", "20 pixels"],
    )
    shown = imread(io.BytesIO(base64.b64decode(table.rows[1][1][0][0].partition(",")[2])))
    assert np.allclose(shown, pixels[:, 5:25] / 255, atol=1e-6)
    page = write_report([folder], tmp_path / "r.html").read_text()
    assert page.count("<img") == 4


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadFile, match="no picture could be read"):
        read_picture(tmp_path / "a.png")
    lines = [
        sample.header("analyse"),
        {"type": "picture", "group": "g", "row": "r", "column": "c", "shape": [1, 2, 2], "pixels": "AAAA"},
    ]
    with pytest.raises(BadFile, match="do not fill"):
        read_runs([sample.write(tmp_path / "bad", *lines)])
