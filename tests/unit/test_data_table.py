"""Data sets from CSV tables."""

from pathlib import Path

import pytest

from epsball.data import stored, user
from epsball.data.table import Table, read
from epsball.errors import BadConfig, EpsballError

ROWS = 'age,"home, sweet",code,y\n' + "".join(
    f"{20 + i},{'own' if i % 3 else 'rent'},{i % 2}.5,{'no' if i % 2 else 'yes'}\n" for i in range(20)
)


def _file(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_keep_their_units_and_text_is_one_feature_a_value(tmp_path: Path) -> None:
    data = read("t", _file(tmp_path, "\ufeff" + ROWS), Table("y", categorical=("code",)), "mine")
    assert data.columns is not None
    assert data.columns.names == ("age", "home, sweet=own", "home, sweet=rent", "code=0.5", "code=1.5")
    assert [c.kind for c in data.columns] == ["integer", "category", "category"]
    assert (data.columns.named("age").low, data.columns.named("age").high) == (20, 39)
    assert data.labels == ("no", "yes")
    assert data.clip is None
    assert (data.mean[1:], data.std[1:]) == ((0.0,) * 4, (1.0,) * 4)
    assert data.test.y.bincount().tolist() == [2, 2]


def test_a_table_is_kept_and_read_back_with_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = _file(tmp_path, ROWS)
    user.add("mine", path, csv=Table("y"))
    again, fresh = stored.read("mine"), read("mine", path, Table("y"), "mine")
    assert (again.columns, again.labels, again.digest) == (fresh.columns, fresh.labels, fresh.digest)
    assert (again.mean, again.std) == (fresh.mean, fresh.std)
    assert user.check("mine")["labels"] == ["no", "yes"]
    with pytest.raises(BadConfig, match="another set"):
        user.add("mine", path, csv=Table("y", seed=1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,p\n2\n", "row 2 has 1 cells"),
        ("a,y\n1,p\n,q\n", "row 2 is empty in column 'a'"),
        ("a,y\n1,p\n2,p\n", "1 different values"),
        ("a,y\n1,p\nnan,q\n", "'nan' in column 'a'"),
        ("a,a,y\n1,1,p\n", "two columns 'a'"),
        ("a,y\n", "without rows"),
        ('a,y\n"1,p\n', "not a CSV table"),
        ("a,y\n" + "".join(f"id{i},{i % 2}\n" for i in range(101)), "101 different values"),
    ],
)
def test_a_bad_table_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EpsballError, match=message):
        read("t", _file(tmp_path, text), Table("y"), "mine")


def test_a_mistyped_target_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as error:
        read("t", _file(tmp_path, "age,risk\n1,p\n2,q\n"), Table("rsk"), "mine")
    assert "risk" in str(error.value.fix)


def test_a_table_needs_its_options_and_other_files_take_none(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="without a target"):
        user.add("mine", _file(tmp_path, ROWS))
    (tmp_path / "mine.npz").write_bytes(b"no matter what")
    with pytest.raises(BadConfig, match="options of a table"):
        user.add("mine", tmp_path / "mine.npz", csv=Table("y"))


def test_whole_numbers_that_float32_rounds_are_refused(tmp_path: Path) -> None:
    text = "code,y\n" + "".join(f"{16777216 + i},{'no' if i % 2 else 'yes'}\n" for i in range(8))
    with pytest.raises(EpsballError, match="does not tell apart"):
        read("t", _file(tmp_path, text), Table("y"), "mine")
