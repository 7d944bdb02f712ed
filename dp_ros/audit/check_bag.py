"""`dp_ros check-bag`: recordings audited before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dp_ros.audit.audit import audit_bags
from dp_ros.audit.checks import findings
from dp_ros.audit.dataset import audit_dataset
from dp_ros.audit.plots import plot_audit
from dp_ros.audit.report import as_data, report
from dp_ros.bounded_files import write_json
from dp_ros.options import REQUIRED, option
from dp_ros.recordings.datasets.tables import in_columns
from dp_ros.recordings.episodes.readers import check_whole_episodes, kind_of
from dp_ros.recordings.episodes.segmentation import BY_FILE, CutSettings
from dp_ros.task.spec import TaskSpec

FINE, ERRORS, WARNINGS = 0, 1, 3
"""Exit codes. 2 is the command line parser's own."""


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """Name what to audit, and where the outcome goes; without a task, what the topics suggest is audited."""

    path: Path = option(REQUIRED, 'a recording, a folder of them, a LeRobot dataset or HDF5')
    task: TaskSpec | None = None
    cut: CutSettings = BY_FILE
    columns: Mapping[str, str] | None = None
    out: Path | None = option(None, 'folder for the report and the plots')
    json: Path | None = option(None, 'write the outcome here')
    strict: bool = option(False, 'warnings fail too')


def check_bags(settings: CheckSettings, say: Callable[[str], None]) -> int:
    """Audit recordings; return 0 if they are fine, 1 with errors, 3 with warnings if these count."""
    path, task, cut = settings.path, settings.task, settings.cut
    if kind_of(path) in ('lerobot', 'hdf5'):
        check_whole_episodes(path, cut)
        task = task and in_columns(task, settings.columns or {})
        audit = audit_dataset(path, task, cut.idle_speed)
    else:
        audit = audit_bags(path, task, cut)
    found = findings(audit)
    text = report(audit, found)
    say(text)
    if settings.out:
        settings.out.mkdir(parents=True, exist_ok=True)
        (settings.out / 'report.txt').write_text(text + '\n', encoding='utf-8')
        for path in plot_audit(audit, settings.out):
            say(f'{path}')
    write_json(settings.json, as_data(audit, found), indent=2)
    levels = {f.level for f in found}
    if 'error' in levels:
        return ERRORS
    return WARNINGS if settings.strict and 'warning' in levels else FINE
