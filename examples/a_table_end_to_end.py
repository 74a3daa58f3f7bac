# %% [markdown]
# # A table, end to end
#
# Would a credit decision have been another one, had the applicant been a little older, or asked for 200 marks more? German Credit
# (UCI, 1,000 rows) is yours to fetch: <https://archive.ics.uci.edu/dataset/144>, as a CSV file with a header.
#
#     python examples/a_table_end_to_end.py german_credit.csv [EPOCHS] [FOLDER]

# %%
import sys
from pathlib import Path

import epsball
from epsball.data import user
from epsball.data.table import Table

CSV = Path(sys.argv[1] if len(sys.argv) > 1 else "german_credit.csv")
EPOCHS = int(sys.argv[2]) if len(sys.argv) > 2 else 40
FOLDER = Path(sys.argv[3] if len(sys.argv) > 3 else "runs/german")

# %% [markdown]
# The CSV becomes a data set: numbers in their own units, a text column one feature a value.

# %%
user.add("german", CSV, csv=Table("credit_risk"))
data = epsball.load_data("german")
print(len(data.train), "rows to train on,", len(data.test), "to judge;", data.train.shape[0], "features")

# %% [markdown]
# What may happen to a row. A column that is not named stays as it is.

# %%
threat = epsball.Threat(
    columns={
        "duration_in_month": epsball.Change(6, "up"),  # up to six months more, never fewer
        "credit_amount": epsball.Change(200, low=0),  # marks
        "purpose": epsball.Change(to="any"),  # one-hot features that change together
    }
)
print(threat.of(data.columns))

# %% [markdown]
# Train against it, attack it, prove what can be proven; the page is for whoever has to believe it.

# %%
record = epsball.Record(FOLDER)
record.train("ibp", data="german", model="mlp", threat=threat, epochs=EPOCHS, batch=64, lr=1e-3)
attacked = record.attack("german", threat=threat)
verified = record.verify("german", threat=threat, timeout=10)
print("verified", verified.accuracy["verified"].value, "<= attacked", attacked.accuracy["attacked"].value)
assert verified.accuracy["verified"].value <= attacked.accuracy["attacked"].value
print(record.report(FOLDER / "report.html"))

# %% [markdown]
# One row by hand: what the network says of it, and whether any change that is allowed would move that.

# %%
net = epsball.load(FOLDER)
x, y = data.test.inputs(slice(0, 5)), data.test.y[:5]
print(epsball.verify(net, x, y, threat=threat.of(data.columns), clip=None))
