"""Generic meters: commands, and pages of JSON from a loopback meter of known power."""

from __future__ import annotations

import os
import shlex
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import ConfigError, PluginUnavailable, ReadingError, Session
from greenai_core.testing import FakeWattmeter, Sine, VirtualClock
from greenai_core.testing.profiler_suite import CounterConformance, PowerConformance
from greenai_plugins.profilers.meter_generic import MeterEnergyProfiler, MeterProfiler
from greenai_plugins.profilers.meter_path import at, parse_path, split
from greenai_plugins.profilers.meter_values import number_in, step_of, values_of

PAGE = "/rpc/Switch.GetStatus?id=0"


class OnAPage:
    """A meter whose page is a Shelly's, under a load that changes slowly."""

    profiler: type

    @pytest.fixture(autouse=True)
    def _meter(self):
        self.clock = VirtualClock(100.0)
        with FakeWattmeter("shelly2", Sine(80, 30, 44), clock=self.clock) as self.meter:
            yield

    def make_absent(self):
        return self.profiler()

    def true_energy(self, start, end, channel):
        return self.meter.energy_j(start, end)

    def break_sensor(self, channel):
        self.meter.keep_failing("500")


class TestPowerConformance(OnAPage, PowerConformance):
    profiler = MeterProfiler

    def make_profiler(self):
        return MeterProfiler(url=self.meter.url + PAGE, path="apower")


class TestEnergyConformance(OnAPage, CounterConformance):
    """Its counter has steps of 3.6 J."""

    profiler = MeterEnergyProfiler

    def make_profiler(self):
        return MeterEnergyProfiler(
            url=self.meter.url + PAGE, path="aenergy.total", unit="Wh", step=0.001
        )


# Places in JSON


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("power", ("power",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ("[3].x", (3, "x")),
        ('meters[1]["active power"]', ("meters", 1, "active power")),
        ('["a.b+c"].d', ("a.b+c", "d")),
        ("sensor-1.value_w", ("sensor-1", "value_w")),
    ],
)
def test_paths(text, keys):
    assert parse_path(text) == keys


@pytest.mark.parametrize(
    "text",
    [".a", "a..b", "a[", "a[-1]", "a[x]", "a b", "$.a", "a[?(@.x)]", "__import__('os')", "1"],
)
def test_what_is_no_path(text):
    with pytest.raises(ValueError, match="no path"):
        parse_path(text)


@given(st.text(max_size=60))
def test_any_text_is_a_path_or_refused(text):
    try:
        keys = parse_path(text)
    except ValueError:
        return
    with pytest.raises(ValueError, match="no "):
        at("leaf", *keys, "x")


def test_signs_inside_quotes_do_not_split():
    assert split('a["x+y"]+b', "+") == ['a["x+y"]', "b"]


def test_sums_and_several_channels():
    assert values_of("a.b[0]", "m")[0].places == (("a", "b", 0),)
    two = values_of("psu1=x.w,psu2=y[0]+y[1]", "m")
    assert [value.label for value in two] == ["psu1", "psu2"]
    text = '{"x": {"w": 10.5}, "y": ["1.25", 2]}'
    assert [number_in(text, value) for value in two] == [Decimal("10.5"), Decimal("3.25")]
    for bad in ("a,b", "a=b=c", "a=", "+a"):
        with pytest.raises(ValueError, match=r"one name|more than one|lacks a path"):
            values_of(bad, "m")


@pytest.mark.parametrize(
    "text",
    ["", "watts", "1e999999", '{"a": 1e999999}',
     "nan", "inf", "-1", "12 W", "1,5", "{}", '{"a": true}', '{"a": null}',
     '{"a": [1]}', '{"a": NaN}', '{"a": Infinity}', '{"a": -1}', '{"a": "x"}', '{"a":', "[1]",
     '{"a": "' + "1" * 100 + '"}'],
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "a"])
def test_what_is_no_number(text, path):
    with pytest.raises(ValueError, match=r"no number|cannot be true|not JSON|has no a"):
        number_in(text, values_of(path, "m")[0])


def test_a_number_without_end_is_told_in_short():
    with pytest.raises(ValueError, match="cannot be true") as caught:
        number_in('{"a": ' + "9" * 100_000 + "}", values_of("a", "m")[0])
    assert len(str(caught.value)) < 80


def test_the_last_digit_is_the_step():
    assert step_of([Decimal("11.679"), Decimal("3.1")]) == Decimal("0.001")
    assert step_of([Decimal("42")]) == 1
    assert step_of([Decimal("4E+3")]) == 1
    assert step_of([Decimal("11.679000000000002")]) == Decimal("0.001"), "a binary fraction"
    assert step_of([Decimal("1234567890123456789")]) == 1


# Commands


def python(code: str) -> str:
    return shlex.join([sys.executable, "-S", "-c", code])


def test_a_command_in_real_time():
    with Session([MeterProfiler(command="echo 120.5", period_s=0.2)]) as session:
        with session.window() as window:
            time.sleep(0.6)  # a hole is longer than a second
        assert window.result.energy_j == pytest.approx(120.5 * window.result.duration_s, rel=0.01)
        assert window.result.contains == ("wall:meter",)


def test_units_and_json_of_a_command():
    profiler = MeterProfiler(
        command='echo \'{"m": [{"p": 0.25}]}\'', path="m[0].p", unit="kW", label="pdu"
    )
    profiler.open()
    assert profiler.read_power(profiler.channels[0]) == 250.0
    assert profiler.channels[0].id == "wall:pdu"
    assert "assumption" in profiler.channels[0].gain_source
    profiler.close()


def test_no_shell_unless_asked():
    with pytest.raises(ReadingError, match="no number"):
        MeterProfiler(command="echo $((20+3)) | cat").open()
    profiler = MeterProfiler(command="echo $((20+3)) | cat", shell=True)
    profiler.open()
    assert profiler.read_power(profiler.channels[0]) == 23.0
    profiler.close()


def test_a_counter_with_its_digits():
    profiler = MeterEnergyProfiler(command="echo 11.679", unit="Wh")
    profiler.open(VirtualClock())
    (channel,) = profiler.channels
    assert channel.resolution_j == pytest.approx(3.6)
    assert profiler.read(channel) == 11679
    assert (channel.method, channel.wraps_at) == ("counter", None)
    profiler.close()
    profiler = MeterEnergyProfiler(command="echo 11.679", unit="Wh", step="0.01", wraps_at=100)
    profiler.open(VirtualClock())
    assert profiler.read(profiler.channels[0]) == 1167
    assert profiler.channels[0].wraps_at == 10_000
    profiler.close()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (python("import sys; sys.exit('meter is off')"), "ended with 1: meter is off"),
        (python("print('12 W')"), "no number"),
        (python("pass"), "no number"),
        (python("print(-5)"), "cannot be true"),
        (python("print(1e9)"), "no plug carries"),
        (python("import time; time.sleep(60)"), "took more than 0.3 s"),
    ],
)
def test_a_command_that_fails(command, reason):
    began = time.monotonic()
    profiler = MeterProfiler(command=command, timeout_s=0.3 if "sleep" in command else 30)
    with pytest.raises(ReadingError, match=reason):
        profiler.open()
    assert not profiler.is_open
    assert time.monotonic() - began < 30


def test_the_children_of_a_command_that_hangs_end_with_it():
    began = time.monotonic()
    with pytest.raises(ReadingError, match="took more"):
        MeterProfiler(command="sleep 60 | sleep 61", shell=True, timeout_s=0.2).open()
    assert time.monotonic() - began < 30


def command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def test_a_child_that_keeps_the_output_open_holds_nothing_up():
    """Neither one that the command left behind, which is ended, nor one in a session of its own."""
    seconds = f"61.{os.getpid()}"  # told apart from those of other runs
    for command in (f"echo 5; sleep {seconds} &", "setsid sleep 12"):
        began = time.monotonic()
        with pytest.raises(ReadingError, match="holds its output open"):
            MeterProfiler(command=command, shell=True, timeout_s=0.2).open()
        assert time.monotonic() - began < 10
    left = f"sleep\0{seconds}\0".encode()
    while left in set(map(command_line, Path("/proc").glob("[0-9]*"))):
        assert time.monotonic() - began < 30, "the child that was left behind runs on"
        time.sleep(0.02)


def test_what_a_command_is_given_is_not_told():
    command = "TOKEN=s3cret curl-like-echo -H 'Authorization: s3cret' || echo 5"
    profiler = MeterProfiler(command=command, shell=True)
    profiler.open()
    assert profiler.channels[0].description == "a number from the command 'curl-like-echo'"
    profiler.close()


def test_what_is_no_program_is_refused_with_the_remedy(tmp_path):
    file = tmp_path / "meter"
    file.write_text("echo 5")
    file.chmod(0o755)
    with pytest.raises(PluginUnavailable, match="Exec format") as caught:
        MeterProfiler(command=str(file)).check_available()
    assert "shell=true" in caught.value.hint


def test_a_command_that_is_not_there():
    with pytest.raises(PluginUnavailable, match="No such file") as caught:
        MeterProfiler(command="no-such-meter --now").check_available()
    assert "shell" in caught.value.hint


# Pages


def test_several_channels_share_one_answer():
    clock = VirtualClock(100.0)
    with FakeWattmeter("shelly1", 50.0, model="em", clock=clock) as meter:
        profiler = MeterProfiler(
            url=meter.url + "/status",
            path="a=emeters[0].power,b=emeters[1].power+emeters[2].power",
            part_of="server",
        )
        with Session([profiler], clock=clock) as session:
            with session.window() as window:
                clock.sleep(20)
            assert window.result.energy_j == pytest.approx(150 * 20)
            assert window.result.contains == ("wall:a", "wall:b")
        assert len(meter.requests) < 60, "each sample is one request"


def test_headers_come_from_the_environment_and_the_query_is_not_told(monkeypatch):
    import base64

    token = base64.b64encode(b"admin:geheim").decode()
    monkeypatch.setenv("METER_HEADERS", f"X-Other: 1\nAuthorization: Basic {token}")
    with FakeWattmeter("shelly1", 42.0, password="geheim") as meter:
        url = meter.url + "/status?key=k33p"
        profiler = MeterProfiler(url=url, path="meters[0].power", headers_env="METER_HEADERS")
        profiler.open()
        (channel,) = profiler.channels
        assert profiler.read_power(channel) == 42.0
        assert meter.requests[-1] == "/status?key=k33p"
        assert "k33p" not in channel.description
        meter.keep_failing("500")
        with pytest.raises(ReadingError, match="status 500") as caught:
            profiler.read_power(channel)
        assert "k33p" not in str(caught.value)
        assert token not in str(caught.value)
        profiler.close()
        monkeypatch.setenv("METER_HEADERS", "nonsense")
        with pytest.raises(PluginUnavailable, match="headers_env"):
            MeterProfiler(url=url, path="x", headers_env="METER_HEADERS").open()


def test_a_header_that_cannot_be_sent_is_not_told(monkeypatch):
    monkeypatch.setenv("METER_HEADERS", "Authorization: geheim€")
    with FakeWattmeter("shelly1") as meter:
        profiler = MeterProfiler(url=meter.url + "/x", path="a", headers_env="METER_HEADERS")
        with pytest.raises(PluginUnavailable, match="HTTP cannot carry") as caught:
            profiler.check_available()
    assert "geheim" not in str(caught.value)


def test_a_query_arrives_as_it_was_given():
    with FakeWattmeter("tasmota", 9.0) as meter:
        url = meter.url + "/cm?cmnd=Status%208"
        profiler = MeterProfiler(url=url, path="StatusSNS.ENERGY.Power")
        profiler.open()
        assert profiler.read_power(profiler.channels[0]) == 9.0
        profiler.close()


def test_nobody_at_the_address():
    with FakeWattmeter("shelly2") as meter:
        url = meter.url
    with pytest.raises(PluginUnavailable, match="refused"):
        MeterProfiler(url=url + "/x", path="a").open()


# What is measured


def test_a_part_of_the_machine_needs_its_id():
    with pytest.raises(ConfigError, match="needs the id"):
        MeterProfiler(command="echo 5", component="gpu")
    profiler = MeterProfiler(command="echo 5", component="gpu", id="gpu:GPU-12")
    profiler.open()
    assert (profiler.channels[0].id, profiler.channels[0].component) == ("gpu:GPU-12", "gpu")
    profiler.close()


@pytest.mark.parametrize(
    "options",
    [
        {"command": "x", "url": "http://x/y"},
        {"command": "echo 'a"},
        {"command": "  "},
        {"url": "http://meter/status"},
        {"url": "ftp://meter", "path": "a"},
        {"url": "http://user:geheim@meter/x", "path": "a"},
        {"unit": "hp"},
        {"unit": "Wh"},
        {"component": "fridge"},
        {"path": "a b", "command": "x"},
        {"label": "a/b"},
        {"path": "a/b=x", "command": "x"},
        {"path": "a=x,b=y", "id": "wall:x", "command": "x"},
        {"gain": -1},
        {"period_s": 0},
        {"timeout_s": "long"},
    ],
)
def test_options_that_cannot_be_used(options):
    with pytest.raises(ConfigError) as caught:
        MeterProfiler(**options)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("options", [{"unit": "W"}, {"step": 0}, {"wraps_at": "soon"}])
def test_options_of_a_counter_that_cannot_be_used(options):
    with pytest.raises(ConfigError):
        MeterEnergyProfiler(**options)


@pytest.mark.parametrize("profiler", [MeterProfiler, MeterEnergyProfiler])
def test_without_a_meter_it_says_how_to_name_one(profiler):
    with pytest.raises(PluginUnavailable) as caught:
        profiler().check_available()
    assert f"{profiler.name}.command=" in caught.value.hint
    assert not profiler.automatic


@pytest.mark.parametrize("name", ["greenai.toml", "pyproject.toml"])
def test_a_folder_from_a_stranger_runs_no_command(name, tmp_path, monkeypatch):
    """`greenai devices` in a folder that was just unpacked must not run what its file says."""
    from greenai_core.cli.config import configure

    table = "tool.greenai.profiler" if name == "pyproject.toml" else "profiler"
    (tmp_path / name).write_text(f'[{table}.meter]\ncommand = "touch ran"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="runs a program") as caught:
        configure()
    assert name in str(caught.value)
    assert "-O meter.command=" in str(caught.value)
    (tmp_path / name).write_text(f'[{table}.wattmeter]\npassword_env = "TOKEN"\n')
    with pytest.raises(ConfigError, match="sends a secret"):
        configure()
    (tmp_path / name).write_text(f'[{table}.redfish]\nverify = "no"\n')
    with pytest.raises(ConfigError, match="who may be told a password"):
        configure()


def test_ones_own_file_may_name_a_command(tmp_path, monkeypatch):
    from greenai_core.cli.config import configure

    (tmp_path / "greenai").mkdir()
    (tmp_path / "greenai" / "config.toml").write_text('[profiler.meter]\ncommand = "echo 5"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert configure().settings.profiler["meter"] == {"command": "echo 5"}
