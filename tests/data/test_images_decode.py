"""Decoding one image file: by its content, upright, at its full depth; and what people's files have wrong."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from lepton_kit import data
from lepton_kit.data.images import decode
from lepton_kit.data.images.preprocessing import ImagePreprocessing
from lepton_kit.errors import DataError

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def stored(pixels, kind="PNG", mode=None, **options):
    content = io.BytesIO()
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    (image.convert(mode) if mode else image).save(content, kind, **options)
    return content.getvalue()


def picture(content):
    return decode.decode(io.BytesIO(content), "x.png")


def form(content):
    return decode.form_of(io.BytesIO(content), "x.png")


def sample(content, size=(6, 8), color_mode="rgb", **options):
    return ImagePreprocessing(image_size=size, color_mode=color_mode, **options).sample(picture(content))


def png(values, color_type, extra=b""):
    """A 16-bit PNG, which Pillow can't write in colour; ``extra``: a tRNS chunk's content."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + values[row].astype(">u2").tobytes() for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    transparent = chunk(b"tRNS", extra) if extra else b""
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            transparent,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_every_kind_is_told_by_its_content(kind):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    content = stored(PIXELS // 64 * 64 if kind == "GIF" else PIXELS, kind, **options)
    assert decode.format_of(content[:512]) == kind
    found = sample(content)
    assert np.abs(found.astype(int) - PIXELS).max() <= {"JPEG": 6, "GIF": 64}.get(kind, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n",
        stored(PIXELS, "PPM"),
        stored(PIXELS, "TGA"),
        stored(PIXELS, "PDF"),
        stored(PIXELS, "JPEG2000"),
        b"<html><body>404 Not Found</body></html>",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\0" * 4096,
    ],
)
def test_no_other_reader_is_ever_reached(content, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "EpsImageFile", None)
    monkeypatch.setattr(Image, "open", None)
    for read in (picture, form):
        with pytest.raises(DataError, match=r"x\.png: not a readable image; read are PNG, JPEG"):
            read(content)


def test_an_empty_file_is_called_that():
    with pytest.raises(DataError, match=r"x\.png: an empty file"):
        picture(b"")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_brings_an_image_upright(kind, orientation):
    turned = Image.fromarray(np.repeat(np.repeat(PIXELS[:3, :4], 8, 0), 8, 1))
    # The turn that undoes each orientation, written down from the table of the standard.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    expected = turned.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else turned
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    if kind == "TIFF":
        options = {"tiffinfo": {274: orientation}}
    else:
        options["exif"] = exif
    content = stored(turned, kind, **options)
    shown = form(content)
    assert (shown.height, shown.width) == (expected.height, expected.width)
    found = sample(content, (expected.height, expected.width))
    assert np.abs(found.astype(int) - np.asarray(expected).astype(int)).max() <= (6 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0broken", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40]
)
def test_damaged_exif_says_nothing(exif):
    content = stored(PIXELS, "JPEG", exif=exif, quality=100)
    with decode.quiet():
        assert sample(content).shape == (6, 8, 3)
        assert (form(content).height, form(content).width) == (6, 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_truncated_file_is_named_wherever_it_ends(kind):
    big = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    content = stored(big, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    for share in (0.02, 0.3, 0.6, 0.9):
        with decode.quiet(), pytest.raises(DataError, match=r"x\.png"):
            sample(content[: int(len(content) * share)], (64, 64))


def test_bytes_after_the_end_do_no_harm():
    assert np.array_equal(sample(stored(PIXELS) + b"\0" * 999), PIXELS)


def test_a_size_that_no_memory_holds_is_refused_unread():
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    content = (
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )
    for read in (picture, form):
        with pytest.raises(DataError, match=r"x\.png"):
            read(content)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_of_pixels_is_ours(monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 47)
    with pytest.raises(DataError, match="6 x 8 pixels; at most 47 are read"):
        form(stored(PIXELS))


def test_an_image_that_unpacks_to_hundreds_of_times_its_file_is_refused(monkeypatch):
    blank = stored(np.zeros((900, 900), np.uint8))
    assert form(blank).height == 900
    monkeypatch.setattr(decode, "CHECKED_FROM", 2**19)
    for read in (form, picture):
        with pytest.raises(DataError, match=r"x\.png: 900 x 900 pixels, over 400 times the file's size"):
            read(blank)
    noise = stored(RNG.integers(0, 256, (900, 900), np.uint8))
    assert picture(noise).form.height == 900
    assert form(stored(Image.new("1", (900, 900)))).height == 900


def test_sixteen_bits_in_colour_keep_both_bytes():
    values = RNG.integers(0, 4096, (6, 8, 3)).astype(np.uint16)  # 12 bits in 16, as cameras have them
    found = picture(png(values, 2))
    assert form(png(values, 2)) == decode.Form(6, 8, grey=False, deep=True)
    assert np.array_equal(found.values, values)


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_png_of_every_colour_type(color_type, channels):
    values = RNG.integers(0, 65536, (6, 8, channels)).astype(np.uint16)
    found = picture(png(values, color_type))
    colours = 1 if channels < 3 else 3
    assert np.array_equal(found.values, values[..., :colours])
    assert found.form.grey == (channels < 3)
    if channels in (2, 4):
        assert np.allclose(found.alpha, values[..., -1] / 65535)
    else:
        assert found.alpha is None


def test_one_transparent_colour_of_sixteen_bits():
    values = np.full((6, 8, 3), 500, np.uint16)
    values[0, 0] = 1000
    found = picture(png(values, 2, struct.pack(">HHH", 1000, 1000, 1000)))
    assert found.alpha[0, 0] == 0
    assert found.alpha.sum() == 47


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_sixteen_bit_tiff(compression):
    grey = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)
    content = stored(grey, "TIFF", compression=compression)
    assert form(content).deep
    assert np.array_equal(picture(content).values[..., 0], grey)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colour_tiff(order):
    values = RNG.integers(0, 65536, (6, 8, 3)).astype(np.uint16)
    content = tiff(values, order)
    assert form(content) == decode.Form(6, 8, grey=False, deep=True)
    assert np.array_equal(picture(content).values, values)


def tiff(values, order):
    """An uncompressed TIFF of 16 bits a channel in one strip, in either byte order."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    bits_at, pixels_at = 8 + 2 + 9 * 12 + 4, 8 + 2 + 9 * 12 + 4 + 6
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, pixels_at), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(pixels))]
    head = (
        (b"II" if order == "<" else b"MM")
        + struct.pack(f"{order}HI", 42, 8)
        + struct.pack(f"{order}H", len(entries))
    )
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1
        head += struct.pack(f"{order}HHI", tag, kind, count)
        head += struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
    return head + struct.pack(f"{order}I", 0) + struct.pack(f"{order}3H", 16, 16, 16) + pixels


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bit_tiff(dtype):
    values = (RNG.normal(size=(6, 8)) * 1000).astype(dtype)
    assert np.array_equal(picture(stored(Image.fromarray(values), "TIFF")).values[..., 0], values)


def test_values_that_are_no_numbers_are_refused():
    values = np.full((6, 8), np.nan, np.float32)
    with pytest.raises(DataError, match=r"x\.png: holds values that are no finite numbers"):
        picture(stored(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "PA"])
def test_every_mode_gives_what_pillow_shows(mode):
    image = Image.fromarray(np.repeat(np.repeat(PIXELS, 4, 0), 4, 1)).convert("LA" if mode == "PA" else mode)
    image = image.convert(mode)
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG" if mode != "PA" else "TIFF"
    try:
        content = stored(image, kind)
    except OSError:
        pytest.skip("not writable")
    found = sample(content, (24, 32))
    assert np.array_equal(found, np.asarray(image.convert("RGB")))


def test_a_cmyk_jpeg_has_its_colours():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 220
    content = stored(red, "JPEG", mode="CMYK", quality=100)
    found = sample(content, (16, 16))
    assert np.abs(found.astype(int) - red).max() < 8


def test_transparent_pixels_lie_on_the_background():
    drawing = np.zeros((6, 8, 4), np.uint8)
    drawing[2:4, 2:4, 3] = 255  # black on nothing
    found = sample(stored(drawing))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[2, 2].tolist() == [0, 0, 0]
    assert sample(stored(drawing), background=(1, 2, 3))[0, 0].tolist() == [1, 2, 3]
    assert sample(stored(drawing), color_mode="rgba")[0, 0].tolist() == [0, 0, 0, 0]
    assert sample(stored(drawing), color_mode="grayscale")[:, :, 0].tolist()[0][0] == 255


def test_a_palette_with_transparency_lies_on_the_background():
    image = Image.new("P", (8, 6), 1)
    image.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    image.putpixel((0, 0), 0)
    for options in ({"transparency": 0}, {"transparency": b"\0\xff"}):
        found = sample(stored(image, "PNG", **options))
        assert found[0, 0].tolist() == [255, 255, 255]
        assert found[1, 1].tolist() == [200, 100, 50]
    assert sample(stored(image, "GIF", transparency=0))[0, 0].tolist() == [255, 255, 255]


def test_one_transparent_colour_of_a_grey_and_a_black_and_white_image():
    grey = Image.fromarray(np.full((6, 8), 9, np.uint8))
    assert sample(stored(grey, "PNG", transparency=9))[0, 0, 0] == 255
    line = Image.new("1", (8, 6), 1)
    line.putpixel((0, 0), 0)
    assert sample(stored(line))[0, :2, 0].tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames(kind):
    frames = [Image.fromarray(np.full((6, 8, 3), value, np.uint8)) for value in (40, 200)]
    content = stored(frames[0], kind, save_all=True, append_images=frames[1:])
    assert form(content).frames
    assert abs(int(sample(content)[0, 0, 0]) - 40) < 4


def test_sixteen_bits_in_a_set_of_eight_use_the_whole_range():
    values = np.array([[0, 65535], [32768, 257]], np.uint16)
    found = ImagePreprocessing(image_size=(2, 2), color_mode="grayscale").sample(picture(stored(values)))
    assert found.dtype == np.uint8
    assert found[..., 0].tolist() == [[0, 255], [128, 1]]
    wide = picture(stored(Image.fromarray(np.array([[0.0, 1e6]], np.float32)), "TIFF"))
    plain = ImagePreprocessing(image_size=(1, 2), color_mode="grayscale")
    with pytest.raises(DataError, match="training images had 8 bits a channel"):
        plain.sample(wide)


@pytest.mark.parametrize(
    "spelled",
    [
        "A.PNG",
        "a b.png",
        "für ☂.png",
        "new\nline.png",
        "no_extension",
        "x.jpeg.png",
        "wrong.txt.jpg",
        "a%20b.jpg",
    ],
)
def test_names_as_people_have_them(tmp_path, spelled):
    for label in ("cat", "dog ünïcode"):
        folder = tmp_path / "set" / label
        folder.mkdir(parents=True)
        (folder / spelled).write_bytes(stored(PIXELS, "WEBP", lossless=True))  # whatever the name says
        (folder / "2.PNG").write_bytes(stored(PIXELS))
        for junk in (".DS_Store", "Thumbs.db", "desktop.ini", "._2.PNG"):
            (folder / junk).write_bytes(b"junk")
        (folder / ".ipynb_checkpoints").mkdir()
        (folder / ".ipynb_checkpoints" / "2.png").write_bytes(stored(PIXELS))
    prepared = data.image_folder(tmp_path / "set", validation_split=0).prepare()
    assert prepared.class_names == ("cat", "dog ünïcode")
    assert len(prepared.train) == 4
    assert all(np.array_equal(image, PIXELS) for image in prepared.train.x)
