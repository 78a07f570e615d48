"""MuseGAN and BinaryMuseGAN: the networks of the published systems, as one set of parts.

A phrase is a roll (B, 4, 16, 72, 5): bars, steps, pitches from MIDI 24, tracks in the order of `phrases.TRACKS`; 1 where a pitch
sounds, on drums where it begins. Channel counts are the published ones times `width`; the layers follow the released code, cut to 16
steps for 96 and 72 pitches for 84. `README.md` lists every difference.

Time grows before pitch in MuseGAN's generator and shrinks after it in its critic. Where kernel and stride are equal a transposed
convolution is one product per cell followed by a reshaping, and a convolution a reshaping and a product; written so they run several
times faster on a CPU.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from phrases import DRUM_PITCHES, DRUMS, LOWEST_PITCH, N_PITCHES, N_STEPS, PHRASE_BARS, STEPS_PER_BEAT, TRACKS

N_TRACKS = len(TRACKS)
SYSTEMS = ("composer", "jamming", "hybrid", "binary")
CRITICS = ("one", "per_track", "private", "private_streams")
NEURONS = ("none", "deterministic", "stochastic")
REFINERS = ("none", "two_stage", "joint", "end_to_end")
LOSSES = ("wgan_gp", "hinge")
SLOPE = 0.2  # of leaky ReLUs
START_LOGIT = -3.0  # a twentieth of the cells: what an untrained generator sounds like, so that the first steps do not go into silence
# Drum cells of the host, as in `band.py`.
DRUM_LOWEST = min(DRUM_PITCHES)
N_DRUM_CELLS = max(DRUM_PITCHES) - DRUM_LOWEST + 1
N_CELLS = (N_DRUM_CELLS, *(2 * N_PITCHES,) * (N_TRACKS - 1))
NEVER, SURE = -8.0, 127 / 16  # the ends of the host's int8: taken at their word, without noise
# Noises by name: whether each track has its own. "bars" goes through a temporal generator, "phrase" as it is to every bar.
NOISES = {"shared_phrase": False, "shared_bars": False, "track_phrase": True, "track_bars": True}
NOISES_OF = {"composer": ("shared_phrase", "shared_bars"), "jamming": ("track_phrase", "track_bars"), "hybrid": tuple(NOISES),
             "binary": ("shared_phrase",)}


@dataclass(frozen=True)
class MuseganConfig:
    """Configuration of a `musegan` run; the files `configs/musegan-*.toml` and `bmusegan-*.toml` are the published systems."""

    kind: str
    id: str
    description: str
    seed: int
    system: str  # of SYSTEMS; "binary" is BinaryMuseGAN's generator
    given: str  # "" from scratch, a track's name, or "any": the track that the others accompany
    n_noise: int  # numbers per bar generator, in equal parts
    width: float
    critic_width: float
    critic: str  # of CRITICS
    neurons: str  # of NEURONS
    slope_end: float  # the neurons' slope grows from 1 to this
    refiner: str  # of REFINERS
    refiner_width: float
    loss: str  # of LOSSES
    gp_weight: float
    d_updates: int
    d_warm_updates: int  # per step for the first `d_warm_steps` steps of a stage and every 500th
    d_warm_steps: int
    batch_size: int
    n_steps: int
    refiner_steps: int  # of the second stage
    g_learning_rate: float
    d_learning_rate: float
    beta1: float
    beta2: float
    ema_decay: float  # 0 for none
    bfloat16: bool  # products in training; weights and files are float32
    transpose: bool
    validate_every: int

    def __post_init__(self):
        allowed = {"system": SYSTEMS, "given": ("", "any", *TRACKS), "critic": CRITICS, "neurons": NEURONS, "refiner": REFINERS, "loss": LOSSES}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, values))}, not {getattr(self, name)!r}")
        if self.refiner != "none" and self.neurons == "none":
            raise ValueError("a refiner ends in binary neurons: set neurons")
        if self.given and self.system == "binary":
            raise ValueError("BinaryMuseGAN's generator takes no given track: set given = \"\"")
        if self.given and self.critic == "per_track":
            raise ValueError("critics per track cannot hear whether a track goes with the given one: set critic = \"one\"")
        if self.n_noise % len(NOISES_OF[self.system]):
            raise ValueError(f"n_noise must be a multiple of {len(NOISES_OF[self.system])} for {self.system}")
        if (self.refiner_steps > 0) != self.has_second_stage:
            raise ValueError("refiner_steps are of the second stage of the refiners two_stage and joint")

    @property
    def has_second_stage(self):
        """Whether a real-valued generator is trained first, then a refiner on it."""
        return self.refiner in ("two_stage", "joint")

    def noise_shapes(self):
        """{name: shape without the batch axis} of the noises, in the graph's order: (n,), or (5, n) where each track has its own."""
        n = self.n_noise // len(NOISES_OF[self.system])
        return {name: (N_TRACKS, n) if NOISES[name] else (n,) for name in NOISES_OF[self.system]}


# Layers ---------------------------------------------------------------------------------------------------------------


def scaled(n, width):
    """A published number of channels times the width."""
    return max(4, round(n * width))


class Norm(nn.BatchNorm1d):
    """Batch norm over the last axis of any shape."""

    def forward(self, x):
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)


class Up(nn.Module):
    """Transposed convolution with kernel = stride = (steps, pitches), batch norm, ReLU: (N, S, P, C) -> (N, S*steps, P*pitches, C')."""

    def __init__(self, c_in, c_out, steps=1, pitches=1, last=False):
        super().__init__()
        self.steps, self.pitches, self.c_out, self.last = steps, pitches, c_out, last
        self.product = nn.Linear(c_in, steps * pitches * c_out, bias=last)
        if not last:
            self.norm = Norm(c_out)

    def forward(self, x):
        n, s, p, _ = x.shape
        # Flat, or PyTorch adds the bias in a pass of its own, which takes longer than the product.
        y = self.product(x.flatten(0, 2)).reshape(n, s, p, self.steps, self.pitches, self.c_out)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(n, s * self.steps, p * self.pitches, self.c_out)
        return y if self.last else torch.relu(self.norm(y))


class Down(nn.Module):
    """Convolution with kernel = stride = (steps, pitches), leaky ReLU: (N, S, P, C) -> (N, S/steps, P/pitches, C')."""

    def __init__(self, c_in, c_out, steps=1, pitches=1, norm=False):
        super().__init__()
        self.steps, self.pitches = steps, pitches
        self.product = nn.Linear(steps * pitches * c_in, c_out)
        self.norm = Norm(c_out) if norm else nn.Identity()

    def forward(self, x):
        n, s, p, c = x.shape
        x = x.reshape(n, s // self.steps, self.steps, p // self.pitches, self.pitches, c)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.product.in_features)
        return F.leaky_relu(self.norm(self.product(x)), SLOPE).reshape(n, s // self.steps, p // self.pitches, -1)


def start_sparse(layer):
    """Bias of an output layer, or of the norm that is one."""
    nn.init.constant_(layer.bias, START_LOGIT)


# Generators -----------------------------------------------------------------------------------------------------------


class Spread(nn.Module):
    """Transposed convolution over bars with stride 1, batch norm, ReLU: (B, n_bars, C) -> (B, n_bars + kernel - 1, C')."""

    def __init__(self, c_in, c_out, kernel):
        super().__init__()
        self.kernel = kernel
        self.product = nn.Linear(c_in, kernel * c_out, bias=False)
        self.norm = Norm(c_out)

    def forward(self, x):
        n, bars, _ = x.shape
        y = self.product(x).reshape(n, bars, self.kernel, -1)
        # What each bar adds to itself and those after it.
        y = sum(F.pad(y[:, bar], (0, 0, bar, bars - 1 - bar)) for bar in range(bars))
        return torch.relu(self.norm(y))


class TemporalGenerator(nn.Module):
    """One noise of a phrase -> a latent per bar: (B, n) -> (B, 4, n)."""

    def __init__(self, n, width):
        super().__init__()
        hidden = scaled(1024, width)
        self.layers = nn.Sequential(Spread(n, hidden, 2), Spread(hidden, n, 3))

    def forward(self, z):
        return self.layers(z.unsqueeze(1))


class Encoder(nn.Module):
    """The given track's bars as maps for every level of the bar generators, coarsest first.

    (N, 16, 72, C) and flags (N, C) of which are known -> maps of 1x1, 2x1, 4x1, 8x1, 16x1 and 16x6 cells, 16 channels each.
    """

    WIDTH = 16

    def __init__(self, n_given):
        super().__init__()
        w = self.WIDTH
        self.layers = nn.ModuleList([Down(n_given, w, 1, 12, norm=True), Down(w, w, 1, 6, norm=True),
                                     *(Down(w, w, 2, 1, norm=True) for _ in range(4))])
        self.flags = nn.Linear(n_given, w, bias=False)

    def forward(self, roll, known):
        maps = []
        for layer in self.layers:
            roll = layer(roll)
            maps.append(roll)
        maps[-1] = maps[-1] + self.flags(known)[:, None, None]
        return maps[::-1]


class BarGenerator(nn.Module):
    """Noises of a bar, and maps of the given track's bar where there is one, -> logits (B, 4, 16, 72, n_out).

    A product per noise and their sum: the same as one product of all of them side by side.
    """

    def __init__(self, n_noises, n, width, n_maps, n_out):
        super().__init__()
        c = [scaled(size, width) for size in (512, 256, 256, 128, 64)]
        self.noises = nn.ModuleList(nn.Linear(n, 2 * c[0], bias=False) for _ in range(n_noises))
        self.entry = nn.Linear(n_maps, 2 * c[0], bias=False) if n_maps else None
        self.norm = Norm(2 * c[0])
        self.layers = nn.ModuleList([Up(c[0] + n_maps, c[1], 2), Up(c[1] + n_maps, c[2], 2), Up(c[2] + n_maps, c[3], 2),
                                     Up(c[3] + n_maps, c[4], 1, 6), Up(c[4] + n_maps, n_out, 1, 12, last=True)])
        start_sparse(self.layers[-1].product)

    def forward(self, noises, maps):
        """noises: (B, n) for the whole phrase or (B, 4, n) per bar, in the order of `NOISES`; maps: (4B, S, P, 16) or none."""
        h = sum(layer(z if z.ndim == 3 else z.unsqueeze(1)) for layer, z in zip(self.noises, noises))
        h = h.expand(-1, PHRASE_BARS, -1).flatten(0, 1)  # (4B, 2C): a bar each
        if maps:
            h = h + self.entry(maps[0]).flatten(1)
        x = torch.relu(self.norm(h)).reshape(len(h), 2, 1, -1)
        for idx, layer in enumerate(self.layers):
            x = layer(torch.cat([x, maps[idx + 1]], -1) if maps else x)
        return x.reshape(-1, PHRASE_BARS, *x.shape[1:])


class MuseGanNet(nn.Module):
    """Composer (one bar generator for all tracks), jamming and hybrid (one each): noises -> logits (B, 4, 16, 72, 5)."""

    def __init__(self, config):
        super().__init__()
        self.names = NOISES_OF[config.system]
        n = config.n_noise // len(self.names)
        private = [name for name in self.names if NOISES[name]]
        # Every noise that changes over the bars has a temporal generator; every track has its own.
        self.temporal = nn.ModuleDict({name: nn.ModuleList(TemporalGenerator(n, config.width) for _ in range(N_TRACKS if NOISES[name] else 1))
                                       for name in self.names if name.endswith("bars")})
        n_given = 0 if not config.given else N_TRACKS if config.given == "any" else 1
        self.encoder = Encoder(n_given) if n_given else None
        self.given = TRACKS.index(config.given) if config.given in TRACKS else None
        n_maps = Encoder.WIDTH if n_given else 0
        n_nets, n_out = (N_TRACKS, 1) if private else (1, N_TRACKS)
        self.bars = nn.ModuleList(BarGenerator(len(self.names), n, config.width, n_maps, n_out) for _ in range(n_nets))

    def maps_of(self, given, known):
        """Encoder maps of given (B, 4, 16, 72, 5), zero where not known, and known (B, 4, 5)."""
        if self.given is not None:
            given, known = given[..., self.given:self.given + 1], known[..., self.given:self.given + 1]
        return self.encoder(given.flatten(0, 1), known.flatten(0, 1))

    def forward(self, noises, given=None, known=None):
        maps = self.maps_of(given, known) if self.encoder else []
        noises = dict(zip(self.names, noises))
        out = []
        for track, net in enumerate(self.bars):
            own = []
            for name, z in noises.items():
                z = z[:, track] if NOISES[name] else z
                own.append(self.temporal[name][track if NOISES[name] else 0](z) if name in self.temporal else z)
            out.append(net(own, maps))
        return torch.cat(out, -1)


class BinaryNet(nn.Module):
    """BinaryMuseGAN's generator: a shared trunk, then per track a path that unfolds pitch first and one that unfolds time first."""

    def __init__(self, config):
        super().__init__()
        w = config.width
        self.enter, self.enter_norm = nn.Linear(config.n_noise, 3 * scaled(512, w), bias=False), Norm(3 * scaled(512, w))
        self.bars = Spread(scaled(512, w), scaled(256, w), 2)
        self.trunk = nn.Sequential(Up(scaled(256, w), scaled(128, w), 4), Up(scaled(128, w), scaled(128, w), 1, 3),
                                   Up(scaled(128, w), scaled(64, w), 1, 2))  # 4 beats by 6 octaves
        a, b = scaled(64, w), scaled(32, w)
        self.pitch_first = nn.ModuleList(nn.Sequential(Up(a, a, 1, 12), Up(a, b, 4, 1)) for _ in TRACKS)
        self.time_first = nn.ModuleList(nn.Sequential(Up(a, a, 4, 1), Up(a, b, 1, 12)) for _ in TRACKS)
        self.merge = nn.ModuleList(nn.Linear(2 * b, 1, bias=False) for _ in TRACKS)
        self.merge_norm = nn.ModuleList(Norm(1) for _ in TRACKS)
        for norm in self.merge_norm:
            start_sparse(norm)

    def forward(self, noises, given=None, known=None):
        h = torch.relu(self.enter_norm(self.enter(noises[0]))).reshape(len(noises[0]), 3, -1)
        x = self.trunk(self.bars(h).flatten(0, 1)[:, None, None])
        out = [norm(merge(torch.cat([pitch(x), time(x)], -1)))
               for pitch, time, merge, norm in zip(self.pitch_first, self.time_first, self.merge, self.merge_norm)]
        return torch.cat(out, -1).reshape(-1, PHRASE_BARS, N_STEPS, N_PITCHES, N_TRACKS)


class Conv(nn.Conv2d):
    """Convolution of 3 steps by 12 pitches over (N, C, 16, 72), without bias.

    In training one product of all pitches with a banded matrix per step, three times as fast on a CPU as a convolution from or to one channel.
    """

    def __init__(self, c_in, c_out):
        super().__init__(c_in, c_out, (3, 12), bias=False)

    def forward(self, x):
        # Twelve is even: the published code's "same" padding puts one pitch more above than below.
        x = F.pad(x, (5, 6, 1, 1))
        if not self.training:
            return super().forward(x)
        n, c, _, n_padded = x.shape
        pitch = torch.arange(N_PITCHES, device=x.device)[:, None]
        band = self.weight.new_zeros(3, c, n_padded, self.out_channels, N_PITCHES)
        # Indexed axes come first: (72, 12, 3, C, C').
        band[:, :, pitch + torch.arange(12, device=x.device), :, pitch] = self.weight.permute(3, 2, 1, 0).expand(N_PITCHES, -1, -1, -1, -1)
        x = x.transpose(1, 2).flatten(2)  # (N, 18, C * 83)
        x = torch.cat([x[:, step:step + N_STEPS] for step in range(3)], -1).flatten(0, 1)
        return (x @ band.reshape(x.shape[1], -1)).reshape(n, N_STEPS, -1, N_PITCHES).transpose(1, 2)


class Residual(nn.Module):
    """Pre-activation residual unit over (N, 1, 16, 72): two convolutions."""

    def __init__(self, n_hidden):
        super().__init__()
        self.first_norm, self.first = nn.BatchNorm2d(1), Conv(1, n_hidden)
        self.second_norm, self.second = nn.BatchNorm2d(n_hidden), Conv(n_hidden, 1)
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.zeros_(self.second.weight)

    def forward(self, x):
        h = self.first(torch.relu(self.first_norm(x)))
        return x + self.second(torch.relu(self.second_norm(h))) + self.bias


class Refiner(nn.Module):
    """Two residual units per track over the generator's logits: (B, 4, 16, 72, 5) -> the same.

    What they add starts at zero: an untrained refiner is the hard threshold.
    """

    def __init__(self, width):
        super().__init__()
        self.tracks = nn.ModuleList(nn.Sequential(Residual(scaled(64, width)), Residual(scaled(64, width))) for _ in TRACKS)

    def forward(self, logits):
        x = logits.flatten(0, 1)
        return torch.stack([net(x[..., track].unsqueeze(1)).squeeze(1) for track, net in enumerate(self.tracks)], -1).reshape(logits.shape)


class Generator(nn.Module):
    """A system's generator with its refiner, if any: noises (in the order of `noise_shapes`) -> logits (B, 4, 16, 72, 5)."""

    def __init__(self, config):
        super().__init__()
        self.net = BinaryNet(config) if config.system == "binary" else MuseGanNet(config)
        self.refiner = Refiner(config.refiner_width) if config.refiner != "none" else None

    def forward(self, noises, given=None, known=None, refine=True):
        logits = self.net(noises, given, known)
        return self.refiner(logits) if self.refiner is not None and refine else logits


# Binary neurons -------------------------------------------------------------------------------------------------------


def activate(logits, neurons, slope=1.0, generator=None):
    """What a critic sees of logits: their sigmoid, or 0 and 1 from binary neurons.

    Deterministic: 1 where sigmoid(slope x) > 0.5. Stochastic: where it is above a uniform draw. The gradient is the sigmoid's
    (sigmoid-adjusted straight-through estimator; `slope` is annealed upwards while training).
    """
    p = torch.sigmoid(slope * logits)
    if neurons == "none":
        return p
    bar = 0.5 if neurons == "deterministic" else torch.rand(p.shape, generator=generator, device=p.device)
    hard = (p > bar).float()
    return hard + (p - p.detach())


# Critics: rolls (B, 4, 16, 72, 5) -> scores (B, n_scores) --------------------------------------------------------------


class PhraseCritic(nn.Module):
    """MuseGAN's: pitch folds before time, bar by bar; then over the bars of the phrase."""

    def __init__(self, n_tracks, width):
        super().__init__()
        c = [scaled(size, width) for size in (128, 128, 128, 128, 256, 512)]
        self.bar = nn.Sequential(Down(n_tracks, c[0], 1, 12), Down(c[0], c[1], 1, 6), Down(c[1], c[2], 2), Down(c[2], c[3], 2),
                                 Down(c[3], c[4], 2), Down(c[4], c[5], 2))
        self.pairs = nn.Linear(2 * c[5], c[5])
        self.whole = nn.Linear((PHRASE_BARS - 1) * c[5], c[0])
        self.head = nn.Sequential(nn.Linear(c[0], scaled(1024, width)), nn.LeakyReLU(SLOPE), nn.Linear(scaled(1024, width), 1))

    def forward(self, rolls):
        x = self.bar(rolls.flatten(0, 1)).reshape(len(rolls), PHRASE_BARS, -1)
        x = F.leaky_relu(self.pairs(torch.cat([x[:, :-1], x[:, 1:]], -1)), SLOPE)
        return self.head(F.leaky_relu(self.whole(x.flatten(1)), SLOPE))


class TrackCritics(nn.Module):
    """A `PhraseCritic` for each track, which hears nothing of the others (the paper's jamming model)."""

    def __init__(self, width):
        super().__init__()
        self.tracks = nn.ModuleList(PhraseCritic(1, width) for _ in TRACKS)

    def forward(self, rolls):
        return torch.cat([net(roll.unsqueeze(-1)) for roll, net in zip(rolls.unbind(-1), self.tracks)], -1)


class PrivateCritic(nn.Module):
    """BinaryMuseGAN's: private paths per track (pitch first, time first), merged into shared layers; with `streams` also one stream
    of onsets and offsets and one of chroma.
    """

    def __init__(self, width, streams):
        super().__init__()
        a, b = scaled(32, width), scaled(64, width)
        self.pitch_first = nn.ModuleList(nn.Sequential(Down(1, a, 1, 12), Down(a, b, 4, 1)) for _ in TRACKS)
        self.time_first = nn.ModuleList(nn.Sequential(Down(1, a, 4, 1), Down(a, b, 1, 12)) for _ in TRACKS)
        self.merge = nn.ModuleList(Down(2 * b, b) for _ in TRACKS)  # 4 x 6 cells each
        shared = (scaled(128, width), scaled(256, width))
        self.shared = nn.Sequential(Down(N_TRACKS * b, shared[0], 2, 2), Down(shared[0], shared[1], 2, 3))
        n_merged = shared[1]
        self.streams = streams
        if streams:
            s = [scaled(size, width) for size in (32, 64, 128)]
            self.onsets = nn.Sequential(Down(N_TRACKS, s[0], 2), Down(s[0], s[1], 2), Down(s[1], s[2], 4))
            self.chroma = nn.Sequential(Down(N_TRACKS, s[1], 1, 12), Down(s[1], s[2], 4))
            n_merged += 2 * s[2]
        self.pairs = nn.Linear(2 * n_merged, scaled(512, width))
        self.head = nn.Linear((PHRASE_BARS - 1) * scaled(512, width), 1)

    def forward(self, rolls):
        n = len(rolls)
        bars = rolls.flatten(0, 1)  # (4B, 16, 72, 5)
        tracks = []
        for track, own in enumerate(bars.unsqueeze(-1).unbind(-2)):
            tracks.append(self.merge[track](torch.cat([self.pitch_first[track](own), self.time_first[track](own)], -1)))
        parts = [self.shared(torch.cat(tracks, -1)).flatten(1)]
        if self.streams:
            parts += [self.onsets(onset_stream(rolls).flatten(0, 1)).flatten(1), self.chroma(chroma_stream(bars)).flatten(1)]
        x = torch.cat(parts, -1).reshape(n, PHRASE_BARS, -1)
        x = F.leaky_relu(self.pairs(torch.cat([x[:, :-1], x[:, 1:]], -1)), SLOPE)
        return self.head(x.flatten(1))


def onset_stream(rolls):
    """(B, 4, 16, 72, 5) -> (B, 4, 16, 1, 5): notes that begin minus notes that end at each step; on drums, which are onsets, their number.

    The difference runs over the bar lines, unlike the released code's, where every bar begins after silence.
    """
    flat = rolls.sum(3).flatten(1, 2)  # (B, 64, 5)
    change = flat - F.pad(flat, (0, 0, 1, 0))[:, :-1]
    tracks = [flat[..., track] if track == DRUMS else change[..., track] for track in range(N_TRACKS)]
    return torch.stack(tracks, -1).reshape(len(rolls), PHRASE_BARS, N_STEPS, 1, N_TRACKS)


def chroma_stream(bars):
    """(N, 16, 72, 5) -> (N, 4 beats, 12, 5): sounding cells per beat and pitch class (of drums too, as published)."""
    octaves = bars.reshape(len(bars), N_STEPS // STEPS_PER_BEAT, STEPS_PER_BEAT, N_PITCHES // 12, 12, N_TRACKS)
    return octaves.sum((2, 3))  # LOWEST_PITCH is a C


assert LOWEST_PITCH % 12 == 0


def critic_from(config):
    """The critic of a configuration; under the hinge loss every product in it has spectral norm 1."""
    critics = {"one": lambda: PhraseCritic(N_TRACKS, config.critic_width), "per_track": lambda: TrackCritics(config.critic_width),
               "private": lambda: PrivateCritic(config.critic_width, False),
               "private_streams": lambda: PrivateCritic(config.critic_width, True)}
    critic = critics[config.critic]()
    if config.loss == "hinge":
        for module in list(critic.modules()):
            if isinstance(module, nn.Linear):
                spectral_norm(module)
    return critic


# The graph that ships -------------------------------------------------------------------------------------------------


class Sampler(nn.Module):
    """A generator behind the host's contract: noises, given cells (1, 4, 16, 611), known (1, 5, 4) -> logits (1, 4, 16, 611).

    The network knows only what sounds. A note begins where a pitch is on and was not on the step before: its onset cell is the smaller of
    the two logits, x and minus the x before, its sustain cell x. So greedy decoding plays the network's binary roll as pypianoroll would,
    and decoding at temperature 1 is close to Bernoulli sampling. Every logit is multiplied by `scale`, then `bias` (5,) per track is added.
    """

    def __init__(self, generator, config, bias=(0.0,) * N_TRACKS, scale=1.0, refine=True):
        super().__init__()
        self.generator, self.scale, self.refine = generator, scale, refine
        self.n_noises = len(config.noise_shapes())
        self.conditional = bool(config.given)
        # A fixed given track is never the generator's own: where it is not given, it is silent.
        self.silent = TRACKS.index(config.given) if config.given in TRACKS else None
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float32))
        owner = torch.repeat_interleave(torch.arange(N_TRACKS), torch.tensor(N_CELLS))
        self.register_buffer("cells_of", F.one_hot(owner, N_TRACKS).T.float().contiguous())  # (5, 611)

    def roll_of(self, given):
        """Given cells (B, 4, 16, 611) -> what sounds (B, 4, 16, 72, 5)."""
        drums, *pitched = given.split(N_CELLS, -1)
        below = DRUM_LOWEST - LOWEST_PITCH
        tracks = [F.pad(drums, (below, N_PITCHES - below - N_DRUM_CELLS))]
        tracks += [torch.maximum(cells[..., :N_PITCHES], cells[..., N_PITCHES:]) for cells in pitched]
        return torch.stack(tracks, -1)

    def cells(self, x):
        """Logits of what sounds (B, 4, 16, 72, 5) -> of the host's cells (B, 4, 16, 611)."""
        below = DRUM_LOWEST - LOWEST_PITCH
        flat = x.flatten(1, 2)  # (B, 64, 72, 5)
        before = F.pad(flat[:, :-1], (0, 0, 0, 0, 1, 0), value=NEVER)
        onset = torch.minimum(flat, -before).reshape(x.shape)
        parts = [x[..., below:below + N_DRUM_CELLS, DRUMS]]
        for track in range(1, N_TRACKS):
            parts += [onset[..., track], x[..., track]]
        return torch.cat(parts, -1)

    def forward(self, *inputs):
        noises, (given, known) = inputs[:self.n_noises], inputs[self.n_noises:]
        by_bar = known.transpose(1, 2)  # (B, 4, 5)
        of_cells = (by_bar @ self.cells_of).unsqueeze(2)  # (B, 4, 1, 611)
        given = given * of_cells
        roll = self.roll_of(given)
        x = self.generator(noises, *((roll, by_bar) if self.conditional else (None, None)), refine=self.refine)
        x = (self.scale * x + self.bias).clamp(NEVER, SURE)
        if self.silent is not None:
            x = torch.cat([x[..., :self.silent], 0 * x[..., :1] + NEVER, x[..., self.silent + 1:]], -1)
        flags = by_bar[:, :, None, None]
        # What is known comes before and after what is written: a note goes on over the border if both sides hold it.
        x = (NEVER + (SURE - NEVER) * roll) * flags + x * (1 - flags)
        return (NEVER + (SURE - NEVER) * given) * of_cells + self.cells(x) * (1 - of_cells)
