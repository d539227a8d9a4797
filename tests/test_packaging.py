"""What is built is what the tree holds, and it works away from the tree."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "greenai_core": ROOT / "greenai_core",
    "greenai_plugins": ROOT / "plugins/greenai_plugins",
}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources, by the tools already installed."""
    out = tmp_path_factory.mktemp("dist")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    copy = tmp_path_factory.mktemp("tree")
    for name in filter(None, tracked):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(out),
        ".",
    ]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("greenai_core-*.whl"))


def test_the_wheel_holds_what_the_tree_holds(wheel):
    """Every module and data file, and nothing else: a package forgotten in setup.cfg shows here."""
    with zipfile.ZipFile(wheel) as archive:
        built = {name for name in archive.namelist() if ".dist-info/" not in name}
    tree = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert built == tree


def test_every_entry_point_leads_to_a_class():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    groups = dict(setup["options.entry_points"])
    for group in (name for name in groups if name.startswith("greenai.")):
        for line in filter(None, groups[group].splitlines()):
            module, _, attribute = line.split("=")[1].strip().partition(":")
            file = ROOT / "plugins" / (module.replace(".", "/") + ".py")
            assert f"class {attribute}(" in file.read_text(), line


def test_the_extra_all_holds_every_extra():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {
        key: set(filter(None, text.splitlines()))
        for key, text in setup["options.extras_require"].items()
    }
    everything = set().union(*(extras[key] for key in extras if key not in ("all", "testing")))
    assert extras["all"] == everything


def test_extras_leave_their_ranges_open():
    """Pins of the tests must not reach users."""
    text = (ROOT / "setup.cfg").read_text()
    assert "==" not in text.split("[options.extras_require]")[1]


@pytest.mark.system
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    """Away from the repository, with one extra: the command, a count, a measurement."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin/python"
    install = [python, "-m", "pip", "install", "--quiet", f"{wheel}[onnx]"]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = tmp_path / "net.onnx"
    model.write_bytes((ROOT / "examples/models/small_cnn.onnx").read_bytes())
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def greenai(*arguments):
        return subprocess.run(
            [home / "bin/greenai", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    count = greenai("params", "net.onnx", "--json")
    assert json.loads(count.stdout)[0]["total"] > 50_000, count.stderr
    bench = greenai("bench", "net.onnx", "--max-time", "2", "--json")
    result = json.loads(bench.stdout)["results"][0]
    assert result["energy_per_inference_j"]["value"] > 0, bench.stderr
    missing = greenai("run", "net.onnx", "--format", "pytorch")
    assert missing.returncode != 0
    assert "Traceback" not in missing.stderr
    state_dict = greenai("plugins", "--json")
    assert state_dict.returncode == 0
