"""Denoisers on disk: trained in front of the classifier of another run, and put before a network that is certified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from epsball.errors import BadConfig, BadShape
from epsball.models.store import load_model
from epsball.smoothing.denoised import Denoised, in_front

if TYPE_CHECKING:
    from torch import nn

    from epsball.ops.network import Network
    from epsball.training.base import Recipe


def assembled(built: nn.Module, recipe: Recipe, input_shape: tuple[int, ...]) -> nn.Module:
    """What a run trains: the module, or in front of the recipe's classifier where it names one.

    Raises:
        BadConfig: the recipe wants a classifier and names none, or the module is no denoiser.
        BadFile: the classifier's checkpoint cannot be read.
        BadShape: the classifier takes other inputs.
    """
    named = recipe.frozen
    if named is None:
        return built
    if not named:
        raise BadConfig(
            "no classifier was named", where="recipe.classifier", fix="--set classifier=RUN, a folder of a training run"
        )
    classifier, architecture, _ = load_model(Path(named))
    if architecture.input_shape != tuple(input_shape):
        raise BadShape(
            f"the classifier takes inputs of shape {architecture.input_shape}, the data have {tuple(input_shape)}",
            where=str(named),
            fix="name a classifier of the same data set",
        )
    return in_front(built, classifier, tuple(input_shape), "model.name")


def behind(recipe: Recipe) -> dict[str, str]:
    """The classifier that a recipe names, for the summary of its run."""
    return {"classifier": recipe.frozen} if recipe.frozen else {}


def trained_part(module: nn.Module) -> nn.Module:
    """What is saved of a trained module: the denoiser alone, or the module itself."""
    return module.denoiser if isinstance(module, Denoised) else module


def put_before(path: Path, network: Network) -> Denoised:
    """A denoiser's checkpoint in front of a network, on its device.

    Raises:
        BadFile: the checkpoint cannot be read.
        BadConfig: it holds no denoiser of such inputs.
    """
    denoiser, _, _ = load_model(path)
    device = network.prepare().device
    return in_front(denoiser.to(device), network.module, network.input_shape, str(path)).eval()
