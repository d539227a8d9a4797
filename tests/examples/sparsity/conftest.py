"""The studies of sparse networks as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[3] / "examples" / "studies"
if str(STUDIES) not in sys.path:
    sys.path.insert(0, str(STUDIES))


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run beside others; PyTorch's threads would only wait for each other."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def script():
    """A script of a study as a module, by its path below examples/studies."""

    def load(path):
        name = "sparse_script_" + path.replace("/", "_").removesuffix(".py")
        spec = importlib.util.spec_from_file_location(name, STUDIES / path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return load
