"""`epsball analyse`: one verb a file, all over networks, bounds or noise; what they record is drawn by `epsball report`."""

from __future__ import annotations

import typer

from epsball.cli.analyse.barrier import barrier
from epsball.cli.analyse.estimate import estimate
from epsball.cli.analyse.init import init
from epsball.cli.analyse.noise import noise
from epsball.cli.analyse.plane import plane
from epsball.cli.analyse.radius import radius
from epsball.cli.analyse.regions import regions
from epsball.cli.spread import add

app = typer.Typer(help="Analyses of networks, bounds and noise.", no_args_is_help=True, rich_markup_mode=None)
add(
    app,
    {
        "init": init,
        "plane": plane,
        "barrier": barrier,
        "radius": radius,
        "estimate": estimate,
        "noise": noise,
        "regions": regions,
    },
)


@app.callback()
def analyse() -> None:
    """Analyses of networks, bounds and noise."""
