"""Train one of the published systems: `train_musegan.py --config configs/musegan-hybrid.toml --data band.npz --output run`.

One trainer for all of MuseGAN and BinaryMuseGAN: the configuration picks the system, the critic, the loss, the binary neurons and the
refiner. A run leaves `checkpoint.pt` (the last weights), `best.pt` (those whose validation figures came nearest to the songs') and
`musegan.jsonl`, and goes on from `resume.pt` when it was stopped. Of two stages the first also leaves `stage1.pt`, which plays, and
`resume-stage1.pt`, from which `--stage1` starts other refiners. Under `torchrun` several processes share the work.
"""

import argparse
import copy
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from band_metrics import empty_bars, mean, notes_of
from musegan import Generator, MuseganConfig, activate, critic_from
from phrases import BASS, DRUM_PITCHES, DRUMS, LOWEST_PITCH, N_PITCHES, N_STEPS, PHRASE_BARS, TRACKS
from prepare import save_atomically
from train_band import Phrases

N_TRACKS = len(TRACKS)
N_PHRASE = PHRASE_BARS * N_STEPS
N_VALIDATE = 256


class Rolls:
    """The phrases of a split's songs for a band, as rolls cut from one tensor on the training device.

    The same cells as `Phrases.take` gives, without building each window anew: five critic updates per step read six batches.
    """

    def __init__(self, path, split, device):
        phrases = Phrases(path, split, ("midi",))
        self.sha256, self.device = phrases.sha256, device
        starts = np.cumsum([0, *(song.n_bars for song in phrases.songs)]) * N_STEPS
        age = np.zeros((starts[-1], N_TRACKS, N_PITCHES), np.uint8)
        for song, start, stop in zip(phrases.songs, starts, starts[1:]):
            age[start:stop, DRUMS, [pitch - LOWEST_PITCH for pitch in DRUM_PITCHES]] = song.drums
            age[start:stop, BASS:] = song.age
        if not phrases.windows[0]:
            raise SystemExit(f"{path} holds no phrase of four bars with two tracks in the split {split}")
        self.age = torch.from_numpy(age).to(device)
        self.starts = torch.tensor([starts[song] + bar * N_STEPS for song, bar in phrases.windows[0]], device=device)

    def __len__(self):
        return len(self.starts)

    def take(self, rows, shift=None):
        """Rolls (n, 4, 16, 72, 5) of windows by index, the pitched tracks moved by `shift` (n,) semitones; what leaves the range is lost."""
        steps = torch.arange(N_PHRASE, device=self.device)
        age = self.age[self.starts[rows][:, None] + steps]  # (n, 64, 5, 72)
        # A note from before the phrase is not part of it.
        age = age * (age <= (steps + 1)[None, :, None, None])
        roll = (age > 0).float()
        if shift is not None:
            source = torch.arange(N_PITCHES, device=self.device) - shift[:, None]  # (n, 72)
            inside = ((source >= 0) & (source < N_PITCHES)).float()[:, None, None]
            index = source.clamp(0, N_PITCHES - 1)[:, None, None].expand(-1, N_PHRASE, N_TRACKS - 1, -1)
            roll = torch.cat([roll[:, :, :BASS], roll[:, :, BASS:].gather(-1, index) * inside], 2)
        return roll.reshape(len(rows), PHRASE_BARS, N_STEPS, N_TRACKS, N_PITCHES).transpose(3, 4)


def rolls_as_bool(rolls):
    """Binary rolls (n, 4, 16, 72, 5) -> onsets, sounding (n, 5, 4, 16, 128) bool for the figures; a note begins where a pitch was off."""
    flat = rolls.permute(0, 4, 1, 2, 3).reshape(len(rolls), N_TRACKS, N_PHRASE, N_PITCHES) > 0.5
    sounding = F.pad(flat, (LOWEST_PITCH, 128 - LOWEST_PITCH - N_PITCHES)).cpu().numpy()
    onsets = sounding.copy()
    onsets[:, BASS:, 1:] &= ~sounding[:, BASS:, :-1]
    return tuple(x.reshape(len(rolls), N_TRACKS, PHRASE_BARS, N_STEPS, 128) for x in (onsets, sounding))


def quick_figures(rolls):
    """Figures for watching a run, {name: (5,)}: empty bars, notes per bar, and notes of an eighth or longer (not for drums)."""
    onsets, sounding = rolls_as_bool(rolls)
    return {"empty": [empty_bars(sounding[:, t]) for t in range(N_TRACKS)],
            "notes": [float(onsets[:, t].sum((-1, -2)).mean()) for t in range(N_TRACKS)],
            "eighths": [mean(notes_of(onsets[:, t], sounding[:, t])[:, 2] >= 2) for t in range(BASS, N_TRACKS)]}


def distance(ours, theirs):
    """How far quick figures are from others: the mean difference of shares, and of the logarithms of notes per bar."""
    shares = [abs(a - b) if a == a and b == b else 1.0 for name in ("empty", "eighths") for a, b in zip(ours[name], theirs[name])]
    notes = [min(abs(math.log((a + 0.1) / (b + 0.1))), 3.0) for a, b in zip(ours["notes"], theirs["notes"])]
    return float(np.mean(shares + notes))


class Trainer:
    """Networks, optimisers and the losses of one configuration."""

    def __init__(self, config, rolls, rank=0):
        self.config, self.rolls, self.device = config, rolls, rolls.device
        torch.manual_seed(config.seed)
        self.generator = Generator(config).to(self.device)
        self.critic = critic_from(config).to(self.device)
        self.slow = copy.deepcopy(self.generator) if config.ema_decay else None
        refiner = list(self.generator.refiner.parameters()) if self.generator.refiner is not None else []
        betas = (config.beta1, config.beta2)
        self.optimisers = {"net": torch.optim.Adam(self.generator.net.parameters(), config.g_learning_rate, betas),
                           "critic": torch.optim.Adam(self.critic.parameters(), config.d_learning_rate, betas)}
        if refiner:
            self.optimisers["refiner"] = torch.optim.Adam(refiner, config.g_learning_rate, betas)
        self.draw_from(config.seed * 1000 + rank)
        self.step = 0

    def draw_from(self, seed):
        """Seed of all random numbers from here on."""
        self.random = torch.Generator(self.device).manual_seed(seed)

    # What a step is about -------------------------------------------------------------------------------------------

    @property
    def stage(self):
        """1, or 2 while a refiner trains on a finished generator."""
        return 2 if self.config.has_second_stage and self.step > self.config.n_steps else 1

    @property
    def refines(self):
        """Whether the refiner is in use."""
        return self.generator.refiner is not None and (self.config.refiner == "end_to_end" or self.stage == 2)

    @property
    def neurons(self):
        """The neurons in use: the first of two stages trains a real-valued network."""
        return "none" if self.config.has_second_stage and self.stage == 1 else self.config.neurons

    @property
    def slope(self):
        """The slope of the neurons at this step; grows by the same factor at every step of a stage."""
        first, n = (self.config.n_steps, self.config.refiner_steps) if self.stage == 2 else (0, self.config.n_steps)
        return 1.0 if self.neurons == "none" else self.config.slope_end ** (min(self.step - first, n) / max(n, 1))

    def trained(self):
        """Names of the optimisers that the generator's loss drives at this step."""
        frozen = self.stage == 2 and self.config.refiner == "two_stage"
        return ([] if frozen else ["net"]) + (["refiner"] if self.refines else [])

    # Batches --------------------------------------------------------------------------------------------------------

    def real(self, n):
        """A batch of phrases of the songs."""
        rows = torch.randint(len(self.rolls), (n,), generator=self.random, device=self.device)
        shift = torch.randint(-5, 7, (n,), generator=self.random, device=self.device) if self.config.transpose else None
        return self.rolls.take(rows, shift)

    def noises(self, n):
        """Standard normal noises in the generator's order."""
        return [torch.randn(n, *shape, generator=self.random, device=self.device) for shape in self.config.noise_shapes().values()]

    def known(self, n):
        """Which tracks are given: (n, 5), 1 for the given one."""
        if self.config.given == "any":
            track = torch.randint(N_TRACKS, (n,), generator=self.random, device=self.device)
        else:
            track = torch.full((n,), TRACKS.index(self.config.given), device=self.device)
        return F.one_hot(track, N_TRACKS).float()

    def logits(self, real, net=None):
        """Logits of a batch as large as `real`, whose given tracks are the condition, if there is one; and what is given (n, 1, 1, 1, 5)."""
        net = self.generator if net is None else net
        noises = self.noises(len(real))
        if not self.config.given:
            return net(noises, refine=self.refines), torch.zeros(len(real), 1, 1, 1, N_TRACKS, device=self.device)
        known = self.known(len(real))
        flags = known[:, None, None, None]
        return net(noises, real * flags, known[:, None].expand(-1, PHRASE_BARS, -1), self.refines), flags

    def fake(self, real):
        """What the critic sees of a batch of the generator's; a given track is the real one."""
        logits, flags = self.logits(real)
        return real * flags + activate(logits, self.neurons, self.slope, self.random) * (1 - flags)

    # Losses ---------------------------------------------------------------------------------------------------------

    def gradient_penalty(self, real, fake):
        """Mean squared distance of the critic's gradient from norm 1, on lines between real and fake; per track where critics are."""
        share = torch.rand(len(real), 1, 1, 1, 1, generator=self.random, device=self.device)
        between = (share * real + (1 - share) * fake).requires_grad_()
        gradient, = torch.autograd.grad(self.critic(between).float().sum(), between, create_graph=True)
        over = (1, 2, 3) if self.config.critic == "per_track" else (1, 2, 3, 4)
        return (((gradient.square().sum(over) + 1e-8).sqrt() - 1) ** 2).mean(0).sum()

    def mixed(self):
        """Products in bfloat16 where the configuration says so: four times as fast on a CPU that has them."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16)

    def critic_steps(self, n):
        """`n` updates of the critic, `d_updates` of them on one batch of the generator's; returns the last loss without the penalty.

        The released code repeats the real phrases too.
        """
        for update in range(n):
            real = self.real(self.config.batch_size)
            with self.mixed():
                if update % self.config.d_updates == 0:
                    with torch.no_grad():
                        fake = self.fake(real).float()
                of_real, of_fake = self.critic(torch.cat([real, fake])).float().chunk(2)
                if self.config.loss == "hinge":
                    loss = total = (F.relu(1 - of_real) + F.relu(1 + of_fake)).mean(0).sum()
                else:
                    loss = (of_fake - of_real).mean(0).sum()
                    total = loss + self.config.gp_weight * self.gradient_penalty(real, fake)
            self.update(total, ["critic"])
        return loss.item()

    def generator_step(self):
        """One update of the generator, the refiner or both; returns the loss."""
        for parameter in self.critic.parameters():
            parameter.requires_grad_(False)
        with self.mixed():
            loss = -self.critic(self.fake(self.real(self.config.batch_size))).float().mean(0).sum()
        self.update(loss, self.trained())
        for parameter in self.critic.parameters():
            parameter.requires_grad_(True)
        if self.slow is not None:
            weight = min(self.config.ema_decay, self.step / (self.step + 10))
            with torch.no_grad():
                for slow, fast in zip(self.slow.parameters(), self.generator.parameters()):
                    slow.lerp_(fast, 1 - weight)
        return loss.item()

    def update(self, loss, names):
        """One step of the named optimisers, with the gradients' mean over all processes."""
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            average_gradients(self.optimisers[name])
            self.optimisers[name].step()

    def train_step(self):
        """One step: the critic's updates, then one of the generator; returns the losses."""
        self.step += 1
        config = self.config
        in_stage = self.step - (config.n_steps if self.stage == 2 else 0)
        if self.stage == 2 and in_stage == 1 and self.slow is not None:
            # The refiner learns on the generator that is kept.
            self.generator.load_state_dict(self.finished().state_dict())
        # A generator that is finished keeps its running statistics as well.
        self.generator.train()
        self.generator.net.train("net" in self.trained())
        # As in the released code: the critic catches up at the beginning and at every 500th step.
        warm = in_stage <= config.d_warm_steps or (config.d_warm_steps and in_stage % 500 == 0)
        n = config.d_warm_updates if warm else config.d_updates
        return self.critic_steps(n), self.generator_step()

    # What is kept ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def finished(self, n_batches=50):
        """The network to keep, in eval mode: the averaged weights, with batch statistics of their own."""
        if self.slow is None:
            return copy.deepcopy(self.generator).eval()
        net = copy.deepcopy(self.slow)
        for own, other in zip(net.buffers(), self.generator.buffers()):
            own.copy_(other)
        norms = [m for m in net.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        net.train()
        before = self.random.get_state()
        for _ in range(n_batches):
            self.logits(self.real(self.config.batch_size), net)
        self.random.set_state(before)
        # What was not in use has no statistics yet.
        for norm in norms:
            norm.momentum = 0.1
        return net.eval()

    @torch.no_grad()
    def played(self, net, real):
        """Binary rolls of a network around the given tracks of `real`: thresholded, or drawn where the neurons are stochastic."""
        logits, flags = self.logits(real, net)
        neurons = "stochastic" if self.neurons == "stochastic" else "deterministic"
        return real * flags + activate(logits, neurons, self.slope, self.random) * (1 - flags)

    def state(self):
        """Everything that a run goes on from."""
        return {"generator": self.generator.state_dict(), "critic": self.critic.state_dict(), "step": self.step,
                "slow": self.slow.state_dict() if self.slow is not None else None,
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}}

    def load(self, state):
        """Go on from `state`."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        if self.slow is not None:
            self.slow.load_state_dict(state["slow"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.step = state["step"]


def average_gradients(optimiser):
    """The mean of the gradients over all processes. DistributedDataParallel has no part in a penalty on gradients (double backward)."""
    if not torch.distributed.is_initialized():
        return
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= torch.distributed.get_world_size()


# What a first stage does not depend on.
OF_STAGE_2 = ("id", "description", "neurons", "slope_end", "refiner", "refiner_steps")


def stage1_of(path, config, device):
    """The saved state of a run of another configuration after its first stage, if that stage is the same."""
    saved = torch.load(path, weights_only=True, map_location=device)
    differ = [name for name, value in vars(config).items() if name not in OF_STAGE_2 and saved["config"].get(name) != value]
    if differ or not config.has_second_stage or saved["step"] != config.n_steps:
        raise SystemExit(f"{path} is not the first stage of {config.id}: {', '.join(differ) or 'another stage'}")
    return {**saved, "best": math.inf, "config": vars(config)}


def train(config, data, output, stage1=None):
    """Train a configuration to its end, from the first stage of another run if one is given."""
    from train import Run

    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")
    if world > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rolls, validation = Rolls(data, "train", device), Rolls(data, "val", device)
    trainer = Trainer(config, rolls, rank)
    resume = Path(output) / "resume.pt"
    best = math.inf
    if resume.exists() or stage1:
        saved = torch.load(resume, weights_only=True, map_location=device) if resume.exists() else stage1_of(stage1, config, device)
        if saved["config"] != vars(config):
            raise SystemExit(f"{resume} is of another configuration")
        trainer.load(saved)
        trainer.draw_from(config.seed * 1000 + rank + 17 * saved["step"])
        best = saved["best"]
        tqdm.write(f"goes on from step {saved['step']}")
    run = Run(output, config, rolls.sha256, name="musegan") if rank == 0 else None
    rows = torch.randperm(len(validation), generator=torch.Generator().manual_seed(7))[:N_VALIDATE].to(device)
    real = validation.take(rows)
    theirs = quick_figures(real)
    n_steps = config.n_steps + config.refiner_steps
    d_losses, g_losses, started = [], [], time.monotonic()
    progress = tqdm(range(trainer.step + 1, n_steps + 1), initial=trainer.step, total=n_steps, desc=config.id, unit="step", mininterval=10,
                    disable=rank > 0)
    for step in progress:
        d_loss, g_loss = trainer.train_step()
        if not math.isfinite(d_loss) or not math.isfinite(g_loss):
            raise SystemExit(f"step {step}: a loss is not finite (critic {d_loss}, generator {g_loss})")
        d_losses.append(d_loss)
        g_losses.append(g_loss)
        # The end of a stage is an end too: what is compared with the refined network is the one before it.
        if rank == 0 and (step % config.validate_every == 0 or step in (config.n_steps, n_steps)):
            net = trainer.finished()
            ours = quick_figures(trainer.played(net, real))
            off = distance(ours, theirs)
            run.log(step=step, stage=trainer.stage, d_loss=float(np.mean(d_losses)), g_loss=float(np.mean(g_losses)), slope=trainer.slope,
                    off=off, **{f"{name}_{track}": value for name, values in ours.items()
                                for track, value in zip(TRACKS[-len(values):], values)}, wall_s=round(time.monotonic() - started))
            d_losses, g_losses = [], []
            kept = {"state": net.state_dict(), "step": step, "stage": trainer.stage, "slope": trainer.slope,
                    "refines": trainer.refines, "neurons": trainer.neurons, "off": off, "figures": {"played": ours, "data": theirs}}
            run.save("checkpoint.pt", **kept)
            if step == config.n_steps and config.has_second_stage:
                run.save("stage1.pt", **kept)
                best = math.inf
            elif off < best:
                best = off
                run.save("best.pt", **kept)
            for path in [resume] + [resume.with_name("resume-stage1.pt")] * (step == config.n_steps and config.has_second_stage):
                save_atomically(path, lambda file: torch.save({**trainer.state(), "best": best, "config": vars(config)}, file))
    if world > 1:
        torch.distributed.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help=".npz of phrases.py")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--stage1", type=Path, help="resume-stage1.pt of a run with the same first stage, to start the second from")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    from train import load_config

    torch.set_num_threads(args.threads)
    config = load_config(args.config)
    if not isinstance(config, MuseganConfig):
        raise SystemExit(f"{args.config} is not of kind musegan")
    train(config, args.data, args.output, args.stage1)


if __name__ == "__main__":
    sys.exit(main())
