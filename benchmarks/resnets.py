"""Real residual networks: the trained CIFAR-10 ResNets of ../shared/data/models, and a ResNet-50 at 224 pixels.

    OMP_NUM_THREADS=1 python -m benchmarks.resnets cifar --networks 20,32,56 --methods ibp,crown-ibp
    OMP_NUM_THREADS=1 python -m benchmarks.resnets cifar --networks 20 --methods crown --images 1
    OMP_NUM_THREADS=1 python -m benchmarks.resnets cifar --networks 20,32,56 --methods crown --side 8 --eps 1e-4,1e-3
    OMP_NUM_THREADS=1 python -m benchmarks.resnets resnet50

`cifar`: accuracy on the first 1,000 test pictures of CIFAR-10 (`epsball data get cifar10`), then for each network, radius (linf, in
[0, 1]) and method the bounds of the first pictures that are classified rightly, one at a time: mean of the least margin, mean width
of the ten outputs, CPU seconds, and peak memory above what was there before with the default budget of 2 GiB. Each bound is held
against points of the set and PGD. `--side 8` shrinks the pictures: the networks take any size, and CROWN takes about a hundredth
of the time there. `resnet50` has random weights: intervals of one random picture. One thread.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.command import ended
from benchmarks.wong_kolter import shared_folder
from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders
from epsball.bounding.budget.within import Within
from epsball.bounding.ibp import Ibp
from epsball.data.find import load as load_data
from epsball.device import exact_arithmetic
from epsball.errors import Unsound
from epsball.forms.rows import Rows
from epsball.models.base import Normalise
from epsball.models.foreign import load_state_dict_file
from epsball.ops.network import Network
from epsball.problem.problem import Budget
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FOLDER = "data/models/akamaster-cifar10-resnet"


class Block(nn.Module):
    """A residual block of CIFAR ResNets; its shortcut drops every second pixel and pads channels with zeros (option A)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.stride, self.more = stride, (after - before) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        short = x if self.stride == 1 else F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + short)


class ResNet(nn.Module):
    """He et al.'s ResNet of 6 n + 2 layers for CIFAR-10 (2016, arXiv:1512.03385, section 4.2)."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)

        def stage(before: int, after: int) -> nn.Module:
            return nn.Sequential(*(Block(before if i == 0 else after, after, 1 + (i == 0 and before != after)) for i in range(n)))

        self.layer1, self.layer2, self.layer3 = stage(16, 16), stage(16, 32), stage(32, 64)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(F.avg_pool2d(h, h.shape[3]).view(h.shape[0], -1))


class Bottleneck(nn.Module):
    """A block of ResNet-50. Random branches are scaled down, or values would double with every block."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        if before == after and stride == 1:
            self.short = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(0.2 * self.body(x) + self.short(x))


def resnet50() -> nn.Module:
    """ResNet-50 with its 1,000 classes and random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(blocks):
            layers.append(Bottleneck(before, width, stride if i == 0 else 1))
            before = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)).eval()


def trained(path: Path, side: int = 32) -> nn.Module:
    """One of the trained networks with its normalisation in front, for pictures in [0, 1]; its depth stands in the file's name."""
    depth = int(path.name.removeprefix("resnet").partition("-")[0])
    return nn.Sequential(Normalise(MEAN, STD, (3, side, side)), load_state_dict_file(ResNet((depth - 2) // 6), path)).eval()


def files(shared: Path) -> list[Path]:
    """The trained networks, the smallest first."""
    return sorted((shared / FOLDER).glob("*.th"), key=lambda path: path.stat().st_size)


class Found(NamedTuple):
    """What one bound gives for one picture: least margin, mean width of the outputs, CPU seconds, peak memory in MiB."""

    margin: float
    width: float
    seconds: float
    memory: float


def forget() -> None:
    """Hand freed memory back to the system and reset the peak (Linux with glibc)."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def memory(kind: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def bound(network: Network, ball: LpBall, label: torch.Tensor, method: str) -> Found:
    """One method on one picture, within the default budget; the margins are held against points of the set and PGD."""
    prop = robust(label, network.classes)
    units = torch.eye(network.classes)[:, None]
    rows = Rows(torch.cat((prop.C, units, -units)))
    forget()
    before, begin = memory("VmRSS"), time.process_time()
    with torch.no_grad(), exact_arithmetic():
        lower = Within(bounders[method](), Budget())(network.prepare(), ball, rows)
    seconds, peak = time.process_time() - begin, memory("VmHWM")
    margins, ends = lower[: network.classes - 1], -lower[network.classes - 1 :].view(2, -1).sum(0)
    least = PGD()(network.module, ball, prop, torch.Generator().manual_seed(0)).margin
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(20):
            values = prop.margins(network.module(ball.sample(generator)))
            least = torch.minimum(least, values.amin(0))
            if bool((margins > values + 1e-4 * (1 + values.abs())).any()):
                raise Unsound(f"{method} proves margins that a point of the set does not have")
    if float(margins.min()) > float(least) + 1e-4 * (1 + abs(float(least))):
        raise Unsound(f"{method} proves {float(margins.min())}, where {float(least)} is reached")
    return Found(float(margins.min()), float(ends.mean()), seconds, peak - before)


def accuracy(module: nn.Module, count: int = 1000) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The share of the first test pictures that are classified rightly, and the first eight of those."""
    test = load_data("cifar10").test
    chosen = torch.arange(count)
    with torch.no_grad():
        right = torch.cat([module(test.inputs(part)).argmax(1) == test.y[part] for part in chosen.split(250)])
    some = chosen[right][:8]
    return float(right.double().mean()), test.inputs(some), test.y[some]


def cifar(args: argparse.Namespace) -> None:
    """Print the table's rows."""
    print("| network | accuracy | side | eps | method | images | least margin | outputs' width | CPU s | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    wanted = {f"resnet{depth}" for depth in args.networks.split(",")}
    for path in files(args.shared or shared_folder()):
        name = path.name.partition("-")[0]
        if name not in wanted:
            continue
        share, x, y = accuracy(trained(path))
        module = trained(path, args.side)
        network = Network.capture(module, (3, args.side, args.side))
        x = F.avg_pool2d(x, 32 // args.side)
        with torch.no_grad():
            y = y if args.side == 32 else module(x).argmax(1)  # small pictures keep whatever the network calls them
        for eps in map(float, args.eps.split(",")):
            for method in args.methods.split(","):
                each = [bound(network, LpBall(x[i, None], eps, "linf", (0.0, 1.0)), y[i, None], method) for i in range(args.images)]
                margin, width, seconds = (sum(values) / len(each) for values in list(zip(*each, strict=True))[:3])
                numbers = f"{len(each)} | {margin:.4g} | {width:.3g} | {seconds:.2f} | {max(f.memory for f in each):.0f}"
                print(f"| {name} | {share:.1%} | {args.side} | {eps:g} | {method} | {numbers} |", flush=True)


def large(eps: float = 1e-5) -> None:
    """Intervals of ResNet-50 on one picture of 224 pixels."""
    module = resnet50()
    begin = time.process_time()
    network = Network.capture(module, (3, 224, 224))
    captured = time.process_time() - begin
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        begin = time.process_time()
        label = module(x).argmax(1)
        forward = time.process_time() - begin
        prop, ball, prepared = robust(label, 1000), LpBall(x, eps, "linf", (0.0, 1.0)), network.prepare()
        forget()
        before, begin = memory("VmRSS"), time.process_time()
        margins = Ibp()(prepared, ball, prop.rows())
        seconds, peak = time.process_time() - begin, memory("VmHWM") - before
        generator = torch.Generator().manual_seed(1)
        gap = min(float((prop.margins(module(ball.sample(generator))) - margins).min()) for _ in range(10))
    if not (math.isfinite(gap) and gap >= -1e-3 and bool(torch.isfinite(margins).all())):
        raise Unsound(f"intervals of a ResNet-50 miss a point of their set by {gap}")
    print(f"ResNet-50, 224 pixels, eps {eps:g}: capture {captured:.1f} s, forward {forward:.2f} s, intervals {seconds:.2f} s,")
    print(f"{peak:.0f} MiB above the network; least margin {float(margins.min()):.4g}, nearest point above a bound {gap:.3g}")


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cifar", "resnet50"))
    parser.add_argument("--networks", default="20,32,56", help="depths")
    parser.add_argument("--methods", default="ibp,crown-ibp")
    parser.add_argument("--eps", default="1e-5")
    parser.add_argument("--side", type=int, default=32, help="32, 16 or 8 pixels")
    parser.add_argument("--images", type=int, default=3, help="at most 8")
    parser.add_argument("--shared", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "cifar":
        cifar(args)
    else:
        large()


if __name__ == "__main__":
    raise SystemExit(ended(main))
