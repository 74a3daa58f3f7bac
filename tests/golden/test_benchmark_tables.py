"""Every table of the benchmarks is recomputed from its record, here by plain arithmetic over the records' lines."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import statistics
from pathlib import Path

import pytest
from benchmarks.tables import Table, load, markdown, save

from epsball.errors import BadFile

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "benchmarks/records"
PAGE = (ROOT / "docs/benchmarks.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"(?m)^## ", PAGE)[1:]}
OTHERS = "\n".join((ROOT / f"docs/explanation/{name}.md").read_text() for name in ("which-method-when", "rounding"))
CSVS = {path.name: load(path) for path in sorted(RECORDS.glob("*.csv")) if path.name != "index.csv"}
INDEX = load(RECORDS / "index.csv")
METHODS = ("ibp", "zonotope", "dual", "crown", "alpha-crown")


def lines(name: str) -> list[dict]:
    path = RECORDS / name
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return [json.loads(line) for line in text.splitlines()]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page, as rows of cells; the first row is the head."""
    found = re.findall(r"(?m)(?:^\|.*\n)+", text + "\n")
    return [[[c.strip() for c in row[1:-1].split("|")] for row in t.splitlines() if not row.startswith("| ---")] for t in found]


def body(section: str, number: int = 0) -> list[list[str]]:
    return tables(SECTIONS[section])[number][1:]


def test_each_section_names_its_records_and_what_was_not_run_again():
    known = {**{name: (t.header["section"], t.header["date"], t.transcribed) for name, t in CSVS.items()}}
    known |= {row[0]: (row[1], row[4], True) for row in INDEX.rows}
    assert set(known) | {"index.csv"} == {path.name for path in RECORDS.iterdir()}
    for section, text in SECTIONS.items():
        named = set(re.findall(r"`benchmarks/records/([^`]+)`", text))
        assert named, section
        assert named <= set(known), section
        for name in named:
            _, date, old = known[name]
            assert not old or f"Not re-run since {date}" in text, (section, name)
    assert all(name in SECTIONS[section] for name, (section, _, _) in known.items())


def test_every_record_has_its_command_and_its_code():
    for name, table in CSVS.items():
        assert all(table.header.values()), name
    for file, _, command, code, _, digest in INDEX.rows:
        assert "benchmarks." in command
        assert re.fullmatch(r"[0-9a-f]{7}", code)
        assert hashlib.sha256((RECORDS / file).read_bytes()).hexdigest() == digest, f"{file} was changed"


@pytest.mark.parametrize("name", sorted(CSVS))
def test_a_table_is_its_record(name):
    shown = markdown(CSVS[name].columns, CSVS[name].rows)
    assert shown in SECTIONS[CSVS[name].header["section"]] + OTHERS


def test_every_table_has_a_record():
    """The others are recomputed below, each by name."""
    whole = [markdown(t.columns, t.rows) for t in CSVS.values()]
    left = [(section, t[0][0]) for section, text in SECTIONS.items() for t in tables(text) if markdown(t[0], t[1:]) not in whole]
    assert left == [
        ("The network of Wong and Kolter, MNIST, linf 0.1", "figure"),
        ("Bounds: time, memory, tightness", "net, batch"),
        ("Exact values", "network"),
        ("Linear programs and groups of three ReLUs", "method"),
        ("Semidefinite relaxation", "network"),
        ("Tightness against time", "method"),
        ("Tightness against time", "program"),
        ("Non-uniform box against the uniform radius", "training (one seed)"),
        ("Training for smoothing", "arm (one seed each)"),
        ("Training for smoothing", "figure"),
        ("Certified training on MNIST", "arm, mean +- standard deviation"),
    ]


def test_tables_that_compare_training_name_their_seeds():
    for section in ("Non-uniform box against the uniform radius", "Training for smoothing", "Certified training on MNIST"):
        for table in tables(SECTIONS[section]):
            if table[0][0] != "figure":
                assert "one seed" in table[0][0] or all(re.search(r"\+- .*, \d+ seeds", c) for row in table[1:] for c in row[1:])


def test_wong_kolter():
    header, *rest = lines("wong-kolter.jsonl.gz")
    images = [line for line in rest if line["type"] == "image"]
    assert [line["index"] for line in images] == list(range(10_000))
    assert len({shard["config_hash"] for shard in header["shards"]}) == 4
    assert "one rule for all" in header["arithmetic"]
    least = float(re.search(r"margin > (\S+)$", header["arithmetic"])[1])
    margins = {m: [line["margins"][i] for line in images] for i, m in enumerate(header["config"]["methods"])}
    wrong = {m: sum(v is None or v <= least for v in values) for m, values in margins.items()}
    best = [max(margins[m][i] or -math.inf for m in ("ibp", "adaptive", "same")) for i in range(10_000)]
    counts = [sum(line["predicted"] != line["label"] for line in images), wrong["same-uncut"], wrong["same"], wrong["adaptive"]]
    counts += [wrong["ibp"], sum(not v > least for v in best)]
    shown = [row[2] for row in body("The network of Wong and Kolter, MNIST, linf 0.1")]
    assert shown[:6] == [f"{f'{c / 100:.2f}'.replace('100.00', '100')} % ({c:,})" for c in counts]
    assert min(abs(v) for values in margins.values() for v in values if v) > 2e-4


def _bound(line: dict) -> float:
    return line.get("forward_passes", line["seconds"])


def test_bounds():
    found = {(line["net"], line["batch"], line["method"]): line for line in lines("bounds.jsonl")}
    order = ("ibp", "crown-ibp", "crown", "alpha-crown")
    for name, *cells in body("Bounds: time, memory, tightness"):
        net, batch = name.split(", ")
        for method, cell in zip(order, cells, strict=True):
            own, peer = (found.get((net, int(batch), key)) for key in (method, f"peer {method}"))
            if cell == "not run":
                assert own is None
                continue
            told = [float(v.replace(",", "")) for v in re.findall(r"[\d,]*\d(?:\.\d+)?", cell.split("asked")[0].replace("*", ""))]
            assert told[0] == pytest.approx(_bound(own), rel=0.02)
            if "MiB" in cell and "GiB" not in cell.split("asked")[0]:
                assert told[-1] == own["peak_mib"]
            assert (peer is not None) == ("(" in cell)
            if peer is not None:
                inside = re.search(r"\(([\d,.]+)", cell)[1]
                assert float(inside.replace(",", "")) == pytest.approx(peer["forward_passes"], rel=0.02)


def test_exact_values():
    found = {(line["net"], line["method"]): line["mean_margin"] for line in lines("bounds.jsonl") if line["batch"] == 1}
    for net, method, target, measured, difference in body("Exact values"):
        own, peer = found[net, method.lower()], found[net, f"peer {method.lower()}"]
        assert (float(measured), float(target)) == (own, peer)
        assert float(difference) == pytest.approx(abs(own - peer) / abs(peer), rel=0.15, abs=1e-9)


def test_linear_programs():
    columns = [
        [line for line in lines(f"linear-programs-{eps}.jsonl")[1:] if line.get("state") == "open"] for eps in ("0.03", "0.05")
    ]
    head = tables(SECTIONS["Linear programs and groups of three ReLUs"])[0][0]
    keys = ("crown", "alpha-crown", "lp", "lp-tight", "multi-neuron", "multi-neuron-tight")
    for k, images in enumerate(columns):
        assert head[k + 1].endswith(f"{sum(len(line['rows']) for line in images)} rows, {len(images)} images")
        for key, row in zip(keys, body("Linear programs and groups of three ReLUs"), strict=True):
            margins = [margin for line in images for margin in line["bounds"][key]]
            settled = sum(min(line["bounds"][key]) > 0 for line in images)
            mean, count, seconds = row[k + 1].split(" / ")
            assert (float(mean), int(count)) == (pytest.approx(statistics.fmean(margins), abs=5.1e-4), settled)
            if seconds != "-":
                spent = statistics.fmean(line["seconds"][key] for line in images)
                assert float(seconds.split(" ")[0]) == pytest.approx(spent, abs=5.1e-3)
        pairs = [(a, b) for line in images for a, b in zip(line["bounds"]["multi-neuron"], line["bounds"]["lp"], strict=True)]
        text = " ".join(SECTIONS["Linear programs and groups of three ReLUs"].split())
        assert f"{sum(a > b for a, b in pairs)} of {len(pairs)}" in text
        assert f"{math.floor(100 * min(a - b for a, b in pairs)) / 100:.2f}" in text


def test_semidefinite():
    networks = lines("sdp-clarabel.jsonl")
    for line, row in zip(networks, body("Semidefinite relaxation"), strict=True):
        assert row[:2] == [line["net"], str(line["unstable"])]
        assert float(row[2]) == pytest.approx(line["lp"], abs=5.1e-5)
        assert [float(c) for c in row[3:5]] == pytest.approx([line["sdp"], line["clarabel"]], abs=5.1e-6)
        assert row[5] == f"{line['percent']:.2f} %"
        assert [float(c) for c in row[6].split(" / ")] == pytest.approx([line["seconds"], line["clarabel_seconds"]], rel=0.05)
    short = sorted(line["first_order_percent"] for line in networks)
    claim = f"{math.floor(short[0])} to {math.floor(short[-2])} % short"
    for page in ("benchmarks.md", "explanation/semidefinite.md", "explanation/house.md"):
        text = " ".join((ROOT / "docs" / page).read_text().split())
        assert claim in text, page
        assert f"{round(short[-1])} %" in text, page
    images = lines("sdp-mnist.jsonl")
    right = [line for line in images if line["nominal"] > 0]
    text = " ".join(SECTIONS["Semidefinite relaxation"].split())
    means = [statistics.fmean(line[key] for line in right) for key in ("crown", "lp", "sdp")]
    assert f"CROWN {means[0]:.2f}, LP {means[1]:.2f}, SDP {means[2]:+.2f}" in text
    assert (
        f"positive on {sum(line['sdp'] > 0 for line in right)} by SDP, on {sum(line['lp'] > 0 for line in right)} by the LP" in text
    )
    assert f"{sum(line['sdp'] > line['lp'] for line in images)} of {len(images)}" in text


@pytest.mark.parametrize(("name", "first"), [("wong-kolter", 1), ("ibp", 4)])
def test_tightness(name, first):
    found = lines(f"tightness-{name}.jsonl")
    right = [line["margins"] for line in found if line["type"] == "image" and line["label"] == line["predicted"]]
    timed = {line["by"]: line["sum"] / line["count"] for line in found if line["type"] == "seconds"}
    attacked = [line for line in found if line.get("by") == "attack"]
    head, *rows = tables(SECTIONS["Tightness against time"])[0]
    assert f"({len(right)} right)" in head[first]
    for i, (method, row) in enumerate(zip(METHODS, rows, strict=False)):
        assert int(row[first]) == sum(margins[i] > 1e-5 for margins in right)
        assert float(row[first + 1]) == pytest.approx(statistics.fmean(margins[i] for margins in right), abs=5.1e-4)
        assert float(row[first + 2]) == pytest.approx(timed[method], rel=0.05)
    left = [line["index"] for line in attacked if line["status"] == "unknown"]
    union = sum(max(margins) > 1e-5 for margins in right)
    assert rows[5][first] == f"{union}; {len(attacked) - len(left)}; {len(left)}"
    _programs(found, left, first)
    _claims(right)


def _programs(found: list[dict], left: list[int], first: int) -> None:
    by = {name: {line["index"]: line for line in found if line.get("by") == name} for name in ("lp", "lp-tight", "multi-neuron")}
    whole = [i for i in left if all(got[i]["status"] != "falsified" for got in by.values())]
    for (_, got), row in zip(by.items(), body("Tightness against time", 1), strict=True):
        statuses = [
            sum(line["status"] == s for line in got.values()) for s in ("verified", "falsified", "unknown", "timeout", "error")
        ]
        assert row[first] == " / ".join(map(str, statuses))
        assert float(row[first + 1]) == pytest.approx(statistics.fmean(got[i]["margin"] for i in whole), abs=5.1e-5)
        assert float(row[first + 2]) == pytest.approx(statistics.fmean(line["seconds"] for line in got.values()), rel=0.05)


def _claims(right: list[list[float]]) -> None:
    """What the page on tightness and time says in words."""
    text = " ".join((ROOT / "docs/explanation/tightness-and-time.md").read_text().split())
    crown, alpha = METHODS.index("crown"), METHODS.index("alpha-crown")
    larger = sum(margins[METHODS.index("dual")] > margins[crown] for margins in right)
    assert f"{larger} of {len(right)}" in text
    rise = sum(margins[alpha] for margins in right) / sum(margins[crown] for margins in right) - 1
    assert re.search(rf"raises the mean margin by [\d. and]*{100 * rise:.1f}", text)
    open_ = [margins for margins in right if margins[crown] <= 1e-5]
    assert re.search(rf"{sum(m[alpha] > 1e-5 for m in open_)} of the {len(open_)}\b", text)


def test_regions():
    for name, row in zip(("standard", "pgd"), body("Non-uniform box against the uniform radius"), strict=True):
        images = lines(f"regions-{name}.jsonl")[1:]
        mean, over = (
            100 * math.expm1(statistics.fmean(math.log1p(line[k]) for line in images)) for k in ("gain", "gain_over_best")
        )
        least, most = (100 * f(line["gain"] for line in images) for f in (min, max))
        assert row[1] == f"+{mean:.1f} % [{least:+.1f}, {most:+.1f}]"
        assert row[3] == f"{over:+.1f} %"
        fine = sum(
            line["sampled"] > 0 and line["attacked"] > 0 and line["again"] and line["float64"] and line["adaptive"]
            for line in images
        )
        assert row[4] == f"{fine} of {len(images)}"
        box, radius = (statistics.fmean(line["seconds"][k] for line in images) for k in (0, 1))
        assert row[5] == f"{box:.2f} ({radius:.2f})"


def test_training_for_smoothing():
    found = {(line["arm"], line["epochs"]): line for line in lines("smoothing-training.jsonl")}
    head, *rows = tables(SECTIONS["Training for smoothing"])[0]
    for row in rows:
        line = found[row[0].replace(" ", "-"), 4]
        for radius, cell in zip(head[1:9], row[1:9], strict=True):
            assert cell == ("-" if line["curve"][radius] == 0 else f"{100 * line['curve'][radius]:.1f}")
        assert row[9] == f"{line['acr']['value']:.3f} +- {line['acr']['error']:.3f}"
        assert [int(c) for c in row[11].split(", ")] == pytest.approx([line["train_cpu"], line["certify_cpu"]], abs=0.51)
    text = " ".join(SECTIONS["Training for smoothing"].split())
    for line in (found["gaussian-0.5", 10], found["consistency-0.5", 10]):
        assert ", ".join(f"{100 * line['curve'][r]:.1f}" for r in ("0.25", "0.5", "1", "1.5")) in text
        assert f"ACR {line['acr']['value']:.3f} +- {line['acr']['error']:.3f}" in text
    shares = [[100 * found[arm, epochs]["curve"]["0.25"] for arm in ("bare-0.5", "denoised-0.5")] for epochs in (4, 10)]
    (cell,) = (row[2] for row in body("Training for smoothing", 1))
    assert [list(map(float, pair)) for pair in re.findall(r"(\d+\.\d) -> (\d+\.\d)", cell)] == [
        pytest.approx(pair) for pair in shares
    ]


def test_seeds_of_the_mnist_table():
    table = CSVS["mnist-table.csv"]
    columns = ("clean error", "IBP verified error", "PGD-100 error", "union verified error")
    for name, *cells in body("Certified training on MNIST", 1):
        runs = [row for row in table.rows if row[0].startswith(name)]
        for column, cell in zip(columns, cells, strict=True):
            values = [float(row[table.columns.index(column)]) for row in runs]
            mean = sum(values) / 3
            deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 2)
            assert len(runs) == 3
            assert cell == f"{mean:.2f} +- {deviation:.2f}, 3 seeds"


def test_a_record_without_its_header_is_refused(tmp_path):
    table = Table(dict.fromkeys(("section", "command", "code", "date"), "x") | {"origin": "measured"}, ("a", "b"), (("1", "2"),))
    save(table, tmp_path / "good.csv")
    assert load(tmp_path / "good.csv") == table
    text = (tmp_path / "good.csv").read_text()
    for right, wrong in (("# code: x\n", ""), ("measured", "guessed"), ("1,2", "1,2,3"), ("# date: x", "# when: x")):
        (tmp_path / "bad.csv").write_text(text.replace(right, wrong))
        with pytest.raises(BadFile):
            load(tmp_path / "bad.csv")
