"""Pictures over noise: channels, 5G channel coding, modulation, MIMO, and links. Names resolve on first use.

from chappe.link import DigitalLink
reception = DigitalLink(channel="rayleigh2x2", snr_db=6, modulation="16qam", rate="1/2").send(blob)
"""

from __future__ import annotations

from chappe.lazy import lazy_names

_HOMES = {
    "ChannelSpec": "channels",
    "DigitalLink": "digital",
    "Fading": "channels",
    "LDPCCode": "ldpc",
    "Link": "picture",
    "MCS": "adaptation",
    "MCS_TABLE": "adaptation",
    "PictureLink": "picture",
    "Received": "picture",
    "Reception": "digital",
    "TransportBlock": "transport",
    "best_mcs": "adaptation",
    "encode_within": "picture",
    "ldpc_code": "ldpc",
    "parse_mcs": "adaptation",
    "payload_limit": "adaptation",
    "precoder": "precoding",
    "sweep": "rows",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
