"""Packets and prefixes on files whose payloads mean nothing: only the container counts here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chappe.bitstream import container, packets
from chappe.bitstream.container import Header, Section, SectionType
from chappe.bitstream.slices import Slice, pack_slice
from chappe.errors import ChappeError, InputError, RateError, StreamError

HEADER = Header(4, 0x1234, 512, 256)
LAYERED = container.write(
    HEADER,
    [
        Section(SectionType.MAP_NEAR, bytes(50)),
        Section(SectionType.IMAGE_TOKENS, bytes(range(40))),
        *(Section(SectionType.LAYER, bytes([k]) * (30 + k)) for k in range(3)),
    ],
)
SLICED = container.write(
    HEADER, [Section(SectionType.SLICE, pack_slice(Slice(k, 8, 3, b"m" * k, b"t"))) for k in range(8)]
)


def test_packets_come_back_in_any_order_and_with_holes():
    sent = packets.split(SLICED)
    assert len(sent) == 8
    assert all(len(container.read(packet)[1]) == 1 for packet in sent)
    assert packets.join(reversed(sent)) == SLICED
    assert packets.join([*sent, sent[3]]) == SLICED
    some = packets.join([sent[5], sent[0][:-1], b"", sent[2]])
    assert container.read(some)[1] == [container.read(SLICED)[1][k] for k in (2, 5)]


def test_packets_of_another_picture_size_are_left_out():
    header = Header(4, 0x1234, 256, 256)
    other = container.write(header, [Section(SectionType.SLICE, pack_slice(Slice(0, 8, 3, b"", b"")))])
    sent = packets.split(SLICED)
    assert packets.join([other, *sent]) == SLICED


def test_nothing_to_split_or_join():
    with pytest.raises(InputError, match="no slices"):
        packets.split(LAYERED)
    for nothing in ([], [b"", LAYERED]):
        with pytest.raises(StreamError, match="nothing of the picture"):
            packets.join(nothing)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_damaged_packets_are_as_good_as_lost(numbers, seed):
    rng, sent = np.random.default_rng(seed), packets.split(SLICED)
    arrived, sound = [], set()
    for number in numbers:
        packet = bytearray(sent[number])
        if rng.random() < 0.5:
            packet[rng.integers(len(packet))] ^= 1 << int(rng.integers(8))
        else:
            sound.add(number)
        arrived.append(bytes(packet))
    if not sound:
        with pytest.raises(StreamError):
            packets.join(arrived)
        return
    whole = container.read(SLICED)[1]
    assert container.read(packets.join(arrived)) == (HEADER, [whole[k] for k in sorted(sound)])


# Truncation


def test_every_prefix_is_a_whole_file():
    sizes = packets.prefix_sizes(LAYERED)
    assert sizes == sorted(sizes) and len(sizes) == 5 and sizes[-1] == len(LAYERED)
    whole = container.read(LAYERED)[1]
    for count, size in enumerate(sizes, start=1):
        for most in (size, size + 0.9):
            short = packets.truncate(LAYERED, most)
            assert len(short) == size
            assert container.read(short) == (HEADER, whole[:count])
    assert packets.truncate(LAYERED, 1e9) == LAYERED


def test_too_small_a_target_names_the_smallest_prefix():
    smallest = packets.prefix_sizes(LAYERED)[0]
    with pytest.raises(RateError, match=rf"smallest prefix .* has {smallest} bytes \(0\.\d+ bpp\)$"):
        packets.truncate(LAYERED, smallest - 1)
    with pytest.raises(RateError, match="no layers"):
        packets.truncate(SLICED, 20)


@pytest.mark.parametrize(("codec_id", "shorter"), [(4, True), (5, True), (2, False), (3, False)])
def test_what_may_be_dropped_depends_on_the_codec(codec_id, shorter):
    last = SectionType.IMAGE_TOKENS if codec_id in (3, 4) else SectionType.COARSE_IMAGE
    sections = [Section(SectionType.MAP_NEAR, bytes(20)), Section(last, bytes(200))]
    blob = container.write(Header(codec_id, 1, 512, 256), [*sections, Section(SectionType.COMMENT, b"hello")])
    assert len(packets.prefix_sizes(blob)) == 2 + shorter
    assert packets.truncate(blob, len(blob) - 1) == container.write(Header(codec_id, 1, 512, 256), sections)


@given(st.integers(0, len(LAYERED)), st.integers(1, 300))
def test_a_cut_file_is_cut_on_or_refused(length, most):
    try:
        short = packets.truncate(LAYERED[:length], most)
    except ChappeError:
        return
    assert len(short) <= min(most, length)
    header, sections = container.read(short)
    assert header == HEADER and sections == container.read(LAYERED)[1][: len(sections)]


@given(st.binary(max_size=80), st.integers(1, 300))
def test_any_bytes_are_cut_or_refused(data, most):
    for blob in (data, LAYERED[:10] + data):
        try:
            assert len(packets.truncate(blob, most)) <= most
        except ChappeError:
            continue


def test_damage_before_the_layers_is_not_cut_away():
    bad = bytearray(LAYERED)
    bad[20] ^= 1
    with pytest.raises(StreamError, match="no whole section"):
        packets.truncate(bytes(bad), 1000)
    blob = container.write(Header(3, 1, 512, 256), container.read(LAYERED)[1][:2])
    with pytest.raises(StreamError, match="section at byte 64 is damaged or cut"):
        packets.truncate(blob[:-1], 1000)


def test_a_note_says_after_which_layer_a_file_is_cut():
    sizes = packets.prefix_sizes(LAYERED)
    notes = [packets.loss_note(*container.scan(LAYERED[:size])) for size in sizes]
    assert [note and note.split(":")[0][-16:] for note in notes] == [
        "er the label map", "ed after layer 1", "ed after layer 2", "ed after layer 3", None,
    ]  # fmt: skip
    other = container.write(Header(3, 1, 512, 256), container.read(LAYERED)[1][:2])
    assert packets.loss_note(*container.scan(other[:-1])) is None
    assert packets.loss_note(*container.scan(SLICED)) is None
    assert packets.loss_note(*container.scan(SLICED[:30])).startswith("6 of 8 slices missing")
