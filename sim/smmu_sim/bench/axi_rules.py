"""AXI4 arithmetic and rules that every agent needs: beats, byte lanes, legal bursts."""

from smmu.formats.axi import Burst

__all__ = ["beat_addresses", "beats_for", "broken_rule", "join_lanes", "split_lanes", "widest_size"]

BOUNDARY = 4096  # no burst crosses it


def beat_addresses(addr, length, size, burst):
    """The address of each of ``length`` beats (AxLEN + 1)."""
    if length == 1 or burst == Burst.FIXED:
        return [addr] * length
    step = 1 << size
    aligned = addr & -step
    if burst == Burst.WRAP:
        span = step * length
        base = addr & -span
        return [base + (addr - base + step * beat) % span for beat in range(length)]
    return [addr, *(aligned + step * beat for beat in range(1, length))]


def beats_for(addr, count, size, burst=Burst.INCR):
    """How many beats carry ``count`` bytes from ``addr`` on."""
    step = 1 << size
    if burst != Burst.INCR:
        if count % step or addr % step:
            raise ValueError(f"{Burst(burst).name} of {count} bytes at {addr:#x} is not made of "
                             f"whole beats of {step}")
        return count // step
    return (addr % step + count + step - 1) // step


def widest_size(addr, count, bus_bytes):
    """AxSIZE of the widest beats that ``count`` bytes at ``addr`` fill entirely."""
    size = bus_bytes.bit_length() - 1
    while size and (addr | count) & ((1 << size) - 1):
        size -= 1
    return size


def split_lanes(data, strobes, addresses, size, bus_bytes):
    """Lay ``data`` (and its byte strobes, None for all) out on the lanes: [(WDATA, WSTRB)]."""
    beats, place, step = [], 0, 1 << size
    for address in addresses:
        count = min(step - address % step, len(data) - place)
        lane = address % bus_bytes
        mask = (1 << count) - 1
        strobe = mask if strobes is None else strobes >> place & mask
        beats.append((int.from_bytes(data[place:place + count], "little") << 8 * lane,
                      strobe << lane))
        place += count
    return beats


def join_lanes(beats, addresses, size, bus_bytes):
    """The bytes (and strobes) that ``beats`` carry: the inverse of :func:`split_lanes`.

    Returns (data, strobes, whether a strobe lies outside the lanes of its beat).
    """
    data, strobes, place, stray, step = [], 0, 0, False, 1 << size
    for (word, strobe), address in zip(beats, addresses, strict=True):
        count, lane = step - address % step, address % bus_bytes
        mask = (1 << count) - 1
        data.append((word >> 8 * lane & ((1 << 8 * count) - 1)).to_bytes(count, "little"))
        strobes |= (strobe >> lane & mask) << place
        stray = stray or strobe & ~(mask << lane) != 0
        place += count
    return b"".join(data), strobes, stray


def broken_rule(addr, length, size, burst, bus_bytes):
    """What is illegal about a burst, or None."""
    step = 1 << size
    if step > bus_bytes:
        return f"AxSIZE {size} is wider than the bus"
    if burst == Burst.INCR:
        if addr // BOUNDARY != ((addr & -step) + step * length - 1) // BOUNDARY:
            return f"an INCR burst crosses a 4 KB boundary ({addr:#x}, {length} beats of {step})"
    elif burst == Burst.FIXED:
        if length > 16:
            return f"a FIXED burst of {length} beats"
    elif burst == Burst.WRAP:
        if length not in (2, 4, 8, 16):
            return f"a WRAP burst of {length} beats"
        if addr % step:
            return f"a WRAP burst from the unaligned address {addr:#x}"
    else:
        return f"AxBURST {burst}"
    return None
