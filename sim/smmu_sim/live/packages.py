"""Kernel and busybox for the guest: by short name from Debian, or from a file."""

import hashlib
import json
import lzma
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from smmu_sim.live.deb import files_of_deb, zstd
from smmu_sim.live.errors import LiveError
from smmu_sim.live.kernel_image import page_size_of, plain_image

__all__ = ["KERNELS", "MODULES", "Kernel", "get_busybox", "get_kernel"]

# Short name: suite, pattern of the package's name.
KERNELS = {
    "6.1": ("bookworm", r"linux-image-6\.1\.[^-]*-\d+-arm64"),
    "6.12": ("trixie", r"linux-image-6\.12\.[^-]*-arm64"),
    "6.12-16k": ("trixie", r"linux-image-6\.12\.[^-]*-arm64-16k"),
    "7": ("sid", r"linux-image-7\.[^-]*-arm64"),
    "7-16k": ("sid", r"linux-image-7\.[^-]*-arm64-16k"),
}
_BUSYBOX = ("bookworm", "busybox-static")

# What the guest's devices need, and what that is known to need: one pass over a package then does.
MODULES = ("virtio_mmio", "virtio_blk", "virtio_rng", "virtio_net")
_LIKELY = ("virtio", "virtio_ring", "failover", "net_failover")


@dataclass(frozen=True)
class Kernel:
    """A kernel, unpacked."""

    name: str            # what it was taken from: a package with its version, or a file
    release: str         # as uname tells, "" if it came as a bare image
    image: Path          # plain Image
    page_size: int       # bytes, None if the image does not tell
    modules: tuple       # paths of .ko files, what one needs before it


def get_kernel(spec, archive, folder, on_progress=None):
    """Return the :class:`Kernel` that ``spec`` names, unpacked in ``folder``.

    ``spec`` is a key of KERNELS, or the path of a .deb, an Image or a vmlinuz; a bare image must
    have the virtio drivers built in. ``archive`` is a :class:`DebianArchive`. LiveError if there
    is no such kernel, or something is missing in it.
    """
    say = on_progress or (lambda text, share=None: None)
    if spec in KERNELS:
        suite, pattern = KERNELS[spec]
        package = archive.newest(suite, pattern)
        packages = archive.with_own_dependencies(suite, package)
        return _unpack([archive.fetch(each) for each in packages],
                       f"{package.name} {package.version}",
                       folder, "-".join(sorted(each.sha256 for each in packages)), say)
    path = Path(spec)
    if not path.is_file():
        raise LiveError(f"KERNEL={spec}: expected {', '.join(KERNELS)}, "
                        "or the path of a .deb or a kernel image")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if path.suffix == ".deb":
        return _unpack([path], path.name, folder, digest, say)
    image = plain_image(path.read_bytes(), path.name)
    return Kernel(path.name, "", _keep(folder, digest, image), page_size_of(image), ())


def get_busybox(archive):
    """Return the static busybox for arm64, as bytes."""
    package = archive.newest(*_BUSYBOX)
    for _, data in files_of_deb(archive.fetch(package), re.compile(r"(usr/)?bin/busybox$").match):
        return data
    raise LiveError(f"{package.name} {package.version} has no busybox in it")


def _keep(folder, content, image):
    target = _folder_of(folder, content)
    target.mkdir(parents=True, exist_ok=True)
    (target / "Image").write_bytes(image)
    return target / "Image"


def _folder_of(folder, content):
    return Path(folder) / f"kernel-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _unpack(debs, name, folder, content, say):
    target = _folder_of(folder, " ".join([content, *MODULES]))
    if not (target / "kernel.json").exists():
        say(f"unpacking {name}")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        _unpack_into(debs, name, target)
    known = json.loads((target / "kernel.json").read_text())
    return Kernel(name, known["release"], target / "Image", known["page_size"],
                  tuple(target / module for module in known["modules"]))


def _unpack_into(debs, name, target):
    files = _Files(debs)
    files.read_modules({*MODULES, *_LIKELY})
    if files.image is None:
        raise LiveError(f"{name} has no kernel image (boot/vmlinuz-*) in it")
    image = plain_image(files.image, name)
    order = files.in_order(MODULES)
    (target / "Image").write_bytes(image)
    for module in order:
        (target / f"{module}.ko").write_bytes(files.modules[module])
    # Written last: a folder with this file is complete.
    (target / "kernel.json").write_text(json.dumps({
        "release": files.release, "page_size": page_size_of(image),
        "modules": [f"{module}.ko" for module in order]}) + "\n")


class _Files:
    """What is in the packages of one kernel. A module's name has underscores, as in the kernel."""

    def __init__(self, debs):
        self.debs = debs
        self.image, self.release, self.builtin, self.modules = None, "", set(), {}

    def read_modules(self, names):
        """Read these modules, as far as they are there, and what is no module."""
        def wanted(path):
            return (re.search(r"(^|/)vmlinuz[^/]*$|/modules\.builtin$", path)
                    or "/kernel/" in path and _module_name(path) in names)

        for deb in self.debs:
            for path, data in files_of_deb(deb, wanted):
                if found := re.search(r"lib/modules/([^/]+)/", path):
                    self.release = found[1]
                if path.endswith("/modules.builtin"):
                    self.builtin = {_module_name(line) for line in data.decode().split()}
                elif "/kernel/" in path:
                    self.modules[_module_name(path)] = _decompressed(path, data)
                else:
                    self.image = data

    def in_order(self, wanted):
        """Return names of modules, each after what it needs; built-in ones are left out.

        Packages have no modules.dep (it is made when they are installed): what a module needs
        stands in the module.
        """
        order = []

        def add(name, user):
            if name in self.builtin or name in order:
                return
            if name not in self.modules:
                self.read_modules({name})
            if name not in self.modules:
                raise LiveError(f"the kernel's packages lack the module {name}, "
                                f"which {user} needs")
            for needed in _needs(self.modules[name]):
                add(needed, name)
            order.append(name)

        for name in wanted:
            add(name, "the guest")
        return order


def _module_name(path):
    return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")


def _needs(module):
    """Return the names that a module's .modinfo lists as its dependencies."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    names = found[1].decode().split(",") if found else []
    return [name.replace("-", "_") for name in names if name]


def _decompressed(path, data):
    if path.endswith(".xz"):
        return lzma.decompress(data)
    return zstd(data, path) if path.endswith(".zst") else data
