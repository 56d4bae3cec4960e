"""Where CVAT asks: it puts no path before nuclio's own addresses."""

from __future__ import annotations

from serving.protocols.dialect import Dialect

# CVAT shows people the status and the address of what failed, and never the body: the native problem serves whoever reads it.
DIALECT = Dialect("cvat", ("/api/functions", "/api/functions/", "/api/function_invocations"), own_key=True)
