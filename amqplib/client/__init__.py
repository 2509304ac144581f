"""The blocking client, on top of amqplib.wire. docs/design.txt tells what each module is for.

Programs import amqplib.client_0_8 or amqplib.client_0_9_1, which have these classes with their own defaults.
"""
