"""Train the decoder: a GPT over the night.

    python -m sleepstream_training.decoder.fit --data ../shared/data --minutes 25 \
        --out models/sleepstream_models/gpt

Three stages: a language model of hypnograms; simulated encoder errors on the same hypnograms; a
features-only encoder's out-of-fold probabilities on Sleep-EDF. One thread, seeded; a run that was
stopped goes on from ``.work/decoder``. Writes the model folder with its card, prints the tables.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sleepstream.stager import context
from sleepstream.stager.gpt import Gpt, GptShape, split
from sleepstream.stager.weights import save_model
from sleepstream_training.decoder.batches import (
    Batch,
    Donors,
    as_encoded,
    as_language,
    as_simulated,
    batch,
)
from sleepstream_training.decoder.data import (
    SEED,
    Night,
    load_encoded,
    load_hypnograms,
    sha256,
    transition_counts,
)
from sleepstream_training.evaluation.decoder import evaluate

N_NIGHTS = 8
YARDSTICK = Path("third_party_weights/sleepgpt/gpt_shhs_60_48_3_6.pth.tar")


@dataclass(frozen=True, slots=True)
class Phase:
    """One stage of training: its share of the time, its rate, and its mixture of nights."""

    name: str
    share: float
    rate: float
    language: float
    simulated: float
    encoded: float


PHASES = (
    Phase("language model", 0.4, 2e-3, 1.0, 0.0, 0.0),
    Phase("simulated errors", 0.35, 1.5e-3, 0.25, 0.75, 0.0),
    Phase("out-of-fold", 0.25, 7e-4, 0.2, 0.35, 0.45),
)


def loss_of(gpt: Gpt, nights: Batch) -> Tensor:
    """Return the loss of one batch: the stage now, the next stage, all horizons, both events."""
    now, ahead, soon = split(gpt(torch.from_numpy(nights.inputs)))
    targets = torch.from_numpy(nights.ahead)
    loss = _entropy(ahead, targets) + _entropy(ahead[:, :, 0], targets[:, :, 0])
    if (nights.now >= 0).any():
        loss = loss + _entropy(now, torch.from_numpy(nights.now))
    events = torch.from_numpy(nights.soon)
    known = events >= 0
    return loss + 0.5 * F.binary_cross_entropy_with_logits(soon[known], events[known])


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=-1)


class Sampler:
    """Draws batches; its random numbers go on where they stopped."""

    def __init__(self, hypnograms: list[Night], encoded: list[Night]) -> None:
        self._hypnograms = [night for night in hypnograms if not night.held_out]
        self._encoded = [night for night in encoded if not night.held_out]
        self._donors = Donors(self._encoded)
        self.rng = np.random.default_rng(SEED)

    def draw(self, phase: Phase) -> Batch:
        """Draw one batch of the phase's mixture."""
        kinds = self.rng.choice(
            3, size=N_NIGHTS, p=[phase.language, phase.simulated, phase.encoded]
        )
        return batch([self._night(int(kind)) for kind in kinds])

    def _night(self, kind: int) -> Any:
        pool = self._encoded if kind == 2 else self._hypnograms
        night = pool[self.rng.integers(len(pool))]
        if kind == 0:
            return as_language(night, self.rng)
        if kind == 1:
            return as_simulated(night, self._donors, self.rng)
        return as_encoded(night, self.rng)


def train(gpt: Gpt, sampler: Sampler, minutes: float, work: Path) -> None:
    """Run the phases that are not done yet, keeping the state of each step that matters."""
    state_file = work / "state.pt"
    state: dict[str, Any] = {"phase": 0, "spent": 0.0, "steps": 0}
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        gpt.load_state_dict(state["gpt"])
    for number in range(state["phase"], len(PHASES)):
        phase = PHASES[number]
        sampler.rng = np.random.default_rng([SEED, number, state["steps"]])
        _run_phase(gpt, sampler, phase, minutes=minutes, state=state, file=state_file)
        state = {**state, "phase": number + 1, "spent": 0.0, "gpt": gpt.state_dict()}
        state.pop("optimizer", None)
        torch.save(state, state_file)
        torch.save(gpt.state_dict(), work / f"phase{number}.pt")


def _run_phase(
    gpt: Gpt, sampler: Sampler, phase: Phase, *, minutes: float, state: dict[str, Any], file: Path
) -> None:
    """Train for the phase's share of the time, with a cosine over that time."""
    budget = 60.0 * minutes * phase.share
    optimizer = torch.optim.AdamW(
        gpt.parameters(), lr=phase.rate, betas=(0.9, 0.95), weight_decay=0.05
    )
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    mean, began, saved = 0.0, time.monotonic() - state["spent"], time.monotonic()
    first = state["steps"]
    while (spent := time.monotonic() - began) < budget:
        warm = min(1.0, (state["steps"] - first + 1) / 20)
        for group in optimizer.param_groups:
            group["lr"] = phase.rate * warm * 0.5 * (1 + math.cos(math.pi * spent / budget)) + 1e-6
        loss = loss_of(gpt, sampler.draw(phase))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
        optimizer.step()
        state["steps"] += 1
        mean = loss.item() if not mean else 0.95 * mean + 0.05 * loss.item()
        if time.monotonic() - saved > 60:
            saved = time.monotonic()
            print(
                f"{phase.name}: {spent:.0f} s, step {state['steps']}, loss {mean:.3f}", flush=True
            )
            kept = {"gpt": gpt.state_dict(), "optimizer": optimizer.state_dict(), "spent": spent}
            torch.save({**state, **kept}, file)


def main() -> None:
    """Train, evaluate, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data")
    parser.add_argument("--minutes", type=float, default=25.0, help="training time")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--work", type=Path, default=Path(".work/decoder"), help="state")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    options.work.mkdir(parents=True, exist_ok=True)
    hypnograms = load_hypnograms(options.data)
    encoded = load_encoded(options.data, options.work)
    print(f"transitions of the training nights:\n{transition_counts(hypnograms)}", flush=True)
    gpt = Gpt(GptShape(n_inputs=context.N_INPUTS))
    train(gpt, Sampler(hypnograms, encoded), options.minutes, options.work)
    gpt.eval()
    language = Gpt(gpt.shape).eval()
    language.load_state_dict(torch.load(options.work / "phase0.pt", weights_only=True))
    networks = {"GPT after stage 1": language, "**GPT as shipped**": gpt}
    tables = evaluate(networks, hypnograms, encoded, options.data / YARDSTICK)
    for name, table in tables.items():
        print(f"\n{name}\n{table}")
    save(gpt, options, tables)


def save(gpt: Gpt, options: argparse.Namespace, tables: dict[str, str]) -> None:
    """Write the model folder."""
    shape = asdict(gpt.shape)
    shape.pop("n_inputs")
    here = Path(__file__).parent
    card = (here / "card.md").read_text(encoding="utf-8")
    facts = {
        "command": "python " + " ".join(sys.argv),
        "seed": SEED,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}",
        "minutes": f"{options.minutes:g}",
        "machine": f"{platform.machine()}, one thread, shared with other work",
        "parameters": f"{sum(p.numel() for p in gpt.parameters()):,}",
        "nights": sha256(options.data / "hypnograms" / "nights.jsonl"),
        "features": sha256(options.data / "sleep_edf_features" / "fpzcz_34.npz"),
        **tables,
    }
    for key, value in facts.items():
        card = card.replace("{" + key + "}", str(value))
    tensors = {name: tensor.contiguous() for name, tensor in gpt.state_dict().items()}
    save_model(options.out, kind="decoder", arch="gpt", tensors=tensors, options=shape, card=card)


if __name__ == "__main__":
    main()
