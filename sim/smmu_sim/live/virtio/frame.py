"""The registers of a virtio device over MMIO, version 2, in the guest's RAM (Virtio 1.2, 4.2.2).

The frame is RAM, so a read returns what is there, whatever a selector register says. Three things
make that do. ``DeviceFeatures`` holds the same word for both values of its selector: bits 32 and 33
(VERSION_1, ACCESS_PLATFORM) are what we offer, and bits 0 and 1 must then be ones that the kind of
device can stand (:attr:`Device.features`). ``QueueNumMax`` is the same for all queues. And
``QueueReady`` must read 0 when the driver selects the next queue: for a device with more than one,
:class:`smmu_sim.live.selector_watch.SelectorWatch` stops the guest there.

``QueueNotify``, ``InterruptACK`` and ``QueueNum`` are taken out of the frame when they were seen,
so that the same value written again is seen again.
"""

import struct

from smmu_sim.live.virtio.port import DMAError
from smmu_sim.live.virtio.queue import QueueError, Virtqueue

__all__ = ["VirtioFrame"]

_MAGIC, _VERSION, _DEVICE_ID, _VENDOR_ID = 0x000, 0x004, 0x008, 0x00C
_DEVICE_FEATURES, _DRIVER_FEATURES = 0x010, 0x020
_QUEUE_SEL, _QUEUE_NUM_MAX, _QUEUE_NUM, _QUEUE_READY, _QUEUE_NOTIFY = 0x30, 0x34, 0x38, 0x44, 0x50
_INTERRUPT_STATUS, _INTERRUPT_ACK, _STATUS = 0x060, 0x064, 0x070
_QUEUE_DESC, _QUEUE_DRIVER, _QUEUE_DEVICE = 0x080, 0x090, 0x0A0
_CONFIG = 0x100

_MAGIC_VALUE = int.from_bytes(b"virt", "little")
_OUR_VENDOR = int.from_bytes(b"SMMU", "little")
_FEATURES = 0b11               # 32 VERSION_1, 33 ACCESS_PLATFORM; and bits 0 and 1
_QUEUE_ENTRIES = 64
_NOTHING = 0xFFFF_FFFF         # in QueueNotify: no driver writes that number of a queue
_DRIVER_OK, _NEEDS_RESET = 4, 0x40
_USED_BUFFER, _CONFIG_CHANGE = 1, 2
_CHAINS_AT_ONCE = 8            # then others have their turn


class VirtioFrame:
    """Serve one device's registers and queues.

    Parameters
    ----------
    place
        :class:`smmu_sim.live.layout.DeviceFrame`.
    memory
        The guest's memory, for the registers alone; rings and buffers are the port's business.
    port
        :class:`smmu_sim.live.virtio.port.DevicePort`.
    device
        What kind of device it is: ``queues`` (how many), ``config`` (bytes of its configuration
        space), ``serve(queues, features, limit)`` which returns how many chains it gave back.
    raise_irq
        Called to pulse the device's interrupt.

    Attributes
    ----------
    problem
        Why the device needs a reset, as text, or None.
    """

    def __init__(self, place, memory, port, device, raise_irq):
        self.place, self.port, self.device = place, port, device
        self._ram, self._start = memory.ram, place.base - memory.base
        self._raise_irq = raise_irq
        self._seen = bytearray(_CONFIG)  # what is in the frame, as far as we know
        self._queues = {}
        self._status, self._work, self._raised, self._raise_again = 0, False, 0, 0
        self.interrupts, self.chains, self.problem = 0, 0, None
        for offset, value in ((_MAGIC, _MAGIC_VALUE), (_VERSION, 2), (_DEVICE_ID, place.virtio_id),
                              (_VENDOR_ID, _OUR_VENDOR), (_DEVICE_FEATURES, _FEATURES),
                              (_QUEUE_NUM_MAX, _QUEUE_ENTRIES), (_QUEUE_NOTIFY, _NOTHING)):
            self._put(offset, value)
        start = self._start + _CONFIG
        self._ram[start:start + len(device.config)] = device.config

    @property
    def selector(self):
        """Address of QueueSel."""
        return self.place.base + _QUEUE_SEL

    @property
    def status(self):
        """The device's status as the driver last set it."""
        return self._status

    @property
    def shown_status(self):
        """Status, as the guest sees it now."""
        return _word(self._look(), _STATUS)

    def poll(self):
        """Do what the driver wants, for a while; whether there was anything."""
        look = self._look()
        if look == self._seen and not self._work:
            return False
        look = self._look()  # again: what was written before what we saw is there now
        self._seen[:] = look
        if _word(look, _INTERRUPT_ACK):
            self._acknowledged()
        self._follow_status(_word(look, _STATUS))
        self._take_queue(look)
        if _word(look, _QUEUE_NOTIFY) != _NOTHING:
            self._put(_QUEUE_NOTIFY, _NOTHING)
            self._work = True
        if self._work and self._status & _DRIVER_OK and not self.problem:
            self._serve()
        return True

    def selected(self):
        """QueueSel has just been written, and the guest is stopped: show that queue's state."""
        look = self._look()
        self._follow_status(_word(look, _STATUS))
        if _word(look, _QUEUE_NUM):
            others = [number for number in range(self.device.queues) if number not in self._queues]
            self._take_queue(look, number=others[0] if others else 0)
        self._put(_QUEUE_READY, int(_word(look, _QUEUE_SEL) in self._queues))

    # Inside

    def _look(self):
        return self._ram[self._start:self._start + _CONFIG]

    def _put(self, offset, value):
        word = struct.pack("<I", value)
        self._ram[self._start + offset:self._start + offset + 4] = word
        self._seen[offset:offset + 4] = word  # what else has changed meanwhile, the next look finds

    def _follow_status(self, status):
        if self._status & _DRIVER_OK and not status & _DRIVER_OK or not status:
            self._queues.clear()
            self._work = False
            self._forget()
        self._status = status

    def _forget(self):
        """The device was reset: nothing is wrong, and no interrupt waits to be acknowledged."""
        self._raised, self._raise_again, self.problem = 0, 0, None
        self._put(_INTERRUPT_STATUS, 0)

    def _take_queue(self, look, number=None):
        """Take over a queue that the driver has just made ready."""
        if not (_word(look, _QUEUE_READY) and _word(look, _QUEUE_NUM)):
            return
        number = _word(look, _QUEUE_SEL) if number is None else number
        parts = (_word(look, offset) | _word(look, offset + 4) << 32
                 for offset in (_QUEUE_DESC, _QUEUE_DRIVER, _QUEUE_DEVICE))
        if number in self._queues:  # there was a reset since the last look
            self._forget()
        self._put(_QUEUE_NUM, 0)
        if self.device.queues > 1:
            self._put(_QUEUE_READY, 0)
        try:
            self._queues[number] = Virtqueue(self.port, _word(look, _QUEUE_NUM), *parts)
        except QueueError as error:
            self._fail(error)

    def _serve(self):
        self._work = False
        features = _word(self._look(), _DRIVER_FEATURES)
        try:
            done = self.device.serve(self._queues, features, _CHAINS_AT_ONCE)
        except (DMAError, QueueError) as error:
            self._fail(error)
            return
        self.chains += done
        self._work = done >= _CHAINS_AT_ONCE
        if done:
            self._interrupt(_USED_BUFFER)

    def _fail(self, error):
        """The device can't go on (Virtio 1.2, 2.1.2)."""
        self.problem = str(error)
        self._put(_STATUS, self._status | _NEEDS_RESET)
        self._status |= _NEEDS_RESET
        self._interrupt(_CONFIG_CHANGE)

    def _interrupt(self, cause):
        """Raise an interrupt, or again when the last one is acknowledged.

        A handler acknowledges before it looks at the rings. Were the next interrupt raised
        meanwhile, the acknowledge of the first would take the cause of the second away.
        """
        if self._raised:
            self._raise_again |= cause
            return
        self._raised = cause
        self._put(_INTERRUPT_STATUS, cause)
        self.interrupts += 1
        self._raise_irq()

    def _acknowledged(self):
        self._put(_INTERRUPT_ACK, 0)
        self._put(_INTERRUPT_STATUS, 0)
        self._raised, again, self._raise_again = 0, self._raise_again, 0
        if again:
            self._interrupt(again)


def _word(look, offset):
    return int.from_bytes(look[offset:offset + 4], "little")
