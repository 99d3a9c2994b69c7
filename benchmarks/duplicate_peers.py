"""The peers of `benchmarks/duplicates.py`: installed each in a virtual environment of its own, run on the same photographs.

A peer that cannot be installed or run is printed with the end of its error, never left out silently.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent / "peers"

_HASHES_NEED = "numpy scipy scikit-learn pillow tqdm PyWavelets matplotlib"
PEERS = {
    # imagededup asks for torchvision, which its hashes do not need: its other parts are named one by one.
    "imagededup": ("hash_pairs.py", [["--no-deps", "imagededup==0.3.3.post2"], _HASHES_NEED.split()]),
    "cleanvision": ("issue_pairs.py", [["cleanvision==0.3.7"]]),
    "semhash": ("vector_pairs.py", [["semhash==0.5.0"]]),
    "fiftyone": ("brain_pairs.py", [["fiftyone==1.22.1"]]),
}  # fmt: skip


def python_of(name, folder, installs):
    """The interpreter of a peer's environment, made and filled where it is not there; or the reason why there is none."""
    home = folder / name
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    if (home / "complete").exists():
        return python, ""
    for packages in installs:
        done = subprocess.run([python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True)
        if done.returncode:
            return None, _end(done.stderr)
    (home / "complete").touch()
    return python, ""


def _end(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"


def answers(name, python, images, features):
    """What a peer's script found, {method: {pairs, default, unit, cpu}}; or the reason why it did not end."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "out.json"
        source = features if PEERS[name][0] in ("vector_pairs.py", "brain_pairs.py") else images
        done = subprocess.run([python, HERE / PEERS[name][0], source, out], capture_output=True, text=True, timeout=1_800)
        if done.returncode or not out.exists():
            return {}, _end(done.stderr)
        return json.loads(out.read_text()), ""


def figures(pairs, group):
    """F1, precision and recall over pairs; groups lost and copies left, where each file by name stays and its pairs go."""
    copies = sum(n * (n - 1) // 2 for n in Counter(group.values()).values())
    right = sum(group[a] == group[b] for a, b in pairs)
    precision, recall = right / max(len(pairs), 1), right / copies
    near = {}
    for a, b in pairs:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    gone = set()
    for name in sorted(group):
        if name not in gone:
            gone.update(n for n in near.get(name, ()) if n > name)
    left = Counter(group[n] for n in group if n not in gone)
    lost, extra = len(set(group.values())) - len(left), sum(n - 1 for n in left.values())
    return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall, lost, extra


def best_cut(scored, group):
    """The cut with the best F1 on these very images, which flatters the peer."""
    rows = sorted(scored, key=lambda r: r[2])
    truth = np.array([group[a] == group[b] for a, b, _ in rows])
    score = np.array([r[2] for r in rows])
    copies = sum(n * (n - 1) // 2 for n in Counter(group.values()).values())
    hits = np.cumsum(truth)
    f1 = 2 * hits / (np.arange(1, len(rows) + 1) + copies)
    last = np.flatnonzero(np.diff(score, append=np.inf) > 0)  # a cut takes all pairs of one score
    return float(score[last[np.argmax(f1[last])]]) if len(rows) else 0.0


def run(folder, thumbs, vectors, ids, group, say):
    """Prints every peer's figures on the photographs `thumbs` (name -> JPEG bytes) with `vectors` of `ids`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        images, features = Path(work) / "images", Path(work) / "features.npz"
        images.mkdir()
        for name in ids:
            (images / name).write_bytes(thumbs[name])
        np.savez(features, files=np.array(ids), F=vectors)
        for name, (_, installs) in PEERS.items():
            python, error = python_of(name, folder, installs)
            found, error = answers(name, python, images, features) if python else ({}, error)
            if error:
                say(f"{name}: not run", error, "", "")
            for method, held in found.items():
                for what, cut in (("default", held["default"]), ("best here", best_cut(held["pairs"], group))):
                    chosen = [(a, b) for a, b, score in held["pairs"] if score <= cut]
                    f1, precision, recall, lost, extra = figures(chosen, group)
                    say(
                        f"{name} {method}, {what} ({cut:.3g} {held['unit']}): F1 P R / lost / left, CPU",
                        f"{f1:.3f} {precision:.3f} {recall:.3f} / {lost} / {extra}, {held['cpu']:.0f} s",
                        "",
                        "",
                    )
