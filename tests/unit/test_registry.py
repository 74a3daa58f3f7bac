"""Registries: did-you-mean, duplicates, plugins by entry point."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from epsball import registry as registry_module
from epsball.errors import BadConfig, SkippedPlugin, did_you_mean
from epsball.registry import Registry


def test_a_registered_entry_is_found_and_listed():
    things: Registry[int] = Registry("thing")
    things.register("b")(2)
    things.register("a")(1)
    assert list(things) == ["a", "b"]
    assert things["a"] == 1
    assert things.name_of(2) == "b"
    assert "a" in things
    assert len(things) == 2


def test_an_unknown_name_suggests_the_nearest():
    things: Registry[int] = Registry("thing")
    things.register("crown-ibp")(1)
    with pytest.raises(BadConfig, match=r"unknown thing 'crown-ipb'[\s\S]*did you mean 'crown-ibp'"):
        things["crown-ipb"]


def test_a_name_is_taken_once():
    things: Registry[int] = Registry("thing")
    things.register("a")(1)
    with pytest.raises(BadConfig, match="registered twice"):
        things.register("a")(2)


def test_plugins_are_loaded_at_the_first_look(monkeypatch, tmp_path):
    (tmp_path / "my_plugin.py").write_text("from test_registry import ours\nours.register('extra')(7)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "test_registry", __import__("sys").modules[__name__])
    point = EntryPoint("mine", "my_plugin", "epsball.plugins")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point] if group == "epsball.plugins" else [])
    assert ours["extra"] == 7


def test_a_plugin_that_raises_is_named_and_skipped(monkeypatch, tmp_path):
    (tmp_path / "broken_plugin.py").write_text("raise RuntimeError('no such card')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("theirs", "broken_plugin", "epsball.plugins")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point] if group == "epsball.plugins" else [])
    things: Registry[int] = Registry("thing")
    things.register("a")(1)
    with pytest.warns(SkippedPlugin, match="theirs.*broken_plugin.*no such card"):
        assert list(things) == ["a"]
    assert things["a"] == 1


ours: Registry[int] = Registry("thing of ours")


def test_did_you_mean_is_silent_when_nothing_is_near():
    assert did_you_mean("zzzz", ["crown", "ibp"]) == ""
