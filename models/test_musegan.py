"""Tests of the published systems, their trainer and their model files, with tiny networks on small songs made here."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import train_musegan as tm
from band_phrases import decode, real_rolls
from export_musegan import LAYOUT, cells_of_rolls, feeds_of, manifest_of, write
from musegan import (N_CELLS, NOISES, NEVER, SURE, Conv, Generator, MuseganConfig, Sampler, Spread, activate, chroma_stream, critic_from,
                     onset_stream)
from phrases import BASS, DRUMS, GUITAR, PIANO, STRINGS, arrays_of
from test_band import song
from train import config_from, load_config

# Networks this small run several times faster on one thread, above all beside other work.
torch.set_num_threads(1)
HERE = Path(__file__).parent
CONFIGS = sorted(HERE.glob("configs/*musegan*.toml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    songs = [song(f"song {seed}", seed) for seed in range(12)]
    path = tmp_path_factory.mktemp("musegan") / "band.npz"
    np.savez_compressed(path, **arrays_of(songs, 0.2, 0.2, 3))
    return path


@pytest.fixture(scope="module")
def rolls(data):
    return tm.Rolls(data, "train", torch.device("cpu"))


def tiny(name="musegan-hybrid", **changes):
    """A published configuration at a fraction of its size."""
    small = {"width": 1 / 32, "critic_width": 1 / 32, "refiner_width": 1 / 16, "batch_size": 3, "d_updates": 2, "d_warm_updates": 2,
             "d_warm_steps": 1, "n_steps": 2, "validate_every": 2}
    config = load_config(HERE / f"configs/{name}.toml")
    return replace(config, **small | {"refiner_steps": min(config.refiner_steps, 2)} | changes)


def noises_of(config, n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *shape, generator=generator) for shape in config.noise_shapes().values()]


def sampler_of(config, seed=3):
    """An untrained network that plays: norms in inference mode with the statistics of some noise."""
    torch.manual_seed(seed)
    generator = Generator(config)
    known = torch.ones(8, 4, 5)
    for _ in range(30):
        generator(noises_of(config, 8, seed + _), torch.rand(8, 4, 16, 72, 5).round(), known)
    return Sampler(generator.eval(), config, (2.0,) * 5).eval()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_published_system_trains_a_step(path, rolls):
    config = tiny(path.stem)
    assert config.id == path.stem
    trainer = tm.Trainer(config, rolls)
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    assert all(np.isfinite(trainer.train_step()).all() for _ in range(config.n_steps + config.refiner_steps))
    after = trainer.finished(2).state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert trainer.played(trainer.finished(2), trainer.real(2)).unique().tolist() in ([0, 1], [0], [1])


def test_what_does_not_go_together_is_refused():
    values = vars(tiny())
    for change, word in (({"system": "trio"}, "system"), ({"refiner": "end_to_end"}, "neurons"), ({"given": "Piano", "critic": "per_track"}, "critics"),
                         ({"system": "binary", "given": "any"}, "given"), ({"n_noise": 30}, "n_noise"), ({"refiner_steps": 5}, "refiner_steps"),
                         ({"depth": 3}, "depth")):
        with pytest.raises(ValueError, match=word):
            config_from(values | change)


def test_rolls_are_those_of_the_songs(data, rolls):
    phrases = tm.Phrases(data, "train", ("midi",))
    windows = phrases.windows[0]
    some = [0, 3, len(windows) - 1]
    _, sounding = real_rolls(phrases.take([windows[row] for row in some]))
    ours = rolls.take(torch.tensor(some))
    assert np.array_equal(ours.permute(0, 4, 1, 2, 3).numpy() > 0, sounding[..., 24:96])
    moved = rolls.take(torch.tensor(some), torch.tensor([2, 0, -5]))
    assert torch.equal(moved[..., DRUMS], ours[..., DRUMS])
    assert torch.equal(moved[0, :, :, 2:, BASS:], ours[0, :, :, :-2, BASS:]) and torch.equal(moved[1], ours[1])
    assert torch.equal(moved[2, :, :, :-5, BASS:], ours[2, :, :, 5:, BASS:])


# The systems -----------------------------------------------------------------------------------------------------------


def changed(config, noise, track=None):
    """Which tracks change when a noise does, of one track or as a whole: (5,) bool."""
    net = sampler_of(config).generator
    one = noises_of(config, 1)
    idx = list(config.noise_shapes()).index(noise)
    other = [z.clone() for z in one]
    if track is None:
        other[idx] += 1
    else:
        other[idx][:, track] += 1
    with torch.no_grad():
        difference = (net(one) - net(other)).abs().amax((0, 2, 3))  # (4, 5)
    return (difference > 1e-6).any(0).tolist(), difference


def test_each_noise_moves_what_it_belongs_to():
    hybrid = tiny("musegan-hybrid")
    assert list(hybrid.noise_shapes()) == list(NOISES) and hybrid.noise_shapes()["track_bars"] == (5, 32)
    for noise in ("shared_phrase", "shared_bars"):
        assert changed(hybrid, noise)[0] == [True] * 5
    for noise in ("track_phrase", "track_bars"):
        assert changed(hybrid, noise, GUITAR)[0] == [False, False, False, True, False]
        assert changed(tiny("musegan-jamming"), noise, BASS)[0] == [False, True, False, False, False]
    assert list(tiny("musegan-composer").noise_shapes().values()) == [(64,), (64,)]


def test_a_bar_noise_makes_bars_differ_and_a_phrase_noise_does_not():
    config = tiny("musegan-jamming")
    net = sampler_of(config).generator
    phrase, bars = noises_of(config, 1)
    with torch.no_grad():
        for temporal in net.net.temporal["track_bars"]:
            temporal.layers[-1].norm.weight.zero_()
            temporal.layers[-1].norm.bias.zero_()
        logits = net([phrase, bars])
    assert torch.allclose(logits[:, 0], logits[:, 3], atol=1e-6)


def test_the_given_track_is_heard_and_the_others_are_not():
    config = tiny("musegan-hybrid-piano")
    net = sampler_of(config).generator
    noises, known = noises_of(config, 1), torch.zeros(1, 4, 5)
    known[..., PIANO] = 1
    roll = torch.zeros(1, 4, 16, 72, 5)
    with torch.no_grad():
        silent = net(noises, roll, known)
        played = roll.clone()
        played[:, 2, 3:9, 40, PIANO] = 1
        heard = (net(noises, played, known) - silent).abs().amax((0, 2, 3))
        assert (heard[2, [DRUMS, BASS, GUITAR, STRINGS]] > 1e-6).all() and (heard[[0, 1, 3]] < 1e-6).all()
        other = roll.clone()
        other[..., STRINGS] = 1
        assert torch.equal(net(noises, other, known), silent)


def test_binary_neurons_are_hard_with_the_gradient_of_a_sigmoid():
    x = torch.tensor([-1.5, 0.4, 2.0], requires_grad=True)
    y = activate(x, "deterministic", 2.0)
    assert y.tolist() == [0, 1, 1]
    y.sum().backward()
    p = torch.sigmoid(2 * x.detach())
    assert torch.allclose(x.grad, 2 * p * (1 - p))
    drawn = activate(torch.full((20_000,), 0.7), "stochastic", 2.0, torch.Generator().manual_seed(1))
    assert set(drawn.unique().tolist()) == {0.0, 1.0} and abs(drawn.mean() - torch.sigmoid(torch.tensor(1.4))) < 0.02
    assert torch.allclose(activate(x.detach(), "none", 1.0), torch.sigmoid(x.detach()))


def test_an_untrained_refiner_is_the_hard_threshold_and_two_stages_leave_the_generator_alone(rolls):
    config = tiny("bmusegan-two-stage-dbn")
    trainer = tm.Trainer(config, rolls)
    noises = noises_of(config, 2)
    generator = trainer.generator.eval()
    with torch.no_grad():
        assert torch.equal(generator(noises), generator(noises, refine=False))
    seen = []
    for _ in range(4):
        trainer.train_step()
        seen.append((trainer.stage, trainer.neurons, trainer.refines, trainer.slope,
                     {name: value.clone() for name, value in generator.state_dict().items()}))
    assert [entry[:3] for entry in seen] == [(1, "none", False)] * 2 + [(2, "deterministic", True)] * 2
    assert [round(entry[3], 3) for entry in seen] == [1, 1, round(6.7 ** 0.5, 3), 6.7]
    for name in seen[1][4]:
        same = torch.equal(seen[1][4][name], seen[3][4][name])
        assert same if name.startswith("net.") else True, name
    assert any(not torch.equal(seen[1][4][name], seen[3][4][name]) for name in seen[1][4] if name.startswith("refiner."))


def test_a_banded_product_is_the_convolution():
    torch.manual_seed(1)
    for c_in, c_out in ((1, 3), (3, 1)):
        conv, x = Conv(c_in, c_out), torch.randn(2, c_in, 16, 72)
        assert torch.allclose(conv(x), conv.eval()(x), atol=1e-5)


def test_bars_are_spread_as_by_a_transposed_convolution():
    torch.manual_seed(1)
    spread, x = Spread(3, 5, 2).eval(), torch.randn(4, 3, 3)
    weight = spread.product.weight.reshape(2, 5, 3).permute(2, 1, 0)  # (C, C', kernel)
    expected = torch.relu(spread.norm(torch.nn.functional.conv_transpose1d(x.transpose(1, 2), weight).transpose(1, 2)))
    assert torch.allclose(spread(x), expected, atol=1e-6) and expected.shape == (4, 4, 5)


def test_streams_hold_what_their_names_say():
    roll = torch.zeros(1, 4, 16, 72, 5)
    roll[0, 1, 14:, 19, BASS] = 1  # G, over the bar line
    roll[0, 2, :3, 19, BASS] = 1
    roll[0, 0, 5, 12, DRUMS] = 1
    onsets = onset_stream(roll)[0, :, :, 0]
    assert [tuple(row) for row in onsets[..., BASS].nonzero().tolist()] == [(1, 14), (2, 3)]
    assert onsets[1, 14, BASS] == 1 and onsets[2, 3, BASS] == -1
    assert onsets[..., DRUMS].nonzero().tolist() == [[0, 5]]
    chroma = chroma_stream(roll.flatten(0, 1))
    assert chroma[1, 3, 7, BASS] == 2 and chroma[2, 0, 7, BASS] == 3 and chroma[..., BASS].sum() == 5


def test_the_penalty_holds_every_critic_of_a_track_to_itself(rolls):
    trainer = tm.Trainer(tiny("musegan-jamming"), rolls)
    real = trainer.real(3)
    scores = trainer.critic(real)
    assert scores.shape == (3, 5)
    other = real.clone()
    other[..., GUITAR] = 1 - other[..., GUITAR]
    assert (trainer.critic(other) != scores).any(0).tolist() == [False, False, False, True, False]
    assert trainer.gradient_penalty(real, other).isfinite()


def test_the_hinge_critic_is_normalised():
    critic = critic_from(tiny("musegan-hybrid-hinge"))
    x = torch.rand(2, 4, 16, 72, 5)
    for _ in range(30):
        critic(x)
    critic.eval()
    norms = [torch.linalg.matrix_norm(m.weight, 2).item() for m in critic.modules() if isinstance(m, torch.nn.Linear)]
    assert len(norms) > 20 and max(norms) < 1.1


# The file ---------------------------------------------------------------------------------------------------------------


def test_cells_play_what_the_network_wrote(rolls):
    config = tiny()
    sampler = sampler_of(config)
    noises = noises_of(config, 2)
    with torch.no_grad():
        logits = sampler(*noises, torch.zeros(2, 4, 16, sum(N_CELLS)), torch.zeros(2, 5, 4))
        binary = sampler.generator(noises) + 2 > 0
    onset, sounding = decode(logits.numpy(), layout=LAYOUT)
    # The host keeps a sixteenth of a logit, so a cell within a thirty-second of 0 may turn.
    sure = ((sampler.generator(noises) + 2).abs() > 0.1).permute(0, 4, 1, 2, 3).numpy()
    expected_onset, expected = tm.rolls_as_bool(binary.float())
    assert expected[:, BASS:].any() and sure.mean() > 0.5
    if sure.all():
        assert np.array_equal(onset[:, BASS:], expected_onset[:, BASS:])
    assert (sounding[..., 24:96][:, BASS:] == expected[..., 24:96][:, BASS:])[sure[:, BASS:]].mean() > 0.97


def test_known_cells_come_back_and_notes_go_on_over_the_border(rolls):
    real = rolls.take(torch.tensor([0, 5, 9]))
    for name in ("musegan-hybrid", "musegan-jamming-piano", "musegan-hybrid-any", "bmusegan-end-to-end-dbn"):
        config = tiny(name)
        feeds = feeds_of(config, real, np.random.default_rng(2))
        feeds["known"][:] = 0
        feeds["known"][:, PIANO] = 1
        feeds["known"][:, :, 2] = 1
        logits = write(sampler_of(config), feeds)
        onset, sounding = decode(logits, 1.0, rng=np.random.default_rng(1), layout=LAYOUT)
        real_onset, real_sounding = tm.rolls_as_bool(real)
        assert np.array_equal(onset[:, PIANO], real_onset[:, PIANO]) and np.array_equal(sounding[:, PIANO], real_sounding[:, PIANO])
        assert np.array_equal(onset[:, :, 2], real_onset[:, :, 2])
        assert np.array_equal(np.unique(logits[:, :, :, :N_CELLS[0]][feeds["known"][:, DRUMS] > 0]), [NEVER, SURE])


def test_a_fixed_given_track_is_silent_where_it_is_not_given():
    config = tiny("musegan-composer-piano")
    with torch.no_grad():
        logits = sampler_of(config)(*noises_of(config, 1), torch.zeros(1, 4, 16, sum(N_CELLS)), torch.zeros(1, 5, 4)).numpy()
    onset, _ = decode(logits, 1.0, rng=np.random.default_rng(1), layout=LAYOUT)
    assert not onset[:, PIANO].any() and onset[:, GUITAR].any()


def test_scopes_keep_what_a_retake_keeps():
    checkpoint = {"commit": "x", "data_sha256": "y", "step": 1, "stage": 1, "slope": 1.0, "cpu_s": 0.0, "figures": {}}
    scopes = {name: [latent["scope"] for latent in manifest_of(tiny(name), checkpoint, {}, {})["latents"]]
              for name in ("musegan-hybrid", "musegan-composer", "musegan-jamming", "bmusegan-joint-sbn")}
    assert scopes == {"musegan-hybrid": ["bar", "bar", "track", "track"], "musegan-composer": ["phrase"] * 2, "musegan-jamming": ["track"] * 2,
                      "bmusegan-joint-sbn": ["phrase"]}


def test_cells_of_rolls_are_those_of_greedy_decoding(rolls):
    real = rolls.take(torch.tensor([2, 7]))
    onset, sounding = decode(np.where(cells_of_rolls(real) > 0, SURE, NEVER), layout=LAYOUT)
    expected_onset, expected = tm.rolls_as_bool(real)
    assert np.array_equal(onset, expected_onset) and np.array_equal(sounding, expected)


# Commands ---------------------------------------------------------------------------------------------------------------


def toml(config, path):
    path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in vars(config).items()))
    return path


def run(*arguments, launcher=(sys.executable,)):
    done = subprocess.run([*launcher, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_training_runs_goes_on_and_runs_under_torchrun(data, tmp_path):
    path = toml(tiny("musegan-hybrid-hinge", n_steps=4), tmp_path / "tiny.toml")
    parts = (HERE / "train_musegan.py", "--config", path, "--data", data, "--threads", 1)
    run(*parts, "--output", tmp_path / "two", launcher=[sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])
    lines = [json.loads(line) for line in (tmp_path / "two/musegan.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert {"checkpoint.pt", "best.pt", "resume.pt"} <= {file.name for file in (tmp_path / "two").iterdir()}
    saved = torch.load(tmp_path / "two/resume.pt", weights_only=True)
    torch.save({**saved, "step": 2}, tmp_path / "two/resume.pt")
    run(*parts, "--output", tmp_path / "two")
    lines = [json.loads(line) for line in (tmp_path / "two/musegan.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 4]


@pytest.mark.parametrize("name", ["musegan-hybrid-any", "bmusegan-two-stage-sbn"])
def test_a_run_becomes_a_file_that_plays(name, data, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    path = toml(tiny(name), tmp_path / "tiny.toml")
    run(HERE / "train_musegan.py", "--config", path, "--data", data, "--output", tmp_path, "--threads", 1)
    if name.startswith("b"):
        assert (tmp_path / "stage1.pt").exists()
        other = toml(tiny("bmusegan-joint-dbn"), tmp_path / "joint.toml")
        arguments = (HERE / "train_musegan.py", "--config", other, "--data", data, "--threads", 1, "--stage1", tmp_path / "resume-stage1.pt")
        run(*arguments, "--output", tmp_path / "joint")
        assert [json.loads(line)["stage"] for line in (tmp_path / "joint/musegan.jsonl").read_text().splitlines()] == [2]
        toml(tiny("bmusegan-joint-dbn", seed=4), other)
        refused = subprocess.run([sys.executable, *map(str, arguments), "--output", tmp_path / "no"], capture_output=True, text=True)
        assert "is not the first stage of bmusegan-joint-dbn: seed" in refused.stderr
    run(HERE / "export_musegan.py", "--checkpoint", tmp_path / "checkpoint.pt", "--data", data, "--output", tmp_path / "x.onnx")
    session = ort.InferenceSession(str(tmp_path / "x.onnx"))
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["barline.manifest"])
    assert [i.name for i in session.get_inputs()] == [t["name"] for t in manifest["latents"] + manifest["conditions"]]
    assert all(i.shape == t["shape"] for i, t in zip(session.get_inputs(), manifest["latents"] + manifest["conditions"]))
    assert manifest["calibration"]["temperature"] == (1.0 if name.endswith("sbn") else 0.05)
    arguments = (HERE / "evaluate_band.py", "table", "--data", data, "--models", tmp_path / "x.onnx", f"{tmp_path / 'x.onnx'}@1",
                 "--split", "train", "--stride", 1, "-n", 30, "--seeds", 5, 6, "--figures", tmp_path / "figures")
    table = run(*arguments)
    assert f"{name} at 1, from nothing" in table and "MuseGAN hybrid" in table and "deviation over seeds" in table
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ") and line.split("|")[1].strip()}
    cells = [cell.strip() for cell in rows["classifier AUC"].split("|")[7:-1]]
    assert len(cells) == 3 and all(0.4 < float(cell) <= 1 for cell in (cells[0], cells[2]))
    # From scratch a network hears nothing; what a conditional one hears is tested above, these two steps taught it little.
    assert name.endswith("any") == ("re-roll: others unchanged" in rows)
    if name.endswith("any"):
        assert rows["re-roll: others unchanged"].split("|")[3].strip() == "1.000"
    assert f"What {name}, from nothing misses" in table and "The lowest classifier AUC" in table
    # Stochastic neurons decode at 1 anyway, so the last file is the first again.
    assert len(list((tmp_path / "figures").iterdir())) == (3 if name.endswith("any") else 2)
    assert run(*arguments) == table, "what was measured is read again"
