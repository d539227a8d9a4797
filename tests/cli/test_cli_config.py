"""Settings: flag > environment > project > user > default."""

import pytest

from greenai_core.cli import exit_codes


def user_file(tmp_path, text):
    folder = tmp_path / "config" / "greenai"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(text)
    return folder / "config.toml"


def settings(greenai, *args):
    done = greenai("config", "show", "--json", *args)
    assert done.code == 0, done.err
    return done.json["settings"]


def test_everything_is_default_where_nothing_is_set(greenai):
    shown = settings(greenai)
    assert {entry["origin"] for entry in shown.values()} == {"default"}
    assert shown["precision"]["value"] == 0.02
    assert shown["profilers"]["value"] == ["auto"]
    assert set(shown) == {
        "profilers", "precision", "max_time", "min_time", "device", "out", "idle_time",
        "calibrations", "grading_url", "grading_timeout",
    }  # fmt: skip


def test_each_layer_wins_over_the_one_below(greenai, tmp_path, simulated, monkeypatch):
    user = user_file(tmp_path, 'precision = "5%"\nmax_time = 11\ndevice = "cuda:3"\nidle_time = 1')
    project = simulated / "greenai.toml"
    project.write_text('precision = 0.04\nmax_time = 12\ndevice = "cuda:2"\n')
    monkeypatch.setenv("GREENAI_PRECISION", "3%")
    monkeypatch.setenv("GREENAI_MAX_TIME", "13")
    shown = settings(greenai, "--precision", "1%")
    assert shown["precision"] == {"value": 0.01, "origin": "--precision"}
    assert shown["max_time"] == {"value": 13.0, "origin": "GREENAI_MAX_TIME"}
    assert shown["device"] == {"value": "cuda:2", "origin": str(project)}
    assert shown["idle_time"] == {"value": 1.0, "origin": str(user)}
    assert shown["out"]["origin"] == "default"


def test_the_nearest_project_file_upwards_counts(greenai, simulated, monkeypatch):
    (simulated / "pyproject.toml").write_text('[tool.greenai]\ndevice = "cpu"\nout = "reports"\n')
    inner = simulated / "deep" / "inner"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text('[project]\nname = "not-greenai"\n')
    monkeypatch.chdir(inner)
    shown = settings(greenai)
    assert shown["device"]["value"] == "cpu"
    assert shown["out"]["value"] == str(simulated / "reports")
    (inner / "greenai.toml").write_text('device = "cuda"')
    assert settings(greenai)["device"]["value"] == "cuda"
    assert settings(greenai)["out"]["origin"] == "default"


def test_profilers_and_their_options_come_from_files_and_flags(greenai, simulated):
    (simulated / "greenai.toml").write_text(
        'profilers = ["sim"]\n[profiler.sim]\nwatts = 5\npassword = "hush"\n'
    )
    shown = settings(greenai, "-O", "sim.watts=7.5", "--tdp", "65")
    assert shown["profilers"]["value"] == ["sim"]
    assert shown["profiler.sim.watts"] == {"value": 7.5, "origin": "-O"}
    assert shown["profiler.modelled.tdp_w"]["value"] == 65.0
    assert shown["profiler.sim.password"]["value"] == "********"


def test_what_addresses_and_commands_hold_is_not_shown(greenai, simulated):
    """Nor is it in a report, which others read."""
    (simulated / "greenai.toml").write_text(
        '[profiler.meter]\nurl = "http://me:hush@host:80/a?key=hush#hush"\n'
    )
    command = "T=hush curl -H 'Authorization: hush'"
    given = ("-O", f"meter-energy.command={command}", "-O", "sim.command=meter", "-O", "sim.url=x")
    shown = settings(greenai, *given)
    assert shown["profiler.meter.url"]["value"] == "http://********@host:80/a?********"
    assert shown["profiler.meter-energy.command"]["value"] == "curl ********"
    assert shown["profiler.sim.command"]["value"] == "meter"
    assert shown["profiler.sim.url"]["value"] == "x"


def test_a_broken_file_of_another_tool_is_not_ours(greenai, simulated):
    (simulated / "pyproject.toml").write_text("[tool.other\n")
    assert settings(greenai)["device"]["origin"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("presicion = 0.1", "presicion"),
        ("precision = 3", "precision"),
        ("precision = true", "precision"),
        ('max_time = "60"', "max_time"),
        ("max_time = -1", "max_time"),
        ("min_time = nan", "min_time"),
        ('profilers = "sim"', "profilers"),
        ('profilers = ["auto", "sim"]', "auto"),
        ("device = 3", "device"),
        ("[profiler]\nsim = 3", "profiler"),
        ("precision = \n", "line 1"),
    ],
)
def test_a_wrong_setting_names_the_file_and_the_key(greenai, simulated, text, said):
    (simulated / "greenai.toml").write_text(text)
    done = greenai("config", "show")
    assert done.code == exit_codes.USAGE
    assert len(done.errors) == 1
    assert "greenai.toml" in done.err
    assert said in done.err


@pytest.mark.parametrize(
    "args",
    [
        ["--precision", "2"],
        ["--precision", "0%"],
        ["--precision", "two"],
        ["--max-time", "inf"],
        ["--max-time", "soon"],
        ["--max-time", "3", "--min-time", "9"],
        ["-O", "watts=3"],
        ["-p", "auto", "-p", "sim"],
    ],
)
def test_a_wrong_flag_names_the_flag(greenai, args):
    done = greenai("config", "show", *args)
    assert done.code == exit_codes.USAGE
    flag = "--profiler" if args[0] == "-p" else args[0]
    assert flag in done.err


def test_a_wrong_variable_names_the_variable(greenai, monkeypatch):
    monkeypatch.setenv("GREENAI_MAX_TIME", "long")
    assert "GREENAI_MAX_TIME" in greenai("config", "show").err


def test_a_short_limit_shortens_the_default_minimum(greenai):
    assert settings(greenai, "--max-time", "0.5")["min_time"]["value"] == 0.5


def test_the_table_fits_80_columns(greenai):
    done = greenai("config", "show", "--out", "a/" * 70)
    assert max(map(len, done.out.splitlines())) <= 80
    assert "--out" in done.out


@pytest.mark.parametrize("option", ["likwid.program", "perf-stat.perf"])
def test_a_program_of_another_tool_is_not_taken_from_a_project(greenai, simulated, option):
    """`greenai devices` tries every tool: a folder from a stranger would run what it likes."""
    profiler, _, name = option.partition(".")
    (simulated / "greenai.toml").write_text(f'[profiler.{profiler}]\n{name} = "./evil"\n')
    done = greenai("config", "show")
    assert done.code == exit_codes.USAGE
    assert "runs a program" in done.err
    (simulated / "greenai.toml").unlink()
    assert settings(greenai, "-O", f"{option}=./mine")[f"profiler.{option}"]["value"] == "./mine"


def test_the_address_of_the_grading_service_is_a_setting_of_the_user_alone(
    greenai, tmp_path, simulated, monkeypatch
):
    """A folder from a stranger must not choose who gets a token and is told of runs."""
    user = user_file(tmp_path, 'grading_url = "https://grades.example"\ngrading_timeout = 7')
    shown = settings(greenai)
    assert shown["grading_url"] == {"value": "https://grades.example", "origin": str(user)}
    assert shown["grading_timeout"] == {"value": 7.0, "origin": str(user)}
    monkeypatch.setenv("GREENAI_GRADING_URL", "https://me:secret@other.example/?key=secret")
    shown = settings(greenai)
    assert shown["grading_url"]["origin"] == "GREENAI_GRADING_URL"
    assert "other.example" in shown["grading_url"]["value"]
    assert "secret" not in shown["grading_url"]["value"]
    for text in ('grading_url = "https://evil.example"', "[tool.greenai]\ngrading_url = 'x'"):
        name = "pyproject.toml" if "tool" in text else "greenai.toml"
        (simulated / name).write_text(text)
        done = greenai("config", "show")
        assert done.code == exit_codes.USAGE
        assert "not taken from a project's file" in " ".join(done.err.split())
        (simulated / name).unlink()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "1e12"])
def test_a_time_to_wait_that_is_none(greenai, monkeypatch, value):
    monkeypatch.setenv("GREENAI_GRADING_TIMEOUT", value)
    done = greenai("config", "show")
    assert done.code == exit_codes.USAGE
    assert "GREENAI_GRADING_TIMEOUT" in done.err
