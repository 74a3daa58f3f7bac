"""Run folders with made-up but consistent numbers: what a report is tested on. No picture of a real data set is used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from epsball.record.journal import FORMAT

LADDER = ("clean", "attack", "ibp", "crown-ibp", "crown")
Line = dict[str, Any]
IDENTITY = {"weights": "a1" * 32, "property": "b2" * 32, "data": "c3" * 32, "precision": "float32"}
CODE = {"version": "0.1.0", "commit": "d4" * 20, "changed": False, "sources": "e5" * 32}


def header(verb: str, *command: str, **config: object) -> Line:
    return {
        "type": "header", "format": FORMAT, "verb": verb, "command": ["epsball", verb, *command], "config": config,
        "config_hash": "0123456789ab", "identity": dict(IDENTITY), "code": dict(CODE),
        "versions": {"epsball": "0.1.0", "torch": "2.13.0", "python": "3.11.2"}, "seed": 7,
        "hardware": {"machine": "x86_64", "cores": 2, "threads": 1, "device": "cpu"},
        "arithmetic": "float32, margin > 1e-05, no directed rounding inside the network", "time": "2026-01-31T12:00:00Z",
    }  # fmt: skip


def write(folder: Path, *lines: Line) -> Path:
    """A run folder with these lines."""
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    (folder / "record.jsonl").write_text(text, encoding="utf-8")
    return folder


def log_text(count: int = 30) -> str:
    """A log of smoothing as the field writes it: every tenth image is abstained from, every seventh is wrong."""
    rows = ["idx\tlabel\tpredict\tradius\tcorrect\ttime"]
    for index in range(count):
        predicted = -1 if index % 10 == 9 else index % 3 + (index % 7 == 6)
        radius = 0.0 if predicted < 0 else 0.03 * index
        rows.append(f"{20 * index}\t{index % 3}\t{predicted}\t{radius:.3}\t{int(predicted == index % 3)}\t0:00:14.551244")
    return "\n".join(rows) + "\n"


def made(folder: Path, name: str, change: Callable[[list[Line]], list[Line]] = list) -> Path:
    """A run of RUNS or a log of LOGS, by name."""
    if name in RUNS:
        return write(folder / name, *change(RUNS[name]()))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tsv"
    path.write_text(LOGS[name](), encoding="utf-8")
    return path


def rate(hits: int, count: int) -> dict[str, float]:
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return {"value": hits / count, "low": low, "high": high}


def train_lines(epochs: int = 20) -> list[Line]:
    lines = [header("train", "fast-ibp", "--data", "mnist", recipe={"name": "fast-ibp", "eps": 0.1}, epochs=epochs)]
    for epoch in range(1, epochs + 1):
        ramp = min(1.0, epoch / (0.5 * epochs))
        for part in (0.5, 1.0):
            t = epoch - 1 + part
            robust = 2.3 * np.exp(-t / 4) + 0.25 * ramp
            lines.append({
                "type": "metrics", "step": int(200 * t), "epoch": t, "lr": 5e-4 if t < 0.8 * epochs else 5e-5, "eps": 0.1 * ramp,
                "loss": robust + 0.1, "parts": {"robust": robust, "tightness": 0.3 * np.exp(-t / 6), "relu": 0.05}, "seconds": t,
            })  # fmt: skip
        lines.append({
            "type": "epoch", "epoch": epoch, "step": 200 * epoch, "clean": 0.985 - 0.3 * np.exp(-epoch / 3),
            "verified": 0.93 - 0.6 * np.exp(-epoch / 4), "verifier": "ibp", "split": "validation", "seconds": 2.0,
        })  # fmt: skip
        unstable = [0.15 * np.exp(-epoch / 8) * (1 + i) / 2 for i in range(3)]
        layers = [
            {
                "name": f"relu_{i}" if i else "relu",
                "active": 0.4 - u / 2,
                "inactive": 0.6 - u / 2,
                "unstable": u,
                "neurons": 100 >> i,
            }
            for i, u in enumerate(unstable)
        ]
        lines.append({"type": "relu", "epoch": epoch, "layers": layers})
        lines.append(tightness(epoch, 0.9**epoch))
    lines.insert(1, tightness(0, 1.0))
    parts = {"train": (970, 900, 1000, 54_000), "validation": (5_900, 5_300, 6_000, 6_000), "test": (9_750, 8_800, 10_000, 10_000)}
    splits = {
        name: {"clean": rate(clean, count), "verified": rate(proven, count), "count": count, "of": of, "verifier": "ibp"}
        for name, (clean, proven, count, of) in parts.items()
    }
    chosen = {"protocol": "validation", "split": "validation", "splits": splits}
    return [*lines, {"type": "summary", "verb": "train", "data": "mnist", "seconds": 61.5, **chosen}, {"type": "done"}]


def tightness(epoch: int, shrunk: float) -> Line:
    layers = [{"name": f"relu_{i}" if i else "relu", "width": 0.2 * 3.0**i * shrunk, "spread": 0.5} for i in range(3)]
    return {"type": "tightness", "epoch": epoch, "step": 200 * epoch, "eps": 0.1, "input": 0.2, "layers": layers}


def instances(count: int, seed: int = 3) -> list[Line]:
    """Inputs through a ladder whose later steps are tighter."""
    draw = np.random.default_rng(seed)
    lines = []
    for index in range(count):
        label = int(draw.integers(10))
        true = float(draw.normal(4, 2.2))
        line: Line = {"type": "instance", "index": index, "label": label, "predicted": label, "margin": None, "bounds": {}}
        bounds = {
            "ibp": true - abs(draw.normal(0, 1.2)),
            "crown-ibp": true - abs(draw.normal(0, 0.5)),
            "crown": true - abs(draw.normal(0, 0.1)),
        }
        seconds = float(draw.exponential(0.002))
        if true < -1.2:
            line |= {"predicted": (label + 1) % 10, "status": "misclassified", "by": "clean"}
        elif true < -0.05:
            line |= {"status": "falsified", "by": "attack", "attacked_margin": true}
        else:
            line |= {"attacked_margin": true + 0.1, "status": "unknown", "by": "crown"}
            for name, bound in bounds.items():
                line["bounds"][name] = bound
                line["margin"] = max(line["bounds"].values())
                if bound > 1e-5:
                    line |= {"status": "verified", "by": name}
                    break
        lines.append(line | {"seconds": seconds})
    return lines


def summary(verb: str, lines: list[Line], eps: float = 0.1) -> Line:
    count = len(lines)
    status = Counter(line["status"] for line in lines)
    wrong = sum(line["by"] == "clean" for line in lines)
    attacked = sum(line["by"] == "attack" for line in lines)
    ranks = {line["index"]: LADDER.index(line["by"]) for line in lines if line["status"] == "verified"}
    proven = {m: sum(rank <= LADDER.index(m) for rank in ranks.values()) for m in LADDER[2:]}
    steps = []
    for name in LADDER:
        mine = [line for line in lines if line["by"] == name and line["status"] in ("verified", "misclassified", "falsified")]
        counts = {status: sum(line["status"] == status for line in mine) for status in ("verified", "misclassified", "falsified")}
        seconds = 0.7 * (1 + LADDER.index(name))
        steps.append({"name": name, "settled": len(mine), **counts, "seconds": seconds})
    accuracy = {"clean": rate(count - wrong, count), "attacked": rate(count - wrong - attacked, count)}
    found: Line = {
        "type": "summary", "verb": verb, "model": "runs/demo/train", "data": "mnist", "count": count, "eps": eps, "norm": "linf",
        "accuracy": accuracy, "seconds": 14.2,
    }  # fmt: skip
    if verb == "attack":
        return found
    accuracy["verified"] = rate(status["verified"], count)
    by = {name: rate(hits, count) for name, hits in proven.items()}
    names = ("verified", "misclassified", "falsified", "unknown", "timeout", "error")
    return found | {"verified_by": by, "steps": steps, "status": {name: status[name] for name in names}}


def witness(index: int, label: int, channels: int = 1) -> Line:
    """A ring with a gap as the input, and a random change of 0.1 as the attack."""
    draw = np.random.default_rng(index)
    row, column = np.mgrid[:28, :28] - 13.5
    away = np.hypot(row * (1 + 0.1 * label), column)
    ring = np.exp(-((away - 7) ** 2) / 5) * (np.arctan2(row, column) > -2 - 0.1 * label)
    x = np.repeat(ring[None], channels, 0).clip(0, 1)
    adversarial = (x + 0.1 * np.sign(draw.normal(size=x.shape)) * (away < 11)).clip(0, 1)
    return {
        "type": "witness", "index": index, "label": label, "predicted": (label + 3) % 10, "shape": list(x.shape), "margin": -0.42,
        "x": [round(float(v), 5) for v in x.ravel()], "adversarial": [round(float(v), 5) for v in adversarial.ravel()],
    }  # fmt: skip


def verify_lines(count: int = 1000, eps: float = 0.1, witnesses: int = 6) -> list[Line]:
    lines = instances(count)
    broken = [line for line in lines if line["by"] == "attack"][:witnesses]
    return [
        header("verify", "runs/demo/train", "--data", "mnist", "--eps", f"{eps:g}", "--index", f":{count}", eps=eps, method="auto"),
        *lines, *(witness(line["index"], line["label"]) for line in broken), summary("verify", lines, eps), {"type": "done"},
    ]  # fmt: skip


def attack_lines(count: int = 1000) -> list[Line]:
    return [header("attack", "runs/demo/train", "--eps", "0.1"), summary("attack", instances(count)), {"type": "done"}]


def bounds_lines() -> list[Line]:
    lines = [header("bounds", "runs/demo/train", "--index", "0", "--eps", "0.1")]
    for method, scale in (("ibp", 1.0), ("crown", 0.45)):
        for i, neurons in enumerate((3136, 1568, 100)):
            unstable = 0.08 * scale * (i + 1)
            lines.append({
                "type": "layer", "name": f"relu_{i}" if i else "relu", "op": "relu", "method": method, "neurons": neurons,
                "width": 0.2 * scale * 3.1**i, "active": 0.3, "inactive": 0.7 - unstable, "unstable": unstable, "seconds": 0.01,
            })  # fmt: skip
    return [*lines, {"type": "done"}]


def plane_lines() -> list[Line]:
    """Two networks on a plane of 20 x 20 cells: stripes, and a disc in the middle."""
    row, column = np.mgrid[:20, :20]
    disc = np.where((row - 10) ** 2 + (column - 10) ** 2 < 30, 4, 7)
    shared = {
        "data": "mnist", "index": [0, 1, 2], "labels": [7, 2, 4], "predicted": [7, 2, 4], "verifier": "ibp", "eps": 0.1,
        "points": [[0.0, 0.0], [6.0, 0.0], [3.0, 4.0]], "window": [-2.0, 8.0, -3.0, 7.0], "resolution": 20,
        "traces": [[[x, y], [x + 1.0, y], [x, y + 1.0]] for x, y in ((0.0, 0.0), (6.0, 0.0), (3.0, 4.0))],
        "valid": [[0.0, 0.0], [6.0, 0.0], [3.0, 4.0]],
    }  # fmt: skip
    return [
        header("analyse", "plane", "before", "after"),
        {"type": "plane", "network": "before", "verified": [False] * 3, "classes": (column // 7).ravel().tolist(), **shared},
        {"type": "plane", "network": "after", "verified": [True, True, False], "classes": disc.ravel().tolist(), **shared},
        {"type": "done"},
    ]


def regions_lines() -> list[Line]:
    """A plane of 20 x 20 cells, class 7 on the left and class 2 on the right, and 1,000 votes of twelve classes."""
    column = np.mgrid[:20, :20][1]
    votes = [0, 3, 90, 0, 0, 0, 0, 900, 4, 1, 0, 1]
    return [
        header("analyse", "regions", "runs/x"),
        {
            "type": "regions", "network": "x", "model": "runs/x", "data": "mnist", "index": 3, "label": 7, "predicted": 7,
            "smoothed": 7, "top": 7, "towards": [2, None], "noise": "Gaussian(sigma=0.5)", "sigma": 0.5, "size": 784,
            "samples": 1000, "selection": 100, "alpha": 0.001, "votes": votes, "low": [0.9 * v / 1000 for v in votes],
            "high": [min(1.0, (v + 30) / 1000) for v in votes], "p_a": 0.81, "radius": 0.439, "norm": "l2",
            "window": [-2.0, 2.0, -2.0, 2.0], "resolution": 20, "classes": np.where(column < 12, 7, 2).ravel().tolist(),
        },
        {"type": "done"},
    ]  # fmt: skip


def demo(folder: Path, count: int = 1000) -> list[Path]:
    """The runs of a demo: train, attack, verify, bounds, and a plane."""
    parts = {
        "train": train_lines(), "attack": attack_lines(count), "verify": verify_lines(count), "bounds": bounds_lines(),
        "plane": plane_lines(),
    }  # fmt: skip
    return [write(folder / name, *lines) for name, lines in parts.items()]


def read(folder: Path) -> list[Line]:
    return [json.loads(line) for line in (folder / "record.jsonl").read_text("utf-8").splitlines()]


def last(folder: Path, kind: str) -> Line:
    return [line for line in read(folder) if line["type"] == kind][-1]


EVIL = "<script>window.evil=1</script><img src=x onerror='window.evil=2'>\"'{{7*7}}</title></style>"
_FIXED = ("type", "format", "verb", "status", "x", "adversarial", "pixels")
_NAMES = ("ibp", "crown", "robust", "torch", "machine")


def _poison(value: Any) -> Any:
    if isinstance(value, str):
        return EVIL + value
    if isinstance(value, dict):
        return {EVIL + key if key in _NAMES else key: _poison(v) for key, v in value.items()}
    return [_poison(v) for v in value] if isinstance(value, list) else value


def poison(lines: list[Line]) -> list[Line]:
    """The lines with a hostile text in every place that the format leaves free."""
    return [{k: v if k in _FIXED else _poison(v) for k, v in line.items()} for line in lines]


def poisoned(folder: Path) -> list[Path]:
    """Runs in which every text that the format leaves free, and the folders' names, try to become part of a page."""
    parts = (train_lines(3), verify_lines(200), attack_lines(200), bounds_lines(), plane_lines())
    return [write(folder / f"<b onclick=alert(1)>{i}", *poison(lines)) for i, lines in enumerate(parts)]


def certify_lines(sigma: float = 0.5, count: int = 40) -> list[Line]:
    """Randomized smoothing of `count` inputs: p_A falls evenly, every tenth input is abstained from, every seventh is wrong."""
    from scipy.special import ndtri

    lines = [header("certify", "runs/x", "--sigma", str(sigma), smoothing={"noise": {"sigma": sigma}})]
    for index in range(count):
        lower = 0.999 - 0.5 * index / count
        abstained = index % 10 == 9
        lines.append({
            "type": "certificate", "index": index, "label": index % 3,
            "predicted": None if abstained else (index + (index % 7 == 6)) % 3,
            "radius": 0.0 if abstained else sigma * float(ndtri(lower)), "norm": "l2", "lower": 0.45 if abstained else lower,
            "upper": 0.5, "samples": 1000 + index, "seconds": 0.1,
        })  # fmt: skip
    lines.append({
        "type": "summary", "verb": "certify", "model": "runs/x", "data": "made-up", "count": count, "seconds": 4.0,
        "noise": f"Gaussian(sigma={sigma})", "alpha": 0.001, "radius": None, "samples": 1000 * count,
    })  # fmt: skip
    return [*lines, {"type": "done"}]


def smooth_attack_lines(sigma: float = 0.25, count: int = 40) -> list[Line]:
    """An attack on a smoothed classifier: every tenth input is abstained from, every third attack succeeds, some silence."""
    lines = [header("attack", "runs/x", "--sigma", str(sigma), "--eps", "0.5", "--norm", "l2")]
    for index in range(count):
        label = index % 3
        line: Line = {"type": "smooth-attack", "index": index, "label": label, "predicted": label, "attacked": index % 10 != 9}
        if line["attacked"]:
            success, silenced = index % 3 == 0, index % 7 == 1
            adversarial = None if silenced and not success else label + success
            line |= {"adversarial": adversarial, "success": success, "distance": 0.5 - 0.01 * index}
        else:
            line["predicted"] = None
        lines.append(line | {"seconds": 0.2})
    tried = [line for line in lines[1:] if line["attacked"]]
    won = sum(line["success"] for line in tried)
    lines.append({
        "type": "summary", "verb": "attack", "model": "runs/x", "data": "made-up", "count": count, "eps": 0.5, "norm": "l2",
        "noise": f"Gaussian(sigma={sigma})", "sigma": sigma, "alpha": 0.001, "seconds": 8.0, "success": rate(won, len(tried)),
        "accuracy": {"clean": rate(len(tried), count), "attacked": rate(len(tried) - won, count)},
    })  # fmt: skip
    return [*lines, {"type": "done"}]


def radius_lines(count: int = 12) -> list[Line]:
    """Radii by two methods, the second one twice the first; every fourth input is misclassified, and one has a box."""
    lines = [header("analyse", "radius", "runs/x", norm="linf")]
    for index in range(count):
        wrong = index % 4 == 3
        radii = {} if wrong else {"ibp": 0.01 * index, "crown": 0.02 * index}
        lines.append({
            "type": "radius", "index": index, "label": 0, "predicted": int(wrong), "status": "misclassified" if wrong else "done",
            "radii": radii, "seconds": dict.fromkeys(radii, 0.5),
        })  # fmt: skip
    x = [0.1, 0.5, 0.9, 0.3]
    lines[2]["box"] = {"uniform": 0.02, "gain": 0.5, "narrowest": 0.01, "widest": 0.06, "shape": [1, 2, 2], "radius": x, "x": x}
    return [*lines, {"type": "done"}]


def picture_lines() -> list[Line]:
    """Two pictures of 2 x 2 pixels."""
    shown = {"type": "picture", "group": "a digit", "row": "28 pixels", "shape": [1, 2, 2], "pixels": "AECA/w==", "note": "3 dB"}
    return [header("analyse", "noise"), *(shown | {"column": f"sigma {s}"} for s in (0, 0.5)), {"type": "done"}]


def estimate_lines(count: int = 10) -> list[Line]:
    """Estimates whose margins rise from -0.4; the last input has a constant that is not finite."""
    lines = [header("analyse", "estimate", "runs/x", "--eps", "0.1")]
    for index in range(count):
        least = 0.3 * ((index * 7) % count) - 0.4
        outputs = [[-1.0 - index, 1.0], [0.0, 2.0 + index]]
        lines.append({
            "type": "estimate", "index": index, "label": index % 2, "status": "estimate", "least": least, "outputs": outputs,
            "lipschitz": None if index == count - 1 else 12.5, "radius": max(0.0, least) / 12.5, "seconds": 0.3,
        })  # fmt: skip
    return [*lines, {"type": "done"}]


def barrier_lines(count: int = 10) -> list[Line]:
    """Chains from CROWN to the attack: every second one is exact, one input is misclassified and one ran out of time."""
    lines = [header("analyse", "barrier", "runs/x", "--eps", "0.1")]
    for index in range(count):
        attack = 0.4 * index - 0.6
        tight = attack if index % 2 else attack - 0.5
        margins = {"clean": attack + 1.0, "crown": attack - 1.5, "lp": attack - 1.0, "lp-tight": tight, "attack": attack}
        lines.append({
            "type": "barrier", "index": 20 + index, "label": 1, "status": "done", "margins": margins, "exact": bool(index % 2),
            "gap": 1.5, "barrier": attack - tight, "unstable": 30 + index, "seconds": dict.fromkeys(margins, 0.5),
        })  # fmt: skip
    none = {"exact": None, "gap": None, "barrier": None}
    lines[-2] = {"type": "barrier", "index": 18 + count, "label": 1, "status": "misclassified", "margins": {"clean": -0.5}}
    lines[-1] |= {"status": "timeout", "margins": {"clean": 4.0, "crown": 1.0, "attack": 3.0}, **none}
    return [*lines, {"type": "done"}]


RUNS = {
    "train": lambda: train_lines(4), "verify": lambda: verify_lines(120, witnesses=2), "attack": lambda: attack_lines(120),
    "bounds": bounds_lines, "plane": plane_lines, "regions": regions_lines, "certify": certify_lines, "radius": radius_lines,
    "noise": picture_lines, "smooth-attack": smooth_attack_lines, "estimate": estimate_lines, "barrier": barrier_lines,
}  # fmt: skip
LOGS = {"log": log_text}
"""A run of every kind, and logs. Together they fill every section of a report: whoever adds a section adds what fills it."""
