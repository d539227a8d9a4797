"""Checks of what a format does before anything is run: recognise, construct, count."""

from __future__ import annotations

import functools
import inspect
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from greenai_core.errors import ModelError, ModelLoadError, PluginUnavailable

from .conformance import check
from .model_hooks import ModelHooks
from .watching import watched, without

_IMPORTER = """
import importlib, importlib.util, json, sys
name, file, sys.path[:] = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    importlib.import_module(name)
except ModuleNotFoundError:
    spec = importlib.util.spec_from_file_location("probed", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(json.dumps(sorted(sys.modules)))
"""


@functools.cache
def imported_with(module: str, file: str) -> frozenset[str]:
    """Names of all modules that a new interpreter holds after importing one."""
    command = [sys.executable, "-c", _IMPORTER, module, file, json.dumps(sys.path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"{module} cannot be imported: {answer.stderr[-500:]}"
    return frozenset(json.loads(answer.stdout.splitlines()[-1]))


class FileChecks(ModelHooks):
    """Checks that need no inference."""

    @check
    def test_class_facts_are_stated(self) -> None:
        """A format has a name, endings with their dot, and a line of help for each option."""
        cls = self.model_class
        assert cls.format, "format is empty"
        for suffix in cls.suffixes:
            assert "." in suffix, f"the suffix {suffix!r} has no dot"
            assert suffix == suffix.lower(), f"the suffix {suffix!r} is not in lower case"
        for option, text in cls.option_names.items():
            assert text.strip(), f"the option {option!r} has no help"

    @check
    def test_importing_the_module_imports_no_library(self) -> None:
        """The module of the format imports its library inside methods only."""
        cls = self.model_class
        loaded = imported_with(cls.__module__, inspect.getfile(cls))
        early = sorted(set(cls.requires) & loaded)
        assert not early, f"importing {cls.__module__} imports {', '.join(early)}"

    @check
    def test_missing_library_names_the_extra(self) -> None:
        """Without its library the format is unavailable, and the hint names what installs it."""
        cls = self.model_class
        if not cls.requires:
            pytest.skip("the format requires no library")
        with without(list(cls.requires)), pytest.raises(PluginUnavailable) as caught:
            cls.check_available()
        assert any(extra in caught.value.hint for extra in cls.requires.values()), (
            f"the hint {caught.value.hint!r} names none of the extras"
        )

    @check
    def test_recognises_its_own_file(self, tmp_path: Path) -> None:
        """A file of the format is recognised."""
        assert self.model_class.recognises(self.make_file(tmp_path)) is True

    @check
    def test_recognises_without_its_library(self, tmp_path: Path) -> None:
        """Recognising a file imports no library of the format."""
        path = self.make_file(tmp_path)
        before = self.model_class.recognises(path)
        with without(list(self.model_class.requires)):
            answer = self.model_class.recognises(path)
        assert answer == before, "without its library the format recognises other files"

    @check
    def test_recognising_unpickles_nothing(self, tmp_path: Path) -> None:
        """Recognising a file runs nothing from it: pickles stay closed."""
        path = self.make_file(tmp_path)
        opened: list[str] = []

        def refuse(*args: object, **kwargs: object) -> None:
            opened.append("pickle")
            raise RuntimeError("recognises() must not unpickle")

        with pytest.MonkeyPatch.context() as patch:
            for name in ("load", "loads", "Unpickler", "_Unpickler"):
                patch.setattr(pickle, name, refuse)
            self.model_class.recognises(path)
        assert not opened, "recognises() opened a pickle"

    @check
    def test_does_not_recognise_an_empty_file(self, tmp_path: Path) -> None:
        """A file or folder with the right ending and nothing in it is no model."""
        for path in self._lookalikes(tmp_path, b""):
            assert self.model_class.recognises(path) is False, f"{path.name} is empty"

    @check
    def test_does_not_recognise_other_content(self, tmp_path: Path) -> None:
        """A file with the right ending and other content is no model."""
        text, image, archive = tmp_path / "text", tmp_path / "image", tmp_path / "archive"
        for folder in (text, image, archive):
            folder.mkdir()
        paths = self._lookalikes(text, b"This is no model, whatever it is called.\n" * 50)
        paths += self._lookalikes(image, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
        with zipfile.ZipFile(tmp_path / "readme.zip", "w") as zipped:
            zipped.writestr("readme.txt", "no model")
        paths += self._lookalikes(archive, (tmp_path / "readme.zip").read_bytes())
        for path in paths:
            assert self.model_class.recognises(path) is False, f"{path} is no model"

    @check
    def test_does_not_recognise_what_it_cannot_read(self, tmp_path: Path) -> None:
        """Of a file that is not there the answer is False, not an error."""
        for suffix in self.model_class.suffixes or (".model",):
            absent = tmp_path / f"absent{suffix}"
            assert self.model_class.recognises(absent) is False

    @check
    def test_constructor_opens_nothing(self, tmp_path: Path) -> None:
        """Construction is cheap: beyond seeing that the file exists it touches nothing."""
        path = self.make_file(tmp_path)
        with watched() as touched, without(list(self.model_class.requires)):
            self._open(path)
        assert not touched, f"the constructor touched {touched[0]}"

    @check
    def test_missing_file_is_refused(self, tmp_path: Path) -> None:
        """A path that leads nowhere is a ModelLoadError that names it."""
        with pytest.raises(ModelLoadError, match="absent"):
            self._open(tmp_path / "absent.model")

    @check
    def test_unknown_option_is_refused(self, tmp_path: Path) -> None:
        """An option that the format does not have is a ModelLoadError that names it."""
        path = self.make_file(tmp_path)
        with pytest.raises(ModelLoadError, match="no_such_option"):
            self.model_class(path, **{**self.options, "no_such_option": 1})

    @check
    def test_enable_gpu_false_means_cpu(self, tmp_path: Path) -> None:
        """``enable_GPU=False`` is the older spelling of ``device="cpu"``."""
        path = self.make_file(tmp_path)
        assert self.model_class(path, enable_GPU=False, **self.options).device == "cpu"

    @check
    def test_parameters_are_the_expected(self, tmp_path: Path) -> None:
        """The count is that of the author's oracle."""
        with self._open(self.make_file(tmp_path)) as model:
            assert model.count_parameters() == self.expected_parameters

    @check
    def test_layers_hold_all_parameters(self, tmp_path: Path) -> None:
        """The parameters of the layers add up to those of the model; no layer is told twice."""
        with self._open(self.make_file(tmp_path)) as model:
            count, layers = model.count_parameters(), model.count_by_layer()
        names = [layer.name for layer in layers]
        assert len(set(names)) == len(names), f"a layer is told twice: {sorted(names)}"
        for name in ("trainable", "non_trainable", "bytes"):
            summed = sum(getattr(layer, name) for layer in layers)
            assert summed == getattr(count, name), (
                f"{name}: the layers have {summed}, the model {getattr(count, name)}"
            )

    @check
    def test_loading_changes_no_count(self, tmp_path: Path) -> None:
        """The count is the same before the weights are loaded and after."""
        with self._runnable(tmp_path) as model:
            before = model.count_parameters()
            model.load()
            assert model.count_parameters() == before

    @check
    def test_truncated_file_is_a_model_error(self, tmp_path: Path) -> None:
        """Half a file is a ModelError that names it, never another error or a count of zero."""
        path = self.make_file(tmp_path)
        can_run = self._open(path).abilities()["run"].possible
        self.truncate(path)
        failures: list[ModelError] = []
        for use in ("count_parameters", "load")[: 1 + can_run]:
            try:
                getattr(self._open(path), use)()
            except ModelError as error:
                failures.append(error)
        assert failures, "half a file was read without an error"
        for failure in failures:
            assert path.name in str(failure), f"the error does not name the file: {failure}"

    def _lookalikes(self, folder: Path, content: bytes) -> list[Path]:
        """Files with the endings of the format; for a folder, one with the same names in it."""
        (folder / "own").mkdir()
        own = self.make_file(folder / "own")
        if own.is_dir():
            for file in own.rglob("*"):
                if file.is_file():
                    file.write_bytes(content)
            return [own]
        paths = [folder / f"model{suffix}" for suffix in self.model_class.suffixes]
        for path in paths:
            path.write_bytes(content)
        return paths
