from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.commands import (
    CFGI_ALL_RANGE, CMD_CFGI_CD, CMD_CFGI_STE_RANGE, CMD_SYNC, CS, TLBI, CommandHeader, Opcode)
from smmu.lib.thermometer import at_most
from smmu.params import Params
from smmu.payloads import Invalidation

__all__ = ["CommandDecoder"]

TG_16K = 2
SCALE_BITS = 5  # without IDR5.DS

PREFETCH = (Opcode.CMD_PREFETCH_CONFIG, Opcode.CMD_PREFETCH_ADDR)
CFGI_STE = (Opcode.CMD_CFGI_STE, Opcode.CMD_CFGI_STE_RANGE)
CFGI_CD = (Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL)
TLBI_NH = (Opcode.CMD_TLBI_NH_ALL, Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_NH_VA,
           Opcode.CMD_TLBI_NH_VAA)
TLBI_EL2 = (Opcode.CMD_TLBI_EL2_ALL, Opcode.CMD_TLBI_EL2_ASID, Opcode.CMD_TLBI_EL2_VA,
            Opcode.CMD_TLBI_EL2_VAA)
TLBI_S2 = (Opcode.CMD_TLBI_S12_VMALL, Opcode.CMD_TLBI_S2_IPA)
BY_ADDRESS = (Opcode.CMD_TLBI_NH_VA, Opcode.CMD_TLBI_NH_VAA, Opcode.CMD_TLBI_EL2_VA,
              Opcode.CMD_TLBI_EL2_VAA, Opcode.CMD_TLBI_S2_IPA)


class CommandDecoder(wiring.Component):
    """Say what a command means: illegal, a CMD_SYNC, an invalidation, or nothing to do.

    Spec
        IHI 0070: 4.1 to 4.7 (legality and fields), 4.4.1 (ranges), chapter 3.17 (which entries).
    Timing
        Combinational.

    Members
    -------
    command : :py:`In(128)`
    e2h : :py:`In(1)`
        CR2.E2H. While it is 0, the ASID of an EL2 command is ignored.
    illegal : :py:`Out(1)`
    sync : :py:`Out(1)`
    invalidates : :py:`Out(1)`
    invalidation : :py:`Out(Invalidation)`
        Meaningful with `invalidates`.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "command": In(128),
            "e2h": In(1),
            "illegal": Out(1),
            "sync": Out(1),
            "invalidates": Out(1),
            "invalidation": Out(Invalidation),
        })

    def _opcodes(self):
        """The opcodes of this build; all others are illegal on its command queue."""
        p = self.params
        return [*PREFETCH, *CFGI_STE, *(CFGI_CD if p.s1p else ()), *(TLBI_NH if p.s1p else ()),
                *(TLBI_EL2 if p.hyp else ()), *(TLBI_S2 if p.s2p else ()),
                Opcode.CMD_TLBI_NSNH_ALL, Opcode.CMD_SYNC]

    def elaborate(self, platform):
        m = Module()
        header, tlbi = CommandHeader(self.command), TLBI(self.command)
        known = self._opcodes()
        opcode = {code: Signal(name=code.name.lower()) for code in known}
        for code in known:
            m.d.comb += opcode[code].eq(header.Op == code)

        def is_one_of(codes):
            return Cat(opcode[code] for code in codes if code in opcode).any()

        by_address = Signal()
        bad_range = Signal()
        bad_sync = opcode[Opcode.CMD_SYNC] & ~Cat(
            CMD_SYNC(self.command).CS == signal for signal in CS).any()
        m.d.comb += [
            by_address.eq(is_one_of(BY_ADDRESS)),
            self.sync.eq(opcode[Opcode.CMD_SYNC]),
            self.illegal.eq(~is_one_of(known) | header.SSec | (by_address & bad_range) | bad_sync),
            self.invalidates.eq(is_one_of(
                code for code in known if code not in (*PREFETCH, Opcode.CMD_SYNC))),
        ]
        # One granule, but its level is not named (16K granules have no level 1 leaf).
        m.d.comb += bad_range.eq(
            (tlbi.TG != 0) & (tlbi.NUM == 0) & (tlbi.SCALE[:SCALE_BITS] == 0)
            & ((tlbi.TTL == 0) | ((tlbi.TG == TG_16K) & (tlbi.TTL == 1))))
        self._cfgi(m, is_one_of)
        self._tlbi(m, is_one_of, by_address)
        return m

    def _cfgi(self, m, is_one_of):
        header, invalidation = CommandHeader(self.command), self.invalidation
        span = CMD_CFGI_STE_RANGE(self.command).Range
        is_range = is_one_of([Opcode.CMD_CFGI_STE_RANGE])
        m.d.comb += [
            invalidation.cfg.eq(is_one_of([*CFGI_STE, *CFGI_CD])),
            invalidation.sid.eq(header.StreamID),
            invalidation.match_ssid.eq(is_one_of([Opcode.CMD_CFGI_CD])),
            invalidation.ssid.eq(CMD_CFGI_CD(self.command).SubstreamID),
            # 2**(Range + 1) aligned StreamIDs; the largest Range leaves no bit to compare.
            invalidation.sid_ignore.eq(
                (~at_most(span, CFGI_ALL_RANGE) << 1 | 1)
                & is_range.replicate(CFGI_ALL_RANGE + 1)),
        ]

    def _tlbi(self, m, is_one_of, by_address):
        tlbi, invalidation = TLBI(self.command), self.invalidation
        el2 = is_one_of(TLBI_EL2)
        both = is_one_of([Opcode.CMD_TLBI_S12_VMALL, Opcode.CMD_TLBI_NSNH_ALL])
        by_asid = is_one_of([Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_EL2_ASID])
        ranged = by_address & (tlbi.TG != 0)
        m.d.comb += [
            invalidation.el2.eq(el2),
            invalidation.va.eq(is_one_of(TLBI_NH) | el2 | both),
            invalidation.ipa.eq(is_one_of([Opcode.CMD_TLBI_S2_IPA]) | both),
            # Without stage 2 there is no VMID to compare.
            invalidation.match_vmid.eq(is_one_of([*TLBI_NH, *TLBI_S2]) & self.params.s2p),
            invalidation.match_asid.eq(
                by_asid | is_one_of([Opcode.CMD_TLBI_NH_VA])
                | is_one_of([Opcode.CMD_TLBI_EL2_VA]) & self.e2h),
            invalidation.keep_global.eq(by_asid),
            invalidation.match_addr.eq(by_address),
            invalidation.leaf.eq(tlbi.Leaf),
            invalidation.vmid.eq(tlbi.VMID),
            invalidation.asid.eq(tlbi.ASID),
            invalidation.addr.eq(tlbi.Address),
            invalidation.tg.eq(Mux(ranged, tlbi.TG, 0)),
            invalidation.num.eq(Mux(ranged, tlbi.NUM, 0)),
            invalidation.scale.eq(Mux(ranged, tlbi.SCALE[:SCALE_BITS], 0)),
        ]
