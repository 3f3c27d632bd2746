"""Records inside a translation buffer: transactions and translations as a channel keeps them."""

from amaranth.lib import data

from smmu.payloads import PAGE_SHIFTS, Verdict

__all__ = ["SEGMENTS", "User", "transaction", "translated", "result_record", "Termination",
           "resp_of", "RESP_OKAY", "RESP_SLVERR"]

RESP_OKAY = 0
RESP_SLVERR = 2

# Bits of the page number that a larger page ignores: entry k of a thermometer covers SEGMENTS[k].
SEGMENTS = tuple(zip(PAGE_SHIFTS[:-1], PAGE_SHIFTS[1:]))


class User(data.Struct):
    """AxUSER of a device port: the AMBA untranslated-transaction signals."""

    sid: 32
    ssid: 20
    ssv: 1
    atst: 1
    sh: 2


_SHAPE = {"len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3, "qos": 4, "region": 4}


def transaction(params):
    """An address of a device port, with everything that came beside it."""
    return data.StructLayout({"id": params.id_width, "addr": 64, **_SHAPE, "user": User})


def translated(params):
    """An address as it leaves, ``sh`` and ``msi`` for AxUSER, ``mark`` for the barrier."""
    return data.StructLayout({"id": params.id_width, "addr": params.oas, **_SHAPE, "sid": 32,
                              "msi": 1, "sh": 2, "mark": 1})


def result_record(params, *, write):
    """A translation, prepared so that little is left to do with a transaction.

    ``ignore`` is the thermometer of page sizes over `SEGMENTS`. Types and shareability are
    thermometers too, so that combining is AND and OR: ``outer`` is at least (nGnRE, NC, WT, WB),
    ``sh`` at least (inner, outer). The allocation hint is ``cached_on``, or the incoming one if
    ``cached_in``, where the incoming type is cacheable; else ``uncached``.
    """
    return data.StructLayout({
        "page": params.oas - 12, "ignore": len(SEGMENTS),
        "outer": 4, "inner_cacheable": 1, "use_outer": 1, "use_inner": 1,
        "cached_on": 1, "cached_in": 1, "uncached": 1, "sh": 2, "use_sh": 1,
        "priv": 2, **({"msi": 1, "doorbell": 10} if write else {"inst": 2}),
    })


def Termination(params):
    """A transaction that is answered here."""
    return data.StructLayout({"id": params.id_width, "len": 8, "verdict": Verdict,
                              "slot": range(params.slots)})


def resp_of(verdict):
    """AXI response of a verdict."""
    return (verdict == Verdict.ABORT) << 1
