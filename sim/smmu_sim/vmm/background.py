"""Traffic of all guests that goes on while their software works."""

import random

from smmu_sim.backend import Transaction

__all__ = ["Background"]

_PAGE, _ACCESS = 4096, 64
_PAGES = 4  # of each device


class Background:
    """Keep transactions of every device of every guest in flight, and check each that ends.

    Each device has a few pages which stay mapped, at the same IOVAs in all guests. Whatever is
    invalidated meanwhile, and by whom, a read there returns the guest's own data, and both reads
    and writes leave the SMMU at its own pages. On a backend without ``submit_all`` there is
    nothing in flight, and this does nothing.

    Parameters
    ----------
    twins
        The :class:`Twins`.
    seed
        The same seed makes the same transactions.
    depth
        How many transactions are in flight.

    Attributes
    ----------
    checked
        Number of transactions that ended as they should.
    """

    def __init__(self, twins, seed, depth=12):
        self._backend, self._random = twins.machine.backend, random.Random(seed)
        self._depth = depth if hasattr(self._backend, "submit_all") else 0
        self._flying, self.checked = [], 0
        self._areas = [self._area(vm, guest, device)
                       for vm, guest in zip(twins.vms, twins.guests, strict=True)
                       for device in vm.devices]

    def _area(self, vm, guest, device):
        """Map the pages of a device; return (StreamID, IOVA, physical address, contents)."""
        phys = guest.alloc(_PAGES * _PAGE)
        contents = self._random.randbytes(_PAGES * _PAGE)
        guest.memory.write(phys, contents)
        iova = guest.dma(device).map_page(phys, _PAGES * _PAGE)
        return device.function.sid, iova, vm.memory.to_target(phys), contents

    def feed(self):
        """Check what has ended, and fill up."""
        ended = [each for each in self._flying if each[0].finished is not None]
        self._flying = [each for each in self._flying if each[0].finished is None]
        for transfer, place, expected in ended:
            self._check(transfer, place, expected)
        while len(self._flying) < self._depth:
            sid, iova, phys, contents = self._random.choice(self._areas)
            offset = self._random.randrange(0, _PAGES * _PAGE, _ACCESS)
            expected = contents[offset:offset + _ACCESS]
            write = self._random.random() < 0.5  # of what is there already
            transfer, = self._backend.submit_all([Transaction(
                sid=sid, addr=iova + offset, write=write, data=expected if write else None,
                length=_ACCESS)])
            self._flying.append((transfer, phys + offset, expected))

    def _check(self, transfer, place, expected):
        result = self._backend.result(transfer)
        assert result.ok and result.pa == place, f"{transfer}: {result}, not at {place:#x}"
        assert result.data in (None, expected), f"{transfer}: read another's data"
        self.checked += 1

    def drain(self):
        """Wait for all, and check them."""
        flying, self._flying = self._flying, []
        if flying:
            self._backend.finish([transfer for transfer, _, _ in flying])
        for transfer, place, expected in flying:
            self._check(transfer, place, expected)
