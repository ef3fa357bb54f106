"""How the lab's API says no: `Status` bodies with the codes, reasons and words that a kube-apiserver uses.

    ApiError                an answer other than success, as a Status object
      └ PageNotFound        404 in plain text, for a path that no resource owns (a CRD that is not installed)

Clients decide by code and reason; the words are there because people read them in kubectl. Nothing here decides *whether* to refuse.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.lab.api_resources import Resource

Json = dict[str, Any]


class ApiError(Exception):
    """An answer other than success. `headers` go out with it (Retry-After)."""

    def __init__(self, code: int, reason: str, message: str, *, details: Json | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details, self.headers = details, headers or {}

    def body(self) -> Json:
        status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return {**status, "code": self.code}


class PageNotFound(ApiError):
    def __init__(self) -> None:
        super().__init__(404, "NotFound", "404 page not found")


def success(resource: "Resource", name: str, *, uid: str) -> Json:
    """The body of a delete that took effect at once."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**_details(resource, name), "uid": uid},
    }


def _details(resource: "Resource", name: str) -> Json:
    return {"name": name} | ({"group": resource.group} if resource.group else {}) | {"kind": resource.plural}


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(qualified: str, name: str, message: str, *, group: str, kind: str) -> ApiError:
    subject = f'{qualified} "{name}"' if name else qualified
    details = ({"name": name} if name else {}) | ({"group": group} if group else {}) | {"kind": kind}
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {message}", details=details)


def not_found(resource: "Resource", name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', details=_details(resource, name))


def already_exists(resource: "Resource", name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', details=_details(resource, name))


def conflict(resource: "Resource", name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(resource, name))


def precondition_failed(resource: "Resource", name: str, what: str, *, wanted: str, held: str) -> ApiError:
    error = conflict(resource, name, f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {held}")
    error.details = {**_details(resource, name), "kind": resource.plural if resource.custom else resource.kind}
    return error


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def invalid(resource: "Resource", name: str, field: str, why: str, *, by_store: bool = False) -> ApiError:
    # kube-apiserver names the kind of its own types where they are validated, and the plural of custom ones and in its store.
    subject = resource.plural if resource.custom or by_store else resource.kind
    title = f"{subject}.{resource.group}" if resource.group else subject
    cause = {"reason": "FieldValueRequired" if why.startswith("Required") else "FieldValueInvalid", "message": why, "field": field}
    details: Json = {"kind": subject, "causes": [cause]}
    details |= ({"name": name} if name else {}) | ({"group": resource.group} if resource.group else {})
    return ApiError(422, "Invalid", f'{title} "{name}" is invalid: {field}: {why}', details=details)


def invalid_options(field: str, why: str) -> ApiError:
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": [{"reason": "FieldValueForbidden", "message": why, "field": field}]}
    return ApiError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {field}: Forbidden: {field} {why}', details=details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def no_such_resource() -> ApiError:
    """A path below a group and version that exist: JSON, unlike PageNotFound."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def patch_failed() -> ApiError:
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", details={})


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={})


def unsupported_media_type(accepted: Sequence[str], *, details: Json | None = None) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message, details=details)


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def too_large_version(asked: int, current: int) -> ApiError:
    words = "Too large resource version"
    details: Json = {"causes": [{"reason": "ResourceVersionTooLarge", "message": words}], "retryAfterSeconds": 1}
    return ApiError(504, "Timeout", f"Timeout: {words}: {asked}, current: {current}", details=details, headers={"Retry-After": "1"})
