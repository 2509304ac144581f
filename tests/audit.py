"""Are any of the packages that the tests install known to be vulnerable? amqplib itself has none.

    python tests/audit.py

asks pip-audit about the packages of the Python that runs it. It fails when one is known to be vulnerable, or when there
is no pip-audit. Where the package registry says nothing of vulnerabilities, or does not answer, nothing is known: that
is said, and fails nothing.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any, Dict, List, Optional

#: Seconds for all packages together.
PATIENCE = 300

COMMAND = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--timeout=10"]


def ask() -> Optional[List[Dict[str, Any]]]:
    """pip-audit's report, by package; None where there is none."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=PATIENCE)
        packages: List[Dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print("pip-audit: no answer within %d s" % PATIENCE)
        return None
    except ValueError:
        print("pip-audit: %s" % (done.stderr.strip().splitlines() or ["no report"])[-1])
        return None
    return packages


def main() -> int:
    if importlib.util.find_spec("pip_audit") is None:
        print("pip-audit: it is not installed for %s" % sys.executable)
        return 1
    packages = ask() or []
    known = [package for package in packages if "skip_reason" not in package]
    bad = [package for package in known if package["vulns"]]
    for package in bad:
        ids = ", ".join(vulnerability["id"] for vulnerability in package["vulns"])
        print("pip-audit: %s %s: %s" % (package["name"], package["version"], ids))
    if bad:
        return 1
    if not known:
        print("pip-audit: NOTHING WAS AUDITED: the registry does not tell of vulnerabilities here")
    else:
        left = len(packages) - len(known)
        print("pip-audit: none of %d packages is known to be vulnerable; of %d nothing is known" % (len(known), left))
    return 0


if __name__ == "__main__":
    sys.exit(main())
