"""A training run from its configuration: data, model and recipe by name, in a folder of its own."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from epsball.config import Named, RunConfig, dump
from epsball.data.find import load as load_data
from epsball.errors import BadConfig, did_you_mean
from epsball.files import write_bytes
from epsball.models.base import Architecture, architecture
from epsball.models.store import save_model
from epsball.ops.network import Network
from epsball.record.folder import RunFolder, is_run
from epsball.run.denoise import assembled, behind, trained_part
from epsball.run.identity import weights_of
from epsball.run.training_job import Job, assist, train
from epsball.smoothing.denoised import Denoised
from epsball.training.evaluate import judged_at
from epsball.training.parallel import await_leader, leading, team

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from epsball.data.base import Dataset
    from epsball.record.lines import SummaryLine
    from epsball.run.track import Tracker


def start(
    config: RunConfig,
    path: Path,
    tracker: Tracker,
    *,
    device: torch.device,
    resume: bool = False,
    anyway: bool = False,
) -> SummaryLine | None:
    """Train as a configuration says, and leave record, checkpoint, model and resolved configuration in a folder.

    Args:
        config: what to train, on what, how long.
        path: the run folder.
        tracker: follows the run for a person.
        device: where the network and the data live.
        resume: go on with the run in this folder; its data and its configuration must be the same, but for more epochs.
        anyway: though another version of the code began it.

    Returns:
        The run's summary line; None in a process that another one leads.

    Raises:
        BadConfig, BadData, BadFile: the configuration cannot be used, or the data set is not on this machine.
        RunInUse, DiskFull: what was recorded before is whole.
        Abandoned: the process that leads could not begin.
    """
    data = load_examples(config.data)
    described = describe(config.model, data)
    if config.recipe.frozen is not None:  # a denoiser gives what it takes: inputs that are not normalised
        described = replace(described, mean=None, std=None)
    if not team().leads:
        await_leader()
        assist(_job(config, described, data, device), path / "checkpoint.safetensors")
        return None
    with contextlib.ExitStack() as stack:
        with leading():
            folder = stack.enter_context(RunFolder(path, resume=resume, anyway=anyway))
            if not is_run(path):  # a run that is gone on with keeps its own, and is compared with it
                write_bytes(folder.config, dump(config).encode())
        job = replace(_job(config, described, data, device), longer=resume)
        if resume and is_run(path):
            job.heading.known(folder.record, anyway=anyway)  # refused before the configuration is replaced by a longer one
            write_bytes(folder.config, dump(config).encode())

        def save(file: Path, trained: nn.Module, extra: dict[str, Any]) -> None:
            save_model(file, trained_part(trained), described, extra)

        return train(job, folder, save, tracker)


def load_examples(named: Named) -> Dataset:
    """The data set of a configuration; with `examples`, only that many of its training examples, the first ones.

    The model's normalisation is that of the whole set all the same.

    Raises:
        BadConfig, BadFile: it has other options than name and examples, or is unknown, or is not on this machine.
    """
    for key in named.options:
        if key != "examples":
            hint = did_you_mean(key, ["name", "examples"])
            raise BadConfig(f"unknown option {key!r}", where=f"data.{key}", fix=hint or "a data set takes name and examples")
    data = load_data(named.name)
    if "examples" not in named.options:
        return data
    count = named.options["examples"]
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(data.train):
        raise BadConfig(
            f"{count!r} of {len(data.train):,} training examples",
            where="data.examples",
            fix=f"give a whole number from 1 to {len(data.train)}, or leave it out: all",
        )
    return replace(data, train=data.train.take(torch.arange(count)))


def _job(config: RunConfig, described: Architecture, data: Dataset, device: torch.device) -> Job:
    torch.manual_seed(config.train.seed)
    module = assembled(described.build(), config.recipe, described.input_shape).to(device)
    recipe = config.recipe.over(data.columns)
    return Job(
        net=Network.capture(module, described.input_shape),
        recipe=recipe,
        data=data.train,
        config=config.train,
        evaluate=judged_at(recipe, config.train, data.clip),
        described=config.as_dict(),
        test=data.test,
        loaded=weights_of(module.classifier) if isinstance(module, Denoised) else None,
        notes={"model": described.name, "data": data.name, "data_digest": data.digest, **behind(config.recipe)},
    )


def describe(model: Named, data: Dataset) -> Architecture:
    """The architecture that a model's name and options give for a data set, with its normalisation as the first layer.

    Raises:
        BadConfig: unknown model or option.
    """
    options = dict(model.options)
    return architecture(model.name, data.train.shape, data.classes, data.mean or None, data.std or None, **options)
