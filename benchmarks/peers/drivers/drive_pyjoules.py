"""pyJoules: an energy meter on package, DRAM and GPU; other domains are parts of these."""

import contextlib

from driving import Tool, drive


class PyJoules(Tool):
    def open(self, windows):
        wanted = []
        # As DeviceFactory does by default.
        with contextlib.suppress(NoSuchDeviceError):
            found = RaplDevice.available_domains()
            wanted += [d for d in found if d.get_domain_name() in ("package", "dram")]
        wanted += NvidiaGPUDevice.available_domains()
        self.meter = EnergyMeter(DeviceFactory.create_devices(wanted))

    def begin(self):
        self.meter.start()

    def end(self):
        self.meter.stop()

    def figures(self):
        energy = next(iter(self.meter.get_trace())).energy
        return {
            "package": together(energy, "package", 1e-6),
            "dram": together(energy, "dram", 1e-6),
            "gpu": together(energy, "nvidia", 1e-3),
        }


def together(energy, kind, unit_j):
    found = [count * unit_j for name, count in energy.items() if name.startswith(kind)]
    return sum(found) if found else None


def load():
    global DeviceFactory, EnergyMeter, NoSuchDeviceError, NvidiaGPUDevice, RaplDevice
    from pyJoules.device import DeviceFactory
    from pyJoules.device.nvidia_device import NvidiaGPUDevice
    from pyJoules.device.rapl_device import RaplDevice
    from pyJoules.energy_meter import EnergyMeter
    from pyJoules.exception import NoSuchDeviceError


if __name__ == "__main__":
    drive(PyJoules(), load)
