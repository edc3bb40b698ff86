-- A store of nights as version 1 of the tables had it, with one night that was cut off.
PRAGMA application_id = 1397510227;
PRAGMA user_version = 1;
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
);
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
) WITHOUT ROWID;
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    night  TEXT NOT NULL REFERENCES night (id),
    kind   TEXT NOT NULL,
    at_s   REAL NOT NULL,                           -- sender's clock
    text   TEXT NOT NULL
);
CREATE INDEX stage_of_night ON epoch (night, stage);
CREATE INDEX event_of_night ON event (night);
INSERT INTO night VALUES (1, '0badcafe', 'bed1', 'EEG', 'Fpz-Cz', 256.0, 1000.0,
    '2026-11-22T22:00:00+00:00', '{"encoder": "tinysleepnet:1234"}', '{}', 0, '0.1.0', NULL);
INSERT INTO epoch VALUES ('0badcafe', 0, 1000.0, 1030.0, 'N2', 0.5, 1.0, '[]', 1.0, 0.25, 0.125,
    X'0000803e0000803e0000003f0000000000000000', NULL, zeroblob(400),
    'apnoea', NULL, NULL, NULL, 'No score.', 'abc123', 12.5);
INSERT INTO event (night, kind, at_s, text) VALUES ('0badcafe', 'connected', 1000.0, 'connected');
