"""What the suites promise about expected failures and overriding."""

from __future__ import annotations

import pytest

from greenai_core.testing.conformance import Conformance, check, verdicts
from greenai_core.testing.watching import watched, without


class Suite(Conformance):
    sound = True

    @check
    def test_sound(self):
        """It is sound."""
        assert self.sound, "it is not sound"

    @check
    def test_has_a_folder(self, tmp_path):
        """It has a folder."""
        assert tmp_path.is_dir()


def verdict(tmp_path, **attributes):
    suite = type("Mine", (Suite,), attributes)
    return verdicts(suite, tmp_path)["test_sound"]


def test_a_suite_passes(tmp_path):
    assert set(verdicts(Suite, tmp_path).values()) == {"passed"}


def test_a_failure_is_told_with_its_message(tmp_path):
    assert verdict(tmp_path, sound=False).startswith("failed: AssertionError: it is not sound")


def test_an_expected_failure_carries_its_reason(tmp_path):
    reasons = {"test_sound": "the hardware is old"}
    assert verdict(tmp_path, sound=False, expected_failures=reasons) == (
        "xfailed: the hardware is old"
    )


@pytest.mark.parametrize("sound", [True, False])
def test_a_reason_must_not_be_empty(tmp_path, sound):
    said = verdict(tmp_path, sound=sound, expected_failures={"test_sound": " "})
    assert said.startswith("failed")
    assert "without a reason" in said


def test_an_expected_failure_that_passes_fails(tmp_path):
    said = verdict(tmp_path, expected_failures={"test_sound": "the hardware is old"})
    assert said.startswith("failed")
    assert "Remove the entry" in said


def test_a_check_cannot_be_overridden():
    with pytest.raises(TypeError, match=r"overrides test_sound.*expected_failures"):
        type("Mine", (Suite,), {"test_sound": lambda self: None})


def test_every_check_states_its_rule():
    """The docstrings are what an author reads when a check fails."""
    from test_mutants import SUITES

    for suite in SUITES:
        for name in suite.checks():
            assert (getattr(suite, name).__doc__ or "").strip(), name


def test_watching_sees_files_and_not_imports(tmp_path):
    file = tmp_path / "file"
    with watched() as touched:
        import wave  # noqa: F401  # a module that nothing else imports

        file.write_text("x")
    file.read_text()
    assert len(touched) == 1
    assert str(file) in touched[0]


def test_without_hides_loaded_libraries():
    import json

    with without(["json"]), pytest.raises(ModuleNotFoundError):
        import json.decoder
    import json as again

    assert again is json
