"""Model formats with one fault each."""

from __future__ import annotations

import contextlib
import pickle
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import kit
import numpy as np
from reference_model import NpzLayers, NpzNet, NpzTraining, ReferenceModel

from greenai_core import (
    Ability,
    Layer,
    LayerCall,
    ModelInputError,
    ParameterCount,
    ProfiledPass,
    TensorSpec,
)


class MutantModel(ReferenceModel):
    @property
    def model_class(self):
        return self.plugin


def breaks(check):
    return kit.breaks(check, MutantModel)


@breaks("test_class_facts_are_stated")
class HelplessOption(NpzNet):
    option_names = MappingProxyType({"rate": ""})


@breaks("test_missing_library_names_the_extra")
class AlwaysAvailable(NpzNet):
    @classmethod
    def check_available(cls):
        pass


@breaks("test_recognises_its_own_file")
class Blind(NpzNet):
    @classmethod
    def recognises(cls, path):
        return False


@breaks("test_recognises_without_its_library")
class RecognisesByLibrary(NpzNet):
    @classmethod
    def recognises(cls, path):
        try:
            import npznet_engine  # noqa: F401  # the fault
        except ImportError:
            return False
        return super().recognises(path)


@breaks("test_recognising_unpickles_nothing")
class Unpickles(NpzNet):
    @classmethod
    def recognises(cls, path):
        with contextlib.suppress(Exception):
            pickle.loads(path.read_bytes())
        return super().recognises(path)


@breaks("test_does_not_recognise_an_empty_file")
class TakesEmptyFiles(NpzNet):
    @classmethod
    def recognises(cls, path):
        return (path.exists() and not path.stat().st_size) or super().recognises(path)


@breaks("test_does_not_recognise_other_content")
class BelievesTheSuffix(NpzNet):
    @classmethod
    def recognises(cls, path):
        return path.suffix == ".npznet" and path.exists() and path.stat().st_size > 0


@breaks("test_does_not_recognise_what_it_cannot_read")
class TripsOverMissingFiles(NpzNet):
    @classmethod
    def recognises(cls, path):
        return path.stat().st_size > 0 and super().recognises(path)


@breaks("test_constructor_opens_nothing")
class ReadsAtOnce(NpzNet):
    def __init__(self, path, **options):
        super().__init__(path, **options)
        self.content = self.path.read_bytes()


@breaks("test_missing_file_is_refused")
class RaisesOsErrors(NpzNet):
    def __init__(self, path, **options):
        Path(path).stat()
        super().__init__(path, **options)


@breaks("test_unknown_option_is_refused")
class SwallowsOptions(NpzNet):
    def __init__(self, path, **options):
        super().__init__(path, **{k: v for k, v in options.items() if k != "no_such_option"})


@breaks("test_enable_gpu_false_means_cpu")
class IgnoresEnableGpu(NpzNet):
    def __init__(self, path, enable_GPU=None, **options):
        super().__init__(path, **options)


@breaks("test_parameters_are_the_expected")
class CountsAllAsFrozen(NpzNet):
    def count_parameters(self):
        count = super().count_parameters()
        return ParameterCount(0, count.total, count.bytes)


@breaks("test_layers_hold_all_parameters")
class ForgetsALayer(NpzNet):
    def count_by_layer(self):
        (whole,) = super().count_by_layer()
        return (replace(whole, trainable=whole.trainable - 1),)


@breaks("test_loading_changes_no_count")
class CountsTwiceWhenLoaded(NpzNet):
    def count_parameters(self):
        count = super().count_parameters()
        return replace(count, bytes=count.bytes * (2 if hasattr(self, "weights") else 1))


@breaks("test_truncated_file_is_a_model_error")
class LeaksLibraryErrors(NpzNet):
    def load_weights(self):
        self.weights = self.read()


@breaks("test_abilities_are_all_told")
class PossibleWithReservations(NpzNet):
    def abilities(self):
        return {**super().abilities(), "run": Ability(True, "slowly")}


@breaks("test_what_cannot_run_says_why")
class RunsAllTheSame(NpzNet):
    def abilities(self):
        return {**super().abilities(), "run": Ability(False, "no class was given")}


@breaks("test_signature_fits_the_inputs")
class StatesAnotherType(NpzNet):
    def signature(self):
        return (TensorSpec("x", (None, 3), "float64"),)


@breaks("test_outputs_are_those_of_the_oracle")
class OffByALittle(NpzNet):
    def fetch(self, outputs):
        return {"y": outputs + np.float32(1e-3)}


@breaks("test_predicting_again_gives_the_same")
class WearsItsInputOut(NpzNet):
    def predict(self, prepared):
        outputs = super().predict(prepared)
        prepared += 1e-3
        return outputs


@breaks("test_inputs_are_left_alone")
class NormalisesInPlace(NpzNet):
    def prepare(self, inputs):
        prepared = super().prepare(inputs)
        inputs["x"][:] = 0
        return prepared


@breaks("test_wrong_shape_is_refused")
class TakesAnyShape(NpzNet):
    def prepare(self, inputs):
        if set(inputs) != {"x"}:
            raise ModelInputError("the input is x")
        return inputs["x"].copy()


@breaks("test_missing_input_is_refused")
class RaisesKeyErrors(NpzNet):
    def prepare(self, inputs):
        return super().prepare({"x": inputs["x"]})


@breaks("test_closing_is_no_end")
class NeverTheSameAgain(NpzNet):
    worn = np.float32(0)

    def drop_weights(self):
        self.worn = np.float32(1e-3)

    def fetch(self, outputs):
        return {"y": outputs + self.worn}


@breaks("test_with_closes")
class StaysOpen(NpzNet):
    def __exit__(self, kind, error, trace):
        pass


@breaks("test_cpu_is_no_accelerator")
class ClaimsABoard(NpzNet):
    def accelerators(self):
        return ("gpu:GPU-0",)


@breaks("test_input_shapes_must_fit")
class IgnoresInputShapes(NpzNet):
    @property
    def input_specs(self):
        return self.signature()


def training(check):
    """The mutant is the ``Trainable``."""

    def register(trainable):
        model = type(trainable.__name__, (NpzNet,), {})

        def as_trainable(self):
            self.load()
            return trainable(self)

        model.as_trainable = as_trainable
        model.__module__ = __name__
        return breaks(check)(model)

    return register


@breaks("test_what_cannot_be_trained_says_why")
class TrainsAllTheSame(NpzNet):
    def abilities(self):
        return {**super().abilities(), "train": Ability(False, "no loss was given")}


@training("test_training_lowers_the_loss")
class ClimbsTheLoss(NpzTraining):
    def __init__(self, model):
        super().__init__(model)
        self.rate = -self.rate


@training("test_wrong_batch_is_refused")
class TakesAnyBatch(NpzTraining):
    def prepare_batch(self, inputs, targets):
        return inputs["x"].copy(), targets


@training("test_training_leaves_the_file_alone")
class WritesToTheFile(NpzTraining):
    def step(self, batch):
        super().step(batch)
        with self.model.path.open("ab") as file:
            file.write(b"\0")


@training("test_trained_model_can_be_saved")
class SavesTheOldWeights(NpzTraining):
    def save(self, path):
        Path(path).write_bytes(self.model.path.read_bytes())


def layered(check):
    """The mutant is the ``Layered``."""

    def register(layers):
        model = type(layers.__name__, (NpzNet,), {})

        def as_layered(self):
            self.load()
            return layers(self)

        model.as_layered = as_layered
        model.__module__ = __name__
        return breaks(check)(model)

    return register


@breaks("test_what_has_no_layers_says_why")
class LayeredAllTheSame(NpzNet):
    def abilities(self):
        return {**super().abilities(), "layers": Ability(False, "the graph is flat")}


@layered("test_layers_come_after_their_parents")
class ChildrenFirst(NpzLayers):
    def layers(self):
        return super().layers()[::-1]


@layered("test_layers_count_no_parameter_twice")
class ParentsCountTheirChildren(NpzLayers):
    def layers(self):
        net, *dense = super().layers()
        return (Layer(net.name, net.type, sum(d.parameters for d in dense), None), *dense)


@layered("test_calls_name_layers_and_number_their_uses")
class NumbersFromOne(NpzLayers):
    def calls(self, prepared):
        return tuple(LayerCall(c.layer, 1, c.replay) for c in super().calls(prepared))


@layered("test_calls_can_be_replayed")
class ReplaysOnce(NpzLayers):
    def calls(self, prepared):
        return tuple(
            LayerCall(c.layer, c.index, iter([c.replay]).__next__) for c in super().calls(prepared)
        )


@layered("test_hooks_are_gone_afterwards")
class LeavesTraces(NpzLayers):
    def calls(self, prepared):
        calls = super().calls(prepared)
        self.model.weights["b1"] += 1e-6
        return calls


@layered("test_timed_calls_are_in_their_places")
class CallsItsLayersAnew(NpzLayers):
    def timed(self, prepared, probes):
        calls = super().timed(prepared, probes)
        return (*calls, *calls[2:]) if probes > 1 else calls


@layered("test_timed_calls_are_in_their_places")
class ForgetsTheModel(NpzLayers):
    def timed(self, prepared, probes):
        model, *calls = super().timed(prepared, probes)
        return (replace(model, layer="net") if probes else model, *calls)

    def profiled(self, prepared, passes):
        calls = super().timed(prepared, 1)
        return (ProfiledPass(calls, calls[0].seconds),)


@layered("test_timed_calls_fit_into_each_other")
class AddsUpToMore(NpzLayers):
    def timed(self, prepared, probes):
        model, *calls = super().timed(prepared, probes)
        return (model, *(replace(call, seconds=call.seconds + 1) for call in calls))

    def profiled(self, prepared, passes):
        calls = super().timed(prepared, 1)
        return (ProfiledPass(calls, calls[0].seconds),)


@layered("test_profiled_passes_are_alike")
class ProfilesItsWarmUp(NpzLayers):
    def profiled(self, prepared, passes):
        return super().profiled(prepared, passes + 2)


@layered("test_profiled_passes_are_alike")
class LosesALayer(NpzLayers):
    def profiled(self, prepared, passes):
        first, *others = super().profiled(prepared, passes)
        return (replace(first, calls=first.calls[:-1]), *others)


@layered("test_profiled_passes_are_alike")
class ForgetsWhatIsAround(NpzLayers):
    def profiled(self, prepared, passes):
        return tuple(replace(one, seconds=0.0) for one in super().profiled(prepared, passes))


@layered("test_watching_leaves_nothing_behind")
class TimesWithTraces(NpzLayers):
    def timed(self, prepared, probes):
        calls = super().timed(prepared, probes)
        self.model.weights["b1"] += 1e-6
        return calls


@layered("test_repeating_changes_no_output")
class FeedsItsOutput(NpzLayers):
    def repeated(self, prepared, layer, times):
        return super().repeated(prepared * times, layer, times)


@layered("test_repeating_does_more")
class PretendsToRepeat(NpzLayers):
    def repeated(self, prepared, layer, times):
        def work():
            # What is done once for all is faster when it is asked for often.
            for _ in range(0 if times > 1 else 50):
                self.model.predict(prepared)
            return self.model.predict(prepared)

        return work
