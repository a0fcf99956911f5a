"""Results of benchmarks as JSON and Markdown, with what they were measured on."""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import sklearn
import skorch
import torch

import skvae


def environment():
    """What a result depends on beside the code: versions, device, threads, date, command line."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": _command(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "skorch": skorch.__version__,
            "skvae": skvae.__version__,
        },
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
    }


def _command():
    """The command line, without where the results went."""
    words = list(sys.argv)
    if "--out" in words:
        place = words.index("--out")
        del words[place : place + 2]
    return " ".join(["python", f"benchmarks/{Path(words[0]).name}", *words[1:]])


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe(environment):
    """An `environment()` as one Markdown list item."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"- {environment['date']}: `{environment['command']}`; {versions}; "
        f"device {environment['device']}, {environment['threads']} thread(s), "
        f"OMP_WAIT_POLICY {environment['OMP_WAIT_POLICY']}; "
        f"{environment['processor']}"
    )


def table(header, rows):
    """A Markdown table: the first column left-aligned, the others right-aligned."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def read_json(path):
    """The content of a JSON file, or None where there is no such file."""
    return json.loads(path.read_text()) if path.exists() else None


def write_json(path, content):
    """Write a JSON file."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path, text):
    """Replace a file in one step, so that an interrupted run leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text)
    unfinished.replace(path)
