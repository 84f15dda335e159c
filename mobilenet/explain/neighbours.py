"""Which photos resemble each other in their features, and a map of them."""

import numpy as np


def similarity(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between features (N, C) and others (M, C): float64 (N, M), in
    [-1, 1].
    """
    one, two = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        for x in (np.float64(some), np.float64(others))
    )
    return one @ two.T


def neighbours(some: np.ndarray, others: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the most similar of others (M, C) for each of some (N, C), the nearest first:
    positions, int64 (N, count), and cosines, float64 (N, count). Fewer columns if M is below count.
    """
    near = similarity(some, others)
    order = np.argsort(-near, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(near, order, axis=1)


def plane(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Features (N, C) on the plane along which they vary most (principal components, Pearson 1901):
    float64 (N, 2), and the share of the variance that the plane shows, in [0, 1].

    Which way is up is nobody's: an axis points to where its largest entry is above 0.
    """
    centred = np.float64(features) - np.float64(features).mean(axis=0)
    wide = centred.shape[1] > len(centred)
    # The smaller of the two products has all that is asked for: seconds less than the SVD.
    squares, axes = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    lengths, axes = np.sqrt(np.maximum(squares[:-3:-1], 0)), axes[:, :-3:-1]
    points = np.zeros((len(features), 2))
    points[:, : len(lengths)] = axes * lengths if wide else centred @ axes
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    variance = (centred**2).sum()
    share = min(1.0, float((lengths**2).sum() / variance)) if variance > 0 else 1.0
    return points * np.where(largest < 0, -1, 1), share
