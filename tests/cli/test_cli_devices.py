"""``greenai devices`` and ``greenai plugins``."""

import pytest

from greenai_core.cli import exit_codes


def by_name(entries, name, **more):
    found = [e for e in entries if e["name"] == name and all(e[k] == v for k, v in more.items())]
    assert len(found) == 1
    return found[0]


def test_each_profiler_is_listed_with_channels_or_with_the_remedy(greenai):
    done = greenai("devices", "--json")
    assert done.code == 0
    profilers = done.json["profilers"]
    sim = by_name(profilers, "sim")
    assert sim["state"] == "ready"
    assert sim["seen_on_hardware"] == ""
    channel = sim["channels"][0]
    assert channel["id"] == "cpu:0/package"
    assert channel["method"] == "counter"
    assert channel["update_period_s"] == 0.001
    assert channel["resolution_j"] == 1e-6
    assert channel["gain_source"] == "simulated"
    absent = by_name(profilers, "sim-absent")
    assert (absent["state"], absent["remedy"]) == ("unavailable", "Plug one into slot 7")
    broken = by_name(profilers, "sim-broken")
    assert broken["state"] == "broken"
    assert "greenai_simulated_nowhere" in broken["reason"]


def test_it_says_what_auto_would_use_and_what_a_total_would_contain(greenai):
    auto = greenai("devices", "--json").json["auto"]
    assert {"id": "cpu:0/package", "profiler": "sim", "method": "counter"} in auto["channels"]
    assert "cpu:0/package" in auto["contains"]
    assert "model:cpu" not in auto["contains"]
    assert not auto["modelled_only"]
    assert "sim-absent" in {entry["profiler"] for entry in auto["skipped"]}


def test_limiters_show_their_limits(greenai):
    limit = by_name(greenai("devices", "--json").json["limiters"], "sim")["limits"][0]
    assert limit["device"] == "gpu:GPU-sim"
    assert (limit["low_w"], limit["high_w"], limit["settable"]) == (100.0, 300.0, False)


def test_the_text_has_states_remedies_and_tables_of_80_columns(greenai):
    done = greenai("devices")
    assert done.code == 0
    for word in (
        "not yet run on hardware",
        "Remedy: Plug one into slot 7",
        "cpu:0/package",
        "250 W",
    ):
        assert word in done.out
    assert "A total is: cpu:0/package" in done.out.replace("\n  ", " ")
    lines = [line for line in done.out.splitlines() if "Remedy:" not in line]
    assert max(map(len, lines)) <= 80


def test_a_machine_with_only_a_model_says_so_in_plain_words(greenai):
    done = greenai("devices", "-p", "sim-model")
    assert "modelled" in done.out
    assert "not measured" in " ".join(done.out.split())


def test_a_profiler_that_does_not_work_is_no_error_here(greenai):
    done = greenai("devices", "-p", "sim-absent", "--json")
    assert done.code == 0
    assert done.json["auto"]["channels"] == []


def test_the_remedy_stands_once_where_it_can_be_copied(greenai):
    done = greenai("devices", "-p", "sim-absent")
    assert done.out.count("Plug one into slot 7") == 1


def test_options_of_an_unknown_profiler_are_an_error(greenai):
    done = greenai("devices", "-O", "nosuch.key=1")
    assert done.code == exit_codes.PLUGIN
    assert "nosuch" in done.err


def test_plugins_lists_kind_name_distribution_version_and_state(greenai):
    done = greenai("plugins", "--json")
    assert done.code == 0
    tiny = by_name(done.json, "tiny")
    assert tiny["group"] == "greenai.models"
    assert (tiny["distribution"], tiny["version"]) == ("greenai-simulated", "1.0")
    assert tiny["state"] == "ok"
    assert {entry["group"] for entry in done.json} == {
        "greenai.models", "greenai.profilers", "greenai.limiters", "greenai.graders",
        "greenai.exporters",
    }  # fmt: skip


def test_a_broken_plugin_is_listed_with_its_cause_and_hides_nothing(greenai):
    done = greenai("plugins", "--json")
    broken = by_name(done.json, "sim-broken")
    assert broken["state"] == "broken"
    assert "greenai_simulated_nowhere" in broken["reason"]
    assert by_name(done.json, "sim", group="greenai.profilers")["state"] == "ok"
    missing = by_name(done.json, "foreign")
    assert missing["state"] == "unavailable"
    assert "greenai-core[foreign]" in missing["reason"]


def test_the_table_of_plugins_fits_80_columns(greenai):
    done = greenai("plugins")
    assert "sim-broken" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


CROSS = (
    "devices",
    "--cross-check",
    "--rounds",
    "3",
    "--seconds",
    "0.2",
    "--load",
    "sleep 100",
)


def test_a_cross_check_compares_all_tools_on_one_load(greenai):
    done = greenai(*CROSS, "--json")
    assert done.code == 0, done.err
    check = done.json["check"]
    assert (check["rounds"], check["seconds"]) == (3, 0.2)
    power = by_name([{**p, "name": p["profiler"]} for p in check["powers"]], "sim")
    assert power["channel"] == "cpu:0/package"
    assert power["rounds"] == 3
    assert power["low_w"] < power["power_w"] < power["high_w"]
    assert "sim-absent" in {skipped["profiler"] for skipped in done.json["skipped"]}
    kinds = {(d["what"], d["kind"], d["reference"], d["other"]) for d in check["disagreements"]}
    assert ("cpu in all", "same component", "sim", "sim-model") in kinds


def test_the_text_of_a_cross_check_fits_and_tells_the_verdict(greenai):
    done = greenai(*CROSS, "-p", "sim", "-p", "sim-model")
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert "cpu in all" in done.out
    assert ("More than the intervals allow" in done.out) != ("Every disagreement is" in done.out)


def test_a_cross_check_of_one_tool_has_nothing_to_compare(greenai):
    done = greenai(*CROSS, "-p", "sim")
    assert done.code == 0
    assert "Nothing to compare" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_cross_check_without_any_tool_is_an_error_with_its_cause(greenai):
    done = greenai(*CROSS, "-p", "sim-absent")
    assert done.code == exit_codes.MEASUREMENT
    assert "sim-absent" in done.errors[0]


def test_a_load_that_ends_at_once_is_told(greenai):
    done = greenai(*CROSS[:-1], "false", "-p", "sim")
    assert done.code == exit_codes.MEASUREMENT
    assert "ended with exit code" in done.errors[0]


def test_a_cross_check_with_a_tool_that_does_not_exist_is_no_check_of_the_others(greenai):
    done = greenai(*CROSS, "-p", "sim", "-p", "likwdi")
    assert done.code == exit_codes.PLUGIN
    assert "'likwdi'" in done.err
    assert not done.out


@pytest.mark.parametrize("more", [(), CROSS[1:]])
def test_an_option_that_a_profiler_does_not_have_is_told_with_those_that_it_has(greenai, more):
    done = greenai("devices", *more, "-p", "sim", "-O", "sim.nonsense=3")
    said = " ".join((done.out + done.err).split())
    assert "no option nonsense" in said
    assert "TypeError" not in said
