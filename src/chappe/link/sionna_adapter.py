"""The one place that knows Sionna (extra `link`): its LDPC decoder as a reference, and its 5G channel models.

Sionna is heavy (seconds to import) and never needed for the link's own channels and codes: this module asks for it
at the first call of one of its names. Written for sionna-no-rt 2.2 (PyTorch).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from chappe.errors import MissingDependency, UsageError
from chappe.link.channels import ChannelSpec
from chappe.link.ldpc import LDPCCode
from chappe.link.tdl import SYMBOLS

__all__ = ["SionnaLDPC", "cdl_response", "sionna", "tdl_response"]


def sionna(module: str) -> Any:
    """Import `sionna.phy.<module>`. Raises MissingDependency where it is not installed."""
    try:
        return importlib.import_module(f"sionna.phy.{module}")
    except ImportError as error:
        raise MissingDependency("this needs Sionna, which is not installed: pip install 'chappe[link]'.") from error


class SionnaLDPC:
    """The same 5G code as `code`, encoded and decoded by Sionna: flooding sum-product, all iterations every time.

    Its graph and lifting size must be those that 5G gives one block alone, else UsageError.
    """

    def __init__(self, code: LDPCCode) -> None:
        ldpc = sionna("fec.ldpc")
        self.k, self.n = code.k, code.n
        self._ldpc, self._decoders = ldpc, {}
        try:
            self._encoder = ldpc.LDPC5GEncoder(code.k, code.n, num_bits_per_symbol=code.m, bg=f"bg{code.graph}")
        except ValueError as error:
            raise UsageError(f"Sionna has no code with k = {code.k}, n = {code.n}: {error}") from error
        if self._encoder.z != code.z:
            raise UsageError(f"Sionna lifts a block of {code.k} bits by {self._encoder.z}, not by {code.z}.")

    def encode(self, bits: np.ndarray) -> np.ndarray:
        """(B, k) -> (B, n) uint8."""
        return self._encoder(torch.tensor(bits, dtype=torch.float32)).numpy().astype(np.uint8)

    def decode(self, llr: np.ndarray, iterations: int = 20) -> tuple[np.ndarray, np.ndarray]:
        """(B, n) LLRs ln P(0) / P(1) -> bits (B, k) uint8 and the iterations, the same for all, (B,)."""
        if iterations not in self._decoders:
            self._decoders[iterations] = self._ldpc.LDPC5GDecoder(self._encoder, num_iter=iterations)
        with torch.inference_mode():
            bits = self._decoders[iterations](-torch.tensor(llr, dtype=torch.float32))  # Sionna: ln P(1) / P(0)
        return bits.numpy().astype(np.uint8), np.full(len(llr), iterations)


def cdl_response(spec: ChannelSpec, uses: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """(B, Nr, Nt) complex64, B >= uses: CDL-C per resource element, subcarrier by subcarrier, then in time.

    Downlink between uniform horizontal arrays of vertically polarised, omnidirectional elements at half a wavelength.
    Antennas are correlated as the clusters' angles say. E|H|^2 is 1 within a few per cent.
    """
    models = sionna("channel.tr38901")

    def array(count: int) -> Any:
        return models.AntennaArray(num_rows=1, num_cols=count, polarization="single", polarization_type="V",
                                   antenna_pattern="omni", carrier_frequency=spec.carrier)  # fmt: skip

    model = models.CDL("C", spec.delay_spread, spec.carrier, ut_array=array(spec.nr), bs_array=array(spec.nt),
                       direction="downlink", min_speed=spec.speed, max_speed=spec.speed)  # fmt: skip
    return _through_ofdm(model, spec, uses, generator)


def tdl_response(spec: ChannelSpec, uses: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """The same shape from Sionna's TDL-A or TDL-C: the reference for `chappe.link.tdl`."""
    models = sionna("channel.tr38901")
    model = models.TDL(spec.law[-1].upper(), spec.delay_spread, spec.carrier, min_speed=spec.speed,
                       max_speed=spec.speed, num_rx_ant=spec.nr, num_tx_ant=spec.nt)  # fmt: skip
    return _through_ofdm(model, spec, uses, generator)


def _through_ofdm(model: Any, spec: ChannelSpec, uses: int, generator: torch.Generator | None) -> torch.Tensor:
    channel = sionna("channel")
    seed = int(torch.randint(1 << 31, (1,), generator=generator))
    sionna("config").config.seed = seed  # Sionna draws from generators of its own
    symbols = -(-uses // spec.subcarriers)
    frequencies = channel.subcarrier_frequencies(spec.subcarriers, spec.spacing)
    with torch.inference_mode():
        paths, delays = model(1, symbols, SYMBOLS * 1e3 * spec.spacing / 15e3)
        h = channel.cir_to_ofdm_channel(frequencies, paths, delays)  # (1, 1, Nr, 1, Nt, symbols, subcarriers)
    return h[0, 0, :, 0].permute(2, 3, 0, 1).reshape(-1, spec.nr, spec.nt).to(torch.complex64).clone()
