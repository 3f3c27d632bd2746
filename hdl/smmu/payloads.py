"""Structs of the streams between the parts of the SMMU.

Addresses are byte addresses with the bits below the stated unit left out. Widths are those of the
largest build (48-bit output addresses); a component keeps only what its parameters need.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

__all__ = [
    "World", "PageSize", "PAGE_SHIFTS", "TABLE_SHIFTS", "MemType", "Permissions", "Attributes",
    "Overrides", "Translation", "ContextTag", "Verdict", "TranslationRequest",
    "TranslationResponse", "TLBKey", "TLBEntry", "TablePointer", "Invalidation", "FaultRecord",
    "TableRead", "TableData", "BarrierKind", "Granule", "WalkAttributes", "LookupConfig",
    "Stage1Config", "Stage2Config", "CONFIG_ROWS", "CONFIG_ROW_BITS", "ConfigKey",
    "ConfigLookup", "ConfigResult", "ConfigLoad", "ConfigRow", "ConfigFill", "WalkStart",
    "WalkResult", "TaggedRequest", "RequestWait", "WalkFinished", "Decision", "TLBLookup",
    "TLBResult", "TLBFill", "RemapQuery", "RemapAnswer", "StrtabConfig", "CounterIncrements",
    "QueueConfig", "CommandQueueUpdate", "EventQueueUpdate", "MSIConfig", "RemapAccess",
]


class World(enum.Enum, shape=2):
    """StreamWorld, IHI 0070 3.3.4."""

    NS_EL1 = 0
    EL2 = 2
    EL2_E2H = 3


class PageSize(enum.Enum, shape=3):
    """Leaf sizes of the three granules with 48-bit addresses; also the order of TLB probes."""

    SIZE_4K = 0
    SIZE_16K = 1
    SIZE_64K = 2
    SIZE_2M = 3
    SIZE_32M = 4
    SIZE_512M = 5
    SIZE_1G = 6


PAGE_SHIFTS = (12, 14, 16, 21, 25, 29, 30)

# log2 of what the table that a table descriptor points to covers: the size classes of walk caches.
TABLE_SHIFTS = (21, 25, 29, 30, 36, 39, 42, 47)


class MemType(enum.Enum, shape=3):
    """Memory type in order of strength: combining two stages is taking the minimum.

    ``FORCE_WB`` exists only as a stage-2 operator (S2FWB, MemAttr 0b110): the result is WB
    whatever stage 1 says. ``WB`` as an operator leaves the other type unchanged.
    """

    nGnRnE = 0
    nGnRE = 1
    nGRE = 2
    GRE = 3
    NC = 4
    WT = 5
    WB = 6
    FORCE_WB = 7


class Permissions(data.Struct):
    """What is allowed, by the class of the access: privileged/unprivileged, read/write/execute."""

    pr: 1
    pw: 1
    px: 1
    ur: 1
    uw: 1
    ux: 1


class Attributes(data.Struct):
    """Memory attributes of a result, or (stage-2-only results) the operator on the input's."""

    outer: MemType
    inner: MemType
    ra: 1            # outer read-allocate hint
    wa: 1            # outer write-allocate hint
    sh: 2            # 0 non, 2 outer, 3 inner shareable


class Overrides(data.Struct):
    """STE or GBPA overrides of a transaction's attributes (IHI 0070 5.2, 6.3 GBPA)."""

    MemAttr: 4
    MTCFG: 1
    ALLOCCFG: 4
    SHCFG: 2
    PRIVCFG: 2
    INSTCFG: 2


class Translation(data.Struct):
    """One result, as a micro-TLB holds it.

    ``page`` is the output address [47:12]; bits below ``size`` are ignored and replaced by the
    input's. With ``msi``, ``page`` and ``doorbell`` are the bound doorbell's address [47:2] and
    only a 32-bit write at that offset of the page may pass.
    ``perms`` is by the class of the *incoming* access: PRIVCFG and INSTCFG are already applied.
    """

    page: 36
    size: PageSize
    perms: Permissions
    attrs: Attributes
    combine: 1       # stage 1 bypassed: combine `attrs` with the incoming (overridden) attributes
    overrides: Overrides
    msi: 1
    doorbell: 10     # address [11:2] of the bound doorbell
    nG: 1


class ContextTag(data.Struct):
    """What invalidations match besides the address."""

    world: World
    ipa: 1           # the input address is an IPA (stage 1 bypassed), else a VA
    vmid: 16
    asid: 16


class Verdict(enum.Enum, shape=2):
    OK = 0
    ABORT = 1        # SLVERR
    RAZWI = 2        # OKAY, zeros for a read, nothing written


class TranslationRequest(data.Struct):
    """A miss, from a translation buffer to the TCU."""

    slot: 5          # of the channel that asks; comes back with the response
    sid: 32
    ssv: 1
    ssid: 20
    addr: 64         # input address, all bits, as it came
    rnw: 1
    priv: 1          # as it came
    inst: 1          # as it came; 0 for writes
    atst: 1          # already translated by ATS


class TranslationResponse(data.Struct):
    """The answer to one `TranslationRequest`. With ``fill`` it may enter the micro-TLB."""

    slot: 5
    verdict: Verdict
    fill: 1
    translation: Translation
    context: ContextTag


class TLBKey(data.Struct):
    """Tag of the main TLB and of the walk caches."""

    world: World
    ipa: 1           # IPA-type (stage 2 only), else VA-type
    vmid: 16         # 0 where the world has none
    asid: 16         # 0 where the world has none
    aset: 1
    va55: 1          # which half; 0 for an IPA
    addr: 36         # input address [47:12]


class TLBEntry(data.Struct):
    """Payload of the main TLB; `page` as in `Translation`. Nothing here is governed by CFGI."""

    page: 36
    perms: Permissions   # by effective class, before PRIVCFG and INSTCFG
    attrs: Attributes


class TablePointer(data.Struct):
    """Payload of the walk cache: the next table of a walk, with the permissions gathered so far."""

    table: 36        # address [47:12] (stage 1 under stage 2: an IPA)
    aptable: 2
    uxntable: 1
    pxntable: 1


class Invalidation(data.Struct):
    """One TLBI or CFGI, decoded for every cache. Removing more than it names is always legal.

    TLBI matches an entry when its world is NS-EL1 (or, with ``el2``, EL2 or EL2-E2H), its type is
    asked for by ``va`` or ``ipa``, and: vmid equal if ``match_vmid``; with ``match_asid`` a
    non-global entry's asid is equal, and a global entry matches unless ``keep_global``; the entry
    overlaps the range if ``match_addr``.
    CFGI matches StreamIDs equal outside ``sid_ignore``, and with ``match_ssid`` SubstreamID
    ``ssid`` (index 0 also stands for "no SubstreamID").
    """

    cfg: 1           # CFGI, else TLBI
    el2: 1
    va: 1
    ipa: 1
    match_vmid: 1
    match_asid: 1
    keep_global: 1
    match_addr: 1
    leaf: 1          # last-level information only
    vmid: 16
    asid: 16
    addr: 52         # [63:12]
    tg: 2            # 0: single address, any size; else granule 1 4K, 2 16K, 3 64K with num, scale
    num: 5
    scale: 5
    sid: 32
    sid_ignore: 32   # mask of StreamID bits that are not compared
    match_ssid: 1
    ssid: 20


class FaultRecord(data.Struct):
    """One event, before it is laid out as 32 bytes. Fields that the event lacks are 0."""

    event: 8         # EventType
    ssv: 1
    ssid: 20
    sid: 32
    pnu: 1
    ind: 1
    rnw: 1
    s2: 1
    cls: 2           # CLASS
    ttrnw: 1
    input_addr: 64
    ipa: 36          # IPA [47:12], record bits 243:204
    fetch_addr: 45   # FetchAddr [47:3], record bits 239:195


class TableRead(data.Struct):
    """A read of the table master, for one walk. Beats come back as `TableData`."""

    id: 6            # number of the walk
    addr: 45         # output address [47:3]
    beats: 3         # 1 or 4
    attrs: Attributes


class TableData(data.Struct):
    id: 6
    beat: 2
    first: 1         # `beat` is 0
    data: unsigned(64)
    last: 1
    error: 1


class BarrierKind(enum.Enum, shape=1):
    """What a barrier waits for: transactions that can still take a decision, or all of them."""

    DECIDED = 0
    COMPLETE = 1


class Granule(enum.Enum, shape=2):
    """Our own code of a granule, whatever the field's (TG0, TG1, S2TG and TG differ)."""

    G4K = 0
    G16K = 1
    G64K = 2


class WalkAttributes(data.Struct):
    """Cacheability (0 NC, 1 WB RA WA, 2 WT RA, 3 WB RA) and shareability of table accesses."""

    ic: 2
    oc: 2
    sh: 2


class LookupConfig(data.Struct):
    """Row 0 of a decoded configuration: what a main TLB lookup and a response need."""

    s1: 1            # stage 1 translates (not bypassed by Config or S1DSS)
    s2: 1
    world: World
    vmid: 16         # 0 where the world has none
    asid: 16         # 0 where the world has none, or stage 1 is off
    aset: 1
    T0SZ: 6
    T1SZ: 6
    EPD0: 1
    EPD1: 1
    TBI0: 1
    TBI1: 1
    S2T0SZ: 6
    A: 1             # CD.A, 1 where TERM_MODEL is 1
    R: 1             # CD.R
    S2R: 1
    overrides: Overrides
    WXN: 1
    PAN: 1
    MAIR: 64


class Stage1Config(data.Struct):
    """Row 1: stage-1 walks. Table bases are masked to their alignment."""

    TTB0: 44         # [47:4]
    TTB1: 44
    granule0: Granule
    granule1: Granule
    walk0: WalkAttributes
    walk1: WalkAttributes
    HAD0: 1
    HAD1: 1
    IPS: 3           # effective: min(IPS, OAS)
    AFFD: 1
    ENDI: 1


class Stage2Config(data.Struct):
    """Row 2: stage-2 walks."""

    S2TTB: 44        # [47:4], masked to its alignment
    granule: Granule
    start_level: 2
    S2PS: 3          # effective: min(S2PS, OAS)
    walk: WalkAttributes
    S2AFFD: 1
    S2PTW: 1
    S2ENDI: 1
    S2FWB: 1


CONFIG_ROWS = 3
CONFIG_ROW_BITS = 144


class ConfigKey(data.Struct):
    sid: 32
    ssv: 1
    ssid: 20


# A lookup of row 0, its answer, and the load of all rows for a walk.
ConfigLookup = data.StructLayout({"tag": 6, "key": ConfigKey})
ConfigResult = data.StructLayout({"tag": 6, "hit": 1, "row0": LookupConfig})
ConfigLoad = data.StructLayout({"walk": 5, "key": ConfigKey})


class ConfigRow(data.Struct):
    """One row of an answer to a configuration load, rows in order 0, 1, 2; a miss is one row."""

    walk: 5
    hit: 1
    row: 2
    bits: CONFIG_ROW_BITS


class ConfigFill(data.Struct):
    """One row of a configuration to keep; rows in order 0, 1, 2, never interleaved."""

    key: ConfigKey
    row: 2
    bits: CONFIG_ROW_BITS


class WalkStart(data.Struct):
    """A translation that the TLBs don't know, for a free walk."""

    walk: 5
    request: TranslationRequest


class WalkResult(data.Struct):
    """The end of a walk. ``cacheable`` is 0 for what no TLB may hold (faults)."""

    walk: 5
    verdict: Verdict
    cacheable: 1
    translation: Translation
    context: ContextTag


class RemapQuery(data.Struct):
    sid: 32
    ipa: 36          # [47:12]


class RemapAnswer(data.Struct):
    """What the MSI doorbell remap says about an IPA page, all 0 while it is off."""

    hit: 1           # bound for this StreamID: `doorbell` is the output address [47:2]
    bound: 1         # bound for any StreamID: not for the main TLB
    near: 1          # some binding lies in the same 1 GiB: results are kept as 4 KiB pages only
    doorbell: 46


def TLBLookup(tag_bits, classes):
    """A lookup: ``classes`` is the mask of size classes to probe, smallest first."""
    return data.StructLayout({"tag": tag_bits, "key": TLBKey, "classes": classes})


def TLBResult(tag_bits, classes, payload):
    return data.StructLayout({
        "tag": tag_bits, "hit": 1, "size": range(classes), "nG": 1, "payload": payload})


def TLBFill(classes, payload):
    """An entry to keep. ``fragment``: it covers a part only of the leaf that a TLBI would name."""
    return data.StructLayout({
        "key": TLBKey, "nG": 1, "size": range(classes), "fragment": 1, "payload": payload})


class TaggedRequest(data.Struct):
    """A request inside the TCU; `index` names its place in the request table."""

    index: 8
    request: TranslationRequest


class RequestWait(data.Struct):
    """A request has to be looked up again once `walk` (or any walk, or nothing) has ended."""

    valid: 1
    index: 8
    walk: 5
    any_walk: 1
    now: 1


class WalkFinished(data.Struct):
    valid: 1
    walk: 5


class Decision(data.Struct):
    """The end of a lookup: what the main TLB knows (``hit``), with what answers and checks need."""

    item: TaggedRequest
    cold: 1          # the configuration was not cached either
    hit: 1
    size: PageSize
    nG: 1
    entry: TLBEntry
    context: ContextTag
    combine: 1
    overrides: Overrides


class StrtabConfig(data.Struct):
    """STRTAB_BASE and STRTAB_BASE_CFG as they act.

    ``base`` is masked to its alignment, ``log2size`` is at most SIDSIZE, ``split`` is 6, 8 or 10.
    """

    base: 42         # [47:6]
    log2size: 6
    split: 5
    fmt: 1           # 1: 2-level
    ra: 1            # read-allocate hint


class CounterIncrements(data.Struct):
    """What each counter of the implementation-defined frame counts in a clock.

    In the order of `smmu.formats.registers.COUNTERS`.
    """

    transactions: 5
    utlb_hit: 5
    utlb_miss: 5
    tlb_hit: 1
    tlb_miss: 1
    cfg_hit: 1
    cfg_miss: 1
    s1_walk_cache_hit: 1
    s1_walk_cache_miss: 1
    s2_walk_cache_hit: 1
    s2_walk_cache_miss: 1
    table_reads: 1
    faults: 1


class QueueConfig(data.Struct):
    """Registers of the command queue or of the event queue, as they act."""

    enable: 1        # CMDQEN or EVENTQEN
    error: 1         # CMDQ_ERR or EVENTQ_ABT_ERR is active
    base: 43         # [47:5]
    log2size: 5      # at most what IDR1 tells
    attrs: Attributes
    prod: 20
    cons: 20


class CommandQueueUpdate(data.Struct):
    """What the command queue does to its registers."""

    stopped: 1       # nothing in progress; always reached while `enable` is 0
    advance: 1       # `cons` becomes CMDQ_CONS.RD
    cons: 20
    error: 1         # `code` becomes CMDQ_CONS.ERR
    code: 7
    active: 1        # raise CMDQ_ERR


class EventQueueUpdate(data.Struct):
    """What the event queue does to its registers."""

    stopped: 1       # nothing in progress; always reached while `enable` is 0
    advance: 1       # `prod` becomes EVENTQ_PROD.WR
    prod: 20
    overflow: 1      # a record was lost because the queue is full
    abort: 1         # raise EVENTQ_ABT_ERR


class MSIConfig(data.Struct):
    """An MSI of the SMMU itself. None is sent if ``addr`` is 0."""

    addr: 46         # [47:2]
    data: unsigned(32)
    MemAttr: 4
    SH: 2


class RemapAccess(data.Struct):
    """A register access to the MSI doorbell remap: a 64-bit register of an entry."""

    write: 1
    entry: 6
    word: 2          # 0 StreamID, 1 IPA page, 2 doorbell
    halves: 2        # which halves are written
    data: unsigned(64)
