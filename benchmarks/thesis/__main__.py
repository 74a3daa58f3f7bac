"""`python -m benchmarks.thesis`: see the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.thesis import __doc__ as about
from benchmarks.thesis.rows import ARMS, BLOCKS, Row
from benchmarks.thesis.runs import RECORDS, outcomes, train


def main() -> None:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "list"))
    parser.add_argument("--scale", choices=("full", "miniature"), default="full")
    parser.add_argument("--blocks", default="mnist", help=f"of {', '.join(BLOCKS)}")
    parser.add_argument("--rows", default="ours,ibp,crown-ibp", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--networks", default="cnn-7")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--eps", default="", help="another radius than the block's")
    parser.add_argument("--protocol", choices=("validation", "literature"), default="validation")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/thesis"))
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    rows = [
        Row(BLOCKS[block], arm, network, int(seed), options.scale, options.protocol, options.eps)
        for seed in options.seeds.split(",")
        for block in options.blocks.split(",")
        for network in options.networks.split(",")
        for arm in options.rows.split(",")
    ]
    if options.action == "train":
        train(rows, options.out, options.records, device=options.device, quiet=options.quiet)
    for found in outcomes(options.records):
        marked = "  collapsed" if found.collapsed else ""
        print(f"{found.row.name}: clean error {found.clean:.2f} %, verified error {found.verified:.2f} %{marked}")


if __name__ == "__main__":
    main()
