"""The objects of one iommufd: ids, references, life-times (iommufd/main.c)."""

from contextlib import contextmanager

from smmu_sim.linux_error import LinuxError

__all__ = ["IOMMUFDObject", "ObjectTable"]


class IOMMUFDObject:
    """What an id stands for. A subclass takes its references in its constructor's end.

    Attributes
    ----------
    id
        Set by :class:`ObjectTable`; None before.
    users
        References that others hold: while there are any, DESTROY is refused.
    """

    def __init__(self):
        self.id, self.users = None, 0

    def destroy(self):
        """Give back what it holds. Called once, when it has no users."""
        raise NotImplementedError(f"{type(self).__name__}.destroy")


class ObjectTable:
    """Ids from 1 on, the lowest free one first.

    An id is in one of three states: it stands for an object; it is taken by an object that is
    being made, and unknown to users; or it is a tombstone of an object that vanished with another.
    """

    def __init__(self, allocations):
        self._allocations = allocations
        self._objects, self._hidden = {}, {}   # _hidden: an object in the making, or a tombstone

    def __len__(self):
        """Number of ids that are taken."""
        return len(self._objects) + len(self._hidden)

    def __iter__(self):
        return iter(list(self._objects.values()))

    @contextmanager
    def creating(self, make):
        """Let an object live from the end of the ``with`` block on; what is raised destroys it.

        ``make()`` returns the new object. Inside the block it has its id, but cannot be found.
        """
        self._allocations.request("an object")
        number = next(n for n in range(1, len(self) + 2)
                      if n not in self._objects and n not in self._hidden)
        self._hidden[number] = None
        try:
            new = make()
            new.id = number
            try:
                yield new
            except BaseException:
                new.destroy()
                raise
        finally:
            del self._hidden[number]
        self._objects[number] = new

    def get(self, number, kind=IOMMUFDObject):
        """Return an object. ENOENT: no such id, or it stands for something else."""
        found = self._objects.get(number)
        if not isinstance(found, kind):
            what = "nothing" if found is None else f"a {type(found).__name__}"
            raise LinuxError("ENOENT", f"object {number} is {what}, not a {kind.__name__}")
        return found

    def destroy(self, number):
        """What IOMMU_DESTROY does. ENOENT: no such id. EBUSY: it is in use."""
        found = self.get(number)
        if found.users:
            raise LinuxError("EBUSY", f"object {number}, {type(found).__name__}, has {found.users} "
                                      "users")
        self.remove(found)

    def remove(self, found, *, tombstone=False):
        """Destroy an object that has no users. A tombstone keeps its id from being used again."""
        del self._objects[found.id]
        if tombstone:
            self._hidden[found.id] = None
        found.destroy()

    def destroy_all(self):
        """Destroy everything, users before what they use."""
        while self._objects:
            free = [found for found in self if not found.users]
            if not free:
                raise AssertionError(f"objects in a ring: {list(self._objects.values())}")
            for found in free:
                if found.id in self._objects:
                    self.remove(found)
        self._hidden.clear()

