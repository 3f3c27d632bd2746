"""Packages of a Debian archive, by name, over HTTP."""

import hashlib
import http.client
import lzma
import os
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from smmu_sim.live.debian_version import version_key
from smmu_sim.live.errors import LiveError

__all__ = ["DebianArchive", "Package"]

_INDEX = "main/binary-arm64/Packages.xz"
_ASKED_FOR = ("Package: linux-", "Package: busybox")
_TIMEOUT = 30  # seconds without a byte
_ATTEMPTS = 3
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Package:
    """One binary package of the index."""

    name: str
    version: str
    filename: str    # below the archive's root
    size: int        # bytes
    sha256: str
    depends: str     # the field as it stands, Pre-Depends left out


class DebianArchive:
    """The arm64 packages of section main.

    What is loaded is kept in ``cache`` under its SHA-256 and never loaded twice. A suite's Release
    file names the SHA-256 of the index, the index that of each package; the Release file itself is
    taken as the mirror gives it (its signature is not checked). Without network, the Release files
    of the last time serve, if what they name is in the cache.

    ``on_progress(text, share)`` is called while something is loaded; ``share`` is 0 to 1 or None.
    Errors: :class:`LiveError` if the mirror cannot be reached, or lacks what is asked for, or
    sends something that has not the promised SHA-256.
    """

    def __init__(self, cache, mirror="http://deb.debian.org/debian", on_progress=None):
        self.cache, self.mirror = Path(cache), mirror.rstrip("/")
        self._on_progress = on_progress or (lambda text, share=None: None)
        self._indexes = {}

    def newest(self, suite, pattern):
        """Return the newest :class:`Package` whose whole name matches ``pattern``."""
        found = list(self._packages(suite, pattern))
        if not found:
            raise LiveError(f"no package in Debian {suite} has a name like {pattern}")
        return max(found, key=lambda package: (version_key(package.version),
                                               version_key(package.name)))

    def with_own_dependencies(self, suite, package):
        """Return ``package`` and, transitively, those linux-* that it needs in exactly one version.

        Newer kernels are split in this way into kernel, modules and common files.
        """
        found, todo = {}, [package]
        while todo:
            package = todo.pop()
            found[package.name] = package
            for name in re.findall(r"(linux-[^ ,|]+) \(= [^)]+\)", package.depends):
                if name not in found:
                    todo.append(self.newest(suite, re.escape(name)))
        return list(found.values())

    def fetch(self, package):
        """Return the path of the .deb of ``package``, loaded if it is not in the cache."""
        return self._by_content(package.sha256, package.filename, f"{package.name} "
                                f"({package.size / 1e6:.0f} MB)", suffix=".deb")

    def _packages(self, suite, pattern):
        name = re.compile(rf"Package: (?:{pattern})$", re.MULTILINE)
        for paragraph in self._index(suite):
            if name.match(paragraph):
                yield _package(paragraph)

    def _index(self, suite):
        """Return the paragraphs of the index; all that is asked for starts with these letters."""
        if suite in self._indexes:
            return self._indexes[suite]
        digest = _digest_in(self._release(suite), suite)
        extract = self.cache / "by-sha256" / f"{digest}.extract"  # reading it all takes seconds
        if not extract.exists():
            path = self._by_content(
                digest, f"dists/{suite}/{os.path.dirname(_INDEX)}/by-hash/SHA256/{digest}",
                f"package index of Debian {suite}", suffix=".xz")
            self._on_progress(f"reading the package index of Debian {suite}")
            partial = extract.with_suffix(".partial")
            partial.write_text("\n\n".join(
                paragraph for paragraph in lzma.decompress(path.read_bytes()).decode().split("\n\n")
                if paragraph.startswith(_ASKED_FOR)))
            partial.replace(extract)
        self._indexes[suite] = extract.read_text().split("\n\n")
        return self._indexes[suite]

    def _release(self, suite):
        kept = self.cache / f"Release-{suite}"
        partial = kept.with_suffix(".part")
        try:
            self._load(f"dists/{suite}/Release", partial, f"release file of Debian {suite}")
        except LiveError:
            if not kept.exists():
                raise
            self._on_progress(f"no network: Debian {suite} as of the last time")
        else:
            partial.replace(kept)
        return kept.read_text()

    def _by_content(self, sha256, address, what, suffix):
        path = self.cache / "by-sha256" / f"{sha256}{suffix}"
        if path.exists():
            return path
        partial = path.with_suffix(".part")
        digest = self._load(address, partial, what)
        if digest != sha256:
            partial.unlink()
            raise LiveError(f"{self.mirror}/{address} has SHA-256 {digest}, expected {sha256}")
        partial.replace(path)
        return path

    def _load(self, address, path, what):
        """Load a file and return its SHA-256."""
        path.parent.mkdir(parents=True, exist_ok=True)
        url = f"{self.mirror}/{address}"
        for attempt in range(_ATTEMPTS):
            try:
                return self._load_once(url, path, what)
            except urllib.error.HTTPError as error:
                raise LiveError(f"{url}: {error.code} {error.reason}") from None
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                self._on_progress(f"{what}: {reason}, attempt {attempt + 1} of {_ATTEMPTS}")
        raise LiveError(f"cannot load {url}: {reason}. The network is needed once for each kernel; "
                        "without it, give KERNEL= the path of a .deb or a kernel image")

    def _load_once(self, url, path, what):
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, open(path, "wb") as file:
            size, done, digest = int(answer.headers.get("Content-Length") or 0), 0, hashlib.sha256()
            if size > shutil.disk_usage(path.parent).free:
                raise LiveError(f"{path.parent}: no room for {size / 1e6:.0f} MB ({what})")
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                self._on_progress(f"loading {what}", done / size if size else None)
            if done < size:
                raise http.client.IncompleteRead(b"", size - done)
        return digest.hexdigest()


def _digest_in(release, suite):
    """Return the SHA-256 of the index that a Release file tells."""
    _, _, sums = release.partition("\nSHA256:")
    found = re.search(rf"^ ([0-9a-f]{{64}}) +\d+ {re.escape(_INDEX)}$", sums, re.MULTILINE)
    if not found:
        raise LiveError(f"the release file of Debian {suite} has no SHA-256 of {_INDEX}")
    return found[1]


def _package(paragraph):
    fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
    try:
        return Package(fields["Package"], fields["Version"], fields["Filename"],
                       int(fields["Size"]), fields["SHA256"], fields.get("Depends", ""))
    except (KeyError, ValueError) as error:
        raise LiveError(f"the package index has an entry without {error}") from None
