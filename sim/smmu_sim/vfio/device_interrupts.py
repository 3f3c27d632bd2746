"""The interrupts of a passed-through function: what is there, and VFIO_DEVICE_SET_IRQS."""

import struct

from smmu_sim.linux_error import LinuxError
from smmu_sim.vfio.layouts import Layout, capability_chain, copy_from_user, copy_to_user
from smmu_sim.vfio.numbers import IRQFlag, IRQIndex, SetIRQs

__all__ = ["CAP_TYPE", "DeviceInterrupts", "IRQ_INFO", "IRQ_SET", "TYPE_NESTED"]

IRQ_INFO = Layout("vfio_irq_info", 20, argsz=(0, "I"), flags=(4, "I"), index=(8, "I"),
                  count=(12, "I"), cap_offset=(16, "I"))
IRQ_SET = Layout("vfio_irq_set", 20, argsz=(0, "I"), flags=(4, "I"), index=(8, "I"),
                 start=(12, "I"), count=(16, "I"))
CAP_TYPE = 3                    # VFIO_IRQ_INFO_CAP_TYPE
TYPE_NESTED = (1, 1)            # VFIO_IRQ_TYPE_NESTED, VFIO_IRQ_SUBTYPE_DMA_FAULT
_TYPE = Layout("vfio_irq_info_cap_type", 8, type=(0, "I"), subtype=(4, "I"))
# Integers: the complement of an IntFlag would leave unknown bits out.
_DATA = int(SetIRQs.DATA_NONE | SetIRQs.DATA_BOOL | SetIRQs.DATA_EVENTFD)
_ACTION = int(SetIRQs.ACTION_MASK | SetIRQs.ACTION_UNMASK | SetIRQs.ACTION_TRIGGER)
_ITEMS = {SetIRQs.DATA_NONE: None, SetIRQs.DATA_BOOL: "B", SetIRQs.DATA_EVENTFD: "i"}


class DeviceInterrupts:
    """All interrupts by index: PCI's, then others in the order in which they are added.

    Parameters
    ----------
    msix
        :class:`MSIXInterrupts`.
    request
        :class:`SingleInterrupt` with which the host asks for the device back.
    """

    def __init__(self, msix, request):
        self._irqs = {IRQIndex.MSIX: (msix, IRQFlag.EVENTFD | IRQFlag.NORESIZE, None),
                      IRQIndex.REQ: (request, IRQFlag.EVENTFD, None)}
        self.count = int(IRQIndex.COUNT)

    def add(self, interrupt, type=None):
        """Append an interrupt, with (type, subtype) for its capability; return its index."""
        self._irqs[self.count] = interrupt, IRQFlag.EVENTFD, type
        self.count += 1
        return self.count - 1

    def get_info(self, argument):
        """VFIO_DEVICE_GET_IRQ_INFO.

        EINVAL: argsz below 16, no such index, or an interrupt for errors, which this function
        does not have. INTx and MSI have a count of 0.
        """
        minsz = IRQ_INFO.end("count")
        fields = IRQ_INFO.unpack(copy_from_user(argument, 0, minsz))
        index, argsz = fields["index"], fields["argsz"]
        if argsz < minsz or index >= self.count or index == IRQIndex.ERR:
            raise LinuxError("EINVAL", f"argsz {argsz}, index {index} of {self.count}")
        interrupt, flags, type_ = self._irqs.get(index, (None, IRQFlag.EVENTFD, None))
        if index == IRQIndex.INTX:
            flags |= IRQFlag.MASKABLE | IRQFlag.AUTOMASKED
        elif index == IRQIndex.MSI:
            flags |= IRQFlag.NORESIZE
        chain, cap_offset = b"", 0
        if type_ is not None:
            flags |= IRQFlag.CAPS
            chain = capability_chain(IRQ_INFO.size, [
                (CAP_TYPE, 1, _TYPE.pack(type=type_[0], subtype=type_[1]))])
            if argsz < IRQ_INFO.size + len(chain):
                argsz, chain = IRQ_INFO.size + len(chain), b""
            else:
                cap_offset = IRQ_INFO.size
        reply = IRQ_INFO.pack(argsz=argsz, flags=flags, index=index, cap_offset=cap_offset,
                              count=interrupt.count if interrupt else 0)
        copy_to_user(argument, reply + chain if chain else reply[: min(fields["argsz"],
                                                                       IRQ_INFO.size)])
        return 0

    def set(self, argument):
        """VFIO_DEVICE_SET_IRQS. Linux 5.12: vfio_set_irqs_validate_and_prepare.

        In this order. EFAULT: the argument is short. EINVAL: argsz below 20, no such index,
        unknown flags; interrupts beyond those of the index; not one kind of data; argsz too short
        for the data. ENOTTY: not one action, or one that the interrupt does not have. Else as of
        the interrupt.
        """
        fields = IRQ_SET.unpack(copy_from_user(argument, 0, IRQ_SET.size))
        argsz, flags, index = fields["argsz"], fields["flags"], fields["index"]
        start, count = fields["start"], fields["count"]
        if argsz < IRQ_SET.size or index >= self.count or flags & ~(_DATA | _ACTION):
            raise LinuxError("EINVAL", f"argsz {argsz}, index {index}, flags {flags:#x}")
        kind = flags & _DATA
        interrupt = self._irqs.get(index, (None,))[0]
        have = interrupt.count if interrupt else 0
        if start >= have or start + count > have:
            raise LinuxError("EINVAL", f"interrupts {start} + {count}; index {index} has {have}")
        if kind not in _ITEMS:
            raise LinuxError("EINVAL", f"flags {flags:#x} have not one kind of data")
        data, code = [], _ITEMS[kind]
        if code:
            form = struct.Struct(f"<{count}{code}")
            if argsz - IRQ_SET.size < form.size:
                raise LinuxError("EINVAL", f"argsz {argsz} has no room for {count} items")
            data = form.unpack(copy_from_user(argument, IRQ_SET.size, form.size))
        if (flags & _ACTION).bit_count() != 1:
            raise LinuxError("ENOTTY", f"flags {flags:#x} have not one action")
        interrupt.set(flags, start, count, data)
        return 0
