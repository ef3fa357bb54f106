"""The lab's own door into its API: breaks the server for real, so that agents meet what a troubled kube-apiserver does.

Only members of system:masters may use it. A fault touches ServiceAccounts alone unless it says otherwise, so that the lab can still
mend what it broke.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from agent.lab import api_errors
from agent.lab.api_errors import ApiError
from agent.lab.api_list import Lists
from agent.lab.api_rbac import User
from agent.lab.api_store import Store

Json = dict[str, Any]

MAX_DELAY_SECONDS = 300.0
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class CutConnection(Exception):
    """Close the connection without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How matching requests are treated: after a delay answered with `status`, cut (0), or, without a status, served."""

    status: int | None
    paths: re.Pattern[str]
    users: re.Pattern[str]
    retry_after_seconds: int | None
    delay_seconds: float

    def hits(self, user: User, path: str) -> bool:
        return bool(self.users.search(user.name) and self.paths.search(path))


class Control:
    def __init__(self, store: Store, lists: Lists) -> None:
        self._store, self._lists = store, lists
        self._faults: list[Fault] = []
        self.expired_as_event = True
        """How a watch from a version that is too old is refused: an ERROR event in a 200 answer, as usual, or HTTP 410."""

    async def meet(self, user: User, path: str) -> None:
        """Let the faults do what they do to this request. Raises ApiError or CutConnection."""
        for fault in [fault for fault in self._faults if fault.hits(user, path)]:
            await asyncio.sleep(fault.delay_seconds)
            if fault.status is None:
                continue
            if fault.status == 0:
                raise CutConnection
            headers = {"Retry-After": str(fault.retry_after_seconds)} if fault.retry_after_seconds is not None else {}
            words = f"the lab answers {fault.status} here"
            raise ApiError(fault.status, _REASONS.get(fault.status, "InternalError"), words, headers=headers)

    def command(self, name: str, body: Json) -> Json:
        """POST /lab/NAME. Raises ApiError 400 or 404."""
        if name == "compact":
            # Lists of before must be too old as well, and so must be the versions that they named.
            self.expired_as_event = body.get("as", "event") != "http"
            self._lists.forget()
            return {"resourceVersion": str(self._store.compact(end_watches=body.get("end_watches", True) is True))}
        if name == "fail":
            self._faults.append(_fault(body))
            if body.get("end_watches", True):
                self._store.end_watches()
        elif name == "clear":
            self._faults.clear()
            self.expired_as_event = True
        elif name == "end-watches":
            return {"ended": self._store.end_watches()}
        else:
            raise api_errors.PageNotFound
        return {"faults": len(self._faults)}


def _fault(body: Json) -> Fault:
    try:
        status = body.get("status")
        retry_after = body.get("retry_after")
        return Fault(
            status=None if status is None else int(status),
            paths=re.compile(str(body.get("paths", ""))),
            users=re.compile(str(body.get("users", "^system:serviceaccount:"))),
            retry_after_seconds=None if retry_after is None else int(retry_after),
            delay_seconds=min(MAX_DELAY_SECONDS, max(0.0, float(body.get("delay_seconds", 0)))),
        )
    except (ValueError, TypeError, re.error) as error:
        raise api_errors.bad_request(f"not a fault: {error}") from error
