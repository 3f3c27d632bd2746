"""Memory that remembers what was hung onto it, so that a scenario leaves nothing behind."""

__all__ = ["TrackedMemory"]


class TrackedMemory:
    """A :class:`smmu_sim.memory.Memory` in which :meth:`restore` undoes observers and aborts."""

    def __init__(self, memory):
        self._memory = memory
        self._windows, self._handles = memory.windows, []

    def __getattr__(self, name):
        return getattr(self._memory, name)

    @property
    def windows(self):
        return self._memory.windows

    @windows.setter
    def windows(self, windows):
        self._memory.windows = windows

    def observe(self, *args, **options):
        self._handles.append(self._memory.observe(*args, **options))
        return self._handles[-1]

    def abort_at(self, *args, **options):
        self._handles.append(self._memory.abort_at(*args, **options))
        return self._handles[-1]

    def remove(self, handle):
        self._memory.remove(handle)
        self._handles = [each for each in self._handles if each is not handle]

    def remove_aborts(self):
        for handle in list(self._handles):
            if handle.call is None:
                self.remove(handle)

    def restore(self):
        """Make the memory what it was: zero, with its windows, and nobody looking."""
        for handle in list(self._handles):
            self.remove(handle)
        self._memory.windows = self._windows
        self._memory.clear()
