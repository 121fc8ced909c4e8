"""The hub's own program, which tells others to call it at a gate: ``python gated_hub.py PORT run …``.

As where a router forwards a port: whatever other hubs send passes the gate, so that a test can shut it.
What the hub says of itself it says within a second, not a minute: tests are shorter.
"""

from __future__ import annotations

import sys

from hub.services import receipts
from hub.sync.station import Station

if __name__ == "__main__":
    from hub.cli import main

    receipts.LOOK_S = 1.0
    gate = int(sys.argv[1])
    Station.port = property(lambda station: gate)  # type: ignore[assignment,method-assign]
    main(sys.argv[2:])
