"""The profiler keeps the rules of all profilers."""

import pytest
from greenai_plugin_example.kettle import KettleProfiler

from greenai_core.testing import CounterConformance, VirtualClock

WATTS = 2000.0


class TestKettle(CounterConformance):
    settle_s, window_s = 0.1, 2.0

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        monkeypatch.delenv("KETTLE_FILE", raising=False)
        self.folder = tmp_path

    def make_hardware(self):
        self.clock = VirtualClock()
        self.file = self.folder / "joules"
        self._write()
        self.ticker = self.clock.repeat(self._write, lambda: 0.01)

    def _write(self):
        self.file.write_text(f"{WATTS * self.clock.now():.3f}\n")

    def make_profiler(self):
        return KettleProfiler(file=self.file)

    def make_absent(self):
        return KettleProfiler()

    def true_energy(self, start, end, channel):
        return WATTS * (end - start)

    def break_sensor(self, channel):
        self.ticker.cancel()
        self.file.write_text("error\n")


def test_the_file_can_come_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "joules").write_text("1.5\n")
    monkeypatch.setenv("KETTLE_FILE", str(tmp_path / "joules"))
    KettleProfiler().check_available()
