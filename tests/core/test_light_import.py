"""Importing greenai, and asking the command for help, imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch", "tensorflow", "keras", "onnx", "onnxruntime", "numpy", "pynvml", "psutil",
    "requests", "stevedore", "rich", "PIL", "scipy", "pyJoules",
}  # fmt: skip

REPORT = """
import atexit, json, sys
atexit.register(lambda: print("\\n" + json.dumps(sorted(sys.modules))))
"""


def modules_after(code):
    """Top-level names of the modules that a new interpreter holds after running the code."""
    answer = subprocess.run(
        [sys.executable, "-c", REPORT + code], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return {name.partition(".")[0] for name in json.loads(answer.stdout.splitlines()[-1])}


@pytest.fixture(scope="module")
def always():
    """What this environment's interpreter holds before anything is imported (editable installs)."""
    return modules_after("")


@pytest.mark.parametrize(
    "code",
    [
        "import greenai_core",
        "import greenai_core; dir(greenai_core); greenai_core.__version__",
        "from greenai_core import GreenAIError, TensorSpec, ModelInputError",
        "import greenai_core.testing",
        "import sys; sys.argv = ['greenai', '--help']\n"
        "from greenai_core.cli.main import main\nmain()",
    ],
)
def test_nothing_heavy_is_imported(code, always):
    assert not (modules_after(code) - always) & HEAVY


def test_the_deny_list_can_be_broken(always):
    """The test above would see NumPy."""
    assert "numpy" in (modules_after("from greenai_core import Session") - always)


def test_every_public_name_resolves():
    import greenai_core

    for name in greenai_core.__all__:
        assert getattr(greenai_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = greenai_core.nothing
