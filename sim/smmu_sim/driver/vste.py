"""STEs of guests: what they may say, and the physical STEs made of them."""

from smmu.formats.core import fields, pack, plain, unpack
from smmu.formats.stream_table import EATS, STE, STEConfig

from smmu_sim.driver import entries
from smmu_sim.linux_error import LinuxError

__all__ = ["ALLOWED", "is_valid", "physical", "translates", "validate"]

_WORD = 64
_STAGE1 = ("S1Fmt", "S1ContextPtr", "S1CDMax", "S1DSS", "S1CIR", "S1COR", "S1CSH", "S1STALLD")
_STE = plain(STE)


def _allowed():
    """Return the bits of the two words that a guest may set.

    An S1ContextPtr is an IPA, of which Linux takes address bits 51:6.
    """
    mask = sum(fields(STE)[name].mask for name in ("V", "Config", *_STAGE1, "EATS"))
    mask &= ~(0xF << 52)
    return mask & (1 << _WORD) - 1, mask >> _WORD


ALLOWED = _allowed()


def validate(word0, word1):
    """Return ``((word0, word1), ATS wanted)`` as the host keeps an STE of a guest.

    An invalid one becomes 0, 0. Raises :exc:`LinuxError` EIO for a bit outside of ``ALLOWED``, a
    Config other than abort, bypass and stage 1, and EATS other than off and full. Linux 7.0:
    ``arm_smmu_validate_vste``.
    """
    if not is_valid((word0, word1)):
        return (0, 0), False
    for number, (word, allowed) in enumerate(zip((word0, word1), ALLOWED, strict=True)):
        if word & ~allowed:
            raise LinuxError("EIO", f"word {number} of the STE has the bits "
                                    f"{word & ~allowed:#x}, which a guest must not set")
    raw = word0 | word1 << _WORD
    config, eats = _STE.Config(raw), _STE.EATS(raw)
    if config not in (STEConfig.ABORT, STEConfig.BYPASS, STEConfig.S1_TRANS):
        raise LinuxError("EIO", f"Config is {config}; a guest may set 0, 4 or 5")
    if eats not in (EATS.OFF, EATS.FULL):
        raise LinuxError("EIO", f"EATS is {eats}; a guest may set 0 or 1")
    kept = word1 & ~(fields(STE)["EATS"].mask >> _WORD)
    return (word0, kept), bool(eats) and config == STEConfig.S1_TRANS


def is_valid(words):
    """V of the guest's STE."""
    return bool(_STE.V(words[0]))


def translates(words):
    """The guest's stage 1 is on."""
    return is_valid(words) and _STE.Config(words[0]) == STEConfig.S1_TRANS


def physical(words, parent, master, ats):
    """Return the STE that makes the SMMU do what the guest's STE says, inside of ``parent``.

    An invalid one becomes an abort: the guest's C_BAD_STE is up to whoever plays its SMMU.
    """
    config = _STE.Config(words[0]) if is_valid(words) else STEConfig.ABORT
    if config == STEConfig.ABORT:
        return entries.ABORT
    if config == STEConfig.BYPASS:
        return parent.ste(master, ats)
    guest = unpack(STE, words[0] | words[1] << _WORD)
    stage1 = pack(STE, {name: guest[name] for name in _STAGE1})
    host = entries.stage2_ste(parent.table, vmid=parent.vmid, MEV=1,
                              **parent.ste_options(master, ats))
    return host | stage1 | pack(STE, {"Config": STEConfig.NESTED})
