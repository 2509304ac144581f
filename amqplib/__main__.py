"""`python -m amqplib`: see amqplib.tool."""

import sys

from .tool.program import main

sys.exit(main())
