"""What a GitHub runner does with a composite action and a workflow, as far as ours need it: shell steps, inputs, outputs."""

import os
import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def run_action(action_path, given, *, cwd, path, env=None, timeout_s=300):
    """Runs the steps of the composite action that lies at `action_path`; returns (exit code, outputs, what it said).

    given: inputs by name; the others have their defaults.  path: folders in front of PATH.
    """
    action = yaml.safe_load((action_path / "action.yml").read_text())
    values = {f"inputs.{name}": str(spec.get("default", "")) for name, spec in action["inputs"].items()}
    values |= {f"inputs.{name}": str(value) for name, value in given.items()}
    assert set(given) <= set(action["inputs"]), "an input that the action has not"
    values["github.action_path"] = str(action_path)
    output, said, code = cwd / "github-output", "", 0
    output.write_text("")
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"], "inputs must reach the script through the environment only"
        theirs = {name: filled(value, values) for name, value in step["env"].items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=cwd,
            env={**os.environ, **(env or {}), **theirs, "PATH": f"{path}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(output)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        code, said = done.returncode, said + done.stdout + done.stderr
        if code:
            break
    return code, outputs(output.read_text()), said


def filled(text, values):
    """`text` with every expression that is a plain name replaced."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: values[match[1]], text)


def outputs(text):
    """Name -> value of a GITHUB_OUTPUT file."""
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        if "<<" in line:
            name, mark = line.split("<<")
            found[name] = "\n".join(iter(lambda mark=mark: next(lines), mark))
        else:
            name, _, found[name] = line.partition("=")
    return found
