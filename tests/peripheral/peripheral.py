"""A peripheral device on a line, played by libosdp.

Arguments: the line's file descriptor, the device's address, its key in hex or "-" for none.
Standard input: one JSON object a line, {"card": HEX, "bits": N}, {"inputs": [0, 1]} or {"local": [TAMPER, POWER]}.
Standard output: one JSON object a line: {"secure": true}, each command that the device was given, each status that it was asked
for, and {"lost": EVENT} when libosdp takes an event no more.
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


inputs, local = [0, 0, 0, 0], [0, 0]
REPORTS = {
    StatusReportType.Input: ("inputs", lambda: bytes(inputs)),
    StatusReportType.Output: ("outputs", lambda: bytes(1)),
    StatusReportType.Local: ("local", lambda: bytes(local)),
}
# The binding gives back an answer once more than it has taken it.
ANSWERS = []


def answer(report):
    """The binding takes over the type of a status report that a handler gives, and neither its length nor its states, so that
    libosdp refuses the command. It does take over the bytes of a key, and libosdp reads what it has taken over as a report all
    the same: one byte for the type of a key, one for its length, then the key; four for the type of a report, four for the number
    of its states, then those."""
    key = bytes(2) + len(report).to_bytes(4, sys.byteorder) + report
    answered = {"command": Command.Keyset, "type": 1, "data": key}
    ANSWERS.extend([answered, answered])
    return 0, answered


def obey(command):
    name = NAMES.get(command["command"], "other")
    if name == "status":
        if command["type"] not in REPORTS:
            return -1, None
        of, report = REPORTS[command["type"]]
        say({"status": of})
        return answer(report())
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
        event = {
            "event": Event.CardRead, "reader_no": 0, "direction": 0, "format": CardFormat.Unspecified,
            "length": what["bits"], "data": bytes.fromhex(what["card"]),
        }
    elif "inputs" in what:
        inputs[:] = what["inputs"]
        event = {"event": Event.Status, "type": StatusReportType.Input, "report": bytes(inputs)}
    else:
        local[:] = what["local"]
        event = {"event": Event.Status, "type": StatusReportType.Local, "report": bytes(local)}
    if not device.ctx.submit_event(event):
        say({"lost": what})


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
