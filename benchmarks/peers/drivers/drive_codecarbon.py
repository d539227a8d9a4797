"""codecarbon: tasks of an offline tracker, DRAM from RAPL."""

from driving import J_PER_KWH, Tool, drive


class CodeCarbon(Tool):
    def open(self, windows):
        self.tracker = OfflineEmissionsTracker(
            country_iso_code="USA",
            output_methods=[],
            rapl_include_dram=True,
            log_level="warning",
        )

    def begin(self):
        self.tracker.start_task()

    def end(self):
        self.data = self.tracker.stop_task()

    def figures(self):
        return {
            "cpu": self.data.cpu_energy * J_PER_KWH,
            "gpu": self.data.gpu_energy * J_PER_KWH,
            "modelled_ram": self.data.ram_energy * J_PER_KWH,
        }

    def close(self):
        self.tracker.stop()


def load():
    global OfflineEmissionsTracker
    from codecarbon import OfflineEmissionsTracker


if __name__ == "__main__":
    drive(CodeCarbon(), load)
