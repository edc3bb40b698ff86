"""The shape of the record on disk: one SQLite file, five tables.

`MIGRATIONS` holds the statements that lead from each version to the next, the first from nothing;
the file's ``user_version`` says how many of them it has seen. What was released is never edited,
only followed by another step.

Arrays are BLOBs of little-endian float32, so that what is read is what was written, bit for bit.
An epoch's signal has a table of its own with the key of `epoch`: rows of 12 kB between the
estimates would make every question about a night read the whole of it. It is not compressed: noise
does not shrink (7 % with zlib, measured), and so it is read like every other array.
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

# Since version 2: what it takes to go on with a night after a crash, and to stage it once more.

_STREAM_OF_NIGHT = """
ALTER TABLE night ADD COLUMN stream TEXT            -- which live stream; NULL: a file
    CHECK (json_valid(ifnull(stream, '0')))
"""

_STATE_OF_EPOCH = """
ALTER TABLE epoch ADD COLUMN state TEXT             -- what has to be known to go on behind it
    CHECK (json_valid(ifnull(state, '0')))
"""

_SIGNAL = """
CREATE TABLE signal (
    night   TEXT NOT NULL,
    epoch   INTEGER NOT NULL,
    samples BLOB NOT NULL,                          -- 3000 float32, microvolts at 100 Hz
    PRIMARY KEY (night, epoch),
    FOREIGN KEY (night, epoch) REFERENCES epoch (night, epoch)
)
"""

# Since version 3: which derivation was staged, and what spoiled it in numbers.

_DERIVATION_OF_EPOCH = "ALTER TABLE epoch ADD COLUMN derivation TEXT NOT NULL DEFAULT ''"

_SECONDS_OF_EPOCH = """
ALTER TABLE epoch ADD COLUMN quality_seconds TEXT   -- JSON: seconds by artefact
    NOT NULL DEFAULT '{}' CHECK (json_valid(quality_seconds))
"""

# Since version 4: the sender's clock against ours, about once a minute.

_CLOCK = """
CREATE TABLE clock (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    night         TEXT NOT NULL REFERENCES night (id),
    at_s          REAL NOT NULL,                    -- newest sample then, sender's clock
    offset_s      REAL NOT NULL,                    -- added to the sender's LSL clock it gives ours
    uncertainty_s REAL NOT NULL
)
"""

_CLOCK_OF_NIGHT = "CREATE INDEX clock_of_night ON clock (night)"

# Since version 5: how large the EEG of a derivation that took over is beside the first one's.

_GAIN_OF_EPOCH = "ALTER TABLE epoch ADD COLUMN gain REAL NOT NULL DEFAULT 1.0"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (_NIGHT, _EPOCH, _EVENT, _STAGE_OF_NIGHT, _EVENT_OF_NIGHT),
    (_STREAM_OF_NIGHT, _STATE_OF_EPOCH, _SIGNAL),
    (_DERIVATION_OF_EPOCH, _SECONDS_OF_EPOCH),
    (_CLOCK, _CLOCK_OF_NIGHT),
    (_GAIN_OF_EPOCH,),
)

SCHEMA_VERSION = len(MIGRATIONS)
