"""Models of BioImage.IO by their id or DOI: downloaded once, every file's hash checked.

The collection's record gives the address and the SHA-256 of a model's description; the
description gives those of its weights. Nothing of a package is run.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from napari_unet.engine.config import BytesDone
from napari_unet.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Generator

log = logging.getLogger(__name__)
RECORD = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/id_map.json"
DESCRIPTION = "https://hypha.aicell.io/bioimage-io/artifacts/{id}/files/rdf.yaml"
NICKNAME = re.compile(r"[a-z]+-[a-z]+(?:-[a-z]+)*(?:/[\w.]+)?")
DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/[\w.()/-]+)")
WEIGHTS = ("pytorch_state_dict", "torchscript", "onnx", "keras_hdf5", "keras_v3")
SHA256 = re.compile(r"[0-9a-f]{64}")
PATIENCE = 15  # seconds without an answer
CHUNK = 2**16  # bytes
POLL = 0.2  # seconds between two looks at how much has arrived
LARGEST_TEXT = 20_000_000  # bytes of a record or description
LARGEST_FILE = 8_000_000_000  # bytes of weights


def bioimageio_id(text: str) -> str:
    """Return the id or DOI that a text is, without "https://doi.org/"; "" if none."""
    text = text.strip()
    doi = DOI.fullmatch(text)
    if doi:
        return doi[1]
    return text if NICKNAME.fullmatch(text) else ""


def cache_folder() -> Path:
    """Return where downloads are kept."""
    import pooch

    named = os.environ.get("NAPARI_UNET_CACHE")
    return Path(named or pooch.os_cache("napari-unet")) / "bioimageio"


def known_ids() -> list[str]:
    """Return the ids of the collection, if its record was downloaded before."""
    record = _record(cache_folder() / "id_map.json")
    return sorted(name for name in record if NICKNAME.fullmatch(name))


def fetch_steps(
    name: str, cache: Path | None = None
) -> Generator[BytesDone, None, Path]:
    """Download a model of BioImage.IO, if it is not there already.

    Parameters
    ----------
    name : an id such as "affable-shark", or a DOI
    cache : folder for downloads; None: that of the user

    Yields
    ------
    BytesDone

    Returns
    -------
    folder : with rdf.yaml and the weights, as ``load_model`` takes it

    Raises
    ------
    CheckpointError
        Without a network, for an unknown id, or where a hash differs.
    """
    cache = cache or cache_folder()
    address, sha256 = yield from _find(name, cache)
    folder = cache / re.sub(r"[^\w.-]", "_", name)
    described = yield from _get(address, sha256, folder, "rdf.yaml", LARGEST_TEXT)
    for part in _weights(name, described, address):
        yield from _get(part.address, part.sha256, folder, part.name, LARGEST_FILE)
    return folder


def _find(name: str, cache: Path) -> Generator[BytesDone, None, tuple[str, str | None]]:
    """Return address and SHA-256 of a model's description, by the collection's record.

    A record from before serves where there is no network: hashes are checked anyway.
    """
    place = cache / "id_map.json"
    try:
        fresh = yield from _get(RECORD, None, cache, "id_map.new.json", LARGEST_TEXT)
        fresh.replace(place)
    except CheckpointError:
        log.info("the record of BioImage.IO could not be downloaded")
        if not place.exists():
            raise
    record = _record(place)
    entry = record.get(name)
    if entry is not None:
        return _https(name, entry["source"]), entry["sha256"]
    near = difflib.get_close_matches(name, record, n=3)
    if near:
        raise CheckpointError(
            f"{name} is not in the collection of BioImage.IO, expected one of its ids: "
            f"did you mean {' or '.join(near)}?"
        )
    return DESCRIPTION.format(id=name), None  # newer than the record


def _record(place: Path) -> dict[str, dict[str, str]]:
    """Return the entries of a record that have all they need."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {
        name: entry
        for name, entry in entries
        if isinstance(entry, dict)
        and isinstance(entry.get("source"), str)
        and SHA256.fullmatch(str(entry.get("sha256")))
    }


@dataclass(frozen=True)
class _Part:
    """A file of a package."""

    name: str
    address: str
    sha256: str


def _weights(name: str, description: Path, base: str) -> list[_Part]:
    """Return the files of weights that a description names."""
    import yaml

    try:
        content = yaml.safe_load(description.read_text(encoding="utf-8"))
        weights = content["weights"]
        found = [
            weights[kind] for kind in WEIGHTS if isinstance(weights.get(kind), dict)
        ]
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"The description of {name} on BioImage.IO names no weights, expected a "
            "model: choose another id."
        ) from error
    outside = [each.get("external_data") for each in found]
    return [
        _part(name, each, base) for each in [*found, *outside] if isinstance(each, dict)
    ]


def _part(name: str, said: dict[str, Any], base: str) -> _Part:
    source, sha256 = str(said.get("source", "")), str(said.get("sha256", ""))
    if not SHA256.fullmatch(sha256):
        raise CheckpointError(
            f"The description of {name} on BioImage.IO gives no SHA-256 of {source}, "
            "expected one: download the package yourself and open the file."
        )
    address = _https(name, urljoin(base, source))
    return _Part(PurePosixPath(urlsplit(address).path).name, address, sha256)


def _https(name: str, address: str) -> str:
    if urlsplit(address).scheme != "https":
        raise CheckpointError(
            f"BioImage.IO gives {address[:80]!r} as a place of {name}, expected an "
            "https address: download the package yourself and open the file."
        )
    return address


# -- one file


class _Cancelled(Exception):
    """The user thought better of it."""


class _Meter:
    """Counts what arrives, as pooch's downloader asks for; stops it when told to."""

    def __init__(self, most: int) -> None:
        self.total = self.done = 0
        self.most = most
        self.cancelled = False

    def update(self, count: int) -> None:
        """Count bytes that arrived."""
        self.done += count
        if self.cancelled:
            raise _Cancelled
        if max(self.done, self.total) > self.most:
            raise ValueError(f"more than {self.most:,} bytes")

    def reset(self) -> None:
        """Start to count anew; pooch does so when all has arrived."""
        self.done = 0

    def close(self) -> None:
        """Nothing is to be closed."""


def _get(
    address: str, sha256: str | None, folder: Path, name: str, most: int
) -> Generator[BytesDone, None, Path]:
    """Download one file, unless it is there with that hash."""
    meter = _Meter(most)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_retrieve, address, sha256, folder, name, meter)
        try:
            while not waiting.done():
                yield BytesDone(meter.done, max(meter.total, meter.done))
                wait([waiting], timeout=POLL)
        finally:
            meter.cancelled = True
        return waiting.result()


def _retrieve(
    address: str, sha256: str | None, folder: Path, name: str, meter: _Meter
) -> Path:
    import pooch
    import requests

    place = folder / name
    if sha256 is None:
        place.unlink(missing_ok=True)  # pooch would keep an old one
    downloader = pooch.HTTPDownloader(meter, chunk_size=CHUNK, timeout=PATIENCE)
    try:
        pooch.retrieve(
            address,
            known_hash=f"sha256:{sha256}" if sha256 else None,
            fname=name,
            path=folder,
            downloader=downloader,
        )
    except requests.RequestException as error:
        host = urlsplit(address).hostname
        raise CheckpointError(
            f"{name} could not be downloaded from {host} ({type(error).__name__}); a "
            "model of BioImage.IO needs the network once: connect, or open a file."
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{name} from BioImage.IO is another file than its record says, or too "
            "large: try again later, and do not use it if that does not help."
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{name} could not be kept in {folder} ({error.strerror or error}), "
            "expected a writable folder with enough free space: make room."
        ) from error
    return place
