"""What the top of a report claims: counts that add up, of the slice that was asked, and nothing where nothing is proven."""

from __future__ import annotations

import pytest

import sample_records as sample
from epsball.reporting.claims import claims
from epsball.reporting.runs import read_runs
from epsball.reporting.tables import headlines

SUBJECT = {
    "architecture": "cnn", "parameters": 12345, "input": [1, 28, 28], "classes": 10, "threat": "|x' - x|_inf <= 0.1, x' in [0, 1]",
    "clip": [0, 1], "chosen": {"count": 200, "of": 10000, "how": "the first 200"},
}  # fmt: skip


def _told(folder, lines, **subject):
    lines[0]["subject"] = subject
    return claims(read_runs([sample.write(folder, *lines)]))


def test_the_conclusion_counts_every_input_once(tmp_path):
    lines = sample.verify_lines(200)
    (claim,) = _told(tmp_path / "v", lines, **SUBJECT)
    rates = {name: round(200 * rate["value"]) for name, rate in lines[-2]["accuracy"].items()}
    assert claim.conclusion.startswith("Of the 200 test inputs asked (the first 200 of the 10,000 test examples of ")
    assert f", {rates['verified']} (" in claim.conclusion
    assert "|x' - x|_inf ≤ 0.1, x' in [0, 1]" in claim.conclusion
    assert f"changes the class of {rates['clean'] - rates['attacked']};" in claim.conclusion
    assert f"; {rates['attacked'] - rates['verified']} are undecided" in claim.conclusion
    assert f"; {200 - rates['clean']} are classified wrongly" in claim.conclusion
    facts = dict(claim.facts)
    assert facts["Network"] == "cnn, 12,345 parameters, input 1 x 28 x 28, 10 classes"
    assert facts["Weights"] == lines[0]["identity"]["weights"]


def test_the_whole_test_set_is_called_so(tmp_path):
    (claim,) = _told(tmp_path / "v", sample.verify_lines(200), chosen={"count": 200, "of": 200, "how": "the first 200"})
    assert "(all 200 test examples of " in claim.conclusion


def test_an_attack_alone_proves_nothing(tmp_path):
    (claim,) = _told(tmp_path / "a", sample.attack_lines(200), **SUBJECT)
    assert "proven" not in claim.conclusion
    assert "which proves nothing" in claim.conclusion


def test_a_record_without_a_subject_says_what_it_does_not_know(tmp_path):
    (claim,) = _told(tmp_path / "v", sample.verify_lines(200))
    assert "(the record does not say which of " in claim.conclusion
    assert "ball of radius" in dict(claim.facts)["Threat"]


def test_a_broken_inequality_concludes_nothing(tmp_path):
    lines = sample.verify_lines(100)
    lines[-2]["accuracy"]["attacked"] = sample.rate(0, 100)
    assert _told(tmp_path / "v", lines, **SUBJECT) == []


def test_strange_subjects_neither_stop_the_report_nor_enter_it_as_markup(tmp_path):
    from epsball.reporting import write_report

    lines = sample.verify_lines(50)
    lines[0]["subject"] = {"architecture": "<script>x</script>", "parameters": "many", "input": 3, "chosen": [1]}
    page = write_report([sample.write(tmp_path / "v", *lines)], tmp_path / "r.html").read_text()
    assert "<script>x" not in page
    assert "many parameters" in page


def test_the_slice_of_shards_is_that_of_the_whole(tmp_path):
    folders, every = [], sample.instances(60)
    for part in (1, 2):
        lines = every[part - 1 :: 2]
        header = sample.header("verify", "net", model="net", data_digest="ab", shard={"part": part, "parts": 2, "index": "9f" * 32})
        header["subject"] = {**SUBJECT, "chosen": {"count": 30, "of": 100, "how": f"every 2nd from {part - 1} on, to {57 + part}"}}
        folders.append(sample.write(tmp_path / f"s{part}", header, *lines, sample.summary("verify", lines), {"type": "done"}))
    (claim,) = claims(read_runs(folders))
    assert claim.conclusion.startswith("Of the 60 test inputs asked (the first 60 of the 100 test examples of ")


@pytest.mark.parametrize("what", ["weights", "property", "data"])
def test_an_attack_on_another_slice_by_another_threat_or_other_weights_says_nothing_about_this_one(tmp_path, what):
    proof, attack = sample.verify_lines(200), sample.attack_lines(200)
    attack = [line for line in attack if line["type"] != "instance"]
    attack[0]["identity"][what] = "5e" * 32
    attack[1]["accuracy"]["attacked"] = sample.rate(191, 200)
    story = read_runs([sample.write(tmp_path / "v", *proof), sample.write(tmp_path / "a", *attack)])
    first, second = headlines(story)
    assert (first.attacked_by, second.attacked_by) == story.runs
