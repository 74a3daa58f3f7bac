"""`epsball analyse noise`: pictures under growing noise, and the same picture at several resolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Output, indices, number
from epsball.cli.target import Data, Index, Seed, run_named, slice_named


def noise(  # noqa: PLR0913 - one parameter an option
    pictures: Annotated[list[Path] | None, typer.Argument(help="Picture files; none: test examples of --data.")] = None,
    *,
    sigmas: Annotated[str, typer.Option("--sigmas", help="Scales of the noise, in units of the pixels.")] = "0,0.12,0.25,0.5,1",
    sizes: Annotated[str, typer.Option("--sizes", help="Sides in pixels that each picture file is shown at.")] = "56,224",
    data: Data = "mnist",
    index: Index = "0:3",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; default: runs/noise-DATA-SLICE or -PICTURES.")
    ] = None,
    seed: Seed = 0,
    output: Output,
) -> None:
    """Show pictures under Gaussian noise: a gallery of sigmas, or the same sigma at several resolutions."""
    from epsball.analysis.noise import gallery, square
    from epsball.data.find import load as load_data
    from epsball.data.pictures import read_picture
    from epsball.record.continued import continued
    from epsball.record.hashes import hashed
    from epsball.record.heading import Heading, Identity

    scales = [number(text, "--sigmas") for text in sigmas.split(",")]
    config = {"pictures": [str(path) for path in pictures or []], "sigmas": scales, "sizes": sizes, "data": data, "index": index}
    if pictures:
        sides = [int(number(text, "--sizes")) for text in sizes.split(",")]
        read = {path: read_picture(path) for path in pictures}
        groups = {path.stem: [(f"{side} pixels", square(picture, side)) for side in sides] for path, picture in read.items()}
    else:
        examples = load_data(data).test
        chosen = indices(index, len(examples))
        groups = {f"{data} under noise": [(f"{int(i)}", examples.inputs(i[None])[0]) for i in chosen]}
    shown = [path.stem for path in pictures] if pictures else [data, slice_named(index)]
    folder = out or Path("runs") / run_named("noise", *shown)
    looked_at = hashed([[picture for _, picture in rows] for rows in groups.values()])
    lines = [line for group, rows in groups.items() for line in gallery(rows, scales, group, seed)]
    with continued(
        folder, Heading("analyse", config, Identity(None, None, looked_at, "float32"), seed, "cpu", "float32")
    ) as record:
        record.append(*lines)
    output.result("analyse", {"run": str(folder), "pictures": len(lines)})
    output.answer(f"{len(lines)} pictures in {folder}; see them with: epsball report {folder} -o noise.html")
