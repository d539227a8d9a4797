"""Ways to damage a file, each drawn from a seeded generator."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
"""Numbers at which length fields overflow, go negative or ask for all memory."""

TOKENS = (
    b"..", b"../../etc/passwd", b"/etc/passwd", b"\x00", b"\xff" * 8, b"nan", b"null", b"-1",
    b"1e999", b"[" * 200, b"{" * 200, b"os\nsystem\n", b"cbuiltins\neval\n", b"Lambda", b"PyFunc",
)  # fmt: skip


def flip_bits(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[_at(data, rng)] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 2, 8))):
        data[_at(data, rng)] = rng.choice((0, 0xFF, 0x80, rng.randrange(256)))


def insert(data: bytearray, rng: Random) -> None:
    at = _at(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))


def delete(data: bytearray, rng: Random) -> None:
    at = _at(data, rng)
    del data[at : at + rng.choice((1, 2, 8, 64, 512))]


def truncate(data: bytearray, rng: Random) -> None:
    del data[rng.choice((_at(data, rng), max(len(data) - rng.randrange(1, 40), 1))) :]


def duplicate(data: bytearray, rng: Random) -> None:
    start = _at(data, rng)
    chunk = data[start : start + rng.choice((4, 32, 256, 4096))]
    at = _at(data, rng)
    data[at:at] = chunk * rng.choice((1, 1, 2, 8))


def corrupt_length(data: bytearray, rng: Random) -> None:
    """A number that may be a length, of 1 to 8 bytes or a protobuf varint."""
    value, at = rng.choice(LENGTHS), _at(data, rng)
    code = rng.choice("BHIQv")
    if code == "v":
        new = _varint(value)
    else:
        new = struct.pack(f"<{code}", value % 256 ** struct.calcsize(f"<{code}"))
    data[at : at + len(new)] = new


def plant_token(data: bytearray, rng: Random) -> None:
    token, at = rng.choice(TOKENS), _at(data, rng)
    data[at : at + rng.choice((0, len(token)))] = token


def corrupt_directory(data: bytearray, rng: Random) -> None:
    """A field of a zip's list of members; of any other file, of its last bytes."""
    _at(data, rng)  # which gives an empty file its first byte
    start = max(data.find(b"PK\x01\x02"), 0) if data[:2] == b"PK" else max(len(data) - 64, 0)
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(min(start, len(data) - 1), len(data))
        if rng.random() < 0.5:
            data[at] = rng.randrange(256)
        else:
            new = struct.pack("<I", rng.choice(LENGTHS) % 2**32)
            data[at : at + 4] = new


PLAIN: tuple[Callable[[bytearray, Random], None], ...] = (
    flip_bits, set_bytes, insert, delete, truncate, duplicate, corrupt_length, plant_token,
    corrupt_directory,
)  # fmt: skip


def mutate(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Damaged bytes, and by what.

    Half the mutations of a zip damage one member and pack it again, so that
    checksums hold and the readers inside are reached.
    """
    if zipfile.is_zipfile(io.BytesIO(data)) and rng.random() < 0.5:
        return _inside(data, rng)
    damaged = bytearray(data)
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not damaged:
            break
        kind = rng.choice(PLAIN)
        kind(damaged, rng)
        names.append(kind.__name__)
    return bytes(damaged), "+".join(names)


def mutate_model(source: Path, target: Path, rng: Random) -> str:
    """Write a damaged copy of a model, a file or a folder; say what was done to it."""
    if source.is_file():
        damaged, what = mutate(source.read_bytes(), rng)
        target.write_bytes(damaged)
        return what
    files = sorted(path for path in source.rglob("*") if path.is_file())
    chosen = rng.choice(files)
    for file in files:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        if file == chosen:
            content, what = mutate(content, rng)
        copy.write_bytes(content)
    return f"{chosen.relative_to(source)}: {what}"


def _inside(data: bytes, rng: Random) -> tuple[bytes, str]:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        infos = old.infolist()
        # Structure is in the small members: they are damaged as often as the weights.
        chosen = rng.choice(infos)
        kind = zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED
        what = f"in {chosen.filename}"
        for info in infos:
            content, name = old.read(info), info.filename
            if info is chosen:
                if rng.random() < 0.1:
                    name = rng.choice(("../" + name, "/" + name, name * 2, name[:-1], ""))
                    what += " renamed"
                elif content:
                    damaged = bytearray(content)
                    mutation = rng.choice(PLAIN)
                    mutation(damaged, rng)
                    content, what = bytes(damaged), f"{what}: {mutation.__name__}"
            new.writestr(zipfile.ZipInfo(name), content, kind)
    return out.getvalue(), what


def _at(data: bytearray, rng: Random) -> int:
    """A place in the file; headers, at its two ends, are hit more often."""
    if not data:
        data.append(0)
    where = rng.random()
    if where < 0.3:
        return rng.randrange(min(len(data), 256))
    if where < 0.5:
        return rng.randrange(max(len(data) - 512, 0), len(data))
    return rng.randrange(len(data))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
