"""`python -m benchmarks.thesis`: see the package."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from benchmarks.tables import markdown
from benchmarks.thesis import __doc__ as about
from benchmarks.thesis.claims import Shown, claims
from benchmarks.thesis.cost import cost
from benchmarks.thesis.rows import ARMS, BLOCKS, Row
from benchmarks.thesis.runs import RECORDS, outcomes, train
from benchmarks.thesis.table import table


def main() -> None:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "table", "claims", "cost"))
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
    if options.action == "cost":
        print(cost())
    elif options.action == "train":
        train(rows, options.out, options.records, device=options.device, quiet=options.quiet)
    cells = {row.cell for row in rows}
    if options.action == "claims":
        chosen = [one for one in outcomes(options.records) if one.row.cell in cells]
        print(markdown(("claim", "gain, points", "standard error", "verdict"), [_told(one) for one in claims(chosen)]))
    elif options.action != "cost":
        print(table(one for one in outcomes(options.records) if one.row.scale == options.scale))


def _told(one: Shown) -> tuple[str, str, str, str]:
    gain, error = ("" if math.isnan(value) else f"{value:.2f}" for value in (one.gain, one.error))
    return one.claim, gain, error, one.verdict


if __name__ == "__main__":
    main()
