"""Makes the threads of every Python that finds this on its path take turns every AMQPLIB_TEST_SWITCH seconds.

Python imports a module of this name as it starts. tests/conftest.py puts this directory on PYTHONPATH, for the programs
that tests start.
"""

import os
import sys

if os.environ.get("AMQPLIB_TEST_SWITCH"):
    sys.setswitchinterval(float(os.environ["AMQPLIB_TEST_SWITCH"]))
