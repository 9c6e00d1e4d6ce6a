# SPDX-License-Identifier: Apache-2.0
"""A restricted unpickler for one's own scripts: the whole gate first, then only the globals that the gate vetted.

`find_class` alone is not a defence: it sees names, not what is done with them. So this class reads the file, runs
`depickle.pickles.vet` over it, and only then unpickles, serving each exact (module, name) of that file and nothing
else. It rebuilds the objects **in this process, without a sandbox**; where the file may be hostile, ask
`depickle.sandbox` instead, as `depickle migrate` does.
"""

from __future__ import annotations

import io
from typing import IO, Any, NoReturn

from .errors import GateRefusedError, SandboxError
from .pickles import Policy, vet
from .sandbox import worker_main
from .sandbox.refusals import raise_refusal
from .sandbox.served import served_globals, stream_of
from .sources import MAX_SOURCE_BYTES

__all__ = ["RestrictedUnpickler"]


class RestrictedUnpickler(worker_main.RestrictedUnpickler):
    """Unpickles one vetted file of a legacy model; unknown auxiliary classes become inert stand-ins.

    Example::

        with open("EURUSD_ml_package.pkl", "rb") as file:
            package = RestrictedUnpickler(file).load()
    """

    def __init__(self, file: IO[bytes], *, policy: Policy | None = None) -> None:
        """Read `file` to its end and run the gate over it; nothing is rebuilt yet.

        Args:
            file: opened for reading bytes; any container that the gate knows.
            policy: instead of the shipped one.

        Raises:
            GateRefusedError: the gate's refusal, or DP510 for a file over the size limit.
        """
        data = file.read(MAX_SOURCE_BYTES + 1)
        if len(data) > MAX_SOURCE_BYTES:
            raise GateRefusedError(
                "The file is too large", code="DP510", expected=f"at most {MAX_SOURCE_BYTES} bytes"
            )
        vetted = vet(data, policy=policy, where=str(getattr(file, "name", "")))
        self._stream = stream_of(vetted)
        self._joblib = vetted.container.partition("+")[0] == "joblib"
        table = {(row.module, row.name): row.how for row in served_globals(vetted.globals)}
        super().__init__(io.BytesIO(self._stream), table)

    def refuse(self, module: str, name: str) -> NoReturn:
        """Raise the refusal of a global that the gate did not vet.

        Raises:
            GateRefusedError: DP510, always.
        """
        raise_refusal("unadmitted", f"{module}.{name}")

    def load(self) -> Any:
        """The objects of the file.

        Raises:
            GateRefusedError: DP510 where the stream names a global that the gate did not vet.
            SandboxError: DP511 where this process's libraries cannot rebuild the objects.
        """
        try:
            return worker_main.load_stream(self._stream, joblib=self._joblib, policy=self.policy)
        except worker_main.RefusedError as refusal:
            raise_refusal(refusal.kind, refusal.detail)
        except MemoryError as error:
            raise SandboxError("The model does not fit into memory", code="DP505") from error
