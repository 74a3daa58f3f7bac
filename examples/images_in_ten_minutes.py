# %% [markdown]
# # Images in ten minutes
#
# Train two small networks on scikit-learn's digits, one plainly and one for certification, and hold both sides of the inequality
# side by side: `verified accuracy <= true robust accuracy <= attacked accuracy`. The whole takes about a minute on one core.
#
#     python examples/images_in_ten_minutes.py [EPOCHS] [FOLDER]

# %%
import sys
from pathlib import Path

import epsball

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
FOLDER = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/ten-minutes")
EPS = "0.05"  # every pixel may change by a twentieth of the range from black to white

# %% [markdown]
# A `Record` is a folder of runs over one network; it holds what the command line would have written, and can be resumed.

# %%
rates = {}
for recipe, eps in (("standard", None), ("fast-ibp", EPS)):
    record = epsball.Record(FOLDER / recipe)
    record.train(recipe, data="digits", model="mlp", eps=eps, epochs=EPOCHS, batch=64, lr=2e-3)
    attacked = record.attack("digits", eps=EPS, steps=40, index=slice(0, 100))
    verified = record.verify("digits", eps=EPS, timeout=10, index=slice(0, 100))
    rates[recipe] = verified.accuracy["verified"].value, attacked.accuracy["attacked"].value, verified.accuracy["clean"].value

# %% [markdown]
# A plain network keeps its answers against few attacks and can be proven to keep hardly any; the trained one closes the gap.

# %%
for recipe, (proven, survived, clean) in rates.items():
    print(f"{recipe:>9}: verified {proven:.3f} <= attacked {survived:.3f} <= clean {clean:.3f}")
    assert proven <= survived <= clean

# %% [markdown]
# One page a network: what is claimed about what, the figures, the pictures that an attack changed.

# %%
print(epsball.Record(FOLDER / "fast-ibp").report(FOLDER / "report.html"))
