/**
 * The journal's schema as numbered migrations. Append only: a migration that was released never
 * changes. `user_version` of a database is the number of migrations that it has seen.
 */

/** "Hold" in ASCII: the `application_id` of every journal. */
export const APPLICATION_ID = 0x486f6c64;

export const MIGRATIONS: readonly string[] = [
  // 1. Calls, sessions, facts, and the head that tells how far the journal has come.
  `
  -- What many calls have in common; rows that grow with every call cost time at every call.
  create table origin (
    number integer primary key,
    session_id text not null,
    upstream text not null,
    credentials text not null,
    method text not null,
    tool text,
    safety text not null,
    schema text
  ) strict;

  create table call (
    seq integer primary key,
    id text not null unique,
    origin integer not null,
    fingerprint text,
    accepted_at real not null,
    redrive_of text,
    deadline_at real not null,
    acknowledged_at real,
    state text not null,
    reason text,
    executed text not null,
    attempt integer not null,
    is_doubted integer not null,
    upstream_id text,
    sent_at real,
    settled_at real,
    delivered_at real,
    cause text,
    note text,
    request_codec integer not null default 0,
    request_sum integer not null,
    reply_codec integer not null default 0,
    reply_sum integer not null default 0,
    sum integer not null,
    request text not null,
    reply text
  ) strict;
  -- What a start has to look at: everything that is live, and results that nobody took.
  create index call_open on call (seq) where delivered_at is null;

  create table session (
    id text primary key,
    seen_at real not null,
    body text not null,
    sum integer not null
  ) strict;

  create table fact (key text primary key, value text not null) strict, without rowid;

  create table quarantine (
    seq integer primary key,
    id text not null,
    why text not null
  ) strict;

  create table head (
    one integer primary key check (one = 1),
    db_id text not null,
    seq integer not null,
    commits integer not null
  ) strict;
  insert into head values (1, lower(hex(randomblob(16))), 0, 0);
  `,
  `
  -- Outcomes that a repetition is warned of after a start, also where its caller was told of them.
  create index call_unknown on call (settled_at) where executed = 'unknown';
  `,
  `
  -- The open calls of one session, when its client returns: told by the index alone, without the rows.
  drop index call_open;
  create index call_open on call (seq, origin) where delivered_at is null;
  create index origin_session on origin (session_id);
  `,
  `
  -- Null for what was kept before there were checksums.
  alter table fact add column sum integer;
  `,
];
