"""The configuration of a training run from what a caller names: the one start behind `epsball train` and `epsball.Record`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from epsball.config import RunConfig, against, load
from epsball.errors import BadConfig, did_you_mean
from epsball.training.base import fitted, recipes
from epsball.training.config import TrainConfig
from epsball.training.schedule import milestones
from epsball.training.settings import names, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.problem.threat import Threat


def configured(
    recipe: str | None,
    overrides: Sequence[str] = (),
    *,
    data: str | None = None,
    model: str | None = None,
    eps: str | None = None,
    threat: Threat | None = None,
) -> RunConfig:
    """The configuration of a run.

    Args:
        recipe: a recipe's name (its schedule is fitted to the epochs), a published setting's, or a TOML file.
        overrides: `table.key=value`, as `epsball.config.load` takes them.
        data: name of the data set; default: the setting's own, or mnist.
        model: name of the architecture; default: the setting's own, or cnn-small with batch norm.
        eps: radius, as text.
        threat: instead of a radius.

    Raises:
        BadConfig: unknown names, a radius beside a threat, a recipe that takes none.
        BadFile: no such TOML file, or it is malformed.
    """
    if threat is not None and eps is not None:
        raise BadConfig("--eps beside a threat", where=f"--eps {eps}", fix="the threat says it all: leave --eps out")
    size = "1" if threat is not None else eps
    named = {"recipe.eps": size, "data.name": data, "model.name": model}
    own = [f"{key}={value}" for key, value in named.items() if value is not None]
    config = load(_source(recipe, model or "cnn-small", _epochs(overrides)), [*own, *overrides])
    return config if threat is None else against(config, threat)


def _epochs(overrides: Sequence[str]) -> int:
    """How long a run is that a named recipe's schedule is fitted to."""
    given = [value for key, _, value in (text.partition("=") for text in overrides) if key in ("epochs", "train.epochs")]
    return int(given[-1]) if given and given[-1].isdigit() and int(given[-1]) else TrainConfig().epochs


def _source(recipe: str | None, model: str, epochs: int) -> Path | str:
    """A TOML file as it is; the name of a setting as its text; that of a recipe with schedules fitted to the epochs."""
    if recipe is None:
        raise BadConfig(
            "no recipe was named", where="epsball train", fix="epsball train fast-ibp --eps 0.1; see: epsball list recipes"
        )
    if recipe.endswith(".toml"):
        return Path(recipe)
    if recipe in names():
        return text(recipe)
    if recipe not in recipes:
        hint = did_you_mean(recipe, [*recipes, *names()])
        raise BadConfig(
            f"unknown recipe or setting {recipe!r}", fix=f"{hint or ''} see: epsball list recipes, epsball list settings".strip()
        )
    norm = "\nbatch_norm = true" if model == "cnn-small" else ""
    schedule = "".join(f"\n{name} = {value}" for name, value in fitted(recipes[recipe], epochs).items())
    return f"""
[recipe]
name = "{recipe}"{schedule}
[train]
milestones = {list(milestones(epochs))}
[model]
name = "{model}"{norm}
[data]
name = "mnist"
"""
