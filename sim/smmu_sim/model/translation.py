"""The way of one transaction: STE, CD, stage 1, stage 2 (IHI 0070: 3.3, 3.4, 7.3.22)."""

from typing import NamedTuple

from smmu.formats.core import plain
from smmu.formats.descriptors import S1Leaf, S2Leaf
from smmu_sim.model import attributes as attr
from smmu_sim.model.context_descriptor import BYPASS_STAGE1, decode_cd, fetch_cd, select_cd
from smmu_sim.model.faults import CLASS, EventType, Fault, Policy
from smmu_sim.model.permissions import Access, stage1_allows, stage2_allows
from smmu_sim.model.stream_table import decode_ste, fetch_ste
from smmu_sim.model.tables import walk

__all__ = ["Mapping", "Translator"]

_s1leaf = plain(S1Leaf)
_s2leaf = plain(S2Leaf)

TAG_SHIFT = 56  # address bits from here on are a tag if TBIx
HALF_SHIFT = 55  # selects TTB0 or TTB1
WALK_ACCESS = Access(write=False, instruction=False, privileged=True)
DECODED_MAX = 4096


class Mapping(NamedTuple):
    """Where a transaction goes, and how."""

    pa: int
    attributes: attr.Attributes
    msi: bool = False


class Translator:
    """Translates the transactions of one SMMU while SMMUEN is 1.

    Nothing of memory is kept between transactions; only decoded structures are, by their contents.
    """

    def __init__(self, params, memory, registers, remap, stalls=False):
        self.params = params
        self.stalls = stalls  # IDR0.STALL_MODEL is 0, otherwise 1
        self.memory = memory
        self.registers = registers
        self.remap = remap
        self._streams = {}
        self._contexts = {}

    # Configuration

    def stream(self, streamid):
        """Return the decoded STE of ``streamid``, or raise the fault."""
        raw = fetch_ste(self.registers, self.memory, self.params, streamid)
        if raw not in self._streams:
            if len(self._streams) >= DECODED_MAX:
                self._streams.clear()
            self._streams[raw] = decode_ste(raw, self.params, self.stalls)
        stream = self._streams[raw]
        if stream is None:
            raise Fault(EventType.C_BAD_STE)
        if stream is False:
            raise Fault(None)
        return stream

    def context(self, stream, index):
        """Return decoded CD ``index`` of ``stream``, or raise the fault."""

        def locate(addr):
            return self._through_stage2(stream, addr, CLASS.CD)

        raw = fetch_cd(stream, index, self.memory, self.params, locate)
        may_stall = self.stalls and not stream.stalld
        key = raw, stream.el2, stream.el2 and self.registers.e2h, may_stall
        if key not in self._contexts:
            if len(self._contexts) >= DECODED_MAX:
                self._contexts.clear()
            self._contexts[key] = decode_cd(raw, self.params, *key[1:])
        context = self._contexts[key]
        if context is None:
            raise Fault(EventType.C_BAD_CD)
        return context

    # Stages

    def translate(self, transaction, stream, access):
        """Return the :class:`Mapping` of a transaction, or raise its fault."""
        index = select_cd(stream, transaction)
        device = attr.incoming(transaction.cache, transaction.shareability)
        if index == BYPASS_STAGE1:
            output = transaction.addr
            attributes = attr.override(device, stream.overrides)
            if output >> self.params.oas:
                raise Fault(EventType.F_ADDR_SIZE, {"CLASS": CLASS.IN})
        else:
            context = self.context(stream, index)
            output, table_attributes = self._stage1(stream, context, transaction.addr, access)
            attributes = attr.stage1_result(table_attributes, device, stream.overrides)
        if stream.stage2 is None:
            return Mapping(output, attributes)
        doorbell = self.remap.lookup(transaction.sid, output)
        if doorbell is not None:
            if not doorbell.accepts(transaction):
                raise Fault(EventType.F_UUT)
            return Mapping(doorbell.addr & (1 << self.params.oas) - 1, attr.DOORBELL, msi=True)
        leaf = self._stage2(stream.stage2, output, CLASS.IN, access)
        descriptor = leaf.descriptor
        return Mapping(
            leaf.output,
            attr.combine(
                attributes, _s2leaf.MemAttr(descriptor), _s2leaf.SH(descriptor), stream.stage2.fwb
            ),
        )

    def _stage1(self, stream, context, addr, access):
        """Return (output address, attributes of the leaf)."""

        def fault(event, pa=None):
            if event == EventType.F_WALK_EABT:
                return Fault(event, {"CLASS": CLASS.TT, "FetchAddr": pa >> 3})
            return Fault(event, {"CLASS": CLASS.IN}, Policy.STAGE1, context)

        def locate(descriptor_addr):
            return self._through_stage2(stream, descriptor_addr, CLASS.TT)

        upper = addr >> HALF_SHIFT & 1 and context.high is not None
        half = context.high if upper else context.low
        if half.table is None:
            raise fault(EventType.F_TRANSLATION)
        significant = addr & (1 << TAG_SHIFT) - 1 if half.tbi else addr
        top = TAG_SHIFT if half.tbi else 64
        above = significant >> half.table.input_bits
        if above != ((1 << top - half.table.input_bits) - 1 if upper else 0):
            raise fault(EventType.F_TRANSLATION)
        leaf = walk(self.memory, half.table, addr, locate, fault)
        descriptor = leaf.descriptor
        if not _s1leaf.AF(descriptor) and not context.affd:
            raise fault(EventType.F_ACCESS)
        if not stage1_allows(access, descriptor, leaf.hierarchy, context, half.had):
            raise fault(EventType.F_PERMISSION)
        mair_byte = context.mair >> 8 * _s1leaf.AttrIndx(descriptor) & 0xFF
        return leaf.output, attr.from_mair(mair_byte, _s1leaf.SH(descriptor))

    def _through_stage2(self, stream, addr, use):
        """Return the physical address of a structure that stage 1 reads at ``addr``."""
        if stream.stage2 is None:
            return addr
        return self._stage2(stream.stage2, addr, use, WALK_ACCESS).output

    def _stage2(self, stage2, ipa, use, access):
        """Return the stage 2 leaf of ``ipa``. ``use`` is the CLASS of what stands at it."""
        values = {"S2": 1, "CLASS": use}

        def fault(event, pa=None):
            if event == EventType.F_WALK_EABT:
                return Fault(event, {**values, "FetchAddr": pa >> 3})
            return Fault(event, {**values, "IPA": ipa >> 12}, Policy.STAGE2, stage2)

        if ipa >> stage2.table.input_bits:
            raise fault(EventType.F_TRANSLATION)
        leaf = walk(self.memory, stage2.table, ipa, lambda pa: pa, fault)
        descriptor = leaf.descriptor
        if not _s2leaf.AF(descriptor) and not stage2.affd:
            raise fault(EventType.F_ACCESS)
        denied = not stage2_allows(access, descriptor)
        if (
            use != CLASS.IN
            and stage2.ptw
            and attr.stage2_is_device(_s2leaf.MemAttr(descriptor), stage2.fwb)
        ):
            denied = True
        if denied:
            if use == CLASS.TT:
                values["TTRnW"] = 1
            raise fault(EventType.F_PERMISSION)
        return leaf
