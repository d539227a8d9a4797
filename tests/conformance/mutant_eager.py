"""A format whose module imports its library at once: what a plugin must not do."""

import npznet_engine
from mutants_models import breaks
from reference_model import NpzNet


@breaks("test_importing_the_module_imports_no_library")
class EagerNpzNet(NpzNet):
    engine = npznet_engine
