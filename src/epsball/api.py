"""The package in a few functions. Each takes a captured `Network` or any module that maps (B, *x) to (B, K)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from epsball.attacks.base import Attack
from epsball.bounding.base import Bounder, bounders, output_interval
from epsball.bounding.budget.within import Within
from epsball.bounding.radius.by_name import Search, radius_by, widest
from epsball.data import find
from epsball.device import check_seed, exact_arithmetic
from epsball.errors import BadConfig
from epsball.given import (
    Inputs,
    Labels,
    Net,
    NormName,
    Radius,
    attack_of,
    captured,
    check_clip,
    function_of,
    input_set_of,
    inputs_of,
    labels_of,
    norm_of,
    property_of,
    radius_of,
    sets_of,
    verifier_of,
)
from epsball.models.adapters import TwoClasses, of_classes
from epsball.models.opened import Layout, Reading, open_model
from epsball.ops.network import Network
from epsball.problem.labels import as_labels
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import Property, check_threshold, robust
from epsball.problem.sets import Clip, InputSet
from epsball.problem.sets.base import Divisible
from epsball.run.named_recipe import named_recipe
from epsball.smoothing.core import Smoothed
from epsball.training.base import Recipe
from epsball.training.config import TrainConfig
from epsball.training.evaluate import judged_at
from epsball.training.loop import fit
from epsball.training.schedule import milestones
from epsball.values import build
from epsball.verification.base import Verifier
from epsball.verification.divided import Cells
from epsball.verification.doubts import warn_near_chance
from epsball.verification.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.attacks.base import Result
    from epsball.data.base import Dataset
    from epsball.forms.interval import Interval
    from epsball.problem.threat import Threat
    from epsball.types import Float, Tensor

UNIT: Clip = (0.0, 1.0)


def load(
    path: str | Path,
    *,
    layout: Layout | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    arch: str | None = None,
    shape: Sequence[int] | None = None,
) -> Network:
    """A trained network from a file, on the CPU, ready to be verified.

    Args:
        path: a run folder, a .safetensors checkpoint, an ONNX file; others' weights (.pt, .pth, .safetensors) with `arch` and
            `shape`, "file.pth:1" where it holds a list of several; or "model.py:make" with `shape`: that function is run.
        layout: "nhwc" for an ONNX file whose pictures have their channels last: it then takes (C, H, W), as everything here does.
        mean: of the inputs it was trained on, one number a channel: `(x - mean) / std` becomes its first layer. Never guessed.
        std: likewise.
        arch: what weights alone are of: "cnn-small", "mlp:hidden=[20,20],batch_norm=true"; `epsball list models` has the names.
        shape: of one input, where the file does not say it.

    Raises:
        BadConfig: a layout, a normalisation or an architecture that is missing or has no place.
        BadShape: the file does not declare pictures of that layout.
        BadFile: missing, truncated, foreign or malformed; of another kind, which the message names.
        UnsupportedOp: the ONNX file has an operator that is not covered; the message names the node.
        MissingExtra: the file is ONNX, and onnx is not installed.
    """
    means, stds = (None if values is None else tuple(float(v) for v in values) for values in (mean, std))
    reading = Reading(layout, means, stds, arch=arch, shape=None if shape is None else tuple(shape))
    return Network.capture(*open_model(Path(path), reading=reading))


def load_data(name: str) -> Dataset:
    """A data set by name, from wherever it lies on this machine. Nothing is fetched here: `epsball data get NAME` does.

    Raises:
        BadConfig: no set has this name.
        BadFile: the set is not on this machine, or a file of it is damaged.
        MissingExtra: the set comes with a package that is not installed.
    """
    return find.load(name)


def bounds(net: Net, input_set: InputSet, method: str | Bounder = "crown", budget: Budget | None = None) -> Interval:
    """Sound elementwise bounds of the network's output over a set.

    Args:
        net: the network.
        input_set: such as `Box` or `LpBall`, one set a sample.
        method: a name that `epsball list bounders` shows, or a bounder with its options, such as `Crown(slope="same")`.
        budget: memory; the default is 2 GiB.

    Returns:
        Lower and upper bounds, (B, K) each.

    Raises:
        BadConfig: the budget does not hold one row of one sample.
        BadShape: the set and the network do not fit.
        UnsupportedOp: the network has an operator without a bound rule.
    """
    network = captured(net, sets_of(input_set).centre)
    chosen = bounders[method]() if isinstance(method, str) else method
    with torch.no_grad(), exact_arithmetic():
        return output_interval(Within(chosen, budget or Budget()), network.prepare(), input_set, (budget or Budget()).bytes)


def attack(  # noqa: PLR0913 - the public surface names every option
    net: Net,
    x: Inputs,
    y: Labels,
    *,
    eps: Radius | None = None,
    norm: NormName = "linf",
    clip: Clip = UNIT,
    method: str | Attack = "pgd",
    seed: int = 0,
    threshold: float = 0.0,
    threat: Threat | None = None,
) -> Result:
    """Look for inputs in a ball that change the answer.

    Args:
        net: the network; an attack needs no capture, so any module will do. It is left as it was.
        x: (B, *x) inputs in the valid range, as a tensor, array or lists; or any input set, such as `Patch(x, 4)`.
        y: (B,) labels, integers of any type; or a `Property`.
        eps: radius, in the units of x: a number, a fraction such as "8/255", or a tensor: one a sample, or one a feature.
        norm: "linf", "l2", "l1" or "l0", or the order: 2, `float("inf")`.
        clip: the valid range, or None.
        method: a name that `epsball list attacks` shows, or an attack with its options, such as `PGD(steps=100, restarts=5)`.
        seed: of everything random.
        threshold: of a network with one output: labels are 1 where it is above, else 0.
        threat: what may happen to an input, in place of eps and norm; a ball without a range is cut to `clip`.

    Returns:
        The worst inputs found, their outputs and margins; `success` where the label is beaten.

    Raises:
        BadData: labels out of range, or inputs outside the valid range.
        BadShape: inputs, labels and network do not fit; labels that are not one integer a sample.
    """
    input_set = input_set_of(inputs_of(x, net), eps, norm, clip, threat)
    centre = input_set.centre
    generator = torch.Generator(device=centre.device).manual_seed(check_seed(seed))
    function, outputs = function_of(net, centre)
    return attack_of(method)(function, input_set, property_of(y, input_set, outputs, threshold), generator)


def verify(  # noqa: PLR0913 - the public surface names every option
    net: Net,
    x: Inputs,
    y: Labels,
    *,
    eps: Radius | None = None,
    norm: NormName = "linf",
    clip: Clip = UNIT,
    method: str | Verifier | None = None,
    timeout: float = math.inf,
    threshold: float = 0.0,
    threat: Threat | None = None,
) -> Verdicts:
    """Decide for each sample whether every input of its ball keeps its label.

    Args:
        net: the network.
        x: (B, *x) inputs in the valid range, as a tensor, array or lists; or any input set, such as `Patch(x, 4)`.
        y: (B,) labels, integers of any type; or a `Property`.
        eps: radius, in the units of x: a number, a fraction such as "8/255", or a tensor: one a sample, or one a feature.
        norm: "linf", "l2", "l1" or "l0", or the order: 2, `float("inf")`.
        clip: the valid range, or None.
        method: names with commas, as of --method ("auto,lp"), or a verifier with its options; the default is the ladder, "auto":
            attack, then IBP, CROWN-IBP and CROWN on what is left.
        timeout: seconds for the whole batch; what is not reached is "timeout", never an answer.
        threshold: of a network with one output: labels are 1 where it is above, else 0.
        threat: what may happen to an input, in place of eps and norm; a ball without a range is cut to `clip`.

    Returns:
        One verdict a sample. "verified" is a proof up to the arithmetic that the verdict states; "unknown" says nothing.

    Raises:
        Unsound: an attack beat a proof: a defect of this package.
        BadData, BadShape, UnsupportedOp: as for `attack` and `bounds`.
    """
    input_set = input_set_of(inputs_of(x, net), eps, norm, clip, threat)
    network = captured(net, input_set.centre, mixed=True)
    network.plan.boundable()  # before an attack is run for nothing
    prop = property_of(y, input_set, network.classes, threshold)
    problem = Problem(network.prepare(), input_set, prop, network.module)
    if isinstance(verifier := verifier_of(method), Cells) and not isinstance(input_set, Divisible):
        raise BadConfig(
            f"a {type(input_set).__name__} has no cells", where="method", fix="give the ladder itself: method=cells.ladder"
        )
    verdicts = verifier(problem, Budget(seconds=timeout))
    if not isinstance(y, Property):
        warn_near_chance(sum(v.method != "clean" for v in verdicts), len(verdicts), max(2, network.classes))
    return Verdicts(verdicts)


def radius(  # noqa: PLR0913 - the public surface names every option
    net: Net,
    x: Inputs,
    y: Labels,
    *,
    high: float | str | None = None,
    norm: NormName = "linf",
    clip: Clip = UNIT,
    method: str = "crown",
    budget: Budget | None = None,
    threshold: float = 0.0,
) -> Float[Tensor, " B"]:
    """The largest radius that a method certifies around each sample: no input within it changes the answer.

    Args:
        net: the network.
        x: (B, *x) inputs in the valid range.
        y: (B,) labels, integers of any type.
        high: the largest radius that is tried; the default is the width of the valid range, for l2 its diagonal.
        norm: "linf" or "l2".
        clip: the valid range, or None.
        method: any name that `epsball list bounders` shows, by bisection; "envelope", "lipschitz" or "lipschitz-local".
        budget: memory; the default is 2 GiB.
        threshold: of a network with one output: labels are 1 where it is above, else 0.

    Returns:
        (B,); every radius was proven, up to the arithmetic. 0 where nothing is proven, and where the answer is not the label.

    Raises:
        BadConfig: an unknown method or norm, or a budget that does not hold one row of one sample.
        BadData, BadShape, UnsupportedOp: as for `attack` and `bounds`.
    """
    check_clip(clip)
    x, y, name = inputs_of(x, net), labels_of(y), norm_of(norm)
    network = captured(net, x)
    reach = widest(name, clip, x[0].numel()) if high is None else float(radius_of(high, "high"))
    search = Search(reach, name, clip, budget=budget or Budget())
    prop = robust(as_labels(y, count=len(x)).to(x.device), network.classes, x.dtype, threshold)
    with exact_arithmetic():
        return radius_by(method, search)(network.prepare(), x, prop)


def smooth(
    net: Net,
    *,
    sigma: float,
    classes: int | None = None,
    clip: Clip = UNIT,
    batch: int | None = None,
    seed: int = 0,
    threshold: float = 0.0,
) -> Smoothed:
    """The network under Gaussian noise: `.predict(x)`, `.certify(x)` for the largest radius, `.certify_at(x, r)` for one.

    Args:
        net: the network; any module in evaluation mode will do.
        sigma: standard deviation of the noise, in the units of the inputs.
        classes: how many outputs; read from a captured network. One output is a binary classifier by its sign.
        clip: the valid range of the inputs, or None. Noisy copies are not cut to it.
        batch: samples of one forward pass; no count depends on it.
        seed: of all noise.
        threshold: of a network with one output: class 1 is above it, class 0 is not.

    Raises:
        BadConfig: sigma is not positive, the number of classes is missing, or a threshold beside several outputs.
    """
    module, outputs = (net.module, net.classes) if isinstance(net, Network) else (net, classes)
    if outputs is None:
        raise BadConfig("a plain module does not say how many classes it has", where="epsball.smooth", fix="give classes=10")
    if check_threshold(outputs, threshold):
        module, outputs = TwoClasses(module, threshold), 2
    return Smoothed(module, sigma, outputs, batch, seed, clip)


def train(
    net: nn.Module,
    data: Dataset,
    *,
    recipe: str | Recipe = "fast-ibp",
    eps: float | None = None,
    epochs: int = 10,
    **options: Any,
) -> Network:
    """Train a module in place, without a run folder: `epsball train` keeps a record and checkpoints.

    Args:
        net: maps (B, *x) to (B, K); trained in place. One output is a binary classifier by its sign: its logistic loss is trained.
        data: such as `epsball.load_data("mnist")`.
        recipe: a name that `epsball list recipes` shows, or a recipe with its options, such as `FastIbp(eps=0.3, ramp=20)`.
        eps: radius of a named recipe; "standard" has none, and takes none: give `test_eps` to judge it at a radius.
        epochs: passes over the training examples; a named recipe warms up over a tenth and ramps over half of them, and its
            learning rate falls after three quarters and nine tenths of them, as that of `epsball train` does.
        **options: of `TrainConfig`: batch, lr, milestones, seed, protocol, ...

    Returns:
        The captured network, with the weights of the epoch that the protocol selected; of two outputs where the module has one.

    Raises:
        BadConfig, BadData, BadShape: options, data or network cannot be used.
    """
    if eps is not None and not isinstance(recipe, str):
        raise BadConfig("a recipe has its own eps", where="eps", fix=f"leave it out, or give {type(recipe).__name__}(eps={eps})")
    chosen = named_recipe(recipe, eps, epochs) if isinstance(recipe, str) else recipe
    config = build(TrainConfig, {"epochs": epochs, **options}, "train")
    if isinstance(recipe, str) and "milestones" not in options:
        config = replace(config, milestones=milestones(config.epochs))
    chosen = chosen.over(data.columns)
    network = of_classes(Network.capture(net, data.train.shape))
    judge = judged_at(chosen, config, data.clip)
    for _ in fit(network, chosen, data.train, config, judge, test=data.test):
        pass
    return network
