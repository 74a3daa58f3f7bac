"""Table 3.2 of the thesis, its ablation and Figure 3.2: at its own size, and in miniature.

    python -m benchmarks.thesis train --scale miniature --rows ours,ibp --seeds 0,1,2    goes on where it stopped
    python -m benchmarks.thesis table --scale miniature
    python -m benchmarks.thesis cost                                                     all 66 cells, nothing is run

`published`: the thesis' figures. `rows`: what each cell trains. `runs`: trains, and keeps a small record a run.
`table`: means, deviations and the thesis' figure beside each. `claims`: what the thesis says, and whether it shows.
"""
