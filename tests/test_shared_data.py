"""Tests that need the shared data are skipped without them, unless they must run."""

import pytest
from conftest import find_shared


def test_shared_data_may_be_absent_but_not_where_they_are_required(tmp_path, monkeypatch):
    monkeypatch.setenv("WAVCUBE_SHARED", str(tmp_path))
    assert find_shared() == tmp_path
    monkeypatch.setenv("WAVCUBE_SHARED", str(tmp_path / "gone"))
    monkeypatch.delenv("WAVCUBE_REQUIRE_SHARED", raising=False)
    with pytest.raises(pytest.skip.Exception, match="gone"):
        find_shared()
    monkeypatch.setenv("WAVCUBE_REQUIRE_SHARED", "1")
    with pytest.raises(pytest.fail.Exception, match="gone"):
        find_shared()


def test_ci_requires_them_where_they_are(repository):
    lines = (repository / ".ci" / "run").read_text().splitlines()
    required = next(i for i, line in enumerate(lines) if "export WAVCUBE_REQUIRE_SHARED=1" in line)
    assert "[ -d ../shared ]" in lines[required]
    assert required < lines.index('eval "$test"')
