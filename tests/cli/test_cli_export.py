"""``greenai export``."""

import json

import pytest

from greenai_core.cli import exit_codes

MEASURED = []
"""The text of one report, measured when it is first needed."""


@pytest.fixture
def report(greenai, tiny, quick, simulated):
    path = simulated / "greenai-report" / "report.json"
    if not MEASURED:
        assert greenai("bench", tiny(), *quick).code == 0
        MEASURED.append(path.read_text())
    path.parent.mkdir(exist_ok=True)
    path.write_text(MEASURED[0])
    return "greenai-report"


@pytest.mark.parametrize("path", ["greenai-report", "greenai-report/report.json"])
@pytest.mark.usefixtures("report")
def test_a_report_or_its_folder_goes_through_an_exporter(greenai, path):
    done = greenai("export", path, "--to", "sim")
    assert done.code == 0
    assert done.out == "bench: 1\n"


@pytest.mark.parametrize("name", ["json", "csv", "markdown"])
def test_the_built_in_exporters_name_the_model(greenai, report, name):
    done = greenai("export", report, "--to", name)
    assert done.code == 0, done.err
    assert "a.tiny" in done.out


def test_json_gives_the_report_back(greenai, report, simulated):
    greenai("export", report, "--to", "json", "-o", "deep/copy.json")
    assert json.loads((simulated / "deep" / "copy.json").read_text()) == json.loads(
        (simulated / report / "report.json").read_text()
    )


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("nothing.json", "--to", "sim"), exit_codes.REPORT, "nothing.json"),
        (("text.json", "--to", "sim"), exit_codes.REPORT, "not JSON"),
        (("future.json", "--to", "sim"), exit_codes.REPORT, "schema_version"),
        (("greenai-report", "--to", "nosuch"), exit_codes.PLUGIN, "nosuch"),
        (("greenai-report", "--to", "sim", "-o", "text.json/x"), exit_codes.USAGE, "text.json/x"),
        (("greenai-report", "--to", "sim", "-o", "/dev/full"), exit_codes.OUTPUT, "No space left"),
    ],
)
@pytest.mark.usefixtures("report")
def test_what_cannot_be_exported_is_one_line(greenai, simulated, args, code, said):
    (simulated / "text.json").write_text("a text")
    (simulated / "future.json").write_text('{"schema_version": 99, "kind": "bench"}')
    done = greenai("export", *args)
    assert done.code == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]


@pytest.mark.usefixtures("report")
def test_a_file_that_is_a_link_stays_one(greenai, simulated):
    (simulated / "real.txt").write_text("")
    (simulated / "link.txt").symlink_to("real.txt")
    assert greenai("export", "greenai-report", "--to", "sim", "-o", "link.txt").code == 0
    assert (simulated / "link.txt").is_symlink()
    assert (simulated / "real.txt").read_text() == "bench: 1\n"
