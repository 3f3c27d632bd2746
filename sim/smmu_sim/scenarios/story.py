"""What is told of a scenario: entries that JSON can carry, and how they look."""

from smmu.formats.commands import Opcode
from smmu.formats.core import fields, unpack

from smmu_sim.decode import decode_command, decode_event, decode_ste
from smmu_sim.decode.cd import decode_cd
from smmu_sim.decode.command import command_name
from smmu_sim.fields import address_of

__all__ = ["KINDS", "command_text", "differences", "entry", "event_text", "register_text",
           "result_text", "transaction_text"]

# Kind of an entry: how its lines begin, and a colour
KINDS = {
    "step": ("", "bright_white"), "register": ("register ", "cyan"),
    "command": ("command  ", "blue"), "structure": ("memory   ", "magenta"),
    "device": ("device   ", "white"), "interrupt": ("interrupt", "yellow"),
    "event": ("event    ", "yellow"), "note": ("note     ", "white"),
    "check": ("check    ", "green"),
}
_ADDRESSES = {"ADDR", "IPA", "Address", "MSIAddress", "InputAddr", "FetchAddr"}


def entry(kind, text, lines=(), ok=None):
    """Return one entry; ``lines`` are details below ``text``, ``ok`` is for checks."""
    return {"kind": kind, "text": text, "lines": list(lines), "ok": ok}


def _number(value):
    return f"{value:#x}" if value > 9 else f"{value}"


def _row_text(row):
    if row.meaning.startswith("address "):
        return row.meaning.removeprefix("address ")
    if row.meaning and len(row.meaning) <= 24:
        return row.meaning if row.meaning.isupper() else f"{_number(row.value)} ({row.meaning})"
    return _number(row.value)


def _short(row):
    """As :func:`_row_text`, without an explanation."""
    if row.meaning.startswith("address "):
        return row.meaning.removeprefix("address ")
    return row.meaning if row.meaning.isupper() else _number(row.value)


def register_text(register, value, index=0):
    """A register and its fields that are not 0."""
    parts = []
    for name, number in unpack(register.struct, value).items():
        if name in _ADDRESSES and len(fields(register.struct)) and register.width == 64:
            number = address_of(register.struct, name, value)
        if number:
            parts.append(f"{name}={_number(number)}")
    name = register.name + (f"[{index}]" if register.stride else "")
    return f"{name} = {value:#x}" + (f": {' '.join(parts)}" if parts else "")


def command_text(raw, params):
    """A command and its fields that count."""
    name = command_name(raw)
    decoded = decode_command(raw, params)
    parts = [f"{row.name}={_short(row)}" for row in decoded.rows
             if row.name != "Op" and row.value and not row.ignored]
    if raw & 0xFF == Opcode.CMD_SYNC:
        parts = parts[:1]  # how it tells of its end, not where
    text = " ".join([name, *parts])
    return text + "".join(f"  ({effect})" for effect in decoded.effects)


def event_text(raw):
    """An event and its fields that count."""
    decoded = decode_event(raw)
    parts = [_event_field(row) for row in decoded.rows
             if row.name not in ("Event", "SSV") and not row.ignored
             and (row.value or row.name in ("RnW", "S2", "CLASS", "StreamID"))]
    return " ".join([decoded.title.removeprefix("event: "), *parts])


def _event_field(row):
    if row.name == "RnW":
        return row.meaning
    if row.name == "CLASS":
        return f"CLASS={row.meaning.partition(':')[0]}"
    return f"{row.name}={_short(row)}"


def differences(kind, before, after, params):
    """Return a line for each field in which two STEs (kind "STE") or CDs ("CD") differ."""
    decoder = {"STE": decode_ste, "CD": decode_cd}[kind]
    return [f"{old.name}: {_row_text(old)} -> {_row_text(new)}"
            for old, new in zip(decoder(before, params).rows, decoder(after, params).rows)
            if old.value != new.value]


def transaction_text(transaction):
    """What a device asked for."""
    who = f"{transaction.sid:#x}" + (
        "" if transaction.ssid is None else f" SubstreamID {transaction.ssid:#x}")
    if transaction.write:
        data = transaction.data
        what = f"{int.from_bytes(data, 'little'):#x}" if len(data) <= 8 else "bytes"
        return f"{who} writes {what} ({len(data)} bytes) to {transaction.addr:#x}"
    kind = "fetches" if transaction.instr else "reads"
    return f"{who} {kind} {transaction.length} bytes at {transaction.addr:#x}"


def result_text(result):
    """How a transaction ended."""
    if result.pa is None:
        return "read as zero, write ignored" if result.ok else result.resp.name
    return (f"{result.resp.name} at {result.pa:#x}"
            + (" by the doorbell remap" if result.msi else ""))
