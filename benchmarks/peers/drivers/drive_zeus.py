"""Zeus: windows of one monitor, short ones approximated from the instant power."""

from driving import Tool, drive


class Zeus(Tool):
    def open(self, windows):
        gpus = get_gpus()
        # The option is for energy counters, and fails on a GPU without one.
        counts = all(
            gpus.supports_get_total_energy_consumption(index) for index in range(len(gpus))
        )
        self.monitor = ZeusMonitor(approx_instant_energy=counts)

    def begin(self):
        # There is no CUDA work to wait for, and no PyTorch to wait with.
        self.monitor.begin_window("window", sync_execution=False)

    def end(self):
        self.measured = self.monitor.end_window("window", sync_execution=False)

    def figures(self):
        measured = self.measured
        return {
            "package": together(measured.cpu_energy),
            "dram": together(measured.dram_energy),
            "gpu": together(measured.gpu_energy),
        }


def together(joules):
    return sum(joules.values()) if joules else None


def load():
    global ZeusMonitor, get_gpus
    from zeus.device import get_gpus
    from zeus.monitor import ZeusMonitor


if __name__ == "__main__":
    drive(Zeus(), load)
