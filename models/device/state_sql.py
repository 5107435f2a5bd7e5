"""What the functions share that take in what a batch says of devices."""

from __future__ import annotations

# Of most metrics the time is known already, and a number made of a moment for each of thousands
# took longer than all the rest (measured).
_TIMES = """coalesce((select jsonb_object_agg(k, extract(epoch from {at}))
                       from (select jsonb_object_keys({of}.state)
                             except select jsonb_object_keys({times})) as _ (k)), '{{}}')
                     || coalesce({times}, '{{}}')"""
KNOWN_TIMES = _TIMES.format(of="s", at="s.last_telemetry_at", times="s.state_times")
"""The time of each metric in the row ``s`` of ``device_state``."""
NEW_TIMES = _TIMES.format(of="n", at="n.newest", times="n.times")
"""The time of each metric in what a batch says, ``n``."""
MOST_BYTES = 65536
"""Of the names and times of a device's metrics, after which there are no new ones."""

SEEN = "coalesce(n.seen, n.newest)"


def later(seen: str, sent: str, known: str) -> str:
    """Whether a moment is after the one that is known.

    Two that were both ahead of the clock when they came are compared as they were sent.
    """
    return (
        f"coalesce({sent}, {seen}) > coalesce(case when {sent} is not null\n"
        f"{'':20}then {known}.last_seen_as_sent end, {known}.last_seen_at, '-infinity')"
    )


def seen_of(known: str) -> str:
    """What to set in the row ``known`` when a device was seen, as ``n`` says."""
    is_later = later(SEEN, "n.sent", known)
    return f"""status = case when n.status <> 'stale' and {is_later} then n.status
                             else {known}.status end,
                   last_seen_at = greatest({known}.last_seen_at, {SEEN}),
                   last_seen_as_sent = case when {is_later} then n.sent
                                       else {known}.last_seen_as_sent end"""


ARGUMENTS = (
    "tenants uuid[], devices text[], statuses text[], seen timestamptz[], sent timestamptz[],"
    " newest timestamptz[], oldest timestamptz[], states jsonb[], times jsonb[]"
)
ARRAYS = "tenants, devices, statuses, seen, sent, newest, oldest, states, times"
_COLUMNS = "tenant_id, device_id, status, seen, sent, newest, oldest, state, times, number"
GIVEN = f"""unnest({ARRAYS})
                     with ordinality as n ({_COLUMNS})"""
SAID = (
    "an element of each array per device: status (stale: nothing is said of it), when it was seen "
    "(NULL: newest), the same as sent, if that was ahead of the clock, time of its newest "
    "telemetry and of the oldest value in states (NULL: newest; -infinity: not known), newest "
    "value of each metric and its time in seconds since 1970 (what is not there: newest)"
)

# Of n: tenant_id, device_id, status, seen, sent, newest, state, times; known, known_times, and id
# of the row in which they are. Not as they are stored, but with || '{}': a large one would be read
# from TOAST for each of its metrics, which took a third of a second for 1,900 of them (measured).
TOLD = f"""told as materialized (
            select n.id, n.tenant_id, n.device_id, n.status, n.seen, n.sent, n.newest, n.known,
                   n.known_times, n.state - ignored.metrics as state,
                   n.times - ignored.metrics as times, asked.times as asked
              from n,
                   lateral (select coalesce(array_agg(t.metric), '{{}}') as metrics
                              from jsonb_each(n.times) as t (metric, at)
                             where case when n.known_times ? t.metric
                                        then n.known_times -> t.metric > t.at
                                             or n.known_times -> t.metric = t.at
                                                and n.known -> t.metric = n.state -> t.metric
                                        else pg_column_size(n.known_times) > {MOST_BYTES}
                                        end) as ignored,
                   lateral (select jsonb_object_agg(t.metric, t.at) as times
                              from jsonb_each(n.times) as t (metric, at)
                             where n.known_times -> t.metric = t.at
                               and n.known -> t.metric <> n.state -> t.metric) as asked
          )"""
"""The parts of a statement up to ``told``: what ``n`` says that is not older than what is known;
``asked`` are the times of those values that differ from a known one of the same moment."""

# Of several values of one moment the messages know which counts.
FRESH = f"""{TOLD}, otherwise as (
            select o.tenant_id, o.device_id, o.metrics
              from (select array_agg(t.tenant_id) as tenants, array_agg(t.device_id) as devices,
                           array_agg(t.state) as states, array_agg(t.asked) as times
                      from told t where t.asked <> '{{}}' having count(*) > 0) as a,
                   lateral public.metrics_stored_otherwise(
                             a.tenants, a.devices, a.states, a.times) as o
          ), fresh as materialized (
            select t.id, t.tenant_id, t.device_id, t.status, t.seen, t.sent, t.newest, t.known,
                   t.known_times, t.state - coalesce(o.metrics, '{{}}') as state,
                   t.times - coalesce(o.metrics, '{{}}') as times
              from told t left join otherwise o using (tenant_id, device_id)
          )"""
"""The parts of a statement up to ``fresh``: what ``n`` says that is newer than what is known."""
