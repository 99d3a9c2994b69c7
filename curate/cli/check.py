"""`curate check`: quality gates on stored results, for CI."""

from __future__ import annotations

import os
from pathlib import Path

import click

from curate.cli._session import Session, verb

FAILED = 1


@click.command()
@verb("dataset", "model", "seed")
@click.option("--junit", default="", metavar="FILE.xml", help="Also write the gates as JUnit XML.")
def command(session: Session, junit: str) -> int:
    """Hold the stored results against the limits of [check] in curate.toml; exit 1 when one fails.

    Reaches no platform.  Writes a markdown summary when GITHUB_STEP_SUMMARY is set.
    """
    from curate.cli._gates import stored_of
    from curate.gates import run_gates

    with session.open_store() as store:
        target = session.stored_target(store)
        gates = run_gates(session.config.check, stored_of(session, store, target))
    failed = [gate for gate in gates if not gate.passed]
    if junit:
        from curate.report.junit import write_junit

        write_junit(gates, Path(junit), name=target.address)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        from curate.report.summary import append_summary

        try:
            append_summary(gates, Path(summary), name=target.address)
        except OSError as err:
            session.warn(f"the step summary {summary} cannot be written: {err.strerror}; the gates hold all the same")
    session.emit(
        {
            "dataset": target.address,
            "passed": not failed,
            "gates": [
                {"name": g.name, "value": g.value, "limit": g.limit, "unit": g.unit, "passed": g.passed, "detail": g.detail}
                for g in gates
            ],
        },
        *(gate.line() for gate in gates),
    )
    if session.flags["quiet"] and not session.as_json:
        for gate in failed:  # as a cron job runs it: silent while the gates hold
            session.warn(gate.line())
    return FAILED if failed else 0
