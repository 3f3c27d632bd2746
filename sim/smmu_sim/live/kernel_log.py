"""What Linux's arm-smmu-v3 driver writes into the kernel's log: features, and events."""

import re
from dataclasses import dataclass

from smmu.formats.core import unpack
from smmu.formats.id_registers import IDR0, IDR3
from smmu.formats.registers import id_values
from smmu_sim.driver.events import Event

__all__ = ["LoggedEvent", "events_in", "expected_features", "features_in"]

_LITTLE_AND_BIG, _LITTLE = 0, 2  # IDR0.TTENDIAN
_STALL_ONLY = 2                  # IDR0.STALL_MODEL

# Bit of the driver's word of features, its name there, and what of the ID registers decides it.
# Higher bits have changed from one Linux to the next, or depend on the processor.
_FEATURES = (
    (0, "2_LVL_STRTAB", lambda idr0, idr3: idr0["ST_LEVEL"] == 1),
    (1, "2_LVL_CDTAB", lambda idr0, idr3: idr0["CD2L"]),
    (2, "TT_LE", lambda idr0, idr3: idr0["TTENDIAN"] in (_LITTLE_AND_BIG, _LITTLE)),
    (3, "TT_BE", lambda idr0, idr3: idr0["TTENDIAN"] == _LITTLE_AND_BIG),
    (4, "PRI", lambda idr0, idr3: idr0["PRI"]),
    (5, "ATS", lambda idr0, idr3: idr0["ATS"]),
    (6, "SEV", lambda idr0, idr3: idr0["SEV"]),
    (7, "MSI", lambda idr0, idr3: idr0["MSI"]),
    (8, "COHERENCY", lambda idr0, idr3: idr0["COHACC"]),
    (9, "TRANS_S1", lambda idr0, idr3: idr0["S1P"]),
    (10, "TRANS_S2", lambda idr0, idr3: idr0["S2P"]),
    (11, "STALLS", lambda idr0, idr3: idr0["STALL_MODEL"] != 1),
    (12, "HYP", lambda idr0, idr3: idr0["Hyp"]),
    (13, "STALL_FORCE", lambda idr0, idr3: idr0["STALL_MODEL"] == _STALL_ONLY),
    (15, "RANGE_INV", lambda idr0, idr3: idr3["RIL"]),
)


@dataclass(frozen=True)
class LoggedEvent:
    """An event as the log tells it: the manual's name, StreamID, input address in bytes."""

    name: str
    sid: int
    addr: int


def features_in(line):
    """Return ``(OAS in bits, names of features)`` of the driver's line about them, or None."""
    found = re.search(r"oas (\d+)-bit.*\(features (0x[0-9a-f]+)\)", line)
    if not found:
        return None
    word = int(found[2], 16)
    return int(found[1]), [name for bit, name, _ in _FEATURES if word >> bit & 1]


def expected_features(params):
    """Return what :func:`features_in` must return for a build."""
    values = id_values(params)
    idr0, idr3 = unpack(IDR0, values["IDR0"]), unpack(IDR3, values["IDR3"])
    return params.oas, [name for _, name, has in _FEATURES if has(idr0, idr3)]


def events_in(lines):
    """Return the :class:`LoggedEvent` of each event in lines of the log.

    The driver prints the record's four words; since Linux 6.13 it also decodes them.
    """
    events, words, by_words = [], [], False
    for line in lines:
        if "event 0x" in line and "received" in line:
            words, by_words = [], False
        elif found := re.search(r"event: (\w+) .*\bsid: (0x[0-9a-f]+) .*\biova: (0x[0-9a-f]+)",
                                line):
            if events and by_words:
                events.pop()  # the same one
            events.append(LoggedEvent(found[1], int(found[2], 16), int(found[3], 16)))
            by_words = False
        elif found := re.search(r"arm-smmu-v3 \S+:\s+0x([0-9a-f]{16})$", line.rstrip()):
            words.append(int(found[1], 16))
            if len(words) == 4:
                event = Event(sum(word << 64 * place for place, word in enumerate(words)))
                events.append(LoggedEvent(event.name, event.StreamID, event.InputAddr))
                words, by_words = [], True
    return events
