"""From a file to its format: registered, recognised, ambiguous, unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenai_core import (
    DLLibrary,
    DLModelFactory,
    ModelAmbiguous,
    ModelLoadError,
    ModelUnrecognised,
    ParameterCount,
    PluginBroken,
    PluginNotFound,
    TensorSpec,
    factory,
    registry,
)
from greenai_core.model_factory import available
from greenai_core.testing.powercap import WRITE_ONLY


class Marked(DLLibrary):
    """A file that begins with the name of its format."""

    format = "marked"
    suffixes = (".marked",)
    option_names = {"speed": "how fast"}  # ClassVar by the base class

    @classmethod
    def recognises(cls, path):
        return path.is_file() and path.read_bytes().startswith(cls.format.encode())

    def count_parameters(self):
        return ParameterCount(1, 2, 12)

    def load_weights(self):
        pass

    def signature(self):
        return (TensorSpec("x", (None, 3)),)

    def prepare(self, inputs):
        return inputs

    def predict(self, prepared):
        return prepared

    def synchronize(self):
        pass

    def fetch(self, outputs):
        return {"y": outputs["x"]}


class Rival(Marked):
    format = "rival"

    @classmethod
    def recognises(cls, path):
        return path.is_file() and path.read_bytes().startswith(b"marked")


class Needy(Marked):
    format = "needy"
    requires = {"a_library_that_is_missing": "needy"}  # likewise


@pytest.fixture
def installed(monkeypatch):
    """A factory that sees these formats as installed, and a broken one."""

    def make(*libraries, broken=()):
        errors = {name: PluginBroken(f"{name} is broken") for name in broken}
        loaded = {library.format: library for library in libraries}
        monkeypatch.setattr(registry, "load_all", lambda group: (loaded, errors))
        return DLModelFactory(installed=True)

    return make


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.marked"
    path.write_bytes(b"marked and more")
    return path


def test_a_file_is_told_by_its_content(installed, file):
    assert installed(Marked, Needy).get_model(file) is Marked


def test_content_counts_more_than_the_name(installed, file):
    renamed = file.rename(file.with_name("model.bin"))
    assert installed(Marked).get_model(renamed) is Marked


def test_text_paths_work_too(installed, file):
    assert installed(Marked).get_model(str(file)) is Marked


def test_loading_hands_options_on(installed, file):
    model = installed(Marked).load(file, enable_GPU=False, speed=3)
    assert isinstance(model, Marked)
    assert (model.device, model.options, model.path) == ("cpu", {"speed": 3}, file)


def test_an_unknown_option_names_the_known_ones(installed, file):
    with pytest.raises(ModelLoadError, match=r"'marked' has no option spede.*speed"):
        installed(Marked).load(file, spede=3)


def test_a_missing_file_is_told_first(installed, tmp_path):
    with pytest.raises(ModelUnrecognised, match=r"no model file .*absent\.marked"):
        installed(Marked).get_model(tmp_path / "absent.marked")


def test_a_file_that_cannot_be_read_is_not_called_mislabelled(installed, tmp_path):
    path = tmp_path / "model.marked"
    write_only = next((p for p in map(Path, WRITE_ONLY) if p.exists()), None)
    if write_only is not None:
        path.symlink_to(write_only)  # not even root may read it
    else:
        path.touch(mode=0)
    with pytest.raises(ModelUnrecognised, match=r"model\.marked cannot be read: Permission denied"):
        installed(Marked).get_model(path)


def test_a_link_to_itself_is_told(installed, tmp_path):
    (tmp_path / "model.marked").symlink_to("model.marked")
    with pytest.raises(ModelUnrecognised, match=r"cannot be read: .*links"):
        installed(Marked).get_model(tmp_path / "model.marked")


def test_an_empty_file_is_told_as_empty(installed, tmp_path):
    (tmp_path / "model.marked").touch()
    with pytest.raises(ModelUnrecognised, match="is empty"):
        installed(Marked).get_model(tmp_path / "model.marked")


def test_a_mislabelled_file_is_told_so(installed, tmp_path):
    (tmp_path / "model.marked").write_bytes(b"something else")
    with pytest.raises(ModelUnrecognised, match=r"suggests marked.*truncated or mislabelled"):
        installed(Marked).get_model(tmp_path / "model.marked")


def test_an_unknown_ending_lists_the_known_ones(installed, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelUnrecognised, match=r"known endings: \.marked"):
        installed(Marked).get_model(tmp_path / "notes.txt")


def test_a_broken_format_is_mentioned_where_it_may_be_missed(installed, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelUnrecognised, match="Broken plugins: torn"):
        installed(Marked, broken=["torn"]).get_model(tmp_path / "notes.txt")


def test_two_claims_are_ambiguous_until_somebody_decides(installed, file):
    both = installed(Marked, Rival)
    with pytest.raises(ModelAmbiguous, match=r"marked, rival.*--format.*format="):
        both.get_model(file)
    assert both.get_model(file, format="rival") is Rival


def test_an_unknown_format_is_not_found(file):
    with pytest.raises(PluginNotFound, match="no plugin 'nothing'"):
        factory.get_model(file, format="nothing")


def test_a_registered_ending_wins_over_plugins(installed, file):
    mine = installed(Marked)
    mine.register_format(".MARKED", Rival)
    assert mine.get_model(file) is Rival


def test_the_longest_registered_ending_wins(tmp_path):
    mine = DLModelFactory()
    mine.register_format(".gz", Marked)
    mine.register_format(".tar.gz", Rival)
    (tmp_path / "model.TAR.gz").write_bytes(b"x")
    assert mine.get_model(tmp_path / "model.TAR.gz") is Rival


def test_folders_can_be_registered(tmp_path):
    mine = DLModelFactory()
    mine.register_format("/", Marked)
    assert mine.get_model(tmp_path) is Marked
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ModelUnrecognised, match="no format is registered"):
        mine.get_model(tmp_path / "file")


@pytest.mark.parametrize("library", ["Marked", object, Marked.recognises])
def test_only_formats_can_be_registered(library):
    with pytest.raises(TypeError, match="DLLibrary"):
        DLModelFactory().register_format(".marked", library)


def test_an_empty_ending_cannot_be_registered():
    with pytest.raises(ValueError, match="empty"):
        DLModelFactory().register_format("", Marked)


def test_a_new_factory_is_empty_until_the_predefined_formats_are_added():
    mine = DLModelFactory()
    assert mine.formats == {}
    mine.register_predefined_formats()
    assert {"onnx", "pytorch", "torchscript", "keras", "savedmodel"} <= set(mine.formats)
    assert mine.formats == factory.formats


def test_recognising_imports_no_library(tmp_path):
    """All installed formats look at a file; in a new interpreter none imports its library."""
    import json
    import subprocess
    import sys

    (tmp_path / "notes.pt").write_bytes(b"PK\x03\x04 not a model")
    code = (
        "import json, sys\nfrom greenai_core import GreenAIError, factory\n"
        f"try: factory.get_model({str(tmp_path / 'notes.pt')!r})\n"
        "except GreenAIError: pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(json.loads(answer.stdout))
    assert not loaded & {"torch", "tensorflow", "keras", "onnx", "onnxruntime"}


def test_a_format_without_its_library_names_the_extra():
    assert "greenai-core[needy]" in available(Needy)
    assert available(Marked) == ""


class Clumsy(Marked):
    """A stranger's format that fails as soon as it looks at a file."""

    format = "clumsy"

    @classmethod
    def recognises(cls, path):
        raise RuntimeError("off by one")


def test_a_format_that_fails_to_look_hides_no_other(tmp_path, monkeypatch):
    path = tmp_path / "net.marked"
    path.write_bytes(b"marked")
    loaded = {"clumsy": Clumsy, "marked": Marked, "nothing": object()}
    monkeypatch.setattr(registry, "load_all", lambda group: (dict(loaded), {}))
    assert DLModelFactory(installed=True).get_model(path) is Marked


def test_a_failing_format_is_named_when_nothing_else_recognises_the_file(tmp_path, monkeypatch):
    path = tmp_path / "net.bin"
    path.write_bytes(b"something else")
    loaded = {"clumsy": Clumsy, "nothing": object()}
    monkeypatch.setattr(registry, "load_all", lambda group: (dict(loaded), {}))
    with pytest.raises(ModelUnrecognised, match=r"Broken plugins: clumsy, nothing"):
        DLModelFactory(installed=True).get_model(path)
