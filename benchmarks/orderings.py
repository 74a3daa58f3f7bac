"""Which bound is tighter, and when: the figures of docs/explanation/which-method-when.md.

    OMP_NUM_THREADS=1 python -m benchmarks.orderings

First 300 random networks, one input each: how often one method's least margin is below another's by more than rounding. Then two
networks trained on scikit-learn's digits, one plainly and one by IBP: how many test pictures each method certifies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.small_nets import digits, mlp, trained
from epsball.bounding.base import Bounder
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

NETWORKS, ROUNDING = 300, 1e-9
PAIRS: list[tuple[str, Bounder, str, Bounder]] = [
    ("crown-ibp", CrownIbp(), "ibp", Ibp()),
    ("crown, adaptive, intermediate crown", Crown(intermediate="crown"), "ibp", Ibp()),
    ("adaptive, intermediate ibp", CrownIbp("adaptive"), "same, intermediate ibp", CrownIbp("same")),
    ("adaptive, intermediate crown", Crown("adaptive", "crown"), "same, intermediate crown", Crown("same", "crown")),
    ("adaptive, intermediate tightest", Crown("adaptive"), "same, intermediate tightest", Crown("same")),
    ("crown, intermediate tightest", Crown(), "crown, intermediate crown", Crown(intermediate="crown")),
    ("crown, intermediate tightest", Crown(), "crown-ibp", CrownIbp()),
]
JUDGES: dict[str, Bounder] = {
    "ibp": Ibp(),
    "crown-ibp": CrownIbp(),
    "crown same": Crown("same", "crown"),
    "crown adaptive": Crown("adaptive", "crown"),
    "crown tightest": Crown(),
}


def margins(module: nn.Module, x: Tensor, label: Tensor, eps: float, methods: list[Bounder]) -> list[Tensor]:
    """The least lower margin of each sample, for each method, in float64."""
    net = Network.capture(module, tuple(x.shape[1:]))
    network = net.prepare(torch.float64)
    ball = LpBall(x.double(), eps, clip=(0.0, 1.0))
    rows = robust(label, net.classes, torch.float64).rows()
    return [method(network, ball, rows).amin(0) for method in methods]


def random_networks() -> None:
    """One line a pair: in how many networks the first is looser, and in how many the second."""
    looser = torch.zeros(len(PAIRS), 2, dtype=torch.int64)
    flat = [method for pair in PAIRS for method in (pair[1], pair[3])]
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        module, x = mlp(6, 20, 20, 20, 4), torch.rand(1, 6)
        found = margins(module, x, module(x).argmax(1), 0.1, flat)
        for i in range(len(PAIRS)):
            gap = float(found[2 * i] - found[2 * i + 1])
            looser[i, 0] += gap < -ROUNDING
            looser[i, 1] += gap > ROUNDING
    print(f"| first | second | first looser, of {NETWORKS} | second looser, of {NETWORKS} |\n| --- | --- | --- | --- |")
    for (name, _, other, _), (a, b) in zip(PAIRS, looser.tolist(), strict=True):
        print(f"| {name} | {other} | {a} | {b} |")


def trained_networks() -> None:
    """One line a network and radius: how many test pictures each method certifies."""
    x, y, test, label = digits()
    print("\n| training | eps | correct | " + " | ".join(JUDGES) + " | union |\n|" + " --- |" * (4 + len(JUDGES)))
    for name, eps in (("plain", 0.0), ("IBP at eps 0.1", 0.1)):
        module = trained(x, y, eps)
        right = module(test).argmax(1) == label
        for radius in (0.01, 0.05, 0.1):
            proven = [right & (least > 0) for least in margins(module, test, label, radius, list(JUDGES.values()))]
            union = torch.stack(proven).any(0)
            counts = " | ".join(str(int(p.sum())) for p in (*proven, union))
            print(f"| {name} | {radius:g} | {int(right.sum())} of {len(label)} | {counts} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    random_networks()
    trained_networks()
