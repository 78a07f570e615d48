"""Decoding of logit rolls as the host does it, and every figure of the evaluation table.

Bars are arrays of states (n, 16): 0..35 onset of MIDI pitch 48 + state, 36 rest, 37 hold. Figures follow the definitions of
the trials, so that they compare; each function's docstring is the definition.
"""

from collections import Counter

import numpy as np

from prepare import HOLD, LOWEST_PITCH, N_PITCHES, N_STEPS, NO_BAR, REST

MAX_LEAP = 7


# Decoding ------------------------------------------------------------------------------------------------------------


def quantise(logits):
    """Logits -> the host's int8 roll: one step is 1/16 logit, clamped to ±8 (so the largest value is 127)."""
    return np.clip(np.rint(logits * 16), -128, 127).astype(np.int8)


def decode_one_of_n(roll, n_pitches, temperature, threshold, rng):
    """Decode int8 rolls (n, 16, n_pitches + 2): argmax of logit + temperature x Gumbel, pitches lowered by logit(threshold).

    `temperature` is the host's knob times the manifest's calibration factor. Returns classes (n, 16).
    """
    scores = roll.astype(np.float32) / 16
    scores[..., :n_pitches] -= np.log(threshold / (1 - threshold))
    if temperature > 0:
        scores += temperature * rng.gumbel(size=scores.shape)
    return scores.argmax(-1)


def classes_from_states(states, lowest_pitch, n_pitches):
    """States (n, 16) of 0..37 or 255 -> one-hot classes (n, 16, n_pitches + 2) of a model with another pitch range."""
    table = np.zeros((256, n_pitches + 2), np.float32)
    for state in range(N_PITCHES):
        table[state, state + LOWEST_PITCH - lowest_pitch] = 1
    table[REST, n_pitches] = 1
    table[HOLD, n_pitches + 1] = 1
    return table[states]


def states_from_classes(classes, lowest_pitch, n_pitches):
    """Classes (n, 16) -> states (n, 16); pitches outside 48..83 fold by octaves."""
    table = np.zeros(n_pitches + 2, np.uint8)
    for idx in range(n_pitches):
        pitch = idx + lowest_pitch
        while pitch < LOWEST_PITCH:
            pitch += 12
        while pitch >= LOWEST_PITCH + N_PITCHES:
            pitch -= 12
        table[idx] = pitch - LOWEST_PITCH
    table[n_pitches], table[n_pitches + 1] = REST, HOLD
    return table[classes]


def merge_repeats(states):
    """Equal consecutive pitches become one note (for a model that cannot tell a repeat from a hold); bars stay apart."""
    merged = states.copy()
    sounding = states[:, 0].copy()
    for t in range(1, N_STEPS):
        now = states[:, t]
        merged[:, t] = np.where((now == sounding) & (now < N_PITCHES), HOLD, now)
        sounding = np.where(now == HOLD, sounding, now)
    return merged


# Figures of a set of bars -------------------------------------------------------------------------------------------


def total_variation(a, b):
    """Half the L1 distance of two histograms given as Counters or arrays of counts."""
    if isinstance(a, Counter):
        n_a, n_b = sum(a.values()), sum(b.values())
        return 0.5 * sum(abs(a[key] / n_a - b[key] / n_b) for key in set(a) | set(b))
    return float(0.5 * np.abs(a / a.sum() - b / b.sum()).sum())


def is_onset(states):
    """(n, 16) bool."""
    return states < N_PITCHES


def onset_histogram(states):
    """Onsets per step, (16,) counts."""
    return is_onset(states).sum(0)


def last_pitch(states):
    """Last onset of each bar as a state, -1 without one: (n,)."""
    onset = is_onset(states)
    at = N_STEPS - 1 - onset[:, ::-1].argmax(1)
    return np.where(onset.any(1), states[np.arange(len(states)), at].astype(int), -1)


def intervals(states, previous):
    """Intervals in semitones between consecutive onsets, the first from the previous bar's last onset where it has one."""
    lead = last_pitch(previous)[:, None]
    line = np.concatenate([lead, np.where(is_onset(states), states.astype(int), -1)], 1)
    out = []
    for row in line:
        row = row[row >= 0]
        out.append(np.diff(row))
    return np.concatenate(out) if out else np.zeros(0, int)


def interval_histogram(semitones):
    """Counts of -35..35."""
    return np.bincount(semitones + N_PITCHES - 1, minlength=2 * N_PITCHES - 1)


def chord_tones(states, masks):
    """(hits, on_beat) for every onset: whether its pitch class belongs to the chord of its half bar; chordless ones left out."""
    rows, steps = np.nonzero(is_onset(states))
    mask = masks[rows, steps // 8]
    hits = (mask >> ((states[rows, steps].astype(int) + LOWEST_PITCH) % 12)) & 1
    known = mask > 0
    return hits[known].astype(bool), (steps[known] % 4 == 0)


def rhythms(states):
    """The onset pattern of each bar as bytes; what the trials counted as a bar's rhythm."""
    return [row.tobytes() for row in np.packbits(is_onset(states), axis=1)]


def relative(states):
    """Bars as (n, w) int16 that are equal when they are transpositions of each other: pitches from the first onset."""
    onset = is_onset(states)
    first = states[np.arange(len(states)), onset.argmax(1)].astype(np.int16)
    return np.where(onset, states.astype(np.int16) - first[:, None], states.astype(np.int16) + 1000)


def keys(rows):
    """Rows of an array as a list of bytes."""
    return [row.tobytes() for row in np.ascontiguousarray(rows)]


class TrainingBars:
    """The training set's bars and pairs of bars, for the measure of copying (transposition-invariant, exact)."""

    def __init__(self, bars):
        self.bars = set(keys(relative(bars.states)))
        both, _ = self._pairs(bars.states, bars.previous)
        self.pairs = set(both)

    @staticmethod
    def _pairs(states, previous):
        usable = (previous[:, 0] != NO_BAR) & is_onset(previous).any(1) & is_onset(states).any(1)
        return keys(relative(np.concatenate([previous, states], 1)[usable])), usable

    def copies(self, states, previous):
        """Shares of bars that equal a training bar: any bar, a bar of four notes or more, the pair (previous, bar).

        The first two are shares of all bars, as in the trials. The previous bar is what stood before: a real one when
        single bars are measured, a generated one in roll-outs.
        """
        found = np.array([key in self.bars for key in keys(relative(states))]) & is_onset(states).any(1)
        long = is_onset(states).sum(1) >= 4
        pairs, _ = self._pairs(states, previous)
        return float(found.mean()), float((found & long).mean()), float(np.mean([key in self.pairs for key in pairs]))


def shuffled_within(masks, song, rng):
    """Chords exchanged between the bars of a song: the control of the chord-tone rate, at the same key."""
    out = masks.copy()
    for name in np.unique(song):
        rows = np.flatnonzero(song == name)
        out[rows] = masks[rng.permutation(rows)]
    return out


def figures(bars, reference, training):
    """All figures of a set of bars. `bars`, `reference`: dicts of states, previous (n, 16), masks (n, 2), song (n,), same n.

    Total variations are to `reference`, which must be a different set of real bars of the same size: both these and the
    share of distinct rhythms depend on the number of bars.
    """
    states, previous, masks = bars["states"], bars["previous"], bars["masks"]
    n = len(states)
    assert n == len(reference["states"]), "sample sizes differ"
    semitones = intervals(states, previous)
    hits, on_beat = chord_tones(states, masks)
    shuffled, _ = chord_tones(states, shuffled_within(masks, bars["song"], np.random.default_rng(0)))
    rhythm = rhythms(states)
    has_previous = (previous[:, 0] != NO_BAR) & is_onset(previous).any(1)
    same_rhythm = np.array([a == b for a, b in zip(rhythm, rhythms(previous))])[has_previous]
    same_bar = (states == previous).all(1)[has_previous]
    copy1, copy4, copy2 = training.copies(states, previous)
    pitch_classes = [len({(p + LOWEST_PITCH) % 12 for p in row[row < N_PITCHES]}) for row in states if (row < N_PITCHES).any()]
    return {
        "notes per bar": float(is_onset(states).sum(1).mean()),
        "notes per bar, sd": float(is_onset(states).sum(1).std()),
        "bars without onset": float((~is_onset(states).any(1)).mean()),
        "rests": float((states == REST).mean()),
        "holds": float((states == HOLD).mean()),
        "pitch classes per bar": float(np.mean(pitch_classes)) if pitch_classes else 0.0,
        "chord-tone rate": float(hits.mean()),
        "chord-tone rate on beats": float(hits[on_beat].mean()),
        "chord-tone rate, chords shuffled": float(shuffled.mean()),
        "onset TV": total_variation(onset_histogram(states), onset_histogram(reference["states"])),
        "interval TV": total_variation(interval_histogram(semitones),
                                       interval_histogram(intervals(reference["states"], reference["previous"]))),
        "leaps > 7": float((np.abs(semitones) > MAX_LEAP).mean()),
        "repeated notes": float((semitones == 0).mean()),
        "distinct rhythms": len(set(rhythm)) / n,
        "rhythm TV": total_variation(Counter(rhythm), Counter(rhythms(reference["states"]))),
        "rhythm = previous": float(same_rhythm.mean()),
        "bar = previous": float(same_bar.mean()),
        "copies: bar": copy1,
        "copies: bar of 4+ notes": copy4,
        "copies: 2 bars": copy2,
    }
