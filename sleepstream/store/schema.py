"""The shape of the record on disk: one SQLite file, three tables.

`MIGRATIONS` holds the statements that lead from each version to the next, the first from nothing;
the file's ``user_version`` says how many of them it has seen. What was released is never edited,
only followed by another step.

Arrays are BLOBs of little-endian float32, so that what is read is what was written, bit for bit.
An epoch's signal will get a table of its own with the key of `epoch`: rows of 12 kB between the
estimates would make every question about a night read the whole of it.
"""

from __future__ import annotations

APPLICATION_ID = 0x534C5053
"""``"SLPS"``: how a store is told from another program's database."""

_NIGHT = """
CREATE TABLE night (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,  -- nights in the order in which they began
    id          TEXT NOT NULL UNIQUE,               -- what a person types; holds no name
    bed         TEXT NOT NULL,
    source      TEXT NOT NULL,                      -- the stream, or the file
    channel     TEXT NOT NULL,                      -- the derivation that was staged
    sfreq       REAL NOT NULL,                      -- of the source, in hertz
    started_s   REAL NOT NULL,                      -- first sample, sender's clock
    started_utc TEXT NOT NULL,                      -- the same on the wall, ISO 8601
    models      TEXT NOT NULL CHECK (json_valid(models)),
    settings    TEXT NOT NULL CHECK (json_valid(settings)),
    synthetic   INTEGER NOT NULL CHECK (synthetic IN (0, 1)),
    software    TEXT NOT NULL,                      -- version of sleepstream
    ended       TEXT                                -- why; NULL while it runs or after a crash
)
"""

_EPOCH = """
CREATE TABLE epoch (
    night              TEXT NOT NULL REFERENCES night (id),
    epoch              INTEGER NOT NULL CHECK (epoch >= 0),
    onset_s            REAL NOT NULL,
    end_s              REAL NOT NULL,
    stage              TEXT CHECK (stage IN ('W', 'N1', 'N2', 'N3', 'REM')),  -- NULL: unscorable
    confidence         REAL NOT NULL,
    quality            REAL NOT NULL,
    quality_reasons    TEXT NOT NULL,               -- JSON list of sentences
    valid              REAL NOT NULL,
    p_wake_5min        REAL NOT NULL,
    p_rem_5min         REAL NOT NULL,
    probs              BLOB NOT NULL,               -- 5 float32: W, N1, N2, N3, REM
    encoder_probs      BLOB,                        -- the same before the decoder
    forecast           BLOB NOT NULL,               -- 20 x 5 float32, one row per epoch ahead
    disorder           TEXT NOT NULL,
    disorder_p         REAL,                        -- NULL while the score abstains
    disorder_low       REAL,                        -- 95 % interval
    disorder_high      REAL,
    disorder_statement TEXT NOT NULL,
    model              TEXT NOT NULL,
    latency_ms         REAL NOT NULL,
    PRIMARY KEY (night, epoch)
) WITHOUT ROWID
"""

_EVENT = """
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    night  TEXT NOT NULL REFERENCES night (id),
    kind   TEXT NOT NULL,
    at_s   REAL NOT NULL,                           -- sender's clock
    text   TEXT NOT NULL
)
"""

# The list of nights is answered from this index alone, without reading a single estimate.
_STAGE_OF_NIGHT = "CREATE INDEX stage_of_night ON epoch (night, stage)"

_EVENT_OF_NIGHT = "CREATE INDEX event_of_night ON event (night)"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (_NIGHT, _EPOCH, _EVENT, _STAGE_OF_NIGHT, _EVENT_OF_NIGHT),
)

SCHEMA_VERSION = len(MIGRATIONS)
