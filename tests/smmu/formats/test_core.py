"""pack, unpack and the accessors; gaps and sizes of every layout."""

import importlib
import pkgutil

import pytest
from amaranth.hdl import Const
from amaranth.lib import data

import smmu.formats
from smmu.formats import core, registers
from smmu.formats.commands import CMD_SYNC, COMMANDS, Opcode, pack_command
from smmu.formats.context_descriptor import CD, L1CD
from smmu.formats.core import FormatError, bits, fields, from_bytes, gaps, pack, plain, to_bytes
from smmu.formats.core import unpack, update
from smmu.formats.events import EVENTS, EventType, F_TRANSLATION, pack_event
from smmu.formats.page_request import PageRequest
from smmu.formats.stream_table import L1STD, STE


def structs():
    """Return every struct of the formats by its qualified name."""
    found = {}
    for module in pkgutil.iter_modules(smmu.formats.__path__):
        for name, value in vars(importlib.import_module(f"smmu.formats.{module.name}")).items():
            if isinstance(value, type) and issubclass(value, data.Struct):
                found[name] = value
    return found


STRUCTS = structs()
SIZES = {
    **{name: 64 for name in ("L1STD", "L1CD", "Descriptor", "S1Table", "S1Leaf", "S2Table",
                             "S2Leaf")},
    **{name: 512 for name in ("STE", "CD")},
    **{name: 128 for name in STRUCTS if name.startswith("CMD_") or name == "TLBI"},
    "CommandHeader": 128, "PageRequest": 128,
    "EventHeader": 256, "FetchAbort": 256, "TranslationFault": 256,
    **{event.name: 256 for event in EVENTS},
    "AxPROT": 3, "UntranslatedUser": 56, "TranslatedUser": 35, "TableUser": 2,
}


@pytest.mark.parametrize("name", STRUCTS)
def test_gaps_sit_where_their_names_say(name):
    for gap, field in gaps(STRUCTS[name]).items():
        assert gap == f"_res{field.lsb}"


@pytest.mark.parametrize("name", STRUCTS)
def test_fields_fill_the_structure_without_overlap(name):
    struct = STRUCTS[name]
    position = 0
    everything = {**fields(struct), **gaps(struct)}
    for field in sorted(everything.values()):
        assert field.lsb == position
        position += field.width
    assert position == bits(struct)


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    assert bits(STRUCTS[name]) == SIZES[name]


def test_register_sizes():
    assert {bits(register.struct) for register in registers.BY_NAME.values()} == {32, 64}


@pytest.mark.parametrize("name", STRUCTS)
def test_plain_reads_what_the_view_reads(name):
    struct = STRUCTS[name]
    # Every bit pattern that tells a shifted or widened field apart.
    size = bits(struct)
    for raw in (0, (1 << size) - 1, int("a5" * 64, 16) & (1 << size) - 1,
                0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210 * 0x1_0001 & (1 << size) - 1):
        view = struct.from_bits(raw)
        for field in fields(struct):
            value = view[field]
            expected = value if isinstance(value, int) else Const.cast(value).value
            assert getattr(plain(struct), field)(raw) == expected
            assert unpack(struct, raw)[field] == expected


@pytest.mark.parametrize("name", STRUCTS)
def test_pack_puts_each_field_at_its_place(name):
    struct = STRUCTS[name]
    for field_name, field in fields(struct).items():
        largest = (1 << field.width) - 1
        raw = pack(struct, {field_name: largest})
        assert raw == largest << field.lsb == field.mask
        assert unpack(struct, raw) == {**dict.fromkeys(fields(struct), 0), field_name: largest}
        with pytest.raises(FormatError, match=rf"{field_name} = .* {field.width} bit"):
            pack(struct, {field_name: largest + 1})
        with pytest.raises(FormatError):
            pack(struct, {field_name: -1})


def test_unknown_fields_are_refused():
    with pytest.raises(FormatError, match="STE has no field 'Cfg'.*Config"):
        pack(STE, {"Cfg": 1})
    with pytest.raises(FormatError):
        pack(STE, {"_res56": 1})


def test_values_beyond_the_structure_are_refused():
    with pytest.raises(FormatError):
        unpack(L1CD, 1 << 64)
    with pytest.raises(FormatError):
        to_bytes(L1CD, -1)


def test_update_replaces_only_what_it_names():
    raw = pack(CD, {"ASID": 0xFFFF, "V": 1, "T0SZ": 25})
    assert unpack(CD, update(CD, raw, {"ASID": 3})) == {**unpack(CD, raw), "ASID": 3}


def test_memory_is_little_endian():
    raw = pack(L1STD, {"Span": 9, "L2Ptr": 0x8234_0000 >> 6})
    assert to_bytes(L1STD, raw) == bytes.fromhex("0900348200000000")
    assert from_bytes(L1STD, to_bytes(L1STD, raw)) == raw
    with pytest.raises(FormatError, match="8 bytes, not 7"):
        from_bytes(L1STD, bytes(7))


def test_accessors_are_made_once():
    assert plain(STE) is plain(STE)
    assert core.fields(STE) is core.fields(STE)


def test_commands_and_events_carry_their_number():
    for opcode, struct in COMMANDS.items():
        assert struct.__name__ == opcode.name
        assert pack_command(opcode) == opcode
    for event, struct in EVENTS.items():
        assert struct.__name__ == event.name
        assert pack_event(event) == event
    assert pack_command(Opcode.CMD_SYNC, {"CS": 1}) == pack(CMD_SYNC, {"Op": 0x46, "CS": 1})
    assert plain(F_TRANSLATION).Event(pack_event(EventType.F_TRANSLATION, {"RnW": 1})) == 0x10
    with pytest.raises(FormatError):
        pack_command(0x77)
    with pytest.raises(FormatError):
        pack_event(EventType.F_BAD_ATS_TREQ)


# IHI 0070 chapter 4
OPCODES = {
    "PREFETCH_CONFIG": 0x01, "PREFETCH_ADDR": 0x02, "CFGI_STE": 0x03, "CFGI_STE_RANGE": 0x04,
    "CFGI_CD": 0x05, "CFGI_CD_ALL": 0x06, "CFGI_VMS_PIDM": 0x07, "TLBI_NH_ALL": 0x10,
    "TLBI_NH_ASID": 0x11, "TLBI_NH_VA": 0x12, "TLBI_NH_VAA": 0x13, "TLBI_EL2_ALL": 0x20,
    "TLBI_EL2_ASID": 0x21, "TLBI_EL2_VA": 0x22, "TLBI_EL2_VAA": 0x23, "TLBI_S12_VMALL": 0x28,
    "TLBI_S2_IPA": 0x2A, "TLBI_NSNH_ALL": 0x30, "ATC_INV": 0x40, "PRI_RESP": 0x41, "RESUME": 0x44,
    "STALL_TERM": 0x45, "SYNC": 0x46, "DPTI_ALL": 0x70, "DPTI_PA": 0x73,
}
# IHI 0070 chapter 7
EVENT_NUMBERS = {
    "F_UUT": 0x01, "C_BAD_STREAMID": 0x02, "F_STE_FETCH": 0x03, "C_BAD_STE": 0x04,
    "F_BAD_ATS_TREQ": 0x05, "F_STREAM_DISABLED": 0x06, "F_TRANSL_FORBIDDEN": 0x07,
    "C_BAD_SUBSTREAMID": 0x08, "F_CD_FETCH": 0x09, "C_BAD_CD": 0x0A, "F_WALK_EABT": 0x0B,
    "F_TRANSLATION": 0x10, "F_ADDR_SIZE": 0x11, "F_ACCESS": 0x12, "F_PERMISSION": 0x13,
    "F_TLB_CONFLICT": 0x20, "F_CFG_CONFLICT": 0x21, "E_PAGE_REQUEST": 0x24, "F_VMS_FETCH": 0x25,
}


def test_numbers_are_the_manuals():
    assert {f"CMD_{name}": number for name, number in OPCODES.items()} == {
        opcode.name: opcode.value for opcode in Opcode}
    assert EVENT_NUMBERS == {event.name: event.value for event in EventType}


def test_enums_compare_with_integers():
    assert Opcode.CMD_SYNC == 0x46 and EventType(0x10) is EventType.F_TRANSLATION
    assert pack(PageRequest, {"PRGIndex": 511}) == 511 << 64
