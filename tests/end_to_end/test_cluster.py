"""A real Ray cluster of two nodes on this machine, one of which is killed while it certifies an image."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import ray
import torch
from torch import nn

from epsball.data.find import load as load_data
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.record.journal import read
from epsball.run.case import Case
from epsball.run.certifiers import Sampling
from epsball.run.certify import Certification
from epsball.run.cluster import Cluster
from epsball.smoothing.core import Smoothed
from epsball.smoothing.statistics.procedures import Fixed

IMAGES, SAMPLES, BATCH = 4, 2560, 128
PASSES = 21  # of an image: one for the selection, 20 for the estimate; two seconds, in which a node can die


class Telling(nn.Module):
    """A linear classifier that leaves a line for each forward pass on a cluster, and takes its time there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        if ray.is_initialized() and os.environ.get("RAY_RAYLET_PID"):
            with (self.folder / ray.get_runtime_context().get_node_id()).open("a") as passes:
                passes.write(".")
            time.sleep(0.1)
        return self.linear(x.flatten(1))


def lines_of(path: Path) -> list[dict]:
    """The certificates of a record by image, without the time they took."""
    found = [line for line in read(path / "record.jsonl") if line["type"] == "certificate"]
    return sorted(({k: v for k, v in line.items() if k != "seconds"} for line in found), key=lambda line: line["index"])


def test_a_killed_node_loses_nothing(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster as Machines

    here = str(Path(__file__).parent)  # each machine must find the class of the network
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    passes = tmp_path / "passes"
    passes.mkdir()
    torch.manual_seed(0)
    module = Telling(passes).eval()
    data = load_data("digits")
    network = Network.capture(nn.Sequential(nn.Flatten(), module.linear), data.test.shape)
    case = Case(tmp_path / "model", network, data, torch.arange(IMAGES), 0.0, "l2")
    smoothed = Smoothed(module, 0.25, 10, batch=BATCH, clip=data.clip)
    Certification(case, Sampling(smoothed, Fixed(SAMPLES))).run(tmp_path / "here")

    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        doomed = machines.add_node(num_cpus=1)
        trace = passes / doomed.node_id

        def kill() -> None:
            while not (trace.exists() and trace.stat().st_size >= 3):
                time.sleep(0.01)
            machines.remove_node(doomed, allow_graceful=False)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        away = Certification(case, Sampling(smoothed, Fixed(SAMPLES)), cluster=Cluster(machines.address))
        away.run(tmp_path / "away")
        killer.join(timeout=60)
        assert not killer.is_alive()
    finally:
        ray.shutdown()
        machines.shutdown()

    assert lines_of(tmp_path / "away") == lines_of(tmp_path / "here")
    assert len(lines_of(tmp_path / "away")) == IMAGES
    done = {file.name: file.stat().st_size for file in passes.iterdir()}
    assert done[doomed.node_id] % PASSES  # it died in the middle of an image
    assert sum(done.values()) > IMAGES * PASSES  # which was started again elsewhere
    columns = [
        [row.split("\t")[:5] for row in (tmp_path / name / "certificates.tsv").read_text().splitlines()]
        for name in ("here", "away")
    ]
    assert columns[0] == columns[1]


def test_no_cluster_at_an_address():
    with pytest.raises(BadConfig, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        next(Cluster("127.0.0.1:1").scatter(max, 1, [2]))
