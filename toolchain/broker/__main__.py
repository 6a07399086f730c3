"""``python -m toolchain.broker``: a broker for development, from the command line."""

import sys

from toolchain.commands import main

sys.exit(main())
