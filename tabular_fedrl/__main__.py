"""``python -m tabular_fedrl``."""

import sys

from tabular_fedrl.cli import main

sys.exit(main())
