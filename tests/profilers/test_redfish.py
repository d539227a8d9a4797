"""The Redfish profiler against controllers on loopback whose power is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenai_core import ConfigError, PluginUnavailable, ReadingError, Session
from greenai_core.testing import FakeBmc, PowerConformance, Sine, Step, VirtualClock
from greenai_plugins.profilers import redfish
from greenai_plugins.profilers.redfish import Place, RedfishProfiler

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback.pem"


class TestConformance(PowerConformance):
    """A server whose power changes slowly."""

    window_s = 60.0

    @pytest.fixture(autouse=True)
    def _bmc(self):
        self.clock = VirtualClock(100.0)
        with FakeBmc(power=Sine(400, 100, 200), clock=self.clock) as self.bmc:
            yield

    def make_profiler(self):
        return RedfishProfiler(url=self.bmc.url, period_s=1.0)

    def make_absent(self):
        return RedfishProfiler()

    def true_energy(self, start, end, channel):
        return self.bmc.energy_j(start, end)

    def break_sensor(self, channel):
        self.bmc.fault = "500"


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ("openbmc", "chassis 1 of the BMC 127.0.0.1, /redfish/v1/Chassis/1/Power"),
        ("dell", "chassis 1 of the BMC 127.0.0.1, /redfish/v1/Chassis/1/Power"),
        ("environment", "chassis 1 of the BMC 127.0.0.1, /redfish/v1/Chassis/1/Env"),
        ("accelerators", "chassis Board of the BMC"),
    ],
)
def test_the_power_of_the_whole_server_is_found(layout, place):
    with FakeBmc(layout, 464.0) as bmc, Session([RedfishProfiler(url=bmc.url)]) as session:
        [channel] = session.channels
        assert place in channel.description
        assert (channel.id, channel.component, channel.method) == (
            "wall:127.0.0.1",
            "wall",
            "sampled",
        )
        assert session.sources[0].profiler.read_power(channel) == 464.0


def test_neighbours_are_not_added_but_chosen():
    with FakeBmc("two", 400.0) as bmc:
        with pytest.raises(PluginUnavailable, match="Node1, Node2") as found:
            RedfishProfiler(url=bmc.url).open()
        assert "redfish.chassis=" in found.value.hint
        profiler = RedfishProfiler(url=bmc.url, chassis="Node2")
        profiler.open()
        assert profiler.read_power(profiler.channels[0]) == 100.0
        profiler.close()


def test_a_tray_inside_a_machine_without_a_figure_is_not_taken_for_the_machine():
    with FakeBmc("tray", 3000.0) as bmc:
        with pytest.raises(PluginUnavailable, match="HGX_Chassis_0 tells a power") as found:
            RedfishProfiler(url=bmc.url).open()
        assert "redfish.chassis=" in found.value.hint
        profiler = RedfishProfiler(url=bmc.url, chassis="HGX_Chassis_0")
        profiler.open()
        assert len(profiler.channels) == 1
        profiler.close()


@pytest.mark.parametrize(
    ("layout", "fault", "reason"),
    [
        ("none", "", "no chassis that tells its power"),
        ("environment", "401", "wants a password"),
        ("environment", "html", "not JSON"),
        ("environment", "list", "no object"),
        ("environment", "moved", "status 302"),
        ("environment", "zero", "no chassis that tells its power"),
        ("openbmc", "null", "no chassis that tells its power"),
    ],
)
def test_what_is_no_meter_is_refused_with_the_next_step(layout, fault, reason):
    with FakeBmc(layout) as bmc:
        bmc.fault = fault
        profiler = RedfishProfiler(url=bmc.url)
        with pytest.raises(PluginUnavailable, match=reason) as found:
            profiler.check_available()
        assert found.value.hint
        assert not profiler.is_open


def test_user_and_password(monkeypatch):
    with FakeBmc(login=("reader", "s3cret")) as bmc:
        with pytest.raises(PluginUnavailable, match="wants a password, or another"):
            RedfishProfiler(url=bmc.url, user="reader", password="wrong").open()
        profiler = RedfishProfiler(url=bmc.url, user="reader", password_env="BMC_PASSWORD")
        with pytest.raises(PluginUnavailable, match="BMC_PASSWORD"):
            profiler.open()
        monkeypatch.setenv("BMC_PASSWORD", "s3cret")
        profiler.open()
        [channel] = profiler.channels
        assert profiler.read_power(channel) == 400.0
        assert "s3cret" not in repr(channel)
        profiler.close()


def test_a_password_is_not_sent_in_the_clear():
    profiler = RedfishProfiler(url="http://192.0.2.7", user="reader", password="s3cret")
    with pytest.raises(ConfigError, match="use https") as found:
        profiler.open()
    assert "s3cret" not in str(found.value)


def test_a_certificate_must_be_trusted():
    with FakeBmc(certificate=CERTIFICATE) as bmc:
        with pytest.raises(PluginUnavailable, match=r"not trusted.*verify"):
            RedfishProfiler(url=bmc.url).open()
        for verify in ("no", str(CERTIFICATE)):
            profiler = RedfishProfiler(url=bmc.url, verify=verify)
            profiler.open()
            assert profiler.read_power(profiler.channels[0]) == 400.0
            profiler.close()


@pytest.mark.parametrize(
    "options",
    [
        {"url": "bmc"},
        {"url": "https://user:pass@bmc"},
        {"url": "https://bmc/redfish/v1/Chassis"},
        {"url": "https://bmc", "verify": "nowhere.pem"},
        {"url": "https://bmc", "period_s": "0"},
        {"url": "https://bmc", "gain": "nan"},
        {"url": "https://bmc", "label": "a b"},
    ],
)
def test_options_that_cannot_be_used(options):
    with pytest.raises(ConfigError, match="redfish:"):
        RedfishProfiler(**options)


def test_what_claims_to_be_another_host_is_not_followed():
    with FakeBmc() as bmc:
        bmc.resource = lambda path: {"Chassis": {"@odata.id": "//evil.example/redfish"}}
        with pytest.raises(PluginUnavailable, match="no Redfish service"):
            RedfishProfiler(url=bmc.url).open()
        assert bmc.requests == ["/redfish/v1/"]


def test_a_closed_one_tells_nothing():
    profiler = RedfishProfiler(url="https://bmc")
    with pytest.raises(ReadingError, match="not open"):
        profiler.read_power(None)


class Means:
    """A BMC's power: the mean of the last 30 s, new every 10 s."""

    def __init__(self, load):
        self.load = load

    def power(self, t):
        latched = t // 10 * 10
        return self.load.energy(latched - 30, latched) / 30


@pytest.mark.parametrize("seconds", [61.0, 120.0, 300.0])
def test_a_load_that_begins_with_the_window_is_in_the_interval(monkeypatch, seconds):
    """The mean of 30 s that BMCs may tell is late: it misses a quarter of a minute's window."""
    clock, load = VirtualClock(100.0), Step(200, 800, 204.0)
    means = Means(load)
    profiler = RedfishProfiler(url="http://127.0.0.1", gain=0.0)
    monkeypatch.setattr(RedfishProfiler, "_find", lambda self: Place("1", "/", dict, {}, "/"))
    monkeypatch.setattr(RedfishProfiler, "_get", lambda self, path: {})
    monkeypatch.setattr(redfish, "_watts", lambda value: means.power(clock.now()))
    with Session([profiler], clock=clock) as session:
        clock.sleep(104.0)
        with session.window() as window:
            clock.sleep(seconds)
        told = window.result
    truth = load.energy(204.0, 204.0 + seconds)
    assert told.energy_j < 0.96 * truth
    assert told.low_j <= truth <= told.high_j
