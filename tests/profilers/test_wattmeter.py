"""The wattmeter profiler against meters on loopback whose power is known."""

from __future__ import annotations

import json
import math
import time

import pytest

from greenai_core import ConfigError, PluginUnavailable, ReadingError
from greenai_core.testing.clock import VirtualClock
from greenai_core.testing.profiler_suite import PowerConformance
from greenai_core.testing.profiles import Sine, SquareWave
from greenai_core.testing.wattmeters import KINDS, FakeWattmeter
from greenai_plugins.profilers.wattmeter import WattmeterProfiler


class TestConformance(PowerConformance):
    """A Shelly plug under a load that changes slowly."""

    @pytest.fixture(autouse=True)
    def _meter(self):
        self.clock = VirtualClock(100.0)
        with FakeWattmeter("shelly2", Sine(80, 30, 44), clock=self.clock) as self.meter:
            yield

    def make_profiler(self):
        return WattmeterProfiler(url=self.meter.url)

    def make_absent(self):
        return WattmeterProfiler()

    def true_energy(self, start, end, channel):
        return self.meter.energy_j(start, end)

    def break_sensor(self, channel):
        self.meter.keep_failing("500")


@pytest.fixture
def clock():
    return VirtualClock(100.0)


def opened(meter, clock=None, **options):
    profiler = WattmeterProfiler(url=meter.url, **options)
    profiler.open(clock) if clock else profiler.open()
    return profiler


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", ["auto", "named"])
def test_reads_the_power_of_each_kind(kind, asked):
    with FakeWattmeter(kind, 61.5) as meter:
        profiler = opened(meter, kind=kind if asked == "named" else "auto")
        (channel,) = profiler.channels
        assert profiler.read_power(channel) == 61.5
        assert (channel.id, channel.component, channel.method) == (
            "wall:127.0.0.1",
            "wall",
            "sampled",
        )
        assert channel.gain_uncertainty > 0
        assert channel.gain_source
        profiler.close()


def test_a_redirection_is_not_followed():
    """It could lead anywhere; the url that was given is the one to mend."""
    with FakeWattmeter("shelly2") as meter:
        profiler = opened(meter)
        meter.fail("moved")
        with pytest.raises(ReadingError, match="status 302"):
            profiler.read_power(profiler.channels[0])
        profiler.close()


def test_probes_only_once():
    """After opening, only the path that answered is asked."""
    with FakeWattmeter("tasmota") as meter:
        profiler = opened(meter)
        before = len(meter.requests)
        profiler.read_power(profiler.channels[0])
        assert meter.requests[before:] == ["/cm?cmnd=Status%208"]
        profiler.close()


@pytest.mark.parametrize("kind", KINDS)
def test_energy_of_a_changing_load_is_within_its_interval(kind, clock):
    with FakeWattmeter(kind, Sine(80, 30, 44), clock=clock) as meter:
        profiler = opened(meter, clock, gain=0)
        profiler.start()
        began = clock.now()
        clock.advance(60)
        window = profiler.stop()
        truth = meter.energy_j(began, clock.now())
        assert window.low_j <= truth <= window.high_j
        assert window.energy_j == pytest.approx(truth, rel=0.01)
        assert window.contains == ("wall:127.0.0.1",)
        profiler.close()


def test_evaluate_gives_joules(clock):
    with FakeWattmeter("shelly2", 200.0, clock=clock) as meter:
        profiler = opened(meter, clock)
        seconds, joules, _ = profiler.evaluate(clock.advance, 10)
        assert seconds == 10
        assert joules == pytest.approx(2000)
        assert profiler.get_unit() == "J"
        profiler.close()


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_one_passing_failure_is_not_even_seen(fault):
    with FakeWattmeter("shelly2", 50.0) as meter:
        profiler = opened(meter)
        meter.fail(fault)
        assert profiler.read_power(profiler.channels[0]) == 50.0
        profiler.close()


@pytest.mark.parametrize("fault", ["500", "503", "half", "html", "negative", "wrong"])
def test_a_failure_of_some_seconds_does_not_lose_the_measurement(fault, clock):
    with FakeWattmeter("shelly2", 50.0, clock=clock) as meter:
        profiler = opened(meter, clock)
        profiler.start()
        clock.advance(10)
        meter.keep_failing(fault)
        clock.advance(2)
        meter.heal()
        clock.advance(10)
        window = profiler.stop()
        # Asking again takes its time of the clock.
        assert 22 <= window.duration_s < 23
        assert window.energy_j == pytest.approx(50.0 * window.duration_s, rel=1e-3)
        profiler.close()


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("500", "status 500"),
        ("503", "status 503"),
        ("reset", "does not answer"),
        ("half", "not JSON"),
        ("html", "Please log in"),
        ("wrong", "no apower"),
        ("moved", "status 302"),
        ("negative", "-12.5"),
        ("nan", "NaN"),
        ("null", "None"),
    ],
)
def test_a_lasting_failure_names_the_address_and_the_cause(fault, cause, clock):
    with FakeWattmeter("shelly2", clock=clock) as meter:
        profiler = opened(meter, clock)
        meter.keep_failing(fault)
        with pytest.raises(ReadingError, match=cause) as caught:
            profiler.read_power(profiler.channels[0])
        assert f"{meter.url}/rpc/Switch.GetStatus?id=0" in str(caught.value)

        profiler.start()
        clock.advance(30)
        window = profiler.stop()
        assert window.energy_j is None
        assert cause in window.missing[0].reason
        profiler.close()


def test_a_silent_meter_is_given_up_after_the_timeout():
    with FakeWattmeter("shelly2") as meter:
        profiler = opened(meter, timeout_s=0.5)
        meter.keep_failing("hang")
        with pytest.raises(ReadingError, match=r"did not answer within 0\.5 s"):
            profiler.read_power(profiler.channels[0])
        profiler.close()


@pytest.mark.parametrize("fault", ["slow head", "slow body"])
def test_an_answer_that_trickles_in_is_given_up_after_the_timeout(fault):
    """Each byte comes well within it; all of them would take three minutes."""
    with FakeWattmeter("shelly2") as meter:
        profiler = opened(meter, timeout_s=1.0)
        meter.keep_failing(fault)
        began = time.monotonic()
        with pytest.raises(ReadingError, match="did not answer within 1 s"):
            profiler.read_power(profiler.channels[0])
        assert time.monotonic() - began < 30
        meter.heal()
        assert profiler.read_power(profiler.channels[0]) == 100.0
        profiler.close()


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("shelly1", {"meters": [{"power": 5.0, "is_valid": False}]}),
        ("shelly1", {"meters": []}),
        ("shelly1", {"meters": {"0": {"power": 5.0}}}),
        ("shelly1", {"emeters": [{}]}),
        ("shelly2", {"apower": "12.0"}),
        ("shelly2", {"apower": True}),
        ("shelly2", {"apower": 10**400}),
        ("shelly2", {"apower": 2e5}),
        ("shelly2", []),
        ("shelly2", None),
        ("tasmota", {"StatusSNS": {"Time": "now"}}),
        ("tasmota", {"StatusSNS": {"ENERGY": {"Power": []}}}),
        ("tasmota", {"WARNING": "Need user=<username>&password=<password>"}),
    ],
)
def test_what_is_no_power_is_never_taken_for_one(kind, answer):
    with FakeWattmeter(kind) as meter:
        profiler = opened(meter, kind=kind)
        meter.say(json.dumps(answer).encode())
        with pytest.raises(ReadingError, match=meter.url):
            profiler.read_power(profiler.channels[0])
        profiler.close()


def test_the_first_generation_energy_meters_are_read_too():
    with FakeWattmeter("shelly1") as meter:
        meter.say(b'{"emeters": [{"power": 1.0}, {"power": 321.0, "is_valid": true}]}')
        profiler = opened(meter, kind="shelly1", channel=1)
        assert profiler.read_power(profiler.channels[0]) == 321.0
        profiler.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_that_the_meter_lacks_is_refused(kind):
    with FakeWattmeter(kind) as meter, pytest.raises(ReadingError, match="no wattmeter of the"):
        opened(meter, kind=kind, channel=3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_channel_of_several(kind):
    with FakeWattmeter(kind, 7.0, channels=2) as meter:
        profiler = opened(meter, channel=1, label="rack")
        assert profiler.read_power(profiler.channels[0]) == 7.0
        assert profiler.channels[0].id == "wall:rack"
        profiler.close()


def test_nobody_at_the_address():
    with FakeWattmeter("shelly2") as meter:
        url = meter.url
    with pytest.raises(PluginUnavailable, match="refused") as caught:
        WattmeterProfiler(url=url).open()
    assert url in caught.value.reason
    assert "address" in caught.value.hint


def test_availability_asks_the_meter():
    with FakeWattmeter("shelly1") as meter:
        WattmeterProfiler(url=meter.url).check_available()
        meter.keep_failing("html")
        with pytest.raises(PluginUnavailable, match="not JSON"):
            WattmeterProfiler(url=meter.url).check_available()


def test_something_else_at_the_address():
    with FakeWattmeter("shelly1") as meter:
        meter.keep_failing("html")
        with pytest.raises(ReadingError, match="not JSON"):
            WattmeterProfiler(url=meter.url).open()


def test_a_meter_of_another_kind():
    with FakeWattmeter("shelly1") as meter, pytest.raises(ReadingError, match="status 404"):
        WattmeterProfiler(url=meter.url, kind="shelly2").open()


def test_without_an_address_it_is_unavailable_and_says_how_to_give_one():
    profiler = WattmeterProfiler()
    with pytest.raises(PluginUnavailable) as caught:
        profiler.check_available()
    assert "url=" in caught.value.hint
    assert not WattmeterProfiler.automatic


@pytest.mark.parametrize(
    "options",
    [
        {"url": "192.168.1.20"},
        {"url": "ftp://meter"},
        {"url": "http://"},
        {"url": "http://meter:port"},
        {"url": "http://meter/status"},
        {"url": "http://user:secret@meter"},
        {"kind": "omegawatt"},
        {"label": "a/b: c"},
        {"channel": -1},
        {"timeout_s": 0},
        {"timeout_s": "soon"},
        {"gain": -0.1},
        {"gain": math.nan},
    ],
)
def test_options_that_cannot_be_used(options):
    with pytest.raises(ConfigError) as caught:
        WattmeterProfiler(**options)
    assert "secret" not in str(caught.value)


def test_options_may_come_as_text():
    """The command line knows only strings."""
    with FakeWattmeter("shelly2", channels=2) as meter:
        profiler = opened(meter, channel="1", timeout_s="1.5", gain="0.01")
        assert profiler.channels[0].gain_uncertainty == 0.01
        assert profiler.channels[0].gain_source == "given by the user"
        profiler.close()


def test_proxies_of_the_environment_are_left_out(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with FakeWattmeter("shelly2", 5.0) as meter:
        profiler = opened(meter)
        assert profiler.read_power(profiler.channels[0]) == 5.0
        profiler.close()


# Other models, and meters of three phases


@pytest.mark.parametrize("model", ["pm1", "em1"])
def test_other_models_of_the_second_generation(model):
    with FakeWattmeter("shelly2", 61.5, model=model) as meter:
        profiler = opened(meter)
        assert profiler.read_power(profiler.channels[0]) == 61.5
        profiler.close()


@pytest.mark.parametrize("kind", ["shelly1", "shelly2"])
def test_three_phases_are_chosen_never_guessed(kind):
    with FakeWattmeter(kind, 50.0, model="em") as meter:
        for channel, watts in (("all", 150.0), (0, 50.0), ("2", 50.0)):
            profiler = opened(meter, channel=channel)
            assert profiler.read_power(profiler.channels[0]) == watts
            profiler.close()
        with pytest.raises(ReadingError, match=r"three phases.*channel=all for their sum"):
            opened(meter, kind=kind)
        with pytest.raises(ReadingError, match=r"no phase 3|no emeters\[3\]"):
            opened(meter, kind=kind, channel=3)


def test_a_phase_that_gives_back_is_a_clamp_the_wrong_way_round():
    """Their sum would hide it."""
    with FakeWattmeter("shelly2", 50.0, model="em") as meter:
        profiler = opened(meter, channel="all")
        meter.say(
            b'{"a_act_power": 50, "b_act_power": -50, "c_act_power": 50, "total_act_power": 50}'
        )
        with pytest.raises(ReadingError, match="-50 W cannot be true"):
            profiler.read_power(profiler.channels[0])
        profiler.close()


def test_all_of_a_tasmota_is_the_sum():
    with FakeWattmeter("tasmota", 7.0, channels=3) as meter:
        profiler = opened(meter, channel="all")
        assert profiler.read_power(profiler.channels[0]) == 21.0
        profiler.close()


def test_a_plug_has_no_sum():
    with FakeWattmeter("shelly2") as meter, pytest.raises(ReadingError, match="no sum"):
        opened(meter, kind="shelly2", channel="all")


# Passwords


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", ["auto", "named"])
def test_a_password_opens_the_meter(kind, asked, monkeypatch):
    """Digest with SHA-256, basic, or in the query: each kind has its own way."""
    monkeypatch.setenv("METER_PASSWORD", "s3cret&x")
    with FakeWattmeter(kind, 61.5, password="s3cret&x") as meter:
        for secret in ({"password": "s3cret&x"}, {"password_env": "METER_PASSWORD"}):
            profiler = opened(meter, kind=kind if asked == "named" else "auto", **secret)
            assert profiler.read_power(profiler.channels[0]) == 61.5
            profiler.close()


@pytest.mark.parametrize("kind", ["shelly1", "shelly2"])
@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_meter_that_wants_a_password_says_how_to_give_it(kind, password):
    with FakeWattmeter(kind, password="s3cret") as meter:
        with pytest.raises(PluginUnavailable, match="status 401: it wants a password") as caught:
            opened(meter, password=password)
        assert "password_env" in caught.value.hint


def test_a_variable_that_is_not_set_is_told():
    with FakeWattmeter("shelly2") as meter, pytest.raises(PluginUnavailable, match="not set"):
        opened(meter, password_env="NOT_SET_ANYWHERE")


def everything_told(error):
    """The text of an error and of all that Python would print with it."""
    import traceback

    return "".join(traceback.format_exception(error))


SECRET = "s3c" + "ret"  # in no line of source that a traceback shows


@pytest.mark.parametrize("fault", ["500", "reset", "half", "moved", "null"])
def test_no_message_holds_the_password(fault):
    with FakeWattmeter("tasmota", password=SECRET) as meter:
        profiler = opened(meter, password=SECRET)
        meter.keep_failing(fault)
        with pytest.raises(ReadingError) as caught:
            profiler.read_power(profiler.channels[0])
        assert SECRET not in everything_told(caught.value)
        profiler.close()
    with pytest.raises(PluginUnavailable) as refused:
        WattmeterProfiler(url=meter.url, password=SECRET).open()
    assert SECRET not in everything_told(refused.value)


def test_options_that_hold_a_password_are_hidden_by_their_name():
    from greenai_core.cli.config import public

    assert public("password", "s3cret") == "********"


# The meter's own counter


@pytest.mark.parametrize(("kind", "minutes"), [("shelly2", 2), ("shelly1", 2), ("tasmota", 3)])
@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_a_counter_that_disagrees_with_the_power_is_a_note(kind, minutes, gain, clock):
    with FakeWattmeter(kind, Sine(2000, 500, 31), clock=clock, counter_gain=gain) as meter:
        profiler = opened(meter, clock)
        clock.advance(60 * minutes)
        notes = profiler.notes()
        assert bool(notes) == (gain != 1.0)
        if notes:
            assert "(-3" in notes[0]
            assert "its own counter counted" in notes[0]
        profiler.close()


def test_a_bursty_load_is_no_disagreement(clock):
    """A second of work in ten, met by the samples or missed."""
    with FakeWattmeter("shelly2", SquareWave(2, 400, 10, duty=0.1), clock=clock) as meter:
        profiler = opened(meter, clock)
        for _ in range(5):
            clock.advance(70)
            assert profiler.notes() == []
        profiler.close()


def test_a_counter_that_was_set_back_is_compared_afresh(clock):
    with FakeWattmeter("shelly2", 200.0, clock=clock) as meter:
        profiler = opened(meter, clock)
        clock.advance(100)
        meter._began = clock.now()
        clock.advance(100)
        assert profiler.notes() == []
        profiler.close()


# What a meter may not do to us


def test_an_answer_without_end_is_cut_off():
    with FakeWattmeter("shelly2") as meter:
        profiler = opened(meter)
        meter.say(b"[" * (1 << 21))
        with pytest.raises(ReadingError, match="more than"):
            profiler.read_power(profiler.channels[0])
        profiler.close()


def test_json_that_is_nested_without_end_is_refused():
    with FakeWattmeter("shelly2") as meter:
        profiler = opened(meter)
        meter.say(b"[" * 200_000)
        with pytest.raises(ReadingError, match="not JSON"):
            profiler.read_power(profiler.channels[0])
        profiler.close()
