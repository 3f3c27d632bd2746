"""Build parameters: the three configurations, single settings, and what is refused."""

from dataclasses import FrozenInstanceError, fields

import pytest

from smmu.params import CONFIGS, Params, ParamsError


def test_default_is_what_params_says():
    assert CONFIGS["default"] == Params() == Params.from_settings()


def test_small():
    small = CONFIGS["small"]
    assert (small.sidsize, small.ssidsize, small.utlb_entries, small.tlb_entries) == (8, 0, 8, 512)
    assert (small.walks, small.cfg_entries, small.slots, small.write_buffer_beats) == (8, 16, 4, 0)
    assert small.remap_entries == 4 and small.id_width == 4 and small.walk_cache_entries <= 256


def test_server():
    server = CONFIGS["server"]
    assert (server.ports, server.utlb_entries, server.id_width) == (4, 32, 8)


def test_queues_are_19_everywhere():
    assert {(config.eventqs, config.cmdqs) for config in CONFIGS.values()} == {(19, 19)}


def test_settings_change_what_they_name():
    params = Params.from_settings("small", "oas=44 term_model=1, sidsize=0xC")
    changed = {field.name for field in fields(Params)
               if getattr(params, field.name) != getattr(CONFIGS["small"], field.name)}
    assert changed == {"oas", "term_model", "sidsize"}
    assert (params.oas, params.term_model, params.sidsize) == (44, 1, 12)


def test_params_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Params().oas = 32


@pytest.mark.parametrize("oas, code", [(32, 0), (36, 1), (40, 2), (42, 3), (44, 4), (48, 5)])
def test_oas_code(oas, code):
    assert Params(oas=oas).oas_code == code


def test_derived():
    params = Params(gran16k=0, asid16=0, ssidsize=0)
    assert params.granules == (12, 16)
    assert (params.asid_bits, params.vmid_bits) == (8, 16)
    assert (params.ssid_bits, params.sid_bits) == (1, 16)
    assert params.tlb_sets == 512 and params.walk_cache_sets == 256


# Each: the settings, and what the message must contain (the value, what is expected, the rule).
REFUSED = {
    "oas=52": ["oas = 52", "44 or 48", "IDR5.OAS"],
    "oas=0": ["oas = 0", "IDR5.OAS"],
    "ports=0": ["ports = 0", "1 to 8"],
    "ports=9": ["ports = 9", "1 to 8"],
    "id_width=0": ["id_width = 0", "1 to 8"],
    "data_width=128": ["data_width = 128", "64", "not in this version"],
    "stall_model=0": ["stall_model = 0", "STALL_MODEL", "not in this version"],
    "ttendian=1": ["ttendian = 1", "0 or 2", "TTENDIAN"],
    "ttendian=3": ["ttendian = 3", "0 or 2", "TTENDIAN"],
    "term_model=2": ["term_model = 2", "0 or 1"],
    "sidsize=33": ["sidsize = 33", "0 to 32", "SIDSIZE"],
    "ssidsize=21": ["ssidsize = 21", "0 to 20", "SSIDSIZE"],
    "eventqs=20": ["eventqs = 20", "19"],
    "cmdqs=20": ["cmdqs = 20", "19"],
    "st_level=0": ["sidsize = 16", "SIDSIZE >= 7", "ST_LEVEL = 1"],
    "st_level=2": ["st_level = 2", "ST_LEVEL"],
    "hyp=0": ["hyp = 0", "expected 1", "S1P and S2P"],
    "s1p=0": ["hyp = 1", "expected 0", "S1P and S2P"],
    "s1p=0 hyp=0": ["had = 1", "expected s1p = 0"],
    "s2p=0 hyp=0": ["xnx = 1", "expected s2p = 0"],
    "s1p=0 s2p=0 hyp=0 had=0 xnx=0": ["s1p = 0", "at least one stage"],
    "had=0": ["had = 0", "HAD equals S1P"],
    "xnx=0": ["xnx = 0", "XNX equals S2P"],
    "fwb=0": ["fwb = 0", "FWB is 1"],
    "ril=0": ["ril = 0", "RIL is 1"],
    "bbml=0": ["bbml = 0", "BBML >= 1"],
    "bbml=3": ["bbml = 3", "1 or 2"],
    "gran4k=0 gran16k=0 gran64k=0": ["at least one granule"],
    "walks=3": ["walks = 3", "power of two"],
    "walks=64": ["walks = 64", "power of two"],
    "slots=0": ["slots = 0", "1 to 32"],
    "slots=33": ["slots = 33", "1 to 32"],
    "tlb_entries=1000": ["tlb_entries = 1000", "power of two"],
    "tlb_ways=3": ["tlb_ways = 3", "power of two"],
    "tlb_ways=16": ["tlb_ways = 16", "power of two"],
    "tlb_entries=8 tlb_ways=8": ["tlb_entries = 8", "tlb_ways = 8", "at least 16", "two sets"],
    "walk_cache_entries=4 walk_cache_ways=4": ["walk_cache_entries = 4", "at least 8"],
    "write_buffer_beats=100": ["write_buffer_beats = 100", "burst"],
    "remap_entries=0": ["remap_entries = 0", "1 to 64"],
}


@pytest.mark.parametrize("settings", REFUSED)
def test_refused_with_value_and_rule(settings):
    with pytest.raises(ParamsError) as caught:
        Params.from_settings("default", settings)
    for part in REFUSED[settings]:
        assert part in str(caught.value)


@pytest.mark.parametrize("settings, part", [
    ("nonsense=1", "nonsense"), ("oas", "oas=<number>"), ("oas=", "oas=<number>"),
    ("oas=big", "oas=<number>"), ("=3", "''"),
])
def test_settings_that_are_not_settings(settings, part):
    with pytest.raises(ParamsError, match=part):
        Params.from_settings("default", settings)


def test_unknown_configuration():
    with pytest.raises(ParamsError, match="huge.*small"):
        Params.from_settings("huge")


@pytest.mark.parametrize("settings", [
    "s1p=0 hyp=0 had=0", "s2p=0 hyp=0 xnx=0", "st_level=0 sidsize=6", "sidsize=0", "sidsize=32",
    "ssidsize=20", "gran4k=0 gran16k=0", "ports=8", "walks=1", "walks=32", "ttendian=0", "bbml=1",
    "oas=32", "tlb_entries=16 tlb_ways=8", "tlb_ways=1", "write_buffer_beats=0",
    "asid16=0 vmid16=0 msi=0 cd2l=0 cohacc=0",
])
def test_accepted(settings):
    Params.from_settings("default", settings)
