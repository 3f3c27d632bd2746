"""Raw words explained: STEs, CDs, commands, events, descriptors, registers."""

from smmu_sim.decode.cd import decode_cd
from smmu_sim.decode.command import decode_command
from smmu_sim.decode.event import decode_event
from smmu_sim.decode.pte import decode_pte
from smmu_sim.decode.record import Decoded, Finding, Row
from smmu_sim.decode.register import decode_register
from smmu_sim.decode.ste import decode_ste
from smmu_sim.decode.words import WordsError, read_words

__all__ = ["Decoded", "Finding", "Row", "WordsError", "decode_cd", "decode_command",
           "decode_event", "decode_pte", "decode_register", "decode_ste", "read_words"]
