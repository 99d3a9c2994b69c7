"""The three geometries embeddings live in; the only place that normalises, squares or takes roots of them.

- COSINE: CLIP, ResNet, sentence models.  Distance 1 - cos, in [0, 2]; the norm carries nothing.
- EUCLIDEAN: EuCLIP and pixels.  Plain distance, >= 0; the norm is the distance from [ROOT], the origin.
- Lorentz(curvature): MERU.  Vectors are tangent vectors at the origin; the exponential map puts them on the hyperboloid,
  and the distance is the geodesic one.

Formulas: Chou & Alam, "Embedding Geometries of Contrastive Language-Image Pre-Training", arXiv 2409.13079, and Desai et al.,
"Hyperbolic Image-Text Representations", arXiv 2304.09172, sections 3 and 4 (written from the formulas).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.errors import GeometryError

Floats: TypeAlias = npt.NDArray[np.floating]
Array: TypeAlias = npt.NDArray[np.float64]
Array32: TypeAlias = npt.NDArray[np.float32]

GUARD = 1e-5
"""Half-width of the band around every cut in which a value is listed as borderline (batch shape moves embeddings by ~2e-6)."""


_AT_ONCE = 8_192
"""Rows that are widened to float64 at a time: a float64 copy of everything would be the largest thing in memory."""


def squares(x: Floats) -> Array:
    """Squared Euclidean length of every row: x (n, d) -> (n,) float64."""
    rows = np.asarray(x)
    if rows.ndim != 2:
        wide = rows.astype(np.float64)
        return np.asarray(np.einsum("...i,...i->...", wide, wide))
    found = np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        wide = rows[start : start + _AT_ONCE].astype(np.float64)
        found[start : start + _AT_ONCE] = np.einsum("ij,ij->i", wide, wide)
    return found


def norms(x: Floats) -> Array:
    """Euclidean length of every row: x (n, d) -> (n,) float64."""
    return np.asarray(np.sqrt(squares(x)), dtype=np.float64)


def unit(x: Floats) -> Array32:
    """Rows of length one: x (n, d) -> (n, d) float32.  Raises GeometryError for a zero row, naming its number."""
    length = norms(x)
    zero = np.flatnonzero(length == 0)
    if zero.size:
        raise GeometryError(f"row {int(zero[0])} is a zero vector, which has no direction: cosine distance is undefined for it")
    rows = np.asarray(x)
    found = np.empty(rows.shape, dtype=np.float32)
    if rows.ndim != 2:
        found[...] = rows.astype(np.float64) / length[..., None]
        return found
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found[part] = rows[part].astype(np.float64) / length[part, None]
    return found


def _directions(x: Array) -> Array:
    length = norms(x)[..., None]
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


@dataclass(frozen=True, slots=True)
class Geometry:
    """A distance with what follows from it.  kind: "cosine", "euclidean" or "lorentz"; curvature: > 0, Lorentz only."""

    kind: str
    curvature: float = 1.0

    @property
    def label(self) -> str:
        """The name that `geometry_named` reads back."""
        return f"lorentz:{self.curvature:g}" if self.kind == "lorentz" else self.kind

    @property
    def unit_name(self) -> str:
        """How a distance is called in reports."""
        return {"cosine": "cosine distance", "euclidean": "Euclidean distance", "lorentz": "Lorentz distance"}[self.kind]

    @property
    def largest(self) -> float:
        """The largest distance there can be: 2 for cosine, else infinity."""
        return 2.0 if self.kind == "cosine" else float("inf")

    @property
    def zero_ok(self) -> bool:
        """Whether a zero vector is a point of this geometry."""
        return self.kind != "cosine"

    def check_radius(self, radius: float) -> float:
        """`radius` if it can be a distance here; raises GeometryError otherwise, with the unit and the range."""
        if not (0 <= radius <= self.largest) or radius != radius:
            raise GeometryError(
                f"radius {radius:g} is impossible: {self.unit_name} lies in [0, {self.largest:g}]. "
                "It is a distance (small = alike), not a similarity."
            )
        return radius

    def prepare(self, x: Floats) -> Array32:
        """The form distances are computed in: unit rows for cosine, the points themselves otherwise.

        x: (n, d).  Lorentz: the space components of the exponential map.  Returns (n, d) float32.
        """
        if self.kind == "cosine":
            return unit(x)
        if self.kind == "lorentz":
            return np.asarray(self._lift(x)[0], dtype=np.float32)
        return np.asarray(x, dtype=np.float32)

    def distance(self, a: Floats, b: Floats) -> Array:
        """Distance of row i of `a` to row i of `b`: (n, d), (n, d) raw vectors -> (n,) float64, by difference.

        Accumulates in float64: exact to rounding also where the two rows are nearly equal.
        """
        if self.kind == "cosine":
            length_a, length_b = norms(a), norms(b)
            if not (length_a.all() and length_b.all()):
                raise GeometryError("a zero vector has no direction: cosine distance is undefined for it")
            gap = np.asarray(a, np.float64) / length_a[..., None] - np.asarray(b, np.float64) / length_b[..., None]
            return np.asarray(np.einsum("...i,...i->...", gap, gap) / 2)
        if self.kind == "lorentz":
            return self._geodesic(*self._lift(a), *self._lift(b))
        return norms(np.asarray(a, np.float64) - np.asarray(b, np.float64))

    def pairwise(self, a: Floats, b: Floats, *, prepared: bool = False) -> Array32:
        """Every distance between two sets by one matrix product: (n, d), (m, d) -> (n, m) float32.

        prepared: the rows already went through `prepare`.  Good to about 1e-3 of the scale near zero (cancellation): propose
        with it, decide with `distance`.
        """
        if self.kind == "lorentz":
            rows_a, time_a = self._with_time(a) if prepared else self._lift(a)
            rows_b, time_b = self._with_time(b) if prepared else self._lift(b)
            inner = self.curvature * (np.outer(time_a, time_b) - rows_a @ rows_b.T)
            return np.asarray(np.arccosh(np.maximum(inner, 1.0)) / np.sqrt(self.curvature), dtype=np.float32)
        left = np.asarray(a, np.float32) if prepared else self.prepare(a)
        right = left if b is a else (np.asarray(b, np.float32) if prepared else self.prepare(b))
        product = left @ right.T
        if self.kind == "cosine":
            return np.asarray(np.clip(1 - product, 0, 2), dtype=np.float32)
        square = np.einsum("ij,ij->i", left, left)[:, None] + np.einsum("ij,ij->i", right, right)[None, :] - 2 * product
        return np.asarray(np.sqrt(np.maximum(square, 0)), dtype=np.float32)

    @property
    def flat(self) -> bool:
        """Whether `prepare` gives points whose straight-line distance orders pairs as the distance does."""
        return self.kind != "lorentz"

    def chord(self, distance: npt.ArrayLike) -> Array:
        """The straight-line distance between prepared rows that belongs to a distance (cosine, Euclidean).

        Raises GeometryError for Lorentz, which cannot be indexed this way.
        """
        value = np.asarray(distance, np.float64)
        if self.kind == "cosine":
            return np.asarray(np.sqrt(2 * value))
        if self.kind == "euclidean":
            return value
        raise GeometryError("Lorentz distance cannot be indexed; use the exact search")

    def from_chord(self, chord: npt.ArrayLike) -> Array:
        """The distance that belongs to a straight-line distance between prepared rows; the inverse of `chord`."""
        value = np.asarray(chord, np.float64)
        if self.kind == "cosine":
            return np.asarray(np.square(value) / 2)
        if self.kind == "euclidean":
            return value
        raise GeometryError("Lorentz distance cannot be indexed; use the exact search")

    def from_index(self, raw: npt.ArrayLike) -> Array:
        """Distances from what hnswlib's "l2" space returns for prepared rows, which is the squared straight line."""
        return self.from_chord(np.sqrt(np.maximum(np.asarray(raw, np.float64), 0)))

    def root(self, x: Floats) -> Array32:
        """[ROOT], the most general point: the origin, or the normalised mean of unit rows for cosine.  (n, d) -> (d,)."""
        if self.kind != "cosine":
            return np.zeros(np.shape(x)[-1], dtype=np.float32)
        middle = unit(x).mean(axis=0, keepdims=True, dtype=np.float64)
        return np.asarray(unit(middle)[0], dtype=np.float32)

    def depth(self, x: Floats, root: Floats | None = None) -> Array:
        """Distance of every row from [ROOT] (generality: small is general).  (n, d) -> (n,)."""
        at = self.root(x) if root is None else np.asarray(root)
        return self.distance(x, np.broadcast_to(at, np.shape(x)))

    def scores(self, a: Floats, b: Floats, *, logit: str = "") -> Array:
        """Scores of every row of one set against every row of another, larger is closer: (n, d), (m, d) -> (n, m) float64.

        logit: "dot" (CLIP, on unit rows), "-d2" (EuCLIP), "-d", "lorentz" (MERU: minus the distance); "" picks by geometry.
        Accumulates in float64, so that the order and number of rows do not move a score.
        """
        kind = logit or {"cosine": "dot", "euclidean": "-d2", "lorentz": "lorentz"}[self.kind]
        if kind not in ("dot", "-d2", "-d", "lorentz") or (kind == "dot") != (self.kind == "cosine"):
            raise GeometryError(f"logit {kind!r} does not go with {self.kind}; known: dot (cosine), -d2, -d, lorentz")
        left, right = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if self.kind == "cosine":
            for side in (left, right):
                if not norms(side).all():
                    raise GeometryError("a zero vector has no direction: cosine distance is undefined for it")
            return np.asarray(_directions(left) @ _directions(right).T)
        if self.kind == "lorentz":
            (left, time_left), (right, time_right) = self._lift(left), self._lift(right)
            inner = self.curvature * (np.outer(time_left, time_right) - left @ right.T)
            distance = np.arccosh(np.maximum(inner, 1.0)) / np.sqrt(self.curvature)
            return np.asarray(-np.square(distance) if kind == "-d2" else -distance)
        square = 2 * (left @ right.T)
        square -= np.einsum("ij,ij->i", left, left)[:, None]
        square -= np.einsum("ij,ij->i", right, right)[None, :]
        np.minimum(square, 0, out=square)
        return np.asarray(square if kind == "-d2" else -np.sqrt(-square))

    def logits(self, images: Floats, texts: Floats, *, scale: float = 1.0, logit: str = "") -> Array32:
        """`scores` of every image against every text, times the model's scale: (n, d), (m, d) -> (n, m) float32."""
        return np.asarray(scale * self.scores(images, texts, logit=logit), dtype=np.float32)

    def towards_root(self, x: Floats, root: Floats, steps: int) -> Array32:
        """The way from one vector to [ROOT]: (d,), (d,) -> (steps, d), the vector first, [ROOT] last.

        Straight in Euclidean space and in the tangent space (Lorentz); normalised at every step for cosine.
        """
        weight = np.linspace(1.0, 0.0, steps)[:, None]
        line = weight * np.asarray(x, np.float64) + (1 - weight) * np.asarray(root, np.float64)
        return unit(line) if self.kind == "cosine" else np.asarray(line, dtype=np.float32)

    def exterior_angle(self, parent: Floats, child: Floats) -> Array:
        """Angle between the ray from [ROOT] through `parent` and the way on to `child`, in [0, pi] radians; (n, d) x 2 -> (n,).

        0: the child lies straight behind the parent.  Clamped, so that equal points give 0 and opposite ones pi.
        Raises GeometryError for cosine, where [ROOT] is not the apex of a cone.
        """
        if self.kind == "euclidean":
            x = np.asarray(parent, np.float64)
            step = np.asarray(child, np.float64) - x
            out = _directions(x)
            along = np.einsum("...i,...i->...", step, out)
            return np.asarray(np.arctan2(norms(step - along[..., None] * out), along))
        if self.kind == "lorentz":
            (x, time_x), (y, time_y) = self._lift(parent), self._lift(child)
            # The tangent at x towards y, from differences: near and collinear points would cancel in acos of the quotient.
            gap = self._excess(x, time_x, y, time_y)
            step, step_time = (y - x) - gap[..., None] * x, (time_y - time_x) - gap * time_x
            out = _directions(x)
            spatial = np.einsum("...i,...i->...", step, out)
            along = np.sqrt(self.curvature) * (time_x * spatial - norms(x) * step_time)
            return np.asarray(np.arctan2(norms(step - spatial[..., None] * out), along))
        raise GeometryError("entailment cones need a Euclidean or Lorentz model (EuCLIP, MERU); this one is cosine")

    def aperture(self, parent: Floats, min_radius: float = 0.1) -> Array:
        """Half-aperture of the entailment cone at `parent`: asin(K/|x|), or asin(2K/(sqrt(c)|x|)) on the hyperboloid; (n,)."""
        if self.kind == "euclidean":
            length, k = norms(parent), min_radius
        elif self.kind == "lorentz":
            length, k = norms(self._lift(parent)[0]) * np.sqrt(self.curvature), 2 * min_radius
        else:
            raise GeometryError("entailment cones need a Euclidean or Lorentz model (EuCLIP, MERU); this one is cosine")
        ratio = np.divide(k, length, out=np.ones_like(length), where=length > k)
        return np.asarray(np.arcsin(ratio))

    def entailment_loss(self, parent: Floats, child: Floats, min_radius: float = 0.1) -> Array:
        """How far `child` lies outside the cone of `parent`, in radians: max(0, exterior angle - aperture); (n,)."""
        return np.asarray(np.maximum(self.exterior_angle(parent, child) - self.aperture(parent, min_radius), 0))

    def _lift(self, x: Floats) -> tuple[Array, Array]:
        """Exponential map at the origin: tangent rows -> (space components (n, d), time components (n,))."""
        tangent = np.asarray(x, np.float64)
        scaled = np.sqrt(self.curvature) * norms(tangent)
        stretch = np.divide(np.sinh(scaled), scaled, out=np.ones_like(scaled), where=scaled > 0)
        return self._with_time(tangent * stretch[..., None])

    def _with_time(self, space: Floats) -> tuple[Array, Array]:
        wide = np.asarray(space, np.float64)
        return wide, np.sqrt(1 / self.curvature + np.einsum("...i,...i->...", wide, wide))

    def _excess(self, a: Array, time_a: Array, b: Array, time_b: Array) -> Array:
        # u of cosh(distance) = 1 + u: -c<a,b> - 1 cancels for near rows, |a-b|^2 - (ta-tb)^2 does not.
        gap = a - b
        u = self.curvature * (np.einsum("...i,...i->...", gap, gap) - np.square(time_a - time_b)) / 2
        return np.asarray(np.maximum(u, 0))

    def _geodesic(self, a: Array, time_a: Array, b: Array, time_b: Array) -> Array:
        u = self._excess(a, time_a, b, time_b)
        return np.asarray(np.log1p(u + np.sqrt(u * (u + 2))) / np.sqrt(self.curvature))


COSINE = Geometry("cosine")
EUCLIDEAN = Geometry("euclidean")
LORENTZ = Geometry("lorentz")


def geometry_named(label: str) -> Geometry:
    """The geometry of a label: "cosine", "euclidean", "lorentz" or "lorentz:CURVATURE".  Raises GeometryError."""
    kind, _, curvature = label.partition(":")
    if kind not in ("cosine", "euclidean", "lorentz") or (curvature and kind != "lorentz"):
        raise GeometryError(f"unknown geometry {label!r}; known: cosine, euclidean, lorentz[:CURVATURE]")
    try:
        value = float(curvature) if curvature else 1.0
    except ValueError as err:
        raise GeometryError(f"curvature {curvature!r} of {label!r} is not a number") from err
    if not 0 < value < float("inf"):
        raise GeometryError(f"curvature {curvature!r} must be a positive number")
    return Geometry(kind, value)
