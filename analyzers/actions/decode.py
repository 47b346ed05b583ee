"""Works out what a pipeline prints, where its words alone tell: ``echo cm0= | base64 -d``."""

import base64
import binascii
import codecs
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from llmtrace.analyzers.actions.script import HOLE, Pipeline, Simple

MAX_OUTPUT: Final = 256 * 1024
FILTERS: Final = ("-name", "-iname", "-path", "-ipath", "-regex", "-newer", "-mtime", "-size")
ROT13: Final = ("A-Za-z", "N-ZA-Mn-za-m")
ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|0?([0-7]{1,3})|(n|t|\\))")


def program(simple: Simple) -> str:
    """Return the name of a command's program, without its folder."""
    return simple.words[0].text.rpartition("/")[2] if simple.words else ""


def decodes(simple: Simple) -> bool:
    """Whether a command turns encoded text into another text."""
    name, words = program(simple), [word.text for word in simple.words[1:]]
    return name in DECODERS and _decoder(name, words) is not None


def output(pipeline: Pipeline) -> str | None:
    """Return what a pipeline prints, None where that can't be told from its words."""
    told: bytes | None = None
    for index, stage in enumerate(pipeline.stages):
        if index and told is None:
            return None
        told = through(stage, told)
    return None if told is None else text_of(told)


def through(stage: Sequence[Simple], fed: bytes | None) -> bytes | None:
    """Return what a stage prints when it is fed so, None where that can't be told."""
    if len(stage) != 1 or not all(word.known for word in stage[0].words):
        return None
    return _printed(stage[0], fed)


def text_of(printed: bytes) -> str:
    """Return what was printed as a shell reads it."""
    return printed.decode("utf-8", "replace").replace("\x00", "")


def _printed(simple: Simple, fed: bytes | None) -> bytes | None:
    name, words = program(simple), [word.text for word in simple.words[1:]]
    if simple.fed is not None:
        fed = simple.fed.encode("utf-8", "replace")
    if name in PRINTERS and fed is None:
        return PRINTERS[name](words).encode("utf-8", "replace")[:MAX_OUTPUT]
    if fed is not None and name in ("cat", "tee") and (name == "tee" or set(words) <= {"-"}):
        return fed
    if fed is None or name not in DECODERS:
        return None
    decoder = _decoder(name, words)
    if decoder is None:
        return None
    try:
        return decoder(fed)[:MAX_OUTPUT]
    except (ValueError, zlib.error, binascii.Error):
        return None


def _echo(words: Sequence[str]) -> str:
    index = 0
    while index < len(words) and re.fullmatch(r"-[neE]+", words[index]):
        index += 1
    flags = "".join(words[:index])
    text = " ".join(words[index:])
    return _escapes(text) if "e" in flags or "\\x" in text else text


def _printf(words: Sequence[str]) -> str:
    words = [word for word in words if word not in ("--", "-v")]
    if not words:
        return ""
    template, rest = words[0], list(words[1:])
    fill = re.compile(r"%[sbq]")
    if not fill.search(template):
        return _escapes(template)
    count = max(1, len(fill.findall(template)))
    told = ""
    for start in range(0, max(1, min(len(rest), 256)), count):
        group = iter(rest[start : start + count])
        told += fill.sub(lambda _, group=group: next(group, ""), template)  # type: ignore[misc]  # default binds the loop's value
    return _escapes(told)


def _escapes(text: str) -> str:
    return ESCAPE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    if found[1] or found[2]:
        return chr(int(found[1], 16) if found[1] else int(found[2], 8) & 0xFF)
    return {"n": "\n", "t": "\t"}.get(found[3], "\\")


def _listed(words: Sequence[str]) -> str:
    """What is listed, as the paths that it begins at: enough to see what it is about."""
    return " ".join(word for word in words if not word.startswith("-"))


def _found(words: Sequence[str]) -> str:
    end = next((i for i, word in enumerate(words) if word.startswith(("-", "(", "!"))), len(words))
    narrow = any(word.startswith(FILTERS) for word in words[end:])
    return HOLE if narrow else " ".join(words[:end])


def _which(words: Sequence[str]) -> str:
    return words[-1] if words and not words[-1].startswith("-") else HOLE


PRINTERS: Final[Mapping[str, Callable[[Sequence[str]], str]]] = {
    "echo": _echo,
    "printf": _printf,
    "which": _which,
    "command": _which,
    "pwd": lambda _: ".",
    "ls": _listed,
    "find": _found,
}


def _base64(fed: bytes) -> bytes:
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", fed.translate(bytes.maketrans(b"-_", b"+/")))
    return base64.b64decode(kept + b"=" * (-len(kept) % 4))


def _base32(fed: bytes) -> bytes:
    kept = re.sub(rb"[^A-Z2-7]", b"", fed.upper())
    return base64.b32decode(kept + b"=" * (-len(kept) % 8))


def _hex(fed: bytes) -> bytes:
    kept = re.sub(rb"0x|\\x|[^0-9a-fA-F]", b"", fed)
    return bytes.fromhex(kept[: len(kept) & ~1].decode())


def _inflate(fed: bytes) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(fed, MAX_OUTPUT)


def _rot13(fed: bytes) -> bytes:
    return codecs.encode(fed.decode("utf-8", "replace"), "rot13").encode()


def _reversed(fed: bytes) -> bytes:
    return b"\n".join(line[::-1] for line in fed.split(b"\n"))


type Decoder = Callable[[bytes], bytes]


def _with(*flags: str, decoder: Decoder) -> Callable[[Sequence[str]], Decoder | None]:
    """A decoder that some word asks for: ``base64 -d``."""
    return lambda words: decoder if any(word.startswith(flags) for word in words) else None


def _always(decoder: Decoder) -> Callable[[Sequence[str]], Decoder | None]:
    return lambda _: decoder


def _openssl(words: Sequence[str]) -> Decoder | None:
    if "-d" not in words:
        return None
    return _base64 if {"base64", "-base64", "-a"} & set(words) else (lambda fed: fed)


def _tr(words: Sequence[str]) -> Decoder | None:
    if tuple(words[-2:]) == ROT13:
        return _rot13
    if len(words) == 2 and len(words[0]) == len(words[1]) and "-" not in "".join(words):
        table = str.maketrans(words[0], words[1])
        return lambda fed: fed.decode("utf-8", "replace").translate(table).encode()
    return None


DECODERS: Final[Mapping[str, Callable[[Sequence[str]], Decoder | None]]] = {
    "base64": _with("-d", "-D", "--d", "-di", decoder=_base64),
    "gbase64": _with("-d", "-D", "--d", decoder=_base64),
    "base32": _with("-d", "--d", decoder=_base32),
    "basenc": _with("-d", "--d", decoder=_base64),
    "xxd": _with("-r", "-p -r", "-pr", decoder=_hex),
    "openssl": _openssl,
    "gunzip": _always(_inflate),
    "zcat": _always(_inflate),
    "gzip": _with("-d", "-cd", "-dc", "--d", decoder=_inflate),
    "rev": _always(_reversed),
    "tr": _tr,
    "uudecode": _always(lambda fed: fed),
    "base58": _with("-d", decoder=lambda fed: fed),
}


def _decoder(name: str, words: Sequence[str]) -> Decoder | None:
    return DECODERS[name](words)
