"""amqplib: a simple, blocking AMQP client.

    import amqplib.client_0_8 as amqp

docs/overview.txt shows how it is used, docs/design.txt how it is made.
"""

__version__ = "2.0.0"
