"""Plugins as other distributions register them: found, loaded, broken, in conflict."""

from __future__ import annotations

import sys

import pytest

from greenai_core import PluginBroken, PluginConflict, PluginNotFound, registry

GROUP = "greenai.exporters"


class Site:
    """A folder on ``sys.path`` into which distributions are installed."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))

    def install(self, distribution, version, entries, **modules):
        """Write a distribution with entry points (group -> lines) and modules (name -> source)."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = [f"[{group}]\n{text}\n" for group, text in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for name, source in modules.items():
            (self.folder / f"{name}.py").write_text(source)
        registry.forget()


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield Site(tmp_path / "site", monkeypatch)
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]
    monkeypatch.undo()
    registry.forget()


def registered(name, group=GROUP):
    return [plugin for plugin in registry.plugins(group) if plugin.name == name]


def test_a_plugin_is_known_with_its_distribution_and_version(site):
    site.install("my-plugin", "1.2.3", {GROUP: "mine = plugin_a:Mine"})
    (plugin,) = registered("mine")
    assert (plugin.distribution, plugin.version) == ("my-plugin", "1.2.3")
    assert (plugin.group, plugin.target) == (GROUP, "plugin_a:Mine")


def test_listing_imports_no_plugin(site):
    site.install("my-plugin", "1", {GROUP: "mine = plugin_a:Mine"}, plugin_a="raise SystemExit")
    assert "mine" in registry.names(GROUP)
    assert "plugin_a" not in sys.modules


def test_loading_imports_only_what_is_asked_for(site):
    entries = {GROUP: "mine = plugin_a:Mine\nother = plugin_b:Other"}
    site.install("my-plugin", "1", entries, plugin_a="class Mine: pass", plugin_b="1/0")
    assert registry.load(GROUP, "mine").__name__ == "Mine"
    assert "plugin_b" not in sys.modules


def test_an_unknown_name_lists_the_known_ones(site):
    site.install("my-plugin", "1", {GROUP: "mine = plugin_a:Mine"})
    with pytest.raises(PluginNotFound, match=r"'yours'.*installed:.*mine.*greenai plugins"):
        registry.load(GROUP, "yours")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import a_library_that_is_missing", "ModuleNotFoundError"),
        ("raise ImportError('built for another Python')", "built for another Python"),
        ("1/0", "ZeroDivisionError"),
        ("class Other: pass", "Mine"),
        ("def Mine(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_broken_plugin_hides_nothing(site, source, cause):
    """It is listed with its cause, and all others are loaded."""
    entries = {GROUP: "mine = plugin_a:Mine\ngood = plugin_b:Good"}
    site.install("my-plugin", "1.5", entries, plugin_a=source, plugin_b="class Good: pass")
    loaded, broken = registry.load_all(GROUP)
    assert {"good", "json", "csv", "markdown"} <= set(loaded)
    assert set(broken) == {"mine"}
    wrong = {plugin.name: why for plugin, why in registry.describe(GROUP)}
    assert cause in wrong["mine"]
    assert wrong["good"] == wrong["json"] == ""
    with pytest.raises(PluginBroken, match=r"my-plugin 1\.5") as caught:
        registry.load(GROUP, "mine")
    assert caught.value.__cause__ is not None


def test_a_missing_module_is_broken(site):
    site.install("my-plugin", "1", {GROUP: "mine = plugin_that_is_gone:Mine"})
    with pytest.raises(PluginBroken, match="plugin_that_is_gone"):
        registry.load(GROUP, "mine")


def test_two_distributions_with_one_name_are_a_conflict_that_names_both(site):
    source = "class Mine: pass"
    site.install("first-plugin", "1.0", {GROUP: "mine = plugin_a:Mine"}, plugin_a=source)
    site.install("second-plugin", "2.0", {GROUP: "mine = plugin_b:Mine"}, plugin_b=source)
    assert [plugin.distribution for plugin in registered("mine")] == [
        "first-plugin",
        "second-plugin",
    ]
    with pytest.raises(PluginConflict, match=r"first-plugin 1\.0.*second-plugin 2\.0.*Uninstall"):
        registry.load(GROUP, "mine")


def test_a_conflict_with_a_built_in_hides_no_other_plugin(site):
    site.install("bold-plugin", "9", {GROUP: "json = plugin_a:Json"}, plugin_a="class Json: pass")
    loaded, broken = registry.load_all(GROUP)
    assert "csv" in loaded
    assert "json" not in loaded
    assert "bold-plugin 9" in str(broken["json"])
    assert "greenai-core" in str(broken["json"])


def test_one_name_in_two_groups_is_no_conflict(site):
    entries = {GROUP: "mine = plugin_a:Mine", "greenai.graders": "mine = plugin_a:Mine"}
    site.install("my-plugin", "1", entries, plugin_a="class Mine: pass")
    assert registry.load(GROUP, "mine") is registry.load("greenai.graders", "mine")


def test_the_same_distribution_twice_on_the_path_is_one(site):
    """As in a checkout that is installed and is the current folder too."""
    site.install("my-plugin", "1", {GROUP: "mine = plugin_a:Mine"}, plugin_a="class Mine: pass")
    sys.path.append(str(site.folder))
    registry.forget()
    assert len(registered("mine")) == 1
    assert registry.load(GROUP, "mine").__name__ == "Mine"


def test_forgetting_sees_what_was_installed_meanwhile(site):
    """Into a folder that was searched before, as a notebook's ``pip install`` does."""
    site.install("my-plugin", "1", {GROUP: "mine = plugin_a:Mine"}, plugin_a="class Mine: pass")
    registry.load(GROUP, "mine")
    site.install("late-plugin", "1", {GROUP: "late = plugin_b:Late"}, plugin_b="class Late: pass")
    assert registry.load(GROUP, "late").__name__ == "Late"


def test_every_built_in_of_every_group_loads():
    """What setup.cfg promises is there."""
    for group in registry.GROUPS:
        built_in = {p.name for p in registry.plugins(group) if p.distribution == "greenai-core"}
        loaded, broken = registry.load_all(group)
        assert built_in <= set(loaded), broken
