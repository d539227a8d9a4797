"""Small executables that behave like ``perf stat`` and ``likwid-powermeter``.

They start, run their child, and print the difference of what counters show that the
test moves. A world is a folder with a JSON file: joules by counter, the time, and what
goes wrong.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from greenai_core.testing import VirtualClock

HEAD = """#!{python} -ISs
import json, os, select, subprocess, sys, time
from pathlib import Path
FOLDER = Path({folder!r})
def world():
    return json.loads((FOLDER / "world.json").read_text())
def fault(name):
    return world()["faults"].get(name)
(FOLDER / "pid").write_text(str(os.getpid()))
with (FOLDER / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if fault("refuse"):
    sys.stderr.write(fault("refuse"))
    sys.exit(255)
if fault("mute"):
    time.sleep(60)
assert os.environ["LC_ALL"] == "C"
"""

# tools/perf/builtin-stat.c and util/stat-display.c of Linux 6.1: answers "ack\n\0" on the
# control descriptor, prints on standard error, two decimals for what has a unit.
PERF = """
args = sys.argv[1:]
split = args.index("--")
assert args[:2] == ["stat", "-a"] and "--per-socket" in args and "-x;" in args
events = [e.split("/")[1] for e in args[args.index("-e") + 1].split(",")]
orders, answers = map(int, args[args.index("--control") + 1].removeprefix("fd:").split(","))
assert args[args.index("-D") + 1] == "-1"
child = subprocess.Popen(args[split + 1:])
base, counted = None, {}
sys.stderr.write("Events disabled\\n")
while child.poll() is None:
    if not select.select([orders], [], [], 0.002)[0]:
        continue
    order = os.read(orders, 64)
    if fault("hang"):
        time.sleep(60)
    now = world()["joules"]
    if order == b"enable\\n":
        base = now
        sys.stderr.write("Events enabled\\n")
    elif base is not None:
        for name in base:
            counted[name] = counted.get(name, 0.0) + now[name] - base[name]
        base = None
        sys.stderr.write("Events disabled\\n")
    time.sleep(fault("slow") or 0.0)
    os.write(answers, b"ack\\n\\0")
text = ""
for event in events:
    for socket in world()["sockets"]:
        name = f"{socket}/{event}"
        shown = world()["shown"].get(name, f"{counted.get(name, 0.0):.2f}")
        text += f"S{socket};1;{shown};Joules;power/{event}/;1000000000;100.00;;\\n"
if fault("cut"):
    text = text[:text.index(fault("cut")) + 3]
sys.stderr.write(text + "\\n")
sys.exit(fault("code") or 0)
"""

# src/applications/likwid-powermeter.lua of likwid 5.4, and a dump of two sockets at
# https://github.com/RRZE-HPC/likwid/issues/617
LIKWID = """
args = sys.argv[1:]
if args[0] == "-M":
    args = args[2:]
rule = "-" * 80
begun = world()
child = subprocess.Popen(args)  # the real one puts likwid-pin between
child.wait()
if fault("hang"):
    time.sleep(60)
ended = world()
text = f"{rule}\\nCPU name:\\tIntel(R) Xeon(R)\\nCPU clock:\\t2.20 GHz\\n{rule}\\n{rule}\\n"
runtime = ended["now"] - begun["now"] + begun["startup_s"]
text += f"Runtime: {runtime:g} s\\n"
for socket in ended["sockets"]:
    text += f"Measure for socket {socket} on CPU {10 * socket}\\n"
    for domain in ("PKG", "PP0", "DRAM", "PLATFORM"):
        name = f"{socket}/{domain}"
        joules = ended["joules"].get(name, 0.0) - begun["joules"].get(name, 0.0)
        if name not in ended["still"]:
            joules += begun["startup_s"] * ended["watts"].get(name, 0.0)
        shown = ended["shown"].get(name, f"{joules:g}")
        text += f"Domain {domain}:\\nEnergy consumed: {shown} Joules\\n"
        text += f"Power consumed: {joules / runtime if runtime else 0:g} Watt\\n"
    text += "\\n"
text += rule + "\\n"
if fault("cut"):
    text = text[:text.index(fault("cut")) + 3]
sys.stdout.write(text)
if fault("code"):
    sys.stderr.write("ERROR - [./src/power.c:283] Cannot get access to RAPL counters\\n")
sys.exit(fault("code") or 0)
"""


class World(VirtualClock):
    """Counters of constant power, the time, and the programs that see them.

    Args:
        folder: of its own.
        watts: by ``socket/event``, in the words of the program.
    """

    def __init__(self, folder: Path, watts: dict[str, float]) -> None:
        super().__init__()
        self.folder = folder
        self.watts = watts
        self.joules = dict.fromkeys(watts, 100.0)
        self.shown: dict[str, str] = {}
        self.faults: dict[str, object] = {}
        self.still: set[str] = set()
        self.startup_s = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self.perf = self._program("perf", PERF)
        self.likwid = self._program("likwid-powermeter", LIKWID)
        self.tell()

    def advance(self, seconds: float) -> None:
        """Let time pass, here and for the programs."""
        super().advance(seconds)
        for name, power in self.watts.items():
            if name not in self.still:
                self.joules[name] += power * seconds
        self.tell()

    def tell(self) -> None:
        """Write what programs see from now on."""
        state = {
            "now": self.time,
            "joules": self.joules,
            "watts": self.watts,
            "still": sorted(self.still),
            "sockets": sorted({int(name.partition("/")[0]) for name in self.watts}),
            "shown": self.shown,
            "faults": self.faults,
            "startup_s": self.startup_s,
        }
        new = self.folder / "new.json"
        new.write_text(json.dumps(state))
        new.replace(self.folder / "world.json")

    def break_with(self, **faults: object) -> None:
        """Something goes wrong from now on."""
        self.faults |= faults
        self.tell()

    def show(self, name: str, text: str) -> None:
        """The program prints this in place of the joules."""
        self.shown[name] = text
        self.tell()

    def _program(self, name: str, body: str) -> str:
        """Write a program that sees this world; its path."""
        path = self.folder / name
        path.write_text(HEAD.format(python=sys.executable, folder=str(self.folder)) + body)
        path.chmod(0o755)
        return str(path)

    @property
    def pid(self) -> int:
        """Of the program that was started last."""
        return int((self.folder / "pid").read_text())

    def calls(self) -> list[list[str]]:
        """Arguments of each start so far."""
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def power_pmu(folder: Path, *events: str) -> Path:
    """What the kernel's PMU ``power`` looks like in sysfs."""
    events_folder = folder / "power" / "events"
    events_folder.mkdir(parents=True)
    for event in events:
        (events_folder / event).write_text("event=0x02\n")
        (events_folder / f"{event}.scale").write_text("2.3283064365386962890625e-10\n")
        (events_folder / f"{event}.unit").write_text("Joules\n")
    return folder


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False
