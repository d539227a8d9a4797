"""Power limits of CPU packages in a simulated powercap tree."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenai_core import PluginUnavailable, PowerCapError, power_cap
from greenai_core.testing import PowercapTree
from greenai_core.testing.limiter_suite import LimiterConformance
from greenai_core.testing.powercap import epyc, laptop
from greenai_plugins.limiters import rapl
from greenai_plugins.limiters.rapl import RaplLimiter


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with PowercapTree.xeon(tmp_path / "powercap") as made:
        yield made


def limits_now(tree):
    """All four; None while one is just being written, which sysfs never shows."""
    try:
        return [tree.limit_w(f"intel-rapl:{k}", n) for k in (0, 1) for n in (0, 1)]
    except ValueError:
        return None


def opened(tree):
    limiter = RaplLimiter(str(tree.root))
    limiter.open()
    return limiter


def test_each_package_has_a_limit_under_the_id_of_its_channel(tree):
    first, second = opened(tree).limits()
    assert (first.device, second.device) == ("cpu:0/package", "cpu:1/package")
    assert (first.current_w, first.default_w, first.high_w) == (205.0, 205.0, 205.0)
    assert first.label == "package-0"


def test_both_limits_are_lowered_and_both_come_back(tree):
    """The long-term one alone is kept to on average over half a minute only."""
    limiter = RaplLimiter(str(tree.root))
    with power_cap("cpu:0/package", 100, limiter=limiter):
        assert [tree.limit_w("intel-rapl:0", n) for n in (0, 1)] == [100.0, 100.0]
        assert tree.limit_w("intel-rapl:1") == 205.0
    assert [tree.limit_w("intel-rapl:0", n) for n in (0, 1)] == [205.0, 256.25]


def test_a_short_term_limit_below_the_cap_is_left_alone(tree):
    file = tree.root / "intel-rapl:0" / "constraint_1_power_limit_uw"
    file.write_text("50000000")
    with power_cap("cpu:0/package", 100, limiter=RaplLimiter(str(tree.root))):
        assert tree.limit_w("intel-rapl:0", 1) == 50.0
    assert tree.limit_w("intel-rapl:0", 1) == 50.0


def test_a_killed_program_leaves_both_limits_as_they_were(tree):
    code = (
        "import sys, time\nfrom greenai_core import power_cap\n"
        "from greenai_plugins.limiters.rapl import RaplLimiter\n"
        "limiter = RaplLimiter(sys.argv[1])\n"
        "with power_cap(['cpu:0/package', 'cpu:1/package'], 100, limiter=limiter):\n"
        "    print('on', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tree.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "on\n"
    assert tree.limit_w("intel-rapl:1", 1) == 100.0
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    ends = time.monotonic() + 2.0
    expected = [205.0, 256.25] * 2
    while expected != limits_now(tree):
        assert time.monotonic() < ends, "not given back within 2 s"
        time.sleep(0.01)


def test_a_limit_that_firmware_set_beyond_the_design_power_can_come_back(tree):
    """Boards for gamers allow 4095 W, which is no limit."""
    file = tree.root / "intel-rapl:0" / "constraint_0_power_limit_uw"
    file.write_text("4095000000")
    with power_cap("cpu:0/package", 100, limiter=RaplLimiter(str(tree.root))):
        pass
    assert tree.limit_w("intel-rapl:0") == 4095.0


def test_limits_that_are_switched_off_are_not_set(tree):
    (tree.root / "intel-rapl:0" / "enabled").write_text("0\n")
    with (
        pytest.raises(PowerCapError, match=r"switched off: .*echo 1 > .*enabled"),
        power_cap("cpu:0/package", 100, limiter=RaplLimiter(str(tree.root))),
    ):
        pass


def test_the_command_for_root_names_both_files(tree):
    hand = opened(tree).by_hand("cpu:1/package", 80)
    assert hand.count("echo 80000000 > ") == 2
    assert "constraint_0_power_limit_uw" in hand


def test_cpus_without_limits_are_unavailable_with_the_remedy(tmp_path):
    with (
        PowercapTree(tmp_path / "amd", epyc()) as tree,
        pytest.raises(PluginUnavailable, match=r"no CPU package has a power limit.*modprobe"),
    ):
        RaplLimiter(str(tree.root)).check_available()


def test_the_platform_is_no_package(tmp_path):
    with PowercapTree(tmp_path / "laptop", laptop()) as tree:
        assert [limit.device for limit in opened(tree).limits()] == ["cpu:0/package"]


def test_a_limit_that_is_no_number_is_an_error_with_its_file(tree):
    (tree.root / "intel-rapl:1" / "constraint_0_power_limit_uw").write_text("")
    limiter = opened(tree)
    with pytest.raises(PowerCapError, match=r"intel-rapl:1/constraint_0_power_limit_uw"):
        limiter.limits()
    assert limiter.limit("cpu:0/package").current_w == 205.0


class TestRaplLimiter(LimiterConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.patch = tmp_path, monkeypatch

    def make_hardware(self) -> None:
        self.tree = PowercapTree.xeon(self.place / "powercap")

    def make_limiter(self) -> RaplLimiter:
        return RaplLimiter(str(self.tree.root))

    def make_absent(self) -> RaplLimiter:
        return RaplLimiter(str(self.place / "nowhere"))

    def true_limit(self, device: str) -> float:
        return self.tree.limit_w(f"intel-rapl:{device[4]}")

    def forbid(self) -> None:
        def refuse(file: Path, number: int) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch.setattr(rapl, "_write_number", refuse)
        self.patch.setattr(rapl.os, "access", lambda path, mode: False)

    def make_stubborn(self) -> None:
        self.patch.setattr(rapl, "_write_number", lambda file, number: None)
