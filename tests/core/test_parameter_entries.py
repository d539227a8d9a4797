"""Parameters by entry, by layer and in sum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from greenai_core import LayerParameters, ParameterCount, ParameterEntry

ENTRIES = st.lists(
    st.builds(
        ParameterEntry,
        layer=st.sampled_from(["", "a", "a.b"]),
        trainable=st.booleans(),
        elements=st.integers(0, 10**12),
        bytes=st.integers(0, 10**13),
        type=st.sampled_from([None, "Linear"]),
    )
)


def test_sum_and_layers() -> None:
    entries = [
        ParameterEntry("conv", True, 10, 40, None),
        ParameterEntry("norm", False, 4, 8, "BatchNorm"),
        ParameterEntry("conv", False, 2, 8, "Conv"),
    ]
    assert ParameterCount.of(entries) == ParameterCount(10, 6, 56)
    assert LayerParameters.of(entries) == (
        LayerParameters("conv", "Conv", 10, 2, 48),
        LayerParameters("norm", "BatchNorm", 0, 4, 8),
    )
    assert LayerParameters.of([]) == ()


@given(ENTRIES)
def test_layers_add_up(entries: list[ParameterEntry]) -> None:
    layers, count = LayerParameters.of(entries), ParameterCount.of(entries)
    assert sum(layer.trainable for layer in layers) == count.trainable
    assert sum(layer.non_trainable for layer in layers) == count.non_trainable
    assert sum(layer.bytes for layer in layers) == count.bytes
    assert len({layer.name for layer in layers}) == len(layers)
