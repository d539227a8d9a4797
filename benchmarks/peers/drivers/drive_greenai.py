"""greenai, with its shipped defaults."""

import sys

from driving import Tool, drive


class GreenAI(Tool):
    def open(self, windows):
        self.session = Session().open()
        for skipped in self.session.skipped:
            print("listed as skipped:", skipped.profiler, skipped.reason, file=sys.stderr)

    def begin(self):
        self.window = self.session.window()
        self.window.__enter__()

    def end(self):
        self.window.__exit__(None, None, None)

    def figures(self):
        result = self.window.result
        channels = {channel.component: channel for channel in result.channels}
        for missing in result.missing:
            print("listed as missing:", missing.id, missing.reason, file=sys.stderr)
        return {
            **{
                name: channels[part].energy_j if part in channels else None
                for name, part in (("package", "cpu"), ("dram", "dram"), ("gpu", "gpu"))
            },
            "methods": {part: channel.method for part, channel in channels.items()},
            "total": result.energy_j,
            "missing": [missing.id for missing in result.missing],
            "intervals": {
                name: [
                    channels[part].low_j,
                    channels[part].high_j,
                    channels[part].repeat_low_j,
                    channels[part].repeat_high_j,
                ]
                for name, part in (("package", "cpu"), ("dram", "dram"), ("gpu", "gpu"))
                if part in channels
            },
        }

    def close(self):
        self.session.close()


def load():
    global Session
    from greenai_core import Session


if __name__ == "__main__":
    drive(GreenAI(), load)
