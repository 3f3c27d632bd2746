"""STEs and CDs as they stand in memory, found like the SMMU finds them."""

from smmu_sim.model.context_descriptor import fetch_cd
from smmu_sim.model.faults import Fault
from smmu_sim.model.stream_table import decode_ste, fetch_ste
from smmu_sim.model.tables import walk

__all__ = ["Structures"]


class _Peek:
    """Memory by the back door: nobody sees the reads, and nothing aborts."""

    def __init__(self, memory):
        self._memory = memory

    def read(self, addr, size):
        return self._memory.peek(addr, size)

    def read64(self, addr):
        return int.from_bytes(self._memory.peek(addr, 8), "little")


class _Registers(dict):
    recinvsid = False


class Structures:
    """Look structures up; ``registers`` is ``{name: value}`` of what was written."""

    def __init__(self, params, memory, registers):
        self._params, self._memory, self._registers = params, _Peek(memory), registers

    def ste(self, sid):
        """Return the STE of a StreamID, or None if there is no table for it."""
        registers = _Registers(STRTAB_BASE=self._registers.get("STRTAB_BASE", 0),
                               STRTAB_BASE_CFG=self._registers.get("STRTAB_BASE_CFG", 0))
        try:
            return fetch_ste(registers, self._memory, self._params, sid)
        except Fault:
            return None

    def cd(self, sid, ssid=0):
        """Return the CD of a stream, or None if the stream has none there."""
        ste = self.ste(sid)
        stream = None if ste is None else decode_ste(
            ste, self._params, stalls=not self._params.stall_model)
        if not stream or not stream.stage1 or ssid >> stream.cdmax:
            return None

        def locate(addr):
            if stream.stage2 is None:
                return addr
            return walk(self._memory, stream.stage2.table, addr, lambda pa: pa,
                        lambda event, pa: Fault(event)).output

        try:
            return fetch_cd(stream, ssid, self._memory, self._params, locate)
        except Fault:
            return None
