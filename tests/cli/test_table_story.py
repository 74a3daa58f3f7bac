"""A table's story, from a CSV file to verdicts: by verbs alone and by Python alone, with the same answers."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path

import torch

import epsball
from epsball.cli.app import run
from epsball.data import user
from epsball.data.table import Table

THREAT = """
[columns.age]
eps = 2
direction = "up"
[columns.income]
eps = "1/4"
[columns.job]
to = "any"
"""


def written(path, rows: int = 240) -> None:
    """People whose class follows from income and age, hardly from the job."""
    draw = random.Random(0)  # noqa: S311 - no secret
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["age", "income", "job", "good"])
        for _ in range(rows):
            age, income, job = draw.randint(18, 70), round(draw.uniform(0, 9), 2), draw.choice(["clerk", "nurse", "smith"])
            out.writerow([age, income, job, "yes" if income + age / 20 > 6.5 else "no"])


def answer(capsys, *arguments: str) -> dict:
    capsys.readouterr()
    code = run([str(a) for a in arguments] + ["--json"])
    out, err = capsys.readouterr()
    assert code == 0, out + err
    return json.loads(out)


def test_from_a_csv_file_to_verdicts_by_verbs_and_by_python(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written(tmp_path / "people.csv")
    (tmp_path / "threat.toml").write_text(THREAT)
    answer(capsys, "data", "add", "people", tmp_path / "people.csv", "--target", "good")
    answer(capsys, "train", "ibp", "--data", "people", "--model", "mlp", "--threat", tmp_path / "threat.toml", "--epochs", "20",
           "--batch", "32", "--set", "lr=3e-3", "--out", tmp_path / "run")  # fmt: skip
    by_verb = answer(capsys, "verify", tmp_path / "run", "--data", "people", "--threat", tmp_path / "threat.toml")
    assert "Infinity" not in (tmp_path / "run/verify-people-threat-threat/record.jsonl").read_text()
    attacked = answer(capsys, "attack", tmp_path / "run", "--data", "people", "--threat", tmp_path / "threat.toml")

    data = epsball.load_data("people")
    assert [column.kind for column in data.columns] == ["integer", "number", "category"]
    threat = epsball.load_threat(tmp_path / "threat.toml").of(data.columns)
    verdicts = epsball.verify(epsball.load(tmp_path / "run"), threat.around(data.test.inputs()), data.test.y)
    counted = {status: sum(v.status == status for v in verdicts) for status in by_verb["status"]}
    assert counted == by_verb["status"]
    assert by_verb["norm"] == "columns"
    assert by_verb["accuracy"]["verified"]["value"] > 0.5
    assert by_verb["accuracy"]["verified"]["value"] <= attacked["accuracy"]["attacked"]["value"]
    assert str(threat) == "age + [0, 2] (whole); income +- 0.25; job in {any value}; all else as it is"

    # every job, every whole age and the ends of the incomes: what is verified holds at each
    net = epsball.load(tmp_path / "run").module
    for x, y, verdict in zip(data.test.inputs(), data.test.y, verdicts, strict=True):
        for up in (0, 1, 2):
            for more in (-0.25, 0.0, 0.25):
                moved = torch.cat([x[None, :2] + torch.tensor([[up, more]])] * 3).float()
                said = net(torch.cat([moved, torch.eye(3)], 1)).argmax(1)
                assert verdict.status != "verified" or bool((said == y).all())


def told(page: str) -> list[str]:
    """What a report says, without times: words between the tags of the page, numbers of seconds and dates taken out."""
    words = [
        text.strip() for text in re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL).replace("><", "> <").split("<")
    ]
    text = [word.partition(">")[2].strip() for word in words]
    return [re.sub(r"\d[\d.,]*(e-?\d+)? (ms|s|min|h)\b|\d{4}-\d\d-\d\d[ T]?[\d:]*", "TIME", word) for word in text if word]


def test_the_report_of_python_is_the_report_of_the_verbs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written(tmp_path / "people.csv", 120)
    (tmp_path / "threat.toml").write_text(THREAT)
    answer(capsys, "data", "add", "people", tmp_path / "people.csv", "--target", "good")
    sides = []
    for name in ("verbs", "python"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "verbs":
            answer(capsys, "train", "ibp", "--data", "people", "--model", "mlp", "--threat", "../threat.toml", "--epochs", "6",
                   "--batch", "32", "--set", "lr=3e-3", "--out", "run")  # fmt: skip
            answer(capsys, "verify", "run", "--data", "people", "--threat", "../threat.toml")
            answer(
                capsys,
                "attack",
                "run",
                "--data",
                "people",
                "--threat",
                "../threat.toml",
                "--out",
                "run/attack-people-threat-threat",
            )
            answer(capsys, "report", "run")
        else:
            record = epsball.Record("run")
            record.train("ibp", data="people", model="mlp", threat="../threat.toml", epochs=6, batch=32, lr=3e-3)
            record.verify("people", threat="../threat.toml")
            record.attack("people", threat="../threat.toml")
            assert record.report().name == "report.html"
        sides.append((sorted(str(p) for p in Path().rglob("record.jsonl")), told(Path("report.html").read_text("utf-8"))))
    assert sides[0][0] == sides[1][0]
    assert len(sides[0][1]) > 100
    assert sides[0][1] == sides[1][1]


def test_a_threat_has_no_ball_beside_it(tmp_path, capsys):
    (tmp_path / "threat.toml").write_text(THREAT)
    for more in (["--eps", "1"], ["--norm", "l2"]):
        code = run(["verify", "nowhere", "--data", "digits", "--threat", str(tmp_path / "threat.toml"), *more])
        assert code == 2
        assert "beside a threat" in capsys.readouterr().err
    assert run(["train", "standard", "--data", "digits", "--threat", str(tmp_path / "threat.toml")]) == 2


def test_python_adds_the_same_set_as_the_verb(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written(tmp_path / "people.csv")
    user.add("people", tmp_path / "people.csv", csv=Table("good"))
    first = epsball.load_data("people")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert run(["data", "add", "people", str(tmp_path / "people.csv"), "--target", "good", "--quiet"]) == 0
    assert epsball.load_data("people").digest == first.digest
