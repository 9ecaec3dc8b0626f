"""The audit says how much it audited; only a known vulnerability is a failure."""

from scripts.audit_lock import Package, Report, Vulnerability, verdict


def test_audit_with_a_known_vulnerability_fails_and_names_it() -> None:
    entry = Vulnerability("PYSEC-1", ["2.1"])
    code, lines = verdict(Report([Package("orjson", "2.0", vulns=[entry]), Package("rich", "15.0")]))
    assert (code, lines) == (1, ["orjson 2.0: PYSEC-1, fixed in ['2.1']"])


def test_audit_without_any_answer_says_not_audited() -> None:
    code, lines = verdict(Report([Package("orjson", skip_reason="unknown to the service")]))
    assert (code, lines) == (0, ["NOT audited: the vulnerability service answered for none of 1 packages."])


def test_audit_with_some_answers_counts_them() -> None:
    code, lines = verdict(Report([Package("orjson", skip_reason="unknown"), Package("rich", "15.0")]))
    assert (code, lines) == (0, ["No known vulnerability; the service answered for 1 of 2 packages."])
