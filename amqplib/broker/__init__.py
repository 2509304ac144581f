"""An AMQP broker in memory, for demos and tests: `python -m amqplib.broker`, or Broker(). See docs/broker.txt."""

from .broker import Broker

__all__ = ["Broker"]
