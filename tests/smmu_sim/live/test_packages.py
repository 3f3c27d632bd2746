"""Kernel and busybox out of a Debian archive, or out of files."""

import gzip
import lzma
import shutil
import struct
import subprocess

import pytest

from smmu_sim.live.deb import files_of_deb
from smmu_sim.live.debian_archive import DebianArchive
from smmu_sim.live.debian_version import version_key
from smmu_sim.live.errors import LiveError
from smmu_sim.live.kernel_image import page_size_of, plain_image
from smmu_sim.live.packages import get_busybox, get_kernel
from tests.smmu_sim.live.debian_files import (
    ALL_MODULES, VERSION, FakeArchive, ar, deb, image, kernel_files, module, tar_bytes)

NAME = f"linux-image-{VERSION}"
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture
def mirror(tmp_path):
    """A mirror with a kernel and busybox; ``mirror.url`` is where it is served."""
    fake = FakeArchive(tmp_path / "mirror")
    fake.add("bookworm", "linux-image-6.1.0-9-arm64", "6.1.27-1", deb({"boot/vmlinuz-old": b""}))
    fake.add("bookworm", f"{NAME}-unsigned", "6.1.999-1", b"")
    fake.add("bookworm", "linux-image-6.1.0-50-cloud-arm64", "6.1.999-1", b"")
    fake.path = fake.add("bookworm", NAME, "6.1.176-1", deb(kernel_files(ALL_MODULES)))
    fake.add("bookworm", "busybox-static", "1:1.35.0-4", deb({"bin/busybox": b"\x7fELF busybox"}))
    fake.publish()
    with fake.served() as fake.url:
        yield fake


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def names(kernel):
    return [path.stem for path in kernel.modules]


def test_the_newest_kernel_comes_with_its_modules_in_order(mirror, cache):
    kernel = get_kernel("6.1", DebianArchive(cache, mirror.url), cache)
    assert kernel.name == f"{NAME} 6.1.176-1"
    assert (kernel.release, kernel.page_size) == (VERSION, 4096)
    assert kernel.image.read_bytes() == image()
    assert names(kernel) == ["virtio_mmio", "virtio_blk", "virtio_rng",
                             "failover", "net_failover", "virtio_net"]
    assert kernel.modules[-1].read_bytes() == ALL_MODULES["drivers/net/virtio_net.ko"]


def test_busybox_is_what_the_package_has(mirror, cache):
    assert get_busybox(DebianArchive(cache, mirror.url)) == b"\x7fELF busybox"


def test_what_is_in_the_cache_is_not_loaded_again(mirror, cache):
    first = get_kernel("6.1", DebianArchive(cache, mirror.url), cache)
    loaded = len(mirror.asked)
    assert get_kernel("6.1", DebianArchive(cache, mirror.url), cache) == first
    assert mirror.asked[loaded:] == ["/dists/bookworm/Release"]


def test_without_network_the_cache_serves(mirror, cache):
    first = get_kernel("6.1", DebianArchive(cache, mirror.url), cache)
    said = []
    offline = DebianArchive(cache, NOBODY, lambda text, share=None: said.append(text))
    assert get_kernel("6.1", offline, cache) == first
    assert "no network: Debian bookworm as of the last time" in said


def test_without_network_and_cache_the_error_says_so(cache):
    with pytest.raises(LiveError, match="cannot load http://127.0.0.1:9/dists/bookworm/Release.*"
                                        "KERNEL= the path"):
        get_kernel("6.1", DebianArchive(cache, NOBODY), cache)


def test_loading_tells_how_far_it_is(mirror, cache):
    shares = []
    archive = DebianArchive(cache, mirror.url, lambda text, share=None: shares.append(share)
                            if text == f"loading {NAME} (0 MB)" else None)
    archive.fetch(archive.newest("bookworm", NAME))
    assert shares[-1] == 1


def test_a_package_with_another_checksum_is_refused_and_not_kept(mirror, cache):
    good = mirror.path.read_bytes()
    mirror.path.write_bytes(good[:-1] + b"X")
    with pytest.raises(LiveError, match="has SHA-256 .*, expected"):
        get_kernel("6.1", DebianArchive(cache, mirror.url), cache)
    mirror.path.write_bytes(good)
    assert get_kernel("6.1", DebianArchive(cache, mirror.url), cache).release == VERSION


def test_an_index_with_another_checksum_is_refused(mirror, cache):
    mirror.index_path("bookworm").write_bytes(lzma.compress(b"Package: linux-image-6.1.0-1-arm64"))
    with pytest.raises(LiveError, match="has SHA-256 .*, expected"):
        get_kernel("6.1", DebianArchive(cache, mirror.url), cache)


def test_what_the_archive_lacks_is_named(mirror, cache):
    archive = DebianArchive(cache, mirror.url)
    with pytest.raises(LiveError, match="no package in Debian bookworm has a name like linux-none"):
        archive.newest("bookworm", "linux-none")
    with pytest.raises(LiveError, match="dists/trixie/Release: 404"):
        get_kernel("6.12", archive, cache)
    mirror.path.unlink()
    with pytest.raises(LiveError, match="404"):
        get_kernel("6.1", archive, cache)


def test_a_release_file_without_the_index_is_refused(mirror, cache):
    release = mirror.folder / "dists/bookworm/Release"
    release.write_text(release.read_text().replace("SHA256:", "SHA512:"))
    with pytest.raises(LiveError, match="has no SHA-256 of main/binary-arm64/Packages.xz"):
        get_kernel("6.1", DebianArchive(cache, mirror.url), cache)


def test_a_kernel_split_into_packages_is_put_together(tmp_path, cache):
    version = "7.2.13+deb14-arm64"
    files = kernel_files(ALL_MODULES, version=version)
    parts = {"base": {}, "binary": {}, "modules": {}}
    for path, data in files.items():
        part = ("base" if path.endswith("builtin") else
                "binary" if "vmlinuz" in path else "modules")
        parts[part][path] = data
    fake = FakeArchive(tmp_path / "mirror")
    for part, data in parts.items():
        fake.add("sid", f"linux-{part}-{version}", "7.2.13-1", deb(data),
                 depends="" if part == "base" else f"kmod, linux-base-{version} (= 7.2.13-1)")
    fake.add("sid", f"linux-image-{version}", "7.2.13-1", deb({}),
             depends=f"dracut | initramfs-tools (>= 0.120), linux-binary-{version} (= 7.2.13-1), "
                     f"linux-modules-{version} (= 7.2.13-1)")
    fake.publish()
    with fake.served() as url:
        kernel = get_kernel("7", DebianArchive(cache, url), cache)
    assert (kernel.release, len(kernel.modules)) == (version, 6)


@pytest.mark.parametrize("older, newer", [
    ("6.1.99-1", "6.1.176-1"), ("6.1.176-1", "6.1.176-2"), ("7.2~rc3-1", "7.2-1"),
    ("9.0-1", "1:1.0-1"), ("6.12.94-1", "6.12.94-1+b1"), ("6.12", "6.12.1"), ("1.0a", "1.0+"),
    ("6.1-1~bpo12", "6.1-1"),
])
def test_versions_are_ordered_as_debian_does(older, newer):
    assert version_key(older) < version_key(newer)
    assert version_key(newer) == version_key(newer)


def write_deb(tmp_path, files, **options):
    path = tmp_path / "kernel.deb"
    path.write_bytes(deb(files, **options))
    return path


def test_a_deb_can_be_given(tmp_path, cache):
    kernel = get_kernel(str(write_deb(tmp_path, kernel_files(ALL_MODULES, page_size_code=2))),
                        None, cache)
    assert (kernel.name, kernel.release, kernel.page_size) == ("kernel.deb", VERSION, 16384)


def test_a_bare_image_can_be_given(tmp_path, cache):
    (tmp_path / "vmlinuz").write_bytes(gzip.compress(image()))
    kernel = get_kernel(str(tmp_path / "vmlinuz"), None, cache)
    assert kernel.image.read_bytes() == image()
    assert (kernel.release, kernel.modules) == ("", ())


def test_an_unknown_kernel_is_refused_with_the_known_ones(cache):
    with pytest.raises(LiveError, match="KERNEL=5.10: expected 6.1, 6.12, 6.12-16k, 7, 7-16k, or"):
        get_kernel("5.10", None, cache)


def test_a_needed_module_that_is_nowhere_is_named(tmp_path, cache):
    modules = ALL_MODULES | {"drivers/block/virtio_blk.ko": module("lost")}
    with pytest.raises(LiveError, match="lack the module lost, which virtio_blk needs"):
        get_kernel(str(write_deb(tmp_path, kernel_files(modules))), None, cache)


def test_a_needed_module_that_was_not_thought_of_is_found(tmp_path, cache):
    modules = ALL_MODULES | {"drivers/block/virtio_blk.ko": module("other")}
    kernel = get_kernel(str(write_deb(tmp_path, kernel_files(modules))), None, cache)
    assert names(kernel)[1:3] == ["other", "virtio_blk"]


def test_built_in_drivers_are_no_modules(tmp_path, cache):
    builtin = ("virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "virtio-rng", "virtio_net")
    kernel = get_kernel(str(write_deb(tmp_path, kernel_files({}, builtin=builtin))), None, cache)
    assert kernel.modules == ()


def test_compressed_modules_are_unpacked(tmp_path, cache):
    plain = ALL_MODULES["drivers/block/virtio_blk.ko"]
    modules = {f"{path}.xz": lzma.compress(data) for path, data in ALL_MODULES.items()}
    kernel = get_kernel(str(write_deb(tmp_path, kernel_files(modules))), None, cache)
    assert kernel.modules[1].read_bytes() == plain


@pytest.mark.skipif(not shutil.which("zstd"), reason="the program zstd is not installed")
def test_zstd_is_unpacked_by_its_program(tmp_path, cache):
    def zstd(data):
        return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout

    modules = {f"{path}.zst": zstd(data) for path, data in ALL_MODULES.items()}
    data = tar_bytes(kernel_files(modules), mode="w")
    path = tmp_path / "kernel.deb"
    path.write_bytes(ar([("debian-binary", b"2.0\n"), ("data.tar.zst", zstd(data))]))
    kernel = get_kernel(str(path), None, cache)
    assert kernel.modules[1].read_bytes() == ALL_MODULES["drivers/block/virtio_blk.ko"]


def test_zstd_without_its_program_names_the_package(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    path = tmp_path / "kernel.deb"
    path.write_bytes(ar([("debian-binary", b"2.0\n"), ("data.tar.zst", b"")]))
    with pytest.raises(LiveError, match="install the Debian package zstd"):
        get_kernel(str(path), None, cache)


def test_a_package_without_kernel_is_refused(tmp_path, cache):
    files = {path: data for path, data in kernel_files(ALL_MODULES).items() if "boot" not in path}
    with pytest.raises(LiveError, match="kernel.deb has no kernel image"):
        get_kernel(str(write_deb(tmp_path, files)), None, cache)


@pytest.mark.parametrize("data, message", [
    (b"PK\x03\x04 a zip", "no ar archive"),
    (ar([("debian-binary", b"2.0\n")]), "no data.tar in it"),
    (deb({"a": b"b"})[:-10], "cut off"),
    (ar([("data.tar.xz", b"no tar")]), "cannot unpack"),
    (b"!<arch>\n" + b" " * 60, "bad ar header at 8"),
])
def test_a_damaged_package_is_refused(tmp_path, cache, data, message):
    path = tmp_path / "kernel.deb"
    path.write_bytes(data)
    with pytest.raises(LiveError, match=message):
        get_kernel(str(path), None, cache)


def test_files_of_a_package_are_those_asked_for(tmp_path):
    path = write_deb(tmp_path, {"bin/a": b"1", "bin/b": b"22"})
    assert list(files_of_deb(path, lambda name: name == "bin/b")) == [("bin/b", b"22")]


def zboot(payload, kind):
    header = b"MZ\0\0zimg" + struct.pack("<II", 64, len(payload)) + bytes(8) + kind.ljust(32, b"\0")
    return header.ljust(64, b"\0") + payload


@pytest.mark.parametrize("data", [
    image(), gzip.compress(image(), mtime=0), zboot(gzip.compress(image(), mtime=0), b"gzip"),
    zboot(lzma.compress(image(), format=lzma.FORMAT_ALONE), b"lzma"),
    zboot(lzma.compress(image()), b"xzkern"),
])
def test_every_form_of_kernel_becomes_a_plain_image(data):
    assert plain_image(data, "it") == image()


@pytest.mark.parametrize("data, message", [
    (b"MZ nothing", "it is no arm64 kernel image"),
    (gzip.compress(b"text", mtime=0), "it is no arm64 kernel image"),
    (gzip.compress(image(), mtime=0)[:-9], "it is a damaged kernel image"),
    (zboot(b"", b"lz4"), "it is compressed with 'lz4'"),
])
def test_what_is_no_kernel_is_refused(data, message):
    with pytest.raises(LiveError, match=message):
        plain_image(data, "it")


@pytest.mark.parametrize("code, size", [(0, None), (1, 4096), (2, 16384), (3, 65536)])
def test_the_image_tells_its_page_size(code, size):
    assert page_size_of(image(code)) == size
