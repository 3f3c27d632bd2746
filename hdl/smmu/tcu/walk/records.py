"""What travels inside the walk table: contexts, events, and what each stage hands to the next."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from smmu.payloads import (
    Attributes, Granule, Overrides, PageSize, Permissions, WalkAttributes, World)

__all__ = ["Waits", "Purpose", "TablePermissions", "WalkContext", "WalkEvent", "Fault", "Steps",
           "Identity", "Decoded", "Addressed", "Checked", "Side", "Main", "Action", "EventPayload",
           "GoPayload", "ResultPayload", "FillPayload", "StreamPart", "ContextPart"]


class Waits(enum.Enum, shape=4):
    """What a walk waits for, hence what its next event is."""

    CONFIG = 0            # an answer of the configuration cache
    L1STD = 1
    STE = 2
    L1CD = 3
    CD = 4
    STAGE1_POINTER = 5    # an answer of the stage-1 walk cache
    STAGE1 = 6            # a stage-1 descriptor
    IPA = 7               # an answer of the main TLB about an IPA
    STAGE2_POINTER = 8
    STAGE2 = 9


class Purpose(enum.Enum, shape=2):
    """What the IPA under translation is the address of."""

    L1CD = 0
    CD = 1
    TT = 2
    IN = 3


class TablePermissions(data.Struct):
    """Hierarchical permissions gathered from stage-1 table descriptors."""

    aptable: 2
    uxntable: 1
    pxntable: 1


class WalkContext(data.Struct):
    """State of a walk between two events, beside its request and its configuration."""

    waits: Waits
    purpose: Purpose
    level: 2              # stage 1: of the descriptor to come
    level2: 2             # stage 2: the same
    leaf_64k: 1           # leaf tables of the 2-level CD table are 64 KiB
    cd_walk: WalkAttributes   # of the L1CD and CD fetches
    tables: TablePermissions
    perms: Permissions    # of the stage-1 leaf
    attrs: Attributes     # of the stage-1 leaf
    size: PageSize        # of the stage-1 leaf
    nG: 1
    beyond: 1             # `ipa` is beyond the input size of stage 2
    ipa: 45               # [47:3] under translation; before stage 1: VA masked to its range
    fetch: 45             # [47:3] of the read under way


class WalkEvent(data.Struct):
    """What wakes a walk."""

    walk: 5
    start: 1
    hit: 1                # of a cache
    error: 1              # of a read
    size: 3               # size class of a cache's answer
    bad: 1                # structure ILLEGAL
    silent: 1             # STE says: abort without an event
    S1DSS: 2
    cd_walk: WalkAttributes
    data: unsigned(64)    # descriptor; first qword of the STE; TLBEntry; TablePointer


class Fault(data.Struct):
    """A fault, one-hot; all 0 for none."""

    uut: 1
    bad_streamid: 1
    ste_fetch: 1
    bad_ste: 1
    silent: 1
    stream_disabled: 1
    transl_forbidden: 1
    bad_substreamid: 1
    cd_fetch: 1
    bad_cd: 1
    walk_eabt: 1
    translation: 1
    addr_size: 1
    access: 1
    permission: 1


class Steps(data.Struct):
    """Which step an event makes, one-hot."""

    start: 1
    config_miss: 1        # locate the STE or L1STD
    l1std: 1              # locate the STE
    locate_cd: 1          # STE is good: locate the CD or L1CD
    l1cd: 1               # locate the CD
    begin: 1              # configuration complete
    pointer1: 1           # stage-1 walk cache answered
    stage1: 1             # stage-1 descriptor
    ipa: 1                # main TLB answered
    pointer2: 1
    stage2: 1
    none: 1               # fault of a structure


class Identity(data.Struct):
    """What of a request and its configuration all stages need."""

    sid: 32
    ssv: 1
    ssid: 20
    addr: 64
    rnw: 1
    priv: 1               # as it came
    inst: 1               # as it came
    PnU: 1                # after the overrides
    InD: 1
    s1: 1
    s2: 1
    world: World
    vmid: 16
    asid: 16
    aset: 1
    overrides: Overrides
    A: 1
    R: 1
    S2R: 1


class Decoded(data.Struct):
    """After the first stage: fields selected, the descriptor taken apart."""

    walk: 5
    step: Steps
    fault: Fault          # already certain
    who: Identity
    context: WalkContext
    hit: 1
    stage2: 1             # a descriptor or pointer of stage 2
    half: 1
    TxSZ: 6
    TBI: 1
    EPD: 1
    WXN: 1
    PAN: 1
    mair: 8
    S2T0SZ: 6
    S2FWB: 1
    S2PTW: 1
    s1_walk: WalkAttributes
    s2_walk: WalkAttributes
    ttb: 44               # [47:4] of the stage and half
    granule: Granule      # of the stage and half
    granule2: Granule
    descriptor: unsigned(64)
    target: 36            # [47:12]: output or next table of a descriptor, or from a cache
    is_table: 1
    is_leaf: 1
    over: 1               # output address of the descriptor beyond IPS or S2PS
    accessed: 1           # AF, or AFFD
    next_level: 2
    leaf: 7               # leaf size, one-hot in the order of PageSize
    pointer_class: 3      # size class of what `target` points to, in a walk cache
    tables: TablePermissions  # gathered so far, this descriptor included
    cached_perms: Permissions
    cached_attrs: Attributes
    input: 45             # [47:3] of the stage's input address
    cd_index_mask: 20     # 2**S1CDMax - 1
    two_level: 2          # CD table: bit 0 4 KiB leaves, bit 1 64 KiB leaves


class Addressed(data.Struct):
    """After the second stage: base and index of the next access, permissions, attributes."""

    walk: 5
    step: Steps
    fault: Fault
    who: Identity
    context: WalkContext
    hit: 1
    is_table: 1
    is_leaf: 1
    granule: Granule
    granule2: Granule
    start_level: 2        # of stage 1
    next_level: 2
    size: PageSize        # of the leaf
    pointer_class: 3
    tables: TablePermissions
    base: 45              # [47:3]
    index: 17             # [19:3]
    ipa_mask: 23          # bits 47:25 that stage 2 does not take
    over: 1
    accessed: 1
    perms1: Permissions   # stage 1: of this leaf or of an earlier one
    perms2: Permissions   # stage 2: of this leaf, all without stage 2
    leaf_attrs1: Attributes  # of the stage-1 leaf
    first: Attributes     # what is combined: of the result, or of the access to a table
    second: Attributes    # stage-2 operator
    allowed1: 1           # stage 1's leaf permits the access
    fit: 1                # stage 2 permits what the IPA is translated for


class Side(enum.Enum, shape=3):
    """What an action does besides."""

    NONE = 0
    TLB_FILL = 1
    POINTER1_FILL = 2
    POINTER2_FILL = 3
    EVENT = 4


class Main(enum.Enum, shape=3):
    """How an action goes on."""

    READ = 0
    CONFIG = 1
    TLB = 2
    POINTER1 = 3
    POINTER2 = 4
    RESULT = 5
    AGAIN = 6             # back into the pipeline as the answer of a cache


class Checked(data.Struct):
    """After the third stage: the outcome, all but the action's payload and the new context."""

    walk: 5
    step: Steps
    fault: Fault
    faulty: 1
    s2_fault: 1           # the fault is stage 2's
    cls: 2
    who: Identity
    context: WalkContext
    main: Main            # how to go on, without a fault; so are the next
    side: Side
    record: 1             # a fault record, or the key of a configuration load
    result: 1             # the walk ends
    reads: 1              # the walk reads
    access: 1             # the address is that of a table or structure
    output: 1             # the address is the output of stage 1, or the input of a bypass
    consult: 1            # the address is an IPA, stage 2 is next
    miss: 1               # of the main TLB
    ipa_type: 1           # the fill or result is of an IPA
    wide_read: 1          # 4 beats
    hit: 1
    purpose: Purpose      # of the address
    is_table: 1
    is_leaf: 1
    granule: Granule
    granule2: Granule
    level: 2              # start level of stage 1, in `begin`
    next_level: 2
    leaf_size: PageSize   # of the leaf
    size: PageSize        # of the result
    fragment: 1           # the result covers a part of its leaf only
    pointer_class: 3
    tables: TablePermissions
    next: 45
    beyond: 1             # `next` is beyond the input size of stage 2
    perms1: Permissions
    perms2: Permissions
    perms: Permissions    # of the result
    leaf_attrs1: Attributes
    second: Attributes
    attrs: Attributes     # combined
    doorbell: 46
    remapped: 1


class FillPayload(data.Struct):
    """A fill, also the identity of the lookups that go with it."""

    world: World
    vmid: 16
    asid: 16
    aset: 1
    va55: 1
    ipa: 1                # IPA-type
    addr: 36              # input address [47:12]
    nG: 1
    size: 3
    fragment: 1
    page: 36              # or next table
    perms: Permissions    # or in its low bits those of tables
    attrs: Attributes


class GoPayload(data.Struct):
    """A read or a lookup."""

    next: 45              # [47:3]
    attrs: Attributes
    beats: 1              # 4, else 1
    classes: 8


class ResultPayload(data.Struct):
    """What of a result is not in the fill."""

    doorbell: 10
    msi: 1
    combine: 1
    overrides: Overrides
    perms: Permissions    # by the class of the incoming access
    attrs: Attributes


class EventPayload(data.Struct):
    """A fault record, and the key of a configuration load."""

    event: 5
    sid: 32
    ssv: 1
    ssid: 20
    input_addr: 64
    where: 45             # FetchAddr [47:3], or IPA [47:12]
    fetch: 1              # `where` is a FetchAddr, else an IPA
    pnu: 1
    ind: 1
    rnw: 1
    s2: 1
    cls: 2
    ttrnw: 1


class Action(data.Struct):
    """What a step leads to: at most one side effect, then the way on."""

    walk: 5
    side: Side
    main: Main
    verdict: 2
    cacheable: 1
    hit: 1                # of AGAIN
    payload: data.UnionLayout({
        "event": EventPayload,
        "go": data.StructLayout({"fill": FillPayload, "go": GoPayload}),
        "result": data.StructLayout({"fill": FillPayload, "result": ResultPayload}),
    })





class StreamPart(data.Struct):
    """What of `LookupConfig` comes from the STE."""

    s1: 1
    s2: 1
    world: World
    vmid: 16
    S2T0SZ: 6
    S2R: 1
    overrides: Overrides


class ContextPart(data.Struct):
    """What of `LookupConfig` comes from the CD."""

    asid: 16
    aset: 1
    T0SZ: 6
    T1SZ: 6
    EPD0: 1
    EPD1: 1
    TBI0: 1
    TBI1: 1
    A: 1
    R: 1
    WXN: 1
    PAN: 1
    MAIR: 64
