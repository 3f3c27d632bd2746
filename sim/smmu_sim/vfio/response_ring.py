"""The region for answers to page requests (V12 and later)."""

from smmu_sim.vfio.fault_ring import RingRegion
from smmu_sim.vfio.layouts import Layout

__all__ = ["PAGE_RESPONSE", "ResponseRegion"]

PAGE_RESPONSE = Layout("iommu_page_response", 24, argsz=(0, "I"), version=(4, "I"),
                       flags=(8, "I"), pasid=(12, "I"), grpid=(16, "I"), code=(20, "I"))


class ResponseRegion(RingRegion):
    """The ring of page responses: user space moves head, the kernel tail.

    Parameters
    ----------
    respond
        ``respond(entry)`` with the 24 bytes of each entry between tail and head, once user space
        moved head.
    """

    def __init__(self, respond):
        super().__init__(PAGE_RESPONSE.size)
        self._respond = respond

    def write(self, position, data):
        """Store head, then answer what lies before it; errors as of :class:`RingRegion`."""
        count = super().write(position, data)
        while self.kernel_index != self.user_index:
            entry = bytes(self._pages[self._entry(self.kernel_index)])
            self._move_kernel_index()
            self._respond(entry)
        return count
