"""The band's metrics on a small lopsided piece, against values worked out by hand. `pytest models`."""

import cmath
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest

import band_metrics as bm
import verdict

NAMES = ("Drums", "Bass", "Piano")
DRUMS, BASS, PIANO = range(3)
# Two phrases of two bars; (onset_steps, duration_steps, pitch) per track. One bass note repeats without a gap, one crosses the bar line.
PIECE = (
    (
        ((0, 1, 36), (3, 1, 38), (4, 1, 42), (4, 1, 36)),
        ((0, 3, 40), (3, 1, 40), (6, 12, 43), (20, 2, 36), (22, 1, 43)),
        ((0, 8, 60), (0, 8, 64), (0, 5, 67)),
    ),
    (
        ((18, 1, 36),),
        ((17, 4, 45),),
        ((15, 2, 61), (30, 2, 62), (30, 1, 74)),
    ),
)


def arrays(piece, n_bars=2):
    """Notes per phrase and track -> (onsets, sounding)."""
    onsets = np.zeros((len(piece), len(piece[0]), n_bars * 16, 128), bool)
    sounding = onsets.copy()
    for n, phrase in enumerate(piece):
        for track, notes in enumerate(phrase):
            for onset, duration, pitch in notes:
                onsets[n, track, onset, pitch] = True
                sounding[n, track, onset:onset + duration, pitch] = True
    shape = (len(piece), len(piece[0]), n_bars, 16, 128)
    return onsets.reshape(shape), sounding.reshape(shape)


@pytest.fixture
def piece():
    return arrays(PIECE)


def test_notes_come_back_from_the_arrays(piece):
    onsets, sounding = piece
    for track in range(len(NAMES)):
        notes = bm.notes_of(onsets[:, track], sounding[:, track])
        wanted = sorted((n, *note) for n, phrase in enumerate(PIECE) for note in phrase[track])
        assert sorted(map(tuple, notes.tolist())) == wanted


def test_sound_without_onset_is_no_note():
    onsets, sounding = arrays([[[(3, 2, 50)]]], 1)
    sounding[0, 0, 0, 0:2, 57] = True
    assert bm.notes_of(onsets[:, 0], sounding[:, 0]).tolist() == [[0, 3, 2, 50]]
    assert bm.pitches_used(sounding[:, 0]) == 2


def test_figures_of_tracks(piece):
    out = bm.figures(*piece, names=NAMES, legacy=False)
    assert out["empty bars"] == {"Drums": 0.5, "Bass": 0.25, "Piano": 0.25}
    assert out["notes per active bar"] == {"Drums": 2.5, "Bass": 2.0, "Piano": 2.0}
    assert out["pitches per bar"]["Piano"] == pytest.approx((3 + 1 + 3) / 3)
    assert out["pitch classes per bar"] == pytest.approx({"Bass": (2 + 2 + 1) / 3, "Piano": (3 + 1 + 2) / 3})
    assert out["notes of an eighth or longer"] == pytest.approx({"Bass": 4 / 6, "Piano": 5 / 6})
    assert out["polyphony"] == pytest.approx({"Drums": 5 / 4, "Bass": 1.0, "Piano": 26 / 12})
    assert out["polyphonic rate"] == pytest.approx({"Drums": 1 / 32, "Bass": 0.0, "Piano": 9 / 48})
    assert out["drum pattern"] == pytest.approx({"Drums": (3.1 / 4 + 1) / 2})
    assert out["onsets on eighths"] == pytest.approx({"Drums": 4 / 5, "Bass": 4 / 6, "Piano": 5 / 6})
    assert out["onsets on quarters"] == pytest.approx({"Drums": 3 / 5, "Bass": 2 / 6, "Piano": 3 / 6})
    # Bass: {(0, 40), (3, 40), (6, 43)} against {(4, 36), (6, 43)}; the drums never play in two bars on end.
    assert out["bar-to-bar onset IoU"]["Bass"] == pytest.approx(1 / 4)
    assert math.isnan(out["bar-to-bar onset IoU"]["Drums"])
    assert out["diversity"]["all"] == 1.0


def test_chroma_folds_octaves():
    rolls = np.zeros((2, 128), bool)
    rolls[0, [24, 36, 60, 127]] = True
    rolls[1, [0, 1, 2]] = True
    assert bm.chroma_of(rolls).tolist() == [[3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], [1, 1, 1] + [0] * 9]


def centroid(weights):
    """The three circles of Harte's space as complex numbers."""
    total = sum(weights.values())
    return [sum(w / total * radius * cmath.exp(1j * angle * math.pi * pc) for pc, w in weights.items())
            for radius, angle in ((1, 7 / 6), (1, 3 / 2), (0.5, 2 / 3))]


def test_tonal_distance_is_hartes_over_beats_in_which_both_sound(piece):
    beats = [({4: 4}, {0: 4, 4: 4, 7: 4}), ({7: 2}, {0: 4, 4: 4, 7: 1}), ({9: 3}, {1: 1})]
    distances = [math.sqrt(sum(abs(x - y) ** 2 for x, y in zip(centroid(a), centroid(b)))) for a, b in beats]
    assert distances[2] == pytest.approx(math.sqrt(3.75)), "eight fifths apart: chords of 120 degrees on two circles"
    out = bm.figures(*piece, names=NAMES, legacy=False)
    assert out["tonal distance"]["Bass-Piano"] == pytest.approx(np.mean(distances))
    # Shuffled: with two phrases each meets the other. Only the first bass and the second piano sound together, on beats 3 and 4.
    shuffled = [({7: 4}, {1: 1}), ({7: 2}, {1: 1})]
    wanted = [math.sqrt(sum(abs(x - y) ** 2 for x, y in zip(centroid(a), centroid(b)))) for a, b in shuffled]
    assert out["tonal distance, shuffled"]["Bass-Piano"] == pytest.approx(np.mean(wanted))


def test_best_scale_is_weighed_by_time(piece):
    chroma = np.zeros((3, 12), int)
    chroma[0, :3] = 3, 2, 1  # C and C sharp in D flat major, D outside
    chroma[1, [2, 6, 9]] = 7, 1, 4
    assert bm.in_best_scale(chroma) == pytest.approx((5 / 6 + 1) / 2), "the silent phrase does not count"


def test_diversity_never_pairs_a_phrase_with_itself():
    rng = np.random.default_rng(3)
    for n in (2, 5, 40):
        order = bm.derangement(n, rng)
        assert sorted(order) == list(range(n)) and (order != np.arange(n)).all()
    onsets, _ = arrays([[[(0, 1, 50), (3, 1, 51), (9, 1, 50)]], [[(0, 1, 50)]]], 1)
    assert bm.diversity(onsets[:, 0], rng) == pytest.approx(2 / 3)


def test_copies_are_found_in_any_key(piece):
    pytest.importorskip("scipy")
    onsets, _ = piece
    training = bm.shifted(onsets, -4)[::-1]
    assert bm.nearest_iou(onsets, training).tolist() == [1.0, 1.0]
    # One track alone in another key is no copy of the whole.
    other = onsets.copy()
    other[:, BASS] = np.roll(onsets[:, BASS], 2, -1)
    assert (bm.nearest_iou(other, training) < 1).all()
    assert bm.copies(onsets[:, BASS], training[:, BASS], False, 1, 2) == 1.0
    assert bm.copies(onsets[:, BASS], training[:, BASS], False, 2, 4) == 1.0
    assert bm.copies(onsets[:, DRUMS], np.roll(training[:, DRUMS], 1, -1), True, 1, 4) == 0.0, "drums have no key"
    changed = onsets.copy()
    changed[0, BASS, 1, 4, 36], changed[0, BASS, 1, 4, 37] = False, True
    assert bm.copies(changed[:, BASS], training[:, BASS], False, 1, 2) == 0.5
    assert math.isnan(bm.copies(onsets[:, PIANO], training[:, PIANO], False, 1, 4))


# Legacy


def test_legacy_chroma_takes_neighbours_for_octaves():
    def used(pitches, version):
        rolls = np.zeros((1, 1, 1, 84), bool)
        rolls[..., np.array(pitches) - 24] = True
        return bm.legacy_upc(rolls, version)

    for version in ("v1", "v2"):
        assert used([36, 48, 60], version) == 3
        assert used([60, 61, 62], version) == 1
        assert used([60, 64, 67], version) == 2


def test_legacy_figures_of_the_piece(piece):
    onsets, sounding = piece
    coarse = bm.legacy_figures([bm.upsampled(onsets[:, t], sounding[:, t], 1, t == DRUMS) for t in range(3)], NAMES)
    fine = bm.legacy_figures([bm.upsampled(onsets[:, t], sounding[:, t], 6, t == DRUMS) for t in range(3)], NAMES)
    for out in (coarse, fine):
        assert out["legacy EB"] == {"Drums": 0.5, "Bass": 0.25, "Piano": 0.25}
        assert out["legacy UPC v1"]["Piano"] == pytest.approx((2 + 1 + 2) / 3)
        assert out["legacy PP"] == pytest.approx({"Bass": 0, "Piano": (8 / 16 + 0 + 1 / 16) / 3, "mean": 9 / 96})
        assert math.isnan(out["legacy TD v1"]["Bass-Piano"]), "no bar has both on every beat"
    # The bass's repeated note is one of four steps, and the note across the bar line two.
    assert coarse["legacy QN"]["Bass"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert fine["legacy QN"]["Bass"] == 1, "at 96 steps per bar every sixteenth is long enough"
    assert coarse["legacy DP v1"]["Drums"] == pytest.approx((3.3 / 4 + 1) / 2)
    assert fine["legacy DP v2"]["Drums"] == 1


def test_legacy_qn_counts_cells_and_dp_rotates():
    rolls = np.zeros((1, 1, 96, 84), bool)
    rolls[0, 0, 13:15, 5] = rolls[0, 0, 40, 5] = rolls[0, 0, 95, 83] = True
    assert bm.legacy_qn(rolls) == pytest.approx(1 / 3)
    drums = np.zeros((1, 1, 96, 84), bool)
    for cell in (2, 3, 8, 16):
        drums[0, 0, cell, cell] = True
    # Rotated by two: cells 2 and 8 lie on it, 3 beside it, 16 two cells off.
    assert bm.legacy_dp(drums, "v1") == pytest.approx((1 + 0.3 + 1 + 0) / 4)
    assert bm.legacy_dp(drums, "v2") == pytest.approx((1 + 0.1 + 1 + 0) / 4)


def test_legacy_tonal_distance_of_whole_bars():
    a, b = np.zeros((2, 2, 1, 96, 84), bool)
    a[0, 0, :, 0] = b[0, 0, :, 8] = True  # groups 0 and 1 in either version: a fifth circle step of 210 degrees
    a[1, 0, :, 0] = b[1, 0, :72, 70] = True  # silent on the last beat: dropped
    wanted = math.sqrt(sum((2 * r * math.sin(angle * math.pi / 2)) ** 2 for r, angle in ((1, 7 / 6), (1, 3 / 2), (0.5, 2 / 3))))
    for version in ("v1", "v2"):
        assert bm.legacy_td(a, b, version) == pytest.approx(wanted)


def test_upsampling_keeps_repeated_notes_apart(piece):
    onsets, sounding = piece
    bass = bm.upsampled(onsets[:, BASS], sounding[:, BASS], 6)
    runs = np.flatnonzero(~bass[0, 0, :, 40 - 24])
    assert runs[0] == 17 and runs[1] == 24
    assert bass[0, 1, :12, 43 - 24].all(), "a note across the bar line goes on"
    assert bm.upsampled(onsets[:, DRUMS], sounding[:, DRUMS], 6, True).sum() == 5


# The table and the classifier


def test_the_table_has_a_row_per_metric_and_track(piece):
    ours = bm.figures(*piece, names=NAMES)
    text = bm.table({"ours": ours, **{name: out for name, out in bm.published().items() if name == "MuseGAN data"}})
    lines = text.splitlines()
    assert lines[0] == "| | | ours | MuseGAN data |"
    assert "| legacy EB | Drums | 0.50 | 0.08 |" in lines
    assert "|  | Bass | 0.25 | 0.08 |" in lines
    assert "| drum pattern | Drums | 0.89 | - |" in lines
    assert bm.to_json(ours).count("null") == sum(math.isnan(v) for out in ours.values() for v in out.values())


def test_published_rows_are_legacy_figures_of_known_tracks():
    known = {"mean", *bm.TRACKS, *(f"{a}-{b}" for i, a in enumerate(bm.TRACKS) for b in bm.TRACKS[i + 1:])}
    columns = bm.published()
    assert columns["MuseGAN hybrid"]["legacy DP v1"] == {"Drums": 0.713}
    for out in columns.values():
        assert all(metric.startswith("legacy ") and set(values) <= known for metric, values in out.items())


def test_the_fixture_for_rust_is_what_its_script_makes():
    fixtures = Path(__file__).parents[1] / "tests" / "fixtures"
    spec = importlib.util.spec_from_file_location("make_metrics", fixtures / "make_metrics.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made, committed = script.make(), json.loads((fixtures / "metrics.json").read_text())

    def numbers(value):
        """Structure with numbers rounded: libraries differ in the last bits of sums."""
        if isinstance(value, dict):
            return {key: numbers(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [numbers(inner) for inner in value]
        return round(value, 9) if isinstance(value, float) else value

    assert numbers(made) == numbers(committed)


def random_phrases(n, rng, lengths):
    phrases = []
    for _ in range(n):
        root = int(rng.integers(12))
        tracks = []
        for low in (36, 40, 60):
            step, notes = 0, []
            while step < 32:
                duration = int(rng.choice(lengths))
                notes.append((step, min(duration, 32 - step), low + (root + int(rng.choice([0, 4, 7]))) % 12))
                step += duration
            tracks.append(notes)
        phrases.append(tracks)
    return arrays(phrases)


def test_the_classifier_catches_fragments_and_not_its_own_kind():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(1)
    real, same, fragments = (random_phrases(80, rng, lengths) for lengths in ([2, 3, 5], [2, 3, 5], [1, 1, 8]))
    groups = np.arange(80) // 4
    assert abs(bm.auc(real, same, groups, n_folds=2) - 0.5) < 0.2
    assert bm.auc(real, fragments, groups, n_folds=2) > 0.95
    with pytest.raises(ValueError, match="fake_groups"):
        bm.auc(real, (fragments[0][:5], fragments[1][:5]), groups)


def test_a_dead_band_has_empty_bars_and_no_other_figures(piece):
    onsets, sounding = piece
    figures = bm.figures(0 * onsets > 0, 0 * sounding > 0, training=onsets, names=NAMES)
    assert set(figures["empty bars"].values()) == {1.0}
    for metric in ("polyphony", "tonal distance", "bar-to-bar onset IoU", "copied: 2 bars", "legacy QN"):
        assert all(math.isnan(value) for value in figures[metric].values()), metric


# The verdict


def test_a_verdict_counts_what_is_near_enough():
    data = {"empty bars": {"Drums": 0.0, "Bass": 0.4}, "notes of an eighth or longer": {"Bass": 0.5, "Piano": math.nan},
            "tonal distance": {"Bass-Piano": 1.0}, "onsets on eighths": {"Drums": 0.8}, "copied: 1 bar": {"Bass": 0.3}}
    best = {"empty bars": {"Drums": 0.3, "Bass": 0.44}, "notes of an eighth or longer": {"Bass": 0.1}, "tonal distance": {"Bass-Piano": 1.3},
            "onsets on eighths": {"Drums": 0.6}}
    ours = {"empty bars": {"Drums": 0.02, "Bass": 0.46}, "notes of an eighth or longer": {"Bass": 0.59},
            "tonal distance": {"Bass-Piano": 1.11}, "onsets on eighths": {"Drums": 0.87}}
    low, high = ({metric: {place: value + by for place, value in values.items()} for metric, values in data.items()} for by in (-0.1, 0.1))
    out = verdict.judged(ours, data, best, low, high)
    met = {criterion: [f"{metric} {place}" for (metric, place), good in rows.items() if good] for criterion, rows in out.items()}
    near, farther, *rest = met
    # 0.09 of 0.5 is more than a tenth, but less than half of 0.4; the bass is 0.06 too empty where the best is 0.04.
    assert met[near] == ["empty bars Drums", "notes of an eighth or longer Bass", "onsets on eighths Drums", "tonal distance Bass-Piano"]
    assert met[farther] == met[near] and sum(map(len, out.values())) == 5 + 5 + 2 + 1 + 1 + 0 + 1 + 5
    assert met["empty bars at most the data's + 0.05"] == ["empty bars Drums"]
    assert met["notes of an eighth or longer within 0.08"] == met["tonal distance within 0.1"] == []
    assert met["drums on the grid within 10 %"] == ["onsets on eighths Drums"]
    assert len(met["inside the songs' 90 % interval"]) == 4
    silent = verdict.judged({"empty bars": {"Drums": 1.0, "Bass": 1.0}}, data, best, low, high)
    assert not any(any(rows.values()) for rows in silent.values())
    assert verdict.nearest({"silent": {"empty bars": {"Drums": 1.0, "Bass": 1.0}}, "best": best, "ours": ours}, data) == "ours"
    lines = verdict.counts({"ours": out, "silent": silent}).splitlines()
    assert lines[0] == "| criterion | of | ours | silent |" and lines[2].endswith("| 5 | 4 | 0 |")
    text = verdict.missed(out, {"real": data, "ours": ours})
    assert "| empty bars | Bass | 0.400 | 0.460 | within 10 % of the data, or half the best published distance; no farther" in text
    assert "| onsets on eighths |" not in text and "Piano | nan" not in text


def test_an_interval_is_over_songs():
    rng = np.random.default_rng(2)
    pieces = random_phrases(24, rng, [2, 3])
    onsets, sounding = (x.copy() for x in pieces)
    songs = np.array(["a"] * 20 + ["b"] * 4)
    onsets[20:, BASS], sounding[20:, BASS] = False, False  # one song without a bass, a sixth of the phrases
    names = bm.TRACKS
    both = [np.concatenate([x, x[:, :2]], 1) for x in (onsets, sounding)]
    low, high = verdict.interval(both, songs, n_draws=40)
    # Two songs drawn with replacement: none, one or two without a bass.
    assert low["empty bars"][names[BASS]] == 0.0 and high["empty bars"][names[BASS]] == 1.0
    assert low["onsets on eighths"]["Drums"] <= bm.onsets_on(both[0][:, DRUMS], 2) <= high["onsets on eighths"]["Drums"]
