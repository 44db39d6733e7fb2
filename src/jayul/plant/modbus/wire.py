"""One Modbus TCP connection: a request, its answer, and nothing that looks like an answer.

pymodbus encodes and decodes the messages. The transaction is kept here, because its client connects again on its own, skips
foreign replies in silence, and takes replies whose function or length is not that of the request.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Sequence

from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU, ReadCoilsRequest, ReadHoldingRegistersRequest
from pymodbus.pdu.bit_message import ReadDiscreteInputsRequest, WriteMultipleCoilsRequest, WriteSingleCoilRequest
from pymodbus.pdu.register_message import (
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)  # fmt: skip

from jayul.plant.modbus.address import Area

_READ: dict[Area, type[ModbusPDU]] = {
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
}
logging.getLogger("pymodbus.logging").addHandler(logging.NullHandler())  # what it would print, our readings say


class Objection(Exception):
    """The device answered with a Modbus exception; `code` is its number."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code}")
        self.code = code


class Garbled(OSError):
    """What came is no answer to what was asked; the connection is closed."""


class Wire:
    """A connection. One request at a time: the caller sees to that. Anything but an answer closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._reader, self._writer, self._timeout = reader, writer, timeout
        self._framer, self._number = FramerSocket(DecodePDU(False)), 0

    @staticmethod
    async def open(host: str, port: int, timeout: float) -> Wire:  # noqa: ASYNC109 - it is kept for every request
        """Connect. Raises OSError, also when it takes longer than `timeout` s."""
        async with asyncio.timeout(timeout):
            return Wire(*await asyncio.open_connection(host, port), timeout)

    async def read(self, unit: int, area: Area, start: int, count: int) -> list[int]:
        """Return registers, or bits as 0 and 1. Raises Objection, Garbled or another OSError."""
        answer = await self._ask(_READ[area](dev_id=unit, address=start, count=count))
        if area in ("holding", "input"):
            if len(answer.registers) != count:
                raise self._garbled(f"{len(answer.registers)} registers where {count} were asked for")
            return list(answer.registers)
        if len(answer.bits) != (count + 7) // 8 * 8:
            raise self._garbled(f"{len(answer.bits)} bits where {count} were asked for")
        return [int(bit) for bit in answer.bits[:count]]

    async def write(self, unit: int, area: Area, start: int, raw: Sequence[int]) -> None:
        """Write registers, or bits as 0 and 1. Raises as `read` does."""
        if area == "coil":
            bits = [bool(bit) for bit in raw]
            kind: type[ModbusPDU] = WriteMultipleCoilsRequest if len(raw) > 1 else WriteSingleCoilRequest
            request = kind(dev_id=unit, address=start, bits=bits, count=len(bits))
        else:
            kind = WriteMultipleRegistersRequest if len(raw) > 1 else WriteSingleRegisterRequest
            request = kind(dev_id=unit, address=start, registers=list(raw), count=len(raw))
        answer = await self._ask(request)
        echo = answer.address == start and (
            answer.count == len(raw)
            if len(raw) > 1
            else list(answer.bits[:1]) == bits if area == "coil" else list(answer.registers) == list(raw)
        )  # fmt: skip
        if not echo:
            raise self._garbled("another write was acknowledged than the one sent")

    async def _ask(self, request: ModbusPDU) -> ModbusPDU:
        """Send a request and return its answer."""
        self._number = self._number % 0xFFFF + 1
        request.transaction_id = self._number
        try:
            if self.closed:
                raise ConnectionError("the connection is closed")
            async with asyncio.timeout(self._timeout):
                self._writer.write(self._framer.buildFrame(request))
                await self._writer.drain()
                number, protocol, length, unit = struct.unpack(">HHHB", await self._reader.readexactly(7))
                if (number, protocol, unit) != (self._number, 0, request.dev_id) or not 3 <= length <= 254:
                    raise Garbled("a reply to somebody else, or none at all")
                body = await self._reader.readexactly(length - 1)
            return self._decode(request, body)
        except asyncio.IncompleteReadError as error:
            self.close()
            raise ConnectionError("the connection was closed") from error
        except TimeoutError as error:
            self.close()
            raise TimeoutError(f"no answer within {self._timeout:g} s") from error
        except Objection:
            raise
        except BaseException:  # also when cancelled: an answer that is still to come must not meet the next request
            self.close()
            raise

    def _decode(self, request: ModbusPDU, body: bytes) -> ModbusPDU:
        if body[0] & 0x7F != request.function_code:
            raise Garbled(f"a reply of function {body[0]} where {request.function_code} was asked for")
        answer = self._framer.decoder.decode(body)
        if answer is None or bytes([body[0]]) + answer.encode() != body:  # cut short, or more than it says
            raise Garbled("a reply of the wrong length")
        if answer.isError():
            raise Objection(answer.exception_code)
        return answer

    def _garbled(self, text: str) -> Garbled:
        self.close()
        return Garbled(text)

    @property
    def closed(self) -> bool:
        """Say whether it was let go of."""
        return self._writer.is_closing()

    def close(self) -> None:
        """Let go of it at once."""
        self._writer.transport.abort()
