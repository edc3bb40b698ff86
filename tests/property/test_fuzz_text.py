"""Text from strangers: settings, faults, recipes, tables, scorings."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fuzzing import fuzzed, spoiled, survived
from hypothesis import example, given
from hypothesis import strategies as st
from sleepstream_replay.errors import ReplayError
from sleepstream_replay.faults_file import read_faults
from sleepstream_training import nights, recipes
from sleepstream_training.encoder.recipe import Recipe

from sleepstream import config
from sleepstream.corpora.nsrr import read_nsrr
from sleepstream.corpora.probabilities import parse
from sleepstream.corpora.tables import read_cap, read_csv, read_text
from sleepstream.errors import SleepstreamError
from sleepstream.hypnogram import parse_stage
from sleepstream.signal.montage import choose

Out = pytest.CaptureFixture[str]

STARTED = datetime(2001, 3, 4, 22, 0, 0)

SETTINGS = (
    config.template().encode(),
    b'[stream]\nlsl_stream = "EEG"\ntimeout = 3\n[night]\nbed = "left"\nstore = "x.sqlite"\n'
    b'[[channels]]\nderivation = "C4-M1"\n[[channels]]\nderivation = "C3-M2"\n',
)
FAULTS = (
    b'seed = 1\n[[fault]]\nkind = "silence"\nstart_s = 60.5\nlength_s = 10\n'
    b'[[fault]]\nkind = "nan"\nstart_s = 1\nlength_s = 1\nchannels = ["Cz"]\n'
)
RECIPE = (recipes.FOLDER / "encoder" / "made-up.toml").read_bytes()
PROBABILITIES = (
    b"epoch,onset,W,N1,N2,N3,REM\n0,0,1,0,0,0,0\n1,30,.2,.2,.2,.2,.2\n3,90,,,,,\n",
    b"N1;N2;N3;R;W\n0.1;0.2;0.3;0.2;0.2\n0.1;0.2;0.3;0.2;0.2\n",
)
HYPNOGRAM = b"onset,duration,stage\n0,30,W\n30,60,Sleep stage 2\n90,30,REM\n120,,?\n"
CAP = (
    b"Recording Date:\t1/1/2000\n\nSleep Stage\tPosition\tTime [hh:mm:ss]\tEvent\tDuration[s]\t"
    b"Location\nW\tUnknown Position\t22:09:33\tSLEEP-S0\t30\tROC-LOC\n"
    b"S2\tUnknown Position\t23:59:33\tSLEEP-S2\t30\tROC-LOC\n"
    b"S2\tUnknown Position\t00:10:03\tMCAP-A1\t4\tF4-C4\n"
)
NSRR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<PSGAnnotation><ScoredEvents>'
    b"<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Stage 2 sleep|2"
    b"</EventConcept><Start>0</Start><Duration>60.0</Duration></ScoredEvent>"
    b"<ScoredEvent><EventType>Respiratory|x</EventType><Start>7</Start></ScoredEvent>"
    b"</ScoredEvents></PSGAnnotation>"
)
LAUGHS = (
    b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;">]>'
    b"<PSGAnnotation>&d;</PSGAnnotation>"
)
NIGHTS = (
    b'{"id": "a", "dataset": "x", "stages": "00012?3", "ahi": 3.5}\n'
    b'{"id": "b", "subject": "s", "dataset": "x", "stages": "0", "age": 30, "sex": "F"}\n'
)


@fuzzed(60)
@given(spoiled(*SETTINGS))
@example(b"x = " + b"[" * 5000)
@example(b"x = " + b"9" * 5000)
@example(b'[night]\nstore = "~nobody-of-that-name/x\\u0000"\n')
@example(b'[night]\nbed = "\\u001b[31m"\n')
def test_settings(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "sleepstream.toml"
    file.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        settings = config.load(file, {}).settings
        settings.store_path()
        settings.derivations()


@fuzzed(60)
@given(spoiled(FAULTS))
@example(b"seed = " + b"9" * 5000)
@example(b'[[fault]]\nkind = ""\n')
@example(b'"" = 1\n')
def test_faults(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "faults.toml"
    file.write_bytes(data)
    with survived(tmp_path, capfd, ReplayError):
        read_faults(file)


@fuzzed(40)
@given(spoiled(RECIPE))
@example(b"x = " + b"{a=" * 2000)
@example(b"seed = " + b"9" * 5000)
def test_recipes(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        recipes.load("encoder", str(file), Recipe)


@fuzzed(80)
@given(spoiled(*PROBABILITIES))
@example(b'W,N1,N2,N3,R\n"' + b"x" * 200_000)
@example(b"onset,W,N1,N2,N3,R\ninf,1,0,0,0,0\ninf,1,0,0,0,0\n")
@example(b"onset,W,N1,N2,N3,R\n-1e308,1,0,0,0,0\n1e308,1,0,0,0,0\n")
@example(b"epoch,W,N1,N2,N3,R\n-1e308,1,0,0,0,0\n1e308,1,0,0,0,0\n")
@example(b"W,N1,N2,N3,R\n1e308,1e308,1e308,1e308,1e308\n")
def test_probabilities(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "probs.csv"
    file.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        parse(read_text(file), file.name)


@fuzzed(60)
@given(spoiled(HYPNOGRAM))
@example(b"stage,onset\nW,1e308\nN1,-1e308\n")
@example(b"stage,onset,duration\nW,0,1e300\n")
@example(b'stage,onset\n"' + b"x" * 200_000)
def test_hypnograms(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "night.csv"
    file.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        read_csv(file)
    with survived(tmp_path, capfd, SleepstreamError):
        nights.read_nights([file])


@fuzzed(60)
@given(spoiled(CAP))
def test_cap(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "n1.txt"
    file.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        read_cap(file, STARTED)


@fuzzed(60)
@given(spoiled(NSRR, LAUGHS))
@example(LAUGHS)
@example(LAUGHS.replace(b"<!DOCTYPE", b"<!\n DOCTYPE"))
@example(b"<a>" * 100_000)
@example('<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16"))
def test_nsrr(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "shhs1-1-nsrr.xml"
    file.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        read_nsrr(file)


@fuzzed(60)
@given(spoiled(NIGHTS))
@example(b"[" * 10_000)
def test_nights(tmp_path: Path, capfd: Out, data: bytes) -> None:
    file = tmp_path / "nights.jsonl"
    file.write_bytes(data)
    with survived(tmp_path, capfd, SleepstreamError):
        nights.read_nights([file])


ANYTHING: Any = st.text(max_size=40) | st.sampled_from(("EEG" * 5000, "C4-M1" + "-" * 20_000))


@fuzzed(60)
@given(st.lists(ANYTHING, min_size=1, max_size=6), ANYTHING, ANYTHING)
def test_labels(tmp_path: Path, capfd: Out, labels: list[str], channel: str, unit: str) -> None:
    with survived(tmp_path, capfd, SleepstreamError):
        choose(labels, [unit] * len(labels), channel)
    for label in labels:
        parse_stage(label)
