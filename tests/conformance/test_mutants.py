"""Each check of each suite fails on a plugin that breaks its rule, and only that check."""

from __future__ import annotations

import mutant_eager  # noqa: F401  # registers its mutant
import mutants_models  # noqa: F401  # likewise
import mutants_others  # noqa: F401  # likewise
import mutants_profilers  # noqa: F401  # likewise
import pytest
from kit import MUTANTS

from greenai_core.testing.conformance import verdicts
from greenai_core.testing.exporter_suite import ExporterConformance
from greenai_core.testing.grader_suite import GraderConformance
from greenai_core.testing.limiter_suite import LimiterConformance
from greenai_core.testing.model_suite import ModelConformance
from greenai_core.testing.profiler_suite import (
    CounterConformance,
    PowerConformance,
    StreamConformance,
    WindowConformance,
)
from greenai_core.testing.telemetry_suite import TelemetryConformance

SUITES = (
    ModelConformance,
    CounterConformance,
    PowerConformance,
    StreamConformance,
    WindowConformance,
    TelemetryConformance,
    LimiterConformance,
    GraderConformance,
    ExporterConformance,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_only_the_broken_rule_is_found(mutant, tmp_path):
    """The one check fails; all others pass or do not apply."""
    failed = {
        check: verdict
        for check, verdict in verdicts(mutant.suite, tmp_path).items()
        if verdict.startswith("failed")
    }
    assert list(failed) == [mutant.check], failed


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_every_check_has_a_mutant(suite):
    """A check that no plugin can fail would be worth nothing."""
    broken = {getattr(m.suite, m.check) for m in MUTANTS}
    untested = [name for name in suite.checks() if getattr(suite, name) not in broken]
    assert not untested
