"""The embedded data set `shapes`: ten classes of signed-distance shapes, rendered from a seed.

The shape fills the frame and its hue is tied to the class, so that the coarse token maps carry
the class: with small shapes of free hue it would sit in the last scale alone.

Shape suffixes: N images, H and W pixels.
"""

import numpy as np
from numpy.typing import NDArray

CLASSES = ("disk", "square", "triangle", "ring", "plus", "star", "heart", "moon", "bars", "cross")
RENDERER_VERSION = 1
CACHED_PIXELS = 128 * 24**2  # of images rendered at once: their floats stay in the cache
UNIFORMS = 20  # drawn for each image: five counters of Philox, of which 18 are used

Floats = NDArray[np.float64]


def render(
    seed: int, stream: int, indices_N: NDArray[np.int64] | range, *, side: int
) -> NDArray[np.uint8]:
    """Images `indices_N` of a stream, in any order: (N, 3, side, side) uint8.

    Image i has class i % 10 and is a function of (seed, stream, i, side) alone: with whatever it
    is rendered, and one scene at every side.
    """
    parts, part = [np.zeros((0, 3, side, side), np.uint8)], max(1, CACHED_PIXELS // side**2)
    for start in range(0, len(indices_N), part):
        chosen = np.asarray(indices_N[start : start + part])
        parts.append(_paint(_uniforms(seed, stream, chosen), labels_of(chosen), side))
    return np.concatenate(parts)


def labels_of(indices_N: NDArray[np.int64] | range) -> NDArray[np.int64]:
    """(N,) int64: image i has class i % 10."""
    return np.asarray(indices_N, dtype=np.int64) % len(CLASSES)


def _paint(u: Floats, labels: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
    """Images from their (N, UNIFORMS) uniforms and their classes."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = axis[None, None, :], -axis[None, :, None]  # y points up

    def between(column: int, low: float, high: float) -> Floats:
        return (low + (high - low) * u[:, column])[:, None, None]

    radius = between(0, 0.62, 0.82)
    turn = between(1, -0.22, 0.22)
    px, py = x - between(2, -0.12, 0.12), y - between(3, -0.12, 0.12)
    sx = (np.cos(turn) * px + np.sin(turn) * py) / radius
    sy = (-np.sin(turn) * px + np.cos(turn) * py) / radius
    distance = np.empty_like(sx)
    for label, name in enumerate(CLASSES):
        rows = labels == label
        distance[rows] = _DISTANCES[name](sx[rows], sy[rows])
    pixels = distance * radius * side / 2
    coverage = np.clip(0.5 - pixels, 0, 1)[:, None]

    hue = labels / len(CLASSES) + (u[:, 4] - 0.5) * 0.16
    shade = _texture(sx, sy, kind=(u[:, 7] * 4).astype(int), phase=between(8, 0, 1))
    ink = _rgb(hue, 0.7 + 0.25 * u[:, 5], 0.8 + 0.2 * u[:, 6])[:, :, None, None] * shade[:, None]

    # Dark and pale behind bright and saturated, so that the shape always stands out.
    ends = [_rgb(u[:, c], 0.5 * u[:, c + 1], 0.08 + 0.4 * u[:, c + 2]) for c in (9, 12)]
    angle = between(15, 0, 2 * np.pi)
    along = np.clip(0.5 + 0.4 * (np.cos(angle) * x + np.sin(angle) * y), 0, 1)[:, None]
    start, stop = (end[:, :, None, None] for end in ends)
    ground = start + (stop - start) * along

    image = ground + (ink - ground) * coverage
    return np.rint(image * 255).astype(np.uint8)


def _uniforms(seed: int, stream: int, indices_N: NDArray[np.int64]) -> Floats:
    """(N, UNIFORMS): image i owns a fixed block of Philox counters, read in runs of neighbours."""
    key = np.array([seed, stream], dtype=np.uint64)
    runs = np.split(indices_N, np.flatnonzero(np.diff(indices_N) != 1) + 1)
    found = []
    for run in runs:
        bits = np.random.Philox(key=key, counter=[int(run[0]) * (UNIFORMS // 4), 0, 0, 0])
        found.append(np.random.Generator(bits).random((len(run), UNIFORMS)))
    return np.concatenate(found)


def _rgb(hue: Floats, saturation: Floats, value: Floats) -> Floats:
    """(N, 3) in [0, 1] from hue (turns), saturation and value (Smith 1978)."""
    sector = (np.array([5, 3, 1])[None] + (hue[:, None] % 1) * 6) % 6
    drop = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return value[:, None] * (1 - saturation[:, None] * drop)


def _texture(x: Floats, y: Floats, *, kind: NDArray[np.int64], phase: Floats) -> Floats:
    """(N, H, W) brightness: plain, stripes, checks, or darker towards the rim."""
    wave_x = np.sin(2 * np.pi * (1.5 * x + phase))
    wave_y = np.sin(2 * np.pi * (1.5 * y + phase))
    shades = [
        np.ones_like(x),
        1 - 0.3 * (wave_y > 0),
        1 - 0.3 * (wave_x * wave_y > 0),
        1 - 0.4 * np.clip(x**2 + y**2, 0, 1),
    ]
    return np.choose(kind[:, None, None], shades)


def _box(x: Floats, y: Floats, half_x: float, half_y: float) -> Floats:
    return np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)


def _disk(x: Floats, y: Floats, radius: float = 1.0) -> Floats:
    return np.hypot(x, y) - radius


def _triangle(x: Floats, y: Floats) -> Floats:
    y = y + 0.15
    return np.maximum(-y, 0.5 * y + np.sqrt(0.75) * np.abs(x)) - 0.55


def _plus(x: Floats, y: Floats) -> Floats:
    return np.minimum(_box(x, y, 0.98, 0.3), _box(x, y, 0.3, 0.98))


def _cross(x: Floats, y: Floats) -> Floats:
    return _plus((x + y) * np.sqrt(0.5), (x - y) * np.sqrt(0.5))


def _star(x: Floats, y: Floats) -> Floats:
    """Five points: within a tenth of the circle, the line from a tip to the next notch."""
    sector = 2 * np.pi / 5
    angle = np.abs((np.arctan2(x, y) + sector / 2) % sector - sector / 2)
    fx, fy = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
    tip = np.array([1.1, 0.0])
    notch = 0.47 * np.array([np.cos(sector / 2), np.sin(sector / 2)])
    along = (notch - tip) / np.linalg.norm(notch - tip)
    return (fx - tip[0]) * along[1] - (fy - tip[1]) * along[0]


def _heart(x: Floats, y: Floats) -> Floats:
    """A square on its corner with a disk on each upper edge."""
    half = 0.58
    u, v = (x + (y + 0.15)) * np.sqrt(0.5), (y + 0.15 - x) * np.sqrt(0.5)
    return np.minimum(
        _box(u, v, half, half), np.minimum(_disk(u - half, v, half), _disk(u, v - half, half))
    )


def _moon(x: Floats, y: Floats) -> Floats:
    return np.maximum(_disk(x + 0.1, y), 0.82 - np.hypot(x - 0.45, y - 0.15))


def _bars(x: Floats, y: Floats) -> Floats:
    period = 0.7
    nearest = np.clip(np.rint(y / period), -1, 1) * period
    return _box(x, y - nearest, 0.95, 0.2)


_DISTANCES = {
    "disk": _disk,
    "square": lambda x, y: _box(x, y, 0.8, 0.8),
    "triangle": _triangle,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.72) - 0.26,
    "plus": _plus,
    "star": _star,
    "heart": _heart,
    "moon": _moon,
    "bars": _bars,
    "cross": _cross,
}
