"""The thesis' table: its 66 figures, what each cell trains, records of runs, and what they are said to show."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace

import pytest
import torch
from benchmarks.thesis import claims, cost, published, runs, table
from benchmarks.thesis.published import LONG, MNIST, SHORT
from benchmarks.thesis.rows import ARMS, Row

from epsball.errors import BadConfig, BadFile
from epsball.training.base import recipes


def outcome(row: Row, verified: float, clean: float = 3.0) -> runs.Outcome:
    return runs.Outcome(
        row, row.config().fingerprint(), clean, verified, verified, 69.0, 1.0, "cpu", "2.13", ((1.0, 3.0, 9.0),), (), ()
    )


@pytest.mark.shared
def test_every_figure_stands_in_the_thesis(shared):
    thesis = (shared / "sources/thesis-certified-robust-training.md").read_text()
    section = thesis[thesis.index("Table 3.2: Standard") : thesis.index("We conduct certified robust training using")]
    figures = [value for cell in published.PRINTED.values() for figure in cell for value in figure if not math.isnan(value)]
    figures += [value for best in published.BEST.values() for value in best]
    assert all(f"{value:.2f}" in section for value in figures)
    assert published.CELLS == 66 == sum(cell.figures for cell in cost.cells())


def test_the_rows_are_the_methods_and_lie_between_them():
    made = {arm: Row(SHORT, arm).config() for arm in ARMS}
    assert {arm: recipes.name_of(type(config.recipe)) for arm, config in made.items()} == {
        "ours": "fast-ibp", "ibp": "ibp", "crown-ibp": "crown-ibp-fused", "no-batch-norm": "ibp",
        "initialisation": "fast-ibp", "regularisers": "fast-ibp",
    }  # fmt: skip
    assert {(c.train.epochs, c.recipe.warmup, c.recipe.ramp, c.recipe.shape, c.recipe.eps) for c in made.values()} == {
        (70, 1, 20, "smooth", 8 / 255)
    }
    assert {c.recipe.kappa_start for c in made.values()} == {c.recipe.kappa_end for c in made.values()} == {0.0}
    assert made["initialisation"].recipe == replace(made["ours"].recipe, regularisation=0.0)
    assert made["regularisers"].recipe == replace(made["ours"].recipe, initialisation="default")
    assert made["no-batch-norm"].model.options == {"batch_norm": False}
    assert Row(LONG, "ours").config().train.milestones == (120, 140)
    small = Row(MNIST, "ours", scale="miniature", seed=3).config()
    assert (small.model.options, small.data.options, small.train.seed) == ({"width": 8}, {"examples": 11000}, 3)
    assert 11000 - small.train.held_out(11000) == 10000


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"arm": "our"}, "no row 'our'"),
        ({"arm": "ours", "network": "cnn-5"}, "no network 'cnn-5'"),
        ({"arm": "ours", "network": "resnext", "scale": "miniature"}, "no miniature of resnext"),
        ({"arm": "no-batch-norm", "network": "resnext"}, "the ablation is CNN-7's"),
    ],
)
def test_rows_that_there_are_not(fields, told):
    with pytest.raises(BadConfig, match=told):
        Row(MNIST, **fields)


def test_records_come_back_and_one_without_a_seed_does_not(tmp_path):
    row = Row(MNIST, "ours", scale="miniature", eps="0.3")
    outcome(row, 20.0).write(tmp_path)
    (again,) = runs.outcomes(tmp_path)
    assert (again.row, again.verified, again.epochs) == (row, 20.0, ((1.0, 3.0, 9.0),))
    assert "0.3" in row.name
    path = tmp_path / f"{row.name}.json"
    told = json.loads(path.read_text())
    del told["row"]["seed"]
    path.write_text(json.dumps(told))
    with pytest.raises(BadFile, match="no seed"):
        list(runs.outcomes(tmp_path))
    path.write_text("{")
    with pytest.raises(BadFile, match="no record of a run"):
        list(runs.outcomes(tmp_path))


def test_a_folder_of_another_setting_and_a_gpu_that_is_not_there(tmp_path):
    row = Row(MNIST, "ours", scale="miniature")
    folder = tmp_path / "runs" / row.name
    folder.mkdir(parents=True)
    (folder / "record.jsonl").write_text("{}\n")
    from epsball.config import dump

    (folder / "config.toml").write_text(dump(Row(MNIST, "ibp", scale="miniature").config()))
    with pytest.raises(BadConfig, match="another setting"):
        runs.train([row], tmp_path / "runs", tmp_path / "records", quiet=True)
    if not torch.cuda.is_available():
        with pytest.raises(BadConfig, match="cuda"):
            runs.train([row], tmp_path / "runs", tmp_path / "records", device="cuda", quiet=True)


def test_a_table_of_means_with_the_thesis_beside():
    found = [outcome(Row(MNIST, "ours", seed=seed), value) for seed, value in enumerate((11.0, 12.0, 13.0))]
    found.append(outcome(Row(MNIST, "ibp"), 88.65, clean=88.65))
    text = table.table(found)
    assert (
        "| full-mnist-ours-cnn-7-validation | 0, 1, 2 | 3.00 ± 0.00 | 12.00 ± 1.00 | 12.00 ± 1.00 | 2.33 ± 0.08 | 11.03 ± 0.13 |"
        in text
    )
    assert "(1 collapsed)" in text


def test_a_claim_is_shown_above_two_standard_errors():
    values = {
        "ours": (10.0, 10.2, 10.4),
        "ibp": (12.0, 12.2, 12.4),
        "crown-ibp": (12.1, 12.0, 12.6),
        "regularisers": (9.0, 9.1, 9.2),
    }
    found = [outcome(Row(MNIST, arm, seed=i), value) for arm, each in values.items() for i, value in enumerate(each)]
    told = {one.claim: one for one in claims.claims(found)}
    first = told["ours verifies more than vanilla IBP"]
    assert first.verdict == "shown"
    assert first.gain == pytest.approx(2.0)
    assert first.error == pytest.approx(math.sqrt(2 * statistics.variance(values["ours"]) / 3))
    assert told["on a short schedule loss fusion is no better than vanilla IBP"].verdict == "within the noise"
    assert told["the initialisation helps with the regularisers"].verdict == "not shown: the reverse"
    assert told["batch norm helps"].verdict == "open: 0 of 3 seeds"
    pair = [one for one in found if one.row.seed < 2]
    assert claims.claims(pair)[0].verdict == "open: 2 of 3 seeds"


def test_the_cost_is_counted_on_the_networks():
    by_hand = 2 * (28 * 28 * 64 * (9 + 9 * 64) + 14 * 14 * 128 * 9 * (64 + 128 + 128) + 128 * 14 * 14 * 512 + 512 * 10)
    assert cost.forward("cnn-7", (1, 28, 28)) == by_hand
    assert cost.operations(Row(MNIST, "ours")) == by_hand * 60_000 * 9 * 70
    assert cost.operations(Row(MNIST, "crown-ibp")) == by_hand * 60_000 * (9 * 70 + 3 * 20)
    assert cost.cost().splitlines()[-1].startswith("| all |  |  | 66 | 99 |")
