"""The format of a prepared set: one LMDB with a header, and records whose keys sort by image.

    .header            JSON, the fields of `Header`
    .report            JSON: source, what was left out and converted, versions; not part of the hash
    .skipped/<number>  JSON: name and reason of a picture that was left out; not part of the hash
    .state             only while the preparation is unfinished
    00000000/00256     image 0 at 256 px (`sarigan.data.lmdb.encodings`)
    00000000/info      JSON: name in the source, label, attributes, head of each image's SHA-256

Hash: c_0 = 32 zero bytes; c_{i+1} = SHA-256(c_i, key_i, SHA-256(record_i)) over the records in key order;
content_hash = SHA-256(canonical header without content_hash, c_n). It can go on from c_i alone after an interruption.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from sarigan.data.lmdb.recipe import Recipe
from sarigan.errors import InputError

FORMAT = "sarigan image set"
FORMAT_VERSION = 1
HEADER_KEY, REPORT_KEY, STATE_KEY, SKIPPED_PREFIX = b".header", b".report", b".state", b".skipped/"
MAX_IMAGES = 10**8  # keys have eight digits: a ninth would sort before them
EMPTY_CHAIN = bytes(32)
DIGEST_HEAD = 16  # hexadecimal digits of an image's SHA-256 in its info


@dataclass(frozen=True)
class Header:
    """What a prepared set says of itself."""

    num_images: int
    recipe: Recipe
    label_names: list[str] | None = None  # label number -> name; None: no labels
    attributes: dict[str, str] = field(default_factory=dict)  # column -> int | float | bool | str | list
    content_hash: str = ""  # SHA-256, hexadecimal

    def to_dict(self) -> dict[str, Any]:
        """Flat and self-describing, for JSON."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "num_images": self.num_images,
            "channels": 3,
            **dataclasses.asdict(self.recipe),
            "label_names": self.label_names,
            "attributes": self.attributes,
            "content_hash": self.content_hash,
        }

    def with_hash(self, chain: bytes) -> "Header":
        """The same header, sealed over the records whose chain this is."""
        fields = {key: value for key, value in self.to_dict().items() if key != "content_hash"}
        return dataclasses.replace(self, content_hash=hashlib.sha256(to_json(fields) + chain).hexdigest())


def header_from_json(data: bytes, where: str) -> Header:
    """Read `.header`; InputError naming `where` when it is damaged or of another format or version."""
    try:
        values = json.loads(data)
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}")
        version = values["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: not a prepared image set, or a damaged header ({error})") from None
    if version != FORMAT_VERSION:
        remedy = "update sarigan" if isinstance(version, int) and version > FORMAT_VERSION else "prepare it again"
        raise InputError(f"{where}: format version {version}, this version of sarigan reads {FORMAT_VERSION}; {remedy}")
    try:
        names = [f.name for f in dataclasses.fields(Recipe)]
        fields: dict[str, Any] = {name: values[name] for name in names}
        recipe = Recipe(**fields | {"resolutions": tuple(fields["resolutions"])})
        return Header(values["num_images"], recipe, values["label_names"], values["attributes"], values["content_hash"])
    except (KeyError, TypeError, InputError) as error:
        raise InputError(f"{where}: damaged header ({error})") from None


def image_key(index: int, resolution: int) -> bytes:
    """Key of an image's pixels."""
    return b"%08d/%05d" % (index, resolution)


def info_key(index: int) -> bytes:
    """Key of an image's name, label and attributes; sorts after its pixels."""
    return b"%08d/info" % index


def extend_chain(chain: bytes, key: bytes, record_digest: bytes) -> bytes:
    """c_{i+1} from c_i and the SHA-256 of record i."""
    return hashlib.sha256(chain + key + record_digest).digest()


def to_json(values: Any) -> bytes:
    """Canonical: sorted keys, no spaces, ASCII."""
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")
