"""How far float32 bounds lie from float64 ones, on the same boxes: the figures of docs/explanation/rounding.md.

    OMP_NUM_THREADS=1 python -m benchmarks.rounding [--shared ../shared/data]

For every network, method and radius the margins of 64 samples are bounded in float32 and in float64. The box is the same:
float32 ends are float64 numbers. Printed are the largest difference, the largest one in the unsafe direction (float32 above
float64), that one relative to the largest margin, and how many margins change the verdict under the package's tolerance.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.small_nets import conv, digits, mlp, trained
from epsball.bounding.base import Bounder
from epsball.bounding.crown import Crown, CrownIbp
from epsball.bounding.ibp import Ibp
from epsball.device import exact_arithmetic, tolerance
from epsball.graph.network import Network
from epsball.rows import Rows
from epsball.spec.property import robust
from epsball.spec.sets import LpBall

SAMPLES = 64
METHODS: dict[str, Bounder] = {
    "ibp": Ibp(),
    "crown-ibp, same": CrownIbp("same"),
    "crown, same": Crown("same", "crown"),
    "crown, adaptive": Crown(),  # a slope that rounding flips gives another, equally sound bound: no pure rounding error
}


def networks(shared: Path | None) -> Iterator[tuple[str, nn.Module, Tensor, tuple[float, ...]]]:
    """Name, module, inputs and the radii to try."""
    torch.manual_seed(0)
    yield "random mlp 784-256-256-10", mlp(784, 256, 256, 10), torch.rand(SAMPLES, 784), (0.001, 0.02)
    yield "random conv (Wong-Kolter's shape)", conv(), torch.rand(SAMPLES, 1, 28, 28), (0.001, 0.02)
    x, y, test, _ = digits()
    yield "digits mlp, IBP-trained", trained(x, y, eps=0.1), test[:SAMPLES], (0.02, 0.1)
    yield "the same, logits times 1000", louder(trained(x, y, eps=0.1)), test[:SAMPLES], (0.02, 0.1)
    if shared is not None:
        module = conv()
        weights = shared / "models" / "wong-kolter-certified" / "mnist.pth"
        module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        yield "Wong-Kolter's network, MNIST pictures", module, pictures(shared / "MNIST" / "raw"), (0.02, 0.1)


def pictures(folder: Path) -> Tensor:
    """The first test pictures of MNIST."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        raw = file.read()[16 : 16 + SAMPLES * 784]
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(SAMPLES, 1, 28, 28).float() / 255


def louder(module: nn.Sequential) -> nn.Sequential:
    """The same decisions with margins 1000 times as large: what an absolute tolerance does not see."""
    last = module[-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(1000)
    return module


def outside(net: Network, x: Tensor) -> tuple[int, int, float]:
    """At radius 0: float64 outputs outside their float32 IBP interval, all outputs, the largest distance by the largest output."""
    rows = torch.eye(net.classes)[:, None].expand(-1, len(x), -1)
    low = Ibp()(net.prepare(torch.float32), LpBall(x, 0.0), Rows(rows))
    high = -Ibp()(net.prepare(torch.float32), LpBall(x, 0.0), Rows(-rows))
    exact = net.prepare(torch.float64).forward(x.double()).T
    beyond = torch.maximum(low.double() - exact, exact - high.double())
    return int((beyond > 0).sum()), beyond.numel(), float(beyond.max() / exact.abs().max())


def main() -> None:
    """Print one Markdown table row for each network, radius and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=None, help="the shared data: adds a trained network on real pictures")
    shared = parser.parse_args().shared
    torch.set_num_threads(1)
    print("| network | eps | method | largest margin | largest difference | unsafe direction | relative | verdicts that differ |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    zero, tried = [], list(networks(shared))
    with torch.no_grad(), exact_arithmetic():
        for name, module, x, radii in tried:
            net = Network.capture(module, tuple(x.shape[1:]))
            single, double = net.prepare(torch.float32), net.prepare(torch.float64)
            label = single.forward(x).argmax(1)
            for eps in radii:
                ball = LpBall(x, eps, clip=(0.0, 1.0))
                wide = ball.to(torch.float64, x.device)
                for method, bounder in METHODS.items():
                    a = bounder(single, ball, robust(label, net.classes).rows()).double()
                    b = bounder(double, wide, robust(label, net.classes, torch.float64).rows())
                    unsafe = float((a - b).clamp(min=0).max())
                    scale = float(b.abs().max())
                    differ = int(((a > tolerance(torch.float32)) != (b > tolerance(torch.float64))).sum())
                    print(
                        f"| {name} | {eps:g} | {method} | {scale:.3g} | {float((a - b).abs().max()):.1e} | {unsafe:.1e}"
                        f" | {unsafe / scale:.1e} | {differ} of {a.numel()} |"
                    )
            zero.append((name, *outside(net, x)))
    print("\n| network | float64 outputs outside float32 IBP at eps 0 | largest distance, by the largest output |")
    print("| --- | --- | --- |")
    for name, count, of, distance in zero:
        print(f"| {name} | {count} of {of} | {distance:.1e} |")


if __name__ == "__main__":
    main()
