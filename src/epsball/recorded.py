"""What the command line writes, from Python: a folder of runs over one network, and the report of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from epsball.config import load_threat
from epsball.data import find
from epsball.data.base import Dataset, digest
from epsball.device import resolve
from epsball.errors import BadConfig, BadData
from epsball.examples import Examples
from epsball.given import captured, check_clip, inputs_of, labels_of, norm_of, radius_of
from epsball.models.adapters import of_classes
from epsball.models.store import FILE
from epsball.problem.sets import Clip
from epsball.problem.threat import Threat
from epsball.record.folder import gathered, is_run
from epsball.run.case import Case, open_case
from epsball.run.configured import configured
from epsball.run.track import Trackers
from epsball.run.train import start
from epsball.values import options as chosen

if TYPE_CHECKING:
    from epsball.given import Inputs, Labels, Net, NormName, Radius
    from epsball.record.lines import SummaryLine

Index = slice | list[int] | torch.Tensor | None
Range = Clip | Literal["own"]


class Record:
    """A folder of runs over one network: every method does what its verb does, and leaves what its verb leaves.

        record = epsball.Record("runs/people")
        record.train("ibp", data="people", model="mlp", threat=threat, epochs=20)
        record.verify("people", threat=threat)
        record.attack("people", threat=threat)
        record.report()

    Args:
        path: the folder. A run that `train` or `epsball train` left there is the network of the record.
        net: another network: a module, or one from `epsball.load`.
        name: what the report calls that network; default: the name of its class.
        device: where a network that is trained or read here runs; one that is given stays where it is.
        seed: of everything random but training, which has its own.

    Every method returns the summary that stands in its run's record: `.accuracy["verified"].value`, `.status`, `.seconds`, ...

    Raises:
        BadConfig: `path` is a file, or the folder holds a trained network and another one is given.
    """

    def __init__(
        self, path: str | Path, net: Net | None = None, *, name: str | None = None, device: str = "cpu", seed: int = 0
    ) -> None:
        self.path, self._net, self._name = Path(path), net, name
        self.device, self.seed = resolve(device), seed
        if self.path.exists() and not self.path.is_dir():
            raise BadConfig("a record is a folder, and this is a file", where=str(path), fix="name a folder")
        if net is not None and (self.path / FILE).exists():
            raise BadConfig("this folder holds a trained network", where=str(path), fix="leave net out, or name another folder")

    @property
    def runs(self) -> list[Path]:
        """The folders of its runs, in order."""
        return [path for path in gathered([self.path]) if is_run(path)]

    def train(
        self,
        recipe: str,
        *,
        data: str | None = None,
        model: str | None = None,
        eps: float | str | None = None,
        threat: Threat | str | Path | None = None,
        resume: bool = False,
        **options: object,
    ) -> SummaryLine:
        """Train the network of this record, as `epsball train` does.

        Args:
            recipe: a recipe's name, a published setting's, or a TOML file.
            data: name of a data set.
            model: name of an architecture.
            eps: radius.
            threat: instead of it, or the TOML file that says it.
            resume: go on with the run that the folder holds: the same arguments again.
            **options: of the training, such as epochs=20, batch=32, lr=3e-3, seed=1; of the recipe, such as ramp=5.

        Raises:
            BadConfig: as `epsball train`; or the record has a network of its own.
        """
        if self._net is not None:
            raise BadConfig("this record has a network of its own", where="Record.train", fix="make a Record without net")
        given = [f"{key}={_text(value)}" for key, value in options.items()]
        against = load_threat(threat) if isinstance(threat, (str, Path)) else threat
        size = None if eps is None else str(eps)
        config = configured(recipe, given, data=data, model=model, eps=size, threat=against)
        summary = start(config, self.path, Trackers(()), device=self.device, resume=resume)
        if summary is None:
            raise BadConfig("another process leads this run", where="Record.train", fix="use epsball train for several processes")
        return summary

    def verify(  # noqa: PLR0913 - the options of the verb
        self,
        x: Inputs | Dataset | str,
        y: Labels = None,
        *,
        eps: Radius | None = None,
        norm: NormName = "linf",
        threat: Threat | str | Path | None = None,
        clip: Range = "own",
        index: Index = None,
        method: str = "auto",
        cells: int | None = None,
        timeout: float = 60.0,
        float64: bool = False,
        name: str | None = None,
        resume: bool = False,
    ) -> SummaryLine:
        """Attack, then prove, as `epsball verify` does.

        Args:
            x: a data set or its name, whose test examples are judged; or (B, *x) inputs.
            y: (B,) labels, of inputs alone.
            eps: radius of a ball.
            norm: its norm.
            threat: instead of both, or the TOML file that says it.
            clip: valid range of inputs, or None; "own": a data set's own, and (0, 1) of inputs alone.
            index: which examples, as a slice, numbers or None: all.
            method: auto, or the steps of the ladder with commas between.
            cells: of sets that can be divided.
            timeout: seconds for one input.
            float64: bounds in float64.
            name: of the run's folder below the record's; default: verify-DATA-NORM-EPS.
            resume: go on with that run.

        Raises:
            Unsound: an attack beat a proof: a defect of this package.
            BadConfig, BadData, BadShape, UnsupportedOp: as `epsball.verify`.
        """
        from epsball.run.verify import Judgement, verifier_of
        from epsball.verification.ladder import steps_named

        steps = steps_named(method, "method")
        case, called = self._case(x, y, eps, norm, threat, clip, index)
        case = case.in_precision(torch.float64) if float64 else case
        verifier = verifier_of(case, steps, cells, seed=self.seed)
        return Judgement(case, verifier, timeout).run(self.path / (name or f"verify-{called}"), resume=resume)

    def attack(  # noqa: PLR0913 - the options of the verb
        self,
        x: Inputs | Dataset | str,
        y: Labels = None,
        *,
        eps: Radius | None = None,
        norm: NormName = "linf",
        threat: Threat | str | Path | None = None,
        clip: Range = "own",
        index: Index = None,
        method: str = "pgd",
        name: str | None = None,
        **options: object,
    ) -> SummaryLine:
        """Attack, as `epsball attack` does; `options` are the attack's, such as steps=100, all else as of `verify`."""
        from epsball.attacks.base import attacks
        from epsball.run.attack import assault

        case, called = self._case(x, y, eps, norm, threat, clip, index)
        made = chosen(attacks[method], [f"{key}={_text(value)}" for key, value in options.items()], "attack")
        return assault(case, made, self.path / (name or f"attack-{called}"))[0]

    def certify(  # noqa: PLR0913 - the options of the verb
        self,
        x: Inputs | Dataset | str,
        y: Labels = None,
        *,
        sigma: float,
        noise: str = "gaussian",
        radius: float | None = None,
        procedure: str | None = None,
        alpha: float | None = None,
        clip: Range = "own",
        index: Index = None,
        name: str | None = None,
        resume: bool = False,
        **options: object,
    ) -> SummaryLine:
        """Certify the smoothed network, as `epsball certify` does.

        Args:
            x: as of `verify`.
            y: likewise.
            sigma: scale of the noise.
            noise: its law.
            radius: certify at this radius; None: the largest one.
            procedure: how to sample; None: sequential.
            alpha: probability of a wrong certificate, for each input; None: 0.001.
            clip: as of `verify`.
            index: likewise.
            name: of the run's folder; default: certify-DATA-NOISE-SIGMA.
            resume: go on with that run.
            **options: of the procedure, such as cap=10000.

        Raises:
            BadConfig, BadData, BadShape: as `epsball certify`.
        """
        from epsball.run.certifiers import certifier
        from epsball.run.certify import Certification

        case, _ = self._case(x, y, 0.0, "l2", None, clip, index)
        settings = [f"{key}={_text(value)}" for key, value in options.items()]
        how = certifier(
            case.network.module,
            case,
            float(sigma),
            noise,
            radius=radius,
            procedure=procedure,
            alpha=alpha,
            settings=settings,
            seed=self.seed,
        )
        folder = self.path / (name or f"certify-{case.data.name}-{noise}-{sigma:g}")
        return Certification(case, how).run(folder, resume=resume)

    def report(self, out: str | Path = "report.html") -> Path:
        """Write the report of all runs, the very one that `epsball report` writes; returns the file.

        Raises:
            BadConfig: there are none yet.
            MissingExtra: the extra `report` is not installed.
        """
        from epsball.reporting.html import write_report

        if not self.runs:
            raise BadConfig("nothing was recorded yet", where=str(self.path), fix="train, attack, verify or certify first")
        return write_report(gathered([self.path]), Path(out))

    def _case(
        self,
        x: Any,
        y: Labels,
        eps: Radius | None,
        norm: NormName,
        threat: Threat | str | Path | None,
        clip: Range,
        index: Index,
    ) -> tuple[Case, str]:
        """What is judged, and its part of a folder's name."""
        against = load_threat(threat) if isinstance(threat, (str, Path)) else threat
        if against is not None and (eps is not None or norm != "linf"):
            raise BadConfig("a threat beside a radius or a norm", where="threat", fix="leave eps and norm out")
        if against is None and eps is None:
            raise BadConfig("a ball needs its radius", where="eps", fix="give eps, or threat=Threat(...)")
        size = radius_of(0.0 if eps is None else eps)
        if isinstance(size, torch.Tensor):
            raise BadConfig("a record's balls have one radius", where="eps", fix="give a number, or threat=Threat(eps=..., ...)")
        kind, about = (norm_of(norm), float(size)) if against is None else (against.kind, against.size)
        data = self._data(x, y, clip)
        every = torch.arange(len(data.test))
        which = every if index is None else every[index]
        if not len(which):
            raise BadConfig("no examples are left", where="index", fix=f"the set has {len(data.test)}")
        called = f"{data.name}-threat-threat" if against is not None else f"{data.name}-{kind}-{eps}".replace("/", "_")
        if self._net is None:
            case = open_case(self.path, data, which, about, norm=kind, seed=self.seed, device=self.device, threat=against)
            return case, called
        network = of_classes(captured(self._net, data.test.inputs(which[:1])), 0.0)
        label = Path(self._name or type(network.module).__name__)
        limits = None if against is None else against.of(data.columns).within(data.clip)
        case = Case(label, network, data, which, about, kind, self.seed, threat=limits, architecture=str(label))
        case.ball(data.test.inputs(which[:1]), which[:1])
        return case, called

    def _data(self, x: Any, y: Labels, clip: Range) -> Dataset:
        if isinstance(x, (str, Dataset)):
            if clip != "own":
                raise BadConfig("a data set has its own valid range", where="clip", fix="leave clip out, or give inputs and labels")
            if y is not None:
                raise BadConfig("a data set has its own labels", where="y", fix="leave y out, or give inputs and labels")
            return find.load(x) if isinstance(x, str) else x
        if y is None:
            raise BadConfig("inputs without labels", where="y", fix="give their classes, (B,) whole numbers")
        inputs, labels = inputs_of(x, self._net), labels_of(y)
        if not (isinstance(inputs, torch.Tensor) and isinstance(labels, torch.Tensor)):
            raise BadConfig("sets and properties stand in no record", where="x", fix="give inputs and labels, and eps or threat=")
        if not inputs.is_floating_point():
            raise BadData(f"inputs of {inputs.dtype}", where="x", fix="give floats in the valid range, such as x / 255")
        if not len(inputs):
            raise BadData("no inputs", where="x", fix="give a batch (B, *x)")
        limits = (0.0, 1.0) if clip == "own" else clip
        check_clip(limits)
        test = Examples(inputs.cpu(), labels.cpu())
        train = test.take(slice(0, 0))
        return Dataset("inputs", train, test, int(test.y.max()) + 1, "given in Python", (), (), limits, digest(train, test))


def _text(value: object) -> str:
    """An option's value as `--set` takes it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
