"""A part of /sys on disk whose numbers are driven by known power.

Drivers tell power, energy or current in files of one number each. A ``Number`` is such
a file, a ``SysfsTree`` keeps them all right, in this process or for others::

    with SysfsTree.grace(tmp_path) as tree:
        ticker = tree.drive(clock)  # VirtualClock, or SYSTEM_CLOCK for real time
        ...
        truth = tree.energy("class/hwmon/hwmon1/device/power1_average", start, end)

The files that a driver would have are laid out as its documentation says; each builder
names it.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenai_core.clock import Clock, Ticker

from .hardware import Latch
from .powercap import WRITE_ONLY, Load
from .profiles import Constant, PowerProfile

if TYPE_CHECKING:
    from typing_extensions import Self

POWER, ENERGY = "power", "energy"

AMD_WRAPS_AT = 2**48
"""µJ: amd_energy shifts 64 bits by the 16 of Zen's energy unit."""


@dataclass(frozen=True)
class Number:
    """One file that holds a whole number.

    Attributes:
        load: the power behind it.
        scale: what one watt, or one joule, adds to the number.
        shows: ``power`` or ``energy``.
        latch: when it takes over a new value.
        start: what an energy stands on at time 0.
        wraps_at: where an energy starts again at 0; None for never.
    """

    load: Load
    scale: float = 1e6
    shows: str = POWER
    latch: Latch = Latch()  # noqa: RUF009  # frozen
    start: int = 0
    wraps_at: int | None = None

    @property
    def profile(self) -> PowerProfile:
        """The power, as a profile."""
        return self.load if isinstance(self.load, PowerProfile) else Constant(self.load)

    def value(self, t: float, base: int, since: float) -> int:
        """What it shows at ``t``; an energy counts from ``base`` at ``since``."""
        shown = max(self.latch.before(t), since)
        if self.shows == POWER:
            return round(self.profile.power(shown) * self.scale)
        # The last bits of a float must not decide between two neighbouring counts.
        count = base + math.floor(self.profile.energy(since, shown) * self.scale + 1e-6)
        return count % self.wraps_at if self.wraps_at else count


class SysfsTree:
    """Builds the files and keeps their numbers moving.

    Args:
        root: what stands for ``/sys``; created.
        numbers: path below the root -> what it shows.
        texts: path below the root -> what it holds.
        links: path below the root -> path below the root that it leads to.
    """

    def __init__(
        self,
        root: Path,
        numbers: Mapping[str, Number],
        texts: Mapping[str, object] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.numbers = dict(numbers)
        self._base = {path: (number.start, 0.0) for path, number in numbers.items()}
        self._fds: dict[str, int] = {}
        root.mkdir(parents=True, exist_ok=True)
        for path, text in (texts or {}).items():
            self.set(path, text)
        for path, target in (links or {}).items():
            (root / target).mkdir(parents=True, exist_ok=True)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(root / target)
        for path in numbers:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._fds[path] = os.open(root / path, flags, 0o644)
        self.update(0.0)

    # Machines

    @classmethod
    def amd_energy(
        cls, root: Path, sockets: Sequence[Load] = (180.0, 170.0), start: int = 123_456_789
    ) -> Self:
        """Two cores and the sockets of an EPYC (Documentation/hwmon/amd_energy.rst).

        The counters stand on ``start`` at time 0.
        """
        chip = "class/hwmon/hwmon2"
        counts: list[tuple[str, Load]] = [("Ecore000", 3.0), ("Ecore001", 2.0)]
        counts += [(f"Esocket{index}", load) for index, load in enumerate(sockets)]
        numbers, texts = {}, {f"{chip}/name": "amd_energy"}
        for index, (label, load) in enumerate(counts, start=1):
            texts[f"{chip}/energy{index}_label"] = label
            numbers[f"{chip}/energy{index}_input"] = Number(
                load, 1e6, ENERGY, Latch(1e-3), start, AMD_WRAPS_AT
            )
        return cls(root, numbers, texts)

    @classmethod
    def amdgpu(cls, root: Path, board: Load = 220.0, apu: Load | None = None) -> Self:
        """A Radeon board and, with ``apu``, a processor with graphics of its own.

        Documentation/gpu/amdgpu/thermal.rst; only the latter has the voltage vddnb.
        """
        numbers = {"class/hwmon/hwmon4/power1_average": Number(board)}
        texts: dict[str, object] = {"class/hwmon/hwmon4/name": "amdgpu"}
        texts["class/hwmon/hwmon4/power1_label"] = "PPT"
        texts["devices/pci0000:00/0000:03:00.0/device"] = "0x744c"
        links = {"class/hwmon/hwmon4/device": "devices/pci0000:00/0000:03:00.0"}
        if apu is not None:
            numbers["class/hwmon/hwmon5/power1_input"] = Number(apu)
            texts["class/hwmon/hwmon5/name"] = "amdgpu"
            texts["class/hwmon/hwmon5/in1_label"] = "vddnb"
            links["class/hwmon/hwmon5/device"] = "devices/pci0000:00/0000:c4:00.0"
        return cls(root, numbers, texts, links)

    @classmethod
    def xe(cls, root: Path, card: Load = 150.0, package: Load = 110.0) -> Self:
        """An Intel board (Documentation/ABI/testing/sysfs-driver-intel-xe-hwmon)."""
        chip = "class/hwmon/hwmon3"
        texts = {f"{chip}/name": "xe", f"{chip}/energy1_label": "card"}
        texts[f"{chip}/energy2_label"] = "pkg"
        numbers = {
            f"{chip}/energy{index}_input": Number(load, 1e6, ENERGY, start=7_000_000)
            for index, load in ((1, card), (2, package))
        }
        return cls(root, numbers, texts, {f"{chip}/device": "devices/pci0000:00/0000:05:00.0"})

    @classmethod
    def power_meter(
        cls, root: Path, meters: Mapping[str, Load] | None = None, interval_ms: int = 1000
    ) -> Self:
        """ACPI power meters by ``power1_oem_info`` (Documentation/hwmon/acpi_power_meter.rst).

        Without ``meters``: one of the whole machine, which has no such text.
        """
        numbers, links = {}, {}
        texts: dict[str, object] = {}
        for index, (oem, load) in enumerate((meters or {"": 420.0}).items(), start=1):
            chip, device = f"class/hwmon/hwmon{index}", f"devices/LNXSYSTM:00/ACPI000D:0{index - 1}"
            links[f"{chip}/device"] = device
            texts[f"{chip}/name"] = "power_meter"
            texts[f"{device}/power1_oem_info"] = oem
            texts[f"{device}/power1_average_interval"] = interval_ms
            numbers[f"{chip}/device/power1_average"] = Number(load, latch=Latch(interval_ms / 1e3))
        return cls(root, numbers, texts, links)

    @classmethod
    def grace(cls, root: Path, module: Load | None = 500.0) -> Self:
        """A Grace socket, with ``module`` a Grace-Hopper, by its ACPI power meters."""
        meters: dict[str, Load] = {
            "Grace Power Socket 0": 120.0,
            "CPU Power Socket 0": 80.0,
            "SysIO Power Socket 0": 25.0,
        }
        if module is not None:
            meters["Module Power Socket 0"] = module
        return cls.power_meter(root, meters, 50)

    @classmethod
    def jetson(
        cls, root: Path, rails: Mapping[str, Load], volts: float = 5.0, shunt_uohm: int = 5000
    ) -> Self:
        """Rails in the order of their INA3221 chips (Documentation/hwmon/ina3221.rst).

        An empty name is an input without a label; ``!NAME`` one that is switched off.
        """
        numbers = {}
        texts: dict[str, object] = {}
        for index, (name, load) in enumerate(rails.items()):
            at, n = divmod(index, 3)
            chip, n = f"bus/i2c/drivers/ina3221/1-004{at}/hwmon/hwmon{at + 1}", n + 1
            texts[f"{chip}/name"] = "ina3221"
            texts[f"{chip}/update_interval"] = 7
            texts[f"{chip}/in7_label"] = "sum of shunt voltages"
            texts[f"{chip}/in{n}_enable"] = int(not name.startswith("!"))
            texts[f"{chip}/in{n}_label"] = name.removeprefix("!")
            texts[f"{chip}/shunt{n}_resistor"] = shunt_uohm
            texts[f"{chip}/in{n}_input"] = round(volts * 1000)
            numbers[f"{chip}/curr{n}_input"] = Number(load, 1000 / volts)
        return cls(root, numbers, texts)

    @classmethod
    def jetson_iio(cls, root: Path, rails: Mapping[str, Load]) -> Self:
        """The same as JetPack 4 shows it, for the Nano and the TX2."""
        numbers, texts = {}, {}
        for index, (name, load) in enumerate(rails.items()):
            at, n = divmod(index, 3)
            chip = f"bus/i2c/drivers/ina3221x/6-004{at}/iio:device{at}"
            texts[f"{chip}/rail_name_{n}"] = name
            numbers[f"{chip}/in_power{n}_input"] = Number(load, 1e3)
        return cls(root, numbers, texts)

    @classmethod
    def laptop(
        cls,
        root: Path,
        batteries: Sequence[Load] = (14.0,),
        *,
        by_current: bool = False,
        latch: Latch = Latch(),  # noqa: B008  # frozen
        energy_latch: Latch = Latch(30.0),  # noqa: B008  # frozen
    ) -> Self:
        """Batteries that discharge, a charger that is not plugged in, and a mouse.

        Documentation/ABI/testing/sysfs-class-power.
        """
        folder, numbers = "class/power_supply", {}
        texts: dict[str, object] = {f"{folder}/AC/type": "Mains", f"{folder}/AC/online": 0}
        mouse = {"type": "Battery", "scope": "Device", "status": "Discharging", "power_now": 90_000}
        texts |= {f"{folder}/hidpp_battery_0/{name}": text for name, text in mouse.items()}
        for index, load in enumerate(batteries):
            battery = f"{folder}/BAT{index}"
            texts |= {f"{battery}/type": "Battery", f"{battery}/present": 1}
            texts[f"{battery}/status"] = "Discharging"
            left = Number(load, -1 / 3.6e-3, ENERGY, energy_latch, 50_000_000)
            numbers[f"{battery}/energy_now"] = left
            if by_current:
                texts[f"{battery}/voltage_now"] = 12_500_000
                numbers[f"{battery}/current_now"] = Number(load, 1e6 / 12.5, latch=latch)
            else:
                numbers[f"{battery}/power_now"] = Number(load, latch=latch)
        return cls(root, numbers, texts)

    # Time

    def update(self, t: float) -> None:
        """Show what each number stands on at ``t``, seconds of the driving clock."""
        for path, fd in self._fds.items():
            os.pwrite(fd, b"%020d\n" % self.numbers[path].value(t, *self._base[path]), 0)

    def drive(self, clock: Clock, period_s: float = 1e-3) -> Ticker:
        """Update now and from now on; end it with ``cancel``.

        On ``SYSTEM_CLOCK`` a daemon thread does it, for readers in other processes.
        """
        self.update(clock.now())
        return clock.repeat(lambda: self.update(clock.now()), lambda: period_s)

    def energy(self, path: str, start: float, end: float) -> float:
        """The truth: joules behind a number between two instants."""
        return self.numbers[path].profile.energy(start, end)

    # Changes and faults

    def set(self, path: str, text: object) -> None:
        """A text holds this from now on."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def reset(self, path: str, t: float) -> None:
        """An energy starts again at 0 at ``t``."""
        self._base[path] = (0, t)

    def stick(self, path: str) -> None:
        """The number does not move any more."""
        os.close(self._fds.pop(path))

    def write(self, path: str, content: str) -> None:
        """The file holds this from now on; empty, garbage, a negative number."""
        self.stick(path)
        (self.root / path).write_text(content)

    def move(self, path: str) -> None:
        """A number that was stuck or overwritten moves again."""
        (self.root / path).write_text("")
        self._fds[path] = os.open(self.root / path, os.O_RDWR | os.O_CLOEXEC)

    def deny(self, path: str) -> None:
        """Opening it for reading ends in EACCES, for root too where possible."""
        self.stick(path)
        file = self.root / path
        hidden = next((one for one in WRITE_ONLY if Path(one).exists()), None)
        if hidden is None:
            file.chmod(0)
        else:
            file.unlink()
            file.symlink_to(hidden)

    def fail(self, path: str) -> None:
        """Each read of it ends in an error (EISDIR for EIO)."""
        self.stick(path)
        (self.root / path).unlink()
        (self.root / path).mkdir()

    def remove(self, folder: str) -> None:
        """The device is gone, with all its files."""
        for path in [path for path in self._fds if path.startswith(f"{folder}/")]:
            self.stick(path)
        shutil.rmtree(self.root / folder)

    def close(self) -> None:
        """Close the files; the tree stays."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
