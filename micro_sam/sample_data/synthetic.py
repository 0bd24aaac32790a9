"""Generated volumes and time-lapse images whose objects and lineage are known exactly.

They serve for tests, first steps and demonstrations. Figures of merit are measured on real images.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy  # its parts are loaded when they are used

from micro_sam.io.tracks.rows import TrackRow


def nuclei_volume(
    shape: tuple[int, int, int] = (32, 160, 160),
    n_objects: int = 24,
    radius: float = 13.0,
    anisotropy: float = 2.5,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth, touching ellipsoids in a confocal-like stack: darker with depth, blurred, with photon noise.

    Parameters
    ----------
    shape : (Z, Y, X)
    n_objects : int
        How many objects are tried; those that would lie mostly inside another are left out.
    radius : float
        Mean radius in pixels of y and x.
    anisotropy : float
        Distance of two slices in pixels of y and x.
    seed : int

    Returns
    -------
    image : (Z, Y, X) uint8
    labels : (Z, Y, X) uint32
    """
    rng = np.random.default_rng(seed)
    centres = _scattered(rng, shape, n_objects, 1.6 * radius, anisotropy)
    labels = np.zeros(shape, np.uint32)
    nearest = np.ones(shape, np.float32)
    brightness = [0.0]
    for centre in centres:
        axes = radius * rng.uniform(0.75, 1.25, 3) / np.array([anisotropy, 1.0, 1.0])
        turn = rng.uniform(0, np.pi)
        window = tuple(
            slice(max(0, int(c - 1.4 * r)), min(n, int(c + 1.4 * r) + 2))
            for c, r, n in zip(centre, (axes[0], axes[1:].max(), axes[1:].max()), shape, strict=True)
        )
        dz, dy, dx = (grid - c for grid, c in zip(np.ogrid[window], centre, strict=True))
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        distance = (dz / axes[0]) ** 2 + (along / axes[1]) ** 2 + (across / axes[2]) ** 2
        inside = distance < nearest[window]
        if inside.sum() < 0.5 * (distance < 1).sum():
            continue
        brightness.append(rng.uniform(0.6, 1.0))
        labels[window][inside] = len(brightness) - 1
        nearest[window][inside] = distance[inside]
    signal = np.asarray(brightness)[labels] * (0.8 + 0.2 * (1 - nearest))
    signal *= np.linspace(1.0, 0.7, shape[0])[:, None, None]
    return _photograph(rng, signal, sigma=(0.6, 1.2, 1.2)), labels


def dividing_cells(
    shape: tuple[int, int, int] = (24, 192, 192),
    n_cells: int = 7,
    n_divisions: int = 4,
    radius: float = 11.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, tuple[TrackRow, ...]]:
    """Nuclei that wander, push each other aside and divide.

    Parameters
    ----------
    shape : (T, Y, X)
    n_cells : int
        Cells in the first frame.
    n_divisions : int
        Divisions, spread over the movie. At each the mother's track ends in the frame before and two tracks start.
    radius : float
        Mean radius in pixels.
    seed : int

    Returns
    -------
    image : (T, Y, X) uint8
    labels : (T, Y, X) uint32, label = track id
    tracks : tuple of TrackRow
    """
    rng = np.random.default_rng(seed)
    n_frames, *plane = shape
    starts = _scattered(rng, tuple(plane), n_cells, 3.0 * radius, 1.0)
    cells = [_Cell(track, 0, 0, start, radius * rng.uniform(0.9, 1.1)) for track, start in enumerate(starts, 1)]
    for cell in cells:
        cell.velocity = rng.normal(0, 1.2, 2)
    first, last = n_frames // 5, n_frames - n_frames // 4
    division_frames = set(np.linspace(first, last, n_divisions).astype(int).tolist()) if n_divisions else set()

    labels = np.zeros(shape, np.uint32)
    signal = np.zeros(shape, np.float32)
    rows: list[TrackRow] = []
    n_tracks = len(cells)
    for t in range(n_frames):
        if t in division_frames:
            mother = max(cells, key=lambda cell: t - cell.start)
            cells.remove(mother)
            rows.append(TrackRow(mother.track_id, mother.start, t - 1, mother.parent))
            cells += mother.divide(t, n_tracks + 1, n_tracks + 2)
            n_tracks += 2
        _draw_cells(cells, labels[t], signal[t], about_to_divide=t + 1 in division_frames)
        _move_cells(rng, cells, (int(plane[0]), int(plane[1])))
    rows += [TrackRow(cell.track_id, cell.start, n_frames - 1, cell.parent) for cell in cells]
    return _photograph(rng, signal, sigma=(0, 1.0, 1.0)), labels, tuple(sorted(rows))


@dataclass
class _Cell:
    track_id: int
    start: int
    parent: int
    centre: np.ndarray
    radius: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    turn: float = 0.0

    def divide(self, t: int, *track_ids: int) -> list[_Cell]:
        axis = np.array([np.sin(self.turn), np.cos(self.turn)])
        return [
            _Cell(track_id, t, self.track_id, self.centre + side * axis * 0.75 * self.radius, 0.78 * self.radius)
            for track_id, side in zip(track_ids, (-1, 1), strict=True)
        ]


def _draw_cells(cells: list[_Cell], labels: np.ndarray, signal: np.ndarray, about_to_divide: bool) -> None:
    y, x = np.ogrid[: labels.shape[0], : labels.shape[1]]
    oldest = min(cells, key=lambda cell: cell.start)
    nearest = np.ones(labels.shape, np.float32)
    for cell in cells:
        dividing = about_to_divide and cell is oldest
        stretch = 1.3 if dividing else 1.12
        dy, dx = y - cell.centre[0], x - cell.centre[1]
        along, across = dx * np.cos(cell.turn) + dy * np.sin(cell.turn), dy * np.cos(cell.turn) - dx * np.sin(cell.turn)
        distance = (along / (cell.radius * stretch)) ** 2 + (across * stretch / cell.radius) ** 2
        inside = distance < nearest
        labels[inside] = cell.track_id
        signal[inside] = (1.0 if dividing else 0.75) * (0.85 + 0.15 * (1 - distance[inside]))
        nearest[inside] = distance[inside]


def _move_cells(rng: np.random.Generator, cells: list[_Cell], plane: tuple[int, int]) -> None:
    for cell in cells:
        cell.velocity = 0.8 * cell.velocity + rng.normal(0, 0.6, 2)
        for other in cells:
            apart = cell.centre - other.centre
            distance = np.hypot(*apart)
            overlap = 1.1 * (cell.radius + other.radius) - distance
            if other is not cell and overlap > 0:
                cell.velocity = cell.velocity + 0.25 * overlap * apart / max(distance, 1e-6)
    for cell in cells:
        cell.centre = cell.centre + np.clip(cell.velocity, -4, 4)
        cell.turn += rng.normal(0, 0.1)
        cell.radius = min(cell.radius * 1.02, 11.5)
        for axis in (0, 1):
            low, high = cell.radius, plane[axis] - 1 - cell.radius
            if not low < cell.centre[axis] < high:
                cell.centre[axis] = np.clip(cell.centre[axis], low, high)
                cell.velocity[axis] *= -1


def _scattered(rng: np.random.Generator, shape: tuple[int, ...], n: int, apart: float, anisotropy: float) -> np.ndarray:
    """Up to ``n`` centres at least ``apart`` pixels from each other; fewer where no more fit."""
    spacing = np.array([anisotropy, 1.0, 1.0])[-len(shape) :]
    margin = 0.35 * apart / spacing
    centres: list[np.ndarray] = []
    for _ in range(100 * n):
        centre = rng.uniform(margin, np.array(shape) - 1 - margin)
        if all(np.linalg.norm((centre - other) * spacing) >= apart for other in centres):
            centres.append(centre)
        if len(centres) == n:
            break
    return np.array(centres)


def _photograph(rng: np.random.Generator, signal: np.ndarray, sigma: tuple[float, ...]) -> np.ndarray:
    """Blur by the optics, then photon noise over a dim background."""
    blurred = scipy.ndimage.gaussian_filter(signal.astype(np.float32), sigma)
    photons = rng.poisson(12 + 140 * blurred) + rng.normal(0, 3, signal.shape)
    return np.asarray(np.clip(photons, 0, 255), dtype=np.uint8)
