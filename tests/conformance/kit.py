"""Which mutant breaks which check."""

from __future__ import annotations

from dataclasses import dataclass

from greenai_core.testing.conformance import Conformance


@dataclass(frozen=True)
class Mutant:
    """A suite over a plugin that breaks one rule.

    Attributes:
        check: name of the one check that must fail.
        name: what is wrong with the plugin.
        suite: the suite over it.
    """

    check: str
    name: str
    suite: type[Conformance]


MUTANTS: list[Mutant] = []


def breaks(check, reference, **attributes):
    """Class decorator: the class is a plugin in which only ``check`` fails.

    Args:
        check: its name.
        reference: the suite over the plugin without the fault.
        attributes: of the suite; ``plugin`` is the mutant itself.
    """

    def register(plugin):
        suite = type(plugin.__name__, (reference,), {"plugin": plugin, **attributes})
        MUTANTS.append(Mutant(check, plugin.__name__, suite))
        return plugin

    return register
