"""VEVENTQ: events of a guest's devices, for the guest's event queue (iommufd/eventq.c)."""

from collections import deque

from smmu_sim.iommufd.constants import VEventFlag, VEventQType
from smmu_sim.iommufd.objects import IOMMUFDObject
from smmu_sim.iommufd.queue_file import QueueFile
from smmu_sim.iommufd.uapi import VEVENT_ARM_SMMUV3, VEVENT_HEADER
from smmu_sim.iommufd.viommu import VIOMMU
from smmu_sim.linux_error import LinuxError

__all__ = ["VEventQ", "alloc"]

_WORD, _WORDS = 64, 4
_SEQUENCES = 1 << 31


class VEventQ(IOMMUFDObject):
    """A queue of one type of events of a VIOMMU.

    When it is full, what follows is counted and told of by a record without data, which stands at
    the end as long as nothing is queued after it.

    Attributes
    ----------
    depth
        Events that it holds.
    """

    def __init__(self, viommu, type, depth):
        super().__init__()
        self.viommu, self.type, self.depth = viommu, type, depth
        self._events = deque()   # (sequence, data)
        self._lost = None        # sequence of the last one lost, while nothing came after it
        self._sequence = 0
        viommu.veventqs[type] = self
        viommu.users += 1

    def destroy(self):
        del self.viommu.veventqs[self.type]
        self.viommu.users -= 1

    def put_event(self, event, vsid):
        """Queue an event of the SMMU with the guest's StreamID in it."""
        words = [event.raw >> n * _WORD & (1 << _WORD) - 1 for n in range(_WORDS)]
        words[0] = words[0] & (1 << 32) - 1 | vsid << 32
        self.put(bytes(VEVENT_ARM_SMMUV3.pack(evt=words)))

    def put(self, data):
        """Queue a record, or count it as lost. Linux 7.0: iommufd_viommu_report_event."""
        sequence, self._sequence = self._sequence, (self._sequence + 1) % _SEQUENCES
        try:
            if len(self._events) == self.depth:
                raise LinuxError("ENOMEM", "the queue is full")
            self.viommu.iommufd.allocations.request("an event")
        except LinuxError:
            self._lost = sequence
            return
        self._lost = None
        self._events.append((sequence, data))

    @property
    def readable(self):
        return bool(self._events) or self._lost is not None

    def read(self, count):
        """Return the records that fit into ``count`` bytes: a header, and the event."""
        found = bytearray()
        while self._events:
            sequence, data = self._events[0]
            if len(found) + VEVENT_HEADER.size + len(data) > count:
                return bytes(found)
            found += VEVENT_HEADER.pack(sequence=sequence) + data
            self._events.popleft()
        if self._lost is not None and len(found) + VEVENT_HEADER.size <= count:
            found += VEVENT_HEADER.pack(flags=VEventFlag.LOST_EVENTS, sequence=self._lost)
            self._lost = None
        return bytes(found)


def alloc(iommufd, command):
    """IOMMU_VEVENTQ_ALLOC.

    EOPNOTSUPP: flags, reserved, or a type that the VIOMMU does not have. EINVAL: depth 0. ENOENT:
    no such VIOMMU. EEXIST: it has a queue of this type.
    """
    args = command.args
    if args.flags or args.reserved or args.type == VEventQType.DEFAULT:
        raise LinuxError("EOPNOTSUPP", f"flags is {args.flags:#x}, reserved is {args.reserved:#x},"
                                       f" type is {args.type}")
    if not args.veventq_depth:
        raise LinuxError("EINVAL", "veventq_depth is 0")
    viommu = iommufd.objects.get(args.viommu_id, VIOMMU)
    if args.type in viommu.veventqs:
        raise LinuxError("EEXIST", f"the VIOMMU has a queue of type {args.type}")
    if args.type != VEventQType.ARM_SMMUV3:
        raise LinuxError("EOPNOTSUPP", f"an SMMUv3 has no events of type {args.type}")
    iommufd.allocations.request("a VEVENTQ")
    with iommufd.objects.creating(
            lambda: VEventQ(viommu, args.type, args.veventq_depth)) as queue:
        iommufd.respond_with_file(command, QueueFile(iommufd, queue), "out_veventq_fd",
                                  out_veventq_id=queue.id)
