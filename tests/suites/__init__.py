"""The tests that other AMQP clients bring along, run against the broker in the box: see run.py."""
