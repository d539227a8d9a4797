"""What searches hand back: figures with intervals, how they ended, and reports of them."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from greenai_core import (
    CapPoint,
    CapRatio,
    ComparisonError,
    GradeError,
    PowerCapError,
    PowerCapKept,
    Report,
    SearchSettings,
    Session,
    compare_reports,
    explain,
    optimise_power_cap,
    read_report,
    write_report,
)
from greenai_core.cap_objectives import parse_objective
from greenai_core.cap_outcomes import dry_run, outcome_of
from greenai_core.cap_results import OUTCOMES, at_cap
from greenai_core.cap_search import Found, pareto
from greenai_core.knobs import knob_of
from greenai_core.limiter import ClockLimit, ClockLimiter, PowerLimit
from greenai_core.scale_building import build_scale
from greenai_core.testing import (
    CappedGpu,
    CappedWork,
    DrivenPower,
    PowercapTree,
    SimulatedCounterProfiler,
    SimulatedLimiter,
    VirtualClock,
)
from greenai_core.testing.hardware import nvml_counter
from greenai_plugins.limiters.rapl import RaplLimiter

WORK = CappedWork()


@pytest.fixture(autouse=True)
def _state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def searched(gpu, objective="edp", step=None, **settings):
    with Session([gpu.profiler()], clock=gpu.clock) as session:
        return optimise_power_cap(
            step or gpu.step,
            gpu.device,
            objective,
            limiter=gpu.limiter(),
            session=session,
            settings=SearchSettings(seed=1, **settings),
        )


def report_of(result):
    return Report(
        kind="powercap",
        created="2026-01-02T03:04:05+00:00",
        environment={},
        settings={},
        results=(result,),
        complete=result.complete,
    )


def interrupted(gpu, when, objective="edp"):
    """A search that Ctrl-C ends in the step after ``when(probes, word of progress)`` holds."""
    probes, words, ended = [], [""], []

    def step():
        if not ended and when(len(probes), words[-1]):
            ended.append(True)
            raise KeyboardInterrupt
        gpu.step()

    with Session([gpu.profiler()], clock=gpu.clock) as session:
        return optimise_power_cap(
            step,
            gpu.device,
            objective,
            limiter=gpu.limiter(),
            session=session,
            settings=SearchSettings(seed=1),
            told=probes.append,
            progress=lambda share, text: words.append(text),
        )


# Figures of probes


def test_probes_tell_steps_with_intervals_that_hold_the_truth():
    """Of 24 probes on noisy boards at most three miss the truth: 95 % intervals."""
    missed = {"seconds_s": 0, "energy_j": 0}
    for seed in range(3):
        gpu = CappedGpu(WORK, VirtualClock(), noise=0.02, seed=seed)
        for probe in searched(gpu, quads=0).probes:
            seconds, _ = WORK.at(probe.cap)
            truths = {"seconds_s": seconds, "energy_j": WORK.joules(probe.cap)}
            for name, truth in truths.items():
                figure = getattr(probe, name)
                assert figure.low <= figure.repeat_low < figure.value < figure.repeat_high
                missed[name] += not figure.low <= truth <= figure.high
    assert max(missed.values()) <= 3


def test_probes_name_their_methods_and_channels():
    (first, *_) = searched(CappedGpu(WORK, VirtualClock()), quads=0).probes
    assert first.seconds_s.method == "clock"
    assert first.energy_j.method == "counter"
    (channel,) = first.channels
    assert channel.energy_j == pytest.approx(first.energy_j.value * first.steps)
    assert first.power_w.value == pytest.approx(channel.energy_j / first.duration_s)
    assert [(one.device, one.cap) for one in first.in_force] == [("gpu:GPU-simulated", 400.0)]
    assert not first.clamped


def test_steps_that_differ_widen_the_interval_of_time():
    def half(noise):
        gpu = CappedGpu(WORK, VirtualClock(), noise=noise)
        figure = searched(gpu, quads=0).probes[0].seconds_s
        return figure.high - figure.value

    assert half(0.0) < 1e-9
    assert 3 < half(0.04) / half(0.01) < 5


def test_one_long_step_has_no_spread_and_says_so():
    work = CappedWork(step_s=5.0)
    probe = searched(CappedGpu(work, VirtualClock()), quads=0).probes[0]
    assert probe.steps == 1
    assert "how steps differ is not known" in probe.seconds_s.provenance


def test_a_clamped_cap_is_what_was_in_force():
    """Two boards: one keeps at least 250 W, the other takes everything."""
    gpu = CappedGpu(WORK, VirtualClock())
    limits = [
        PowerLimit("gpu:GPU-simulated", 400.0, 400.0, 100.0, 400.0, settable=True, index=0),
        PowerLimit("gpu:GPU-other", 400.0, 400.0, 100.0, 400.0, settable=True, index=1),
    ]
    limiter = Stubborn(limits=limits, on_set=gpu._capped)
    other = nvml_counter(gpu.power, "gpu:GPU-other")
    profiler = SimulatedCounterProfiler(counters=[*gpu.profiler().counters.values(), other])
    with Session([profiler], clock=gpu.clock) as session:
        found = optimise_power_cap(
            gpu.step,
            ["gpu:GPU-simulated", "gpu:GPU-other"],
            "edp",
            limiter=limiter,
            session=session,
            settings=SearchSettings(seed=1, quads=0),
        )
    assert [one.id for one in found.limits] == ["gpu:GPU-simulated", "gpu:GPU-other"]
    clamped = [probe for probe in found.probes if probe.clamped]
    assert clamped
    for probe in found.probes:
        caps = {one.device: one.cap for one in probe.in_force}
        assert caps["gpu:GPU-simulated"] == probe.asked
        assert caps["gpu:GPU-other"] == max(probe.asked, 250.0)
        assert probe.clamped == (probe.asked < 250.0)
        assert bool(probe.note) == probe.clamped


class Stubborn(SimulatedLimiter):
    """The board ``other`` keeps 250 W at least, and says so."""

    def set_limit(self, device, watts):
        if device.endswith("other"):
            super().set_limit(device, max(watts, 250.0))
            if watts < 250.0:
                raise PowerCapKept(f"{device} keeps 250 W", 250.0)
        else:
            super().set_limit(device, watts)


# How searches end


@pytest.mark.parametrize(
    ("work", "objective", "quads", "outcome"),
    [
        (WORK, "edp", 6, "confirmed"),
        (WORK, "edp", 0, "unconfirmed"),
        (CappedWork(bound=1.0, exponent=1.5), "ed2p", 6, "no saving"),
        (CappedWork(static_w=30, dynamic_w=20), "ed2p", 6, "unbound"),
    ],
)
def test_how_a_search_ended_is_told(work, objective, quads, outcome):
    found = searched(CappedGpu(work, VirtualClock(), noise=0.01), objective, quads=quads)
    assert found.outcome == outcome
    assert found.complete
    assert found.kept_original == (outcome in ("no saving", "unbound"))


@pytest.mark.parametrize(
    ("score", "chosen", "quads", "interrupted", "outcome"),
    [
        (CapRatio(0.9, 0.8, 0.95), 250.0, 6, False, "confirmed"),
        (CapRatio(0.9, 0.8, 0.95), 400.0, 6, False, "too slow"),
        (CapRatio(0.9, 0.8, 1.05), 400.0, 6, False, "undecided"),
        (CapRatio(0.9, 0.8, 0.95), 400.0, 6, True, "interrupted"),
        (None, 400.0, 6, False, "lost"),
        (None, 250.0, 0, False, "unconfirmed"),
    ],
)
def test_what_became_of_a_candidate_is_told(score, chosen, quads, interrupted, outcome):
    found = Found((), None, 250.0, "")
    told = outcome_of(found, score, chosen, quads=quads, interrupted=interrupted)
    assert told == outcome


@pytest.mark.parametrize(
    ("when", "candidate", "quads"),
    [
        (lambda probes, word: probes == 3, False, False),
        (lambda probes, word: "warming up" in word, True, False),
        (lambda probes, word: "1 of 6" in word, True, True),
    ],
    ids=["in the probes", "before the first quad", "in the quads"],
)
def test_ctrl_c_returns_what_was_measured_and_chooses_nothing(when, candidate, quads):
    gpu = CappedGpu(WORK, VirtualClock())
    found = interrupted(gpu, when)
    assert gpu.cap == 400.0
    assert (found.outcome, found.complete) == ("interrupted", False)
    assert (found.chosen, found.kept_original) == (400.0, True)
    assert "interrupted" in found.reason
    assert len(found.probes) == 3 if not candidate else len(found.probes) > 5
    assert (found.candidate is not None) == candidate
    assert bool(found.quads) == quads
    assert found.limits[0].original == 400.0


def test_ctrl_c_late_in_the_confirmation_chooses_nothing_either():
    """Several quads may show a saving already; who stopped the search did not wait for it."""
    gpu = CappedGpu(WORK, VirtualClock())
    found = interrupted(gpu, lambda probes, word: "4 of 6" in word)
    assert len(found.quads) == 4
    assert found.saving.low > 0.2
    assert (found.chosen, found.outcome) == (400.0, "interrupted")


def test_ctrl_c_before_the_quads_of_a_second_cap_keeps_those_of_the_first():
    gpu = CappedGpu(WORK, VirtualClock(), noise=0.02)
    begun = set()

    def second(probes, word):
        if "warming up" in word:
            begun.add(word)
        return len(begun) == 2

    found = interrupted(gpu, second, "energy within 5 % slowdown")
    assert len(begun) == 2
    assert (found.chosen, found.outcome, found.complete) == (400.0, "interrupted", False)
    assert found.quads
    assert found.energy is not None


def test_ctrl_c_before_anything_was_measured_is_ctrl_c():
    gpu = CappedGpu(WORK, VirtualClock())
    with pytest.raises(KeyboardInterrupt):
        interrupted(gpu, lambda probes, word: gpu.steps > 3)
    assert gpu.cap == 400.0


def test_every_outcome_is_described():
    page = read_docs("json-schema.md")
    for outcome in OUTCOMES:
        assert f"`{outcome}`" in page


def read_docs(name):
    return (Path(__file__).parents[2] / "docs" / name).read_text()


class Clocks(ClockLimiter):
    name = "clocks"

    def open(self):
        pass

    def close(self):
        pass

    def limits(self):
        return [ClockLimit("gpu:GPU-1", 200.0, 2000.0, settable=False, index=0)]

    def by_hand(self, device, value):
        return f"lock {device} {value:g}"

    def set_limit(self, device, mhz):
        raise PowerCapError("no")

    def reset(self, device):
        raise PowerCapError("no")


def test_a_dry_run_of_clocks_tells_each_command_and_that_they_run_freely():
    knob = knob_of(Clocks())
    plan = dry_run(knob, knob.settings(), parse_objective("energy"), 5, "no permission")
    assert plan.by_hand == tuple(f"lock gpu:GPU-1 {mhz}" for mhz in (200, 650, 1100, 1550, 2000))
    assert (plan.unit, plan.original, plan.limits[0].original) == ("MHz", 2000.0, None)
    assert (plan.outcome, plan.probes, plan.complete) == ("dry run", (), True)


@pytest.fixture
def packages(tmp_path):
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        yield tree


def test_cpu_packages_are_searched_and_tell_their_other_limit(packages):
    """Work whose power is what the long-term limit of the first package allows."""
    clock = VirtualClock()
    work, power = CappedWork(static_w=20, dynamic_w=185, low_w=51.25, high_w=205), DrivenPower(30.0)

    def step():
        seconds, watts = work.at(packages.limit_w("intel-rapl:0"))
        power.set(clock.now(), watts)
        clock.sleep(seconds)
        power.set(clock.now(), 30.0)

    profiler = SimulatedCounterProfiler(counters=[nvml_counter(power, "cpu:0/package")])
    with Session([profiler], clock=clock) as session:
        found = optimise_power_cap(
            step,
            "cpu:0/package",
            "energy",
            limiter=RaplLimiter(str(packages.root)),
            session=session,
            settings=SearchSettings(seed=1, quads=0),
        )
    assert (found.limiter, found.unit, found.outcome) == ("rapl", "W", "unconfirmed")
    assert found.chosen < 120.0
    (limit,) = found.limits
    assert (limit.id, limit.original, limit.also) == (
        "cpu:0/package",
        205.0,
        {"short_term": 256.25},
    )
    assert packages.limit_w("intel-rapl:0") == 205.0


def test_a_dry_run_of_packages_has_a_command_for_each_cap_of_each(packages):
    limiter = RaplLimiter(str(packages.root))
    limiter.open()
    knob = knob_of(limiter)
    plan = dry_run(knob, knob.settings(), parse_objective("edp"), 5, "no permission")
    limiter.close()
    assert len(plan.by_hand) == 10
    assert sum("intel-rapl:1" in line for line in plan.by_hand) == 5


# The chosen point, and the front


def test_the_chosen_point_lies_on_the_curve():
    found = searched(CappedGpu(WORK, VirtualClock()), quads=0)
    point = found.chosen_point
    assert point.cap == found.chosen
    seconds, watts = WORK.at(found.chosen)
    assert point.seconds_s == pytest.approx(seconds, rel=0.01)
    assert point.energy_j == pytest.approx(seconds * watts, rel=0.02)
    assert point.score == pytest.approx(min(one.score for one in found.curve), abs=1e-4)


def test_beyond_the_curve_a_point_is_that_of_its_end():
    curve = (CapPoint(100, 2.0, 50.0, 100.0, None), CapPoint(200, 1.0, 120.0, 120.0, 1.0))
    assert at_cap(curve, 300) == curve[-1]
    assert at_cap(curve, 100) == curve[0]
    assert (at_cap(curve, 150).seconds_s, at_cap(curve, 150).score) == (1.5, None)
    assert at_cap((), 150) is None


def test_where_the_cap_does_not_matter_the_front_holds_the_highest():
    """Level curves differ in the last digits only, which is no difference."""
    level = [CapPoint(cap, 1.0 + cap * 1e-16, 100.0, 100.0, 1.0) for cap in range(400, 701, 50)]
    curve = (CapPoint(300, 1.2, 75.0, 90.0, 1.3), *level)
    assert [point.cap for point in pareto(curve)] == [700, 300]


# Reports


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        return searched(CappedGpu(WORK, VirtualClock(), noise=0.01))


def test_a_report_of_a_search_survives_the_file(confirmed, tmp_path):
    write_report(report_of(confirmed), tmp_path / "report.json")
    report = read_report(tmp_path / "report.json")
    assert report == report_of(confirmed)
    (again,) = report.results
    assert again.saving == confirmed.saving
    assert again.slowdown.value == pytest.approx(confirmed.time.value - 1)


def test_explaining_derives_probes_ratios_and_front_again(confirmed, tmp_path):
    (result,) = explain(report_of(confirmed), tmp_path)
    assert result.problems == ()
    assert result.origin == "caps"
    assert len(result.figures) == 3 * len(confirmed.probes)
    assert all(figure.budget for figure in result.figures)
    names = {figure.name for figure in result.figures}
    assert f"cap {confirmed.probes[0].cap:g} (pilot): energy" in names


def changed_probe(result):
    first, *others = result.probes
    energy = replace(first.energy_j, value=first.energy_j.value * 1.01)
    return replace(result, probes=(replace(first, energy_j=energy), *others))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (changed_probe, "probes[0].energy_j is"),
        (lambda r: replace(r, energy=replace(r.energy, value=0.5)), "results[0].energy is"),
        (lambda r: replace(r, quads=r.quads[1:]), "results[0].score is"),
        (lambda r: replace(r, quads=()), "None follows from the quads"),
        (lambda r: replace(r, pareto=r.pareto[1:]), "pareto is not the front"),
    ],
)
def test_what_does_not_follow_is_a_problem(confirmed, tmp_path, change, told):
    (result,) = explain(report_of(change(confirmed)), tmp_path)
    assert any(told in problem for problem in result.problems)


def test_a_search_is_neither_compared_nor_a_reference(confirmed):
    report = report_of(confirmed)
    with pytest.raises(ComparisonError, match=r"powercap optimise.*saving and slowdown are in it"):
        compare_reports([("a", report), ("b", report)])
    with pytest.raises(GradeError, match="build the scale from reports of bench"):
        build_scale([report], id="mine/2026.1", unit="image")


def test_means_of_the_confirmation_are_those_of_the_board(confirmed):
    """The quads are raw truth: anybody can derive the ratios from them."""
    joules = {"A": [], "B": []}
    for quad in confirmed.quads:
        for label, piece in zip(quad.order, quad.pieces, strict=True):
            (channel,) = piece.channels
            joules[label].append(
                channel.energy_j / piece.duration_s * piece.work_s / piece.iterations
            )
    ratio = statistics.fmean(joules["B"]) / statistics.fmean(joules["A"])
    assert ratio == pytest.approx(confirmed.energy.value, rel=0.01)
