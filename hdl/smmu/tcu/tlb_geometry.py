from amaranth import *
from amaranth.lib import data
from amaranth.utils import ceil_log2

from smmu.payloads import World

__all__ = ["TLBGeometry", "entry_kind", "first_one"]


def first_one(mask):
    """The lowest bit that is set in a short mask, one-hot."""
    return Cat(bit & ~mask[:n].any() if n else bit for n, bit in enumerate(mask))


def entry_kind(world, ipa):
    """World and type of an entry in two bits: an IPA-type entry is always NS-EL1."""
    return Mux(ipa, 1, Value.cast(world))


assert {world.value for world in World} == {0, 2, 3}


class TLBGeometry:
    """What the parts of one TLB must agree upon: its sets, its address segments, its layouts.

    The address [47:12] is cut at the size classes' shifts: segment n reaches from ``shifts[n]`` to
    the next shift, the last one to bit 47. A page of class n differs from its neighbours in segment
    n and above only.
    """

    def __init__(self, shifts, payload, *, entries, ways, tag_bits):
        if list(shifts) != sorted(set(shifts)) or not 12 <= shifts[0] <= shifts[-1] < 48:
            raise ValueError(f"shifts must rise from 12 to below 48, not {shifts!r}")
        if ways < 1 or entries % ways or (entries // ways) & (entries // ways - 1) \
                or entries // ways < 2:
            raise ValueError(f"entries must be ways times a power of two, "
                             f"not {entries!r} with {ways!r} ways")
        self.shifts = tuple(shifts)
        self.classes = len(shifts)
        self.payload = payload
        self.tag_bits = tag_bits
        self.ways = ways
        self.sets = entries // ways
        self.index_bits = ceil_log2(self.sets)
        self.size_bits = ceil_log2(self.classes)
        self.lowest = shifts[0] - 12
        self.segments = [slice(low - 12, high - 12)
                         for low, high in zip(self.shifts, (*self.shifts[1:], 48), strict=True)]
        #: What one way of one set holds.
        self.entry = data.StructLayout({
            "valid": 1,
            "kind": 2,               # see `entry_kind`
            "size": self.size_bits,
            "nG": 1,
            "aset": 1,
            "va55": 1,
            "vmid": 16,
            "asid": 16,
            "addr": 36 - self.lowest,
            "payload": payload,
        })
        #: What an entry is compared with, but for its place.
        wanted = {
            "kinds": 4,              # the kinds that match
            "match_vmid": 1,
            "vmid": 16,
            "match_asid": 1,         # of non-global entries
            "asid": 16,
            "match_aset": 1,         # of global entries
            "aset": 1,
            "keep_global": 1,        # global entries don't match
            "va55": 1,
            "addr": 36,              # address [47:12]
        }
        #: A probe that is wanted: of one size class (one-hot), in the set of its address; or with
        #: ``sweep`` of all, in a given set.
        self.request = data.StructLayout({
            **wanted,
            "size_class": self.classes,
            "sweep": 1,
            "index": self.index_bits,
            "ignore": self.classes,
        })
        #: What the entries of a set are compared with.
        self.probe = data.StructLayout({
            **wanted,
            "index": self.index_bits,
            "ignore": self.classes,  # segments that are not compared; with the last, VA[55] neither
            "match_size": 1,         # else entries of any size that contain the address
            "size": self.size_bits,
        })
        #: Who asked for the probe.
        self.operation = data.StructLayout({
            "lookup": 1,
            "fill": 1,
            "invalidate": 1,
            "tag": tag_bits,
            "last": 1,               # of the probes of this lookup
            "none": 1,               # no class to probe: a miss
        })

    def index(self, addr, va55, vmid, size_class):
        """The set of an address [47:12] for a one-hot size class.

        The ASID is left out: a global entry must be found whatever the ASID.
        """
        def window(start):
            result = Const(0, self.index_bits)
            for n, shift in enumerate(self.shifts):
                bits = addr[min(shift - 12 + start, 36):min(shift - 12 + start + self.index_bits,
                                                             36)]
                result = result | Mux(size_class[n], bits, 0)
            return result
        spread = vmid[:self.index_bits] ^ (va55 << (self.index_bits - 1))
        return (window(0) ^ window(self.index_bits) ^ spread)[:self.index_bits]

    def request_of(self, key, size_class):
        """The request for the entry of a key and a one-hot size class."""
        fields = {
            "kinds": (1 << entry_kind(key.world, key.ipa))[:4],
            "match_vmid": C(1, 1), "vmid": key.vmid,
            "match_asid": C(1, 1), "asid": key.asid,
            "match_aset": C(1, 1), "aset": key.aset,
            "keep_global": C(0, 1),
            "va55": key.va55,
            "addr": key.addr,
            "size_class": size_class,
            "sweep": C(0, 1),
            "index": C(0, self.index_bits),
            "ignore": C(0, self.classes),
        }
        return Cat(fields[name] for name, _ in self.request)

    def probe_of(self, request):
        """The probe that a request asks for."""
        fields = {
            "index": Mux(request.sweep, request.index, self.index(
                request.addr, request.va55, request.vmid, request.size_class)),
            "ignore": Mux(request.sweep, request.ignore, self.below(request.size_class)),
            "match_size": ~request.sweep,
            "size": self.size(request.size_class),
        }
        return Cat(fields[name] if name in fields else request[name] for name, _ in self.probe)

    def size(self, size_class):
        """The number of a one-hot size class."""
        return Cat(Cat(size_class[n] for n in range(self.classes) if n >> bit & 1).any()
                   for bit in range(self.size_bits))

    def below(self, size_class):
        """The segments below a one-hot size class: a thermometer."""
        return Cat(size_class[n + 1:].any() for n in range(self.classes))
