"""Lowest bit of each field whose neighbours are as wide as itself, so that none are swapped.

Written from the tables of the manual (IHI 0070 chapters 3 to 6, DDI 0487 D8.3), not from the code.
"""

import pytest

from smmu.formats import command_layouts, context_descriptor, control_registers, descriptors
from smmu.formats import event_layouts, id_registers, page_request, stream_table
from smmu.formats.core import fields

POSITIONS = {
    stream_table.STE: """
        V 0, Config 1, S1Fmt 4, S1ContextPtr 6, S1CDMax 59, S1DSS 64, S1CIR 66, S1COR 68, S1CSH 70,
        S2HWU59 72, S2HWU60 73, S2HWU61 74, S2HWU62 75, DRE 76, CONT 77, DCP 81, PPAR 82, MEV 83,
        SW 84, S1PIE 88, S2FWB 89, S1MPAM 90, S1STALLD 91, EATS 92, STRW 94, MemAttr 96, MTCFG 100,
        ALLOCCFG 101, SHCFG 108, NSCFG 110, PRIVCFG 112, INSTCFG 114, S2VMID 128, S2T0SZ 160,
        S2SL0 166, S2IR0 168, S2OR0 170, S2SH0 172, S2TG 174, S2PS 176, S2AA64 179, S2ENDI 180,
        S2AFFD 181, S2PTW 182, S2HD 183, S2HA 184, S2S 185, S2R 186, S2HAFT 187, S2PIE 188,
        S2POE 189, S2NSW 192, S2NSA 193, S2SL0_2 194, S2DS 195, S2TTB 196, VMSPtr 332""",
    context_descriptor.CD: """
        T0SZ 0, TG0 6, IR0 8, OR0 10, SH0 12, EPD0 14, ENDI 15, T1SZ 16, TG1 22, IR1 24, OR1 26,
        SH1 28, EPD1 30, V 31, IPS 32, AFFD 35, WXN 36, UWXN 37, TBI0 38, TBI1 39, PAN 40, AA64 41,
        HD 42, HA 43, S 44, R 45, A 46, ASET 47, ASID 48, NSCFG0 64, HAD0 65, E0PD0 66, HAFT 67,
        TTB0 68, NSCFG1 128, HAD1 129, E0PD1 130, TTB1 132, DS 186, PIE 187, MAIR0 192, MAIR1 224,
        AMAIR0 256, AMAIR1 288, PARTID 352, PMG 368""",
    command_layouts.TLBI: """
        Op 0, NUM 12, SCALE 20, VMID 32, ASID 48, Leaf 64, TTL128 71, TTL 72, TG 74, Address 76""",
    command_layouts.CommandHeader: "Op 0, SSec 10, SSV 11, SubstreamID 12, StreamID 32",
    command_layouts.CMD_SYNC: "CS 12, MSH 22, MSIAttr 24, MSIData 32, MSIAddress 66",
    command_layouts.CMD_RESUME: "Ac 12, Ab 13, StreamID 32, STAG 64",
    event_layouts.F_PERMISSION: """
        Event 0, SSV 11, SubstreamID 12, StreamID 32, STAG 64, Stall 95, PnU 97, InD 98, RnW 99,
        NSIPA 102, S2 103, CLASS 104, TTRnW 108, InputAddr 128, IPA 204""",
    event_layouts.F_WALK_EABT: """
        Reason 64, GPCF 80, PnU 97, InD 98, RnW 99, S2 103, CLASS 104, InputAddr 128,
        FetchAddr 195""",
    event_layouts.F_UUT: "Reason 64, PnU 97, InD 98, RnW 99, InputAddr 128",
    event_layouts.F_TRANSL_FORBIDDEN: "StreamID 32, RnW 99, InputAddr 128",
    event_layouts.F_TLB_CONFLICT: "PnU 97, InD 98, RnW 99, NSIPA 102, S2 103, IPA 204",
    event_layouts.E_PAGE_REQUEST: "uX 97, uW 98, uR 99, pX 101, pW 102, pR 103, Span 108",
    page_request.PageRequest: """
        StreamID 0, SubstreamID 32, Priv 58, X 59, R 60, W 61, Last 62, SSV 63, PRGIndex 64,
        Address 76""",
    descriptors.S1Leaf: """
        AttrIndx 2, NS 5, AP 6, SH 8, AF 10, nG 11, OA 12, GP 50, DBM 51, Contiguous 52, PXN 53,
        UXN 54, SW 55, PBHA 59""",
    descriptors.S2Leaf: """
        MemAttr 2, S2AP 6, SH 8, AF 10, OA 12, DBM 51, Contiguous 52, XN 53, SW 55, PBHA 59""",
    descriptors.S1Table: "NextTable 12, PXNTable 59, UXNTable 60, APTable 61, NSTable 63",
    id_registers.IDR0: """
        S2P 0, S1P 1, TTF 2, COHACC 4, BTM 5, HTTU 6, DORMHINT 8, Hyp 9, ATS 10, NS1ATS 11,
        ASID16 12, MSI 13, SEV 14, ATOS 15, PRI 16, VMW 17, VMID16 18, CD2L 19, VATOS 20,
        TTENDIAN 21, ATSRECERR 23, STALL_MODEL 24, TERM_MODEL 26, ST_LEVEL 27, RME_IMPL 30""",
    id_registers.IDR1: """
        SIDSIZE 0, SSIDSIZE 6, PRIQS 11, EVENTQS 16, CMDQS 21, ATTR_PERMS_OVR 26,
        ATTR_TYPES_OVR 27, REL 28, QUEUES_PRESET 29, TABLES_PRESET 30, ECMDQ 31""",
    id_registers.IDR3: """
        HAD 2, PBHA 3, XNX 4, PPS 5, MPAM 7, FWB 8, STT 9, RIL 10, BBML 11, E0PD 13, PTWNNC 14,
        DPT 15, PASIDTT 16, EPAN 17, S1PI 18, S2PI 19, S2PO 20, THE 21, MTEPERM 22, AIE 23""",
    id_registers.IDR5: "OAS 0, GRAN4K 4, GRAN16K 5, GRAN64K 6, DS 7, D128 8, VAX 10, STALL_MAX 16",
    id_registers.IIDR: "Implementer 0, Revision 12, Variant 16, ProductID 20",
    control_registers.CR0: """
        SMMUEN 0, PRIQEN 1, EVENTQEN 2, CMDQEN 3, ATSCHK 4, VMW 6, DPT_WALK_EN 10""",
    control_registers.CR1: """
        QUEUE_IC 0, QUEUE_OC 2, QUEUE_SH 4, TABLE_IC 6, TABLE_OC 8, TABLE_SH 10""",
    control_registers.CR2: "E2H 0, RECINVSID 1, PTM 2, REC_CFG_ATS 3",
    control_registers.GBPA: """
        MemAttr 0, MTCFG 4, ALLOCCFG 8, SHCFG 12, PRIVCFG 16, INSTCFG 18, ABORT 20, Update 31""",
    control_registers.IRQ_CTRL: "GERROR_IRQEN 0, PRIQ_IRQEN 1, EVENTQ_IRQEN 2",
    control_registers.GERROR: """
        CMDQ_ERR 0, EVENTQ_ABT_ERR 2, PRIQ_ABT_ERR 3, MSI_CMDQ_ABT_ERR 4, MSI_EVENTQ_ABT_ERR 5,
        MSI_PRIQ_ABT_ERR 6, MSI_GERROR_ABT_ERR 7, SFM_ERR 8, CMDQP_ERR 9, DPT_ERR 10""",
    control_registers.CMDQ_CONS: "RD 0, ERR 24",
    control_registers.EVENTQ_PROD: "WR 0, OVFLG 31",
    control_registers.EVENTQ_CONS: "RD 0, OVACKFLG 31",
    control_registers.STRTAB_BASE_CFG: "LOG2SIZE 0, SPLIT 6, FMT 16",
    control_registers.IRQ_CFG2: "MemAttr 0, SH 4",
}


@pytest.mark.parametrize("struct", POSITIONS, ids=lambda struct: struct.__name__)
def test_fields_start_where_the_manual_says(struct):
    expected = dict(row.split() for row in POSITIONS[struct].split(","))
    found = {name: field.lsb for name, field in fields(struct).items()}
    for name, lsb in expected.items():
        assert found[name] == int(lsb), name
