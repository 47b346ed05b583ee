import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.cli.scanbytes import UTF_8, NoText, in_utf_8, read

ENGLISH = "Please read \u00fc and \U0001f600.\r\nThen go on.\n"


def zipped(inner: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", inner)
        return file.getvalue()


def tarred(inner: bytes, form: int) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            member = tarfile.TarInfo("a.txt")
            member.size = len(inner)
            archive.addfile(member, io.BytesIO(inner))
        return file.getvalue()


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_mark_is_believed_and_is_no_part_of_the_text(codec: str) -> None:
    text, encoding = read(("\ufeff" + ENGLISH).encode(codec))
    assert text == ENGLISH
    assert encoding.encode("other") == "\ufeffother".encode(codec)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_known_by_its_nuls(codec: str) -> None:
    text, encoding = read(ENGLISH.encode(codec))
    assert text == ENGLISH
    assert encoding.encode("other") == "other".encode(codec)


@given(st.text(max_size=30), st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]))
def test_a_marked_text_comes_back_byte_for_byte(words: str, codec: str) -> None:
    data = ("\ufeffpage: " + words.translate(dict.fromkeys([*range(32), 127]))).encode(codec)
    text, encoding = read(data)
    assert encoding.encode(text) == data


def test_half_a_character_of_utf_16_comes_back() -> None:
    data = b"\xff\xfea\x00\x3d\xd8b\x00"
    text, encoding = read(data)
    assert encoding.encode(text) == data


@given(st.binary(max_size=60))
def test_bytes_are_a_text_that_comes_back_or_none(data: bytes) -> None:
    try:
        text, encoding = read(data)
    except NoText:
        return
    assert encoding.encode(text) == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ENGLISH.encode(), id="utf-8"),
        pytest.param("\ufeffmarked".encode(), id="utf-8-with-a-mark"),
        pytest.param("caf\u00e9 cr\u00e8me\n".encode("latin-1"), id="latin-1"),
        pytest.param(b"\x1b[31mred\x1b[0m\x0c\x08", id="a-terminals-colours"),
        pytest.param(b"A tale of ustar, told %PDF- and PK", id="signs-inside"),
        pytest.param(b"\x01\x02 but utf-8", id="control-characters"),
    ],
)
def test_a_text_is_one(data: bytes) -> None:
    text, encoding = read(data)
    assert encoding is UTF_8
    assert text == data.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(gzip.compress(b"sesame", mtime=0), "gzip", id="gzip"),
        pytest.param(zipped(b"sesame"), "a zip archive", id="zip"),
        pytest.param(b"PK\x05\x06" + bytes(18), "a zip archive", id="empty-zip"),
        pytest.param(tarred(b"sesame", tarfile.GNU_FORMAT), "a tar archive", id="tar-of-gnu"),
        pytest.param(tarred(b"sesame", tarfile.PAX_FORMAT), "a tar archive", id="tar"),
        pytest.param(b"BZh91AY&SY\x9a", "bzip2", id="bzip2"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF", id="pdf"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG image", id="png"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF", "a JPEG image", id="jpeg"),
        pytest.param(b"sesame\x00sesame", "binary data (NUL bytes)", id="a-nul"),
        pytest.param(bytes(64), "binary data (NUL bytes)", id="nuls"),
        pytest.param(
            bytes(range(1, 256)),
            "binary data (control bytes, and no UTF-8)",
            id="noise",
        ),
        pytest.param(
            "sesame".encode("utf-32-le"), "binary data (NUL bytes)", id="utf-32-without-a-mark"
        ),
        pytest.param(
            b"".join(bytes((one, 0)) for one in range(1, 99)),
            "binary data (control characters, if it is UTF-16LE)",
            id="small-numbers",
        ),
        pytest.param(
            b"\xff\xfes\x00\x00\x00",
            "binary data (control characters, if it is UTF-16)",
            id="a-nul-in-utf-16",
        ),
        pytest.param(b"\xff\xfes\x00e", "begins as UTF-16 and does not go on so", id="half-a-unit"),
        pytest.param(
            b"\xff\xfe\x00\x00\xff\xff\xff\xff",
            "begins as UTF-32 and does not go on so",
            id="no-utf-32",
        ),
    ],
)
def test_what_is_no_text_is_named_with_what_to_do(data: bytes, what: str) -> None:
    with pytest.raises(NoText) as caught:
        read(data)
    said, _, todo = str(caught.value).partition("; ")
    assert said.removesuffix(", no text") == what
    assert todo
    assert "sesame" not in said


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-32"])
def test_json_in_another_encoding_is_refused_with_the_way_out(codec: str) -> None:
    in_utf_8(b'{"text": "a"}')
    with pytest.raises(NoText, match=r"JSON in UTF-\d\d(LE)?; write it in UTF-8 \(iconv -f UTF-"):
        in_utf_8('{"text": "a"}\n'.encode(codec))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"key=AKIAQ\n" + "a line of a log\r\n".encode("utf-16-le") * 9, id="behind"),
        pytest.param("\ufeffa log".encode("utf-16-le") + b"key=AKIAQ3EGR5J7KLMN2PQR", id="before"),
    ],
)
def test_a_file_in_two_encodings_is_no_text(data: bytes) -> None:
    with pytest.raises(NoText, match=r"UTF-16.* and another encoding in one file; write"):
        read(data)


@pytest.mark.parametrize("data", [b"a=b\0c=d\0", b"HOME=/root\0PATH=/bin\0", b"ab\0", b"\0"])
def test_a_list_with_nuls_is_told_with_the_way_out(data: bytes) -> None:
    with pytest.raises(NoText, match=r"NUL bytes.* of a list: tr"):
        read(data)


@pytest.mark.parametrize("codec", ["shift-jis", "euc-jp", "gb18030", "koi8-r", "cp1251"])
def test_an_older_encoding_that_no_rule_reads_is_told(codec: str) -> None:
    words = "\u043f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! " * 3
    with pytest.raises(NoText, match="perhaps a text in an older encoding"):
        read(words.encode(codec))


def test_east_asia_in_utf_16_and_accents_in_latin_1_are_texts() -> None:
    chinese = "\ufeff" + "\u4e2d\u6587\u6d4b\u8bd5" * 200
    assert read(chinese.encode("utf-16-le"))[0] == chinese[1:]
    assert read("caf\u00e9 au lait, d\u00e9j\u00e0 vu".encode("latin-1"))[1] is UTF_8
