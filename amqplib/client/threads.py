"""The `threading` that there was when the client was imported.

eventlet.import_patched() gives what it imports another one, whose threads are green. What the client imports later,
when it is needed, would see Python's own again, and have real threads wait for green ones.
"""

import threading

__all__ = ["threading"]
