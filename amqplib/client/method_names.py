"""What methods are called in errors: by the names under which programs know them."""

from __future__ import annotations

from typing import Dict

from ..wire.spec import AMQP_0_8, AMQP_0_9_1, Sig

__all__ = ["METHOD_NAME_MAP", "api_name", "method_name"]


def api_name(name: str) -> str:
    """connection.start -> Connection.start, basic.publish -> Channel.basic_publish."""
    class_name, _, method = name.partition(".")
    if class_name in ("connection", "channel"):
        return "%s.%s" % (class_name.capitalize(), method)
    return "Channel.%s_%s" % (class_name, method)


#: (class id, method id) -> the name under which programs know the method. Always the 0-8 ids.
METHOD_NAME_MAP: Dict[Sig, str] = {
    method.sig: api_name(method.name) for dialect in (AMQP_0_9_1, AMQP_0_8) for method in dialect.by_name.values()
}
# 0-8 itself calls it recover; RabbitMQ gave that name to a later method that is answered
METHOD_NAME_MAP[AMQP_0_8["basic.recover_async"].sig] = "Channel.basic_recover"


def method_name(sig: Sig) -> str:
    """The name of a method, '' when there is none."""
    return METHOD_NAME_MAP.get(sig, "")
