"""Tests on small synthetic data without symmetry; nothing here needs the real data set. `pytest models`."""

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

import metrics
import prepare
from prepare import HOLD, NO_BAR, NO_CHORD, REST

HERE = Path(__file__).parent


def song_files(folder, melody, chords):
    """Write one song of the POP909-structure layout."""
    folder.mkdir(parents=True)
    (folder / "melody.txt").write_text("".join(f"{pitch} {duration}\n" for pitch, duration in melody))
    (folder / "finalized_chord.txt").write_text("".join(f"{line}\n" for line in chords))


def synthetic_songs(n_songs, n_bars, seed=0):
    """Songs with a lopsided grammar: more low steps than high, syncopated, each in its own key; (name, Song) pairs."""
    rng = np.random.default_rng(seed)
    out = []
    for idx in range(n_songs):
        key, notes, chords = int(rng.integers(12)), [], []
        for bar in range(n_bars):
            triads = [(key + (0, 5, 7, 9)[int(rng.integers(4))]) % 12 + 12 * int(rng.random() < 0.3) for _ in range(2)]
            for triad in triads:
                chords += [(triad, prepare.triad_mask(triad))] * 2
            step = int(rng.choice([0, 0, 2, 3]))
            while step < 16:
                duration = int(rng.choice([1, 2, 3, 6]))
                pitch = 57 + key // 2 + int(rng.choice([0, 2, 4, 5, 7, 7, 9]))
                notes.append((bar * 16 + step, min(duration, 16 - step), pitch))
                step += duration + int(rng.random() < 0.25)
        out.append((f"song{idx}", prepare.Song(f"song{idx}", notes, chords)))
    return out


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "synthetic.npz"
    arrays, _, _ = prepare.build(synthetic_songs(12, 9), 0.2, 0.25, seed=4)
    prepare.save_atomically(path, lambda file: np.savez(file, **arrays))
    return path


# prepare


@pytest.mark.parametrize("name, triad", [("C:maj", 0), ("Bb:min7/b7", 22), ("F#:sus4(b7)", 6), ("Cb:maj7", 11), ("B:dim", 23),
                                         ("Ab:7/3", 8), ("G#:hdim7", 20), ("E:minmaj7", 16), ("A:aug", 9), ("N", NO_CHORD)])
def test_chord_names_reduce_to_triads(name, triad):
    assert prepare.triad_of(name) == triad


def test_minor_index_is_the_chords_own_root():
    assert prepare.triad_mask(prepare.triad_of("A:min")) == 1 << 9 | 1 << 0 | 1 << 4


def test_pop909_layout_becomes_bars(tmp_path):
    song_files(tmp_path / "POP909/007", [(0, 3), (61, 5), (66, 1), (0, 2), (90, 14), (50, 7)],
               ["F#:min [1, 6, 9] 6 2 ", "D:maj [2, 6, 9] 2 3", "Ab:maj [0, 3, 8] 8 4 2", "N []  3 "])
    (name, song), = prepare.read_pop909(tmp_path)
    assert name == "007"
    states, chords, masks = prepare.states_of(song)
    h, r = HOLD, REST
    # 90 is above the range, and moving the whole song down an octave would push two notes below it: only 90 folds, to 78.
    assert states.tolist() == [[r, r, r, 13, h, h, h, h, 18, r, r, 30, h, h, h, h], [h, h, h, h, h, h, h, h, h, 2, h, h, h, h, h, h]]
    assert chords.tolist() == [[18, 2], [2, 8]]
    assert masks[0].tolist() == [1 << 1 | 1 << 6 | 1 << 9, 1 << 2 | 1 << 6 | 1 << 9]


def test_rejected_songs_carry_a_reason(tmp_path):
    song_files(tmp_path / "POP909/001", [(60, 4)], ["C:maj [0, 4, 7] 0 4"])
    song_files(tmp_path / "POP909/002", [(60, 4)], ["C:maj 0 4"])
    song_files(tmp_path / "POP909/003", [(60, 4)], ["C:maj [0, 4, 7] 0 4"])
    (tmp_path / "POP909/004").mkdir()
    (tmp_path / "NOT_4_4.txt").write_text("003\n")
    result = dict(prepare.read_pop909(tmp_path))
    assert isinstance(result["001"], prepare.Song)
    assert "cannot read" in str(result["002"])
    assert "not in 4/4" in str(result["003"])
    assert "unreadable" in str(result["004"])


def test_midi_folder(tmp_path):
    pretty_midi = pytest.importorskip("pretty_midi")

    def write(name, meter, chord_track):
        midi = pretty_midi.PrettyMIDI(initial_tempo=100)
        midi.time_signature_changes.append(pretty_midi.TimeSignature(*meter, 0))
        beat = 0.6
        melody = pretty_midi.Instrument(0, name="Melody")
        for onset, end, pitch in [(0.0, 0.75, 64), (0.75, 1.0, 69), (2.5, 5.0, 71)]:
            melody.notes.append(pretty_midi.Note(90, pitch, onset * beat, end * beat))
        chords = pretty_midi.Instrument(0, name=chord_track)
        for start, pitches in [(0, (45, 60, 64)), (2, (41, 57, 60)), (4, (43, 59, 62))]:
            chords.notes += [pretty_midi.Note(60, pitch, start * beat, (start + 2) * beat) for pitch in pitches]
        midi.instruments += [melody, chords]
        midi.write(str(tmp_path / name))

    write("good.mid", (4, 4), "Chords")
    write("waltz.mid", (3, 4), "Chords")
    write("nochords.mid", (4, 4), "Strings")
    (tmp_path / "broken.mid").write_bytes(b"MThd nonsense")
    result = dict(prepare.read_midi_folder(tmp_path, "MELODY", "CHORDS"))
    assert result["good.mid"].notes == [(0, 3, 64), (3, 1, 69), (10, 10, 71)]
    _, chords, _ = prepare.states_of(result["good.mid"])
    assert chords.tolist() == [[21, 5], [7, NO_CHORD]]
    assert "4/4" in str(result["waltz.mid"])
    assert "tracks: ['Melody', 'Strings']" in str(result["nochords.mid"])
    assert "unreadable" in str(result["broken.mid"])


def test_split_is_by_song_and_fixed(data):
    songs = [set(prepare.load_bars(data, split)[0].song) for split in prepare.SPLITS]
    assert [len(s) for s in songs] == [7, 2, 3]
    assert not songs[0] & songs[1] and not songs[0] & songs[2] and not songs[1] & songs[2]
    assert (prepare.split_songs(40, 0.1, 0.2, 3) == prepare.split_songs(40, 0.1, 0.2, 3)).all()


def test_previous_bar_is_the_bar_before_in_the_same_song(data):
    bars, _ = prepare.load_bars(data, "train")
    for idx in range(1, len(bars)):
        if bars.song[idx] == bars.song[idx - 1] and bars.bar[idx] == bars.bar[idx - 1] + 1:
            assert (bars.previous[idx] == bars.states[idx - 1]).all()
    assert (bars.previous[0] == NO_BAR).all()


def test_hash_sees_content_not_container(data):
    _, one = prepare.load_bars(data, "train")
    _, two = prepare.load_bars(data, "val")
    assert one == two and len(one) == 64


# metrics

BAR = np.array([[12, HOLD, HOLD, 14, REST, REST, 21, HOLD, 21, HOLD, HOLD, HOLD, 19, HOLD, REST, REST],
                [HOLD, HOLD, 31, HOLD, REST, REST, REST, REST, REST, REST, REST, REST, REST, REST, REST, 5]], np.uint8)
BEFORE = np.array([[REST] * 9 + [9] + [HOLD] * 6, [NO_BAR] * 16], np.uint8)


def test_intervals_include_the_bar_line():
    assert metrics.intervals(BAR, BEFORE).tolist() == [3, 2, 7, 0, -2, -26]


def test_chord_tones_use_the_half_bars_chord():
    masks = np.array([[1 << 0 | 1 << 4 | 1 << 7, 1 << 9], [0, 1 << 7 | 1 << 5]], np.uint16)
    hits, on_beat = metrics.chord_tones(BAR, masks)
    # C, D, A over C major; A, G over A; the second bar's G has no chord, its F does.
    assert hits.tolist() == [True, False, False, True, False, True]
    assert on_beat.tolist() == [True, False, False, True, True, False]


def test_copies_ignore_transposition_but_not_rhythm():
    bars = prepare.Bars(BAR, BEFORE, None, None, None, None)
    training = metrics.TrainingBars(bars)
    up = np.where(BAR < REST, BAR + 2, BAR).astype(np.uint8)
    before_up = np.where(BEFORE < REST, BEFORE + 2, BEFORE).astype(np.uint8)
    assert training.copies(up, before_up) == (1.0, 0.5, 1.0)
    other = up.copy()
    other[0, 1] = REST
    assert training.copies(other, before_up) == (0.5, 0.0, 0.0)


def test_decoding_is_greedy_at_zero_and_thins_with_the_threshold():
    rng = np.random.default_rng(0)
    logits = np.full((1, 16, 7), -8.0)  # five pitches, rest, hold
    logits[0, :, 3] = 7.9
    logits[0, :, 6] = np.linspace(0, 7.5, 16)
    roll = metrics.quantise(logits)
    assert roll.max() == 126
    assert (metrics.decode_one_of_n(roll, 5, 0.0, 0.5, rng) == 3).all()
    thinned = metrics.decode_one_of_n(roll, 5, 0.0, 0.97, rng)
    assert thinned.tolist() == [[3] * 9 + [6] * 7]


def test_merge_repeats_joins_equal_pitches_only():
    states = np.array([[4, 4, 5, HOLD, 5, REST, 5, 5] + [7] * 8], np.uint8)
    assert metrics.merge_repeats(states).tolist() == [[4, HOLD, 5, HOLD, HOLD, REST, 5, HOLD, 7] + [HOLD] * 7]


def test_classes_round_trip_with_another_range():
    one_hot = metrics.classes_from_states(BAR, 0, 128)
    assert one_hot[0, 0].argmax() == 60 and one_hot[0, 4].argmax() == 128 and one_hot[0, 1].argmax() == 129
    assert (metrics.states_from_classes(one_hot.argmax(-1), 0, 128) == BAR).all()
    assert metrics.classes_from_states(BEFORE, 0, 128)[1].sum() == 0


def test_total_variation():
    assert metrics.total_variation(np.array([3, 1, 0]), np.array([2, 0, 2])) == pytest.approx(0.5)


def test_chords_are_shuffled_within_a_song():
    masks = np.arange(10, dtype=np.uint16).reshape(5, 2)
    song = np.array([4, 9, 4, 9, 4])
    out = metrics.shuffled_within(masks, song, np.random.default_rng(1))
    for name in (4, 9):
        assert sorted(out[song == name, 0]) == sorted(masks[song == name, 0])


# networks

torch = None


@pytest.fixture(scope="session")
def nets():
    global torch
    torch = pytest.importorskip("torch", reason="the networks need PyTorch")
    import nets as module

    torch.set_num_threads(1)
    return module


@pytest.fixture(scope="session")
def trained(nets, data, tmp_path_factory):
    """A tiny melody and a tiny MidiNet, trained for a few steps through the real code path: {kind: checkpoint}."""
    import train

    folder = tmp_path_factory.mktemp("runs")
    out = {}
    for kind, name, changes in [
            ("melody", "melody", {"rhythm_hidden": 12, "pitch_hidden": 14, "n_step": 5, "n_summary": 6, "batch_size": 8,
                                  "rhythm_steps": 6, "pitch_steps": 4, "validate_every": 2, "warmup_steps": 2, "bf16": False}),
            ("midinet", "midinet3", {"n_filters": 10, "n_conditioner": 3, "batch_size": 8, "n_steps": 3, "validate_every": 3,
                                     "bf16": False})]:
        values = tomllib.loads((HERE / "configs" / f"{name}.toml").read_text()) | changes
        getattr(train, f"train_{kind}")(train.config_from(values), data, folder / kind)
        out[kind] = folder / kind / "checkpoint.pt"
    return out


@pytest.mark.parametrize("path", sorted((HERE / "configs").glob("m*.toml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(nets, path):
    import train

    train.load_config(path)


def test_configuration_rejects_what_it_does_not_know(nets):
    import train

    values = tomllib.loads((HERE / "configs" / "melody.toml").read_text())
    with pytest.raises(ValueError, match="unknown keys: dropuot"):
        train.config_from(values | {"dropuot": 0.1})
    with pytest.raises(ValueError, match="missing keys: seed"):
        train.config_from({key: value for key, value in values.items() if key != "seed"})
    with pytest.raises(ValueError, match="batch_size must be int"):
        train.config_from(values | {"batch_size": 7.5})
    with pytest.raises(ValueError, match="bf16 must be bool"):
        train.config_from(values | {"bf16": 1})


def one_hot_rows(nets, rows, width):
    return torch.nn.functional.one_hot(torch.tensor(rows), width).float()


def test_gathered_tables_equal_the_plain_products(nets):
    tables = nets.MelodyTables()
    torch.manual_seed(0)
    values = torch.randn(3, nets.N_ORIGINS * nets.N_INTERVALS)
    origins = one_hot_rows(nets, [[3, 35, 0, 17], [20, 1, 8, 8], [9, 30, 30, 2]], 36)
    origins[1, 2] = 0  # an origin that is missing
    flat = origins.flatten(1)
    assert torch.allclose(tables.spread(values, flat), tables.spread_gathered(values, flat), atol=1e-6)
    expected = sum(values[0, k * 71 + (23 - origin) + 35] for k, origin in enumerate([3, 35, 0, 17]))
    assert tables.spread(values, flat)[0, 23].item() == pytest.approx(expected.item(), abs=1e-5)
    pitch, origin = origins[:, :1], origins[:, 1:2]
    origin[2] = 0
    assert torch.equal(tables.interval(pitch, origin), tables.interval_counted(pitch, origin))
    assert tables.interval(pitch, origin)[0, 0].argmax().item() == 3 - 35 + 35


def test_tables_of_the_previous_bar(nets):
    tables = nets.MelodyTables()
    pitches = nets.state_one_hot(torch.from_numpy(BAR.astype(np.int64)))[..., :36]
    last = tables.last_onsets(pitches)
    assert last.argmax(-1).tolist() == [[19, 21], [5, 31]]
    sounding = tables.sounding(pitches)
    assert sounding[0].argmax(-1).tolist() == [12, 12, 12, 14, 14, 14, 21, 21, 21, 21, 21, 21, 19, 19, 19, 19]
    assert sounding[1, :2].sum() == 0
    now = torch.zeros(2, 16, 1)
    now[0, [1, 5, 6]] = 1
    order = tables.same_order(pitches, now)[0].argmax(-1).tolist()
    assert order[:8] == [12, 12, 14, 14, 14, 14, 21, 21]


def test_degrees_are_equivariant(nets):
    tables = nets.MelodyTables()
    chords = nets.triad_one_hot(torch.tensor([[21, 5]]))
    degrees = one_hot_rows(nets, [[9 + 12]], 36) @ tables.degree_map(chords)[:, 0]
    assert degrees.argmax().item() == 12  # A over A minor: the root, in the minor half
    assert tables.relation(chords[:, 0], chords[:, 1]).argmax().item() == 8  # F major lies 8 above A
    assert tables.relation(chords[:, 1], chords[:, 0]).argmax().item() == 12 + 4
    assert tables.degree_map(nets.triad_one_hot(torch.tensor([[-1, 5]])))[:, 0].sum() == 0


def test_transposing_keeps_intervals_and_range(nets):
    import train

    states = torch.from_numpy(BAR.astype(np.int64))
    previous = torch.from_numpy(BEFORE.astype(np.int64))
    chords = torch.tensor([[21, 5], [-1, 11]])
    moved, before, triads = train.transpose(states, previous, chords, torch.tensor([5, 5]))
    assert triads.tolist() == [[14, 10], [-1, 11]]
    assert moved[0, 0] == 17 and before[0, 9] == 14
    assert moved[1, 2] == 31  # 31 + 5 leaves the range, so does 5 - 7: bar and chords stay
    assert moved.max() <= HOLD and (moved == REST).equal(states == REST)


@pytest.fixture(scope="session")
def melody_net(nets, trained):
    import train

    checkpoint, config = train.load_checkpoint(trained["melody"])
    net = train.melody_from(config)
    net.load_state_dict(checkpoint["state"])
    return net.eval()


def conditions(nets, data, n_pitches=36, lowest=48):
    bars, _ = prepare.load_bars(data, "train")
    previous = torch.from_numpy(metrics.classes_from_states(bars.previous, lowest, n_pitches))
    chords = nets.triad_one_hot(torch.from_numpy(bars.chords.astype(np.int64)))
    return bars, chords, previous


def test_sampler_draws_from_the_trained_distribution(nets, melody_net, data):
    """Output minus noise gives the teacher-forced log-probabilities of the very bar that was drawn, step by step."""
    bars, chords, previous = conditions(nets, data)
    torch.manual_seed(2)
    noise = torch.randn(len(bars), 16, 39)
    with torch.no_grad():
        logits = nets.MelodySampler(melody_net).eval()(noise, chords, previous)[:, 0]
        states = logits.argmax(-1)
        arguments = (states, torch.from_numpy(bars.previous.astype(np.int64)), torch.from_numpy(bars.chords.astype(np.int64)))
        rhythm, pitch = melody_net.rhythm_log_prob(*arguments), melody_net.pitch_log_prob(*arguments)
    gumbel = nets.gumbel_of(noise)
    logits = logits + nets.LOGIT_STEP * (1 - nets.one_hot_of_largest(logits))  # the step that keeps the winner apart
    best_pitch = logits[..., :36].amax(-1, keepdim=True)
    a = torch.cat([best_pitch, logits[..., 37:], logits[..., 36:37]], -1) - gumbel[..., :3]
    drawn = nets.rhythm_of(states)
    assert torch.allclose(torch.log_softmax(a, -1).gather(-1, drawn.unsqueeze(-1)).sum((1, 2)), rhythm, atol=1e-3)
    b = torch.log_softmax(logits[..., :36] - gumbel[..., 3:], -1)
    chosen = b.gather(-1, states.clamp(max=35).unsqueeze(-1))[..., 0] * (states < 36)
    # Where an onset wins, all pitches but the best carry the step, and it has been undone for all alike.
    assert torch.allclose(chosen.sum(1), pitch, atol=1e-3)


def test_sampled_bars_are_well_formed(nets, melody_net, data):
    bars, chords, previous = conditions(nets, data)
    torch.manual_seed(3)
    with torch.no_grad():
        logits = nets.MelodySampler(melody_net).eval()(torch.randn(len(bars), 16, 39), chords, previous)[:, 0]
    states = logits.argmax(-1).numpy()
    assert np.isfinite(logits.numpy()).all() and logits.max() == nets.TOP_LOGIT
    roll = metrics.quantise(logits.numpy())
    assert (roll.argmax(-1) == states).all() and ((roll == 127).sum(-1) == 1).all()  # greedy decoding is the drawn bar
    silent_before = np.isin(bars.previous[:, -1], (REST, NO_BAR))
    assert not (states[silent_before, 0] == HOLD).any()
    assert not ((states[:, 1:] == HOLD) & (states[:, :-1] == REST)).any()


def test_onset_bias_raises_the_density(nets, melody_net, data):
    bars, chords, previous = conditions(nets, data)
    notes = []
    for bias in (-1.0, 0.0, 1.0):
        torch.manual_seed(4)
        with torch.no_grad():
            logits = nets.MelodySampler(melody_net, rhythm_bias=torch.tensor([bias, 0.0, 0.0]).repeat(16, 1)).eval()(torch.randn(len(bars), 16, 39), chords, previous)
        notes.append((logits.argmax(-1) < 36).float().mean().item())
    assert notes[0] < notes[1] < notes[2]


def test_loops_become_scans_that_tract_and_onnx_runtime_can_run(nets, melody_net, data, tmp_path):
    pytest.importorskip("onnxruntime", reason="runs the exported graph")
    import export

    table = torch.linspace(-0.4, 0.7, 48).reshape(16, 3)
    sampler = nets.MelodySampler(melody_net, 0.8, 0.9, 0.05, table).eval()
    _, chords, previous = conditions(nets, data)
    model = export.to_onnx(sampler, (torch.zeros(1, 16, 39), chords[:1], previous[:1]), tmp_path / "graph.onnx")
    main, *bodies = export.graphs_of(model.graph)
    assert [node.op_type for node in main.node].count("Scan") == len(bodies) == 2
    assert sum(len(graph.node) for graph in (main, *bodies)) < 300
    for body in bodies:  # tract 0.23 gives a reader of a scan output inside the body one axis too many
        assert body.output[-1].name not in {name for node in body.node for name in node.input}
    run = export.session(model)
    torch.manual_seed(6)
    for idx in range(40):
        feed = [torch.randn(1, 16, 39), chords[idx:idx + 1] * (idx % 3 != 0), previous[idx:idx + 1] * (idx % 5 != 0)]
        got = run.run(["logits"], {name: x.numpy() for name, x in zip(export.INPUTS, feed)})[0]
        with torch.no_grad():
            expected = sampler(*feed).numpy()
        # Not closer, because the runtimes' erf differ; see TOLERANCE.
        assert abs(got - expected).max() < export.TOLERANCE and (got.argmax(-1) == expected.argmax(-1)).all()


def test_rests_are_lengthened_away(nets):
    onsets = torch.zeros(2, 16, 128)
    onsets[0, 3, 61] = onsets[0, 9, 70] = 1
    bar = nets.lengthen(onsets)
    assert bar[0].argmax(-1).tolist() == [61] * 9 + [70] * 7
    assert bar[1].sum() == 0


def test_folding_keeps_the_pitch_class(nets):
    fold = nets.fold_matrix().argmax(-1)
    assert fold.min() == 60 and fold.max() == 83
    assert ((fold - torch.arange(128)) % 12 == 0).all()
    assert fold[60:84].tolist() == list(range(60, 84))


def test_midinet_sampler_equals_the_generator(nets, trained, data):
    import train

    checkpoint, config = train.load_checkpoint(trained["midinet"])
    generator = train.midinet_from(config)
    generator.load_state_dict(checkpoint["state"])
    generator.eval()
    bars, chords, previous = conditions(nets, data, 128, 0)
    torch.manual_seed(5)
    noise = torch.randn(len(bars), config.n_noise)
    with torch.no_grad():
        expected = generator(noise, nets.midinet_chords(chords),
                             train.midinet_bar(torch.from_numpy(bars.previous.astype(np.int64))))
        got = nets.MidiNetSampler(generator, 0.5, -6.25).eval()(noise, chords, previous)[:, 0]
    assert torch.allclose(got[..., :128], expected * 0.5, atol=1e-4)
    assert (got[..., 128] == -8).all() and (got[..., 129] == -6.25).all()


def test_midinet_models_of_the_paper_differ_in_their_conditions(nets):
    import train

    noise, previous = torch.randn(5, 100), torch.zeros(5, 16, 128)
    previous[:, :, 64] = 1
    chords = torch.zeros(5, 2, 13)
    other = chords.clone()
    other[:, :, 4] = 1
    for model, hears_chords in ((1, False), (2, True), (3, True)):
        torch.manual_seed(0)
        net = train.midinet_from(train.load_config(HERE / "configs" / f"midinet{model}.toml")).eval()
        with torch.no_grad():
            assert torch.equal(net(noise, chords, previous), net(noise, other, previous)) != hears_chords
        assert [net.sees_previous(level) for level in range(4)] == [model != 2] * 3 + [True]


@pytest.mark.parametrize("kind", ["melody", "midinet"])
def test_export_round_trip(nets, trained, data, tmp_path, kind, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the export is checked against ONNX Runtime")
    import evaluate
    import export

    output = tmp_path / f"{kind}.onnx"
    monkeypatch.setattr("sys.argv", ["export.py", "--release", str(HERE / "configs" / f"release-{kind}.toml"),
                                     "--checkpoint", str(trained[kind]), "--data", str(data), "--output", str(output)])
    export.main()
    assert [path.name for path in tmp_path.iterdir()] == [output.name]  # no temporary file stays behind
    model = evaluate.Released(output)
    assert model.manifest["output"]["shape"] == [1, 1, 16, model.n_pitches + 2]
    assert model.manifest["training"]["data_sha256"] == prepare.load_bars(data, "val")[1]
    bars, _ = prepare.load_bars(data, "test")
    played, greedy = model.chains(bars.chords[None, :8], seed=1)
    again, _ = model.chains(bars.chords[None, :8], seed=1)
    assert played.shape == greedy.shape == (1, 8, 16) and (played == again).all()


@pytest.mark.parametrize("path", sorted((HERE / "released").glob("*.onnx")), ids=lambda path: path.stem)
def test_released_file_keeps_its_contract(path):
    onnx = pytest.importorskip("onnx", reason="reads the released graph")
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    manifest = json.loads(metadata["barline.manifest"])
    assert metadata["barline.graph_sha256"] == hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    assert manifest["id"] == path.stem and manifest["format"] == 1 and path.stat().st_size <= 5 * 2**20
    declared = {entry["name"]: entry["shape"] for entry in manifest["latents"] + manifest["conditions"]}

    def shape(value):
        return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]

    assert {value.name: shape(value) for value in model.graph.input} == declared
    assert [(value.name, shape(value)) for value in model.graph.output] == [("logits", manifest["output"]["shape"])]
    assert not {node.op_type for node in model.graph.node} & {"If", "Loop"}
    # tract takes a millisecond per node to load, more where there are more.
    assert len(model.graph.node) < (300 if len(manifest["tracks"]) == 1 else 1000)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert manifest["attribution"] and manifest["licence"] == "MIT OR Apache-2.0"
