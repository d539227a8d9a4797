"""Every error that greenai raises on purpose.

::

    GreenAIError
    ├── PluginError
    │   ├── PluginNotFound       no plugin has that name
    │   ├── PluginConflict       two distributions register one name
    │   ├── PluginBroken         registered, but cannot be imported
    │   └── PluginUnavailable    works, but not on this machine
    ├── ModelError
    │   ├── ModelUnrecognised    no format claims the file
    │   ├── ModelAmbiguous       several formats claim the file
    │   ├── ModelLoadError       the file is broken, or cannot do what was asked
    │   └── ModelInputError      the data do not fit the model
    ├── MeasurementError
    │   ├── ReadingError         a sensor failed or gave an impossible value
    │   ├── LifecycleError       start, stop, open and close in a wrong order
    │   ├── NoSensorError        nothing here can give joules
    │   └── CalibrationError     a sensor cannot be compared with that meter
    ├── PowerCapError
    │   ├── PowerCapForbidden    this user may not set a limit
    │   └── PowerCapKept         the device keeps another limit than was set
    ├── GradeError
    ├── ComparisonError          two things that cannot be compared
    ├── SchemaError              a report of an unknown version or shape
    ├── ServiceError             a grading service gave no answer that can be used
    │   ├── ServiceUnreachable   no connection, or silence
    │   ├── ServiceUntrusted     its certificate is not trusted
    │   ├── ServiceFailed        a fault of the service, or an answer that is none
    │   └── ServiceRefused       it understood, and says no (status 4xx)
    └── ConfigError

A message says what is wrong, with which file or device, and what to do next.
"""

from __future__ import annotations


class GreenAIError(Exception):
    """Base of all errors of greenai; catching it catches them all."""


class PluginError(GreenAIError):
    """Something about a plugin."""


class PluginNotFound(PluginError):
    """No installed distribution registers a plugin of that name."""


class PluginConflict(PluginError):
    """Two distributions register a plugin under one name."""


class PluginBroken(PluginError):
    """A plugin is registered but its code cannot be imported."""


class PluginUnavailable(PluginError):
    """A plugin works, but not here and now.

    Args:
        reason: what is missing, with the device, file or package.
        hint: the exact step that mends it; empty if there is none.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(f"{reason}. {hint}" if hint else reason)
        self.reason = reason
        self.hint = hint


class ModelError(GreenAIError):
    """Something about a model file."""


class ModelUnrecognised(ModelError):
    """No format claims the file."""


class ModelAmbiguous(ModelError):
    """Several formats claim the file and nothing decides between them."""


class ModelLoadError(ModelError):
    """The file is broken, or lacks what the asked operation needs."""


class ModelInputError(ModelError):
    """The given data do not fit the inputs of the model."""


class MeasurementError(GreenAIError):
    """Something about taking a measurement."""


class ReadingError(MeasurementError):
    """A sensor failed, or gave a value that cannot be true."""


class LifecycleError(MeasurementError):
    """open, start, stop and close were called in an impossible order."""


class NoSensorError(MeasurementError):
    """No source of joules is left to measure with."""


class CalibrationError(MeasurementError):
    """A sensor cannot be calibrated with that meter, load, or stairs."""


class PowerCapError(GreenAIError):
    """A power limit could not be read, set or restored."""


class PowerCapForbidden(PowerCapError):
    """This user may not set a power limit or clock.

    Args:
        message: see the module.
        by_hand: the command by which root would do it; empty if there is none.
    """

    def __init__(self, message: str, by_hand: str = "") -> None:
        super().__init__(message)
        self.by_hand = by_hand


class PowerCapKept(PowerCapError):
    """A device took a limit, and keeps another one.

    Args:
        message: see the module.
        kept: the limit in force, in the unit of its limiter.
    """

    def __init__(self, message: str, kept: float) -> None:
        super().__init__(message)
        self.kept = kept


class GradeError(GreenAIError):
    """A grade cannot be given with this scale and this report."""


class ComparisonError(GreenAIError):
    """Two models or reports cannot be compared: their figures mean different things."""


class SchemaError(GreenAIError):
    """A report has an unknown version, or not the shape of its version."""


class ServiceError(GreenAIError):
    """A grading service gave no answer that can be used."""


class ServiceUnreachable(ServiceError):
    """No connection came about, or it broke, or nothing was said in time."""


class ServiceUntrusted(ServiceError):
    """The service shows a certificate that is not trusted; nothing was sent."""


class ServiceFailed(ServiceError):
    """The service failed, sends elsewhere, or answers with what is no answer."""


class ServiceRefused(ServiceError):
    """The service understood, and refuses; asking again would change nothing.

    Args:
        message: see the module.
        status: of HTTP, 400 to 499.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ConfigError(GreenAIError):
    """A setting has a value that cannot be used."""
