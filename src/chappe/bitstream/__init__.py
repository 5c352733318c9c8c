"""Container, range coding, label-map coder and token-grid coder: integers only, bytes in and out, no torch.

The byte-for-byte specification is docs/format.md. Import the modules themselves (`from chappe.bitstream import
container`): this file stays empty so that importing one coder never loads another.
"""

from __future__ import annotations
