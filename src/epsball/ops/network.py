"""A module with its graph and plan: what every part of the package receives."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn

from epsball.errors import BadCapture, BadData, BadShape, EpsballError
from epsball.evaluation import evaluation_mode
from epsball.graph.capture import asked, capture, unwrap
from epsball.graph.settled import first_line, floating
from epsball.ops.plan import Plan, plan
from epsball.ops.prepared import Prepared, prepare
from epsball.rounding import Rounding

if TYPE_CHECKING:
    from epsball.graph.graph import Graph, Shape
    from epsball.types import Params, Tensor


Covers = Literal["module", "real", "nothing"]
_UNIT = 2.0**-23  # of float32, relative
_ROUNDINGS = 32  # of an order of sums, as multiples of what one draw of rounded parameters moves


@dataclass(frozen=True, eq=False)
class Network:
    """A module and what was captured from it.

    Attributes:
        module: the user's own module; its parameters stay the live ones.
        plan: its graph, with every look-up done.
        inputs: dtype of the inputs of a module that has no floating-point tensor of its own to say it.
    """

    module: nn.Module
    plan: Plan
    inputs: torch.dtype = torch.float32

    @classmethod
    def capture(cls, module: nn.Module, input_shape: Shape, inputs: torch.dtype = torch.float32) -> Network:
        """Capture a module, and check the graph against it on three samples together and on each alone.

        Args:
            module: maps (B, *x) to (B, K).
            input_shape: *x, the shape of one sample; for a text model, that of its words will do.
            inputs: dtype of the inputs, where the module has no parameter or buffer to say it.

        Raises:
            BadCapture: the graph and the module differ: the module mixes its batch or froze a literal; or it has no graph.
            BadData: a parameter or an answer holds NaN or infinity.
            BadShape: it takes other inputs.
            UnsupportedOp: an operator has no bounds.
        """
        try:
            input_shape = tuple(int(n) for n in input_shape)
        except (TypeError, ValueError, RuntimeError) as error:
            what = f"the shape of one sample is no {type(input_shape).__name__}"
            raise BadShape(what, where="input_shape", fix="give a tuple: tuple(x.shape[1:])") from error
        own = unwrap(module)
        shape: Shape = getattr(own, "embedded_shape", input_shape) if _is_words(own, input_shape) else tuple(input_shape)
        plain = asked(own, shape, inputs)
        for name, tensor in (*plain.named_parameters(), *plain.named_buffers()):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise BadData(
                    f"the network's {name!r} holds NaN or infinity",
                    fix="train it again, or load a whole checkpoint",
                )
        network = cls(plain, plan(capture(plain, shape, inputs)), inputs)
        _check(network)
        return network

    @property
    def graph(self) -> Graph:
        return self.plan.graph

    @property
    def input_shape(self) -> Shape:
        return self.graph.input_shape

    @property
    def data_shape(self) -> Shape:
        """Shape of one example as a data set holds it: words, for a text model."""
        shape: Shape = getattr(self.module, "token_shape", self.input_shape)
        return shape

    def embed(self, x: Tensor) -> Tensor:
        """Inputs where the graph begins: the words (B, L) of a text model become vectors (B, L, D), other inputs stay.

        A text model is a module with `embed`, `token_shape` (L,) and `embedded_shape` (L, D) that takes words as well as vectors.
        """
        if not _is_words(self.module, tuple(x.shape[1:])):
            return x
        vectors: Tensor = cast("Any", self.module).embed(x)
        return vectors

    @property
    def classes(self) -> int:
        return self.graph.output_shape[0]

    def params(self) -> Params:
        """Every parameter and buffer that the graph reads, by name: the live tensors of the module."""
        found: Params = {}
        for node in self.plan.constants:
            if node.op == "param":
                key = node.attrs["key"]
                owner, _, leaf = key.rpartition(".")
                found[key] = getattr(self.module.get_submodule(owner), leaf)
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Of the module's own arithmetic."""
        return self._like.dtype

    @property
    def _like(self) -> Tensor:
        """A tensor of the module's own dtype and device: also one that the graph does not read says what its inputs are."""
        return floating(self.module, self.inputs)

    def prepare(self, dtype: torch.dtype | None = None, covers: Covers = "module") -> Prepared:
        """Bind the parameters as they are now, for verification: detached, and in another precision if asked.

        Args:
            dtype: of the bounds, float32 or float64; None keeps the parameters' own.
            covers: "module": bounds hold for the module's own evaluation in its own precision, whatever the order of its sums;
                "real": for the network in real numbers; both give their own rounding away. "nothing": plain arithmetic, no bound of
                which is a proof: for training and for measurements.
        """
        params = {name: value.detach() for name, value in self.params().items()}
        prepared = prepare(self.plan, params, dtype or self.dtype, self.rounding(dtype, covers), like=self._like)
        if prepared.dtype == torch.float64 or covers == "nothing" or prepared.device.type == "mps":  # which has no float64
            return prepared
        return replace(prepared, precise=partial(self.prepare, torch.float64, covers))

    def rounding(self, dtype: torch.dtype | None = None, covers: Covers = "module") -> Rounding | None:
        """The arithmetic that bounds in a precision speak of; see `prepare`."""
        if covers == "nothing":
            return None
        return Rounding(dtype or self.dtype, self.dtype if covers == "module" else None)


def _is_words(module: nn.Module, shape: Shape) -> bool:
    """Whether this is the shape of a text model's words."""
    return tuple(getattr(module, "token_shape", ())) == tuple(shape) and hasattr(module, "embedded_shape")


def _check(network: Network) -> None:
    """Compare graph and module. Where hidden values are large and cancel, float32 differs by its order of sums alone.

    So a difference in float32 is none if there is none in float64, and if it is no larger than what rounding makes of this graph.
    """
    plain = network.prepare(covers="nothing")
    try:
        _compare(network.module, plain)
    except BadCapture as differs:
        if network.dtype != torch.float32 or plain.device.type == "mps":  # which has no float64
            raise
        try:
            _compare(copy.deepcopy(network.module).double(), network.prepare(torch.float64, covers="nothing"))
            _compare(network.module, plain, slack=_ROUNDINGS * _moved_by_rounding(network))
        except Exception:  # noqa: BLE001 - the module cannot be run in float64, or differs there, too: what was found first stands
            raise differs from None


def _moved_by_rounding(network: Network) -> float:
    """How far the graph's outputs move, computed in float64, where every parameter is off by up to a unit of float32."""
    generator = torch.Generator().manual_seed(2)
    exact, moved = network.prepare(torch.float64, covers="nothing"), 0.0
    x = _samples(exact)
    for _ in range(3):
        off = {
            name: value.detach()
            * (1 + _UNIT * (2 * torch.rand(value.shape, generator=generator, dtype=torch.float64) - 1)).to(value.device)
            if value.is_floating_point()
            else value
            for name, value in network.params().items()
        }
        moved = max(moved, float((prepare(network.plan, off, torch.float64).forward(x) - exact.forward(x)).abs().max()))
    return moved


def _samples(like: Prepared) -> Tensor:
    """Three inputs in [0, 1], in a prepared network's precision."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(3, *like.plan.graph.input_shape, generator=generator, dtype=torch.float32)
    return x.to(like.device, like.dtype)


def _compare(module: nn.Module, like: Prepared, slack: float = 0.0) -> None:
    """Three samples together, by the module and by the graph, and each alone.

    Args:
        module: the user's own.
        like: the graph.
        slack: what they may differ by besides a share of the outputs.

    Raises:
        BadCapture: they differ.
    """
    x = _samples(like)
    try:
        with evaluation_mode(module), torch.no_grad():
            together, ours = module(x), like.forward(x)
            one = [module(x[i : i + 1]) for i in range(len(x))]
            ours_alone = torch.cat([like.forward(x[i : i + 1]) for i in range(len(x))])
    except EpsballError:
        raise
    except Exception as error:
        raise BadCapture(
            f"the network answers a batch, and not one sample alone: {first_line(error)}",
            where=type(module).__name__,
            fix="treat each sample on its own: no batch statistics, no literal batch size in view() or reshape()",
        ) from error
    if not bool(together.isfinite().all()):
        raise BadData(
            "the network's output is NaN or infinite on inputs in [0, 1], where its graph is compared with it",
            where=type(module).__name__,
            fix="keep what log, sqrt and divisions are given away from 0: .clamp(min=1e-6)",
        )
    lost = next((tuple(answer.shape) for answer in one if answer.shape != (1, *together.shape[1:])), None)
    if lost is not None:
        raise BadCapture(
            f"the network answers one sample alone with shape {lost}, and {len(x)} with {tuple(together.shape)}",
            where=type(module).__name__,
            fix="keep the batch axis of a single sample: squeeze one axis by its number, or .flatten(1)",
        )
    alone = torch.cat(one)
    scale = 1e-4 * (1 + together.abs().max()) + slack
    for other, what in (
        (ours, "the captured graph"),
        (alone, "one sample alone"),
        (ours_alone, "one sample alone"),
    ):
        if not bool(((together - other).abs() <= scale).all()):
            raise BadCapture(
                f"the network's answer on a batch differs from {what}",
                where=type(module).__name__,
                fix="treat each sample on its own: no batch statistics, no literal batch size in view() or reshape()",
            )


def accuracy(logits: Tensor, y: Tensor) -> float:
    """The share of samples whose largest logit is the label's."""
    return float((logits.argmax(1) == y).double().mean())
