"""Train one network from one configuration file: `train.py --config configs/melody.toml --data pop909.npz --output run/`.

The configuration is typed and unknown keys are refused. A run leaves `checkpoint.pt` (configuration, weights, commit, data
hash, seed, history) and `log.jsonl` in the output folder; it is written again whenever validation improves, so a run that is
stopped early is still a result.
"""

import argparse
import copy
import json
import math
import os
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from musegan import MuseganConfig
from nets import (Melody, MidiNetDiscriminator, MidiNetGenerator, MIDI_ROWS, fold_matrix, init_midinet, lengthen,
                  midinet_chords, rhythm_of, triad_one_hot)
from prepare import HOLD, LOWEST_PITCH, N_PITCHES, NO_BAR, REST, load_bars, save_atomically
from train_band import BandConfig


@dataclass(frozen=True)
class MelodyConfig:
    """Configuration of a `melody` run; see `configs/melody.toml` for the reasons behind the numbers."""

    kind: str
    seed: int
    rhythm_hidden: int
    pitch_hidden: int
    n_step: int
    n_summary: int
    n_rhythm: int
    rhythm_dropout: float
    pitch_dropout: float
    input_dropout: float
    chord_dropout: float
    previous_dropout: float
    batch_size: int
    rhythm_steps: int
    pitch_steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    ema_decay: float
    validate_every: int
    bf16: bool


@dataclass(frozen=True)
class MidiNetConfig:
    """Configuration of a `midinet` run; see `configs/midinet3.toml`."""

    kind: str
    seed: int
    n_noise: int
    chords: bool
    previous: str
    n_filters: int
    n_conditioner: int
    mean_bar_weight: float
    feature_weight: float
    real_label: float
    g_updates: int
    batch_size: int
    n_steps: int
    g_learning_rate: float
    d_learning_rate: float
    beta1: float
    validate_every: int
    bf16: bool


KINDS = {"melody": MelodyConfig, "midinet": MidiNetConfig, "band": BandConfig, "musegan": MuseganConfig}


def config_from(values):
    """Make a typed configuration from a dict; unknown, missing and ill-typed keys are errors."""
    kind = KINDS.get(values.get("kind"))
    if kind is None:
        raise ValueError(f"kind must be one of {sorted(KINDS)}, not {values.get('kind')!r}")
    expected = {field.name: field.type for field in fields(kind)}
    if unknown := sorted(set(values) - set(expected)):
        raise ValueError(f"unknown keys: {', '.join(unknown)}")
    if missing := sorted(set(expected) - set(values)):
        raise ValueError(f"missing keys: {', '.join(missing)}")
    for name, value in values.items():
        # TOML has no way to tell 1 from 1.0 apart in intent, so a whole number is accepted where a float is wanted.
        if expected[name] is float and type(value) is int:
            values = {**values, name: float(value)}
        elif type(value) is not expected[name]:
            raise ValueError(f"{name} must be {expected[name].__name__}, not {value!r}")
    return kind(**values)


def load_config(path):
    """Read a configuration file; `base` names a file beside it whose values hold where it has none of its own."""
    try:
        values = tomllib.loads(Path(path).read_text())
        if "base" in values:
            values = tomllib.loads((Path(path).parent / values.pop("base")).read_text()) | values
        return config_from(values)
    except (ValueError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"{path}: {error}") from error


def commit_of_checkout():
    """The last commit of this folder, "-dirty" if its tracked files differ from it; "unknown" outside a checkout."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout
    try:
        return git("log", "-1", "--format=%H", "--", ".").strip() + ("-dirty" if git("status", "--porcelain", "-uno", ".").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Run:
    """The output of a run: a log of JSON lines and one checkpoint, each written whole."""

    def __init__(self, folder, config, data_sha256, name="log"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.head = {"config": asdict(config), "data_sha256": data_sha256, "commit": commit_of_checkout()}
        self.log_file = open(self.folder / f"{name}.jsonl", "a" if name != "log" else "w")
        self.started = time.process_time()

    def log(self, **values):
        """Append one line; `cpu_s` is this process's CPU time."""
        values["cpu_s"] = round(time.process_time() - self.started, 1)
        self.log_file.write(json.dumps(values) + "\n")
        self.log_file.flush()
        tqdm.write("  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()))

    def save(self, name="checkpoint.pt", **values):
        """Write a checkpoint atomically."""
        values["cpu_s"] = round(time.process_time() - self.started, 1)
        save_atomically(self.folder / name, lambda file: torch.save({**self.head, **values}, file))


def load_checkpoint(path):
    """Read a checkpoint; returns (dict, config)."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint, config_from(checkpoint["config"])


def load_stages(paths):
    """Read one checkpoint, or one per stage of the same melody configuration trained in two processes, and join them."""
    (checkpoint, config), *others = [load_checkpoint(path) for path in paths]
    for other, _ in others:
        if any(other[key] != checkpoint[key] for key in ("config", "data_sha256")):
            raise SystemExit("the checkpoints come from different configurations or data")
        checkpoint["commit"] = " ".join(sorted({checkpoint["commit"], other["commit"]}))
        for stage in other["val_nll"]:
            checkpoint["state"] |= {key: value for key, value in other["state"].items() if key.startswith(f"{stage}.")}
        for key in ("val_nll", "best_step"):
            checkpoint[key] |= other[key]
        for key in ("steps", "cpu_s"):
            checkpoint[key] += other[key]
    if config.kind == "melody" and set(checkpoint["val_nll"]) != {"rhythm", "pitch"}:
        raise SystemExit(f"only the stages {sorted(checkpoint['val_nll'])} are trained")
    return checkpoint, config


def as_tensors(bars):
    """Bars -> int64 tensors states (n, 16), previous (n, 16), chords (n, 2)."""
    return tuple(torch.from_numpy(x.astype(np.int64)) for x in (bars.states, bars.previous, bars.chords))


def transpose(states, previous, chords, shift):
    """Transpose by `shift` (B,) semitones; a pair of bars that would leave the range moves back by an octave, or stays.

    Octaves are chosen per pair of bars, so the interval across the bar line survives.
    """
    both = torch.cat([states, previous], 1)
    is_pitch = both < N_PITCHES
    lowest = torch.where(is_pitch, both, N_PITCHES).amin(1)
    highest = torch.where(is_pitch, both, -1).amax(1)
    candidates = torch.stack([shift, shift + torch.where(shift > 0, -12, 12), torch.zeros_like(shift)])
    fits = (lowest + candidates >= 0) & (highest + candidates < N_PITCHES)
    shift = candidates.gather(0, fits.int().argmax(0, keepdim=True))[0]
    both = torch.where(is_pitch, both + shift.unsqueeze(1), both)
    moved = torch.where(chords < 0, chords, (chords % 12 + shift.unsqueeze(1)) % 12 + 12 * (chords >= 12))
    return both[:, :states.shape[1]], both[:, states.shape[1]:], moved


def leading_holds(states):
    """Where a bar continues the note of the bar before, (B, 16) bool.

    Without that bar these steps rest. Leaving such bars out instead would take the most syncopated ones from the first bars,
    and a chain would stay as square as it began (roll-out onset TV 0.10 against 0.03 for single bars).
    """
    return (states == HOLD).long().cumprod(1).bool()


def batches(tensors, batch_size, generator):
    """Endless shuffled mini-batches, each in a random key."""
    n = len(tensors[0])
    while True:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - batch_size + 1, batch_size):
            states, previous, chords = (x[order[start:start + batch_size]] for x in tensors)
            shift = torch.randint(-6, 6, (batch_size,), generator=generator)
            yield transpose(states, previous, chords, shift)


def melody_from(config):
    """The untrained network of a configuration."""
    return Melody(config.rhythm_hidden, config.pitch_hidden, config.n_step, config.n_summary, config.n_rhythm,
                  config.rhythm_dropout, config.pitch_dropout, config.input_dropout)


@torch.no_grad()
def melody_nll(net, stage, tensors, batch_size=1024):
    """Mean negative log-likelihood per bar of a stage ("rhythm" or "pitch") in nats."""
    net.eval()
    log_prob = getattr(net, f"{stage}_log_prob")
    parts = [log_prob(*(x[start:start + batch_size] for x in tensors)) for start in range(0, len(tensors[0]), batch_size)]
    net.train()
    return -float(torch.cat(parts).mean())


def train_melody(config, data, output, stages=("rhythm", "pitch")):
    """Maximum likelihood with dropout, weight decay and EMA, one stage after the other; each keeps its best EMA weights.

    The stages share no parameters and need schedules of their own. A schedule that ends about where validation would turn
    gives a lower loss than stopping a longer one early: the last, small steps are worth it.
    """
    torch.manual_seed(config.seed)
    train, sha256 = load_bars(data, "train")
    train, val = as_tensors(train), as_tensors(load_bars(data, "val")[0])
    run = Run(output, config, sha256)
    best = melody_from(config)
    val_nll, best_step = {}, {}
    for stage in stages:
        n_steps = getattr(config, f"{stage}_steps")
        # Both start from the same seed, so stages give the same weights one after the other or in two processes.
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        net = melody_from(config)
        ema = copy.deepcopy(net)
        part, slow_part = getattr(net, stage), getattr(ema, stage)
        log_prob = getattr(net, f"{stage}_log_prob")
        groups = [{"params": [p for p in part.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
                  {"params": [p for p in part.parameters() if p.ndim <= 1], "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
        stream = batches(train, config.batch_size, generator)
        val_nll[stage], losses = math.inf, []
        for step in tqdm(range(1, n_steps + 1), desc=stage, unit="step", mininterval=10):
            states, previous, chords = next(stream)
            # A dropped chord teaches to play without one; a dropped previous bar teaches the first bar.
            drop = torch.rand(2, len(states), 1, generator=generator)
            chords = torch.where(drop[0] < config.chord_dropout, -1, chords)
            dropped = drop[1] < config.previous_dropout
            previous = torch.where(dropped, NO_BAR, previous)
            states = torch.where(dropped & leading_holds(states), REST, states)
            cosine = 0.5 * (1 + math.cos(math.pi * step / n_steps))
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * min(1.0, step / config.warmup_steps) * (0.01 + 0.99 * cosine)
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
                loss = -log_prob(states, previous, chords).float().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(part.parameters(), 5.0)
            optimiser.step()
            losses.append(loss.item())
            weight = min(config.ema_decay, step / (step + 10))
            with torch.no_grad():
                for slow, fast in zip(slow_part.parameters(), part.parameters()):
                    slow.lerp_(fast, 1 - weight)
            if step % config.validate_every == 0 or step == n_steps:
                nll = melody_nll(ema, stage, val)
                run.log(stage=stage, step=step, train=float(np.mean(losses)), val=nll)
                losses = []
                if nll < val_nll[stage]:
                    val_nll[stage], best_step[stage] = nll, step
                    getattr(best, stage).load_state_dict(slow_part.state_dict())
                    run.save(state=best.state_dict(), steps=sum(best_step.values()), best_step=best_step, val_nll=val_nll)


def midinet_from(config):
    """The untrained generator of a configuration."""
    return MidiNetGenerator(config.n_noise, config.chords, config.previous, config.n_filters, config.n_conditioner)


FOLD = fold_matrix()


def midinet_bar(states):
    """(B, 16) states -> (B, 16, 128): rests lengthened away, folded into 60..83; 0 for no bar and for a bar without notes."""
    is_pitch = states < N_PITCHES
    onsets = F.one_hot((states + LOWEST_PITCH) * is_pitch, MIDI_ROWS).float() * is_pitch.unsqueeze(-1)
    return lengthen(onsets @ FOLD)


@torch.no_grad()
def recalibrate(generator, tensors, n_noise, n_batches=100, batch_size=256):
    """Replace BatchNorm's running averages by the exact average over many batches of conditions (momentum None)."""
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    generator.train()
    rng = torch.Generator().manual_seed(0)
    for _ in range(n_batches):
        idx = torch.randint(len(tensors[0]), (batch_size,), generator=rng)
        _, previous, chords = transpose(*(x[idx] for x in tensors), torch.randint(-6, 6, (batch_size,), generator=rng))
        generator(torch.randn(batch_size, n_noise, generator=rng), midinet_chords(triad_one_hot(chords)), midinet_bar(previous))
    for norm in norms:
        norm.momentum = 0.1
    generator.eval()


@torch.no_grad()
def midinet_figures(generator, config, val, masks):
    """Quick figures of the argmax melody on validation conditions, for choosing a checkpoint.

    `chord_tone` = share of note onsets on a chord tone, `notes` per bar, `pitch_tv` = total variation of the histogram of
    sounding pitches, `outside` = share of steps outside 60..83, `distinct` = share of bars that differ from all others.
    """
    states, previous, chords = val
    rng = torch.Generator().manual_seed(1)
    real = midinet_bar(states).argmax(-1)
    fake = generator(torch.randn(len(states), config.n_noise, generator=rng),
                     midinet_chords(triad_one_hot(chords)), midinet_bar(previous)).argmax(-1)

    def onsets(bar):
        return torch.cat([torch.ones(len(bar), 1, dtype=torch.bool), bar[:, 1:] != bar[:, :-1]], 1)

    def chord_tone(bar):
        mask = masks.repeat_interleave(8, 1)
        return float(((mask >> (bar % 12)) & 1)[onsets(bar)].float().mean())

    histograms = [torch.bincount(bar.flatten(), minlength=MIDI_ROWS) / bar.numel() for bar in (real, fake)]
    return {"chord_tone": chord_tone(fake), "chord_tone_real": chord_tone(real),
            "notes": float(onsets(fake).sum(1).float().mean()), "notes_real": float(onsets(real).sum(1).float().mean()),
            "pitch_tv": float(0.5 * (histograms[0] - histograms[1]).abs().sum()),
            "outside": float(((fake < 60) | (fake > 83)).float().mean()),
            "distinct": len(torch.unique(fake, dim=0)) / len(fake)}


def midinet_distance(figures):
    """How far validation bars are from real ones, by which a checkpoint is chosen: chord tones, density, sounding pitches."""
    return (abs(figures["chord_tone"] - figures["chord_tone_real"])
            + abs(figures["notes"] - figures["notes_real"]) / figures["notes_real"] + figures["pitch_tv"])


def train_midinet(config, data, output):
    """The released recipe: D once, G `g_updates` times on the same batch, feature matching and mean-bar terms."""
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    train, sha256 = load_bars(data, "train")
    val_bars, _ = load_bars(data, "val")
    train, val = as_tensors(train), as_tensors(val_bars)
    masks = torch.from_numpy(val_bars.chord_masks.astype(np.int64))
    run = Run(output, config, sha256)
    g, d = midinet_from(config), MidiNetDiscriminator(config.chords)
    init_midinet(g)
    init_midinet(d)
    g_optimiser = torch.optim.Adam(g.parameters(), lr=config.g_learning_rate, betas=(config.beta1, 0.999), fused=True)
    d_optimiser = torch.optim.Adam(d.parameters(), lr=config.d_learning_rate, betas=(config.beta1, 0.999), fused=True)
    bce = F.binary_cross_entropy_with_logits
    stream = batches(train, config.batch_size, generator)
    sums, best = {}, math.inf
    for step in tqdm(range(1, config.n_steps + 1), desc="midinet", unit="step", mininterval=10):
        states, previous, triads = next(stream)
        real, previous, chords = midinet_bar(states), midinet_bar(previous), midinet_chords(triad_one_hot(triads))
        noise = torch.randn(len(real), config.n_noise, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            fake = torch.sigmoid(g(noise, chords, previous))
            real_logit, real_features = d(real, chords)
            fake_logit, _ = d(fake.detach(), chords)
        d_loss = (bce(real_logit.float(), torch.full_like(real_logit.float(), config.real_label))
                  + bce(fake_logit.float(), torch.zeros_like(fake_logit.float())))
        d_optimiser.zero_grad(set_to_none=True)
        d_loss.backward()
        d_optimiser.step()
        real_features = real_features.detach().float().mean(0)
        for update in range(config.g_updates):
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
                if update:
                    fake = torch.sigmoid(g(noise, chords, previous))
                fake_logit, fake_features = d(fake, chords)
            # Batch means compared, summed over elements, halved: the released code's nn.l2_loss.
            features = 0.5 * (fake_features.float().mean(0) - real_features).square().sum()
            mean_bar = 0.5 * (fake.float().mean(0) - real.mean(0)).square().sum()
            adversarial = bce(fake_logit.float(), torch.ones_like(fake_logit.float()))
            g_loss = adversarial + config.feature_weight * features + config.mean_bar_weight * mean_bar
            g_optimiser.zero_grad(set_to_none=True)
            g_loss.backward()
            g_optimiser.step()
        for name, value in {"d_loss": d_loss, "adversarial": adversarial, "features": features, "mean_bar": mean_bar}.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        if step % config.validate_every == 0 or step == config.n_steps:
            kept = copy.deepcopy(g)
            recalibrate(kept, train, config.n_noise)
            figures = midinet_figures(kept, config, val, masks)
            run.log(step=step, **{name: value / config.validate_every for name, value in sums.items()}, **figures)
            sums = {}
            # Adversarial losses do not track quality, and chord adherence can fall while they improve: `midinet_distance`
            # chooses on validation songs, and every checkpoint is kept beside the chosen one.
            for name in [f"checkpoint-{step:06}.pt"] + ["checkpoint.pt"] * (midinet_distance(figures) < best):
                run.save(name=name, state=kept.state_dict(), steps=step, figures=figures)
            best = min(best, midinet_distance(figures))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help=".npz of prepare.py")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument("--stage", choices=("rhythm", "pitch"), help="train one stage of a melody network only")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    config = load_config(args.config)
    torch.set_num_threads(args.threads)
    if config.kind == "midinet":
        if args.stage:
            raise SystemExit("--stage is for melody networks")
        train_midinet(config, args.data, args.output)
    else:
        train_melody(config, args.data, args.output, (args.stage,) if args.stage else ("rhythm", "pitch"))


if __name__ == "__main__":
    sys.exit(main())
