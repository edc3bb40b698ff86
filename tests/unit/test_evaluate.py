"""`sleepstream evaluate`: what a user types, on nights made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from sleepstream_training.evaluation import behind, documents, stager
from sleepstream_training.evaluation.intervals import Figure
from sleepstream_training.evaluation.methods import (
    baselines,
    hard,
    load_gpt,
    of_model,
    run_together,
    soft,
)
from sleepstream_training.evaluation.tables import Column, Table
from sleepstream_training.nights import Night, period, read_nights

from sleepstream.cli import cli
from sleepstream.corpora.catalogue import find
from sleepstream.errors import ModelError, RecordingError, StoreError
from sleepstream.outputs.sink import Collected
from sleepstream.pipeline import Bed, stage_recording
from sleepstream.signal.epocher import Epocher
from sleepstream.signal.montage import choose
from sleepstream.sources.recording import Recording
from sleepstream.stager import context, weights
from sleepstream.stager.decoders import load_decoder
from sleepstream.stager.gpt import Gpt, GptShape
from sleepstream.stager.stager import Stager

MakeEdf = Callable[..., Path]
CPU = torch.device("cpu")
DATA = Path(__file__).parents[3] / "shared" / "data"
STAY = 0.9


@pytest.fixture(autouse=True)
def own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SLEEPSTREAM_MODELS", str(tmp_path / "models"))


def made_up(seed: int, n_epochs: int = 260) -> str:
    """A night that tends to stay as it is."""
    rng = np.random.default_rng(seed)
    stages = [0]
    for _ in range(n_epochs - 1):
        stages.append(stages[-1] if rng.random() < STAY else int(rng.integers(5)))
    return "".join(map(str, stages))


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Nights of twelve people, one of whom slept twice, some of them ill."""
    lines = [
        {
            "id": f"n{i}",
            "subject": f"s{i if i < 12 else 10}",
            "dataset": "clinic" if i % 2 else "field",
            "stages": made_up(i),
            "diagnosis": "ill" if i % 4 < 2 else "normal",
            "ahi": None,
            "age": 30 + i,
            "sex": "FM"[i % 3 == 0],
        }
        for i in range(13)
    ]
    file = tmp_path / "nights.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small decoder that says that it has learned from three of them."""
    torch.manual_seed(0)
    shape = {"width": 16, "n_layers": 1, "n_heads": 2, "window": 64}
    gpt = Gpt(GptShape(n_inputs=context.N_INPUTS, **shape))
    weights.save_model(
        tmp_path / "models" / "small",
        kind="decoder",
        arch="gpt",
        tensors=dict(gpt.state_dict()),
        options=shape,
        card="",
        trained_on={"field": ["s0", "s2", "s4"], "clinic": ["s2"]},
    )
    return tmp_path / "models" / "small"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, words)])


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    tree = json.loads(result.stdout)
    return {table["name"]: table["rows"] for table in tree["tables"]}


def test_a_decoder_is_judged_on_people_it_does_not_know(nights: Path, small: Path) -> None:
    done = run("decoder", nights, "--decoder", small, "--json")
    assert "10 nights of 9 subjects that small has not learned from; 3 others" in done.stderr
    tables = told(done)
    by_dataset = {row["database"]: row for row in tables["hypnograms-next"]}
    assert {name: row["nights"] for name, row in by_dataset.items()} == {
        "all": 10,
        "clinic": 6,
        "field": 4,
    }
    assert set(by_dataset["all"]) >= {"persistence", "Markov", "run lengths", "small"}
    methods = [row["method"] for row in tables["hypnograms-clinic-loss"]]
    assert methods == ["persistence", "Markov", "run lengths", "gpt-language", "small"]
    one = by_dataset["all"]["Markov"]
    assert one["interval"][0] <= one["value"] <= one["interval"][1]
    assert by_dataset["all"]["small"]["value"] > one["value"]  # it was never trained


def test_all_judges_on_everybody_and_tables_are_for_people(nights: Path, small: Path) -> None:
    done = run("decoder", nights, "--decoder", small, "--all", "--train", nights)
    assert done.exit_code == 0
    assert "3 of 13 nights are of subjects that small knows" in done.stderr
    assert "no training nights" in done.stderr  # of nobody who is judged
    assert "Next stage from scored hypnograms" in done.stdout
    assert all("…" not in line for line in done.stdout.splitlines())


def test_a_decoder_that_knows_everybody_is_not_judged(nights: Path, small: Path) -> None:
    lines = [text for text in nights.read_text().splitlines() if '"s0"' in text]
    nights.write_text("\n".join(lines))
    with pytest.raises(RecordingError, match="has not learned from"):
        CliRunner().invoke(
            cli,
            ["evaluate", "decoder", str(nights), "--decoder", str(small)],
            catch_exceptions=False,
        )


def test_a_whole_night_at_once_is_what_the_steps_say(nights: Path, small: Path) -> None:
    model = weights.find(str(small))
    tokens, longer = hard(read_nights([nights])[0]), hard(read_nights([nights])[1])
    _, whole = run_together(load_gpt(model), [longer, tokens.part(slice(0, 150))])
    tokens = tokens.part(slice(0, 150))
    decoder = load_decoder(model, CPU)
    for t, row in enumerate(tokens.probs.astype(np.float32)):
        said = decoder.step(row)
        np.testing.assert_allclose(said.probs, whole.now[t], atol=1e-5)
        np.testing.assert_allclose(said.forecast, whole.ahead[t], atol=1e-5)
        np.testing.assert_allclose((said.p_wake_5min, said.p_rem_5min), whole.soon[t], atol=1e-5)


def test_a_decoder_that_is_no_gpt_is_stepped_and_starts_anew(nights: Path) -> None:
    method = of_model(weights.find("hmm"))
    tokens = hard(read_nights([nights])[0])
    first, again = method([tokens, tokens])
    np.testing.assert_array_equal(first.ahead, again.ahead)


def test_features_put_decoders_behind_an_encoder(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    records = np.repeat([f"SC4{s:02d}1" for s in range(10)], 150)
    y = np.concatenate([[int(c) for c in made_up(s, 150)] for s in range(10)])
    x = np.exp(rng.normal(size=(len(y), 34)) + y[:, None])
    file = tmp_path / "features.npz"
    np.savez(file, x=x, y=y, record=records, subject=np.array([r[:5] for r in records]))
    tables = told(run("decoder", "--features", file, "--decoder", small, "--json"))
    rows = {row["method"]: row for row in tables["behind-agreement"]}
    assert list(rows) == ["encoder alone", "hmm", "gpt-fusion", "small"]
    assert rows["encoder alone"]["accuracy"]["value"] > 0.3
    assert rows["encoder alone"]["gain, points"]["value"] == 0
    assert len(tables["behind-spoiled"]) == len(rows)
    assert "behind-events" in tables


@pytest.fixture
def scored(make_edf: MakeEdf) -> Path:
    notes = [(10.0, 90.0, "Sleep stage W"), (100.0, 120.0, "Sleep stage 2")]
    make_edf("a.edf", seconds=230, notes=notes)
    return make_edf("b.edf", seconds=260, sfreq=128.0, notes=notes)


def test_a_stager_is_judged_beside_its_encoder(scored: Path) -> None:
    tables = told(run("stager", scored.parent, "--json"))
    rows = tables["stager-recordings"]
    assert [(row["recording"], row["epochs"]) for row in rows] == [("a", 7), ("b", 7)]
    assert [row["method"] for row in tables["stager-agreement"]] == ["encoder", "gpt"]
    losses = [row["method"] for row in tables["stager-loss"]]
    assert losses == ["persistence on the encoder", "Markov on the encoder", "gpt"]


def test_an_encoder_is_judged_alone(scored: Path) -> None:
    done = run("encoder", "tinysleepnet", scored, "--gain", "0.5", "--json")
    tables = told(done)
    assert json.loads(done.stdout)["decoder"] is None
    assert [row["method"] for row in tables["stager-agreement"]] == ["encoder"]
    assert "stager-loss" not in tables


def test_one_bad_recording_does_not_keep_the_others_from_being_judged(
    scored: Path, make_edf: MakeEdf
) -> None:
    make_edf("c.edf")
    done = run("encoder", "tinysleepnet", scored.parent)
    assert done.exit_code == RecordingError.exit_code
    assert "c.edf: scored sleep stages" in done.stderr
    assert "Each recording, encoder" in done.stdout


def test_what_is_judged_is_what_is_served(make_edf: MakeEdf) -> None:
    path = make_edf("a.edf", seconds=220, notes=[(0.0, 210.0, "Sleep stage W")])
    bed = Stager.load(encoder="tinysleepnet", decoder="gpt", disorder="apnoea", device=CPU, bed="b")
    (found,) = find(path)
    judged = stager.stage(found.open(), bed, stager.Amplifier(), min_valid=0.8, tell=lambda _: None)
    recording, served = Recording(path), Collected()
    montage = choose(recording.labels, recording.units)
    bed.reset()
    stage_recording(
        recording.chunks(montage.picks, montage.scales),
        Bed(Epocher(recording.sfreq, montage), bed),
        [served],
        lambda _: None,
        lambda _: None,
    )
    np.testing.assert_array_equal(judged.said.now, [e.probs for e in served.final])
    np.testing.assert_array_equal(judged.said.ahead, [e.forecast for e in served.final])


@pytest.mark.parametrize("sfreq", [0.0, 64.0, 250.0])
def test_an_amplifier_changes_size_and_rate_and_nothing_else(
    make_edf: MakeEdf, sfreq: float
) -> None:
    path = make_edf("a.edf", notes=[(10.0, 120.0, "Sleep stage W")])
    opened = find(path)[0].open()
    amplifier = stager.Amplifier(gain=3.0, sfreq=sfreq)
    chunks = list(amplifier.chunks(opened))
    stamps = np.concatenate([chunk.stamps_s for chunk in chunks])
    plain = np.concatenate([chunk.data for chunk in opened.chunks()], axis=1)
    changed = np.concatenate([chunk.data for chunk in chunks], axis=1)
    assert stamps[0] == 10.0
    np.testing.assert_allclose(np.diff(stamps), 1 / amplifier.rate(opened))
    assert len(stamps) == pytest.approx(140 * amplifier.rate(opened), abs=2)
    if not sfreq:
        np.testing.assert_allclose(changed, 3 * plain, rtol=1e-6)
    elif sfreq > 100:
        assert changed.std() == pytest.approx(3 * plain.std(), rel=0.05)


def test_the_overnight_score_is_judged_within_a_database(nights: Path) -> None:
    lines = [json.loads(text) for text in nights.read_text().splitlines()]
    others = [line | {"id": f"x{line['id']}", "subject": f"x{line['subject']}"} for line in lines]
    nights.write_text("\n".join(map(json.dumps, lines + others)))
    tables = told(run("disorder", nights, "--json"))
    assert {name for name in tables if name.endswith("controls")} == {
        "disorder-clinic-controls",
        "disorder-field-controls",
    }
    hours = [row["hours after onset"] for row in tables["disorder-clinic"]]
    assert hours == ["1", "2", "3", "4", "5", "6", "end"]
    controls = {row["control"]: row["AUC"] for row in tables["disorder-clinic-controls"]}
    assert controls["length of the recording"]["value"] == 0.5
    assert set(controls) == {"length of the recording", "age", "sex", "age and sex"}


def test_the_overnight_score_needs_cases_and_controls(nights: Path) -> None:
    with pytest.raises(RecordingError, match="as many without"):
        CliRunner().invoke(cli, ["evaluate", "disorder", str(nights)], catch_exceptions=False)


def test_another_kind_of_model_is_refused(nights: Path) -> None:
    with pytest.raises(ModelError, match="of kind 'decoder'"):
        CliRunner().invoke(
            cli,
            ["evaluate", "decoder", str(nights), "--decoder", "tinysleepnet"],
            catch_exceptions=False,
        )


def test_hypnograms_or_features_have_to_be_named() -> None:
    assert run("decoder").exit_code == 2


TABLE = Table(
    "kappas",
    "Kappas",
    [Column("who"), Column("kappa", 2, interval=True), Column("gain", 1, sign=True)],
    [["a", Figure(0.712, 0.68, 0.74), Figure(2.25)], ["b", Figure(float("nan")), None]],
    "A note.",
)


def test_figures_go_between_their_markers_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    start, end = "<!-- figures: kappas -->\n", "<!-- end of figures -->"
    other = f"<!-- figures: unknown -->\nold\n{end}"
    document.write_text(f"before\n{start}old\n{end}\nbetween\n{other}\nafter\n")
    assert documents.write(document, {"kappas": TABLE}) == ["unknown"]
    once = document.read_text()
    table = "| who | kappa | gain |\n|---|---|---|\n| a | 0.71 [0.68, 0.74] | +2.2 |\n| b | – | – |"
    assert once == f"before\n{start}{table}\n\nA note.\n{end}\nbetween\n{other}\nafter\n"
    documents.write(document, {"kappas": TABLE})
    assert document.read_text() == once
    with pytest.raises(StoreError, match=r"none\.md"):
        documents.write(tmp_path / "none.md", {})


def test_figures_are_kept_for_programs(tmp_path: Path) -> None:
    documents.write_json(tmp_path / "deep" / "kappas.json", {"model": "x"}, [TABLE])
    tree = json.loads((tmp_path / "deep" / "kappas.json").read_text())
    assert tree["model"] == "x"
    assert tree["tables"][0]["rows"][0]["kappa"] == {"value": 0.712, "interval": [0.68, 0.74]}
    assert tree["tables"][0]["rows"][1] == {
        "who": "b",
        "kappa": {"value": None, "interval": None},
        "gain": None,
    }


def test_all_figures_go_where_they_belong(make_edf: MakeEdf, tmp_path: Path) -> None:
    notes = [(0.0, 60.0, "Sleep stage W"), (60.0, 60.0, "Sleep stage 2")]
    make_edf("data/raw_eeg/a.edf", seconds=120, notes=notes)
    document = tmp_path / "doc.md"
    document.write_text("<!-- figures: robustness -->\n<!-- end of figures -->\n")
    words = ("all", "--data", tmp_path / "data", "--figures", tmp_path, "--write", document)
    assert run(*words).exit_code == 0
    signals = ("as recorded", "gain x0.3", "gain x3", "at 64 Hz", "at 512 Hz")
    assert all(f"| a | {signal} |" in document.read_text() for signal in signals)
    names = {
        table["name"] for table in json.loads((tmp_path / "stager.json").read_text())["tables"]
    }
    assert {"encoders", "robustness", "stager-recordings", "stager-reliability"} <= names


def test_a_long_wake_is_told_apart_from_a_short_one() -> None:
    stages = np.array([0] * 300 + [int(code) for code in made_up(3, 200)] + [0] * 20)
    probs = (0.8 * np.eye(5) + 0.04)[stages].astype(np.float32)
    night = Night("n", "s", "sleep-edf-sc", stages, probs=probs)
    (table,) = behind.after_long_wake([night], [night], {"alone": baselines([])["Markov"]})
    assert [row[0] for row in table.rows] == [
        "alone, from hours before",
        "alone, from 30 min before",
    ]
    assert table.rows[0][1] == table.rows[1][1] == len(stages[period(stages)])
    short = replace(night, stages=stages[200:], probs=probs[200:])
    assert behind.after_long_wake([short], [night], {}) == []


def test_what_it_costs_to_be_causal_is_counted_against_whom_sees_the_future() -> None:
    stages = np.array([0] * 20 + [int(code) for code in made_up(3, 200)] + [0] * 20)
    probs = (0.8 * np.eye(5) + 0.04)[stages].astype(np.float32)
    probs[::4] = 0.2, 0.2, 0.2, 0.1, 0.3  # a quarter says REM, whatever it is
    night = Night("n", "s", "sleep-edf-sc", stages, probs=probs)
    known = Night("n", "s", "sleep-edf-sc", stages, probs=np.eye(5)[stages])
    sees = baselines([])["Markov"]
    table = behind.causality(
        [night], {"sees": lambda _: sees([soft(known)]), "ours": baselines([])["Markov"]}
    )
    gains = [row[-1] for row in table.rows]
    assert [row[0] for row in table.rows] == ["sees", "ours"]
    assert gains[0].value == 0.0
    assert gains[1].value == pytest.approx(100 * (table.rows[1][2].value - 1.0))
    assert gains[1].value < -10


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no development data in {DATA}")
def test_the_shipped_decoder_knows_real_nights_better_than_a_chain_does(tmp_path: Path) -> None:
    lines = (DATA / "hypnograms" / "nights.jsonl").read_text().splitlines()
    chosen = [text for text in lines if '"dataset": "sleep-edf-sc"' in text][:24]
    some = tmp_path / "some.jsonl"
    some.write_text("\n".join(chosen))
    tables = told(run("decoder", some, "--json"))
    skill = {row["over"]: row for row in tables["hypnograms-skill"]}
    for horizon in ("+1", "+4", "+20"):
        assert skill["Markov"][horizon]["value"] > 0.05
        assert skill["persistence"][horizon]["value"] > 0.1
    rem = {row["method"]: row["rem AUC"]["value"] for row in tables["hypnograms-events"]}
    assert rem["gpt"] > rem["Markov"]
