"""Train an encoder and write it, with its card, into a model folder.

::

    python models/training/encoder.py --arch tinysleepnet --data ../shared/data --minutes 30 \
        --out models/sleepstream_models/tinysleepnet

Own random initialisation; four sources (see `encoder_pools` and `encoder_teachers`) and signals
that are no EEG; calibrated on held-out subjects (`encoder_calibration`).
The state is saved every few minutes in ``.work/``: the same command goes on where it was cut off.
Everything is seeded; ``--minutes`` decides how many steps are made, ``--steps`` fixes them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import cohen_kappa_score, recall_score
from torch.nn import functional as F

from sleepstream.messages import N_STAGES
from sleepstream.stager.device import single_thread
from sleepstream.stager.encoder import ARCHITECTURES
from sleepstream.stager.front_end import LIMIT
from sleepstream_training.encoder.calibration import Source, calibrate, figures
from sleepstream_training.encoder.card import write_model
from sleepstream_training.encoder.data import load_features, load_raw, made_up_nights, night_shares
from sleepstream_training.encoder.pools import (
    STAGE_SHARES,
    Pool,
    batch,
    make_pool,
    night_pool,
    one_hot,
    synthetic_pool,
)
from sleepstream_training.encoder.strange import strange
from sleepstream_training.encoder.teachers import load_teachers, real_pools

BATCH = (32, 6, 16, 8)
LATE_BATCH = (34, 14, 11, 3)
LATE = 0.4
"""Of each batch, up to that share of the budget and after it: synthetic, real, edited, made up.

Made-up nights teach the rhythms soon, but they have little W, and W that looks like REM in a real
recording needs real windows.
"""

N_STRANGE = 2
"""Of each batch: signals that are no EEG, of which every stage is as likely as another."""

HELD_OUT_NIGHTS = range(2000, 2003)
"""Seeds of the made-up nights to choose by."""

TRAINING_NIGHTS = range(1000, 1014)
"""Seeds of the made-up nights to learn from."""


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
    sources = {
        name: Source(predict(network, pool), pool.targets.argmax(axis=1))
        for name, pool in held_out.items()
    }
    calibration = calibrate(sources, night_shares(args.data, args.seed))
    validation = {
        name: figures(calibration.log_probs(source.logits).exp().numpy(), source.labels)
        for name, source in sources.items()
    }
    chosen = asdict(progress) | scores(network, held_out)
    write_model(args, state, calibration, chosen, validation)


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
    parser.add_argument("--n-real", type=int, default=5_000)
    parser.add_argument("--n-edited", type=int, default=9_000)
    parser.add_argument("--n-made-up", type=int, default=12_000)
    return parser.parse_args()


def pools(args: argparse.Namespace) -> tuple[list[Pool], dict[str, Pool]]:
    """Make the pools to learn from and to choose by, or read back those made before."""
    seed, work = args.seed, args.work
    raw, features = load_raw(args.data), load_features(args.data, seed)
    pieces = {part: np.concatenate([r for x in raw[part] for r in x.runs]) for part in raw}
    print(f"raw epochs { ({k: len(v) for k, v in pieces.items()}) }", flush=True)

    def synthetic() -> list[Pool]:
        train, out = features["train"], features["held_out"]
        return [
            synthetic_pool(train, pieces["train"], args.n_synthetic, STAGE_SHARES, seed),
            synthetic_pool(out, pieces["held_out"], 3000, None, seed + 1),
        ]

    def real() -> list[Pool]:
        sizes = (args.n_real, args.n_edited)
        return list(real_pools(raw["train"], load_teachers(args.data), sizes, seed))

    def made_up() -> list[Pool]:
        return [
            night_pool(made_up_nights(TRAINING_NIGHTS), args.n_made_up, seed),
            night_pool(made_up_nights(HELD_OUT_NIGHTS), 1500, seed),
        ]

    made = kept(work / f"pool-synthetic-{seed}-{args.n_synthetic}.npz", synthetic)
    windows = kept(work / f"pool-real-{seed}-{args.n_real}-{args.n_edited}.npz", real)
    nights = kept(work / f"pool-made-up-{seed}-{args.n_made_up}.npz", made_up)
    out = raw["held_out"]
    labelled = make_pool(
        pieces["held_out"],
        one_hot(np.concatenate([y for r in out for y in r.labels])),
        np.concatenate([g for r in out for g in r.log_gains]),
    )
    return [made[0], *windows, nights[0]], {
        "synthetic": made[1],
        "real": labelled,
        "made_up": nights[1],
    }


def kept(path: Path, make: Callable[[], list[Pool]]) -> list[Pool]:
    """Return pools read from `path`, or make them and keep them there."""
    if not path.exists():
        made = make()
        fields = {f"{k}.{f}": getattr(p, f) for k, p in enumerate(made) for f in Pool.__slots__}
        np.savez(path.with_suffix(".new.npz"), **fields)
        path.with_suffix(".new.npz").replace(path)
        print(f"{path.name} made", flush=True)
    with np.load(path) as z:
        n = len(z.files) // len(Pool.__slots__)
        return [Pool(**{f: z[f"{k}.{f}"] for f in Pool.__slots__}) for k in range(n)]


def fit(
    network: torch.nn.Module,
    train: list[Pool],
    held_out: dict[str, Pool],
    args: argparse.Namespace,
) -> Progress:
    """Train to the end of the budget; the best averaged weights end up in ``.work/``."""
    average = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.997),
        use_buffers=True,  # type: ignore[no-untyped-call]
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
        x, target = batch(train, BATCH if done < LATE else LATE_BATCH, rng)
        unknown = torch.from_numpy(strange(N_STRANGE, rng))[:, None]
        target = torch.cat((target, torch.full((N_STRANGE, N_STAGES), 1 / N_STAGES)))
        loss = F.cross_entropy(network(torch.cat((x, unknown))), target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
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
    return torch.cat([network(part) for part in x.split(64)])  # type: ignore[no-untyped-call]


def scores(network: torch.nn.Module, held_out: dict[str, Pool]) -> dict[str, float]:
    """Return agreement with what was held out: synthetic epochs, real W and N3, made-up nights."""
    said = {name: predict(network, pool).argmax(1).numpy() for name, pool in held_out.items()}
    true = {name: pool.targets.argmax(1) for name, pool in held_out.items()}
    synthetic, made_up = (
        float(cohen_kappa_score(true[name], said[name])) for name in ("synthetic", "made_up")
    )
    recall = recall_score(true["real"], said["real"], labels=[0, 3], average=None, zero_division=0)
    return {
        "synthetic_kappa": round(synthetic, 4),
        "real_w_recall": round(float(recall[0]), 4),
        "real_n3_recall": round(float(recall[1]), 4),
        "made_up_kappa": round(made_up, 4),
        "score": round(0.5 * synthetic + 0.3 * float(recall.mean()) + 0.2 * made_up, 4),
    }


if __name__ == "__main__":
    main()
