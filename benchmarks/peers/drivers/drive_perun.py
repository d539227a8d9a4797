"""perun: a decorated function, one round for each window, sampled as often as it allows."""

import os
import time

from driving import NOT_READY, Tool, drive, nominal, work


class Perun(Tool):
    def run(self, windows):
        rows, nodes = [], []

        def measured():
            if not rows:
                register_callback(nodes.append)
            window = windows[len(rows)]
            rows.append({"length": nominal(window), "begin": time.monotonic()})
            work(length_of(window), rows[-1])
            rows[-1]["end"] = time.monotonic()

        started = time.monotonic()
        perun(rounds=len(windows), sampling_period=0.1, data_out="perun_results")(measured)()
        took = time.monotonic() - started - sum(row["end"] - row["begin"] for row in rows)
        for number, row in enumerate(rows):
            row["begin_end_s"] = row["till_figure_s"] = took / len(rows)
            if nodes:
                row["figures"] = figures(nodes[0].nodes[str(number)].metrics)
        return rows


def length_of(window):
    """Until the same instant, where it shall begin at one: perun decides when it begins."""
    if not window.get("at"):
        return window["length"]
    if window["at"] < time.monotonic():
        os._exit(NOT_READY)
    return window["at"] + window["length"] - time.monotonic()


def figures(metrics):
    def joules(part):
        metric = metrics.get(MetricType(part))
        return None if metric is None else float(metric.value) * metric.metric_md.mag.value

    return {
        "package": joules("cpu_energy"),
        "dram": joules("dram_energy"),
        "gpu": joules("gpu_energy"),
    }


def load():
    global MetricType, perun, register_callback
    from perun import perun, register_callback
    from perun.data_model.data import MetricType


if __name__ == "__main__":
    drive(Perun(), load)
