"""Two guests under random DMA, unmaps, invalidations and MSIs: nothing may cross over."""

import random
from collections import Counter

from smmu.formats.commands import Opcode
from smmu_sim.driver import commands
from smmu_sim.vmm.background import Background
from smmu_sim.vmm.twins import Twins

__all__ = ["CrossedOver", "Soak"]

_PAGE = 4096
_VECTORS = 4
_MOST_BUFFERS = 24   # of one guest
_COMMON_BUFFERS = 8  # that both guests begin with
_LARGEST = 8         # pages of a buffer
_ACCESS = 64         # bytes
_PHYSICAL = range(1 << 52)


class CrossedOver(AssertionError):
    """Something of one guest reached another, or did not happen. The message has the step."""


class _Buffer:
    """A mapped buffer, and what it must contain."""

    def __init__(self, device, phys, iova, size):
        self.device, self.phys, self.iova, self.size = device, phys, iova, size
        self.contents = bytearray(size)


class Soak:
    """Random work of two guests, each step checked against what a guest by itself would see.

    Both guests start alike, and their allocators hand out the same addresses, so that IOVAs,
    ASIDs, vSIDs, doorbells and EventIDs collide all the time. Every write of a device is watched
    on its way into physical memory as well. On the RTL, transactions of all devices are in flight
    meanwhile (:class:`Background`).

    Parameters
    ----------
    backend
        The SMMU, reset.
    seed
        The same seed makes the same work.
    options
        For :class:`Twins`.

    Attributes
    ----------
    done
        ``Counter`` of what was done.
    """

    def __init__(self, backend, seed, **options):
        self.random = random.Random(seed)
        self.twins = Twins(backend, devices=2, **options)
        self.done, self.stray = Counter(), []
        self._step = 0
        self._buffers = [[] for _ in self.twins.guests]
        self._gone = [[] for _ in self.twins.guests]    # (device, IOVA) of what was unmapped
        self._interrupts = [Counter() for _ in self.twins.guests]
        self._allowed = self._places()
        self.twins.machine.memory.observe(_PHYSICAL, self._written)
        for number, guest in enumerate(self.twins.guests):
            for device in guest.devices:
                guest.request_irqs(device, _VECTORS, self._handler(number))
        self._start_alike()
        self._background = Background(self.twins, seed)

    def _start_alike(self):
        """Map the same in both guests: the same IOVAs lead to different memory."""
        for _ in range(_COMMON_BUFFERS):
            size, place = self._new_size(), self.random.randrange(2)
            for number, vm in enumerate(self.twins.vms):
                self._map_buffer(number, vm.devices[place], size)

    def _handler(self, number):
        def handle(device, vector):
            self._interrupts[number][device.vsid, vector] += 1

        return handle

    def _places(self):
        """Return ``{StreamID: ranges of physical memory that its writes may reach}``."""
        places = {}
        for vm in self.twins.vms:
            ram = range(vm.memory.target, vm.memory.target + vm.memory.size)
            for device in vm.devices:
                its = self.twins.host.irq_domain(device.function).its
                places[device.function.sid] = (ram, range(its.translater, its.translater + 4))
        return places

    def _written(self, addr, data, device_id):
        if device_id is not None and not any(
                addr in place and addr + len(data) - 1 in place
                for place in self._allowed[device_id]):
            self.stray.append((device_id, addr))

    # --- checks ----------------------------------------------------------------------------------

    def _check(self, condition, text):
        if not condition:
            raise CrossedOver(f"step {self._step}: {text}")

    def _settle(self, faulting=None, interrupted=None):
        """Let all be handled; one guest, at most, sees an event or an interrupt.

        ``faulting`` is (guest, vSID, address), ``interrupted`` (guest, vSID, vector).
        """
        events = self.twins.service()
        for number, seen in enumerate(events):
            expected = []
            if faulting and faulting[0] == number:
                expected = [("F_TRANSLATION", *faulting[1:])]
            found = [(event.name, event.StreamID, event.InputAddr) for event in seen]
            self._check(found == expected, f"guest {number} has events {found}, not {expected}")
            expected = Counter([interrupted[1:]] if interrupted and interrupted[0] == number
                               else [])
            found, self._interrupts[number] = self._interrupts[number], Counter()
            self._check(found == expected, f"guest {number} has interrupts {dict(found)}, not "
                                           f"{dict(expected)}")
        self._check(not self.stray, f"writes went astray: {self.stray}")
        self._check(not self.twins.host.driver.event_log, "the host has events: "
                    f"{list(self.twins.host.driver.event_log)}")

    def verify(self):
        """Compare all memory of all buffers."""
        for guest, buffers in zip(self.twins.guests, self._buffers, strict=True):
            for buffer in buffers:
                found = guest.memory.read(buffer.phys, buffer.size)
                self._check(found == buffer.contents, f"{guest.name}: the buffer at "
                                                      f"{buffer.phys:#x} has changed")

    # --- steps -----------------------------------------------------------------------------------

    def run(self, count, report=lambda step: None):
        """Do ``count`` steps, then compare all memory; return :attr:`done`.

        ``report(step)`` is called after each. Raises :exc:`CrossedOver`.
        """
        steps = (self._map, self._read, self._write, self._write, self._unmap, self._unmapped,
                 self._foreign, self._invalidate, self._interrupt)
        for _ in range(count):
            self._step += 1
            number = self.random.randrange(len(self.twins.guests))
            step = self.random.choice(steps)
            self._background.feed()
            if step(number):
                self.done[step.__name__.strip("_")] += 1
            report(self._step)
        self._background.drain()
        if self._background.checked:
            self.done["in flight"] = self._background.checked
        self.verify()
        return self.done

    def _device(self, number):
        return self.random.choice(self.twins.vms[number].devices)

    def _map(self, number):
        if len(self._buffers[number]) >= _MOST_BUFFERS:
            return False
        self._map_buffer(number, self._device(number), self._new_size())
        return True

    def _new_size(self):
        return self.random.randint(1, _LARGEST) * _PAGE

    def _map_buffer(self, number, device, size):
        guest = self.twins.guests[number]
        phys = guest.alloc(size)
        buffer = _Buffer(device, phys, guest.dma(device).map_page(phys, size), size)
        buffer.contents[:] = self.random.randbytes(size)
        guest.memory.write(phys, bytes(buffer.contents))
        self._buffers[number].append(buffer)

    def _place(self, number):
        """Return (a buffer, an offset in it), or None if there is no buffer."""
        if not self._buffers[number]:
            return None
        buffer = self.random.choice(self._buffers[number])
        return buffer, self.random.randrange(0, buffer.size, _ACCESS)

    def _count_collision(self, number, buffer):
        """Count accesses to an IOVA that the other guest has mapped for the same vSID, too."""
        if any(other.device.vsid == buffer.device.vsid
               and other.iova <= buffer.iova < other.iova + other.size
               for other in self._buffers[1 - number]):
            self.done["same vSID and IOVA"] += 1

    def _read(self, number):
        place = self._place(number)
        if place is None:
            return False
        buffer, offset = place
        self._count_collision(number, buffer)
        result = buffer.device.function.read(buffer.iova + offset, _ACCESS)
        self._check(result.ok and result.data == buffer.contents[offset:offset + _ACCESS],
                    f"guest {number} read {result} at {buffer.iova + offset:#x}")
        self._settle()
        return True

    def _write(self, number):
        place = self._place(number)
        if place is None:
            return False
        buffer, offset = place
        self._count_collision(number, buffer)
        data = self.random.randbytes(_ACCESS)
        result = buffer.device.function.write(buffer.iova + offset, data)
        self._check(result.ok, f"guest {number} wrote {result} at {buffer.iova + offset:#x}")
        buffer.contents[offset:offset + _ACCESS] = data
        found = self.twins.guests[number].memory.read(buffer.phys, buffer.size)
        self._check(found == buffer.contents, f"guest {number}: the write is not where it belongs")
        self._settle()
        return True

    def _unmap(self, number):
        if not self._buffers[number]:
            return False
        guest = self.twins.guests[number]
        buffer = self._buffers[number].pop(self.random.randrange(len(self._buffers[number])))
        # What was used last is what a cache would still have.
        buffer.device.function.read(buffer.iova, _ACCESS)
        guest.dma(buffer.device).unmap_page(buffer.iova, buffer.size)
        guest.buffers.free(buffer.phys, buffer.size)
        self._fault(number, buffer.device, buffer.iova)
        self._gone[number].append((buffer.device, buffer.iova))
        return True

    def _mapped(self, number, device, iova):
        return any(buffer.device is device and buffer.iova <= iova < buffer.iova + buffer.size
                   for buffer in self._buffers[number])

    def _fault(self, number, device, iova):
        """Let a device access what its guest has not mapped for it."""
        if self.random.random() < 0.5:
            result = device.function.write(iova, bytes(_ACCESS))
        else:
            result = device.function.read(iova, _ACCESS)
        self._check(not result.ok, f"guest {number} accessed {iova:#x}, which is not mapped")
        self._settle(faulting=(number, device.vsid, iova))

    def _unmapped(self, number):
        """Access what was mapped once."""
        if not self._gone[number]:
            return False
        device, iova = self.random.choice(self._gone[number])
        if self._mapped(number, device, iova):
            return False
        self._fault(number, device, iova)
        return True

    def _foreign(self, number):
        """Access what the other guest has mapped for the device with the same vSID."""
        other = 1 - number
        place = self._place(other)
        if place is None:
            return False
        buffer, offset = place
        device = next(each for each in self.twins.vms[number].devices
                      if each.vsid == buffer.device.vsid)
        if self._mapped(number, device, buffer.iova + offset):
            return False
        self._fault(number, device, buffer.iova + offset)
        return True

    def _invalidate(self, number):
        """Let a guest invalidate more than it has to; the other one must not notice."""
        guest = self.twins.guests[number]
        asid = guest.devices[self._device(number)].group.domain.hw.asid
        vsid = self._device(number).vsid
        guest.driver.issue(self.random.choice([
            [commands.tlbi(Opcode.CMD_TLBI_NSNH_ALL)],
            [commands.tlbi(Opcode.CMD_TLBI_NH_ALL, VMID=self.random.getrandbits(8))],
            [commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=asid, VMID=self.random.getrandbits(8))],
            [commands.cfgi_cd_all(vsid)], [commands.cfgi_ste(vsid)], [commands.cfgi_all()]]))
        self._settle()
        return True

    def _interrupt(self, number):
        device, vector = self._device(number), self.random.randrange(_VECTORS)
        result = device.function.trigger(vector)
        self._check(result is not None and result.ok, f"guest {number}: the MSI ended {result}")
        self._settle(interrupted=(number, device.vsid, vector))
        return True
