"""VMSAv8-64 translation tables as software builds them: map, unmap, look up."""

from typing import NamedTuple

from smmu.formats.core import pack, plain, update
from smmu.formats.descriptors import Descriptor, Granule, next_table_mask

from smmu_sim.fields import address
from smmu_sim.prot import DEFAULT, PageTableError, Prot
from smmu_sim.table_tree import Leaf, TableTree, start_levels

__all__ = ["CONTIGUOUS", "Leaf", "PageTable", "PageTableError", "Prot", "Unmapped", "start_levels"]

# Entries of a contiguous group by granule and level (DDI 0487: D8.7)
CONTIGUOUS = {
    Granule.G4K: {1: 16, 2: 16, 3: 16},
    Granule.G16K: {2: 32, 3: 128},
    Granule.G64K: {2: 32, 3: 32},
}

_VALID = plain(Descriptor).Valid


class Unmapped(NamedTuple):
    """What :meth:`PageTable.unmap` removed. `tables` may be freed after the CMD_SYNC alone."""

    size: int     # bytes
    leaves: frozenset  # sizes of the leaves removed, bytes
    tables: tuple      # (address, bytes) of tables that became empty


class PageTable(TableTree):
    """A tree of translation tables that can be changed. Parameters as of :class:`TableTree`."""

    def __init__(self, memory, allocator, **geometry):
        super().__init__(memory, allocator, **geometry)
        self._counts = {self.root: 0}  # valid entries of each table

    # --- map -------------------------------------------------------------------------------------

    def map(self, addr, output, size, prot=DEFAULT, *, levels=None):
        """Map ``size`` bytes with the largest leaves that fit; nothing there may be mapped.

        ``levels`` limits the levels of the leaves: ``[3]`` makes pages alone. Raises
        :exc:`PageTableError` before anything is written, if the range does not fit.
        """
        levels = self._map_levels(levels)
        for name, value in (("input address", addr), ("output address", output), ("size", size)):
            smallest = self.leaf_size(levels[-1])
            if value % smallest:
                raise PageTableError(f"{name} {value:#x} is not a multiple of {smallest:#x}")
        if size <= 0 or output < 0 or output + size > 1 << self.oa_bits:
            raise PageTableError(f"output range {output:#x} + {size:#x} is empty or outside of "
                                 f"{self.oa_bits} bits")
        offset = self._offset(addr)
        self._offset(addr + size - 1)
        self._refuse_mapped(offset, size)
        while size:
            level = next((level for level in levels
                          if not (offset | output) % self.leaf_size(level)
                          and size >= self.leaf_size(level)), None)
            if level is None:
                raise PageTableError(f"{size:#x} bytes at {addr:#x} do not fit levels {levels}")
            done = self._map_run(offset, output, size, level, prot)
            offset, output, size = offset + done, output + done, size - done

    def _map_levels(self, asked):
        possible = self.leaf_levels()
        if asked is None:
            return possible
        if not asked or not set(asked) <= set(possible):
            raise PageTableError(f"levels is {list(asked)}; leaves can stand at {possible}")
        return sorted(asked)

    def _map_run(self, offset, output, size, level, prot):
        """Map leaves of one level up to the end of their table; return the bytes done.

        Where a larger leaf could begin, a table ends.
        """
        leaf_size = self.leaf_size(level)
        table = self._table_for(offset, level)
        slot = self._slot(table, level, offset)
        base = self.leaf_descriptor(level, 0, prot)
        end = self.root_size if table == self.root else self.page_size
        group = CONTIGUOUS[self.granule][level] * leaf_size if prot.contiguous else 0
        grouped = update(self._leaf, base, {"Contiguous": 1})
        done, group_end = 0, 0
        while size - done >= leaf_size and slot < table + end:
            at, to = offset + done, output + done
            if group and not (at | to) % group and size - done >= group:
                group_end = done + group
            self.write_descriptor(slot, to | (grouped if done < group_end else base))
            self._counts[table] += 1
            done, slot = done + leaf_size, slot + 8
        return done

    def leaf_descriptor(self, level, output, prot=DEFAULT):
        """Return the leaf descriptor for ``output`` at ``level``."""
        return pack(self._leaf, {
            "Valid": 1, "Type": int(level == 3), "AF": 1,
            "OA": address(self._leaf, "OA", output),
            **(prot.stage1_fields() if self.stage == 1 else prot.stage2_fields(self.fwb)),
            **prot.fields})

    def _table_for(self, offset, level):
        """The table of ``level`` on the path of ``offset``; missing ones are made."""
        table = self.root
        for above in range(self.start_level, level):
            slot = self._slot(table, above, offset)
            raw = self.read_descriptor(slot)
            if not _VALID(raw):
                inner = self.allocator.alloc(self.page_size)
                self._counts[inner] = 0
                self._counts[table] += 1
                raw = pack(self._table, {"Valid": 1, "Type": 1, "NextTable": address(
                    self._table, "NextTable", inner)})
                self.write_descriptor(slot, raw)
            table = raw & next_table_mask(self.granule)
        return table

    def _refuse_mapped(self, offset, size):
        """Raise if any leaf lies in the range."""
        at, end = offset, offset + size
        top = -1 << self.ia_bits if self.upper else 0
        while at < end:
            *_, (level, _, raw) = self.path(at + top)
            if _VALID(raw):
                raise PageTableError(f"{at + top & (1 << 64) - 1:#x} is mapped already")
            at = (at | self.leaf_size(level) - 1) + 1

    # --- unmap -----------------------------------------------------------------------------------

    def unmap(self, addr, size):
        """Unmap whole leaves, and contiguous groups as a whole. What is not mapped is skipped.

        The caller invalidates, waits for the CMD_SYNC, and then calls :meth:`release`.
        """
        if size <= 0 or (addr | size) % self.page_size:
            raise PageTableError(f"{addr:#x} + {size:#x} is empty or not in whole pages of "
                                 f"{self.page_size:#x}")
        at = self._offset(addr)
        self._offset(addr + size - 1)
        end, top = at + size, -1 << self.ia_bits if self.upper else 0
        found = []
        while at < end:
            path = list(self.path(at + top))
            level, _, raw = path[-1]
            covered = self.leaf_size(level)
            if _VALID(raw):
                whole = covered * (CONTIGUOUS[self.granule].get(level, 1)
                                   if plain(self._leaf).Contiguous(raw) else 1)
                first = at & -whole
                if first < end - size or first + whole > end:
                    raise PageTableError(f"{addr:#x} + {size:#x} cuts the leaf or contiguous group "
                                         f"of {whole:#x} bytes at {first + top:#x}")
                found.append(path)
            at = (at | covered - 1) + 1
        removed, leaves, tables = 0, set(), []
        for path in found:
            level, slot, _ = path[-1]
            self.write_descriptor(slot, 0)
            removed += self.leaf_size(level)
            leaves.add(self.leaf_size(level))
            tables += self._forget(path)
        return Unmapped(removed, frozenset(leaves), tuple(tables))

    def _forget(self, path):
        """Count one entry less; unlink the tables that are empty now, and return them."""
        pointers, empty = path[:-1], []
        while True:
            table = pointers[-1][2] & next_table_mask(self.granule) if pointers else self.root
            self._counts[table] -= 1
            if self._counts[table] or not pointers:
                return empty
            del self._counts[table]
            empty.append((table, self.page_size))
            _, slot, _ = pointers.pop()
            self.write_descriptor(slot, 0)

    def release(self, unmapped):
        """Free the tables of an :class:`Unmapped`, once no cache can hold a pointer to them."""
        for table, size in unmapped.tables:
            self.allocator.free(table, size)

    def free(self):
        """Free every table. The tree is not usable afterwards."""
        for table in self._counts:
            self.allocator.free(table, self.root_size if table == self.root else self.page_size)
        self._counts.clear()
