"""Train an encoder and write it, with its card, into a model folder.

::

    python models/training/encoder.py --arch tinysleepnet --data ../shared/data --minutes 30 \
        --out models/sleepstream_models/tinysleepnet

Own random initialisation; three sources (see `encoder_pools`); the teachers are read only here.
The state is saved every few minutes in ``.work/``: the same command goes on where it was cut off.
Everything is seeded; ``--minutes`` decides how many steps are made, ``--steps`` fixes them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from encoder_card import write_model
from encoder_data import load_features, load_raw, night_shares
from encoder_pools import (
    STAGE_SHARES,
    Pool,
    batch,
    load_teachers,
    make_pool,
    one_hot,
    real_pool,
    synthetic_pool,
)
from sklearn.metrics import cohen_kappa_score, recall_score
from torch.nn import functional as F

from sleepstream.messages import Float32Array
from sleepstream.stager.device import single_thread
from sleepstream.stager.encoder import ARCHITECTURES, LIMIT

BATCH = (40, 14, 10)
LATE_BATCH = (46, 6, 12)
"""Of each batch in the first and second half: synthetic, real, mixed.

Real epochs are W and N3 only. They are learned soon; seen as often to the end they would teach that
whatever looks real and small is W.
"""

CORRECTED = np.array([0.5, 0.5, 0.0, 0.0, 0.0], dtype=np.float32)
"""How much of the prior correction is applied to each stage.

It is found on synthetic epochs for the most part, and real ones do not follow: corrected in full,
N3 of the held-out real recordings was lost to N2, and REM of the development recordings to W.
"""


@dataclass(slots=True)
class Progress:
    """How far a training has come."""

    step: int = 0
    elapsed_s: float = 0.0
    best: float = -1.0
    best_step: int = 0


def main() -> None:
    """Train, choose, write."""
    args = arguments()
    single_thread()
    args.work.mkdir(parents=True, exist_ok=True)
    train, held_out = pools(args)
    torch.manual_seed(args.seed)
    network = ARCHITECTURES[args.arch]()
    progress = fit(network, train, held_out, args)
    state = torch.load(args.work / f"{args.arch}-best.pt", weights_only=True)
    network.load_state_dict(state)
    bias = prior_correction(network, held_out, night_shares(args.data, args.seed))
    write_model(args, state, bias, asdict(progress), scores(network, held_out))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train an encoder.")
    parser.add_argument("--arch", choices=sorted(ARCHITECTURES), required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--steps", type=int, help="make exactly so many steps instead")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path(".work"))
    parser.add_argument("--n-synthetic", type=int, default=30_000)
    parser.add_argument("--n-real", type=int, default=6_000)
    return parser.parse_args()


def pools(args: argparse.Namespace) -> tuple[list[Pool], dict[str, Pool]]:
    """Make the pools, or read them back where a run with the same settings made them."""
    cache = args.work / f"pools-{args.seed}-{args.n_synthetic}-{args.n_real}.npz"
    names = ("synthetic", "real", "mixed", "held_out_synthetic", "held_out_real")
    if not cache.exists():
        made = dict(zip(names, make_pools(args), strict=True))
        fields = {f"{n}.{f}": getattr(p, f) for n, p in made.items() for f in Pool.__slots__}
        np.savez(cache, **fields)
    with np.load(cache) as z:
        read = [Pool(**{f: z[f"{n}.{f}"] for f in Pool.__slots__}) for n in names]
    return read[:3], {"synthetic": read[3], "real": read[4]}


def make_pools(args: argparse.Namespace) -> list[Pool]:
    """Make the three pools to learn from and the two to choose by."""
    raw, features = load_raw(args.data), load_features(args.data, args.seed)
    pieces = {part: np.concatenate([r for x in raw[part] for r in x.runs]) for part in raw}
    print(f"raw epochs { ({k: len(v) for k, v in pieces.items()}) }", flush=True)
    seed = args.seed
    synthetic = synthetic_pool(
        features["train"], pieces["train"], args.n_synthetic, STAGE_SHARES, seed
    )
    print("synthetic epochs made; asking the teachers", flush=True)
    real, mixed = real_pool(raw["train"], load_teachers(args.data), args.n_real, seed)
    held_out = raw["held_out"]
    return [
        synthetic,
        real,
        mixed,
        synthetic_pool(features["held_out"], pieces["held_out"], 3000, None, seed + 1),
        make_pool(
            pieces["held_out"],
            one_hot(np.concatenate([y for r in held_out for y in r.labels])),
            np.concatenate([g for r in held_out for g in r.log_gains]),
        ),
    ]


def fit(
    network: torch.nn.Module,
    train: list[Pool],
    held_out: dict[str, Pool],
    args: argparse.Namespace,
) -> Progress:
    """Train to the end of the budget; the best averaged weights end up in ``.work/``."""
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.997), use_buffers=True
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    progress = Progress()
    state_file = args.work / f"{args.arch}-state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        progress = Progress(**state["progress"])
    started = time.monotonic() - progress.elapsed_s
    while (done := share_done(progress, args)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = (
                1.5e-3 * min(1, (progress.step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * done))
            )
        # the step's own generator: a run that was cut off goes on with the same batches
        rng = np.random.default_rng((args.seed, progress.step))
        torch.manual_seed(args.seed * 1_000_003 + progress.step)
        network.train()
        x, target = batch(train, BATCH if done < 0.5 else LATE_BATCH, rng)
        loss = F.cross_entropy(network(x), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        progress.step += 1
        progress.elapsed_s = time.monotonic() - started
        if progress.step % 250 == 0 or share_done(progress, args) >= 1:
            found = scores(average.module, held_out)
            line = {"loss": round(loss.item(), 4), **asdict(progress), **found}
            print(json.dumps(line), flush=True)
            if found["score"] > progress.best:
                progress.best, progress.best_step = found["score"], progress.step
                torch.save(average.module.state_dict(), args.work / f"{args.arch}-best.pt")
            save_state(state_file, network, average, optimizer, progress)
    return progress


def save_state(
    path: Path,
    network: torch.nn.Module,
    average: torch.optim.swa_utils.AveragedModel,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write all that a training needs to go on, or leave what was there."""
    content = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(progress),
    }
    torch.save(content, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def share_done(progress: Progress, args: argparse.Namespace) -> float:
    """Return how much of the budget is used up, 0 to 1."""
    if args.steps:
        return float(progress.step / args.steps)
    return float(progress.elapsed_s / (60 * args.minutes))


@torch.inference_mode()
def predict(network: torch.nn.Module, pool: Pool) -> torch.Tensor:
    """Return the logits, shape (n, 5), of a pool as it is."""
    network.eval()
    scaled = np.clip(pool.signals * np.exp(-pool.log_gains)[:, None], -LIMIT, LIMIT)
    x = torch.from_numpy(scaled)[:, None]
    return torch.cat([network(part) for part in x.split(64)])


def scores(network: torch.nn.Module, held_out: dict[str, Pool]) -> dict[str, float]:
    """Return agreement on the held-out subjects: synthetic epochs, and real W and N3."""
    said = {name: predict(network, pool).argmax(1).numpy() for name, pool in held_out.items()}
    true = {name: pool.targets.argmax(1) for name, pool in held_out.items()}
    synthetic = float(cohen_kappa_score(true["synthetic"], said["synthetic"]))
    recall = recall_score(true["real"], said["real"], labels=[0, 3], average=None, zero_division=0)
    return {
        "synthetic_kappa": round(synthetic, 4),
        "real_w_recall": round(float(recall[0]), 4),
        "real_n3_recall": round(float(recall[1]), 4),
        "score": round(0.6 * synthetic + 0.4 * float(recall.mean()), 4),
    }


def prior_correction(
    network: torch.nn.Module, held_out: dict[str, Pool], shares: Float32Array
) -> list[float]:
    """Return what to add to the logits to bring mean probabilities towards those of whole nights.

    Found on the held-out subjects, synthetic and real together, each epoch weighted so that the
    stages have the given shares.

    Parameters
    ----------
    network : Module
        The trained network.
    held_out : dict of Pool
        What it was chosen by.
    shares : ndarray, shape (5,)
        Shares of the stages in whole nights.
    """
    logits = torch.cat([predict(network, pool) for pool in held_out.values()])
    labels = np.concatenate([pool.targets.argmax(axis=1) for pool in held_out.values()])
    weights = torch.from_numpy((shares / np.bincount(labels))[labels]).float()
    bias = torch.zeros(len(shares))
    for _ in range(200):
        mean = (weights[:, None] * (logits + bias).softmax(1)).sum(0)
        bias += 0.5 * (torch.from_numpy(shares) / mean).log()
    # 0.0 +: no -0.0 in the description
    return [0.0 + round(float(b), 3) for b in (bias - bias.mean()).numpy() * CORRECTED]


if __name__ == "__main__":
    main()
