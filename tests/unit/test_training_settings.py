"""Published settings, several seeds, and augmentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from epsball.config import dump, load
from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.models.base import build
from epsball.record.lines import SummaryLine
from epsball.record.lines.summary import Selection
from epsball.record.rates import rate
from epsball.run.seeds import parse_seeds, spread, summarise
from epsball.training.augment import flip_and_crop
from epsball.training.base import recipes
from epsball.training.schedule import Ramp
from epsball.training.settings import names, text

SHAPES = {"mnist": ((1, 28, 28), 60_000), "cifar10": ((3, 32, 32), 50_000), "tiny-imagenet": ((3, 64, 64), 100_000)}


def test_every_published_setting_is_here() -> None:
    thesis = {
        f"thesis-{s}" for s in ("mnist-0.1", "mnist-0.3", "mnist-0.4", "cifar10-2-255", "cifar10-8-255", "tinyimagenet-1-255")
    }
    assert thesis <= set(names())
    with pytest.raises(BadConfig, match="unknown setting"):
        text("thesis-mnist-0.5")


@pytest.mark.parametrize("name", names())
def test_a_setting_is_a_run_that_can_start(name: str) -> None:
    config = load(text(name))
    assert load(dump(config)) == config
    shape, count = SHAPES[config.data.name]
    run = config.train.run(count - config.train.held_out(count))
    config.train.rate().check(run)
    config.recipe.check(Examples(torch.zeros(2, *shape, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)), run)
    with torch.device("meta"):
        build(config.model.name, shape, 10, **dict(config.model.options))
    told = re.search(r"(\d+)-255|-(\d\.\d)", name)
    radius = float(told[1]) / 255 if told[1] else float(told[2])
    assert (config.train.test_eps or config.recipe.eps) == pytest.approx(radius, rel=1e-12), "exact fractions"
    assert config.recipe.eps >= radius
    assert config.train.augment == (config.data.name != "mnist")
    assert "published" in text(name).lower()
    assert "arXiv" in text(name)


@pytest.mark.shared
@pytest.mark.parametrize("name", [name for name in names() if name.startswith("thesis-")])
def test_figures_of_the_thesis_stand_in_the_thesis(name: str, shared: Path) -> None:
    thesis = (shared / "sources/thesis-certified-robust-training.md").read_text()
    comment = " ".join(line[2:] for line in text(name).splitlines() if line.startswith("# "))
    told = re.search(r"published in the thesis: (.*?)(?:\.(?:\s|$)|;)", comment)
    assert (told is None) == ("The thesis has no figures at" in comment)
    for figure in re.findall(r"\d+\.\d+", told[1] if told else ""):
        assert figure in thesis, figure


def test_the_thesis_schedule() -> None:
    config = load(text("thesis-cifar10-8-255"))
    assert recipes.name_of(type(config.recipe)) == "fast-ibp"
    assert config.recipe.radius() == Ramp(8 / 255, 0.0, 1, 80, "smooth")
    assert (config.recipe.tolerance, config.recipe.regularisation, config.recipe.kappa_end) == (0.5, 0.5, 0.0)
    assert (config.train.epochs, config.train.batch, config.train.lr, config.train.decay) == (160, 128, 5e-4, 0.2)
    assert (config.train.milestones, config.train.clip_norm, config.train.weight_decay, config.train.l1) == ((120, 140), 10, 0, 0)


def test_seeds_by_count_and_by_list() -> None:
    assert parse_seeds("3", 5) == [5, 6, 7]
    assert parse_seeds("0,3,17", 5) == [0, 3, 17]
    for bad, match in (("0,3,0", "stands twice"), ("1", "no two seeds"), ("many", "names no seeds"), ("-1,2", "at least 0")):
        with pytest.raises(BadConfig, match=match):
            parse_seeds(bad, 0)


def test_mean_deviation_and_interval() -> None:
    found = spread([0.2, 0.4, 0.6])
    assert found.value == pytest.approx(0.4)
    assert found.std == pytest.approx(0.2)
    assert found.high - 0.4 == pytest.approx(4.302653 * 0.2 / 3**0.5, rel=1e-6)
    runs = {
        seed: SummaryLine(
            verb="train", accuracy={"clean": rate(90, 100), "verified": rate(hits, 100)}, verified_by={"ibp": rate(hits, 100)},
            model="m", data="d", epochs=1, examples=2, protocol="validation", split="validation", count=3, eps=0.1, norm="linf",
            selected=Selection(epoch=1, step=2), seconds=1.0,
        )
        for seed, hits in ((0, 50), (4, 70))
    }  # fmt: skip
    line = summarise(runs, 2.0)
    assert line.accuracy["verified"].value == pytest.approx(0.6)
    assert line.accuracy["clean"].std == 0.0
    assert [run["seed"] for run in line.runs] == [0, 4]
    assert list(line.verified_by) == ["ibp"]


def test_flip_and_crop_is_a_mirror_and_a_shift_with_edge_pixels() -> None:
    x = torch.rand(200, 3, 6, 5)
    out = flip_and_crop(x, 2, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    seen = set()

    def moved(window: torch.Tensor, *, mirror: bool) -> torch.Tensor:
        return window.flip(2) if mirror else window

    for i in range(200):
        found = [
            (dy, dx, mirror)
            for dy in range(5)
            for dx in range(5)
            for mirror in (False, True)
            if torch.equal(out[i], moved(padded[i, :, dy : dy + 6, dx : dx + 5], mirror=mirror))
        ]
        assert found
        seen.update(found[:1])
    assert len(seen) > 40, "of 50"
    again = flip_and_crop(x, 2, torch.Generator().manual_seed(0))
    assert torch.equal(out, again)
