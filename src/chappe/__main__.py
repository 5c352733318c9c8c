"""`python -m chappe` is the `chappe` command."""

from __future__ import annotations

import sys

from chappe.cli import main

sys.exit(main())
