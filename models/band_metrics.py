"""Every figure of the band's table: the correct metrics, and the *legacy* ones as the code computed them that made MuseGAN's and
BinaryMuseGAN's published numbers.

Phrases are two bool arrays, `onsets` and `sounding`, (n, n_tracks, n_bars, 16, 128): step of the bar, absolute MIDI pitch. Sounding
includes the step of the onset; drums sound at their onsets only. A note lasts while its pitch sounds without a new onset, across
bar lines, to the end of the phrase; what sounds at a phrase's start without an onset there counts as sound and not as a note.
A bar is empty when nothing sounds in it. `plugin/src/music/metrics.rs` computes the same on the Rust side.
"""

import json
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np

TRACKS = ("Drums", "Bass", "Piano", "Guitar", "Strings")
N_STEPS = 16
STEPS_PER_BEAT = 4
N_PITCHES = 128
MAJOR = (0, 2, 4, 5, 7, 9, 11)
QUALIFIED_STEPS = 2  # an eighth
DP_TOLERANCE = 0.1  # what an onset between two eighths counts in the drum pattern
LEGACY_TOLERANCE = {"v1": 0.3, "v2": 0.1}
LEGACY_PITCHES = slice(24, 108)
LEGACY_FACTOR = 6  # from 16 steps per bar to 96
NEAR_COPY = 0.9


def mean(values):
    """The mean as a float, NaN of nothing."""
    values = np.asarray(values, float)
    return float(values.mean()) if values.size else float("nan")


# Notes ---------------------------------------------------------------------------------------------------------------


def as_steps(rolls):
    """(..., n_bars, 16, 128) -> (..., n_bars * 16, 128)."""
    return rolls.reshape(*rolls.shape[:-3], rolls.shape[-3] * rolls.shape[-2], rolls.shape[-1])


def notes_of(onsets, sounding):
    """Notes of one track as (n_notes, 4) int: phrase, onset_steps from the phrase's start, duration_steps, pitch.

    onsets, sounding: (n, n_bars, 16, 128).
    """
    onset, held = as_steps(onsets), as_steps(sounding & ~onsets)
    # Steps that a note goes on for after each step, counted from the end of the phrase backwards.
    after = np.zeros(onset.shape, np.uint16)
    for step in range(onset.shape[1] - 2, -1, -1):
        after[:, step] = np.where(held[:, step + 1], after[:, step + 1] + 1, 0)
    phrase, step, pitch = np.nonzero(onset)
    return np.stack([phrase, step, after[phrase, step, pitch] + 1, pitch], 1)


def chroma_of(rolls):
    """(..., 128) -> (..., 12): how many pitches of each class; the octaves fold."""
    padded = np.zeros((*rolls.shape[:-1], 132), np.uint8)
    padded[..., :N_PITCHES] = rolls
    return padded.reshape(*rolls.shape[:-1], 11, 12).sum(-2, dtype=np.int64)


# Figures of one track: onsets, sounding (n, n_bars, 16, 128) ----------------------------------------------------------


def empty_bars(sounding):
    """Share of bars in which nothing sounds."""
    return mean(~sounding.any((-1, -2)))


def pitches_used(sounding):
    """Pitches that sound per non-empty bar."""
    used = sounding.any(-2).sum(-1)
    return mean(used[used > 0])


def pitch_classes_used(sounding):
    """Pitch classes that sound per non-empty bar (UPC by true chroma)."""
    used = (chroma_of(sounding.any(-2)) > 0).sum(-1)
    return mean(used[used > 0])


def qualified_notes(onsets, sounding, least_steps=QUALIFIED_STEPS):
    """Share of notes that last an eighth or longer (QN as a musical length).

    The papers' limit, a thirty-second, is met by every note of this grid.
    """
    return mean(notes_of(onsets, sounding)[:, 2] >= least_steps)


def notes_per_active_bar(onsets, sounding):
    """Onsets per non-empty bar."""
    return mean(onsets.sum((-1, -2))[sounding.any((-1, -2))])


def polyphony(sounding):
    """Pitches that sound per step in which any does."""
    count = sounding.sum(-1)
    return mean(count[count > 0])


def polyphonic_rate(sounding):
    """Share of the steps of non-empty bars in which two pitches or more sound (PP)."""
    return mean((sounding.sum(-1) >= 2)[sounding.any((-1, -2))])


def drum_pattern(onsets):
    """DP for 16 steps per bar: an onset on an eighth counts 1, between two eighths 0.1; per bar over its onsets, mean over bars."""
    count = onsets.sum(-1)  # (n, n_bars, 16)
    weight = np.tile([1.0, DP_TOLERANCE], N_STEPS // 2)
    active = count.any(-1)
    return mean((count @ weight)[active] / count.sum(-1)[active])


def onsets_on(onsets, every):
    """Share of onsets that lie on every `every`-th step: 2 for eighths, 4 for quarters."""
    count = onsets.sum((0, 1, 3))
    return float(count[::every].sum() / count.sum()) if count.any() else float("nan")


def iou(a, b):
    """Intersection over union of cells; the last axes (steps, pitches) count together. NaN where both are empty."""
    union = (a | b).sum((-1, -2))
    with np.errstate(invalid="ignore"):
        return (a & b).sum((-1, -2)) / union


def bar_to_bar(onsets):
    """IoU of the onsets of neighbouring bars of a phrase, over pairs in which both have onsets."""
    both = onsets[:, :-1].any((-1, -2)) & onsets[:, 1:].any((-1, -2))
    return mean(iou(onsets[:, :-1], onsets[:, 1:])[both])


def diversity(onsets, rng):
    """1 - IoU of the onsets of two phrases, over random pairs of which at least one has an onset."""
    flat = as_steps(onsets)
    values = 1 - iou(flat, flat[derangement(len(flat), rng)])
    return mean(values[~np.isnan(values)])


def derangement(n, rng):
    """A random order of 0..n-1 in which nothing stays in place (one cycle)."""
    order = rng.permutation(n)
    out = np.empty(n, int)
    out[order] = np.roll(order, 1)
    return out


# Harmony --------------------------------------------------------------------------------------------------------------


def in_best_scale(chroma):
    """chroma (n, 12) of phrases -> share of the sounding time in the best of the twelve major scales, mean over phrases with pitches."""
    scales = np.array([[(pc - tonic) % 12 in MAJOR for pc in range(12)] for tonic in range(12)])
    total = chroma.sum(-1)
    return mean((chroma @ scales.T).max(-1)[total > 0] / total[total > 0])


def tonal_matrix():
    """(6, 12): fifths, minor thirds, major thirds with radii 1, 1, 0.5. Source: Harte, Sandler, Gasser 2006."""
    pc = np.arange(12)
    angles = pc * np.array([[7 / 6], [3 / 2], [2 / 3]]) * np.pi
    radii = np.array([[1.0], [1.0], [0.5]])
    return np.stack([radii * np.sin(angles), radii * np.cos(angles)], 1).reshape(6, 12)


def tonal_centroids(chroma):
    """(..., 12) -> (..., 6); NaN where nothing sounds."""
    with np.errstate(invalid="ignore"):
        return (chroma / chroma.sum(-1, keepdims=True)) @ tonal_matrix().T


def beat_centroids(sounding):
    """(n, n_bars, 16, 128) -> (n, n_beats, 6), NaN in silent beats."""
    beats = chroma_of(sounding).reshape(len(sounding), -1, STEPS_PER_BEAT, 12).sum(2)
    return tonal_centroids(beats)


def tonal_distance(a, b):
    """TD of two tracks' `beat_centroids`: Euclidean, mean over the beats in which both sound."""
    distance = np.linalg.norm(a - b, axis=-1)
    return mean(distance[~np.isnan(distance)])


# Copies ---------------------------------------------------------------------------------------------------------------


def shifted(onsets, semitones, drums=0):
    """The pitched tracks moved by semitones; what leaves 0..127 is lost."""
    out = np.roll(onsets, semitones, -1)
    if semitones > 0:
        out[..., :semitones] = False
    elif semitones < 0:
        out[..., semitones:] = False
    out[:, drums] = onsets[:, drums]
    return out


def nearest_iou(onsets, training, drums=0):
    """IoU of each phrase's onsets with the nearest training phrase's, all tracks together, at the best of twelve transpositions: (n,)."""
    from scipy.sparse import csr_array

    def sparse(phrases):
        return csr_array(phrases.reshape(len(phrases), -1), dtype=np.float32)

    theirs = sparse(training)
    n_theirs = theirs.sum(1)
    best = np.zeros(len(onsets))
    for start in range(0, len(onsets), 128):
        some = onsets[start:start + 128]
        n_ours = sparse(some).sum(1)
        for semitones in range(-5, 7):
            common = (sparse(shifted(some, semitones, drums)) @ theirs.T).toarray()
            near = common / np.maximum(n_ours[:, None] + n_theirs[None] - common, 1)
            best[start:start + 128] = np.maximum(best[start:start + 128], near.max(1))
    return best


def bar_keys(onsets, is_drums):
    """Keys that are equal where the onsets are, of pitched tracks up to transposition: onsets (m, n_steps, 128) -> (m,) uint64.

    A key is the sum of random numbers, one per cell (Zobrist); 0 is no onset.
    """
    table = np.random.default_rng(0).integers(2**64, size=onsets.shape[1:], dtype=np.uint64)
    keys = np.zeros(len(onsets), np.uint64)
    row, step, pitch = np.nonzero(onsets)
    if not is_drums:
        pitch = pitch - onsets.any(1).argmax(-1)[row]
    np.add.at(keys, row, table[step, pitch])
    return keys


def windows(onsets, n_bars):
    """Runs of `n_bars` consecutive bars of a track in which each has an onset: (n, bars, 16, 128) -> (m, n_bars * 16, 128)."""
    runs = [onsets[:, at:at + n_bars] for at in range(onsets.shape[1] - n_bars + 1)]
    runs = np.concatenate(runs)
    runs = runs[runs.any((-1, -2)).all(-1)]
    return as_steps(runs)


def copies(onsets, training, is_drums, n_bars=1, least_notes=4):
    """Share of a track's runs of `n_bars` bars with `least_notes` onsets or more that a training phrase has too, in any key."""
    ours = windows(onsets, n_bars)
    ours = ours[ours.sum((-1, -2)) >= least_notes]
    return mean(np.isin(bar_keys(ours, is_drums), bar_keys(windows(training, n_bars), is_drums)))


# Legacy: what the published tables were made with ---------------------------------------------------------------------
#
# MuseGAN's code (v1) and BinaryMuseGAN's (v2) look at single bars, cut notes at bar lines, take the mean over bars and leave empty ones
# out by NaN. Their chroma does not fold octaves: the 84 pitches are cut into 12 groups of neighbours, 7 in v1; v2 pads 12 empty
# pitches on top first and makes it 8. Rolls have 96 steps per bar; there is no onset, so touching notes of a pitch are one.


def upsampled(onsets, sounding, factor, is_drums=False):
    """(n, n_bars, 16, 128) -> legacy rolls (n, n_bars, 16 * factor, 84); with factor 1 the steps as they are.

    As in the published data drums last one step, and a note that its pitch follows ends a step earlier (which needs a factor > 1).
    """
    rolls = np.repeat(sounding[..., LEGACY_PITCHES], factor, 2)
    onset = onsets[..., LEGACY_PITCHES]
    if factor == 1:
        return onset.copy() if is_drums else rolls
    if is_drums:
        rolls[:] = False
        rolls[:, :, ::factor] = onset
        return rolls
    flat, at = as_steps(rolls), as_steps(onset)
    flat[:, factor - 1:-1:factor] &= ~at[:, 1:]
    return flat.reshape(rolls.shape)


def legacy_chroma(rolls, version):
    """(..., 84) -> (..., 12) as published: groups of 7 (v1) or 8 (v2) neighbouring pitches."""
    if version == "v2":
        rolls = np.concatenate([rolls, np.zeros((*rolls.shape[:-1], 12), rolls.dtype)], -1)
    return rolls.reshape(*rolls.shape[:-1], 12, -1).sum(-1)


def legacy_upc(rolls, version):
    """Used "pitch classes" per non-empty bar: rolls (n, n_bars, n_steps, 84)."""
    used = (legacy_chroma(rolls.any(-2), version) > 0).sum(-1)
    return mean(used[used > 0])


def legacy_qn(rolls, least_steps=2):
    """Share of runs of cells of `least_steps` (the papers say 3) or longer, per non-empty bar."""
    padded = np.pad(rolls.astype(np.int8), ((0, 0), (0, 0), (1, 1), (0, 0)))
    change = np.moveaxis(np.diff(padded, axis=2), 3, 2)  # (n, n_bars, 84, n_steps + 1)
    starts, ends = np.argwhere(change > 0), np.argwhere(change < 0)
    bar = starts[:, 0] * rolls.shape[1] + starts[:, 1]
    count = np.bincount(bar, minlength=1)
    long = np.bincount(bar, ends[:, 3] - starts[:, 3] >= least_steps, minlength=1)
    return mean(long[count > 0] / count[count > 0])


def legacy_pp(rolls):
    """Share of steps with two pitches (the paper says more than two), per non-empty bar."""
    active = rolls.any((-1, -2))
    return mean((rolls.sum(-1) >= 2).mean(-1)[active])


def legacy_dp(rolls, version):
    """Drum pattern: onsets weighted 1 on sixteenths and `tolerance` a step beside (at 96 steps per bar; coarser grids as in the later
    code), with the best rotation of the pattern, over the onsets, per non-empty bar.
    """
    n_steps, tolerance = rolls.shape[2], LEGACY_TOLERANCE[version]
    masks = {16: [1, tolerance], 24: [1, tolerance, tolerance], 48: [1, tolerance, tolerance], 96: [1, tolerance, 0, 0, 0, tolerance]}
    mask = np.array(masks[n_steps])
    before = np.pad(rolls, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
    onset = (rolls & ~before).sum(-1)
    onset = onset[onset.any(-1)]
    scores = [onset @ np.tile(np.roll(mask, shift), n_steps // len(mask)) for shift in range(len(mask))]
    return mean(np.max(scores, 0) / onset.sum(-1))


def legacy_td(a, b, version):
    """Tonal distance of two tracks by legacy chroma: mean over the beats of a bar, over the bars in which both sound on every beat."""
    def centroids(rolls):
        chroma = legacy_chroma(rolls, version)
        return tonal_centroids(chroma.reshape(*chroma.shape[:2], 4, -1, 12).sum(3))

    distance = np.linalg.norm(centroids(a) - centroids(b), axis=-1).mean(-1)
    return mean(distance[~np.isnan(distance)])


def legacy_figures(rolls, names=TRACKS, drums=0):
    """All legacy figures of `rolls`, one (n, n_bars, n_steps, 84) per track, n_steps 96 as published (or 16, 24, 48)."""
    pitched = [t for t in range(len(names)) if t != drums]
    out = {"EB": {names[t]: empty_bars(rolls[t]) for t in range(len(names))}}
    for version in LEGACY_TOLERANCE:
        out[f"UPC {version}"] = {names[t]: legacy_upc(rolls[t], version) for t in pitched}
    for metric, figure in (("QN", legacy_qn), ("PP", legacy_pp)):
        out[metric] = {names[t]: figure(rolls[t]) for t in pitched}
        values = np.array(list(out[metric].values()))
        out[metric]["mean"] = mean(values[~np.isnan(values)])
    for version in LEGACY_TOLERANCE:
        out[f"DP {version}"] = {names[drums]: legacy_dp(rolls[drums], version)}
    for version in LEGACY_TOLERANCE:
        out[f"TD {version}"] = {f"{names[a]}-{names[b]}": legacy_td(rolls[a], rolls[b], version)
                                for a, b in combinations(pitched, 2)}
    return {f"legacy {key}": value for key, value in out.items()}


# The table ------------------------------------------------------------------------------------------------------------


def figures(onsets, sounding, training=None, names=TRACKS, drums=0, seed=0, legacy=True):
    """Every figure of a set of phrases: {metric: {track or pair: value}}.

    onsets, sounding: (n, n_tracks, n_bars, 16, 128) bool. `training`: onsets of the training phrases, same shape, for the figures of
    copying. `seed`: of the random pairs behind diversity and the shuffled tonal distances.
    """
    rng = np.random.default_rng(seed)
    tracks = range(len(names))
    pitched = [t for t in tracks if t != drums]

    def per_track(figure, which=tracks):
        return {names[t]: figure(t) for t in which}

    centroids = {t: beat_centroids(sounding[:, t]) for t in pitched}
    chroma = {t: chroma_of(sounding[:, t]).sum((1, 2)) for t in pitched}
    order = derangement(len(onsets), rng)
    pairs = list(combinations(pitched, 2))
    out = {
        "empty bars": per_track(lambda t: empty_bars(sounding[:, t])),
        "notes per active bar": per_track(lambda t: notes_per_active_bar(onsets[:, t], sounding[:, t])),
        "pitches per bar": per_track(lambda t: pitches_used(sounding[:, t])),
        "pitch classes per bar": per_track(lambda t: pitch_classes_used(sounding[:, t]), pitched),
        "notes of an eighth or longer": per_track(lambda t: qualified_notes(onsets[:, t], sounding[:, t]), pitched),
        "polyphony": per_track(lambda t: polyphony(sounding[:, t])),
        "polyphonic rate": per_track(lambda t: polyphonic_rate(sounding[:, t])),
        "drum pattern": {names[drums]: drum_pattern(onsets[:, drums])},
        "onsets on eighths": per_track(lambda t: onsets_on(onsets[:, t], 2)),
        "onsets on quarters": per_track(lambda t: onsets_on(onsets[:, t], 4)),
        "tonal distance": {f"{names[a]}-{names[b]}": tonal_distance(centroids[a], centroids[b]) for a, b in pairs},
        "tonal distance, shuffled": {f"{names[a]}-{names[b]}": tonal_distance(centroids[a], centroids[b][order]) for a, b in pairs},
        "time in best scale": {**per_track(lambda t: in_best_scale(chroma[t]), pitched), "all": in_best_scale(sum(chroma.values()))},
        "bar-to-bar onset IoU": per_track(lambda t: bar_to_bar(onsets[:, t])),
        "diversity": {**per_track(lambda t: diversity(onsets[:, t], rng)),
                      "all": diversity(onsets.reshape(len(onsets), -1, *onsets.shape[-2:]), rng)},
    }
    if training is not None:
        near = nearest_iou(onsets, training, drums)
        out["nearest training phrase IoU"] = {"mean": mean(near), f"> {NEAR_COPY}": mean(near > NEAR_COPY)}
        for n_bars in (1, 2):
            out[f"copied: {n_bars} bar{'s' * (n_bars > 1)}"] = per_track(
                lambda t: copies(onsets[:, t], training[:, t], t == drums, n_bars))
    if legacy:
        out.update(legacy_figures([upsampled(onsets[:, t], sounding[:, t], LEGACY_FACTOR, t == drums) for t in tracks], names, drums))
    return out


def published():
    """The published tables, {name: figures} with legacy figures only, to stand beside one's own in `table`."""
    return tomllib.loads((Path(__file__).parent / "published.toml").read_text())


def table(columns, digits=2):
    """{column name: figures} -> Markdown; a row per metric and track, '-' where a column has none."""
    rows = {(metric, place): None for column in columns.values() for metric, values in column.items() for place in values}
    metrics = dict.fromkeys(metric for metric, _ in rows)
    lines = ["| | | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for metric in metrics:
        named = metric
        for place in (place for of, place in rows if of == metric):
            values = [column.get(metric, {}).get(place, float("nan")) for column in columns.values()]
            shown = " | ".join("-" if np.isnan(value) else f"{value:.{digits}f}" for value in values)
            lines.append(f"| {named} | {place} | {shown} |")
            named = ""
    return "\n".join(lines)


def to_json(out):
    """Figures as JSON, NaN as null."""
    plain = {metric: {place: None if np.isnan(v) else v for place, v in values.items()} for metric, values in out.items()}
    return json.dumps(plain, indent=1)


# The classifier -------------------------------------------------------------------------------------------------------


def classifier_features(onsets, sounding, drums=0):
    """What the classifier sees of each phrase: (n, width) float32, -1 where there is nothing to measure (the trees refuse columns
    without a number).

    Per track: notes and silence per bar, where in the bar notes begin, lengths, chord sizes, register, the top line's intervals, what
    bars one and two apart share, in notes and in rhythm. Between tracks: tonal distance, common onsets, semitone clashes. Drums: how
    often each pitch is struck, and where.
    """
    n, n_tracks, n_bars = onsets.shape[:3]
    out = []

    def share(counts):
        with np.errstate(invalid="ignore"):
            return counts / counts.sum(-1, keepdims=True)

    rhythm = onsets.any(-1)  # (n, tracks, bars, 16)
    for t in range(n_tracks):
        on, heard = onsets[:, t], sounding[:, t]
        count = on.sum(-1)  # (n, bars, 16)
        out += [count.sum(-1), heard.any(-1).mean(-1), share(count.sum(1)), count.max((1, 2))[:, None]]
        for lag in range(1, n_bars):
            first, second = on[:, :-lag], on[:, lag:]
            out += [iou(first, second), iou(rhythm[:, t, :-lag, :, None], rhythm[:, t, lag:, :, None]), (first == second).all((-1, -2))]
        if t == drums:
            used = slice(35, 60)
            out += [on.sum((1, 2))[:, used], share(on.sum((1, 3))), on[..., used].sum(1)[:, ::4].reshape(n, -1)]
            continue
        notes = notes_of(on, heard)
        lengths = np.zeros((n, 9))
        np.add.at(lengths, (notes[:, 0], np.searchsorted([1, 2, 3, 4, 6, 8, 12, 16], notes[:, 2])), 1)
        sizes = np.stack([(heard.sum(-1) == size).mean((1, 2)) for size in range(1, 6)], 1)
        flat = as_steps(on)
        line = np.where(flat.any(-1), N_PITCHES - 1 - flat[..., ::-1].argmax(-1), -1)  # the top of each step
        intervals = np.zeros((n, 8))
        low = np.where(flat.any(-1), flat.argmax(-1), -1)
        register = np.full((n, 4), np.nan)
        for row in range(n):
            top = line[row][line[row] >= 0]
            if len(top):
                register[row] = top.max(), top.mean(), low[row][low[row] >= 0].min(), np.ptp(top)
                np.add.at(intervals[row], np.searchsorted([0, 1, 2, 4, 7, 12, 24], np.abs(np.diff(top))), 1)
        chroma = chroma_of(heard).sum((1, 2))
        out += [share(lengths), sizes, share(intervals), register, np.sort(share(chroma))[:, ::-1][:, :8]]
    classes = chroma_of(sounding) > 0  # (n, tracks, bars, 16, 12)
    centroids = [beat_centroids(sounding[:, t]) for t in range(n_tracks)]
    for a, b in combinations(range(n_tracks), 2):
        together = (rhythm[:, a] & rhythm[:, b]).sum((1, 2))
        with np.errstate(invalid="ignore"):
            out += [(together / rhythm[:, a].sum((1, 2)))[:, None], (together / rhythm[:, b].sum((1, 2)))[:, None]]
        if drums in (a, b):
            continue
        distance = np.linalg.norm(centroids[a] - centroids[b], axis=-1)
        both = ~np.isnan(distance)
        with np.errstate(invalid="ignore"):
            clash = (classes[:, a] & (np.roll(classes[:, b], 1, -1) | np.roll(classes[:, b], -1, -1))).any(-1).sum((1, 2))
            at_once = (classes[:, a].any(-1) & classes[:, b].any(-1)).sum((1, 2))
            out += [(np.where(both, distance, 0).sum(1) / both.sum(1))[:, None], (clash / at_once)[:, None]]
    pitched = np.delete(sounding, drums, 1)
    bars = chroma_of(pitched.any(1)).sum(2)  # (n, bars, 12)
    out += [np.sort(share(bars.sum(1)))[:, ::-1], share(bars).max(-1)]
    return np.nan_to_num(np.concatenate([np.asarray(part, np.float32).reshape(n, -1) for part in out], 1), nan=-1.0)


def auc(real, fake, groups, fake_groups=None, n_folds=4, seed=0):
    """Two-sample AUC of gradient-boosted trees, real against generated: 0.5 cannot be told apart, 1 always.

    real, fake: (onsets, sounding). `groups` (n,): the song of each real phrase, `fake_groups`: of the phrases generated from a song's
    conditions, `groups` again if not given and as many; songs never lie in two folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from threadpoolctl import threadpool_limits

    if fake_groups is None:
        if len(fake[0]) != len(groups):
            raise ValueError("give fake_groups: the generated phrases are not one per real phrase")
        fake_groups = groups
    rng = np.random.default_rng(seed)
    names, group = np.unique(np.concatenate([groups, fake_groups]), return_inverse=True)
    fold = (rng.permutation(len(names)) % n_folds)[group]
    x = np.concatenate([classifier_features(*real), classifier_features(*fake)])
    y = np.repeat([0, 1], [len(real[0]), len(fake[0])])
    scores = []
    for held in range(n_folds):
        trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=1.0,
                                               min_samples_leaf=10, random_state=seed)
        # Beside another busy process two OpenMP threads took 55 s where one takes 8 s: they wait for each other by spinning.
        with threadpool_limits(1):
            trees.fit(x[fold != held], y[fold != held])
            scores.append(roc_auc_score(y[fold == held], trees.predict_proba(x[fold == held])[:, 1]))
    return float(np.mean(scores))
