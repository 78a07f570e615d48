"""Tests of the band's data step, networks and graph, on small lopsided songs made here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from midi_files import read_folder
from phrases import (BASS, DRUM_CLASS, DRUM_PITCHES, DRUMS, GUITAR, N_STEPS, PIANO, STRINGS, TRACKS, Song, arrays_of, estimate_chords,
                     family_of, join_versions, load_songs, merged, monophonic, read_midi_song)

HERE = Path(__file__).parent


def song(name, seed, n_bars=9, source="midi", known=(True,) * 5):
    """A song whose five tracks are all different, with a chord change in every bar."""
    rng = np.random.default_rng(seed)
    notes = [[] for _ in TRACKS]
    for bar in range(n_bars):
        root = int(rng.integers(12))
        for step in (0, 3, 6, 10):
            notes[DRUMS].append((bar * 16 + step, 1, 0 if step != 6 else 2))
            notes[BASS].append((bar * 16 + step, 3, 12 + root))
        for pitch in (36 + root, 40 + root, 43 + root):
            notes[PIANO].append((bar * 16 + 2, 5, pitch))
        notes[GUITAR].append((bar * 16 + int(rng.integers(14)), 2, 36 + root + 7))
        notes[STRINGS].append((bar * 16, 16, 48 + root))
    made = Song(name, name, source, n_bars, [sorted(track) for track in notes], known)
    made.chords = estimate_chords(made.notes, n_bars)
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    songs = [song(f"song {seed}", seed) for seed in range(12)]
    path = tmp_path_factory.mktemp("band") / "band.npz"
    np.savez_compressed(path, **arrays_of(songs, 0.2, 0.2, 3))
    return path


def test_programs_and_drum_notes_have_their_place():
    assert [family_of(p) for p in (0, 23, 24, 33, 48, 73, 95)] == [PIANO, PIANO, GUITAR, BASS, STRINGS, STRINGS, STRINGS]
    assert family_of(119) is None
    assert DRUM_CLASS[35] == DRUM_CLASS[36] == 0 and DRUM_PITCHES[DRUM_CLASS[40]] == 38
    assert all(DRUM_CLASS[pitch] == idx for idx, pitch in enumerate(DRUM_PITCHES))


def test_instruments_of_a_family_become_one_track():
    assert merged([(4, 9, 30), (4, 3, 30), (7, 2, 30), (5, 1, 11)]) == [(4, 3, 30), (5, 1, 11), (7, 2, 30)]
    assert monophonic([(0, 9, 20), (0, 4, 15), (3, 2, 30)]) == [(0, 3, 15), (3, 2, 30)]


def test_chords_are_heard_where_they_sound():
    notes = [[] for _ in TRACKS]
    notes[BASS] = [(0, 8, 9), (8, 8, 14), (16, 16, 7)]  # A, D, G
    notes[GUITAR] = [(0, 8, 36), (0, 8, 40), (8, 8, 41), (8, 8, 45), (16, 16, 35), (16, 16, 38)]
    assert estimate_chords(notes, 3).tolist() == [[9 + 12, 2 + 12], [7, 7], [-1, -1]]


def test_versions_of_a_song_are_never_split():
    songs = [song("a", 1), song("b", 1), song("c", 2)]
    songs[2].notes[PIANO] = [(onset + 1, duration, pitch) for onset, duration, pitch in songs[2].notes[PIANO]]
    join_versions(songs)
    assert songs[0].group == songs[1].group != songs[2].group


def test_midi_files_are_read_or_refused_with_a_reason(tmp_path):
    pretty_midi = pytest.importorskip("pretty_midi")

    def write(name, change=None, offset=0.0, bars=5):
        midi = pretty_midi.PrettyMIDI(initial_tempo=120)
        if change:
            midi.time_signature_changes.append(pretty_midi.TimeSignature(*change, 0))
        drums, keys = pretty_midi.Instrument(0, is_drum=True), pretty_midi.Instrument(4)
        for bar in range(bars):
            drums.notes.append(pretty_midi.Note(90, 36, 2 * bar, 2 * bar + 0.1))
            for step in range(0, 16, 3):
                start = 2 * bar + step * 0.125 + offset
                keys.notes.append(pretty_midi.Note(80, 57 + step, start, start + 0.25))
        midi.instruments += [drums, keys]
        midi.write(str(tmp_path / name))

    write("good.mid")
    write("seven.mid", change=(7, 8))
    write("between.mid", offset=0.05)
    write("short.mid", bars=3)
    (tmp_path / "broken.mid").write_bytes(b"MThd nonsense")
    found = {name: result for name, result in read_folder(tmp_path, read_midi_song)}
    assert found["good.mid"].notes[DRUMS][1] == (16, 1, 0)
    assert found["good.mid"].notes[PIANO][:2] == [(0, 2, 33), (3, 2, 36)]
    reasons = {name: str(result) for name, result in found.items() if name != "good.mid"}
    assert reasons == {"seven.mid": "not in 4/4", "between.mid": "off the grid of sixteenths", "short.mid": "shorter than 4 bars",
                       "broken.mid": reasons["broken.mid"]}
    assert reasons["broken.mid"].startswith("unreadable")


def test_a_folder_without_a_usable_file_says_so(tmp_path):
    (tmp_path / "x.mid").write_bytes(b"no midi")
    run = subprocess.run([sys.executable, HERE / "phrases.py", "--midi", tmp_path, "--output", tmp_path / "out.npz"],
                         capture_output=True, text=True)
    assert run.returncode != 0 and "no usable file" in run.stderr and not (tmp_path / "out.npz").exists()


def test_files_hold_what_songs_held(data):
    arrays, _ = load_songs(data)
    assert len(arrays["chords"]) == 12 and arrays["chords"][4].shape == (9, 2)
    assert set(arrays["song_split"]) == {0, 1, 2}
    notes = arrays["notes"][arrays["notes"][:, 0] == 3]
    assert sorted(map(tuple, notes[notes[:, 1] == GUITAR][:, 2:])) == song("song 3", 3).notes[GUITAR]


# With PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(data):
    """Untrained networks with real vocabularies, and the training phrases."""
    pytest.importorskip("torch")
    import torch
    import train_band as tb

    torch.manual_seed(5)
    phrases = tb.Phrases(data, "train")
    shapes = tb.shapes_of(phrases, 8, 6)
    phrases.keep_to(*(tb.Vocabulary(s) for s in shapes))
    config = tb.BandConfig("band", 1, 24, 20, 28, 12, 0.1, 0.0, len(shapes[0]), len(shapes[1]), 6, 4, 4, 4, 1e-3, 2, 0.1, 0.9, 0.6,
                           0.0, 2, False)
    return tb.band_from(config, *shapes).eval(), config, phrases


def test_single_steps_agree_with_teacher_forcing(trained):
    """All that is given is followed in the sampler's own features and blocks, down to the hidden state of every step."""
    import torch
    import band as bd
    import train_band as tb

    band, config, phrases = trained
    sampler = bd.BandSampler(band).eval()
    for group in band.GROUPS:
        net = getattr(band, group)
        batch, targets, known, _ = tb.Stream(phrases, net, config, 2).batch(3)
        forced, seen, decide = [], [], net.decide
        net.decide = lambda hidden: (forced.append(hidden), decide(hidden))[1]
        with torch.no_grad():
            tb.log_prob_of(band, net, batch, targets, known)
            forced = forced.pop().reshape(3, 64, -1)
            contents = band.contents(batch["drums"], list(batch["onset"].unbind(1)), list(batch["sounding"].unbind(1)), batch["triads"])
            own = torch.nn.functional.one_hot(torch.tensor([net.targets.index(int(t)) for t in targets]), len(net.targets))
            tags = torch.cat([batch["source"], own], -1).unsqueeze(1).expand(-1, 128, -1)
            around = net.around(band.features(contents, bd.steps_of_bars(known), band.places(batch["triads"]), tags))
            spread, collect = sampler.maps(batch["triads"])
            for row, track in enumerate(targets.tolist()):
                one = slice(row, row + 1)
                writer = sampler.writers[track]
                onset = batch["drums"][one] if track == 0 else batch["onset"][one, track - 1]
                sounding = onset if track == 0 else batch["sounding"][one, track - 1]
                rows = torch.cat([onset, *writer.raw(onset, sounding, collect[one])], -1)
                assert torch.allclose(sampler.own(track, rows), contents[track][one], atol=1e-6)
                seen.clear()
                writer.decide = lambda hidden, writer=writer: (seen.append(hidden), type(writer).decide(writer, hidden))[1]
                sampler.complete(track, around[one], rows, onset, sounding, torch.zeros(1, 64, 1), torch.zeros(1, 1, 1),
                                 torch.rand(1, 64, 5), spread[one], collect[one])
                del writer.decide
                assert torch.allclose(torch.stack(seen, 1)[0], forced[row], atol=1e-5), (group, track)
        net.decide = decide


def written(trained, known, seed=1, **changes):
    import band_phrases as bp

    band, _, phrases = trained
    batch = phrases.take(phrases.windows[0][:3])
    logits = bp.write(bp.BandSampler(band).eval(), changes.get("triads", bp.triads_of(batch)), bp.cells_of_batch(batch), known(bp, 3), seed)
    return bp.decode(logits), bp.real_rolls(batch), logits


def test_what_is_known_comes_back_and_the_rest_is_new(trained):
    pytest.importorskip("torch")
    for tracks, bars in (((0, 2, 3, 4), range(4)), (range(5), (0, 1, 3)), ((1,), range(4))):
        (onset, sounding), (real_onset, real_sounding), _ = written(trained, lambda bp, n: bp.masks(n, tracks, bars))
        for track in tracks:
            for bar in bars:
                assert (onset[:, track, bar] == real_onset[:, track, bar]).all(), (track, bar)
        missing = [track for track in range(5) if track not in tracks] or [0]
        assert any((onset[:, track] != real_onset[:, track]).any() for track in missing)


def test_a_note_that_is_drawn_lasts_as_drawn(trained):
    pytest.importorskip("torch")
    (onset, sounding), _, logits = written(trained, lambda bp, n: bp.masks(n))
    assert onset[:, BASS:].any() and (sounding >= onset).all()
    assert (onset[:, BASS].sum(-1) <= 1).all() and (sounding[:, BASS].sum(-1) <= 1).all()
    assert np.isfinite(logits).all() and (np.abs(logits[logits > 0]) >= 0.2).all()


def test_noise_moves_nothing_but_what_it_belongs_to(trained):
    """New noise for the last track leaves the others: each track is written from those before it."""
    torch = pytest.importorskip("torch")
    import band_phrases as bp

    band, _, phrases = trained
    batch = phrases.take(phrases.windows[0][:2])
    noise = torch.randn(2, 5, 4, 16, 5, generator=torch.Generator().manual_seed(1))
    other = noise.clone()
    other[:, STRINGS] = torch.randn(2, 4, 16, 5, generator=torch.Generator().manual_seed(2))
    sampler = bp.BandSampler(band).eval()
    one, two = (bp.write(sampler, bp.triads_of(batch), noise=x) for x in (noise, other))
    start = bp.CELL_STARTS[STRINGS]
    assert np.array_equal(one[..., :start], two[..., :start])
    assert not np.array_equal(one[..., start:], two[..., start:])


def test_phrases_that_begin_and_phrases_after_others_are_calibrated_apart(trained):
    pytest.importorskip("torch")
    import band_phrases as bp

    band, _, phrases = trained
    batch = phrases.take(phrases.windows[0][:3])
    for begin, size in ((3.0, 0.0), (0.0, 3.0)):
        biases = np.zeros((2, 5, 16)), np.zeros((2, 5, 5))
        biases[0][1] = begin
        biases[1][1, :, 0] = size
        changed = bp.BandSampler(band, begin=biases[0], size=biases[1]).eval()
        alone, after = (
            [bp.decode(bp.write(sampler, bp.triads_of(batch), bp.cells_of_batch(batch), bp.masks(3, context=context), 1))[0]
             for sampler in (bp.BandSampler(band).eval(), changed)] for context in (False, True))
        assert np.array_equal(*alone)
        steps = [onset.any(-1).sum((0, 2, 3)) for onset in after]
        chords = [onset.sum((0, 2, 3, 4)) / onset.any(-1).sum((0, 2, 3)) for onset in after]
        assert (steps[1] > steps[0]).all() if begin else (chords[1] < chords[0])[STRINGS]


def test_masks_to_learn_from_are_those_of_use(trained):
    torch = pytest.importorskip("torch")
    import train_band as tb

    band, config, phrases = trained
    batch = phrases.take(phrases.windows[0][:16] * 8)
    targets = torch.randint(5, (128,), generator=torch.Generator().manual_seed(3))
    known, learn = tb.draw_masks(batch, targets, torch.Generator().manual_seed(4))
    own = known[torch.arange(128), targets][:, 4:].repeat_interleave(16, 1)
    assert (own + learn <= 1).all() and learn.any(1).all()
    assert (known[:, :, :4] == batch["has"][:, None, :4]).all()
    # From nothing: the tracks before the target, whole, and none after.
    shares = [(known[row, :, 4:].amin(-1) == (torch.arange(5) < targets[row])).all().item() for row in range(128)]
    assert 0.2 < np.mean(shares) < 0.7


def test_a_lead_in_has_the_chords_of_the_phrase_after_it():
    band_phrases, evaluate_band = pytest.importorskip("band_phrases"), pytest.importorskip("evaluate_band")
    model = evaluate_band.Model.__new__(evaluate_band.Model)
    model.layout, seen = band_phrases.BAND_LAYOUT, []
    n_cells = sum(band_phrases.n_cells_of(model.layout))

    def write(triads, cells, known, seed, label):
        seen.append((triads.copy(), cells.copy(), known.copy()))
        logits = np.full((2, 4, 16, n_cells), -4, np.float32)
        logits[:, :, :, len(seen)] = 4
        return logits

    model.write = write
    triads, cells, known = np.ones((2, 16, 24)), np.zeros((2, 8, 16, n_cells)), np.zeros((2, 5, 8))
    triads[:, 8:] = 3
    known[:, BASS, 4:] = 1
    for model.lead_in in (0, 2):
        seen.clear()
        led = model.led(triads, cells, known, 1, "")
        assert len(seen) == model.lead_in
        for n_before, (of_triads, of_cells, of_known) in enumerate([*seen, led]):
            assert (of_triads[:, 8:] == 3).all() and (of_triads[:, :8] == (3 if n_before else 0)).all()
            assert (of_known[:, :, :4] == bool(n_before)).all() and (of_known[:, :, 4:] == known[:, :, 4:]).all()
            assert (of_cells[:, :4, :, n_before] == bool(n_before)).all() and not of_cells[:, 4:].any()


def test_a_graph_stays_when_only_the_words_of_a_release_change(tmp_path):
    onnx, export_band = pytest.importorskip("onnx"), pytest.importorskip("export_band")
    released = HERE / "released" / "band.onnx"
    config = (HERE / "configs" / "release-band.toml").read_text()
    (tmp_path / "release.toml").write_text(config.replace('id = "band"', 'id = "other"').replace("lead_in = 1", "lead_in = 2"))
    command = [sys.executable, HERE / "export_band.py", "--release", tmp_path / "release.toml", "--graph", released, "--output"]
    subprocess.run([*command, tmp_path / "other.onnx"], check=True)
    before, after = export_band.manifest_in(released), export_band.manifest_in(tmp_path / "other.onnx")
    assert (after["id"], after["lead_in"], after["training"]["release"]["lead_in"]) == ("other", 2, 2)
    assert after["calibration"] == before["calibration"]
    assert onnx.load(tmp_path / "other.onnx").graph == onnx.load(released).graph
    (tmp_path / "release.toml").write_text(config.replace("least_pitch = 0.05", "least_pitch = 0.1"))
    run = subprocess.run([*command, tmp_path / "no.onnx"], capture_output=True, text=True)
    assert run.returncode != 0 and "least_pitch" in run.stderr and not (tmp_path / "no.onnx").exists()


def test_training_runs_alone_and_under_torchrun(data, tmp_path):
    pytest.importorskip("torch")
    config = tmp_path / "tiny.toml"
    values = dict(kind="band", seed=1, drums_hidden=16, bass_hidden=16, poly_hidden=16, surroundings=8, dropout=0.1, content_dropout=0.0,
                  n_drum_sets=8, n_chord_shapes=6, batch_size=4, drums_steps=4, bass_steps=2, poly_steps=2, learning_rate=1e-3,
                  warmup_steps=1, weight_decay=0.1, ema_decay=0.9, context_share=0.5, other_source_share=0.0, validate_every=2, bf16=False)
    config.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()))
    for launcher in ([sys.executable], [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        output = tmp_path / f"run{len(launcher)}"
        run = subprocess.run([*launcher, str(HERE / "train_band.py"), "--config", str(config), "--data", str(data), "--output",
                              str(output), "--group", "drums", "--threads", "1"], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-3000:]
        lines = [json.loads(line) for line in (output / "drums.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [2, 4] and (output / "drums.pt").exists()
