"""Limits of waiting that a busy machine does not reach."""

LIMIT_SECONDS = 1200.0
"""Seconds that a test waits for a condition before it fails."""

TEST_SECONDS = 3600
"""Seconds of a whole test with such waits, for `pytest.mark.timeout`."""

PATIENT_RAY = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_health_check_failure_threshold": "40",
    "RAY_JOB_START_TIMEOUT_SECONDS": "1200",
}
"""Environment of a Ray head whose own limits (30 and 60 seconds) a busy machine would reach."""
