"""Semantic image codec toolkit: a picture becomes a few hundred bytes and comes back with its meaning.

    import chappe

    codec = chappe.load("sqgan-street")
    blob = codec.encode("street.jpg", bpp=0.04)
    out = codec.decode(blob)          # out.image, out.labels, out.report

Importing the package imports neither torch nor numpy nor Pillow; they come with the first picture.
"""

from __future__ import annotations

from chappe.codec import decode, encode, list_models, load

__all__ = ["__version__", "decode", "encode", "list_models", "load"]

__version__ = "0.1.0"
