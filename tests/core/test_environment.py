"""What reports say of the machine."""

from __future__ import annotations

import getpass
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from greenai_core.environment import describe


@pytest.fixture
def tree(tmp_path):
    """A root folder to put files of /proc and /sys into."""

    class Tree:
        root = tmp_path / "root"

        def put(self, path, text):
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    return Tree()


def git(*arguments):
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
    )


def test_this_machine():
    found = describe()
    assert found["python"] == platform.python_version()
    assert found["greenai_core"]
    assert found["memory_bytes"] > 2**20
    assert found["cpu"]["logical_cores"] >= 1
    assert found["libraries"]["numpy"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_nothing_names_a_person_or_a_place(monkeypatch, tmp_path):
    folder = tmp_path / "secret-project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    text = json.dumps(describe())
    for private in (socket.gethostname(), "secret-project", str(tmp_path), str(Path.home())):
        assert private not in text
    user = getpass.getuser()
    assert f'"{user}"' not in text
    assert f"/{user}" not in text


def test_no_library_is_imported():
    code = (
        "import sys; from greenai_core.environment import describe; describe(); "
        "print([m for m in ('torch', 'tensorflow', 'onnxruntime', 'keras', 'numpy', 'pynvml') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_machine_that_tells_nothing(tree):
    found = describe(tree.root)
    assert found["cpu"]["model"] is None
    for key in ("os", "virtualisation", "container", "nvidia_driver"):
        assert found[key] is None
    assert found["cpu"]["governor"] is None
    assert found["cpu"]["turbo"] is None


def test_a_workstation(tree):
    tree.put("etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    tree.put("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu vme\n")
    tree.put("proc/1/cgroup", "0::/init.scope\n")
    tree.put("sys/class/dmi/id/sys_vendor", "LENOVO\n")
    tree.put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    tree.put("sys/devices/system/cpu/cpu10/cpufreq/scaling_governor", "performance\n")
    tree.put("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n")
    tree.put(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
        "GCC version:  gcc version 12.2.0\n",
    )
    found = describe(tree.root)
    assert found["os"] == "Debian GNU/Linux 12"
    assert found["cpu"]["model"] == "Some CPU @ 2 GHz"
    assert found["cpu"]["governor"] == "performance+powersave"
    assert found["cpu"]["turbo"] is True
    assert found["virtualisation"] is None
    assert found["container"] is None
    assert found["nvidia_driver"] == "535.129.03"


def test_the_open_kernel_module_of_nvidia(tree):
    tree.put(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n",
    )
    assert describe(tree.root)["nvidia_driver"] == "550.54.15"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("sys/class/dmi/id/sys_vendor", "QEMU\n", "qemu"),
        ("sys/class/dmi/id/product_name", "VMware Virtual Platform\n", "vmware"),
        ("sys/class/dmi/id/product_name", "Google Compute Engine\n", "google"),
        ("sys/hypervisor/type", "xen\n", "xen"),
        ("proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n", "unknown"),
        ("proc/cpuinfo", "flags\t\t: fpu hypervisors\n", None),
    ],
)
def test_virtual_machines(tree, path, text, expected):
    tree.put(path, text)
    assert describe(tree.root)["virtualisation"] == expected


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "lxc\n", "lxc"),
        ("proc/1/cgroup", "1:name=systemd:/kubepods/burstable/pod1\n", "kubepods"),
    ],
)
def test_containers(tree, path, text, expected):
    tree.put(path, text)
    assert describe(tree.root)["container"] == expected


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("0", False), ("?", None)])
def test_turbo_of_amd(tree, text, expected):
    tree.put("sys/devices/system/cpu/cpufreq/boost", text)
    assert describe(tree.root)["cpu"]["turbo"] is expected


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_and_whether_it_was_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    assert describe()["git"] is None
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    found = describe()["git"]
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    (tmp_path / "new").write_text("not tracked")
    assert describe()["git"]["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert describe()["git"] == {"commit": found["commit"], "dirty": True}


def test_outside_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert describe()["git"] is None


def test_git_that_hangs_or_is_missing_is_no_error(tmp_path, monkeypatch):
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr("greenai_core.environment.GIT_PATIENCE_S", 0.1)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert describe()["git"] is None
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert describe()["git"] is None
