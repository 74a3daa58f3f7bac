"""The Wong-Kolter MNIST network at linf 0.1: its published certified error, and what tighter methods make of it.

    python -m benchmarks.wong_kolter --shard 0/2 --out wk-0.jsonl
    python -m benchmarks.wong_kolter --summarise wk-0.jsonl wk-1.jsonl --merge wong-kolter.jsonl.gz
    python -m benchmarks.wong_kolter --summarise benchmarks/records/wong-kolter.jsonl.gz

Wong and Kolter (arXiv:1711.00851) certify by the dual of the linear relaxation, which is same-slope CROWN with the box not cut at 0
and 1: 1.80 % clean error and 5.82 % certified error. One line an image is appended and synced; a killed run goes on where it
stopped. An image's margins stand in the order of the header's methods, null where the image is misclassified. Margins nearer to 0
than RECHECK are computed again in float64, so no count hangs on float32 rounding. About 0.2 s an image for same-uncut and 0.08 s
for each of the others on one core: an hour for all 10,000.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from benchmarks.command import ended
from benchmarks.opened import opened
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import Crown
from epsball.device import exact_arithmetic, tolerance
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import Clip, LpBall
from epsball.record.journal import Journal, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epsball.bounding.base import Bounder
    from epsball.ops.prepared import Prepared

EPS = 0.1
RECHECK = 1e-3
CHUNK = 2**25  # rows in flight: smaller temporaries are recycled by the allocator, a third faster here than 2**27
CUT: Clip = (0.0, 1.0)
METHODS: dict[str, tuple[Bounder, Clip]] = {
    "same-uncut": (Crown(slope="same", intermediate="crown", chunk_bytes=CHUNK), None),
    "ibp": (Ibp(), CUT),
    "adaptive": (Crown(slope="adaptive", intermediate="tightest", chunk_bytes=CHUNK), CUT),
    "same": (Crown(slope="same", intermediate="tightest", chunk_bytes=CHUNK), CUT),
}
CUT_METHODS = ("ibp", "adaptive", "same")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def shared_folder() -> Path:
    """The folder `shared` beside this repository, or beside the folder that holds its worktrees."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data").is_dir():
            return parent / "shared"
    raise BadConfig("no folder `shared` beside the repository", fix="give --shared FOLDER")


def load(shared: Path) -> nn.Module:
    """The published network."""
    module = nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    path = shared / "data/models/wong-kolter-certified/mnist.pth"
    module.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return module.eval()


def test_set(shared: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """MNIST's 10,000 test images as uint8 (N, 1, 28, 28), and their labels."""
    raw = shared / "data/MNIST/raw"
    images = np.frombuffer(gzip.decompress((raw / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((raw / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return torch.from_numpy(images.reshape(-1, 1, 28, 28).copy()), torch.from_numpy(labels.astype(np.int64))


def margins(method: str, prepared: Prepared, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The least proven margin of each image (B,) in the network's precision."""
    bounder, clip = METHODS[method]
    prop = robust(y, 10, prepared.dtype)
    with torch.no_grad(), exact_arithmetic():
        return bounder(prepared, LpBall(x.to(prepared.dtype) / 255, EPS, "linf", clip), prop.rows()).amin(0)


def checked_margins(method: str, network: Network, x: torch.Tensor, y: torch.Tensor, dtype: torch.dtype) -> list[float]:
    """Margins in one precision, those near 0 again in float64."""
    found = margins(method, network.prepare(dtype), x, y).double()
    near = found.abs() < RECHECK
    if dtype != torch.float64 and bool(near.any()):
        found[near] = margins(method, network.prepare(torch.float64), x[near], y[near])
    return [float(m) for m in found]


def lines(network: Network, x: torch.Tensor, y: torch.Tensor, chosen: list[int], args: argparse.Namespace) -> Iterable[list[Any]]:
    """One batch of lines after the other: one for each image, and one with the batch's seconds."""
    dtype = DTYPES[args.dtype]
    for start in range(0, len(chosen), args.batch):
        index = torch.tensor(chosen[start : start + args.batch])
        bx, by = x[index], y[index]
        with torch.no_grad():
            predicted = network.module(bx.float() / 255).argmax(1)
        right = (predicted == by).nonzero()[:, 0]
        found: list[dict[int, float]] = []
        seconds = {}
        for method in args.methods:
            began = time.perf_counter()
            values = checked_margins(method, network, bx[right], by[right], dtype) if len(right) else []
            seconds[method] = round(time.perf_counter() - began, 4)
            found.append({int(i): float(f"{v:.6g}") for i, v in zip(right, values, strict=True)})
        images: list[Any] = [
            {
                "type": "image",
                "index": int(index[i]),
                "label": int(by[i]),
                "predicted": int(predicted[i]),
                "margins": [values.get(i) for values in found],
            }
            for i in range(len(index))
        ]
        yield [*images, {"type": "batch", "bounded": len(right), "seconds": seconds}]


def measure(args: argparse.Namespace) -> None:
    """Append a line for each image of the shard that has none yet."""
    torch.set_num_threads(1)
    shared = args.shared or shared_folder()
    x, y = test_set(shared)
    part, parts = args.shard
    wanted = range(len(y))[part::parts][: args.limit]
    config = {"eps": EPS, "dtype": args.dtype, "methods": args.methods, "recheck": RECHECK, "shard": [part, parts]}
    network = Network.capture(load(shared), (1, 28, 28))
    began, count = time.monotonic(), 0
    with Journal(args.out) as record:
        known = opened(record, config, network.module, (x, y), DTYPES[args.dtype], __file__, anyway=args.anyway)
        done = {line["index"] for line in known if line["type"] == "image"}
        todo = [i for i in wanted if i not in done]
        for batch in lines(network, x, y, todo, args):
            for number, line in enumerate(batch, 1):
                record.append(line, sync=number == len(batch))
            count += len(batch) - 1
            if count % (25 * args.batch) < args.batch:
                print(f"{count}/{len(todo)}  {(time.monotonic() - began) / count:.3f} s an image", flush=True)
    print(f"{len(done) + count} of {len(wanted)} images are in {args.out}")


def merge(files: list[Path], out: Path, code: str) -> None:
    """All shards in one compressed record, images in order, under one header that says by which rule they are counted.

    Raises:
        BadConfig: an image is missing, or two shards were measured differently.
    """
    shards = [_lines(file) for file in files]
    configs = [{key: value for key, value in shard[0]["config"].items() if key != "shard"} for shard in shards]
    images = sorted((line for shard in shards for line in shard if line["type"] == "image"), key=lambda line: line["index"])
    if any(config != configs[0] for config in configs) or [line["index"] for line in images] != list(range(len(images))):
        raise BadConfig("these shards are not one whole measurement", where=str(out), fix="give every shard of one run once")
    rule = f"one rule for all: margins in {configs[0]['dtype']}, those nearer than {RECHECK:g} to 0 again in float64"
    header = {
        **shards[0][0],
        "command": ["python", "-m", "benchmarks.wong_kolter", "--shard", f"i/{len(shards)}", "--out", "FILE.jsonl"],
        "code": code,
        "config": configs[0],
        "config_hash": digest(configs[0]),
        "arithmetic": f"{rule}; proven where margin > {tolerance(DTYPES[configs[0]['dtype']]):g}",
        "shards": [shard[0] for shard in shards],
    }
    batches = [{**line, "shard": i} for i, shard in enumerate(shards) for line in shard if line["type"] == "batch"]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (header, *images, *batches))
    out.write_bytes(gzip.compress(text.encode(), mtime=0))


def _lines(file: Path) -> list[dict[str, Any]]:
    """A record's lines, compressed or not."""
    return [json.loads(line) for line in gzip.open(file, "rt")] if file.suffix == ".gz" else read(file)


def summary(files: list[Path]) -> dict[str, Any]:
    """Counts of errors over all images of some files: clean, by each method, and by the union of those with the box cut."""
    images: dict[int, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    bounded, least = 0, tolerance(torch.float64)
    for file in files:
        header, *rest = _lines(file)
        names = header["config"]["methods"]
        least = max(least, tolerance(DTYPES[header["config"]["dtype"]]))
        for line in rest:
            if line["type"] == "batch":
                bounded += line["bounded"]
                seconds = {m: seconds.get(m, 0.0) + s for m, s in line["seconds"].items()}
            elif line["type"] != "image":
                continue
            elif line["index"] in images:
                raise BadConfig(f"image {line['index']} was measured twice", where=str(file), fix="give each shard once")
            else:
                images[line["index"]] = {**line, "margins": dict(zip(names, line["margins"], strict=True))}
    rows = list(images.values())

    def errors(names: Iterable[str]) -> dict[str, float]:
        found = [max((r["margins"].get(n) or -math.inf for n in names), default=-math.inf) for r in rows]
        return _share(sum(not margin > least for margin in found), len(rows))

    return {
        "images": len(rows),
        "eps": EPS,
        "tolerance": least,
        "clean": _share(sum(r["predicted"] != r["label"] for r in rows), len(rows)),
        "certified": {m: errors([m]) for m in seconds},
        "union of the box cut": errors(CUT_METHODS),
        "nearest margin to 0": {m: min(abs(r["margins"][m]) for r in rows if r["margins"].get(m)) for m in seconds},
        "seconds an image": {m: round(s / max(1, bounded), 4) for m, s in seconds.items()},
    }


def _share(errors: int, count: int) -> dict[str, float]:
    return {"errors": errors, "percent": round(100 * errors / max(1, count), 4)}


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError("give i/n with 0 <= i < n")
    return int(part), int(parts)


def main() -> None:
    """Measure one shard, or summarise some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard", type=_shard, default=(0, 1), metavar="i/n")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--limit", type=int, default=None, help="only the first images of the shard")
    parser.add_argument("--anyway", action="store_true", help="go on though the code has changed; the record says so")
    parser.add_argument("--shared", type=Path, default=None)
    parser.add_argument("--summarise", nargs="+", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--merge", type=Path, metavar="FILE.jsonl.gz", help="write the files to summarise into one")
    parser.add_argument("--code", default="not named", metavar="COMMIT", help="of --merge: the code that measured")
    args = parser.parse_args()
    if not args.summarise and not args.out:
        parser.error("give --out FILE.jsonl, or --summarise FILE.jsonl ...")
    if args.summarise:
        if args.merge:
            merge(args.summarise, args.merge, args.code)
        print(json.dumps(summary(args.summarise), indent=2))
    else:
        measure(args)


if __name__ == "__main__":
    raise SystemExit(ended(main))
