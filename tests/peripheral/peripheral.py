"""A peripheral device on a line, played by libosdp.

Arguments: the line's file descriptor, the device's address, its key in hex or "-" for none.
Standard input: one JSON object a line, {"card": HEX, "bits": N} or {"inputs": [0, 1]}.
Standard output: one JSON object a line: {"secure": true}, and each command that the device was given.
"""

import json
import os
import select
import sys
import time

from osdp import (
    Capability, CardFormat, Channel, Command, Event, LogLevel, PDCapabilities, PDInfo, PeripheralDevice,
    StatusReportType,
)

DESCRIPTOR, ADDRESS, KEY = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
NAMES = {
    Command.Output: "output", Command.Buzzer: "buzzer", Command.LED: "led", Command.Text: "text",
    Command.Keyset: "keyset", Command.Status: "status",
}


class Line(Channel):
    def read(self, max_bytes):
        ready, _, _ = select.select([DESCRIPTOR], [], [], 0)
        try:
            return os.read(DESCRIPTOR, max_bytes) if ready else b""
        except OSError:
            # Nobody has the other end open.
            return b""

    def write(self, buf):
        try:
            return os.write(DESCRIPTOR, buf)
        except OSError:
            return len(buf)

    def flush(self):
        pass


# The binding gives back a None with each command, which it has never taken.
LENT = [None] * 1_000_000


def say(what):
    print(json.dumps(what), flush=True)


inputs = [0, 0, 0, 0]


def obey(command):
    name = NAMES.get(command["command"], "other")
    if name == "status":
        if command["type"] == StatusReportType.Input:
            return 0, dict(command, report=bytes(inputs))
        if command["type"] == StatusReportType.Output:
            return 0, dict(command, report=bytes(1))
        if command["type"] == StatusReportType.Local:
            return 0, dict(command, report=bytes(2))
        return 0, None
    told = {key: value.hex() if isinstance(value, bytes) else value for key, value in command.items()}
    say(dict(told, command=name))
    return 0, None


capabilities = PDCapabilities([
    (Capability.ContactStatusMonitoring, 1, len(inputs)),
    (Capability.OutputControl, 1, 1),
    (Capability.CardDataFormat, 1, 1),
    (Capability.LEDControl, 1, 1),
    (Capability.AudibleControl, 1, 1),
    (Capability.TextOutput, 1, 1),
])
key = None if KEY == "-" else bytes.fromhex(KEY)
device = PeripheralDevice(
    PDInfo(ADDRESS, Line(), scbk=key), capabilities, log_level=LogLevel.Error, command_handler=obey
)


def act(line):
    what = json.loads(line)
    if "card" in what:
        device.ctx.submit_event({
            "event": Event.CardRead, "reader_no": 0, "direction": 0, "format": CardFormat.Unspecified,
            "length": what["bits"], "data": bytes.fromhex(what["card"]),
        })
    else:
        inputs[:] = what["inputs"]
        device.ctx.submit_event({
            "event": Event.Status, "type": StatusReportType.Input, "report": bytes(inputs),
        })


was_secure, rest = False, b""
os.set_blocking(0, False)
while True:
    device.ctx.refresh()
    if device.is_sc_active() != was_secure:
        was_secure = not was_secure
        say({"secure": was_secure})
    ready, _, _ = select.select([0, DESCRIPTOR], [], [], 0.005)
    if 0 in ready:
        more = os.read(0, 65536)
        if not more:
            break
        *lines, rest = (rest + more).split(b"\n")
        for line in lines:
            act(line)
    else:
        # A line that nobody has open is always ready.
        time.sleep(0.001)
