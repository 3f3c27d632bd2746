"""The forms in which arm64 kernels come."""

import gzip
import lzma
import struct
import zlib

from smmu_sim.live.deb import zstd
from smmu_sim.live.errors import LiveError

__all__ = ["page_size_of", "plain_image"]

_GZIP = b"\x1f\x8b"
_MAGIC = b"ARMd"       # Linux's booting.rst for arm64: the Image header
_MAGIC_AT = 0x38
_FLAGS_AT = 0x18
_PAGE_SIZES = {1: 4096, 2: 16384, 3: 65536}


def plain_image(data, what):
    """Return the plain Image in ``data``: an Image, one in gzip, or an EFI zboot image.

    ``what`` names it in a LiveError: not an arm64 kernel, damaged, or an unknown compression.
    """
    try:
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        if data[:2] == b"MZ" and data[4:8] == b"zimg":
            data = _zboot_payload(data, what)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise LiveError(f"{what} is a damaged kernel image: {error}") from None
    if data[_MAGIC_AT:_MAGIC_AT + 4] != _MAGIC:
        raise LiveError(f"{what} is no arm64 kernel image (no ARM64 Image header)")
    return data


def page_size_of(image):
    """Return the page size in bytes that the header of a plain Image tells, or None."""
    flags, = struct.unpack_from("<Q", image, _FLAGS_AT)
    return _PAGE_SIZES.get(flags >> 1 & 3)


def _zboot_payload(data, what):
    """Decompress what the header of an EFI zboot image (Linux: zboot-header.S) points to."""
    offset, size = struct.unpack_from("<2I", data, 8)
    kind = data[24:56].split(b"\0")[0].decode("latin-1")
    payload = data[offset:offset + size]
    if kind == "gzip":
        return gzip.decompress(payload)
    if kind in ("lzma", "xzkern"):
        return lzma.decompress(payload)
    if kind.startswith("zstd"):
        return zstd(payload, what)
    raise LiveError(f"{what} is compressed with {kind!r}; known are gzip, lzma, xz and zstd")
