"""One configuration with several seeds: a run folder each, and a record of their mean and deviation beside them."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scipy.stats import t as student

from epsball.config import RunConfig, dump
from epsball.errors import BadConfig
from epsball.files import write_bytes
from epsball.record.continued import continued
from epsball.record.folder import is_run
from epsball.record.hashes import hashed
from epsball.record.heading import Heading, Identity, precision
from epsball.record.journal import read
from epsball.record.lines import AccuracyPart, Rate, SummaryLine
from epsball.rounding import Rounding
from epsball.run.train import load_examples, start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from epsball.run.track import Tracker


def parse_seeds(text: str, first: int) -> list[int]:
    """The seeds of "5" (five from the first on) or "0,3,17".

    Raises:
        BadConfig: malformed, or a seed given twice.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadConfig(
            f"{text!r} names no seeds", where="--seeds", fix="give a count such as 5, or a list such as 0,3,17"
        ) from error
    seeds = found if "," in text else list(range(first, first + found[0]))
    if len(set(seeds)) < len(seeds):
        raise BadConfig(f"a seed stands twice in {text!r}", where="--seeds", fix="runs of one seed are one run: name it once")
    if len(seeds) < 2 or min(seeds) < 0:
        raise BadConfig(f"{text!r} names no two seeds of at least 0", where="--seeds", fix="give two or more; for one use --seed")
    return seeds


def start_seeds(
    config: RunConfig,
    path: Path,
    seeds: Sequence[int],
    tracker: Tracker,
    *,
    device: torch.device,
    resume: bool = False,
    anyway: bool = False,
) -> SummaryLine:
    """Train once for each seed, in `path/seed-N`, and record mean and deviation in `path/record.jsonl`.

    Args:
        config: what to train; its own seed is replaced.
        path: the folder of all of them.
        seeds: two or more.
        tracker: follows each run.
        device: where to train.
        resume: go on: finished runs are kept, an unfinished one goes on from its checkpoint.
        anyway: though another version of the code began it.

    Returns:
        The summary line: in `accuracy` (`clean`, and `verified` or `noisy`) `value` (the mean), `std` (of the sample), `low` and
        `high` (95 % interval of the mean, Student's t), `splits`, the same for each part of the data, and `runs`, the summaries'
        values by seed.

    Raises:
        BadConfig: the folder holds other runs.
    """
    began = time.monotonic()
    tables = config.as_dict()
    tables["train"].pop("seed")
    described: dict[str, Any] = {**tables, "seeds": list(seeds)}
    with continued(path, _heading(config, described, seeds[0], device), resume=resume, anyway=anyway) as record:
        write_bytes(path / "config.toml", dump(config).encode())
        runs = {}
        for seed in seeds:
            each = replace(config, train=replace(config.train, seed=seed))
            below = path / f"seed-{seed}"
            old = is_run(below)
            found = start(each, below, tracker, device=device, resume=old, anyway=anyway and old)
            if found is not None:
                runs[seed] = found
        summary = summarise(runs, time.monotonic() - began)
        record.append(summary)
    return summary


def seeds_of(path: Path) -> list[int] | None:
    """The seeds of a folder that `start_seeds` wrote, or None for another one."""
    if not is_run(path):
        return None
    found = read(path / "record.jsonl")[0]["config"].get("seeds")
    return None if found is None else [int(seed) for seed in found]


def summarise(runs: dict[int, SummaryLine], seconds: float) -> SummaryLine:
    """Mean and deviation over runs of one configuration."""
    first = next(iter(runs.values()))
    accuracy = {name: spread([run.accuracy[name].value for run in runs.values()]) for name in first.accuracy}
    told = ("model", "data", "epochs", "examples", "protocol", "split", "count", "eps", "norm", "sigma", "noise", "hidden")
    each = [
        {
            "seed": seed,
            **{name: run.accuracy[name].value for name in accuracy},
            "selected": None if run.selected is None else run.selected.model_dump(),
            "seconds": run.seconds,
        }
        for seed, run in runs.items()
    ]
    return SummaryLine(
        verb="seeds",
        **{name: getattr(first, name) for name in told},
        accuracy=accuracy,
        verified_by=dict.fromkeys(first.verified_by, accuracy["verified"]) if first.verified_by else {},
        splits=_splits(list(runs.values())),
        runs=each,
        seconds=seconds,
    )


def _splits(runs: Sequence[SummaryLine]) -> dict[str, AccuracyPart]:
    """Mean and deviation on each part of the data that every run was judged on."""
    found = {}
    for name, part in runs[0].splits.items():
        each = [run.splits[name] for run in runs if name in run.splits]
        if len(each) < len(runs):
            continue
        rates = {}
        for kind in ("clean", "verified", "noisy"):
            values = [rate.value for other in each if (rate := getattr(other, kind)) is not None]
            if len(values) == len(runs):
                rates[kind] = spread(values)
        found[name] = AccuracyPart(**rates, count=part.count, of=part.of, verifier=part.verifier)
    return found


def spread(values: Sequence[float]) -> Rate:
    """Mean, sample deviation and the 95 % interval of the mean of two or more values."""
    mean, std = statistics.fmean(values), statistics.stdev(values)
    half = float(student.ppf(0.975, len(values) - 1)) * std / math.sqrt(len(values))
    return Rate(value=mean, std=std, low=max(0.0, mean - half), high=min(1.0, mean + half))


def _heading(config: RunConfig, described: dict[str, Any], seed: int, device: torch.device) -> Heading:
    import torch

    data = load_examples(config.data)
    identity = Identity(None, None, hashed(data.train.x, data.train.y, data.test.x, data.test.y), precision(torch.float32))
    return Heading("seeds", described, identity, seed, str(device), Rounding(torch.float32, torch.float32).describe())
