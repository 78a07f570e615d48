"""Write a released model: `export.py --release configs/release-melody.toml --checkpoint run/checkpoint.pt --data pop909.npz
--output released/melody.onnx`.

The graph takes named noise and conditions and gives logits; its manifest is the metadata entry `barline.manifest` (JSON), and
`barline.graph_sha256` lets the host refuse a damaged graph. The note density is calibrated here. The export fails unless ONNX
Runtime and PyTorch agree on `N_CHECKS` random inputs within `TOLERANCE` and in every argmax; the file appears only when all
checks have passed.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import tomllib
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import compose, helper, numpy_helper
from tqdm import tqdm

from metrics import classes_from_states, decode_one_of_n, is_onset, merge_repeats, quantise, states_from_classes
from nets import MIDI_ROWS, N_RHYTHM, MelodySampler, MidiNetSampler, ScanPlaceholder, midinet_chords, triad_one_hot
from prepare import (CHAIN_BARS, LOWEST_PITCH, N_PITCHES, N_STEPS, NO_BAR, REST, load_bars, save_atomically,
                     windows_of)
from train import as_tensors, load_stages, melody_from, midinet_bar, midinet_from

INPUTS = ("noise", "chords", "previous_bar")
OPSET = 17
N_CHECKS = 64
N_CALIBRATE = 1024  # bars of each half of the calibration
# A thirtieth of the host's int8 step of 1/16. The Gumbel tail magnifies the runtimes' different erf to some 3e-4.
TOLERANCE = 2e-3
LICENCE = "MIT OR Apache-2.0"
ATTRIBUTION = ("Trained on POP909 melodies and chords from Dsqvival/hierarchical-structure-analysis (MIT, Copyright (c) 2020 "
               "Shuqi Dai), derived from music-x-lab/POP909-Dataset (MIT).")


@dataclass(frozen=True)
class Release:
    """What a release adds to a checkpoint; see `configs/release-*.toml`."""

    id: str
    name: str
    version: str
    description: str
    # Factor from the host's temperature knob to the Gumbel noise at decoding.
    decode_temperature: float
    # Sampling temperatures inside the graph (melody).
    rhythm_temperature: float
    rhythm_min_p: float
    pitch_temperature: float


def load_release(path, kind=Release):
    """Read a release file of a kind (a dataclass); unknown, missing and ill-typed keys are errors."""
    values = tomllib.loads(Path(path).read_text())
    expected = {field.name: field.type for field in fields(kind)}
    if set(values) != set(expected):
        raise SystemExit(f"{path}: keys must be exactly {sorted(expected)}; differs in {sorted(set(values) ^ set(expected))}")
    for name, value in values.items():
        if type(value) is not expected[name]:
            raise SystemExit(f"{path}: {name} must be {expected[name].__name__}, not {value!r}")
    return kind(**values)


def noise_shape(kind, config):
    """Shape of the latent, without the batch axis."""
    return (N_STEPS, N_RHYTHM + N_PITCHES) if kind == "melody" else (config.n_noise,)


def pitch_range(kind):
    """(lowest pitch, number of pitches) of a kind's output."""
    return (LOWEST_PITCH, N_PITCHES) if kind == "melody" else (0, MIDI_ROWS)


@torch.no_grad()
def sample_rolls(sampler, kind, config, bars, generator, batch_size=512):
    """int8 rolls (n, 16, classes) of a sampler for the conditions of `bars`, in PyTorch, in batches."""
    chords = triad_one_hot(torch.from_numpy(bars.chords.astype(np.int64)))
    previous = torch.from_numpy(classes_from_states(bars.previous, *pitch_range(kind)))
    rolls = []
    for start in range(0, len(bars), batch_size):
        part = slice(start, start + batch_size)
        noise = torch.randn(len(chords[part]), *noise_shape(kind, config), generator=generator)
        rolls.append(quantise(sampler(noise, chords[part], previous[part])[:, 0].numpy()))
    return np.concatenate(rolls)


def decode(rolls, kind, temperature, rng, threshold=0.5):
    """Rolls -> states (n, 16) as the host plays them."""
    lowest, n_pitches = pitch_range(kind)
    states = states_from_classes(decode_one_of_n(rolls, n_pitches, temperature, threshold, rng), lowest, n_pitches)
    return merge_repeats(states) if kind == "midinet" else states


def calibrate_melody(net, release, single, bars, windows, n_rounds=6):
    """Find the rhythm biases (16, 3) at which decoding at the knobs' defaults gives the training data's onsets and rests per step.

    Half of what is measured are bars after real ones (`single`), half are eight-bar chains without a primer over the chords
    of `bars` at `windows` (n, 8): what a host plays. Each round moves a bias by the log of the ratio it is off by (one
    unit is a factor e on the odds), damped by 0.7 because the steps of a bar and the bars of a chain pull on each other.
    Returns (biases, figures).
    """
    target = np.stack([is_onset(bars.states).mean(0), (bars.states == REST).mean(0)])
    bias = np.zeros((2, N_STEPS))
    for _ in tqdm(range(n_rounds), desc="calibrate", unit="round"):
        used = np.round(bias, 3)
        table = torch.tensor(np.stack([used[0], np.zeros(N_STEPS), used[1]], 1), dtype=torch.float32)
        sampler = MelodySampler(net, release.rhythm_temperature, release.pitch_temperature, release.rhythm_min_p,
                                table).eval()
        generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
        after_real = decode(sample_rolls(sampler, "melody", None, single, generator), "melody", release.decode_temperature, rng)
        chain, previous = [], np.full((len(windows), N_STEPS), NO_BAR, np.uint8)
        for bar in range(windows.shape[1]):
            conditions = replace(bars.take(windows[:, bar]), previous=previous)
            rolls = sample_rolls(sampler, "melody", None, conditions, generator)
            chain.append(decode(rolls, "melody", release.decode_temperature, rng))
            previous = decode(rolls, "melody", 0.0, rng)
        both = (after_real, np.concatenate(chain))
        played = [np.stack([is_onset(states).mean(0), (states == REST).mean(0)]) for states in both]
        bias += 0.7 * release.rhythm_temperature * np.log(target / np.clip(np.mean(played, 0), 1e-3, None))
    notes = [float(rates[0].sum()) for rates in (target, *played)]
    rests = [float(rates[1].mean()) for rates in (target, *played)]
    return table, {
        "notes_per_bar": dict(zip(("data", "single", "chain"), notes)), "rests": dict(zip(("data", "single", "chain"), rests)),
        "onset_bias": used[0].tolist(), "rest_bias": used[1].tolist()}


@torch.no_grad()
def calibrate_midinet(generator, config, states, previous, chords):
    """Scale that brings 99.9 % of the strongest activations under 7.5, and the hold level one logit under the weakest 0.1 %."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(len(states), config.n_noise, generator=rng)
    largest = generator(noise, midinet_chords(triad_one_hot(chords)), midinet_bar(previous)).amax(-1).flatten()
    scale = min(1.0, 7.5 / float(largest.quantile(0.999)))
    hold_level = max(-7.5, float((largest * scale).quantile(0.001)) - 1.0)
    return round(scale, 4), round(hold_level, 4)


def trace(module, arguments, path, inputs, outputs, **options):
    """The ONNX graph of a module, with static shapes."""
    with warnings.catch_warnings():
        # The tracer warns about Python values that depend on shapes; the shapes are static here by contract.
        warnings.simplefilter("ignore")
        torch.onnx.export(module, arguments, path, input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
                          dynamo=False, **options)
    return onnx.load(path)


class Step(torch.nn.Module):
    """A step method of a sampler as a module, for the export of a Scan body."""

    def __init__(self, sampler, name):
        super().__init__()
        self.sampler, self.name = sampler, name

    def forward(self, *tensors):
        return getattr(self.sampler, self.name)(*tensors)


def scan_of(node, sampler, path):
    """The Scan that a placeholder of `over_steps` stands for."""
    states, inputs = json.loads(helper.get_node_attr_value(node, "shapes"))
    arguments = tuple(torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in (*states, *inputs))
    outputs = [f"next_{idx}" for idx in range(len(states))] + [f"y_{idx}" for idx in range(len(node.output) - len(states))]
    names = [f"x_{idx}" for idx in range(len(arguments))]
    body = with_scans(trace(Step(sampler, node.op_type).eval(), arguments, path, names, outputs,
                            custom_opsets={ScanPlaceholder.DOMAIN: 1}).graph, sampler, path)
    # A body shares its name space with the graph around it, so every name in it gets the step's name in front.
    body = compose.add_prefix_graph(body, f"{node.op_type}/")
    body.name = node.op_type
    return helper.make_node("Scan", list(node.input), list(node.output), name=node.op_type, body=body, num_scan_inputs=len(inputs))


def with_scans(graph, sampler, path):
    """A traced graph with a Scan for every placeholder in it."""
    nodes = [scan_of(node, sampler, path) if node.domain == ScanPlaceholder.DOMAIN else node for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return graph


def part_scan_outputs(scan):
    """Give each scan output of a Scan's body a node that nothing in the body reads.

    tract 0.23 inserts the scan axis after the output's node, so a reader inside the body would see one axis too many and the
    model would not load. ONNX Runtime removes the Identity again, hence this comes after its optimiser.
    """
    (body,) = graphs_of_node(scan)
    n_states = len(scan.input) - helper.get_node_attr_value(scan, "num_scan_inputs")
    for y in [output.name for output in body.output[n_states:]]:
        for node in body.node:
            for names in (node.input, node.output):
                names[:] = [f"{y}_inside" if name == y else name for name in names]
        body.node.append(helper.make_node("Identity", [f"{y}_inside"], [y]))


def share_constants(graph):
    """Move the constants that several loop bodies have in common into the main graph, whose names they see.

    Three tracks share one network; each would carry its weights otherwise.
    """
    bodies = graphs_of(graph)[1:]
    owners = {}
    for body in bodies:
        for tensor in body.initializer:
            content = numpy_helper.to_array(tensor)
            if content.nbytes >= 1024:
                owners.setdefault((content.tobytes(), content.shape, str(content.dtype)), []).append((body, tensor))
    for found in owners.values():
        if len(found) < 2:
            continue
        shared = onnx.TensorProto()
        shared.CopyFrom(found[0][1])
        shared.name = f"shared/{found[0][1].name}"
        graph.initializer.append(shared)
        for body, tensor in found:
            for node in body.node:
                node.input[:] = [shared.name if name == tensor.name else name for name in node.input]
            body.initializer.remove(tensor)


def graphs_of_node(node):
    """The bodies of a node that is a loop."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def graphs_of(graph):
    """A graph and the bodies of its loops."""
    return [graph, *(found for node in graph.node for body in graphs_of_node(node) for found in graphs_of(body))]


def to_onnx(sampler, arguments, path, inputs=INPUTS):
    """Export with static shapes, turn loops over steps into Scan, fold constants, keep only standard operators."""
    model = trace(sampler, arguments, path, inputs, ["logits"], custom_opsets={ScanPlaceholder.DOMAIN: 1})
    with_scans(model.graph, sampler, path)
    onnx.save(model, path)
    # ONNX Runtime's basic level folds constants and removes no-ops without leaving the standard operator set; a third of the
    # nodes remain, which is most of the load time of both runtimes.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulAddFusion"])
    model = onnx.load(path)
    graphs = graphs_of(model.graph)
    for scan in [node for graph in graphs for node in graph.node if node.op_type == "Scan"]:
        part_scan_outputs(scan)
    share_constants(model.graph)
    foreign = {node.op_type for graph in graphs for node in graph.node if node.domain not in ("", "ai.onnx")}
    if foreign:
        raise SystemExit(f"the optimised graph uses operators outside ONNX: {sorted(foreign)}")
    standard = [entry for entry in model.opset_import if entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    return model


def session(model):
    """A one-thread ONNX Runtime session of a model proto or file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def compare(sampler, model, kind, config, bars):
    """Run both on the same inputs; returns the largest difference, raises SystemExit where they disagree."""
    run = session(model)
    rng = np.random.default_rng(3)
    worst = 0.0
    for idx in rng.permutation(len(bars))[:N_CHECKS]:
        one = bars.take(np.array([idx]))
        feed = {"noise": rng.standard_normal((1, *noise_shape(kind, config))).astype(np.float32),
                "chords": triad_one_hot(torch.from_numpy(one.chords.astype(np.int64))).numpy(),
                "previous_bar": classes_from_states(one.previous, *pitch_range(kind))}
        theirs = run.run(["logits"], feed)[0]
        ours = sampler(*(torch.from_numpy(feed[name]) for name in INPUTS)).numpy()
        if not np.isfinite(theirs).all():
            raise SystemExit("ONNX Runtime gives values that are not finite")
        worst = max(worst, float(np.abs(theirs - ours).max()))
        if worst > TOLERANCE or (theirs.argmax(-1) != ours.argmax(-1)).any():
            raise SystemExit(f"ONNX Runtime and PyTorch disagree: {worst:.2e}, tolerance {TOLERANCE:.2e}, or another argmax")
    return worst


def manifest_of(release, kind, checkpoint, config, calibration, figures):
    """The contract with the host, as a dict."""
    lowest, n_pitches = pitch_range(kind)
    n_classes = n_pitches + 2
    return {
        "format": 1, "id": release.id, "name": release.name, "version": release.version, "description": release.description,
        "tracks": [{"name": "Melody", "program": 0, "drums": False, "kind": "one_of_n", "lowest_pitch": lowest,
                    "n_pitches": n_pitches, "merge_repeats": kind == "midinet"}],
        "n_bars": 1, "chain_bars": 8, "n_steps": N_STEPS, "steps_per_beat": 4,
        "latents": [{"name": "noise", "shape": [1, *noise_shape(kind, config)], "distribution": "normal", "scope": "bar"}],
        "conditions": [{"name": "chords", "shape": [1, 2, 24], "encoding": "triads"},
                       {"name": "previous_bar", "shape": [1, N_STEPS, n_classes], "encoding": "states"}],
        "output": {"name": "logits", "shape": [1, 1, N_STEPS, n_classes]},
        "calibration": calibration,
        "training": {"config": checkpoint["config"], "commit": checkpoint["commit"], "data": "POP909-structure",
                     "data_sha256": checkpoint["data_sha256"], "seed": config.seed, "steps": checkpoint["steps"],
                     "figures": figures},
        "licence": LICENCE, "attribution": ATTRIBUTION,
    }


def finish(model, manifest, output):
    """Put the manifest and the graph's checksum into a model, check it and write it; returns the bytes."""
    model.producer_name, model.producer_version = "barline", manifest["version"]
    model.doc_string = manifest["description"]
    graph_hash = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    for key, value in (("barline.manifest", json.dumps(manifest)), ("barline.graph_sha256", graph_hash)):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    save_atomically(output, lambda file: file.write(content))
    return content


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="one, or one per stage of a melody network")
    parser.add_argument("--data", type=Path, required=True, help=".npz of prepare.py, for the calibration")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    release = load_release(args.release)
    checkpoint, config = load_stages(args.checkpoint)
    kind = config.kind
    bars, sha256 = load_bars(args.data, "train")
    if sha256 != checkpoint["data_sha256"]:
        raise SystemExit("the checkpoint was trained on other data than --data")
    some = bars.take(np.random.default_rng(0).permutation(len(bars))[:N_CALIBRATE])
    if kind == "melody":
        net = melody_from(config)
        net.load_state_dict(checkpoint["state"])
        net.eval()
        windows = windows_of(bars, N_CALIBRATE // CHAIN_BARS, np.random.default_rng(1))
        table, figures = calibrate_melody(net, release, some, bars, windows)
        bias = round(float(table[:, 0].mean()), 4)
        sampler = MelodySampler(net, release.rhythm_temperature, release.pitch_temperature, release.rhythm_min_p, table)
        figures |= {"val_nll_rhythm": checkpoint["val_nll"]["rhythm"], "val_nll_pitch": checkpoint["val_nll"]["pitch"],
                    "best_step": checkpoint["best_step"],
                    "rhythm_temperature": release.rhythm_temperature, "pitch_temperature": release.pitch_temperature,
                    "rhythm_min_p": release.rhythm_min_p}
    else:
        net = midinet_from(config)
        net.load_state_dict(checkpoint["state"])
        net.eval()
        scale, hold_level = calibrate_midinet(net, config, *as_tensors(some))
        bias = 0.0
        sampler = MidiNetSampler(net, scale, hold_level)
        figures = {**checkpoint["figures"], "logit_scale": scale, "hold_level": hold_level}
    sampler.eval()
    figures["cpu_s"] = checkpoint["cpu_s"]
    calibration = {"temperature": release.decode_temperature, "bias": [bias]}
    lowest, n_pitches = pitch_range(kind)
    arguments = (torch.zeros(1, *noise_shape(kind, config)), triad_one_hot(torch.tensor([[0, 21]])),
                 torch.from_numpy(classes_from_states(some.states[:1], lowest, n_pitches)))
    with tempfile.TemporaryDirectory() as folder:
        model = to_onnx(sampler, arguments, Path(folder) / "graph.onnx")
    worst = compare(sampler, model, kind, config, some)
    content = finish(model, manifest_of(release, kind, checkpoint, config, calibration, figures), args.output)
    n_nodes = sum(len(graph.node) for graph in graphs_of(model.graph))
    print(f"{args.output.name}: {len(content) / 1e6:.2f} MB, {n_nodes} nodes, "
          f"largest difference ONNX Runtime to PyTorch {worst:.1e} on {N_CHECKS} inputs, argmax equal, calibration {calibration}")


if __name__ == "__main__":
    sys.exit(main())
