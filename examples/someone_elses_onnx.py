# %% [markdown]
# # Certify someone else's network
#
# An ONNX file is data: nothing in it is run but the operators it names, and one that is not understood is refused by name.
# Without a file this writes a small one by hand, as another tool might have done.
#
#     python examples/someone_elses_onnx.py [NET.onnx] [FOLDER]

# %%
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import epsball

FOLDER = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/onnx")


# %%
def written(path: Path) -> Path:
    """A network of another tool: 4 features, 16 hidden units, 3 classes."""
    draw = np.random.default_rng(0)
    shapes = {"w0": (4, 16), "b0": (16,), "w1": (16, 3), "b1": (3,)}
    weights = [numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w1", "b1"], ["y"]),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])] for name, width in (("x", 4), ("y", 3))
    )
    graph = helper.make_graph(nodes, "theirs", inputs, outputs, weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    return path


given = Path(sys.argv[1]) if len(sys.argv) > 1 else written(FOLDER / "theirs.onnx")
net = epsball.load(given)
print(net.input_shape, "->", net.classes, "classes")

# %% [markdown]
# The answers that it gives at some inputs: can anything within the radius move them? `verified` holds for the network as it is
# computed in float32, in any order of its sums.

# %%
torch.manual_seed(0)
x = torch.rand(20, *net.input_shape)
y = net.module(x).argmax(1)
for eps in ("0.001", "0.01", "0.1"):
    print(f"eps {eps}:", epsball.verify(net, x, y, eps=eps, timeout=10).headline)

# %% [markdown]
# The largest radius that is proven around each input, by bisection.

# %%
radii = epsball.radius(net, x, y)
print("proven radii from", round(float(radii.min()), 4), "to", round(float(radii.max()), 4))

# %% [markdown]
# A record that can be handed on: the hash of the network, the inputs, every verdict, and one page.

# %%
record = epsball.Record(FOLDER / "record", net, name=given.name)
record.verify(x, y, eps="0.01", timeout=10)
record.attack(x, y, eps="0.01")
print(record.report(FOLDER / "report.html"))
