"""Offsets and numbers of the interface, literally as the headers have them."""

import struct

import pytest

from smmu_sim.vfio import GENERATIONS, find_generation
from smmu_sim.vfio.layouts import Layout, capability_chain, copy_from_user, copy_to_user

BASE = 0x3B64


@pytest.mark.parametrize("name, numbers", [
    ("v3", {"SET_PASID_TABLE": 22, "CACHE_INVALIDATE": 23, "BIND_MSI": 24}),
    ("V8", {"ATTACH_PASID_TABLE": 22, "DETACH_PASID_TABLE": 23, "CACHE_INVALIDATE": 24,
            "BIND_MSI": 25, "UNBIND_MSI": 26}),
    ("V10", {"SET_PASID_TABLE": 22, "CACHE_INVALIDATE": 23, "SET_MSI_BINDING": 24}),
    ("V15", {"SET_PASID_TABLE": 18, "CACHE_INVALIDATE": 19, "SET_MSI_BINDING": 20})])
def test_ioctl_numbers(name, numbers):
    assert GENERATIONS[name].numbers == {key: BASE + n for key, n in numbers.items()}


@pytest.mark.parametrize("alias, name", [("G1", "v3"), ("G2", "V15"), ("V10", "V10")])
def test_names_of_generations(alias, name):
    assert find_generation(alias) is GENERATIONS[name]


def test_an_unknown_generation(refused):
    refused("EINVAL", find_generation, "V9")


@pytest.mark.parametrize("name, raw", [
    ("v3", struct.pack("<IIQBBBBB3x", 1, 1, 0x4000_1000, 3, 0, 1, 2, 1)),
    ("V8", struct.pack("<IIQBB6xIBB2x", 1, 1, 0x4000_1000, 3, 2, 1, 2, 1)),
    ("V15", struct.pack("<IIQIBB2xIBB2x", 32, 1, 0x4000_1000, 1, 3, 2, 1, 2, 1))])
def test_pasid_table_config(name, raw):
    layout = GENERATIONS[name].pasid_table
    fields = layout.unpack(raw)
    assert layout.size == len(raw) and layout.pack(**fields) == raw
    expected = {"version": 1, "format": 1, "base_ptr": 0x4000_1000, "pasid_bits": 3,
                "s1fmt": 2, "s1dss": 1}
    expected |= {"bypass": 0, "abort": 1} if name == "v3" else {"config": 2, "smmuv3_version": 1}
    assert fields == expected | ({"argsz": 32} if name == "V15" else {})


@pytest.mark.parametrize("name, raw", [
    ("v3", struct.pack("<IIIIB7xQI4xQQ", 1, 2, 3, 4, 5, 6, 7, 8, 9)),
    ("V8", struct.pack("<IBB2xIIQQQQ", 1, 2, 3, 4, 5, 6, 7, 8, 9)),
    ("V15", struct.pack("<IIBB6xIIQQQQ", 56, 1, 2, 3, 4, 5, 6, 7, 8, 9))])
def test_cache_invalidate_info(name, raw):
    layout = GENERATIONS[name].invalidate
    fields = layout.unpack(raw)
    assert layout.size == len(raw) == {"v3": 56, "V8": 48, "V15": 56}[name]
    values = [value for key, value in fields.items() if key not in ("argsz", "padding")]
    assert values == list(range(1, 10)) and layout.pack(**fields) == raw


@pytest.mark.parametrize("name, raw", [
    ("v3", struct.pack("<IIQQI4x", 32, 1, 2, 3, 4)), ("V8", struct.pack("<IIQQQ", 32, 1, 2, 3, 4)),
    ("V15", struct.pack("<IIQQQ", 32, 1, 2, 3, 4))])
def test_msi_binding(name, raw):
    layout = GENERATIONS[name].binding
    assert layout.unpack(raw) == {"argsz": 32, "flags": 1, "iova": 2, "gpa": 3, "size": 4}
    assert layout.size == len(raw) == 32


def test_user_memory_faults_at_its_end(refused):
    assert copy_from_user(bytearray(b"abcdef"), 2, 4) == b"cdef"
    refused("EFAULT", copy_from_user, bytearray(5), 2, 4)
    refused("EFAULT", copy_from_user, None, 0, 1)
    argument = bytearray(4)
    copy_to_user(argument, b"xy", 2)
    assert argument == b"\0\0xy"
    refused("EFAULT", copy_to_user, argument, b"xyz", 2)
    refused("EFAULT", copy_to_user, bytes(4), b"x")


def test_a_capability_chain_counts_from_the_info_structure():
    chain = capability_chain(32, [(2, 1, b"12345678"), (6, 1, b"abcd")])
    assert chain == (struct.pack("<HHI", 2, 1, 48) + b"12345678"
                     + struct.pack("<HHI", 6, 1, 0) + b"abcd")
    assert capability_chain(32, []) == b""


def test_a_layout_fills_what_is_missing_with_zeros():
    layout = Layout("pair", 8, a=(0, "I"), b=(4, "I"))
    assert layout.unpack(b"\1\0\0\0") == {"a": 1, "b": 0}
    assert layout.end("a") == 4
