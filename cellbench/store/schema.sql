-- The results of one experiment, results/<name>/runs.sqlite: everything that is published is computed from this file.
-- PRAGMA user_version is the number of the last version below; application_id is 0x63656c62 ("celb").
-- STRICT: sqlite enforces the types (3.37 or newer).
-- A new store runs this whole text; a store of an older version runs the versions after its own. So the statements of a
-- version never change, and a new version only adds tables, and columns that may be NULL.

-- version 2: the oldest that is read.

-- Every experiment that was run in this folder, as resolved; the last one is what reports show.
CREATE TABLE experiment (
    id          INTEGER PRIMARY KEY,
    resolved    TEXT NOT NULL,  -- JSON: the experiment file, defaults filled in
    facts       TEXT NOT NULL,  -- JSON: axes, evaluation steps, reference accuracies, cells: what reports need besides
    environment TEXT NOT NULL,  -- JSON: versions, hardware, commit, plugins
    command     TEXT NOT NULL,  -- the command line as typed
    started     TEXT NOT NULL   -- UTC, ISO 8601
) STRICT;

-- The replicas that the last experiment plans, in order.
CREATE TABLE plan (
    position      INTEGER PRIMARY KEY,
    label         TEXT NOT NULL,
    cell          TEXT NOT NULL,
    parameters    TEXT NOT NULL,     -- JSON: the task's parameters, for example {"bits": 8}
    batch_size    INTEGER NOT NULL,
    size          TEXT NOT NULL,     -- "hidden 20" or "budget 2000"
    hidden_size   INTEGER NOT NULL,
    parameters_n  INTEGER,           -- numbers that are trained, readout included; NULL: the cell cannot be made
    state         INTEGER,           -- numbers of state per example
    multiply_adds INTEGER,           -- per step and example
    learning_rate REAL NOT NULL,
    seed          INTEGER NOT NULL,
    key           TEXT NOT NULL      -- of the replica
) STRICT;

-- The engine of each cell, chosen once.
CREATE TABLE engine (
    cell   TEXT PRIMARY KEY,  -- digest of what defines the cell: name, factory, options, sources, initial state, readout
    engine TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- The text of the modules that results depend on, so that a reviewer can read what was run.
CREATE TABLE source (
    sha256 TEXT PRIMARY KEY,
    module TEXT NOT NULL,
    text   TEXT NOT NULL
) STRICT;

-- The common part of the keys of a cell's replicas at a point.
CREATE TABLE family (
    family   TEXT PRIMARY KEY,  -- 16 hexadecimal digits of the SHA-256 of key_text
    key_text TEXT NOT NULL      -- JSON: the key, for people; seed and learning rate are null here, see replica
) STRICT;

-- The outcome of each replica. It is kept when the experiment no longer plans the replica.
CREATE TABLE replica (
    id                      INTEGER PRIMARY KEY,
    family                  TEXT NOT NULL REFERENCES family (family),
    key                     TEXT NOT NULL,  -- unique by itself; indexed after family: a chunk's keys are side by side
    seed                    INTEGER NOT NULL,
    learning_rate           REAL NOT NULL,
    status                  TEXT NOT NULL,
    cause                   TEXT NOT NULL,
    steps_to_solved         INTEGER,        -- NULL: not solved
    examples_to_solved      INTEGER,
    target_bits_to_solved   INTEGER,
    final_step              INTEGER NOT NULL,
    final_loss              REAL,
    final_bit_accuracy      REAL,
    final_sequence_accuracy REAL,
    diverged_at             INTEGER,
    engine                  TEXT NOT NULL,
    isa                     TEXT NOT NULL,
    compiler                TEXT NOT NULL,
    seconds                 REAL NOT NULL,  -- this and the next five, to attempt, differ between runs
    started                 TEXT NOT NULL,
    finished                TEXT NOT NULL,
    host                    TEXT NOT NULL,
    worker                  TEXT NOT NULL,
    attempt                 INTEGER NOT NULL,
    traceback               TEXT NOT NULL,
    checksum                TEXT NOT NULL,  -- of its key, numbers, curve and evaluations; not of what differs between runs
    UNIQUE (family, key),
    -- `OR`, because `IN` costs sqlite three microseconds more per row
    CHECK (status = 'solved' OR status = 'censored' OR status = 'diverged' OR status = 'failed'),
    CHECK (cause = '' OR cause = 'cell' OR cause = 'machine')
) STRICT;

-- The learning curve of a replica.
CREATE TABLE curve (
    replica           INTEGER NOT NULL REFERENCES replica (id) ON DELETE CASCADE,
    step              INTEGER NOT NULL,
    loss              REAL,             -- nats per bit; NULL: not a number
    bit_accuracy      REAL NOT NULL,
    sequence_accuracy REAL NOT NULL,
    PRIMARY KEY (replica, step)
) WITHOUT ROWID, STRICT;

-- The final evaluations of a replica.
CREATE TABLE evaluation (
    replica           INTEGER NOT NULL REFERENCES replica (id) ON DELETE CASCADE,
    position          INTEGER NOT NULL,
    by                TEXT NOT NULL,    -- '': at the trained parameters; else a task parameter or the task's difficulty
    value             ANY,              -- of that parameter or difficulty; NULL where by is ''
    bit_accuracy      REAL NOT NULL,
    sequence_accuracy REAL NOT NULL,
    PRIMARY KEY (replica, position)
) WITHOUT ROWID, STRICT;

-- version 3: which version of an engine trained a replica.
ALTER TABLE replica ADD COLUMN engine_version INTEGER;  -- raised when an engine's numbers change; NULL: 1

-- version 4: what cells answered before they were trained.

-- The answers of cells to laws, each asked once per text of the cell and of the law, torch and cellbench.
CREATE TABLE answer (
    cell        TEXT NOT NULL,     -- digest of what defines the cell, as in engine
    law         TEXT NOT NULL,     -- its name
    text        TEXT NOT NULL REFERENCES source (sha256),  -- the law's own text
    hidden_size INTEGER NOT NULL,  -- of the cell that was asked
    torch       TEXT NOT NULL,     -- version
    cellbench   TEXT NOT NULL,     -- version
    shows       TEXT NOT NULL,     -- the law in words
    status      TEXT NOT NULL,     -- pass; fail: broken; skip: cannot be asked; raised: the cell's own code raised
    message     TEXT NOT NULL,     -- how the law is broken, or what was raised
    place       TEXT NOT NULL,     -- of what raised: file and line, code, the shapes that came in
    PRIMARY KEY (cell, law, text, hidden_size, torch, cellbench),
    CHECK (status IN ('pass', 'fail', 'skip', 'raised'))
) WITHOUT ROWID, STRICT;

-- version 5: what is known today of replicas that earlier versions of the engines trained.
ALTER TABLE replica ADD COLUMN right_as INTEGER;  -- the version of its engine that would give the same numbers; NULL: its own
ALTER TABLE replica ADD COLUMN wrong TEXT;  -- why it counts as not done, though it is stored; NULL: it does not

-- version 6: which device computed.
ALTER TABLE replica ADD COLUMN device TEXT;  -- the name of the card; NULL: the CPU
