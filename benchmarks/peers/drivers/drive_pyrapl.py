"""pyRAPL: measurements of package and DRAM; it has no GPU."""

from driving import Tool, drive


class PyRapl(Tool):
    def open(self, windows):
        pyRAPL.setup()

    def begin(self):
        self.measurement = pyRAPL.Measurement("window")
        self.measurement.begin()

    def end(self):
        self.measurement.end()

    def figures(self):
        result = self.measurement.result
        return {"package": together(result.pkg), "dram": together(result.dram), "gpu": None}


def together(sockets):
    return sum(sockets) * 1e-6 if sockets else None


def load():
    global pyRAPL
    import pyRAPL


if __name__ == "__main__":
    drive(PyRapl(), load)
