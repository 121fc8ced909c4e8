"""See `tests.simulation.run`."""

from tests.simulation.run import main

main()
