"""Codecs: round trips, same bytes alone and in a batch, lengths that survive, bounds that hold, refusals with a reason."""

import dataclasses
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from curate import codecs
from curate.codecs import NAMES, codec_from_header, codec_named, drift, hamming, matryoshka, split_pairs, verify
from curate.codecs._entropy import Entropy
from curate.codecs._header import pack_header
from curate.codecs._lloyd import normal_codes, normal_levels
from curate.codecs._rans import WHOLE, Reader, Writer
from curate.codecs._rotation import Rotation
from curate.codecs._whole_bits import WholeBits, allocate_bits
from curate.errors import ConfigError, Corrupt, EmbedderError, UnknownName, WrongVersion
from curate.geometry import COSINE, EUCLIDEAN, GUARD, LORENTZ, norms, unit
from curate.protocols import Codec as CodecSeam

EVERY = (*NAMES, "binary-raw")
# name -> mean relative distance to the decoded row that normal data of 64 dimensions may show
LOSS = {"f32": 0, "f16": 3e-4, "int8": 0.0065, "int4": 0.11, "tc:4": 0.12, "tc:3": 0.2, "tc:2": 0.36, "tc:1": 0.62}


def rng(seed=0):
    return np.random.default_rng(seed)


def rows(n=300, dim=64, seed=0, lengths=True):
    """Clustered rows of very different lengths around a mean that is not zero."""
    made = rng(seed)
    x = made.standard_normal((12, dim))[made.integers(0, 12, n)] + 0.6 * made.standard_normal((n, dim)) + 0.5
    if lengths:
        x *= np.exp(0.8 * made.standard_normal((n, 1)))
    return x.astype(np.float32)


def fitted(name, x, geometry=COSINE):
    return codec_named(name).fit(x, geometry, rng())


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("geometry", [COSINE, EUCLIDEAN, LORENTZ], ids=lambda g: g.label)
def test_round_trip_keeps_lengths_and_directions(name, geometry):
    x = rows(lengths=geometry is not LORENTZ)
    if geometry is LORENTZ:
        x /= 10
    codec = fitted(name, x, geometry)
    codes = codec.encode(x)
    assert codes.dtype == np.uint8 and codes.shape == (len(x), codec.bytes_per_vector(64))
    y = codec.decode(codes)
    assert y.dtype == np.float32 and y.shape == x.shape
    length = norms(x)
    assert np.quantile(np.abs(norms(y) / length - 1), 0.99) <= 0.002
    # where nothing is divided by lengths, the longest rows set the scale of what tc and binary learn
    allowed = LOSS.get(name, 0.9) * (1.0 if geometry is COSINE else 1.35)
    assert (norms(x - y) / length).mean() <= allowed
    verify(codec, x, codes)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dim", [1, 2, 3, 31, 64, 129])
def test_one_vector_has_the_bytes_it_has_in_a_batch(name, dim):
    x = rows(300, dim) - 0.5
    codec = fitted(name, x, EUCLIDEAN)
    codes = codec.encode(x)
    for row in (0, 7, 255, 299):
        np.testing.assert_array_equal(codec.encode(x[row : row + 1])[0], codes[row])
    np.testing.assert_array_equal(codec.encode(np.asfortranarray(x)), codes)
    backwards = codec.encode(np.ascontiguousarray(x[::-1]))
    np.testing.assert_array_equal(backwards[::-1], codes)
    np.testing.assert_array_equal(codec.decode(codes)[7], codec.decode(codes[7:8])[0])


@pytest.mark.parametrize("name", EVERY)
def test_header_brings_the_codec_back(name):
    x = rows()
    codec = fitted(name, x)
    again = codec_from_header(codec.header())
    assert again.header() == codec.header() and again.name == codec.name == name and again.dim == 64
    np.testing.assert_array_equal(again.encode(x), codec.encode(x))
    np.testing.assert_array_equal(again.decode(codec.encode(x)), codec.decode(codec.encode(x)))
    assert (again.bound is None) == (codec.bound is None)
    if codec.bound is not None:
        assert again.bound.band(0.1) == codec.bound.band(0.1)
    assert fitted(name, x).header() == codec.header()
    assert isinstance(codec, CodecSeam)


def test_int8_is_stateless_and_its_bytes_are_pinned():
    x = rows(40)
    np.testing.assert_array_equal(codec_named("int8").encode(x), fitted("int8", rows(99, seed=5), EUCLIDEAN).encode(x))
    made = codec_named("int8").encode(np.arange(1, 9, dtype=np.float32)[None])
    assert struct.unpack("<f", made[0, :4].tobytes())[0] == pytest.approx(204**0.5)
    assert codec_named("int8").bytes_per_vector(512) == 516 and 2048 / 516 > 3.9


def test_zero_constant_huge_and_tiny_rows_survive():
    x = rows(64, 16)
    x[:, 9] = 7.0
    x[3] = 0
    x[4] = 1e30 * rng(1).standard_normal(16)
    x[5] = 1e-38 * rng(2).standard_normal(16)
    for name in ("f32", "int8", "int4", "binary"):
        codec = fitted(name, rows(64, 16), EUCLIDEAN)
        y = codec.decode(codec.encode(x))
        assert np.isfinite(y).all() and (y[3] == 0).all()
        assert np.abs(norms(y)[4] / norms(x)[4] - 1) < 0.002
    y = codec_named("int8").decode(codec_named("int8").encode(x))
    assert (norms(x - y)[[4, 5]] <= 0.03 * norms(x)[[4, 5]]).all()


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_equal(name):
    x = np.full((300, 20), 0.25, np.float32)
    codec = fitted(name, x, EUCLIDEAN)
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, rtol=0.02)


@pytest.mark.parametrize("name", ["f32", "f16", "int8"])
def test_one_row_of_one_dimension(name):
    x = np.array([[-3.5]], np.float32)
    codec = fitted(name, x, EUCLIDEAN)
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, rtol=1e-3)
    assert codec.decode(codec.encode(x[:0])).shape == (0, 1)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_with_the_row(name, bad):
    x = rows(300, 8) - 0.5
    codec = fitted(name, x)
    x[41, 2] = bad
    with pytest.raises(EmbedderError, match="row 41 holds NaN or infinity"):
        codec.encode(x)


@pytest.mark.parametrize("name", EVERY)
def test_wrong_dimension_and_width_are_refused(name):
    x = rows(300, 8) - 0.5
    codec = fitted(name, x)
    with pytest.raises(EmbedderError, match="9 dimensions, the codec was made for 8"):
        codec.encode(rows(2, 9))
    with pytest.raises(Corrupt, match="expected uint8"):
        codec.decode(np.zeros((2, codec.bytes_per_vector(8) + 1), np.uint8))
    with pytest.raises(EmbedderError, match="must be"):
        codec.encode(np.zeros(8, np.float32))


@pytest.mark.parametrize(("name", "need"), [("int4", 32), ("binary", 32), ("tc:1", 256), ("tc:4", 256)])
def test_too_few_rows_to_learn_from(name, need):
    with pytest.raises(ConfigError, match=rf"at least {need} rows of 64 dimensions; there are {need - 1}. int8 needs none"):
        fitted(name, rows(need - 1))
    fitted(name, rows(need))
    with pytest.raises(ConfigError, match="needs at least 1024 rows"):
        fitted("tc:2", rows(600, 512))


@pytest.mark.parametrize("name", ["int4", "tc:2", "binary"])
def test_what_learns_must_be_fitted_first(name):
    for use in (lambda c: c.encode(rows()), lambda c: c.decode(np.zeros((1, 9), np.uint8)), lambda c: c.header()):
        with pytest.raises(ConfigError, match="must be fitted"):
            use(codec_named(name))


def test_raw_signs_of_non_negative_features_are_refused():
    x = np.abs(rows())
    with pytest.raises(ConfigError, match=r"after a ReLU.*use binary"):
        fitted("binary-raw", x)
    exact = np.argsort(COSINE.pairwise(x[:50], x), axis=1)[:, 1:11]
    codec = fitted("binary", x)
    codes = codec.encode(x)
    near = np.argsort(hamming(codes[:50], codes), axis=1, kind="stable")[:, 1:11]
    raw = np.packbits(x > 0, axis=1)
    assert len(np.unique(raw, axis=0)) == 1, "every raw sign is the same"
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, near, strict=True)]) > 0.4


def test_f16_refuses_what_it_cannot_hold():
    with pytest.raises(EmbedderError, match="up to 65504"):
        codec_named("f16").encode(np.full((1, 4), 1e6, np.float32))


def test_a_row_longer_than_a_float_is_refused():
    with pytest.raises(EmbedderError, match="row 1 is longer"):
        codec_named("int8").encode(np.array([[1, 1], [3e38, 3e38]], np.float32))


def test_names():
    assert codec_named(" INT8 ").name == "int8" and codecs.DEFAULT == "int8"
    with pytest.raises(UnknownName, match="did you mean 'int8'"):
        codec_named("int9")
    for wrong in ("tc:0", "tc:5", "tc:", "tc"):
        with pytest.raises(ConfigError, match="1 to 4 bits"):
            codec_named(wrong)


def test_duplicates_are_never_decided_below_four_bits():
    decides = {name for name in EVERY if codec_named(name).decides_duplicates}
    assert decides == {"f32", "f16", "int8", "int4", "tc:4"}
    for name in decides:
        assert codec_named(name).bytes_per_vector(512) * 8 >= 4 * 512


def test_sizes_at_512_dimensions():
    ratio = {name: 2048 / codec_named(name).bytes_per_vector(512) for name in NAMES}
    at_least = {"int8": 3.9, "int4": 7.7, "tc:2": 15, "tc:1": 28, "binary": 28}
    assert all(ratio[name] >= wanted for name, wanted in at_least.items())


@pytest.mark.parametrize("name", ["f16", "int8", "int4", "tc:4", "tc:2", "binary"])
@pytest.mark.parametrize("geometry", [COSINE, EUCLIDEAN], ids=lambda g: g.label)
def test_pairs_decided_by_the_bound_are_right(name, geometry):
    """Fitted on some rows, tried on others with planted copies: a decision outside the band never contradicts the floats."""
    x = unit(rows(1600)) if geometry is COSINE else rows(1600, lengths=False)
    codec = fitted(name, x[:800], geometry)
    base = x[800:]
    copies = base + 0.08 * norms(base)[:, None] / 8 * rng(3).standard_normal(base.shape)
    decoded = codec.decode(codec.encode(base)), codec.decode(codec.encode(copies.astype(np.float32)))
    i, j = np.concatenate([np.arange(800)] * 2), np.concatenate([np.arange(800), np.roll(np.arange(800), 1)])
    true = geometry.distance(base[i], copies.astype(np.float32)[j])
    seen = geometry.distance(decoded[0][i], decoded[1][j])
    for radius in np.quantile(true, [0.1, 0.3, 0.49, 0.6, 0.9]):
        band = codec.bound.band(float(radius))
        assert band.low <= radius - GUARD and band.high >= radius + GUARD
        split = split_pairs(seen, band)
        decided = ~split.borderline
        assert (split.inside[decided] == (true[decided] <= radius)).all()
        assert not (split.inside & split.borderline).any()
    if codec.decides_duplicates:
        band = codec.bound.band(float(np.median(true)))
        assert split_pairs(seen, band).borderline.mean() < 0.5, "the bound leaves most pairs decided"


def test_the_middle_of_the_band_takes_the_bias_out():
    x = unit(rows(4000, 128, lengths=False))
    codec = fitted("int4", x[:2000])
    y = codec.decode(codec.encode(x[2000:]))
    i, j = np.triu_indices(500, 1)
    true, seen = COSINE.distance(x[2000:][i], x[2000:][j]), COSINE.distance(y[i], y[j])
    radius = float(np.quantile(true, 0.02))
    band = codec.bound.band(radius)
    near = np.abs(true - radius) < 0.02
    assert abs(np.median(seen[near] - true[near]) - (band.middle - radius)) < 0.002


def test_impossible_radius_is_refused():
    codec = fitted("int8", rows())
    with pytest.raises(ConfigError, match="impossible"):
        codec.bound.band(2.5)


def test_verify_finds_codes_of_other_vectors():
    x = rows()
    for name in NAMES:
        codec = fitted(name, x)
        codes = codec.encode(x)
        verify(codec, x, codes)
        swapped = codes.copy()
        swapped[[4, 5]] = swapped[[5, 4]]
        with pytest.raises(Corrupt, match="decoded row 4"):
            verify(codec, x, swapped)
        with pytest.raises(Corrupt):
            verify(codec, x, codes[1:])


def test_damaged_lengths_are_refused():
    codes = codec_named("int8").encode(rows(3))
    codes[1, :4] = np.frombuffer(struct.pack("<f", np.nan), np.uint8)
    with pytest.raises(Corrupt, match="not a finite number"):
        codec_named("int8").decode(codes)


def test_damaged_or_newer_headers_are_refused():
    header = fitted("tc:2", rows()).header()
    for wrong in (b"", b"nonsense", header[:20], header[:-3], header + b"x", b"XXXX" + header[4:]):
        with pytest.raises(Corrupt):
            codec_from_header(wrong)
    with pytest.raises(WrongVersion, match="upgrade"):
        codec_from_header(header[:4] + bytes([99]) + header[5:])
    with pytest.raises(WrongVersion, match="newer curate"):
        codec_from_header(pack_header({"codec": "int3", "dim": 4}))
    with pytest.raises(Corrupt, match="without"):
        codec_from_header(pack_header({"codec": "int4", "dim": 4}))
    with pytest.raises(Corrupt):
        codec_from_header(pack_header({"dim": 4}))


def test_header_is_plain_json_and_arrays():
    header = fitted("int8", rows()).header()
    assert header[:4] == b"CURC"
    (length,) = struct.unpack_from("<I", header, 5)
    assert json.loads(header[9 : 9 + length])["codec"] == "int8"


@pytest.mark.parametrize("name", ["int4", "tc:4", "binary"])
def test_drift_tells_other_vectors_from_the_same_kind(name):
    x = unit(rows(1200, 32, lengths=False))
    codec = fitted(name, x[:600])
    assert drift(codec, x[600:]) < 1.3
    assert drift(codec_named("int8"), x) == 1.0
    if name != "binary":
        other = unit(rng(9).standard_normal((300, 32)) - 3.0)
        small = unit(1.0 + 0.02 * rng(8).standard_normal((1200, 32)).astype(np.float32))
        assert drift(fitted(name, small), other) > codecs.DRIFT


def test_matryoshka_only_where_declared():
    x = rows(4, 64)
    np.testing.assert_array_equal(matryoshka(x, 32, declared=[32, 16]), x[:, :32])
    with pytest.raises(ConfigError, match=r"declares no Matryoshka dimension 32 \(declared: none\)"):
        matryoshka(x, 32, declared=[])
    with pytest.raises(ConfigError, match="fewer than 128"):
        matryoshka(x, 128, declared=[128])


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8, 96, 127])
def test_rotation_is_orthogonal_and_spreads_an_axis(dim):
    turn = Rotation(dim, seed=3)
    matrix = turn.forward(np.eye(dim, dtype=np.float32)).astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dim), atol=1e-5)
    x = rows(5, dim)
    np.testing.assert_allclose(turn.inverse(turn.forward(x)), x, atol=1e-5 * np.abs(x).max())
    if dim >= 96:
        assert np.abs(matrix).max() < 0.75, "no coordinate carries most of a row"


def test_lloyd_max_levels_of_the_normal_distribution():
    assert normal_levels(1) == pytest.approx([0.7979], abs=1e-4)
    assert normal_levels(2) == pytest.approx([0.4528, 1.510], abs=1e-3)
    assert normal_levels(4)[-1] == pytest.approx(2.7326, abs=1e-3)
    y = rng().standard_normal((1, 200_000)).astype(np.float32)
    codes, table = normal_codes(y, 4)
    assert np.mean((y - table[codes]) ** 2) == pytest.approx(0.009497, rel=0.03)
    nearest = np.abs(y[0, :2000, None] - table).argmin(axis=1)
    np.testing.assert_array_equal(codes[0, :2000], nearest)


def test_bits_follow_variance():
    bits = allocate_bits(np.array([16.0, 1.0, 1 / 16, 0.0]), 6)
    assert bits.tolist() == [4, 2, 0, 0] or bits.tolist() == [3, 2, 1, 0]
    assert allocate_bits(np.zeros(4), 8).sum() == 0
    assert allocate_bits(np.ones(4), 8).tolist() == [2, 2, 2, 2]


def test_hamming_counts_differing_bits():
    x = rows()
    codes = fitted("binary", x).encode(x)
    bits = np.unpackbits(codes[:, 4:], axis=1)
    np.testing.assert_array_equal(hamming(codes[:5], codes), (bits[:5, None] != bits[None]).sum(axis=2))


@pytest.mark.parametrize("geometry", [COSINE, EUCLIDEAN], ids=["cosine", "euclidean"])
def test_int4_leaves_the_distances_of_close_rows_where_they_were(geometry):
    x = np.repeat(rows(1500, lengths=False), 2, axis=0)
    x = (x + 0.25 * x.std() * rng(3).normal(size=x.shape)).astype(np.float32)
    codec = fitted("int4", x[:1000], geometry)
    assert codec.shrink < 1
    y = codec_from_header(codec.header()).decode(codec.encode(x[1000:]))
    pair = np.arange(0, len(y), 2)
    true = geometry.distance(x[1000:][pair], x[1000:][pair + 1])
    seen = geometry.distance(y[pair], y[pair + 1])
    plain = dataclasses.replace(codec, shrink=1.0).decode(codec.encode(x[1000:]))
    without = geometry.distance(plain[pair], plain[pair + 1])
    assert abs(np.median(seen / true) - 1) < 0.3 * abs(np.median(without / true) - 1)


def chances(made, symbols):
    weight = made.integers(1, 60, symbols) ** 2
    found = 1 + (weight / weight.sum() * (WHOLE - symbols)).astype(int)
    found[0] += WHOLE - found.sum()
    return found.astype(np.uint64)


@pytest.mark.parametrize("seed", range(6))
def test_a_range_coder_gives_back_what_it_was_given(seed):
    made = rng(seed)
    tables = [chances(made, int(symbols)) for symbols in made.integers(2, 100, 60)]
    said = [made.choice(len(t), 500, p=t / WHOLE) for t in tables]
    said[3][:] = len(tables[3]) - 1
    said[7][::2], said[7][1::2] = 0, tables[7].argmin()
    starts = [np.cumsum(t) - t for t in tables]
    cost = sum(-np.log2(t[symbol] / WHOLE) for t, symbol in zip(tables, said, strict=True))
    width = int(np.median(cost) / 8) + 1  # about half of the rows fit
    writer = Writer(500, width)
    for t, start, symbol in zip(tables, starts, said, strict=True):
        writer.push(start[symbol], t[symbol])
    codes, fits = writer.finish()
    assert fits[cost <= 8 * width - 15].all() and not fits[cost > 8 * width + 15].any() and 0 < fits.sum() < 500
    reader = Reader(codes)
    for t, start, symbol in reversed(list(zip(tables, starts, said, strict=True))):
        found = np.searchsorted(start, reader.slot, side="right") - 1
        np.testing.assert_array_equal(found[fits], symbol[fits])
        reader.drop(start[found], t[found])


@pytest.fixture(scope="module")
def long_rows():
    """Rows of 256 dimensions whose variance falls off, as that of real embeddings does."""
    made = rng(4)
    x = made.standard_normal((1700, 256)) * (np.arange(256) + 4.0) ** -0.8
    x *= np.exp(0.2 * made.standard_normal((1700, 1)))
    return (x + 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def long_codec(long_rows):
    return fitted("tc:1", long_rows[:1000])


def test_entropy_coding_keeps_more_neighbours_than_whole_bits(long_rows):
    learned, x = unit(long_rows[:1000]), unit(long_rows[1000:])
    codec = fitted("tc:1", learned)
    assert isinstance(codec.scheme, Entropy)
    centred = codec.frame.centre(learned, np.ones(1000)).astype(np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred / 1000)
    before = dataclasses.replace(codec, scheme=WholeBits.learn(centred, variance[::-1], axes[:, ::-1], 256))
    near = np.argsort(COSINE.pairwise(x, x), axis=1)[:, 1:11]

    def loss_and_recall(codec):
        y = codec.decode(codec.encode(x))
        found = np.argsort(COSINE.pairwise(y, y), axis=1)[:, 1:11]
        return np.mean(norms(x - y) ** 2), np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near, found, strict=True)])

    (loss, recall), (loss_before, recall_before) = loss_and_recall(codec), loss_and_recall(before)
    assert loss < 0.93 * loss_before and recall > recall_before + 0.01


def test_entropy_codes_are_the_same_alone_and_after_a_header(long_rows, long_codec):
    x = long_rows[1000:1300]
    codes = long_codec.encode(x)
    again = codec_from_header(long_codec.header())
    assert again.header() == long_codec.header()
    for row in (0, 17, 299):
        np.testing.assert_array_equal(again.encode(x[row : row + 1])[0], codes[row])
        np.testing.assert_array_equal(again.decode(codes[row : row + 1])[0], long_codec.decode(codes)[row])
    verify(again, x, codes)


def test_rows_unlike_the_sample_fit_and_keep_their_lengths(long_rows, long_codec):
    far = rng(5).standard_normal((60, 256)).astype(np.float32)
    one = np.eye(256, dtype=np.float32)[::8]
    x = np.concatenate([long_rows[1000:1100], far, one, -one, 1e30 * far[:9], 1e-30 * far[:9], np.zeros((1, 256), np.float32)])
    for codec in (long_codec, fitted("tc:1", long_rows[:1000], EUCLIDEAN)):
        codes = codec.encode(x)
        assert codes.shape == (len(x), 36)
        y = codec.decode(codes)
        np.testing.assert_allclose(norms(y), norms(x), rtol=3e-5)
        verify(codec, x, codes)
        assert (norms(x[:100] - y[:100]) < 0.9 * norms(x[:100])).all()


@pytest.mark.parametrize("name", ["int8", "tc:1"])
@pytest.mark.parametrize("scale", [1, 1e-30])
def test_the_longest_rows_that_a_float_can_say_survive(long_rows, name, scale):
    one = np.eye(256, dtype=np.float32)[::16] * np.finfo(np.float32).max
    x = np.concatenate([one, -one, 3.3e38 * unit(rng(7).standard_normal((9, 256))), 1e-38 * unit(long_rows[:9])])
    for geometry in (COSINE, EUCLIDEAN):
        codec = fitted(name, long_rows[:600] * np.float32(scale), geometry)
        y = codec.decode(codec.encode(x.astype(np.float32)))
        assert np.isfinite(y).all()
        np.testing.assert_allclose(norms(y), norms(x), rtol=3e-5, atol=1e-40)


def test_tables_with_which_nothing_fits_say_so(long_rows, long_codec):
    scheme = long_codec.scheme
    never = np.full((*scheme.chances.shape,), 1, np.uint16)
    never[:, 0] += WHOLE - never.shape[1]
    wrong = dataclasses.replace(long_codec, scheme=dataclasses.replace(scheme, chances=never))
    with pytest.raises(Corrupt, match="no code of 36 bytes holds row 0"):
        wrong.encode(long_rows[:3])


def test_unit_vectors_decode_to_unit_vectors_and_leave_the_length_to_the_code(long_rows):
    x = unit(long_rows)
    codec = fitted("tc:1", x[:1000])
    y = codec.decode(codec.encode(x[1000:]))
    np.testing.assert_allclose(norms(y), 1, atol=2e-6)
    np.testing.assert_allclose(norms(codec.decode(codec.encode(7 * x[1000:]))), 7, rtol=3e-5)


def test_damaged_entropy_codes_decode_to_something_or_are_refused(long_codec):
    noise = rng(6).integers(0, 256, (40, 36)).astype(np.uint8)
    refused = 0
    for code in noise:
        try:
            assert np.isfinite(long_codec.decode(code[None])).all()
        except Corrupt:
            refused += 1
    assert refused < 40
    assert long_codec.decode(np.zeros((2, 36), np.uint8)).shape == (2, 256)


def test_entropy_tables_that_do_not_add_up_are_refused(long_codec):
    arrays = long_codec.scheme.arrays()
    for name in ("chances", "step_chances", "kinds"):
        wrong = dict(arrays)
        wrong[name] = wrong[name] + np.ones_like(wrong[name])[..., :1] * 200
        with pytest.raises(ValueError, match="add up"):
            Entropy.from_arrays(wrong)


@pytest.mark.parametrize("bits", [1, 4])
def test_codes_that_an_earlier_version_wrote_still_decode(bits):
    """Written before there was an entropy coder, by the version of commit 1bae49b."""
    held = np.load(Path(__file__).parent / "golden" / "tc_whole_bits.npz")
    codec = codec_from_header(held[f"header{bits}"].tobytes())
    assert codec.name == f"tc:{bits}" and codec.header() == held[f"header{bits}"].tobytes()
    decoded = codec.decode(held[f"codes{bits}"])
    np.testing.assert_allclose(decoded, held[f"decoded{bits}"], rtol=1e-6, atol=1e-7)
    verify(codec, decoded, codec.encode(decoded))
