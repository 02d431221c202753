"""What becomes of an image file on its way to 8-bit RGB, and which are refused."""

import os
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from varant.data import decoding
from varant.data.decoding import BadImage, read_image

RED, GREEN, BLUE, WHITE = (200, 0, 0), (0, 200, 0), (0, 0, 200), (255, 255, 255)


def pixels(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def png(path, size, *, depth=8, kind=2, rows=b""):
    """A PNG of any header, written by hand."""

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("kind", ["png", "tif", "pgm", "colour"])
def test_16_bits_are_scaled_by_their_range_grey_and_colour_alike(tmp_path, kind):
    values_HW = np.linspace(0, 2**16 - 1, 64).astype(np.uint16).reshape(4, 16)
    path = tmp_path / f"x.{kind}"
    if kind == "colour":
        rgb_HW3 = np.repeat(values_HW[..., None], 3, axis=2).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in rgb_HW3)
        png(path, (16, 4), depth=16, rows=rows)
    else:
        Image.fromarray(values_HW).save(path)
    expected_HW = (values_HW >> 8).astype(np.uint8)
    assert expected_HW.max() == 255
    np.testing.assert_array_equal(pixels(path), np.repeat(expected_HW[..., None], 3, axis=2))


def test_12_bits_are_scaled_by_their_range(tmp_path):
    path = tmp_path / "x.tif"
    packed = bytes([0xFF, 0xF0, 0x00, 0x80, 0x08, 0x00])  # 4095, 0, 2048, 2048
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 1, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(head.ljust(122, b"\0") + packed)
    assert pixels(path)[0, :, 0].tolist() == [255, 0, 128, 128]


@pytest.mark.parametrize("kind", ["I", "F"])
def test_numbers_without_a_range_are_refused(tmp_path, kind):
    path = tmp_path / "x.tif"
    Image.new(kind, (4, 4)).save(path)
    with pytest.raises(BadImage, match="without a stated range"):
        read_image(path)


def test_what_is_transparent_is_white(tmp_path):
    half = Image.new("RGBA", (2, 1), (*RED, 255))
    half.putpixel((1, 0), (*RED, 0))
    half.save(tmp_path / "alpha.png")
    Image.merge("LA", [half.getchannel(0), half.getchannel(3)]).save(tmp_path / "grey.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, *GREEN])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=1)
    grey = Image.fromarray(np.array([[0x8000, 0x1234]], np.uint16))
    grey.save(tmp_path / "sixteen.png", transparency=0x1234)
    assert pixels(tmp_path / "alpha.png").tolist() == [[[*RED], [*WHITE]]]
    assert pixels(tmp_path / "grey.png").tolist() == [[[200] * 3, [*WHITE]]]
    assert pixels(tmp_path / "palette.png").tolist() == [[[*RED], [*WHITE]]]
    assert pixels(tmp_path / "sixteen.png").tolist() == [[[128] * 3, [*WHITE]]]


def test_what_is_opaque_stays_as_it_is(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    image = Image.fromarray(colours)
    image.save(tmp_path / "rgb.png")
    image.convert("RGBA").save(tmp_path / "rgba.png")
    image.quantize(16).save(tmp_path / "palette.png")
    image.save(tmp_path / "x.jpg")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    np.testing.assert_array_equal(pixels(tmp_path / "rgb.png"), colours)
    np.testing.assert_array_equal(pixels(tmp_path / "rgba.png"), colours)
    for name in ("palette.png", "x.jpg", "cmyk.jpg"):
        expected = Image.open(tmp_path / name).convert("RGB")
        np.testing.assert_array_equal(pixels(tmp_path / name), np.asarray(expected))


def test_exif_turns_an_image_and_bad_exif_does_not(tmp_path):
    image = Image.new("RGB", (30, 20), RED)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "bad.jpg", exif=b"Exif\0\0hello")
    assert read_image(tmp_path / "turned.jpg").size == (20, 30)
    assert read_image(tmp_path / "bad.jpg").size == (30, 20)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tif"])
def test_of_several_frames_the_first_is_taken_which_is_said_once(tmp_path, capfd, kind):
    decoding._say_first_only.cache_clear()
    first, *more = (Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE))
    options = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / f"x.{kind}", save_all=True, append_images=more, **options)
    for _ in range(2):
        assert pixels(tmp_path / f"x.{kind}")[0, 0].tolist() == [*RED]
    assert capfd.readouterr().err.count("the first is taken") == 1


def test_absurd_sizes_are_refused_by_their_header(tmp_path):
    rows = bytes(2 * 3_000_000)
    thin = png(tmp_path / "thin.png", (1, 3_000_000), depth=8, kind=0, rows=rows)
    assert thin.stat().st_size < 7_000
    with pytest.raises(BadImage, match=r"1 x 3,000,000 pixels: one side is more than 100 times"):
        read_image(thin)
    for side in (9_000, 100_000):  # where Pillow says nothing, and where it refuses
        with pytest.raises(BadImage, match=r"more than 67,108,864"):
            read_image(png(tmp_path / "large.png", (side, side)))


def test_what_is_no_regular_file_is_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to("nowhere")
    (tmp_path / "round.png").symlink_to("round.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
    said = {"pipe": "a pipe", "lost": "a link to nothing", "round": "a link to nothing"}
    said |= {"null": "a device", "socket": "a socket"}
    for name, what in said.items():
        with pytest.raises(BadImage, match=what):
            read_image(tmp_path / f"{name}.png")


def test_other_formats_are_not_looked_at(tmp_path):
    """Pillow runs another program for PostScript."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(BadImage, match="cannot be read as an image"):
        read_image(tmp_path / "x.png")
