"""A job of TimescaleDB that does not run as the models declare is reported."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from operations.maintenance.run import maintain
from tests.support.time_series import (
    RAW,
    alone,
    scalar,
    stop_jobs,
)


@pytest.mark.timescaledb
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (f"SELECT remove_retention_policy('{RAW}')", "expected a job, found none"),
        (
            f"""SELECT remove_retention_policy('{RAW}');
                SELECT add_retention_policy('{RAW}', drop_after => interval '30 days')""",
            "drop_after expected 400 days, found 30 days",
        ),
        (
            """SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs
                WHERE hypertable_name = 'telemetry' AND proc_name = 'policy_retention'""",
            "is paused",
        ),
    ],
)
def test_a_job_that_is_not_as_declared_is_reported_with_the_fix(
    fleet: Engine, harm: str, message: str
) -> None:
    assert maintain(fleet).problems == []
    alone(fleet, harm)
    [problem] = maintain(fleet).problems
    assert problem.startswith("retention policy of timeseries.telemetry: ")
    assert message in problem
    fix = problem.partition("as the owner: ")[2]
    alone(fleet, *fix.split("; "))
    stop_jobs(fleet)
    assert maintain(fleet).problems == []


@pytest.mark.timescaledb
def test_a_failed_job_is_reported_with_the_reason(fleet: Engine) -> None:
    job = scalar(
        fleet,
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE hypertable_name = 'telemetry' AND proc_name = 'policy_retention'",
    )
    # As the scheduler would write it, which has no worker for every database of a busy server.
    alone(
        fleet,
        "UPDATE _timescaledb_internal.bgw_job_stat SET last_run_success = false,"
        f" last_start = now(), last_finish = now() WHERE job_id = {job}",
        "INSERT INTO _timescaledb_internal.bgw_job_stat_history"
        " (job_id, execution_start, execution_finish, succeeded, data) VALUES"
        f" ({job}, now(), now(), false, "
        """ '{"error_data": {"message": "not\\ntoday", "sqlerrcode": "P0001"}}')""",
    )
    [problem] = maintain(fleet).problems
    assert f"job {job} failed at" in problem
    assert "not today;" in problem
    assert f"CALL run_job({job})" in problem
