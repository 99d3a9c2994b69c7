"""Pixel brightness as the embedding: 3-D maps of handwritten digits by t-SNE and UMAP, with both timings.

    python examples/mnist_pixels.py                                  # scikit-learn's 1,797 digits of 8 x 8 pixels
    python examples/mnist_pixels.py MNIST --rows 5000 --out maps/    # idx files, or a folder of images in folders 0 ... 9

MNIST is a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte (also .gz).  Nothing is downloaded.
"""

import argparse
import gzip
import time
from pathlib import Path

import numpy as np
from PIL import Image

from curate.geometry import EUCLIDEAN
from curate.ops.projection import project

SIDE = 28


def digits_of_sklearn() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    held = load_digits()
    return (held.data / 16).astype(np.float32), held.target


def idx(path: Path) -> np.ndarray:
    """An idx file, plain or gzipped: a magic number with the number of dimensions, their sizes, then bytes."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise SystemExit(f"{path}: not an idx file of bytes")
    shape = np.frombuffer(data, ">i4", data[3], 4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != np.prod(shape):
        raise SystemExit(f"{path}: truncated: {values.size} bytes where {np.prod(shape)} are expected")
    return values.reshape(shape)


def from_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Flattened brightness in [0, 1] and labels, from idx files or from images in folders named by their label."""
    found = {part: sorted(folder.glob(f"*{part}*ubyte*")) for part in ("images-idx3", "labels-idx1")}
    if all(found.values()):
        # The test set sorts first; the training set is the larger one.
        images, labels = (idx(files[-1]) for files in found.values())
        return images.reshape(len(images), -1).astype(np.float32) / 255, labels.astype(int)
    files = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"))
    if not files:
        raise SystemExit(f"{folder}: neither idx files nor images in folders named by their digit")
    rows = [np.asarray(Image.open(p).convert("L").resize((SIDE, SIDE)), np.float32).ravel() / 255 for p in files]
    return np.stack(rows), np.unique([p.parent.name for p in files], return_inverse=True)[1]


def neighbours_agree(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose label is the commonest among their 5 nearest on the map, themselves left out."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    votes = labels[near]
    return float(np.mean([np.bincount(some).argmax() == label for some, label in zip(votes, labels, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=5000, help="at most so many, drawn with --seed")
    parser.add_argument("--dims", type=int, default=3, choices=(2, 3))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for tsne.csv and umap.csv: label,x,y[,z]")
    asked = parser.parse_args()
    x, labels = from_folder(asked.folder) if asked.folder else digits_of_sklearn()
    if len(x) > asked.rows:
        chosen = np.sort(np.random.default_rng(asked.seed).choice(len(x), asked.rows, replace=False))
        x, labels = x[chosen], labels[chosen]
    print(f"{len(x):,} images of {x.shape[1]} pixels, {len(np.unique(labels))} digits")
    # The first call compiles umap-learn, which would count against it.
    project(x[:200], EUCLIDEAN, method="umap", dims=2)
    seconds = {}
    for method in ("tsne", "umap"):
        start = time.perf_counter()
        found = project(x, EUCLIDEAN, method=method, dims=asked.dims, seed=asked.seed)
        seconds[method] = time.perf_counter() - start
        print(
            f"{method:5} {asked.dims}-D: {seconds[method]:7.1f} s, trustworthiness {found.trustworthiness or 0:.4f}, "
            f"neighbours of the same digit {neighbours_agree(found.points, labels):.4f}"
        )
        if asked.out:
            asked.out.mkdir(parents=True, exist_ok=True)
            head = ",".join(["label", *"xyz"[: asked.dims]])
            np.savetxt(
                asked.out / f"{method}.csv", np.column_stack([labels, found.points]), "%g", ",", header=head, comments=""
            )
    print(f"UMAP is {seconds['tsne'] / seconds['umap']:.1f} times as fast as t-SNE here (after compiling)")


if __name__ == "__main__":
    main()
