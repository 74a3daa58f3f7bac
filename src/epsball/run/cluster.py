"""Independent work spread over the machines of a Ray cluster: a lost worker's work is done again, a finished result is kept."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from epsball.errors import BadConfig, EpsballError, MissingExtra

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Cluster:
    """Where independent pieces of work run.

    A piece that was on a machine which died is started again on another one, without limit: pieces are deterministic, so the
    result is the one that was lost. An error that a piece raises itself is not retried: it would be raised again.

    Attributes:
        address: of the cluster's head ("10.0.0.1:6379"), "auto" for the one that this machine belongs to, or "local" for one that
            is started here and ends with the work.
        gpus: that one piece takes.
        ahead: pieces submitted for each CPU of the cluster before a result is waited for.

    Raises:
        MissingExtra: ray is not installed.
        BadConfig: no cluster answers at that address.
    """

    address: str = "local"
    gpus: float = 0
    ahead: int = 2

    def connect(self) -> Any:
        """Ray's module, connected: what is wrong with an address is known before anything is written."""
        return _connect(self.address)

    def scatter(
        self, work: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """`work(shared, item)` of every item, each pair as soon as it is there, in no fixed order.

        Args:
            work: a function of a module.
            shared: what every piece reads, sent to each machine once.
            items: one a piece.
        """
        ray = self.connect()
        try:
            common = ray.put(shared)
            task = ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=-1)(work)
            waiting: dict[Any, Item] = {}
            left = iter(items)
            while True:
                room = max(0, int(self.ahead * ray.cluster_resources().get("CPU", 1)) - len(waiting))
                waiting |= {task.remote(common, item): item for item in islice(left, room)}
                if not waiting:
                    return
                done, _ = ray.wait(list(waiting), num_returns=1, timeout=1)
                for reference in done:
                    yield waiting.pop(reference), _result(ray, reference)
        finally:
            if self.address == "local":
                ray.shutdown()


def _result(ray: Any, reference: Any) -> Any:
    """What a piece returned; its own error without Ray's wrapping."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, EpsballError):
            raise error.cause from error
        raise


def _connect(address: str) -> Any:
    """Ray's module, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("a cluster needs ray", fix="pip install 'epsball[distributed]'") from error
    if ray.is_initialized():
        return ray
    try:
        if address not in {"local", "auto"}:
            _reach(address)
        dashboard = False if address == "local" else None
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (OSError, ValueError) as error:
        raise BadConfig(
            f"no Ray cluster at {address!r}", where="--cluster", fix="start one with `ray start --head`, or use --cluster local"
        ) from error
    return ray


def _reach(address: str) -> None:
    """Raise within seconds where nobody listens: Ray itself tries for minutes, and then ends the process.

    Raises:
        OSError, ValueError: nobody does, or this is no address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()
