"""The parser of OmegaWatt's serial frames, whatever bytes come.

The frames follow the maker's own reader, wattmetre_lib.c in
https://github.com/GreenAI-Uppa/AIPowerMeter/blob/main/docsrc/experiments/wattmeter_rapid1.zip
"""

from __future__ import annotations

import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_core.testing.omegawatt import MAGIC, frame, sealed
from greenai_plugins.profilers.omegawatt_frames import SIZES, FrameParser, counting

WATTS = st.lists(st.floats(-1e3, 1e4, width=32), min_size=6, max_size=6)
FRAMES = st.lists(st.tuples(st.integers(0, 65535), WATTS), min_size=1, max_size=6)
CALM = settings(max_examples=60, deadline=None)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    borders = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(borders)]


def fed(parser: FrameParser, data: bytes, cuts: list[int]) -> list:
    return [found for piece in pieces(data, cuts) for found in parser.feed(piece)]


def test_a_frame_says_what_was_sent():
    (found,) = FrameParser().feed(frame(7, [61.5, 0, 0, 0, 0, -3.0], seconds=0.01, samples=156))
    assert found.id == 7
    assert found.watts == pytest.approx((61.5, 0, 0, 0, 0, -3.0))
    assert found.delta_s == pytest.approx(0.01, abs=1e-9)
    assert (found.samples, found.skipped, found.size) == (156, 0, 77)


@pytest.mark.parametrize("modules", [1, 2, 7, 16])
def test_any_number_of_modules(modules):
    watts = [float(n) for n in range(6 * modules)]
    (found,) = FrameParser().feed(frame(0, watts))
    assert found.watts == pytest.approx(tuple(watts), rel=1e-6)
    assert FrameParser(modules).feed(frame(0, watts))
    assert not FrameParser(modules % 16 + 1).feed(frame(0, watts))


@CALM
@given(FRAMES, st.lists(st.integers(0, 10_000), max_size=8))
def test_it_does_not_matter_how_the_bytes_are_cut(sent, cuts):
    data = b"".join(frame(id, watts) for id, watts in sent)
    assert [f.id for f in fed(FrameParser(), data, cuts)] == [id for id, _ in sent]


@CALM
@given(st.lists(st.binary(max_size=90), min_size=1, max_size=5), st.integers(0, 10_000))
def test_it_finds_its_way_back_after_garbage(garbage, cut):
    """Between garbage, every whole frame that follows another is found, and none invented."""
    data, sent = b"", []
    for id, noise in enumerate(garbage):
        data += noise + frame(id, [float(id)] * 6) + frame(100 + id, [float(id)] * 6)
        sent += [id, 100 + id]
    parser = FrameParser(1)
    found = [f.id for f in fed(parser, data, [cut])]
    assert set(found) <= set(sent)
    if not any(MAGIC[:1] in noise for noise in garbage):
        assert found == sent
        assert parser.skipped == sum(map(len, garbage))


@CALM
@given(st.integers(0, 76 * 8 - 1), st.binary(max_size=20))
def test_a_wrong_checksum_is_never_accepted(bit, before):
    damaged = bytearray(frame(5, [100.0] * 6))
    damaged[bit // 8] ^= 1 << bit % 8
    parser = FrameParser(1)
    found = parser.feed(before + bytes(damaged) + frame(6, [1.0] * 6) + frame(7, [1.0] * 6))
    assert 5 not in [f.id for f in found]
    assert all(f.watts == pytest.approx([1.0] * 6) for f in found)
    assert 7 in [f.id for f in found]


@CALM
@given(st.integers(1, 76), st.integers(1, 3))
def test_a_frame_cut_short_costs_only_itself(kept, following):
    parser = FrameParser()
    after = b"".join(frame(20 + n, [2.0] * 6) for n in range(following))
    assert [f.id for f in parser.feed(frame(9, [1.0] * 6)[:kept] + after)] == [
        20 + n for n in range(following)
    ]


@CALM
@given(st.integers(0, 65535), st.binary(max_size=3000))
def test_a_hostile_length_holds_no_memory(length, rest):
    """What is kept is never more than one frame of the greatest size."""
    parser = FrameParser()
    for _ in range(3):
        parser.feed(MAGIC + struct.pack("<H", length) + rest)
        assert len(parser._rest) <= max(SIZES) + 7
    if length not in SIZES:
        assert parser.bad_lengths
    parser.feed(bytes(2 * max(SIZES)))
    assert [f.id for f in parser.feed(frame(3, [1.0] * 6))] == [3]


@CALM
@given(st.binary(max_size=4000))
def test_noise_is_survived(noise):
    parser = FrameParser()
    for found in parser.feed(noise):
        assert len(found.watts) % 6 == 0


def test_no_samples_give_no_power():
    (found,) = FrameParser().feed(frame(1, [5.0] * 6, samples=0))
    assert all(math.isnan(w) for w in found.watts)


def test_sums_that_are_no_number_stay_none():
    body = struct.pack("<HII", 1, 0, 10) + struct.pack("<15f", *[math.nan] * 9, *[math.inf] * 6)
    (found,) = FrameParser().feed(sealed(body))
    assert all(math.isinf(w) for w in found.watts)


def test_what_was_skipped_is_told_with_the_next_frame():
    parser = FrameParser()
    (found,) = parser.feed(b"\x00" * 77 + frame(1, [1.0] * 6))
    assert found.skipped == 77
    (found,) = parser.feed(frame(2, [1.0] * 6))
    assert found.skipped == 0
    assert "77 bytes" in parser.told()


def test_ids_count_frames_or_do_not():
    assert counting([65534, 65535, 0, 1])
    assert counting([1, 2, 5, 6, 7])
    assert not counting([4, 4, 4, 4])
    assert not counting([3])
