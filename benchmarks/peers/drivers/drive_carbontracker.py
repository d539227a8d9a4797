"""carbontracker: an epoch for each window, without its factor for the data centre."""

from driving import J_PER_KWH, Tool, drive


class Carbontracker(Tool):
    def open(self, windows):
        self.tracker = CarbonTracker(
            epochs=windows + 1, epochs_before_pred=0, monitor_epochs=-1, update_interval=0.1
        )
        self.thread = self.tracker.tracker

    def begin(self):
        self.tracker.epoch_start()

    def end(self):
        self.tracker.epoch_end()

    def late(self):
        # What it adds up itself; its total then takes that times a factor for cooling.
        epochs = self.thread.epoch_times
        found = {part.name: part.energy_usage(epochs) for part in self.thread.components}

        def joules(name, n):
            kwh = found[name][n] if name in found else None
            return None if kwh is None else float(kwh) * J_PER_KWH

        return [{"cpu": joules("cpu", n), "gpu": joules("gpu", n)} for n in range(len(epochs))]

    def close(self):
        self.tracker.stop()


def load():
    global CarbonTracker
    from carbontracker.tracker import CarbonTracker


if __name__ == "__main__":
    drive(Carbontracker(), load)
