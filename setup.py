"""For tools that still look for setup.py; everything is said in pyproject.toml."""

import setuptools

# One before 61 does not read pyproject.toml, and would install a package UNKNOWN-0.0.0 with nothing in it; one before
# 77 does not know how a licence is named there.
if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(
        "amqplib: setuptools %s is too old to install this, it takes 77 or later. "
        "`python3 -m pip install .` fetches one; or put the folder amqplib/ beside your program: it needs nothing else."
        % setuptools.__version__
    )
setuptools.setup()
