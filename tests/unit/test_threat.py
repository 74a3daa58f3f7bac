"""Threats: what may happen to an input, as a class and as a TOML file; held against every row of a table, one by one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import epsball
from epsball.config import dump, load, load_threat
from epsball.errors import BadConfig, BadData, BadShape
from epsball.problem.change import Change
from epsball.problem.columns import Column, Columns
from epsball.problem.threat import Threat

TABLE = Columns(
    (
        Column("age", "integer", unit="years"),
        Column("amount"),
        Column("job", "category", values=("none", "worker", "clerk")),
        Column("home", "category", values=("own", "rent")),
        Column("debts", "integer"),
    )
)
CHANGES = {"age": Change(2, "up", high=40), "job": Change(to="any"), "home": Change(to=("rent",)), "debts": Change(1.5)}
ROWS = torch.tensor([[39.0, 1.5, 0, 1, 0, 1, 0, 2], [20.0, 7.25, 1, 0, 0, 0, 1, 0]], dtype=torch.float64)
TEXT = """
[columns.age]
eps = 2
direction = "up"
high = 40
[columns.job]
to = "any"
[columns.home]
to = ["rent"]
[columns.debts]
eps = "3/2"
"""


def rows_by_hand(row: torch.Tensor) -> torch.Tensor:
    """Every row that may become of one, written out from the words of `CHANGES`."""
    age, amount, debts = float(row[0]), float(row[1]), float(row[7])
    ages = [a for a in (age, age + 1, age + 2) if a <= 40]
    jobs = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    homes = [(1, 0), (0, 1)] if row[5] == 1 else [(0, 1)]  # who rents stays so: "own" is not among the values
    owed = [debts - 1, debts, debts + 1]
    return torch.tensor([[a, amount, *j, *h, d] for a, j, h, d in itertools.product(ages, jobs, homes, owed)], dtype=torch.float64)


def test_the_set_holds_exactly_the_rows_that_the_words_allow():
    threat = Threat(columns=CHANGES, table=TABLE)
    for k, row in enumerate(ROWS):
        mine = threat.around(row[None])
        every = rows_by_hand(row)
        assert all(bool(mine.holds(other[None])[0]) for other in every)
        assert torch.equal(mine.hull().lower[0], every.amin(0))
        assert torch.equal(mine.hull().upper[0], every.amax(0))
        drawn = {tuple(mine.sample(torch.Generator().manual_seed(seed))[0].tolist()) for seed in range(400)}
        assert drawn == {tuple(other.tolist()) for other in every}, k


@pytest.mark.parametrize(("feature", "by"), [(0, -1.0), (0, 3.0), (0, 0.5), (1, 0.01), (7, 2.0), (2, 1.0), (3, -1.0)])
def test_rows_outside_are_told_apart(feature, by):
    mine = Threat(columns=CHANGES, table=TABLE).around(ROWS[:1])
    other = ROWS[:1].clone()
    other[0, feature] += by
    assert not bool(mine.holds(other)[0])


def test_verdicts_agree_with_every_row_tried_one_by_one():
    torch.manual_seed(3)
    threat = Threat(columns=CHANGES, table=TABLE)
    said = {"verified": 0, "falsified": 0}
    for seed in range(12):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 2)).double()
        with torch.no_grad():
            net[0].weight[:, [0, 1, 7]] *= 0.1
        y = net(ROWS).argmax(1)
        verdicts = epsball.verify(net, threat.around(ROWS), y)
        for row, label, verdict in zip(ROWS, y, verdicts, strict=True):
            outputs = net(rows_by_hand(row)).detach()
            least = float((outputs[:, label] - outputs[:, 1 - label]).min())
            if verdict.status == "verified":
                assert 0 < verdict.margin <= least + 1e-9
            if verdict.status == "falsified":
                assert least <= 0
                assert any(torch.equal(verdict.witness.x, other) for other in rows_by_hand(row))
            said[verdict.status] = said.get(verdict.status, 0) + 1
    assert said["verified"] >= 5
    assert said["falsified"] >= 2


def test_bounds_of_every_method_hold_over_every_row():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 3)).double()
    inputs = Threat(columns=CHANGES, table=TABLE).around(ROWS)
    for method in ("ibp", "crown-ibp", "crown", "alpha-crown", "forward", "zonotope"):
        found = epsball.bounds(net, inputs, method)
        for k, row in enumerate(ROWS):
            outputs = net(rows_by_hand(row))
            assert bool((found.lower[k] <= outputs.amin(0) + 1e-9).all()), method
            assert bool((found.upper[k] >= outputs.amax(0) - 1e-9).all()), method


def test_a_file_and_the_class_say_the_same(tmp_path):
    (tmp_path / "threat.toml").write_text(TEXT)
    mine = load_threat(str(tmp_path / "threat.toml"))
    assert mine == load_threat(TEXT)
    assert mine.columns == CHANGES
    assert str(mine.of(TABLE)) == (
        "age + [0, 2] in [-inf, 40] years (whole); job in {any value}; home in {itself, rent}; "
        "debts +- 1.5 (whole); all else as it is"
    )


def test_features_without_names_go_by_their_numbers():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    hull = Threat(columns={"1": Change(0.5), "2": Change(1, "down")}).around(x).hull()
    assert torch.allclose(hull.lower, torch.tensor([[1.0, 1.5, 2.0]]))
    assert torch.allclose(hull.upper, torch.tensor([[1.0, 2.5, 3.0]]))
    with pytest.raises(BadConfig, match="features have no names"):
        Threat(columns={"age": Change(1)}).around(x)


def test_one_radius_a_channel_is_a_box():
    x = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    hull = Threat((0.1, 0.2, 0.0), clip=(0.0, 1.0)).around(x).hull()
    assert torch.allclose(hull.width[0, :, 0, 0], torch.tensor([0.2, 0.4, 0.0], dtype=torch.float64))
    with pytest.raises(BadShape, match="3 radii"):
        Threat((0.1, 0.2, 0.0)).around(x[:, :2])


def test_an_endless_radius_reaches_the_ends_of_its_range():
    hull = Threat(columns={"0": Change(math.inf, low=0, high=9)}).around(torch.tensor([[4.0]])).hull()
    assert float(hull.lower) <= 0 <= float(hull.lower) + 1e-6
    assert float(hull.upper) == pytest.approx(9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[columns.agee]\neps = 1", "age"),
        ("[columns.age]\nesp = 1", "eps"),
        ("[columns.age]\nto = 'any'", "radius"),
        ("[columns.job]\neps = 1", "category"),
        ("[columns.job]\nto = ['clrk']", "clerk"),
        ("[columns.age]\neps = -1", "radius"),
        ("[columns.age]\neps = inf", "without end"),
        ("[columns.age]\neps = 5\nlow = 0\nhigh = 3", "wider"),
        ("[columns.age]\neps = 1\ndirection = 'upp'", "up"),
        ("eps = 0.1\n[columns.age]\neps = 1", "beside"),
        ("eps = 8\nclip = [0, 1]", "larger than"),
        ("eps = [0.1, 0.2]\nnorm = 'l2'", "several radii"),
        ("", "empty"),
        ("columns = 3", "tables"),
    ],
)
def test_a_bad_threat_is_refused_by_name(text, said):
    with pytest.raises(BadConfig, match=said):
        load_threat(text).of(TABLE)


def test_rows_that_are_none_of_the_table_are_refused():
    threat = Threat(columns=CHANGES, table=TABLE)
    for feature, value, said in ((0, 41.0, "range of 'age'"), (0, 20.5, "not whole"), (3, 0.5, "one-hot|single 1")):
        x = ROWS.clone()
        x[0, feature] = value
        with pytest.raises(BadData, match=said):
            threat.around(x)
    with pytest.raises(BadShape, match="8 features"):
        threat.around(ROWS[:, :5])


def test_a_configuration_with_a_threat_is_read_back_as_it_was_written():
    text = f"""
[recipe]
name = "ibp"
eps = 1
[recipe.against]
{TEXT.replace("[columns", "[recipe.against.columns")}
[train]
[model]
name = "mlp"
[data]
name = "digits"
"""
    config = load(text)
    assert config.recipe.threat.columns == CHANGES
    assert load(dump(config)) == config


def test_training_sees_the_share_of_the_threat_that_the_ramp_has_reached():
    threat = Threat(columns=CHANGES, table=TABLE)
    half, whole = threat.scaled_box(ROWS, 0.5), threat.around(ROWS).hull()
    assert torch.equal(half.upper, (ROWS + whole.upper) / 2)
    assert torch.equal(threat.scaled_box(ROWS, 0.0).lower, ROWS)


def test_several_radii_are_no_radius_in_a_record():
    assert (Threat((0.1, 0.2)).kind, Threat((0.1, 0.2)).size) == ("radii", 1.0)
    assert (Threat(0.2).kind, Threat(0.2).size) == ("linf", 0.2)


def test_an_end_that_rounding_moves_keeps_the_row_itself():
    x = torch.tensor([[0.3]])  # a little above three tenths
    mine = Threat(columns={"0": Change(0.1, "down", high=0.3)}).around(x)
    assert bool(mine.holds(x)[0])
    assert float(mine.inner().hull().upper) == float(mine.hull().upper) == float(x)
    with pytest.raises(BadData, match="range"):
        Threat(columns={"0": Change(0.1, high=0.3)}).around(torch.tensor([[0.301]]))


def test_an_empty_table_stands_for_no_number():
    text = '[recipe]\nname = "ibp"\neps = {}\n[train]\n[model]\nname = "mlp"\n[data]\nname = "digits"\n'
    with pytest.raises(BadConfig, match="eps"):
        load(text)


def test_the_halves_along_every_feature_hold_every_row_and_no_other():
    """Twice, so that ends which a split has moved are split, too."""
    for row in ROWS:
        whole = Threat(columns=CHANGES, table=TABLE).around(row[None])
        every = rows_by_hand(row)
        for first, second in itertools.product(range(8), repeat=2):
            quarters = [quarter for half in whole.split(first) for quarter in half.split(second)]
            held = torch.stack([torch.cat([quarter.holds(other[None]) for other in every]) for quarter in quarters])
            assert bool(held.any(0).all()), (first, second)
            assert all(bool(whole.holds(quarter.centre)[0]) for quarter in quarters)
            if len({0, 7} & {first, second}) == 2:  # two features of several values: nothing is held twice
                assert int(held.sum()) == len(every)


def test_halves_of_many_whole_numbers_lose_none():
    mine = Threat(columns={"n": Change(5)}, table=Columns((Column("n", "integer"), Column("m")))).around(torch.tensor([[7.0, 0.0]]))
    low, high = mine.split(0)
    held = [[bool(part.holds(torch.tensor([[float(n), 0.0]]))[0]) for n in range(2, 13)] for part in (low, high)]
    assert [sum(pair) for pair in zip(*held, strict=True)] == [1] * 11
