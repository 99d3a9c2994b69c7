"""Transform coding with an entropy coder: one step for all axes of a vector, and symbols that cost what they are worth.

A uniform quantiser of one step on every axis, followed by an entropy coder, is within a quarter of a bit of the best possible
at any rate (Gish & Pierce 1968), and may spend fractions of a bit where a whole one is too much.  Codes keep a fixed width:
every vector takes the finest of 128 steps with which it fits.  Which step it took says how far from the centre it is, so that
the chances of symbols depend on it.  Cuts lie where distortion and cost balance (Chou, Lookabaugh & Gray 1989), decoded values
are the means of the rows between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.codecs._checks import LARGEST, Codes
from curate.codecs._rans import PRECISION, SLACK, WHOLE, Reader, Writer
from curate.codecs._stored_length import LENGTH_BITS, is_usual, read_length, write_length
from curate.errors import Corrupt
from curate.geometry import Array
from curate.types import Vectors

Ints: TypeAlias = npt.NDArray[np.int64]
Bits: TypeAlias = npt.NDArray[np.int32]

STEPS = 128
REACH = 63
"""Symbols are -63..63; what lies further is coded as the last."""
SYMBOLS = 2 * REACH + 1
NARROWEST, AN_OCTAVE, KINDS = 2.0**-5, 6, 48
"""Tables of chances, by the standard deviation in steps: six an octave from 1/32 on, up to 8."""
LAMBDA = 0.14
"""What a bit may cost in squared steps; at high rates, where a bit divides the error step**2 / 12 by 4, 2 ln 2 / 12."""

_UNIT = 1024
_QUANTISED_AT_ONCE = 128


def kind_of(deviation: Array) -> Codes:
    """The table for a standard deviation in steps; from `KINDS` on, that of the last octave and low bits as they are."""
    place = np.rint(np.log2(np.maximum(deviation, NARROWEST) / NARROWEST) * AN_OCTAVE)
    return np.asarray(np.minimum(place, KINDS - 1 + AN_OCTAVE * (PRECISION - 1)), dtype=np.uint8)


@dataclass(frozen=True)
class Entropy:
    """What tc learns.

    axes: (d, k) orthonormal columns.  steps: (128,) ascending.  kinds: (128, k) uint8, the table of every axis at every step.
    chances: (48, 127) of symbols, in 2**-14, and values: what they decode to, in steps.  step_chances: (128,) in 2**-14.
    usual: (1,) the length that most rows have.  usual_chance: how many have it, in 2**-14.
    """

    axes: Vectors
    steps: Vectors
    kinds: Codes
    chances: npt.NDArray[np.uint16]
    values: Vectors
    step_chances: npt.NDArray[np.uint16]
    usual: Vectors
    usual_chance: int

    def encode(self, along: Array, length: Array, width: int) -> Codes:
        """Coordinates along the axes (n, k) float64, lengths (n,) -> (n, width) uint8.

        Raises Corrupt where the tables, damaged, leave no code of `width` bytes for a row.
        """
        codes = np.zeros((len(along), width), np.uint8)
        rows = np.clip(along, -LARGEST, LARGEST).astype(np.float32)
        step = self.fitting(rows, self._head(length), (8 * width - 1) * _UNIT)
        left = np.arange(len(along))
        for _ in range(STEPS + 1):
            if not left.size:
                return codes
            # What was estimated to fit may be a bit too long: then the next step, and at last as many axes as fit for sure.
            found, fits = self._write(rows[left], step[left], length[left], width)
            codes[left[fits]] = found[fits]
            left = left[~fits]
            step[left] = np.minimum(step[left] + 1, STEPS)
        if left.size:
            raise Corrupt(f"codec header: with its tables no code of {width} bytes holds row {int(left[0])} of these")
        return codes

    def decode(self, codes: Codes) -> tuple[Array, Vectors]:
        """(n, width) uint8 -> coordinates (n, k) float64, lengths (n, 1) float32."""
        reader = Reader(codes)
        length = read_length(reader, float(self.usual[0]), self.usual_chance)
        step = self._step_of[reader.slot]
        reader.drop(self._step_start[step], self._step_size[step])
        place, low = np.empty((len(self._first_slot), len(codes)), np.uint16), np.zeros((self._wide, len(codes)))
        slot, shift = reader.slot.view(np.int64), np.ascontiguousarray(self._shifts[step].T)
        for axis, first in enumerate(self._first_slot):
            here = np.take(self._place_of, first.take(step) + slot, out=place[axis], mode="clip")
            reader.drop(self._start.take(here), self._size.take(here))
            if axis < self._wide:
                chance = np.left_shift(1, PRECISION - shift[axis], dtype=np.int64)
                low[axis] = slot // chance
                reader.drop((slot - slot % chance).astype(np.uint64), chance.astype(np.uint64))
        value, wide = self.values.ravel().take(place).astype(np.float64), slice(self._wide)
        symbol = place[wide] - self._middle[:, wide][step].T
        value[wide] = np.where(shift > 0, (symbol << shift) + low, value[wide])
        value *= self.steps[step].astype(np.float64)
        return value.T, length

    def fitting(self, rows: Vectors, head: Ints, room: int) -> Ints:
        """The finest step with which every row fits: (n, k), what else it says -> (n,), 128 where none does.  In 1/1024 bit."""
        low, high = np.zeros(len(rows), np.int64), np.full(len(rows), STEPS)
        for _ in range(STEPS.bit_length() - 1):
            middle = (low + high) // 2
            fits = self.cost(rows, middle) + head + self._step_cost[middle] <= room
            high, low = np.where(fits, middle, high), np.where(fits, low, middle)
        return high

    def cost(self, rows: Vectors, step: Ints) -> Ints:
        """What the symbols of every row cost: (n, k), (n,) -> (n,), in 1/1024 bit."""
        found = np.empty(len(rows), np.int64)
        for start in range(0, len(found), _QUANTISED_AT_ONCE):
            some = slice(start, start + _QUANTISED_AT_ONCE)
            place, _, shift = self.quantise(rows[some], step[some])
            found[some] = self._cost.ravel().take(place).sum(axis=1, dtype=np.int64) + _UNIT * shift.sum(axis=1, dtype=np.int64)
        return found

    def quantise(self, rows: Vectors, step: Ints) -> tuple[Bits, Bits, Bits]:
        """Symbols of every row: (n, k), (n,) -> where each is in a table (n, k); low bits and how many, of wide axes alone."""
        with np.errstate(over="ignore"):  # infinity is one of the numbers that are too far to say
            u = rows / self.steps[step][:, None]
        size = np.abs(u)
        far = size + self._rounding[step]
        np.minimum(far, self._furthest[step], out=far)
        far *= size >= self._first_cut[step]
        whole = np.copysign(far, u, out=far).astype(np.int32)
        shift, wide = self._shifts[step], whole[:, : self._wide]
        low = wide & ((1 << shift) - 1)
        wide >>= shift
        whole += self._middle[step]
        return whole, low, shift

    def holds_any(self, width: int) -> bool:
        """Whether any vector at all fits into `width` bytes, if only as the centre and a length."""
        zero = self.cost(np.zeros((1, self.kinds.shape[1]), np.float32), np.array([STEPS - 1]))
        return int(zero[0] + self._step_cost[STEPS - 1] + self._length_cost[1]) <= self._surely(width)

    @property
    def usual_cost(self) -> int:
        """What the length of a row costs that most have, or else any, in 1/1024 bit."""
        return int(self._length_cost[0 if 2 * self.usual_chance > WHOLE else 1])

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """What a header holds."""
        names = ("axes", "steps", "kinds", "chances", "values", "step_chances", "usual")
        return {name: getattr(self, name) for name in names} | {"usual_chance": np.array([self.usual_chance], np.uint16)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray[Any, Any]]) -> Entropy:
        """The inverse of `arrays`.  Raises KeyError and ValueError for tables that nothing can be read with."""
        names = ("axes", "steps", "kinds", "chances", "values", "step_chances", "usual")
        usual_chance = int(arrays["usual_chance"][0])
        made = cls(**{name: arrays[name] for name in names}, usual_chance=usual_chance)
        shapes = (STEPS,), (STEPS, made.axes.shape[1]), (KINDS, SYMBOLS), (KINDS, SYMBOLS), (STEPS,), (1,)
        if any(arrays[name].shape != shape for name, shape in zip(names[1:], shapes, strict=True)):
            raise ValueError("tables of the right shape")
        whole = (made.chances.sum(axis=1) == WHOLE).all() and made.step_chances.sum() == WHOLE
        if not whole or not 0 < usual_chance < WHOLE or made.kinds.max(initial=0) >= KINDS + AN_OCTAVE * (PRECISION - 1):
            raise ValueError("chances that add up to one")
        return made

    def _write(self, rows: Vectors, step: Ints, length: Array, width: int) -> tuple[Codes, np.ndarray[Any, np.dtype[np.bool_]]]:
        held = np.minimum(step, STEPS - 1)
        place, low, shift = (np.ascontiguousarray(found.T) for found in self.quantise(rows, held))
        if (step == STEPS).any():
            self._cut(place, low, shift, step, self._surely(width) - self._head(length) - self._step_cost[held])
        writer = Writer(len(held), width)
        for axis in range(len(place) - 1, -1, -1):
            if axis < self._wide:
                chance = np.left_shift(1, PRECISION - shift[axis]).astype(np.uint64)
                writer.push(low[axis].astype(np.uint64) * chance, chance)
            writer.push(self._start[place[axis]], self._size[place[axis]])
        writer.push(self._step_start[held], self._step_size[held])
        write_length(writer, length, float(self.usual[0]), self.usual_chance)
        return writer.finish()

    def _surely(self, width: int) -> int:
        """What may be spent for the code to fit for sure, in 1/1024 bit."""
        # Costs are rounded, up or down.
        return (8 * width - SLACK) * _UNIT - (len(self._first_slot) + 2) // 2

    def _cut(self, place: Bits, low: Bits, shift: Bits, step: Ints, room: Ints) -> None:
        """Sets the last axes of rows that no step makes short enough to zero, in place."""
        cut = np.flatnonzero(step == STEPS)
        zero = self._middle[STEPS - 1][:, None]
        cost, rest = (self._cost.ravel()[held].astype(np.int64) for held in (place[:, cut], zero))
        # Of the first axes what they say, of the rest that they are 0.
        spent = np.cumsum(cost, axis=0) + rest.sum() - np.cumsum(rest, axis=0) + _UNIT * shift[:, cut].sum(axis=0)
        keep = np.where(spent <= room[cut], np.arange(1, len(spent) + 1)[:, None], 0).max(axis=0, initial=0)
        gone = np.arange(len(place))[:, None] >= keep
        place[:, cut] = np.where(gone, zero, place[:, cut])
        low[:, cut] = np.where(gone[: self._wide], 0, low[:, cut])

    def _head(self, length: Array) -> Ints:
        return np.asarray(self._length_cost[(~is_usual(length, float(self.usual[0]))).astype(np.int64)], dtype=np.int64)

    @cached_property
    def _size(self) -> npt.NDArray[np.uint64]:
        return self.chances.astype(np.uint64).ravel()

    @cached_property
    def _start(self) -> npt.NDArray[np.uint64]:
        return (np.cumsum(self.chances, axis=1, dtype=np.uint64) - self.chances).ravel()

    @cached_property
    def _place_of(self) -> npt.NDArray[np.uint16]:
        """The place, table * 127 + symbol, that owns a slot: (48 * 2**14,)."""
        return np.repeat(np.arange(KINDS * SYMBOLS, dtype=np.uint16), self.chances.ravel())

    @cached_property
    def _first_slot(self) -> Ints:
        """Where in `_place_of` the table of an axis at a step begins: (k, 128)."""
        return np.ascontiguousarray(self._table[0].T, dtype=np.int64) * WHOLE

    @cached_property
    def _step_size(self) -> npt.NDArray[np.uint64]:
        return self.step_chances.astype(np.uint64)

    @cached_property
    def _step_start(self) -> npt.NDArray[np.uint64]:
        return np.cumsum(self._step_size) - self._step_size

    @cached_property
    def _step_of(self) -> Ints:
        return np.repeat(np.arange(STEPS), self.step_chances)

    @cached_property
    def _cost(self) -> Bits:
        return _cost(self.chances)

    @cached_property
    def _step_cost(self) -> Ints:
        # One more, for rows that no step makes fit.
        return np.append(_cost(self.step_chances), 0).astype(np.int64)

    @cached_property
    def _length_cost(self) -> Ints:
        chances = np.array([self.usual_chance, WHOLE - self.usual_chance])
        return np.asarray(_cost(chances).astype(np.int64) + np.array([0, LENGTH_BITS * _UNIT]), dtype=np.int64)

    @cached_property
    def _table(self) -> tuple[Codes, Ints]:
        return _split(self.kinds)

    @cached_property
    def _wide(self) -> int:
        """Axes up to the last that has low bits at any step."""
        return int(np.flatnonzero((self._table[1] > 0).any(axis=0)).max(initial=-1)) + 1

    @cached_property
    def _shifts(self) -> Bits:
        return self._table[1][:, : self._wide].astype(np.int32)

    @cached_property
    def _middle(self) -> Bits:
        return self._table[0].astype(np.int32) * SYMBOLS + REACH

    @cached_property
    def _furthest(self) -> Vectors:
        """The largest number that an axis may say at a step: (128, k)."""
        reach = (self.chances > 0).sum(axis=1) // 2
        return np.asarray(np.left_shift(reach[self._table[0]], self._table[1]) + 0.5, dtype=np.float32)

    @cached_property
    def _first_cut(self) -> Vectors:
        return np.where(self._table[1] > 0, 0.5, self._cuts[0][self._table[0]]).astype(np.float32)

    @cached_property
    def _rounding(self) -> Vectors:
        return np.where(self._table[1] > 0, 0.5, self._cuts[1][self._table[0]]).astype(np.float32)

    @cached_property
    def _cuts(self) -> tuple[Array, Array]:
        """From where on a number is no zero, and what is added before it is rounded down: (48,) both, in steps."""
        value, cost = self.values[:, REACH : REACH + 3].astype(np.float64), self._cost[:, REACH : REACH + 3] / _UNIT
        apart = np.maximum(np.diff(value, axis=1), 0.1)
        cut = (value[:, :-1] + value[:, 1:]) / 2 + LAMBDA * np.diff(cost, axis=1) / (2 * apart)
        first = np.clip(cut[:, 0], 0.5, 1.5)
        return first, np.maximum(2 - np.clip(cut[:, 1], 1.5, 2.0), 1 - first + 1e-6)


def _split(kinds: Codes) -> tuple[Codes, Ints]:
    """The table of a kind, and how many low bits its numbers have."""
    above = np.maximum(kinds.astype(np.int64) - (KINDS - 1), 0)
    shift = -(-above // AN_OCTAVE)
    return (kinds - AN_OCTAVE * shift).astype(np.uint8), shift


def _cost(chances: np.ndarray[Any, Any]) -> Bits:
    """-log2 of chances in 2**-14, in 1/1024 bit; what cannot be costs more than any code has."""
    bits = PRECISION - np.log2(np.maximum(chances, 2.0**-20))
    return np.asarray(np.rint(bits * _UNIT), dtype=np.int32)
