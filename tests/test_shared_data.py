"""Tests that need the shared data are skipped without them, unless they must run."""

import pytest
from conftest import find_shared


@pytest.mark.parametrize(
    ("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_absent_data_skip_a_test_or_fail_it(tmp_path, monkeypatch, required, outcome):
    monkeypatch.setenv("WAVCUBE_REQUIRE_SHARED", required)
    monkeypatch.setenv("WAVCUBE_SHARED", str(tmp_path))
    assert find_shared() == tmp_path
    monkeypatch.setenv("WAVCUBE_SHARED", str(tmp_path / "gone"))
    # both are caught, so that a wrong skip is not a skip of this test
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match="gone") as error:
        find_shared()
    assert error.type is outcome


def test_ci_requires_them_where_they_are(repository):
    lines = (repository / ".ci" / "run").read_text().splitlines()
    required = next(i for i, line in enumerate(lines) if "export WAVCUBE_REQUIRE_SHARED=1" in line)
    assert "[ -d ../shared ]" in lines[required]
    assert required < lines.index('eval "$test"')
