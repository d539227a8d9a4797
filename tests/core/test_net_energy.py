"""Energy above idle: the bracket, the drift, and the gain that scales the difference."""

import pytest

from greenai_core import Channel, ReadingError
from greenai_core.channels import Reading, window_result
from greenai_core.net import as_figure, net_energy

CPU = Channel("cpu:0/package", "cpu", "counter", gain_uncertainty=0.03, gain_source="RAPL")
GPU = Channel("gpu:GPU-1", "gpu", "counter", gain_uncertainty=0.05, gain_source="NVML")


def window(duration_s, joules, channels=(CPU,), u=0.0):
    readings = [("sim", Reading(c, j, u)) for c, j in zip(channels, joules, strict=True)]
    return window_result("w", duration_s, readings)


def test_net_is_gross_less_the_mean_of_idle_before_and_after():
    net = net_energy(window(10, [1000.0]), window(5, [100.0]), window(5, [200.0]), [CPU])
    assert net.idle_power_w.value == pytest.approx(30)
    assert net.net_energy_j.value == pytest.approx(700)
    assert net.idle_share == pytest.approx(0.3)


def test_drift_between_the_idle_windows_widens_the_interval():
    """Half-width 1.96 × 10 s × (40 − 20) W / √12."""
    drifting = net_energy(window(10, [1000.0]), window(5, [100.0]), window(5, [200.0]), [CPU])
    half = drifting.net_energy_j.repeat_high - drifting.net_energy_j.value
    assert half == pytest.approx(1.96 * 10 * 20 / 12**0.5, rel=1e-3)
    calm = net_energy(window(10, [1000.0]), window(5, [150.0]), window(5, [150.0]), [CPU])
    assert calm.net_energy_j.repeat_high == calm.net_energy_j.value


def test_uncertainty_of_the_readings_reaches_the_result():
    net = net_energy(
        window(10, [1000.0], u=3.0), window(5, [100.0], u=1.0), window(5, [100.0], u=1.0), [CPU]
    )
    expected = 1.96 * (3.0**2 + 10**2 * (2 * (1 / 5) ** 2) / 4) ** 0.5
    assert net.net_energy_j.repeat_high - net.net_energy_j.value == pytest.approx(
        expected, rel=1e-3
    )


def test_the_gain_scales_the_difference_not_the_gross_energy():
    net = net_energy(window(10, [1000.0]), window(5, [450.0]), window(5, [450.0]), [CPU])
    figure = net.net_energy_j
    assert figure.value == pytest.approx(100)
    assert figure.high - figure.value == pytest.approx(1.96 * 0.03 * 100, rel=1e-3)


def test_gains_of_several_methods_are_independent():
    both = (CPU, GPU)
    net = net_energy(
        window(10, [1000.0, 2000.0], both),
        window(10, [500.0, 500.0], both),
        window(10, [500.0, 500.0], both),
        both,
    )
    figure = net.net_energy_j
    expected = 1.96 * ((0.03 * 500) ** 2 + (0.05 * 1500) ** 2) ** 0.5
    assert figure.high - figure.value == pytest.approx(expected, rel=1e-3)


def test_less_than_idle_is_negative_not_cut_to_zero():
    net = net_energy(window(10, [50.0]), window(5, [100.0]), window(5, [100.0]), [CPU])
    assert net.net_energy_j.value == pytest.approx(-150)
    assert net.net_energy_j.low <= net.net_energy_j.value


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_window_without_a_total_gives_no_net_energy(lost):
    windows = [window(10, [1000.0]), window(5, [100.0]), window(5, [100.0])]
    windows[lost] = window_result("lost", 5, [("sim", Reading(CPU, None, reason="unplugged"))])
    with pytest.raises(ReadingError):
        net_energy(*windows, [CPU])
    assert as_figure(windows[lost]) is None
