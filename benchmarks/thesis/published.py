"""Table 3.2 of the thesis: error rates in per cent as they are printed, (standard, verified), each a mean and its deviation."""

from __future__ import annotations

from typing import NamedTuple

NETWORKS = ("cnn-7", "wide-resnet", "resnext")
METHODS = ("ibp", "crown-ibp", "ours")


class Figure(NamedTuple):
    """A printed figure."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.deviation:.2f}"


class Schedule(NamedTuple):
    """A block of the table."""

    data: str
    eps: str
    epochs: int


MNIST, SHORT, LONG = Schedule("mnist", "0.4", 70), Schedule("cifar10", "8/255", 70), Schedule("cifar10", "8/255", 160)

_PRINTED: dict[tuple[Schedule, str], tuple[float, ...]] = {  # standard, deviation, verified, deviation; a network after the other
    (MNIST, "ibp"): (2.59, 0.06, 12.03, 0.09, 3.18, 0.05, 12.93, 0.17, 4.09, 0.46, 15.36, 0.94),
    (MNIST, "crown-ibp"): (2.75, 0.12, 12.04, 0.22, 3.39, 0.05, 13.10, 0.15, 4.22, 0.53, 15.24, 0.78),
    (MNIST, "ours"): (2.33, 0.08, 11.03, 0.13, 2.77, 0.02, 11.76, 0.07, 3.22, 0.08, 13.43, 0.17),
    (SHORT, "ibp"): (58.72, 0.27, 69.88, 0.10, 58.85, 0.22, 69.77, 0.32, 60.10, 0.27, 71.19, 0.21),
    (SHORT, "crown-ibp"): (63.19, 0.36, 71.29, 0.19, 62.76, 0.23, 71.82, 0.30, 64.75, 0.50, 72.50, 0.20),
    (SHORT, "ours"): (56.64, 0.48, 68.81, 0.24, 56.74, 0.40, 68.71, 0.29, 59.33, 0.86, 70.62, 0.59),
    (LONG, "ibp"): (53.80, 0.71, 67.01, 0.29, 54.31, 0.46, 67.45, 0.21, 55.23, 0.12, 68.28, 0.15),
    (LONG, "crown-ibp"): (float("nan"), float("nan"), 69.67, 0.38, 60.39, 0.33, 70.07, 0.42, 61.08, 0.35, 71.26, 0.11),
    (LONG, "ours"): (51.72, 0.40, 65.58, 0.32, 51.95, 0.27, 65.91, 0.14, 53.68, 0.33, 66.91, 0.40),
}
# the thesis' cell of CROWN-IBP at 160 epochs, CNN-7, is illegible in our copy; Shi et al. 2021 print 58.76

_BEST: dict[Schedule, tuple[float, ...]] = {
    MNIST: (2.20, 10.82, 2.75, 11.69, 3.17, 13.20),
    LONG: (51.06, 65.03, 51.63, 65.72, 53.38, 66.41),
}

PRINTED: dict[tuple[Schedule, str, str], tuple[Figure, Figure]] = {
    (block, method, network): (Figure(*row[4 * i : 4 * i + 2]), Figure(*row[4 * i + 2 : 4 * i + 4]))
    for (block, method), row in _PRINTED.items()
    for i, network in enumerate(NETWORKS)
}
BEST: dict[tuple[Schedule, str], tuple[float, float]] = {
    (block, network): (row[2 * i], row[2 * i + 1]) for block, row in _BEST.items() for i, network in enumerate(NETWORKS)
}
REPEATS = {"cnn-7": 5, "wide-resnet": 3, "resnext": 3}

# Shi et al. 2021, CNN-7, CIFAR-10, 160 epochs: verified error of each arm of the ablation
ABLATION = {"no-batch-norm": 69.43, "ibp": 67.01, "initialisation": 67.63, "regularisers": 66.34, "ours": 65.58}

CELLS = 2 * (len(PRINTED) + len(BEST))  # 66
