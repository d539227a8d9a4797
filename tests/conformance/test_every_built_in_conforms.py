"""No built-in plugin escapes the suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenai_core import registry

TESTS = Path(__file__).parents[1]

BUILT_IN = [
    plugin
    for group in registry.GROUPS
    for plugin in registry.plugins(group)
    if plugin.distribution == "greenai-core"
]


@pytest.fixture(scope="module")
def suites():
    """The sources of all tests that subclass a conformance suite."""
    sources = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    return [source for source in sources if "Conformance" in source]


def test_there_are_built_ins_in_every_group():
    assert {plugin.group for plugin in BUILT_IN} == set(registry.GROUPS)


@pytest.mark.parametrize("plugin", BUILT_IN, ids=lambda plugin: f"{plugin.group}:{plugin.name}")
def test_every_built_in_is_held_to_a_suite(plugin, suites):
    name = plugin.target.rpartition(":")[2]
    assert any(name in source for source in suites), f"no conformance suite is about {name}"
