"""Time released models in Python, for `barline bench --report PAGE --python PYTHON`, which starts this: one JSON object per line.

One thread, like the plugin: ONNX Runtime on the same file, and PyTorch on the network that the file's manifest describes, as it was before
the export. Its weights are random: an inference costs the same with any.
"""

import argparse
import json
import sys
import time
from pathlib import Path

N_WARM = 3


def timed(run, n_runs):
    """Seconds of each run, after some that do not count."""
    for _ in range(N_WARM):
        run()
    seconds = []
    for _ in range(n_runs):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def inputs_of(manifest):
    """Noise of 0.3 and conditions of 0, as the plugin tries a model with."""
    import numpy as np

    return ({entry["name"]: np.full(entry["shape"], 0.3, np.float32) for entry in manifest["latents"]}
            | {entry["name"]: np.zeros(entry["shape"], np.float32) for entry in manifest["conditions"]})


def in_onnxruntime(path, n_runs):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["barline.manifest"])
    inputs = inputs_of(manifest)
    return f"onnxruntime {onnxruntime.__version__}", timed(lambda: session.run(None, inputs), n_runs), manifest


def in_torch(manifest, n_runs, source):
    import torch

    sys.path.insert(0, str(source))
    name = f"PyTorch {torch.__version__}"
    if manifest["id"] != "band":
        raise NotImplementedError("only the band's network is built from a manifest here")
    if not (source / "band.py").is_file():
        raise FileNotFoundError(f"there is no {source / 'band.py'}; start it in Barline's source folder")
    from band import BandSampler
    from train_band import BandConfig, band_from

    torch.set_num_threads(1)
    sampler = BandSampler(band_from(BandConfig(**manifest["training"]["config"]))).eval()
    inputs = [torch.from_numpy(value) for value in inputs_of(manifest).values()]
    with torch.no_grad():
        return name, timed(lambda: sampler(*inputs), n_runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--source", type=Path, default=Path("models"), help="where the networks' sources lie")
    args = parser.parse_args()

    def say(model, runtime, **rest):
        print(json.dumps({"model": model, "runtime": runtime} | rest), flush=True)

    for path in args.model:
        manifest = None
        try:
            runtime, seconds, manifest = in_onnxruntime(path, args.runs)
            say(path.stem, runtime, seconds=seconds)
        except Exception as error:  # whatever is missing there, the page says it
            say(path.stem, "onnxruntime", skipped=f"{type(error).__name__}: {error}")
        try:
            if manifest is None:
                raise RuntimeError("the manifest was not read")
            runtime, seconds = in_torch(manifest, args.runs, args.source)
            say(path.stem, runtime, seconds=seconds)
        except Exception as error:
            say(path.stem, "PyTorch", skipped=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
